//! Limits, through the layers.

use std::time::Instant;

use super::*;
use crate::telemetry::Limit;

impl Fixture {
    /// GETs `uri` until `peer` is refused. A token may come back at any time: only the refusal itself is sure.
    pub(super) async fn until_refused(&self, uri: &str, peer: Peer) -> Response {
        for _ in 0..3000 {
            let response = self.send(Request::get(uri).extension(peer), Body::empty()).await;
            if response.status() == StatusCode::TOO_MANY_REQUESTS {
                return response;
            }
        }
        panic!("never refused");
    }

    fn hits(&self, limit: Limit) -> u64 {
        self.metrics.limits.hits.of(limit).get()
    }

    async fn with_key(&self, uri: &str, peer: &str, key: &str) -> Response {
        self.send(Request::get(uri).extension(from(peer)).header("x-api-key", key), Body::empty()).await
    }
}

fn limited(change: impl FnOnce(&mut EdgeSettings)) -> Fixture {
    let mut settings = EdgeSettings::default();
    change(&mut settings);
    fixture_with(settings)
}

fn text<'a>(response: &'a Response, name: &str) -> Vec<&'a str> {
    response.headers().get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
}

fn none_of_the_crate(response: &Response) -> bool {
    response.headers().keys().all(|name| !name.as_str().starts_with("x-ratelimit"))
}

#[tokio::test]
async fn g56_who_is_refused_is_told_how_long_and_gets_through_after_that() {
    let edge = limited(|s| (s.limits.requests_per_second, s.limits.burst) = (1, 2));
    let refused = edge.until_refused("/open", from(HERE)).await;
    assert_eq!(text(&refused, "retry-after"), ["1"]);
    assert_eq!(text(&refused, "ratelimit-policy"), ["\"address\";q=2;w=2"]);
    assert_eq!(text(&refused, "ratelimit"), ["\"address\";r=0;t=1"]);
    assert!(none_of_the_crate(&refused), "{:?}", refused.headers());
    let problem = json_of(refused).await;
    assert_eq!((&problem["code"], &problem["status"]), (&json!("too_many_requests"), &json!(429)));
    assert!(problem["request_id"].is_string());
    assert_eq!(edge.hits(Limit::Requests), 1);
    // The limiter's clock is the machine's.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(edge.get("/open", &[]).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn g56_an_answer_says_what_is_left_and_the_headers_can_be_switched_off() {
    let edge = limited(|s| (s.limits.requests_per_second, s.limits.burst) = (1, 10));
    let answer = edge.get("/open", &[]).await;
    assert_eq!(text(&answer, "ratelimit-policy"), ["\"address\";q=10;w=10"]);
    assert_eq!(text(&answer, "ratelimit"), ["\"address\";r=9;t=1"]);
    assert!(none_of_the_crate(&answer) && !answer.headers().contains_key("retry-after"));
    let known = edge.with_key("/open", HERE, edge.key.expose()).await;
    assert_eq!(text(&known, "ratelimit-policy"), ["\"principal\";q=2000;w=10", "\"address\";q=10;w=10"]);

    let edge = limited(|s| {
        s.limits.rate_limit_headers = false;
        (s.limits.requests_per_second, s.limits.burst) = (1, 1);
    });
    let (answer, refused) = (edge.get("/open", &[]).await, edge.until_refused("/open", from(HERE)).await);
    assert_eq!(text(&refused, "retry-after"), ["1"]);
    for answer in [answer, refused] {
        assert!(text(&answer, "ratelimit").is_empty() && text(&answer, "ratelimit-policy").is_empty());
        assert!(none_of_the_crate(&answer));
    }
}

