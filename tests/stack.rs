//! The whole of `docker/compose.yml`, but for what only a registry has: three gateways on three NATS servers behind HAProxy, and
//! a machine to watch.

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::Version;

use crate::lab::skip;
use crate::support::{Image, Stack, eventually, nats_program};

const SOON: Duration = Duration::from_secs(30);
/// A frame that HAProxy held back would wait for the heartbeat, 15 s.
const PROMPT: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn the_stack_of_compose_carries_streams_through_haproxy_and_a_gateway_that_stops_costs_no_request_and_no_event() {
    let Some(image) = Image::for_test().await else { return };
    if nats_program().is_none() {
        skip("no nats-server: run docker/install-nats-server");
        return;
    }
    let stack = Stack::start(image).await.unwrap_or_else(|why| panic!("{why}"));
    let answers = async || stack.get("/api/vms").await.is_some_and(|answer| answer.status() == 200);
    eventually(SOON, answers).await;
    let answer = stack.get("/api/vms").await.expect("an answer");
    assert_eq!(answer.version(), Version::HTTP_2);

    let mut stream = stack.stream(None).await;
    let connected = stream.next().await.expect("a frame");
    assert_eq!(connected.event, "connected");
    stream.until(PROMPT, |frame| frame.event == "status" && frame.text("vm") == "demo").await;
    let closed = |frame: &crate::support::Frame| frame.event == "task_complete" && frame.text("vm") == "lab";
    let mut seen = stream.until(SOON, closed).await;
    let last = seen.pop().and_then(|frame| frame.id).expect("an event with an id");
    let polled = async |but: &str| {
        stack.polled().await.is_some_and(|by| by.keys().eq(["demo", "lab"]) && by.values().all(|by| by != but))
    };
    eventually(SOON, || polled("")).await;

    let serving = stack.service_of(connected.text("replica")).await;
    let stop = ["stop", serving];
    let stopping = stack.compose(&stop);
    tokio::pin!(stopping);
    let mut asked = 0;
    let stopped = loop {
        tokio::select! {
            stopped = &mut stopping => break stopped,
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
        }
        assert!(answers().await, "request {asked} failed while {serving} stopped:\n{}", stack.log().await);
        asked += 1;
    };
    stopped.unwrap_or_else(|why| panic!("{why}"));
    assert!(asked > 0, "nothing was asked meanwhile");
    let mut keys = BTreeSet::new();
    while let Some(frame) = stream.next().await {
        assert!(!closed(&frame) || keys.insert(frame.text("key").to_owned()), "twice: {frame:?}");
    }
    assert!(stream.retry().is_some(), "it was ended with a time to come back");
    eventually(SOON, || polled(connected.text("replica"))).await;

    // Any other one goes on with the client where it was.
    let mut again = stack.stream(Some(&last)).await;
    let resumed = again.next().await.expect("a frame");
    assert_eq!(resumed.event, "connected");
    assert_ne!(resumed.text("replica"), connected.text("replica"));
    let since = again.until(SOON, |frame| closed(frame) && !keys.contains(frame.text("key"))).await;
    assert!(since.iter().all(|frame| frame.event != "reset"), "{since:#?}");
    let told = since.iter().filter(|frame| closed(frame) && keys.remove(frame.text("key"))).count();
    assert!(keys.is_empty(), "of {} it was told {told} again; missing: {keys:?}", told + keys.len());
    // NATS refused none of them anything that it asked for.
    let log = stack.log().await;
    assert!(!log.contains("Violation"), "{log}");
}
