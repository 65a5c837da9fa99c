//! Behind a real load balancer: who the client is, that streams flow, and that a rolling restart costs no request.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::{Client, ClientBuilder, StatusCode, Version};
use rustix::process::Signal;

use crate::support::{HaProxy, Process, SIMULATED, Scheme, Sse, builder, bundle, eventually, trusting_builder};

/// The address that clients come from: one of loopback, and not the load balancer's.
const CLIENT: &str = "127.0.0.7";
/// An address that a client claims to have.
const FORGED: &str = "203.0.113.9";
/// A frame that was held back would wait for the heartbeat, 15 s.
const PROMPT: Duration = Duration::from_secs(5);
/// Believes the load balancer, and lets an address open two streams.
const BEHIND_PROXY: &str = "[proxy]\ntrusted = [\"127.0.0.1\"]\n[limits]\nstreams_per_ip = 2\n";

fn from(client: ClientBuilder, last: u8) -> ClientBuilder {
    client.local_address(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)))
}

/// A load balancer in front of `served`, and how its clients begin.
struct Front {
    balancer: HaProxy,
    ca: Option<Vec<u8>>,
}

impl Front {
    fn url(&self, path: &str) -> String {
        let scheme = if self.ca.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}{path}", self.balancer.port)
    }

    fn client(&self, last: u8) -> ClientBuilder {
        from(self.ca.as_deref().map_or_else(builder, trusting_builder), last)
    }

    /// The answer to a request for a stream that claims to come from [`FORGED`].
    async fn open(&self, client: &Client, served: &Process) -> reqwest::Response {
        let request = client.get(self.url("/api/benchmark-sse?interval=60")).bearer_auth(served.key());
        request.header("x-forwarded-for", FORGED).send().await.expect("an answer")
    }

    /// A stream's first event is there at once, over either version of HTTP.
    async fn streams_flow(&self, served: &Process) {
        let http1 = self.client(7).http1_only().build().expect("a client");
        let http2 = self.client(7).build().expect("a client");
        for (client, version) in [(http1, Version::HTTP_11), (http2, Version::HTTP_2)] {
            let opened = async {
                let answer = self.open(&client, served).await;
                assert_eq!((answer.status(), answer.version()), (StatusCode::OK, version));
                let mut stream = Sse::new(answer);
                assert_eq!(stream.next().await.expect("connected").event, "connected");
                stream.until(PROMPT, |frame| frame.event == "status").await;
            };
            tokio::time::timeout(PROMPT, opened).await.expect("prompt");
        }
    }

    /// The access log names `wanted` as the client, whatever the request itself says.
    async fn client_is(&self, served: &Process, wanted: &str) {
        let client = self.client(7).build().expect("a client");
        let request = client.get(self.url("/api/tasks")).bearer_auth(served.key());
        let request = request.header("x-forwarded-for", FORGED).header("forwarded", format!("for={FORGED}"));
        assert_eq!(request.header("x-real-ip", FORGED).send().await.expect("an answer").status(), StatusCode::OK);
        for line in served.access(|line| line["route"] == "/api/tasks").await {
            assert_eq!(line["client"], wanted, "{line}");
        }
    }

    /// Limits are those of the client, not of the load balancer, and no forged header makes new ones.
    async fn limits_are_the_clients(&self, served: &Process) {
        let (seven, eight) = (self.client(7).build().expect("a client"), self.client(8).build().expect("a client"));
        // The streams of before are gone when their connections are.
        let none_open = || async { open_streams(served).await == 0.0 };
        eventually(Duration::from_secs(10), none_open).await;
        let held = [self.open(&seven, served).await, self.open(&seven, served).await];
        assert!(held.iter().all(|answer| answer.status() == StatusCode::OK), "{held:?}");
        let third = self.open(&seven, served).await;
        assert_eq!(third.status(), StatusCode::TOO_MANY_REQUESTS, "a third stream of one address");
        assert!(third.headers().contains_key("retry-after"));
        assert_eq!(self.open(&eight, served).await.status(), StatusCode::OK, "of another address");
    }
}

async fn open_streams(served: &Process) -> f64 {
    let (_, text) = served.admin("/metrics").await.expect("metrics");
    let line = text.lines().find_map(|line| line.strip_prefix("gatewatch_streams_open "));
    line.and_then(|value| value.parse().ok()).expect("the gauge")
}

