//! What a stream is, to the letter: headers, first frames, parameters, resume, leaving.

use std::time::Duration;

use crate::support::{Gateway, SIMULATED, Sse, eventually};

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
async fn without_a_key_there_is_nothing() {
    let gateway = Gateway::start(SIMULATED).await;
    for path in ["/api/benchmark-sse", "/api/vms", "/api/tasks", "/api/current-run", "/api/probe-vm"] {
        let response = gateway.anonymous().get(gateway.url(path)).send().await.expect("an answer");
        assert_eq!(response.status(), 401, "{path}");
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