#[tokio::test]
async fn g9_a_principal_has_a_bucket_of_its_own_over_all_its_addresses() {
    let edge = limited(|s| (s.limits.principal_requests_per_second, s.limits.principal_burst) = (1, 3));
    let mut last = None;
    for n in 1..100 {
        let response = edge.with_key("/need/a", &format!("192.0.2.{n}"), edge.key.expose()).await;
        if response.status() == 429 {
            last = Some(response);
            break;
        }
        assert_eq!(response.status(), 200);
    }
    let refused = last.expect("a refusal");
    assert_eq!(text(&refused, "retry-after"), ["1"]);
    assert!(text(&refused, "ratelimit").contains(&"\"principal\";r=0;t=1"), "{:?}", refused.headers());
    assert_eq!((edge.hits(Limit::PrincipalRequests), edge.hits(Limit::Requests)), (1, 0));
    assert_eq!(edge.get("/open", &[]).await.status(), 200, "without the key the address has its own share");
}

#[tokio::test]
async fn g9_the_rate_of_an_address_holds_before_auth() {
    let edge = limited(|s| (s.limits.requests_per_second, s.limits.burst) = (1, 5));
    edge.until_refused("/open", from(HERE)).await;
    let mut statuses = Vec::new();
    for _ in 0..10 {
        statuses.push(edge.with_key("/need/a", HERE, edge.key.expose()).await.status().as_u16());
    }
    assert!(statuses.contains(&429), "{statuses:?}");
}

#[tokio::test(start_paused = true)]
async fn g32_too_many_refused_credentials_stop_that_address_alone_and_before_any_look() {
    let edge = fixture();
    let wrong = format!("gw_{}_{}", edge.entry.id, "x".repeat(43));
    for _ in 0..10 {
        assert_eq!(edge.with_key("/need/a", HERE, &wrong).await.status(), 401);
        // A good one gives nothing back.
        assert_eq!(edge.with_key("/need/a", "192.0.2.2", edge.key.expose()).await.status(), 200);
    }
    let refused = edge.with_key("/need/a", HERE, edge.key.expose()).await;
    assert_eq!(refused.status(), 429, "even a good one is not looked at");
    assert_eq!(text(&refused, "retry-after"), ["6"]);
    assert_eq!(text(&refused, "ratelimit-policy"), ["\"auth-failures\";q=10;w=60", "\"address\";q=1000;w=10"]);
    assert_eq!(json_of(refused).await["code"], "too_many_requests");
    assert_eq!(edge.get("/open", &[]).await.status(), 200, "who shows none is not stopped");
    assert_eq!(edge.with_key("/need/a", "192.0.2.2", edge.key.expose()).await.status(), 200);
    assert_eq!(edge.hits(Limit::AuthFailures), 1);
    assert!(edge.counted("gatewatch_auth_total{method=\"x_api_key\",outcome=\"throttled\"} 1"));
    assert!(edge.log().contains("auth_outcome=\"throttled\""));
}

#[tokio::test(start_paused = true)]
async fn g32_g56_a_guesser_that_waits_as_told_gets_one_more_try() {
    let edge = fixture();
    for _ in 0..10 {
        edge.with_key("/need/a", HERE, "gw_x_y").await;
    }
    let refused = edge.with_key("/need/a", HERE, edge.key.expose()).await;
    assert_eq!(text(&refused, "retry-after"), ["6"]);
    tokio::time::advance(Duration::from_secs(6)).await;
    assert_eq!(edge.with_key("/need/a", HERE, edge.key.expose()).await.status(), 200);
}

#[tokio::test]
async fn g58_one_handler_too_many_is_answered_503_at_once_and_streams_hold_no_place() {
    let edge = limited(|s| s.limits.requests_in_flight = 1);
    let stream = edge.get("/stream", &[]).await;
    assert_eq!(stream.status(), 200);
    let mut slow = Box::pin(edge.get("/slow", &[]));
    assert!(futures_util::poll!(&mut slow).is_pending());
    let began = Instant::now();
    let shed = edge.get("/open", &[]).await;
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(text(&shed, "retry-after"), ["1"]);
    assert_eq!((shed.status().as_u16(), json_of(shed).await["code"].clone()), (503, json!("overloaded")));
    assert_eq!(edge.hits(Limit::InFlight), 1);
    drop(slow);
    assert_eq!(edge.get("/open", &[]).await.status(), 200);
    drop(stream);
}

