use serde_json::json;

use super::*;

fn up(replica: &str, polls: &[&str], is_self: bool) -> ReplicaUp {
    ReplicaUp {
        replica: replica.into(),
        version: "0.1.0".into(),
        started_at: Timestamp(5.5),
        heard_at: Timestamp(9.5),
        draining: !is_self,
        streams: 3,
        polls: polls.iter().map(|vm| name(vm)).collect(),
        is_self,
    }
}

async fn asked_as(principal: Principal) -> Value {
    let lab = Lab::new(vec![entry("waa-1", None)]).await;
    lab.up.send_replace(vec![up("b-7", &["waa-2", "waa-1"], true), up("a-9", &["other", "waa-3"], false)]);
    let response = lab.send(request("GET", "/api/replicas", Some(principal))).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
    json(response).await["replicas"].clone()
}

#[tokio::test]
async fn replicas_are_told_by_name_with_what_each_polls_of_what_the_caller_sees() {
    let told = asked_as(principal(&["waa-*"])).await;
    let first = json!({
        "replica": "a-9", "version": "0.1.0", "started_at": 5.5, "heard_at": 9.5, "draining": true, "streams": null,
        "polls": ["waa-3"], "self": false,
    });
    assert_eq!((&told[0], &told[1]["polls"], &told[1]["self"]), (&first, &json!(["waa-1", "waa-2"]), &json!(true)));
    assert_eq!(told.as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn how_many_watch_is_told_to_administrators_alone_and_grants_bind_them_too() {
    let scopes = [Scope::Admin].into_iter().collect();
    let told = asked_as(Principal { scopes, ..principal(&["waa-1"]) }).await;
    assert_eq!((&told[0]["streams"], &told[1]["streams"]), (&json!(3), &json!(3)));
    assert_eq!((&told[0]["polls"], &told[1]["polls"]), (&json!([]), &json!(["waa-1"])));
}

#[tokio::test]
async fn replicas_are_told_to_nobody_who_may_not_watch() {
    let lab = Lab::new(vec![]).await;
    problem(lab.send(request("GET", "/api/replicas", None)).await, 401, "unauthorized").await;
    for scope in [Scope::MetricsRead, Scope::VmsWrite] {
        let other = Principal { scopes: [scope].into_iter().collect(), ..principal(&["*"]) };
        problem(lab.send(request("GET", "/api/replicas", Some(other))).await, 403, "forbidden").await;
    }
}
