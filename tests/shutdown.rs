//! A stop is staged and bounded: not ready, no new streams, every stream ended with a `retry:` of its own, then exit.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{Gateway, Process, SIMULATED, Scheme, eventually, plain};

#[tokio::test(flavor = "multi_thread")]
async fn g46_g64_open_streams_are_ended_by_us_each_with_its_own_retry_and_the_process_is_over_in_time() {
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
async fn g46_g64_a_draining_gateway_is_not_ready_and_takes_no_new_stream() {
    let gateway = Gateway::start(SIMULATED).await;
    gateway.wait_for_stage("demo-a", "running").await;
    assert_eq!(gateway.admin("/readyz").await.0, 200);
    assert_eq!(gateway.admin("/healthz").await.0, 200);
    let mut stream = gateway.stream("interval=1").await;
    stream.next().await.expect("connected");
    gateway.signal_stop().await;
    // The signal is taken, and a moment later acted on.
    let ready =
        async || plain().get(gateway.admin_url("/readyz")).send().await.is_ok_and(|answer| answer.status() == 200);
    eventually(Duration::from_secs(5), || async { !ready().await }).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn g64_a_stop_says_not_ready_at_once_and_goes_on_serving_until_load_balancers_have_noticed() {
    let mut served = Process::start(Scheme::Http, SIMULATED).await;
    let status = async |path: &str| {
        // A client of its own each time: a new connection must come in too.
        let answer = plain().get(served.url(path)).bearer_auth(served.key()).send().await;
        answer.map(|answer| answer.status().as_u16()).ok()
    };
    assert_eq!(status("/readyz").await, Some(200));
    let mut stream = served.stream().await;
    stream.next().await.expect("connected");
    let began = Instant::now();
    served.signal(Signal::TERM);
    while status("/readyz").await == Some(200) {
        assert!(began.elapsed() < Duration::from_secs(2), "it still says that it is ready");
    }
    assert_eq!(status("/readyz").await, Some(503));
    assert_eq!(status("/api/vms").await, Some(200), "a request that a load balancer still sends here");
    let mut late = served.stream().await;
    assert_eq!(late.next().await.expect("connected").event, "connected", "a stream likewise");
    for stream in [&mut stream, &mut late] {
        while stream.next().await.is_some() {}
        assert!(stream.retry().is_some_and(|retry| retry >= 2000), "each ends with its time to come back");
    }
    let ended = served.ended(Duration::from_secs(12)).await;
    assert!(ended.success(), "{ended:?}");
    assert!(began.elapsed() >= Duration::from_secs(1), "no load balancer notices that fast: {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn g64_a_second_signal_ends_the_process_at_once() {
    let mut served = Process::start(Scheme::Http, SIMULATED).await;
    let mut stream = served.stream().await;
    stream.next().await.expect("connected");
    served.signal(Signal::TERM);
    while served.admin("/readyz").await.is_some_and(|(status, _)| status == 200) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let began = Instant::now();
    served.signal(Signal::TERM);
    let ended = served.ended(Duration::from_secs(10)).await;
    assert!(!ended.success(), "a stop that was cut short is told: {ended:?}");
    // A stop in order takes three seconds before the first stream ends.
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}
