//! Every code that a problem document can carry is in `docs/API.md`, and in the log's line of its request.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::{Process, SIMULATED, Scheme, problem_codes};

#[test]
fn every_problem_code_in_the_code_is_documented() {
    let codes = problem_codes();
    let page = std::fs::read_to_string("docs/API.md").expect("docs/API.md");
    let missing: Vec<&String> = codes.iter().filter(|code| !page.contains(&format!("| `{code}` |"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_line_of_a_refused_request_has_the_code_that_its_client_was_told() {
    let process = Process::start(Scheme::Http, &format!("[limits]\nauth_failures_per_minute = 1\n{SIMULATED}")).await;
    let (client, key) = (process.client(), process.key());
    let register = || client.post(process.url("/api/vms/register")).bearer_auth(key);
    let mut codes = BTreeSet::new();
    for request in [
        client.get(process.url("/api/vms")),
        client.get(process.url("/api/vms")).bearer_auth(key).header("x-api-key", "gw_another"),
        client.get(process.url("/api/benchmark-sse?interval=none")).bearer_auth(key),
        client.get(process.url("/api/%2e%2e/vms")).bearer_auth(key),
        register().header("content-type", "application/json").body("{}"),
        register().body("x".repeat(100_000)),
        client.delete(process.url("/api/vms")).bearer_auth(key),
        client.get(process.url("/nowhere")).bearer_auth(key),
        client.get(process.url("/api/vms")).bearer_auth("wrong"),
        client.get(process.url("/api/vms")).bearer_auth("wrong"),
    ] {
        let answer = request.send().await.expect("an answer");
        let id = answer.headers()["x-request-id"].to_str().expect("hex").to_owned();
        let told: Value = answer.json().await.expect("a problem document");
        let lines = process.access(|line| line["request_id"] == id.as_str()).await;
        assert_eq!((lines.len(), &lines[0]["problem"]), (1, &told["code"]), "{told} {lines:?}");
        codes.extend(told["code"].as_str().map(str::to_owned));
    }
    assert!(codes.len() >= 6, "{codes:?}");
    client.get(process.url("/healthz")).send().await.expect("an answer");
    assert!(process.access(|line| line["route"] == "/healthz").await[0].get("problem").is_none());
}
