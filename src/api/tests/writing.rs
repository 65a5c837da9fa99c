use serde_json::json;

use super::*;
use crate::api::RegisterError;
use crate::model::RegisteredVm;

fn writer(globs: &[&str]) -> Principal {
    Principal { scopes: [Scope::VmsWrite].into_iter().collect(), ..principal(globs) }
}

fn post(body: impl Into<Body>, kind: &str, principal: Principal) -> Request<Body> {
    let mut request = request("POST", "/api/vms/register", Some(principal));
    *request.body_mut() = body.into();
    request.headers_mut().insert(header::CONTENT_TYPE, kind.parse().expect("a value"));
    request
}

fn post_json(body: &Value, globs: &[&str]) -> Request<Body> {
    post(body.to_string(), "application/json; charset=utf-8", writer(globs))
}

fn new_vm() -> Value {
    json!({"name": "new", "ssh_host": "192.0.2.7"})
}

/// Sends `new_vm` while the fleet refuses it, or fills in its defaults.
async fn registered(refusal: Option<RegisterError>) -> (Response<Body>, RegisterVm) {
    let mut lab = Lab::new(vec![]).await;
    let call = lab.router.clone().oneshot(post_json(&new_vm(), &["*"]));
    let fleet = async {
        let mut asked = lab.registrations.recv().await.expect("a registration");
        let (unused, _) = tokio::sync::oneshot::channel();
        let kept = RegisteredVm { ssh_user: "azureuser".to_owned(), ..asked.vm.clone() };
        let answer = refusal.map_or(Ok(kept), Err);
        std::mem::replace(&mut asked.reply, unused).send(answer).expect("somebody waits");
        asked
    };
    let (response, asked) = tokio::join!(call, fleet);
    (response.expect("a router does not fail"), asked)
}

#[tokio::test]
async fn a_registered_vm_is_kept_and_told_in_the_known_shape() {
    let (response, asked) = registered(None).await;
    assert_eq!(asked.vm.name, name("new"));
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(
        json(response).await,
        json!({
            "status": "success",
            "vm": {
                "name": "new", "ssh_host": "192.0.2.7", "ssh_user": "azureuser", "vnc_port": 8006, "waa_port": 5000,
                "docker_container": "winarena", "internal_ip": "172.30.0.2", "status": "unknown",
                "last_checked": null, "vnc_reachable": false, "waa_probe_status": "unknown",
                "vm_id": null, "stage": null, "stale": false,
            },
        })
    );
}

#[tokio::test]
async fn what_the_fleet_refuses_becomes_a_problem() {
    for (answer, status, code) in [
        (RegisterError::NameTaken, 409, "vm_exists"),
        (RegisterError::Invalid("ssh_host: a host name".into()), 422, "invalid_vm"),
        (RegisterError::Unavailable("disk full".into()), 503, "unavailable"),
    ] {
        let (response, _) = registered(Some(answer)).await;
        problem(response, status, code).await;
    }
}

#[tokio::test]
async fn a_name_that_exists_conflicts_only_for_those_who_may_see_it() {
    let lab = Lab::new(vec![entry("new", None)]).await;
    problem(lab.send(post_json(&new_vm(), &["*"])).await, 409, "vm_exists").await;
    problem(lab.send(post_json(&new_vm(), &["other-*"])).await, 403, "vm_not_granted").await;
    problem(Lab::new(vec![]).await.send(post_json(&new_vm(), &["other-*"])).await, 403, "vm_not_granted").await;
}

#[tokio::test]
async fn a_body_that_describes_no_vm_says_what_is_wrong() {
    let lab = Lab::new(vec![]).await;
    for (body, needle) in [
        (json!({"name": "new"}), "ssh_host"),
        (json!({"ssh_host": "h"}), "name"),
        (json!({"name": "a; rm -rf /", "ssh_host": "h"}), "VM name"),
        (json!({"name": "new", "ssh_host": "h", "command": "x"}), "command"),
        (json!({"name": "new", "ssh_host": "h", "waa_port": 70000}), "70000"),
        (json!({"name": "new", "ssh_host": 7}), "string"),
        (json!([]), "RegisteredVm"),
    ] {
        let problem = problem(lab.send(post_json(&body, &["*"])).await, 422, "invalid_vm").await;
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(needle)), "{body}: {problem}");
    }
    for body in ["", "{", "name=new", "{\"name\":\"new\"", "\u{0}"] {
        let response = lab.send(post(body, "application/json", writer(&["*"]))).await;
        problem(response, 400, "malformed_body").await;
    }
    for kind in ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonp"] {
        let response = lab.send(post(new_vm().to_string(), kind, writer(&["*"]))).await;
        problem(response, 415, "unsupported_media_type").await;
    }
    let endless = " ".repeat(3 * 1024 * 1024);
    problem(lab.send(post(endless, "application/json", writer(&["*"]))).await, 413, "unreadable_body").await;
}

#[tokio::test]
async fn registering_needs_its_own_scope() {
    let lab = Lab::new(vec![]).await;
    let reader = post(new_vm().to_string(), "application/json", principal(&["*"]));
    problem(lab.send(reader).await, 403, "forbidden").await;
    problem(lab.send(request("POST", "/api/vms/register", None)).await, 401, "unauthorized").await;
}

#[tokio::test(start_paused = true)]
async fn a_fleet_that_does_not_answer_is_not_waited_for_for_ever() {
    let mut lab = Lab::new(vec![]).await;
    let first = lab.send(post_json(&new_vm(), &["*"])).await;
    problem(first, 503, "unavailable").await;
    problem(lab.send(post_json(&new_vm(), &["*"])).await, 503, "unavailable").await;
    lab.registrations.close();
    problem(lab.send(post_json(&new_vm(), &["*"])).await, 503, "unavailable").await;
}
