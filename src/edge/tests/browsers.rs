//! What browsers are told, and ask beforehand, through the layers.

use super::*;
use crate::telemetry::Limit;

const DASH: &str = "https://dash.example";

fn preflight(uri: &str) -> http::request::Builder {
    Request::options(uri).header("origin", DASH).header("access-control-request-method", "GET")
}

#[tokio::test]
async fn g9_options_meet_the_rate_of_their_address() {
    let mut settings = EdgeSettings::default();
    (settings.limits.requests_per_second, settings.limits.burst) = (1, 50);
    let edge = fixture_with(settings);
    edge.edge.replace_origins(vec![DASH.to_owned()]);
    let mut refused = 0;
    for n in 0..300 {
        let request = if n % 2 == 0 { preflight("/open") } else { Request::options("/open") };
        refused += u64::from(edge.send(request, Body::empty()).await.status() == StatusCode::TOO_MANY_REQUESTS);
    }
    // A few tokens may come back in the meantime.
    assert!(refused > 200, "{refused}");
    assert_eq!(edge.metrics.limits.hits.of(Limit::Requests).get(), refused);
}

#[tokio::test]
async fn g28_options_of_an_ambiguous_path_are_refused_as_all_others_are() {
    let edge = fixture();
    for request in [preflight("/need//a"), Request::options("/need//a")] {
        let response = edge.send(request, Body::empty()).await;
        assert_eq!(
            (response.status().as_u16(), json_of(response).await["code"].clone()),
            (400, json!("ambiguous_path"))
        );
    }
}

#[tokio::test]
async fn g69_only_what_a_browser_asks_beforehand_is_answered_for_the_route() {
    let edge = fixture();
    edge.edge.replace_origins(vec![DASH.to_owned()]);
    let asked = edge.send(preflight("/open"), Body::empty()).await;
    assert!(asked.status().is_success() && asked.headers()["access-control-allow-origin"] == DASH);
    let one_of_two = || Request::options("/open").header("origin", DASH);
    for request in [Request::options("/open"), one_of_two()] {
        let response = edge.send(request, Body::empty()).await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    }
}

#[tokio::test]
async fn g69_g45_a_page_of_a_listed_origin_can_read_that_a_handler_panicked() {
    let edge = fixture();
    edge.edge.replace_origins(vec![DASH.to_owned()]);
    let response = edge.get("/panic", &[("origin", DASH)]).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(response.headers().get("access-control-allow-origin").unwrap(), DASH);
    let vary = response.headers().get_all("vary").iter().map(|value| value.to_str().unwrap().to_ascii_lowercase());
    assert!(vary.into_iter().any(|vary| vary.contains("origin")));
    assert!(edge.counted("gatewatch_http_requests_total{code=\"500\",method=\"GET\",route=\"/panic\"} 1"));
}

#[tokio::test]
async fn g22_browsers_are_told_to_come_over_tls_only_if_that_is_configured() {
    for hsts in [true, false] {
        let edge = fixture_with(EdgeSettings { hsts, ..EdgeSettings::default() });
        for uri in ["/open", "/nowhere", "/need/a", "/auth/session"] {
            let response = edge.get(uri, &[]).await;
            let said = response.headers().get("strict-transport-security").map(|value| value.to_str().unwrap());
            assert_eq!(said, hsts.then_some("max-age=31536000"), "a year, on {uri}");
        }
    }
}
