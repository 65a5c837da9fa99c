//! Nobody can use up what is there for all: streams, requests and guesses are bounded per address and per principal.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::support::{Gateway, SIMULATED, Sse, eventually};

/// An address of this machine that other clients of these tests do not come from.
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 7));

async fn limited(limits: &str, tls: &str) -> Gateway {
    Gateway::start_with(&format!("[limits]\n{limits}\n{SIMULATED}"), tls).await
}

fn elsewhere() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().local_address(ELSEWHERE).build().expect("a client")
}

fn number(response: &reqwest::Response, header: &str) -> u64 {
    response.headers()[header].to_str().expect("text").parse().expect("a number")
}

async fn open(gateway: &Gateway) -> Sse {
    let mut stream = gateway.stream("").await;
    assert_eq!(stream.next().await.expect("connected").event, "connected");
    stream
}

/// One more stream is refused with `policy`.
async fn one_more_is_refused(gateway: &Gateway, policy: &str) {
    let refused = gateway.get("/api/benchmark-sse").await;
    assert_eq!(refused.status(), 429);
    assert!((1..=60).contains(&number(&refused, "retry-after")));
    let policies = refused.headers().get_all("ratelimit-policy").iter();
    assert!(policies.into_iter().any(|line| line == policy), "{:?}", refused.headers());
    assert_eq!(refused.headers()["content-type"], "application/problem+json");
    assert_eq!(refused.json::<serde_json::Value>().await.expect("JSON")["code"], "stream_limit");
}

#[tokio::test(flavor = "multi_thread")]
async fn g47_g48_streams_of_one_principal_are_counted_one_by_one_over_a_single_http2_connection() {
    let gateway = limited("streams_per_principal = 3", "mode = \"dev\"").await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(open(&gateway).await);
    }
    assert_eq!(gateway.get("/api/vms").await.version(), reqwest::Version::HTTP_2);
    assert_eq!(gateway.metric("gatewatch_connections").await, 1.0);
    one_more_is_refused(&gateway, "\"streams-per-principal\";q=3;qu=\"concurrent-requests\"").await;
    assert_eq!(gateway.metric("gatewatch_limit_hits_total{limit=\"streams_per_principal\"}").await, 1.0);
    assert_eq!(gateway.get("/api/vms").await.status(), 200, "what is no stream is not affected");

    // Closed by the client, over a connection that stays: the place is free within a second.
    drop(streams.pop());
    eventually(Duration::from_secs(5), || async { gateway.metric("gatewatch_streams_open").await == 2.0 }).await;
    streams.push(open(&gateway).await);
    one_more_is_refused(&gateway, "\"streams-per-principal\";q=3;qu=\"concurrent-requests\"").await;
    assert_eq!(gateway.metric("gatewatch_connections").await, 1.0);
    drop(streams);
    assert_eq!(gateway.stop().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn g47_g48_streams_of_one_address_are_counted_and_another_address_is_not_affected() {
    let gateway = limited("streams_per_ip = 2", "mode = \"off\"").await;
    let streams = [open(&gateway).await, open(&gateway).await];
    one_more_is_refused(&gateway, "\"streams-per-address\";q=2;qu=\"concurrent-requests\"").await;
    assert_eq!(gateway.metric("gatewatch_limit_hits_total{limit=\"streams_per_ip\"}").await, 1.0);
    let other = elsewhere().get(gateway.url("/api/benchmark-sse")).bearer_auth(gateway.key()).send().await;
    assert_eq!(other.expect("an answer").status(), 200);
    drop(streams);
    eventually(Duration::from_secs(5), || async { gateway.metric("gatewatch_streams_open").await == 0.0 }).await;
    drop(open(&gateway).await);
    assert_eq!(gateway.stop().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn g56_the_rate_of_one_address_stands_on_the_wire_and_who_waits_gets_through() {
    let gateway = limited("requests_per_second = 1\nburst = 5", "mode = \"off\"").await;
    let first = gateway.anonymous().get(gateway.url("/healthz")).send().await.expect("an answer");
    assert_eq!(first.headers()["ratelimit-policy"], "\"address\";q=5;w=5");
    let mut refused = None;
    for _ in 0..200 {
        let answer = gateway.anonymous().get(gateway.url("/healthz")).send().await.expect("an answer");
        if answer.status() == 429 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("a refusal");
    let wait = number(&refused, "retry-after");
    assert_eq!(refused.headers()["ratelimit"], format!("\"address\";r=0;t={wait}"));
    assert!(refused.headers().keys().all(|name| !name.as_str().starts_with("x-ratelimit")), "{:?}", refused.headers());
    assert!(refused.headers().contains_key("x-request-id") && refused.headers().contains_key("x-frame-options"));
    let other = elsewhere().get(gateway.url("/healthz")).send().await.expect("an answer");
    assert_eq!(other.status(), 200, "another address");
    // The limiter's clock is the machine's.
    tokio::time::sleep(Duration::from_secs(wait)).await;
    let again = gateway.anonymous().get(gateway.url("/healthz")).send().await.expect("an answer");
    assert_eq!(again.status(), 200);
    assert_eq!(gateway.stop().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn g32_failed_logins_stop_their_own_address_and_no_other() {
    let gateway = limited("auth_failures_per_minute = 3", "mode = \"off\"").await;
    let guess = || async {
        let request = gateway.anonymous().get(gateway.url("/api/vms")).header("x-api-key", "gw_guess_guess");
        request.send().await.expect("an answer").status().as_u16()
    };
    let mut statuses = Vec::new();
    for _ in 0..20 {
        statuses.push(guess().await);
    }
    assert_eq!(statuses[..3], [401, 401, 401]);
    assert!(statuses[3..].iter().filter(|status| **status == 429).count() >= 10, "{statuses:?}");
    let other = elsewhere().get(gateway.url("/api/vms")).bearer_auth(gateway.key()).send().await;
    assert_eq!(other.expect("an answer").status(), 200);
    let page = gateway.anonymous().get(gateway.url("/")).send().await.expect("an answer");
    assert_eq!(page.status(), 200, "who shows no credential is not stopped");
    assert!(gateway.metric("gatewatch_limit_hits_total{limit=\"auth_failures\"}").await >= 10.0);
    assert_eq!(gateway.stop().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn g12_g28_what_can_be_read_in_two_ways_is_refused_on_the_wire() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let gateway = Gateway::start(SIMULATED).await;
    let address = gateway.url("").replace("http://", "");
    // Written by hand: clients tidy paths up before they send them.
    for head in [
        "GET /api/../healthz HTTP/1.1\r\n",
        "GET //healthz HTTP/1.1\r\n",
        "GET /%2e%2e/healthz HTTP/1.1\r\n",
        "GET /healthz%2f HTTP/1.1\r\n",
        "GET /healthz HTTP/1.1\r\nX_Forwarded_For: 192.0.2.1\r\n",
    ] {
        let mut socket = tokio::net::TcpStream::connect(&address).await.expect("a connection");
        let request = format!("{head}Host: {address}\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.expect("written");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 400"), "{head}: {answer}");
        assert!(answer.contains("x-request-id") && answer.contains("ambiguous_"), "{answer}");
    }
    assert_eq!(gateway.stop().await, "");
}