#[tokio::test]
async fn g68_a_panic_frees_its_place() {
    let edge = limited(|s| s.limits.requests_in_flight = 1);
    for _ in 0..3 {
        assert_eq!(edge.get("/panic", &[]).await.status(), 500);
    }
    assert_eq!(edge.get("/open", &[]).await.status(), 200);
}

/// A body of one byte a second.
fn trickle() -> Body {
    Body::from_stream(futures_util::stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Some((Ok::<_, io::Error>("x"), ()))
    }))
}

#[tokio::test(start_paused = true)]
async fn g53_a_body_of_a_byte_a_second_is_cut_off_and_counted() {
    let edge = fixture();
    let began = tokio::time::Instant::now();
    let cut = limited(|_| ()).send(Request::post("/echo"), trickle()).await;
    assert_eq!((cut.status().as_u16(), text(&cut, "connection")), (408, vec!["close"]));
    assert_eq!(began.elapsed().as_secs(), 10);
    let edge_with_short_head = edge.send(Request::post("/echo"), trickle()).await;
    assert_eq!(edge_with_short_head.status(), 503, "the head's time is over first");

    let edge = limited(|s| s.head_timeout = Duration::from_secs(60));
    edge.send(Request::post("/echo"), trickle()).await;
    edge.send(Request::post("/echo"), vec![b'x'; 64 * 1024 + 1]).await;
    assert_eq!((edge.hits(Limit::BodyTime), edge.hits(Limit::Body)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn g53_g58_bodies_that_trickle_in_take_nothing_from_requests_without_one() {
    let edge = limited(|s| s.limits.requests_in_flight = 1);
    let mut slow = Box::pin(edge.send(Request::post("/echo"), trickle()));
    assert!(futures_util::poll!(&mut slow).is_pending());
    assert_eq!(edge.get("/open", &[]).await.status(), 200);
    assert_eq!(edge.send(Request::post("/echo"), "more").await.status(), 503, "bodies are bounded too");
    drop(slow);
    assert_eq!(edge.send(Request::post("/echo"), "more").await.status(), 200);
}

#[tokio::test]
async fn g63_a_reload_keeps_what_was_counted_unless_the_numbers_change() {
    let edge = limited(|s| (s.limits.requests_per_second, s.limits.burst) = (1, 500));
    let mut limits = edge.edge.settings().limits.clone();
    edge.until_refused("/open", from(HERE)).await;
    limits.streams_per_ip = 7;
    edge.edge.limits().replace(limits.clone());
    let mut statuses = Vec::new();
    for _ in 0..300 {
        statuses.push(edge.get("/open", &[]).await.status().as_u16());
    }
    assert!(statuses.contains(&429), "it began anew");
    limits.burst = 400;
    edge.edge.limits().replace(limits);
    for _ in 0..300 {
        assert_eq!(edge.get("/open", &[]).await.status(), 200);
    }
}

#[tokio::test]
async fn g55_a_full_table_is_closed_to_strangers_and_open_to_principals() {
    // A quota that takes an hour to come back.
    let edge = limited(|s| (s.limits.requests_per_second, s.limits.burst) = (1, 3600));
    edge.edge.limits().fill_addresses();
    let refused = edge.get("/open", &[]).await;
    assert_eq!(text(&refused, "retry-after"), ["1"]);
    assert_eq!((refused.status().as_u16(), json_of(refused).await["code"].clone()), (429, json!("too_many_requests")));
    assert_eq!(edge.with_key("/need/a", HERE, edge.key.expose()).await.status(), 200);
    assert_eq!(edge.with_key("/need/a", HERE, "gw_x_y").await.status(), 401);
    assert_eq!(edge.hits(Limit::RequestsTableFull), 1);
}
