use serde_json::json;

use super::*;
use crate::api::RevokeError;

fn admin() -> Principal {
    Principal { scopes: [Scope::Admin].into_iter().collect(), ..principal(&["*"]) }
}

impl Lab {
    async fn admin_json(&self, path: &str) -> Value {
        let response = self.send(request("GET", path, Some(admin()))).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        json(response).await
    }
}

#[tokio::test]
async fn what_administrators_see_is_for_them_alone() {
    let lab = Lab::new(vec![]).await;
    for (method, path) in [
        ("GET", "/api/streams"),
        ("GET", "/api/limits"),
        ("GET", "/api/reload"),
        ("GET", "/api/keys"),
        ("POST", "/api/keys/abc/revoke"),
    ] {
        problem(lab.send(request(method, path, Some(principal(&["*"])))).await, 403, "forbidden").await;
        problem(lab.send(request(method, path, None)).await, 401, "unauthorized").await;
    }
}

#[tokio::test]
async fn open_streams_are_listed_as_far_as_asked_for() {
    let lab = Lab::new(vec![entry("a", None), entry("b", None)]).await;
    assert_eq!(lab.admin_json("/api/streams").await, json!({"streams": [], "total": 0}));
    let stream = lab.get("/api/benchmark-sse?interval=2&vm=a").await;
    let other = lab.get("/api/benchmark-sse").await;
    let listed = lab.admin_json("/api/streams").await;
    assert_eq!((listed["total"].clone(), listed["streams"].as_array().map(Vec::len)), (json!(2), Some(2)));
    let row = listed["streams"].as_array().expect("rows").iter().find(|row| row["interval"] == 2).expect("the first");
    for (field, value) in [
        ("principal", json!("reader")),
        ("kind", json!("api_key")),
        ("client", json!("192.0.2.1")),
        ("protocol", json!("HTTP/1.1")),
        ("vms", json!(["a"])),
        ("behind", json!(0)),
    ] {
        assert_eq!(row[field], value, "{field} of {row}");
    }
    let one = lab.admin_json("/api/streams?limit=1").await;
    assert_eq!((one["total"].clone(), one["streams"].as_array().map(Vec::len)), (json!(2), Some(1)));
    for limit in ["0", "1001", "x", "-1", ""] {
        let path = format!("/api/streams?limit={limit}");
        problem(lab.send(request("GET", &path, Some(admin()))).await, 400, "invalid_parameter").await;
    }
    drop((stream, other));
    assert_eq!(lab.admin_json("/api/streams").await["total"], 0);
}

#[tokio::test]
async fn limits_and_the_last_reload_are_told() {
    let lab = Lab::new(vec![]).await;
    let hits = lab.admin_json("/api/limits").await;
    let hits = hits["hits"].as_array().expect("a list");
    assert!(hits.iter().any(|hit| *hit == json!({"limit": "streams_per_ip", "count": 0})), "{hits:?}");
    lab.state.office.limits.hits.of(crate::telemetry::Limit::StreamsPerIp).inc();
    let hits = lab.admin_json("/api/limits").await;
    assert!(hits["hits"].as_array().expect("a list").contains(&json!({"limit": "streams_per_ip", "count": 1})));

    let process = lab.admin_json("/api/reload").await;
    assert_eq!((&process["last"], &process["certificate_expires_at"]), (&Value::Null, &Value::Null));
    lab.state.office.certificate_end.set(1_900_000_000);
    lab.reloads.send_replace(Some(LastReload {
        at: Timestamp(7.5),
        outcome: "refused",
        problems: vec!["poll.interval: no number".into()],
        needs_restart: vec![],
    }));
    let process = lab.admin_json("/api/reload").await;
    let last = json!({"at": 7.5, "outcome": "refused", "problems": ["poll.interval: no number"], "needs_restart": []});
    assert_eq!((&process["last"], &process["certificate_expires_at"]), (&last, &json!(1_900_000_000)));
}

#[tokio::test]
async fn a_revocation_is_answered_as_it_went() {
    for (outcome, status, code) in [
        (Ok(()), 200, ""),
        (Err(RevokeError::Unknown("abc".into())), 404, "unknown_key"),
        (Err(RevokeError::Last), 409, "last_key"),
        (Err(RevokeError::Unavailable), 503, "unavailable"),
    ] {
        let mut lab = Lab::new(vec![]).await;
        let router = lab.router.clone();
        let answered = async {
            let asked = lab.revocations.recv().await.expect("it is asked for");
            assert_eq!(asked.id, "abc");
            asked.reply.send(outcome).expect("somebody waits");
        };
        let asks = router.oneshot(request("POST", "/api/keys/abc/revoke", Some(admin())));
        let (response, ()) = tokio::join!(asks, answered);
        let response = response.expect("a router does not fail");
        if status == 200 {
            assert_eq!(json(response).await["id"], "abc");
        } else {
            problem(response, status, code).await;
        }
    }
}
