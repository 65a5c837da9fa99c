//! What a stream is, to the letter: headers, first frames, parameters, resume, leaving.

use std::time::{Duration, Instant};

use reqwest::Version;

use crate::support::{Gateway, SIMULATED, Sse, builder, eventually, trusting_builder};

/// Every route that tells something of a VM.
const API_ROUTES: [&str; 8] = [
    "/api/benchmark-sse",
    "/api/benchmark-live",
    "/api/benchmark-progress",
    "/api/current-run",
    "/api/tasks",
    "/api/background-tasks",
    "/api/probe-vm",
    "/api/vms",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_begins_with_retry_connected_and_a_snapshot_whose_last_frame_carries_the_position() {
    let gateway = Gateway::start(SIMULATED).await;
    gateway.wait_for_stage("demo-a", "running").await;
    let response = gateway.get("/api/benchmark-sse?interval=7").await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert!(response.headers()["cache-control"].to_str().expect("text").starts_with("no-cache"));
    assert_eq!(response.headers()["x-accel-buffering"], "no");
    let mut stream = Sse::new(response);
    let first = stream.next().await.expect("a frame");
    assert!((500..=10_000).contains(&stream.retry().expect("retry first")), "{:?}", stream.retry());
    assert_eq!((first.event.as_str(), &first.data["interval"]), ("connected", &7.into()));
    assert!(first.data["version"].is_string() && first.data["view"].is_string() && first.data["replica"].is_string());
    let mut ids = Vec::new();
    let snapshot =
        stream.until(Duration::from_secs(5), |frame| frame.event != "task_complete" && frame.id.is_some()).await;
    ids.extend(snapshot.iter().filter(|f| f.event == "task_complete").map(|f| f.id.clone().expect("an id")));
    assert!(snapshot.iter().any(|f| f.event == "status") && snapshot.iter().any(|f| f.event == "progress"));
    drop(stream);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_interval_is_clamped_and_what_is_no_number_is_refused() {
    let gateway = Gateway::start(SIMULATED).await;
    for (query, interval) in [
        ("", 5),
        ("interval=0", 1),
        ("interval=-1", 1),
        ("interval=61", 60),
        ("interval=1e9", 60),
        ("interval=1000000000", 60),
        ("interval=3", 3),
    ] {
        let mut stream = gateway.stream(query).await;
        assert_eq!(stream.next().await.expect("connected").data["interval"], interval, "{query}");
    }
    for query in ["interval=abc", "interval=1&interval=2", "interval="] {
        let response = gateway.get(&format!("/api/benchmark-sse?{query}")).await;
        assert_eq!(response.status(), 400, "{query}");
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{query}");
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_vm_is_a_404_that_lists_no_other() {
    let gateway = Gateway::start(SIMULATED).await;
    let response = gateway.get("/api/benchmark-sse?vm=nope").await;
    assert_eq!(response.status(), 404);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let text = response.text().await.expect("a body");
    assert!(!text.contains("demo-a"), "{text}");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g45_without_a_key_every_route_of_the_api_answers_401_in_json_and_never_with_a_redirect() {
    let gateway = Gateway::start(SIMULATED).await;
    let client = builder().build().expect("a client");
    let navigation = [("accept", "text/html"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
    let stream = [("accept", "text/event-stream"), ("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty")];
    let stale = [("cookie", "gatewatch=gone; __Host-gatewatch=gone")];
    let wrong = [("authorization", "Bearer gw_abcdefgh_wrong")];
    for path in API_ROUTES {
        for headers in [&navigation[..], &stream[..], &stale[..], &wrong[..]] {
            let mut request = client.get(gateway.url(path));
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let answer = request.send().await.expect("an answer");
            assert_eq!(answer.status(), 401, "{path} {headers:?}");
            assert_eq!(answer.headers()["content-type"], "application/problem+json", "{path}");
            assert!(answer.headers().contains_key("www-authenticate"), "{path}");
            assert!(!answer.headers().contains_key("location"), "{path}");
            let problem: serde_json::Value = answer.json().await.expect("JSON");
            assert_eq!(problem["status"], 401, "{path}: {problem}");
        }
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g69_what_is_behind_a_credential_is_stored_nowhere() {
    let gateway = Gateway::start(SIMULATED).await;
    gateway.wait_for_stage("demo-a", "running").await;
    for path in API_ROUTES.iter().chain(&["/auth/session", "/api/nowhere", "/api/vms?vm=%00"]) {
        let with_key = gateway.get(path).await;
        let without = gateway.anonymous().get(gateway.url(path)).send().await.expect("an answer");
        for answer in [with_key, without] {
            let caching = answer.headers()["cache-control"].to_str().expect("text");
            // A stream is no document: `no-cache` and an endless body keep it out of caches, and the seed's clients and
            // proxies know it so (G52).
            let stream = answer.headers()["content-type"] == "text/event-stream";
            assert_eq!(caching, if stream { "no-cache, no-transform" } else { "no-store" }, "{path}");
        }
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g52_the_first_bytes_of_a_stream_come_at_once_and_uncompressed() {
    let gateway = Gateway::start_with(SIMULATED, "mode = \"dev\"").await;
    gateway.wait_for_stage("demo-a", "running").await;
    let ca = std::fs::read(gateway.dir.path().join("tls/dev-ca.pem")).expect("the CA");
    let http1 = trusting_builder(&ca).http1_only().build().expect("a client");
    let http2 = trusting_builder(&ca).build().expect("a client");
    for (client, version) in [(http1, Version::HTTP_11), (http2, Version::HTTP_2)] {
        let mut took = Vec::new();
        for _ in 0..5 {
            let request = client.get(gateway.url("/api/benchmark-sse?interval=60")).bearer_auth(gateway.key());
            let began = Instant::now();
            let answer = request.header("accept-encoding", "gzip, br, zstd, deflate").send().await.expect("an answer");
            assert_eq!(answer.version(), version);
            assert!(!answer.headers().contains_key("content-encoding"));
            assert!(!answer.headers().contains_key("content-length"));
            Sse::new(answer).next().await.expect("connected");
            took.push(began.elapsed());
        }
        // The best of five: a busy machine may stall one, a held-back frame would wait for the heartbeat each time.
        let best = took.iter().min().expect("five");
        assert!(*best < Duration::from_secs(1), "{version:?}: {took:?}");
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_comes_back_with_its_last_id_misses_nothing_and_sees_nothing_twice() {
    let gateway = Gateway::start(SIMULATED).await;
    gateway.wait_for_stage("demo-a", "running").await;
    let mut seen: Vec<String> = Vec::new();
    let mut stream = gateway.stream("interval=1").await;
    for _ in 0..5 {
        let frames = stream.until(Duration::from_secs(20), |frame| frame.event == "task_complete").await;
        seen.extend(frames.iter().filter(|f| f.event == "task_complete").map(|f| f.text("key").to_owned()));
        let last = stream.last_id.clone().expect("a position");
        drop(stream);
        tokio::time::sleep(Duration::from_millis(300)).await;
        stream = gateway.resume("interval=1", &last).await;
    }
    let frames = stream.until(Duration::from_secs(30), |frame| frame.event == "run_complete").await;
    assert!(frames.iter().all(|f| f.event != "reset"), "a known position is never reset");
    seen.extend(frames.iter().filter(|f| f.event == "task_complete").map(|f| f.text("key").to_owned()));
    let total = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!((seen.len(), total), (30, 30));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_cannot_be_resumed_gets_a_reset_and_a_snapshot() {
    let gateway = Gateway::start(SIMULATED).await;
    gateway.wait_for_stage("demo-a", "running").await;
    for (id, reason) in [("garbage", "invalid_id"), ("otherepoch-5.0", "unknown_epoch")] {
        let mut stream = gateway.resume("interval=1", id).await;
        let frames = stream.until(Duration::from_secs(5), |frame| frame.event == "status").await;
        let reset = frames.iter().find(|f| f.event == "reset").expect("a reset");
        assert_eq!(reset.text("reason"), reason);
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_is_noticed_at_once_and_counted() {
    let gateway = Gateway::start(SIMULATED).await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        let mut stream = gateway.stream("interval=1").await;
        stream.next().await.expect("connected");
        streams.push(stream);
    }
    assert_eq!(gateway.metric("gatewatch_streams_open").await, 20.0);
    streams.clear();
    eventually(Duration::from_secs(2), || async { gateway.metric("gatewatch_streams_open").await == 0.0 }).await;
    assert_eq!(gateway.metric("gatewatch_streams_ended_total{reason=\"client_gone\"}").await, 20.0);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn however_many_watch_a_vm_is_polled_once_per_interval() {
    let gateway = Gateway::start(SIMULATED).await;
    let mut streams = Vec::new();
    for _ in 0..30 {
        streams.push(gateway.stream("interval=1").await);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = gateway.metric("gatewatch_polls_total").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let polls = gateway.metric("gatewatch_polls_total").await - before;
    // A busy machine may make them fewer; what is promised is that they are no more.
    assert!((1.0..=6.0).contains(&polls), "{polls} polls in 5 s");
    gateway.stop().await;
}
