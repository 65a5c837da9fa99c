//! A stop is staged and bounded: not ready, no new streams, every stream ended with a `retry:` of its own, then exit.

use std::time::{Duration, Instant};

use crate::support::{Gateway, SIMULATED};

#[tokio::test(flavor = "multi_thread")]
async fn open_streams_are_ended_by_us_each_with_its_own_retry_and_the_process_is_over_in_time() {
    let gateway = Gateway::start(SIMULATED).await;
    let mut streams = Vec::new();
    for _ in 0..50 {
        let mut stream = gateway.stream("interval=1").await;
        stream.next().await.expect("connected");
        streams.push(stream);
    }
    let began = Instant::now();
    let stopping = tokio::spawn(gateway.stop());
    let mut retries = Vec::new();
    for stream in &mut streams {
        while stream.next().await.is_some() {}
        retries.push(stream.retry().expect("a retry"));
    }
    stopping.await.expect("the stop");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    retries.sort_unstable();
    retries.dedup();
    assert!(retries.len() > 10, "reconnects are spread: {retries:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_gateway_is_not_ready_and_takes_no_new_stream() {
    let gateway = Gateway::start(SIMULATED).await;
    gateway.wait_for_stage("demo-a", "running").await;
    assert_eq!(gateway.admin("/readyz").await.0, 200);
    assert_eq!(gateway.admin("/healthz").await.0, 200);
    let mut stream = gateway.stream("interval=1").await;
    stream.next().await.expect("connected");
    gateway.signal_stop().await;
    // Until the listener closes, what still gets in is told to go elsewhere.
    let answer = gateway.try_get("/api/benchmark-sse").await;
    assert!(answer.is_none_or(|status| status == 503), "{answer:?}");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_leaves_no_task_behind() {
    let gateway = Gateway::start(SIMULATED).await;
    gateway.wait_for_stage("demo-a", "running").await;
    let left = gateway.stop().await;
    assert!(left.is_empty(), "{left:?}");
}
