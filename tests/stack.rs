//! The whole of `docker/compose.yml`, but for what only a registry has: two gateways behind HAProxy, and a machine to watch.

use std::time::Duration;

use reqwest::Version;

use crate::support::{Image, Stack, eventually};

const SOON: Duration = Duration::from_secs(30);
/// A frame that HAProxy held back would wait for the heartbeat, 15 s.
const PROMPT: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn the_stack_of_compose_carries_streams_through_haproxy_and_a_gateway_that_stops_costs_no_request() {
    let Some(image) = Image::for_test().await else { return };
    let stack = Stack::start(image).await.unwrap_or_else(|why| panic!("{why}"));
    let answers = async || stack.get("/api/vms").await.is_some_and(|answer| answer.status() == 200);
    eventually(SOON, answers).await;
    let answer = stack.get("/api/vms").await.expect("an answer");
    assert_eq!(answer.version(), Version::HTTP_2);

    let mut stream = stack.stream().await;
    let connected = stream.next().await.expect("a frame");
    assert_eq!(connected.event, "connected");
    stream.until(PROMPT, |frame| frame.event == "status" && frame.text("vm") == "demo").await;
    stream.until(SOON, |frame| frame.event == "progress" && frame.text("vm") == "lab").await;

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
    while stream.next().await.is_some() {}
    assert!(stream.retry().is_some(), "it was ended with a time to come back");
    let again = stack.stream().await.next().await.expect("a frame");
    assert_eq!(again.event, "connected");
    assert_ne!(again.text("replica"), connected.text("replica"));
}
