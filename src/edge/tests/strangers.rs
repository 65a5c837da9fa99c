//! What callers that nobody knows may take up, through the layers.

use super::*;
use crate::telemetry::Limit;

/// A body that never ends.
fn stalled() -> Body {
    Body::from_stream(futures_util::stream::pending::<Result<Bytes, io::Error>>())
}

/// With 16 places for bodies, 4 of them for one address.
fn sixteen_places() -> Fixture {
    let mut settings = EdgeSettings::default();
    settings.limits.requests_in_flight = 16;
    fixture_with(settings)
}

fn write(edge: &Fixture) -> http::request::Builder {
    Request::post("/write").header("x-api-key", edge.key.expose())
}

#[tokio::test(start_paused = true)]
async fn g58_nobodys_body_is_waited_for_before_its_401() {
    let edge = sixteen_places();
    let began = tokio::time::Instant::now();
    let mut waiting = Vec::new();
    for n in 0..100 {
        let peer = from(&format!("203.0.113.{n}"));
        let mut asked = Box::pin(edge.send(Request::post("/write").extension(peer), stalled()));
        match futures_util::poll!(&mut asked) {
            std::task::Poll::Ready(refused) => {
                assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
                assert_eq!(refused.headers()["connection"], "close", "the rest of the body is not waited for");
            }
            std::task::Poll::Pending => waiting.push(asked),
        }
    }
    assert_eq!((waiting.len(), began.elapsed()), (0, Duration::ZERO));
    assert_eq!(edge.send(write(&edge), "{}").await.status(), StatusCode::OK);
    let bodyless = edge.send(Request::post("/write"), Body::empty()).await;
    assert_eq!((bodyless.status(), bodyless.headers().get("connection")), (StatusCode::UNAUTHORIZED, None));
}

#[tokio::test(start_paused = true)]
async fn g58_a_stranger_who_takes_all_his_places_keeps_nobody_else_from_a_post() {
    let edge = sixteen_places();
    let mut held = Vec::new();
    for n in 0..20 {
        let peer = from("203.0.113.5");
        let mut asked = Box::pin(edge.send(Request::post("/echo").extension(peer), stalled()));
        match futures_util::poll!(&mut asked) {
            std::task::Poll::Pending => held.push(asked),
            std::task::Poll::Ready(refused) => {
                assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS, "number {n}");
                assert_eq!(refused.headers()["retry-after"], "1");
                assert_eq!(json_of(refused).await["code"], "too_many_requests");
            }
        }
    }
    assert_eq!(held.len(), 4);
    assert_eq!(edge.metrics.limits.hits.of(Limit::InFlight).get(), 16);
    assert_eq!(edge.send(write(&edge), "{}").await.status(), StatusCode::OK, "a known caller");
    assert_eq!(edge.send(Request::post("/echo"), "x").await.status(), StatusCode::OK, "another stranger");
    let again = || Request::post("/echo").extension(from("203.0.113.5"));
    held.pop();
    assert_eq!(edge.send(again(), "x").await.status(), StatusCode::OK, "each is freed by its end");
}

#[tokio::test]
async fn g53_a_known_callers_body_is_bounded_as_before() {
    let edge = fixture();
    let large = || vec![b'x'; 64 * 1024 + 1];
    assert_eq!(edge.send(write(&edge), large()).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(edge.send(Request::post("/write"), large()).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(edge.send(Request::post("/auth/session"), large()).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn g46_g58_who_was_not_answered_in_time_is_told_when_to_come_back() {
    let late = fixture().get("/slow", &[]).await;
    assert_eq!(late.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(late.headers().get("retry-after").unwrap(), "5");
    assert_eq!(json_of(late).await["code"], "timeout");
}

#[tokio::test]
async fn g9_a_forwarding_header_too_long_to_read_counts_for_the_peer_that_sent_it() {
    let proxy = ProxyRules { trusted: vec!["10.0.0.0/8".parse().unwrap()], ..ProxyRules::default() };
    let mut settings = EdgeSettings { proxy, ..EdgeSettings::default() };
    (settings.limits.requests_per_second, settings.limits.burst) = (1, 10);
    let edge = fixture_with(settings);
    let many = ["1.1.1.1"; 33].join(",");
    let mut statuses = Vec::new();
    for _ in 0..50 {
        let request = Request::get("/open").extension(from("10.0.0.1")).header("x-forwarded-for", &many);
        statuses.push(edge.send(request, Body::empty()).await.status().as_u16());
    }
    assert!(statuses[..10].iter().all(|status| *status == 400), "{statuses:?}");
    assert!(statuses.contains(&429), "{statuses:?}");
    assert!(edge.log().contains("status=400") && edge.log().contains("client=10.0.0.1"), "{}", edge.log());
}
