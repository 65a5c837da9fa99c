//! Thousands of clients that are slow on purpose keep an honest one from nothing.

use std::net::{IpAddr, Ipv4Addr};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::Mutex;

use crate::support::{Process, SIMULATED, Scheme, Sse, eventually, trusting_builder};

/// Slow clients at once.
const SLOW: usize = 2000;
/// How long an attack lasts, in seconds, if nothing ends it before.
const SECONDS: u32 = 20;
/// Within which an honest client has its stream.
const SERVED_WITHIN: Duration = Duration::from_secs(1);

/// One attack at a time: it is gatewatch that is to be slowed, not the machine.
static MACHINE: Mutex<()> = Mutex::const_new(());

/// A running slowhttptest, which ends after [`SECONDS`] or with the value.
struct Attack(Child);

impl Attack {
    /// `mode` is one of slowhttptest's; `more` are its further flags.
    fn start(served: &Process, mode: &str, path: &str, more: &[&str]) -> Self {
        let (count, seconds) = (SLOW.to_string(), SECONDS.to_string());
        let child = Command::new("slowhttptest")
            .args([mode, "-c", &count, "-r", "1000", "-l", &seconds, "-i", "5", "-p", "3", "-v", "0", "-u"])
            .arg(served.url(path))
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("slowhttptest is missing: install the Debian package slowhttptest");
        Self(child)
    }

    fn runs(&mut self) -> bool {
        self.0.try_wait().expect("our own child").is_none()
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn metric(served: &Process, series: &str) -> usize {
    let (_, text) = served.admin("/metrics").await.expect("metrics answer under attack too");
    let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {series}"))
}

async fn connections(served: &Process) -> usize {
    metric(served, "gatewatch_connections").await
}

/// How long an honest client from another address waits for its stream's first event, over a new connection.
async fn honest_wait(served: &Process) -> Duration {
    let client = trusting_builder(&served.ca()).local_address(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 7)));
    let client = client.build().expect("a client");
    let began = Instant::now();
    let answer = client.get(served.url("/api/benchmark-sse?interval=1")).bearer_auth(served.key()).send().await;
    let answer = answer.expect("an answer");
    assert_eq!(answer.status(), 200);
    Sse::new(answer).next().await.expect("connected");
    began.elapsed()
}

/// The best of three: a machine that stalls for a moment is not gatewatch's fault, a client that is kept out is kept out
/// three times.
async fn an_honest_client_is_served(served: &Process) {
    let mut waits = Vec::new();
    for _ in 0..3 {
        let wait = tokio::time::timeout(Duration::from_secs(10), honest_wait(served)).await;
        waits.push(wait.unwrap_or(Duration::from_secs(10)));
        if waits.last().is_some_and(|wait| *wait < SERVED_WITHIN) {
            return;
        }
    }
    panic!("an honest client waits {waits:?}");
}

/// The honest client is served while the attack runs, and the attack's connections are gone in the end.
async fn withstands(scheme: Scheme, mode: &str, path: &str, more: &[&str]) {
    let (sections, at_least) = if scheme == Scheme::Https { CAPPED } else { UNCAPPED };
    let _alone = MACHINE.lock().await;
    let served = Process::start(scheme, &format!("{sections}{SIMULATED}")).await;
    let mut attack = Attack::start(&served, mode, path, more);
    eventually(Duration::from_secs(15), || async { connections(&served).await >= at_least }).await;
    if scheme == Scheme::Https {
        let refused =
            || async { metric(&served, "gatewatch_limit_hits_total{limit=\"connections_per_ip\"}").await > 0 };
        eventually(Duration::from_secs(15), refused).await;
    }
    an_honest_client_is_served(&served).await;
    assert!(attack.runs(), "the attack was over before the honest client came");
    assert!(connections(&served).await >= at_least / 2, "the attack did not hold its connections meanwhile");
    drop(attack);
    eventually(Duration::from_secs(15), || async { connections(&served).await <= 5 }).await;
}

/// As by default: an address may hold 512 connections.
const CAPPED: (&str, usize) = ("", 400);
/// The cap out of the way: what is left are the time-outs. Without TLS, whose handshakes slow the slow clients down
/// themselves: they would never be this many at once.
const UNCAPPED: (&str, usize) = ("[limits]\nconnections_per_ip = 4000\n", SLOW * 3 / 4);

#[tokio::test(flavor = "multi_thread")]
async fn g53_g57_two_thousand_slow_headers_are_no_ones_trouble() {
    withstands(Scheme::Https, "-H", "/", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g53_two_thousand_slow_headers_are_withstood_without_a_cap() {
    withstands(Scheme::Http, "-H", "/", &[]).await;
}

/// The one route that reads the body of anybody. An address has 64 places for bodies; further ones are answered at once.
#[tokio::test(flavor = "multi_thread")]
async fn g53_g58_two_thousand_slow_bodies_keep_nobody_from_signing_in() {
    let _alone = MACHINE.lock().await;
    let served = Process::start(Scheme::Https, SIMULATED).await;
    let attack = Attack::start(&served, "-B", "/auth/session", &[]);
    let full = || async { metric(&served, "gatewatch_limit_hits_total{limit=\"requests_in_flight\"}").await > 0 };
    eventually(Duration::from_secs(15), full).await;
    an_honest_client_is_served(&served).await;
    let honest = trusting_builder(&served.ca()).local_address(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 7)));
    let login = honest.build().expect("a client").post(served.url("/auth/session"));
    let login = login.json(&serde_json::json!({"key": served.key()})).send().await.expect("an answer");
    assert_eq!(login.status(), 200);
    assert!(connections(&served).await > 5, "the attack did not hold its connections meanwhile");
    drop(attack);
    eventually(Duration::from_secs(15), || async { connections(&served).await <= 5 }).await;
}

/// Elsewhere nobody's body is waited for without a credential.
#[tokio::test(flavor = "multi_thread")]
async fn g53_two_thousand_slow_bodies_of_strangers_are_not_waited_for() {
    let _alone = MACHINE.lock().await;
    let served = Process::start(Scheme::Https, SIMULATED).await;
    let _attack = Attack::start(&served, "-B", "/api/vms/register", &[]);
    let refused = "gatewatch_http_requests_total{code=\"401\",method=\"POST\",route=\"/api/vms/register\"}";
    let answered = || async { served.admin("/metrics").await.is_some_and(|(_, text)| text.contains(refused)) };
    eventually(Duration::from_secs(15), answered).await;
    an_honest_client_is_served(&served).await;
    eventually(Duration::from_secs(25), || async { connections(&served).await <= 5 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g51_g57_two_thousand_slow_readers_are_no_ones_trouble() {
    withstands(Scheme::Https, "-X", "/page.js", &["-k", "3", "-w", "1", "-y", "8", "-z", "1", "-n", "2"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g53_two_thousand_half_made_handshakes_are_given_up_and_make_room() {
    let _alone = MACHINE.lock().await;
    let served = Process::start(Scheme::Https, &format!("{}{SIMULATED}", UNCAPPED.0)).await;
    let mut silent = Vec::new();
    for _ in 0..SLOW {
        silent.push(TcpStream::connect(("127.0.0.1", served.port)).await.expect("a connection"));
    }
    eventually(Duration::from_secs(10), || async { connections(&served).await >= UNCAPPED.1 }).await;
    an_honest_client_is_served(&served).await;
    // The clients stay: it is gatewatch that gives them up, after 10 s.
    eventually(Duration::from_secs(25), || async { connections(&served).await <= 5 }).await;
    drop(silent);
}
