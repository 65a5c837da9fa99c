//! `/metrics`: who gets it, and of which VMs.

use std::collections::BTreeSet;

use axum::Router;
use axum::http::StatusCode;

use super::*;
use crate::api::admin_router;

fn scraper(globs: &[&str]) -> Principal {
    Principal { scopes: [Scope::MetricsRead].into_iter().collect(), ..principal(globs) }
}

async fn fleet() -> Lab {
    Lab::new(vec![
        entry("a", Some(view(Stage::Ready, vec![]))),
        entry("b-1", Some(view(Stage::Running, vec![run("r1", true, 1_767_348_000.0)]))),
        entry("b-2", None),
    ])
    .await
}

async fn text(response: Response<Body>) -> String {
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
    let bytes = response.into_body().collect().await.expect("a body").to_bytes();
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// The VMs that `page` has series of.
fn vms(page: &str) -> BTreeSet<&str> {
    let named = page.lines().filter_map(|line| line.split_once("vm=\"")?.1.split_once('"'));
    named.map(|(vm, _)| vm).collect()
}

#[tokio::test]
async fn metrics_need_their_own_scope_and_show_the_vms_of_the_caller_alone() {
    let lab = fleet().await;
    problem(lab.send(request("GET", "/metrics", None)).await, 401, "unauthorized").await;
    problem(lab.get("/metrics").await, 403, "forbidden").await;
    for (globs, seen) in
        [(&["*"][..], &["a", "b-1", "b-2"][..]), (&["b-*"], &["b-1", "b-2"]), (&["a"], &["a"]), (&[], &[])]
    {
        let page = text(lab.send(request("GET", "/metrics", Some(scraper(globs)))).await).await;
        assert_eq!(vms(&page), seen.iter().copied().collect(), "{globs:?}");
        assert_eq!(page.contains("/tmp/r1.log"), seen.contains(&"b-1"), "{globs:?}");
        assert!(page.contains("\ngatewatch_streams_open 0\n"), "what is of the process is for every reader");
    }
}

#[tokio::test]
async fn the_administration_listener_shows_all_vms_to_whoever_reaches_it() {
    let lab = fleet().await;
    let admin: Router = admin_router(lab.state.clone());
    let asked = admin.oneshot(request("GET", "/metrics", None)).await.expect("a router does not fail");
    let page = text(asked).await;
    assert_eq!(vms(&page), BTreeSet::from(["a", "b-1", "b-2"]));
    for line in [
        "gatewatch_vm_up{vm=\"a\"} 1",
        "gatewatch_vm_stage{stage=\"running\",vm=\"b-1\"} 1",
        "gatewatch_run_progress_ratio{log=\"/tmp/r1.log\",vm=\"b-1\"} 0.3",
        "gatewatch_vm_stale{vm=\"b-2\"} 1",
    ] {
        assert!(page.lines().any(|l| l == line), "{line} is missing in:\n{page}");
    }
}
