use std::time::Duration;

use super::*;

const SSE: &str = "/api/benchmark-sse";

async fn lab() -> Lab {
    Lab::new(vec![entry("a", None), entry("b", None)]).await
}

/// The data of the `connected` event, the first on every stream.
async fn connected(response: Response<Body>) -> Value {
    assert_eq!(response.status(), StatusCode::OK);
    let (mut body, mut text) = (response.into_body(), String::new());
    loop {
        if let Some((_, rest)) = text.split_once("event: connected\ndata: ")
            && let Some((data, _)) = rest.split_once("\n\n")
        {
            return serde_json::from_str(data).expect("JSON");
        }
        let frame = body.frame().await.expect("a stream does not end").expect("nor fail");
        text.push_str(std::str::from_utf8(&frame.into_data().expect("data")).expect("UTF-8"));
    }
}

#[tokio::test]
async fn g52_a_stream_has_exactly_the_headers_that_keep_proxies_from_holding_it_back() {
    let response = lab().await.get(SSE).await;
    assert_eq!(response.status(), StatusCode::OK);
    let headers = response.headers();
    assert_eq!(headers[header::CONTENT_TYPE], "text/event-stream");
    assert_eq!(headers[header::CACHE_CONTROL], "no-cache, no-transform");
    assert_eq!(headers["x-accel-buffering"], "no");
    assert_eq!(headers.len(), 3, "{headers:?}");
}

#[tokio::test]
async fn the_interval_is_clamped_and_told() {
    let lab = lab().await;
    for (query, wanted) in [
        ("", 5),
        ("?interval=2", 2),
        ("?interval=0", 1),
        ("?interval=-1", 1),
        ("?interval=61", 60),
        ("?interval=1000000000", 60),
        ("?interval=1e9", 60),
        ("?interval=+7", 7),
    ] {
        let data = connected(lab.get(&format!("{SSE}{query}")).await).await;
        assert_eq!(data["interval"], wanted, "{query}");
    }
    for query in ["?interval=abc", "?interval=", "?interval=NaN", "?interval=%00", "?interval=%ff"] {
        problem(lab.get(&format!("{SSE}{query}")).await, 400, "invalid_interval").await;
    }
    problem(lab.get(&format!("{SSE}?interval=5&interval=5")).await, 400, "repeated_parameter").await;
}

#[tokio::test]
async fn a_vm_that_is_not_granted_answers_as_one_that_is_not_there() {
    let lab = Lab::new(vec![entry("alpha", None), entry("beta", None)]).await;
    let ask = async |vm: &str| {
        let path = format!("{SSE}?vm={vm}&vm=alpha");
        let found = lab.send(request("GET", &path, Some(principal(&["alpha"])))).await;
        let problem = problem(found, 404, "unknown_vm").await;
        let text = ["title", "detail"].map(|key| problem[key].to_string()).concat();
        assert!(!text.contains("alpha"), "it lists others: {text}");
        text
    };
    let (not_granted, absent) = (ask("beta").await.replace("beta", "X"), ask("gamma").await.replace("gamma", "X"));
    assert_eq!(not_granted, absent);
    ask("a;rm").await;
    ask("").await;
    let response = lab.send(request("GET", &format!("{SSE}?vm=alpha"), Some(principal(&["alpha"])))).await;
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn no_credential_and_too_small_a_credential_open_nothing() {
    let lab = lab().await;
    problem(lab.send(request("GET", SSE, None)).await, 401, "unauthorized").await;
    let writer = Principal { scopes: [Scope::VmsWrite].into_iter().collect(), ..principal(&["*"]) };
    problem(lab.send(request("GET", SSE, Some(writer))).await, 403, "forbidden").await;
}

fn room_for(max_streams: usize) -> HubConfig {
    HubConfig { max_streams, ..HubConfig::default() }
}

#[tokio::test]
async fn head_tells_the_headers_and_opens_no_stream() {
    let lab = Lab::with(vec![], room_for(0)).await;
    let response = lab.send(request("HEAD", SSE, Some(principal(&["*"])))).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
}

#[tokio::test]
async fn g46_g58_a_stream_that_cannot_be_had_now_says_when_to_come_back() {
    for (room, stopping, code) in [(0, false, "too_many_streams"), (1, true, "stopping")] {
        let lab = Lab::with(vec![], room_for(room)).await;
        if stopping {
            lab.hub.drain(Duration::from_secs(1));
        }
        let response = lab.get(SSE).await;
        let wait: u32 = response.headers()[header::RETRY_AFTER].to_str().expect("text").parse().expect("a number");
        assert!((1..=60).contains(&wait));
        problem(response, 503, code).await;
    }
}

#[tokio::test]
async fn g47_a_stream_holds_its_place_until_its_body_is_dropped() {
    let mut settings = EdgeSettings { auth: AuthMode::Open, ..EdgeSettings::default() };
    settings.limits.streams_per_principal = 2;
    let lab = Lab::behind(vec![], HubConfig::default(), settings).await;
    let (first, _second) = (lab.get(SSE).await, lab.get(SSE).await);
    let refused = lab.get(SSE).await;
    let wait: u32 = refused.headers()[header::RETRY_AFTER].to_str().expect("text").parse().expect("a number");
    assert!((1..=60).contains(&wait));
    assert_eq!(refused.headers()["ratelimit-policy"], "\"streams-per-principal\";q=2;qu=\"concurrent-requests\"");
    problem(refused, 429, "stream_limit").await;
    let head = lab.send(request("HEAD", SSE, Some(principal(&["*"])))).await;
    assert_eq!(head.status(), StatusCode::OK, "HEAD opens no stream");
    drop(first);
    assert_eq!(lab.get(SSE).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn g47_a_stream_that_the_hub_refuses_holds_no_place() {
    let mut settings = EdgeSettings { auth: AuthMode::Open, ..EdgeSettings::default() };
    settings.limits.streams_per_ip = 1;
    let lab = Lab::behind(vec![], room_for(1), settings).await;
    for _ in 0..3 {
        problem(lab.get(&format!("{SSE}?vm=nope")).await, 404, "unknown_vm").await;
    }
    assert_eq!(lab.get(SSE).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn g49_a_key_that_is_revoked_while_its_stream_opens_gets_none() {
    // Its principal was let in, and by now there is no such key.
    let lab = Lab::behind(vec![], HubConfig::default(), EdgeSettings::default()).await;
    problem(lab.get(SSE).await, 401, "unauthorized").await;
    assert_eq!(lab.hub.streams(), 0);
}