/// TLS ends at the load balancer; `server` is what stands behind the address of gatewatch.
///
/// With `abortonclose` HAProxy lets go of a stream when its client leaves; without it, only when the next bytes cannot be
/// passed on, and until then the stream counts.
async fn terminating(served: &Process, server: &str) -> Front {
    let pem = served.tls.cert.with_file_name("both.pem");
    bundle(&served.tls.cert, &served.tls.key, &pem);
    let lines = format!(
        "    mode http\n    {{bind}} ssl crt {} alpn h2,http/1.1\n    option forwardfor\n    option abortonclose\n    server a 127.0.0.1:{} {server}",
        pem.display(),
        served.port
    );
    Front { balancer: HaProxy::start(&lines).await, ca: Some(served.ca()) }
}

/// The load balancer passes bytes on, TLS and all; `server` as before.
async fn passing(served: &Process, server: &str) -> Front {
    let lines = format!("    mode tcp\n    {{bind}}\n    server a 127.0.0.1:{} {server}", served.port);
    Front { balancer: HaProxy::start(&lines).await, ca: Some(served.ca()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn g2_g52_haproxy_that_ends_tls_and_forwards_in_clear_text() {
    let served = Process::start(Scheme::Http, &format!("{BEHIND_PROXY}{SIMULATED}")).await;
    let front = terminating(&served, "").await;
    front.streams_flow(&served).await;
    front.client_is(&served, CLIENT).await;
    front.limits_are_the_clients(&served).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g2_g52_haproxy_that_ends_tls_and_encrypts_anew() {
    let served = Process::start(Scheme::Https, &format!("{BEHIND_PROXY}{SIMULATED}")).await;
    let ca = served.tls.ca.display();
    let verified = format!("ssl verify required ca-file {ca} sni str(localhost) verifyhost localhost alpn h2,http/1.1");
    let front = terminating(&served, &verified).await;
    front.streams_flow(&served).await;
    front.client_is(&served, CLIENT).await;
    front.limits_are_the_clients(&served).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g11_g52_haproxy_that_passes_tls_through_with_proxy_v2() {
    let proxy = "[proxy]\ntrusted = [\"127.0.0.1\"]\nprotocol = \"required\"\n[limits]\nstreams_per_ip = 2\n";
    let served = Process::start(Scheme::Https, &format!("{proxy}{SIMULATED}")).await;
    let front = passing(&served, "send-proxy-v2").await;
    front.streams_flow(&served).await;
    front.client_is(&served, CLIENT).await;
    front.limits_are_the_clients(&served).await;
    let direct = trusting_builder(&served.ca()).build().expect("a client");
    assert!(direct.get(served.url("/healthz")).send().await.is_err(), "without a PROXY header nobody comes in");
}

#[tokio::test(flavor = "multi_thread")]
async fn g1_g52_haproxy_that_passes_tls_through_and_says_nothing() {
    let served = Process::start(Scheme::Https, SIMULATED).await;
    let front = passing(&served, "").await;
    front.streams_flow(&served).await;
    front.client_is(&served, "127.0.0.1").await;
}

/// Ordinary requests through `url`, one after the other, until it is told to stop: how many went well, and what did not.
async fn keep_asking(client: Client, url: String, key: String, stop: Arc<AtomicBool>) -> (usize, Vec<String>) {
    let (mut good, mut failed) = (0, Vec::new());
    while !stop.load(Ordering::Relaxed) {
        match client.get(&url).bearer_auth(&key).send().await {
            Ok(answer) if answer.status() == StatusCode::OK => match answer.bytes().await {
                Ok(_) => good += 1,
                Err(error) => failed.push(error.to_string()),
            },
            Ok(answer) => failed.push(answer.status().to_string()),
            Err(error) => failed.push(format!("{error:?}")),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    (good, failed)
}

/// Health is asked every 200 ms and the second failure believed. `redispatch` and `retries` are what HAProxy's manual
/// advises: a connection that was refused is tried again, on the other server in the end. No request that reached a
/// server is repeated.
fn balanced(one: &Process, two: &Process) -> String {
    format!(
        "    mode http\n    {{bind}}\n    balance roundrobin\n    option httpchk GET /readyz\n    option redispatch\n    \
         retries 3\n    default-server check inter 200ms fall 2 rise 2\n    server one 127.0.0.1:{}\n    server two 127.0.0.1:{}",
        one.port, two.port
    )
}

/// Ends `served` as an operator does, starts it anew, and waits until it is asked again.
async fn restart_in_order(served: &mut Process) {
    served.signal(Signal::TERM);
    let status = served.ended(Duration::from_secs(20)).await;
    assert!(status.success(), "{status:?}");
    served.restart().await;
    let asked = |log: &str| log.matches("/api/vms").count();
    let before = asked(&served.log());
    eventually(Duration::from_secs(20), || async { asked(&served.log()) > before + 10 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g64_a_rolling_restart_behind_haproxy_fails_no_request_and_streams_come_back() {
    let limits = "[limits]\nrequests_per_second = 10000\nburst = 100000\nprincipal_requests_per_second = 10000\nprincipal_burst = 100000\n";
    let mut one = Process::start(Scheme::Http, &format!("{limits}{SIMULATED}")).await;
    let mut two = one.twin().await;
    let front = Front { balancer: HaProxy::start(&balanced(&one, &two)).await, ca: None };
    let stop = Arc::new(AtomicBool::new(false));
    let key = one.key().to_owned();
    let asking: Vec<_> = (0..4)
        .map(|_| {
            let client = front.client(7).build().expect("a client");
            tokio::spawn(keep_asking(client, front.url("/api/vms"), key.clone(), Arc::clone(&stop)))
        })
        .collect();
    let resumed = Arc::new(AtomicUsize::new(0));
    let watching = tokio::spawn(keep_watching(
        front.client(7).build().expect("a client"),
        front.url("/api/benchmark-sse?interval=1"),
        key,
        Arc::clone(&stop),
        Arc::clone(&resumed),
    ));

    restart_in_order(&mut one).await;
    restart_in_order(&mut two).await;
    eventually(Duration::from_secs(30), || async { resumed.load(Ordering::Relaxed) > 0 }).await;
    stop.store(true, Ordering::Relaxed);
    let (mut good, mut failed) = (0, Vec::new());
    for task in asking {
        let (g, f) = task.await.expect("no panic");
        good += g;
        failed.extend(f);
    }
    assert_eq!(failed, Vec::<String>::new(), "of {}", good + failed.len());
    assert!(good > 200, "{good} requests show nothing");
    watching.await.expect("no panic");
}

/// Watches as an `EventSource` does: at the end of a stream it waits as long as `retry` said and comes back with the last
/// id. Counts the streams that were there again with all that is known.
async fn keep_watching(client: Client, url: String, key: String, stop: Arc<AtomicBool>, resumed: Arc<AtomicUsize>) {
    let mut last_id: Option<String> = None;
    while !stop.load(Ordering::Relaxed) {
        let mut request = client.get(&url).bearer_auth(&key);
        if let Some(id) = &last_id {
            request = request.header("last-event-id", id);
        }
        let answer = request.send().await.expect("an answer");
        // A server that is told to stop may say so: with the time to wait, never with a connection that breaks.
        if answer.status() == StatusCode::SERVICE_UNAVAILABLE {
            assert!(answer.headers().contains_key("retry-after"), "{answer:?}");
            tokio::time::sleep(Duration::from_secs(1)).await;
            continue;
        }
        assert_eq!(answer.status(), StatusCode::OK);
        let mut stream = Sse::new(answer);
        while !stop.load(Ordering::Relaxed) {
            match tokio::time::timeout(Duration::from_millis(200), stream.next()).await {
                Ok(Some(frame)) => {
                    if frame.event == "status" && last_id.is_some() {
                        resumed.fetch_add(1, Ordering::Relaxed);
                    }
                }
                Ok(None) => {
                    assert!(stream.retry().is_some_and(|retry| retry >= 2000), "the last word is when to come back");
                    break;
                }
                Err(_) => {}
            }
        }
        if stream.last_id.is_some() {
            last_id = stream.last_id.take();
        }
        if !stop.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(stream.retry().unwrap_or(1000))).await;
        }
    }
}
