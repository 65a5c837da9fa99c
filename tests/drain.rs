//! Five thousand open streams and a SIGTERM: every stream is ended in time, each told when to come back, and these times
//! are spread.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Signal, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::faults::say;
use crate::support::{Process, SIMULATED, Scheme, Sse};

/// Streams in clear text, each over a connection of its own.
const STREAMS: usize = 5000;
/// Streams over TLS at a second process, each over a connection of its own.
const TLS_STREAMS: usize = 250;
/// How many connect at once.
const AT_ONCE: usize = 100;
/// From the signal to the end of the last stream, and of the process.
const WITHIN: Duration = Duration::from_secs(10);
/// The times to come back that a drain tells, milliseconds: the usual 2 s and up to the window of 3 s more.
const WINDOW: std::ops::RangeInclusive<u64> = 2000..=5000;
/// Into so many equal parts of the window told times are sorted.
const PARTS: usize = 10;

const LIMITS: &str = "[limits]\nconnections = 20000\nconnections_per_ip = 20000\nstreams_per_ip = 20000\n\
    streams_per_principal = 20000\nrequests_in_flight = 10000\nrequests_per_second = 10000\nburst = 100000\n\
    principal_requests_per_second = 10000\nprincipal_burst = 100000\n";

/// Lets this process, and those it starts, have a descriptor for each stream.
fn raise_descriptors() {
    let wanted = STREAMS as u64 + 3000;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    let raised = rustix::process::Rlimit { current: Some(wanted), maximum: limit.maximum.map(|most| most.max(wanted)) };
    setrlimit(Resource::Nofile, raised).expect("this test needs 8,000 open files: raise `ulimit -Hn`");
}

/// An open stream in clear text.
struct Plain {
    socket: TcpStream,
    /// What came and is no whole line yet.
    text: Vec<u8>,
    retries: Vec<u64>,
}

impl Plain {
    async fn open(port: u16, key: String) -> Self {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).await.expect("it accepts");
        let request = format!(
            "GET /api/benchmark-sse?interval=60 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\r\n"
        );
        socket.write_all(request.as_bytes()).await.expect("it reads");
        let mut this = Self { socket, text: Vec::new(), retries: Vec::new() };
        while this.retries.is_empty() {
            assert!(this.read().await, "the stream ended before it began");
        }
        this
    }

    /// Reads what there is; `false` at the end.
    async fn read(&mut self) -> bool {
        let mut buffer = [0; 4096];
        let size = self.socket.read(&mut buffer).await.unwrap_or(0);
        self.text.extend_from_slice(&buffer[..size]);
        while let Some(end) = self.text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.text.drain(..=end).collect();
            let told = line.strip_prefix(b"retry: ").map(|ms| String::from_utf8_lossy(ms).trim().parse::<u64>());
            self.retries.extend(told.map(|ms| ms.expect("milliseconds")));
        }
        size > 0
    }

    /// Reads to the end.
    async fn end(mut self) -> Ended {
        while self.read().await {}
        Ended { at: Instant::now(), told: (self.retries.len() > 1).then(|| self.retries[self.retries.len() - 1]) }
    }
}

/// How one stream ended.
struct Ended {
    at: Instant,
    /// The `retry:` behind the one that it began with.
    told: Option<u64>,
}

async fn open_plain(served: &Process) -> Vec<Plain> {
    let mut open = Vec::with_capacity(STREAMS);
    while open.len() < STREAMS {
        let mut opening = JoinSet::new();
        for _ in 0..AT_ONCE.min(STREAMS - open.len()) {
            opening.spawn(Plain::open(served.port, served.key().to_owned()));
        }
        open.extend(opening.join_all().await);
    }
    open
}

async fn open_tls(served: &Process) -> Vec<Sse> {
    let mut open = Vec::with_capacity(TLS_STREAMS);
    for _ in 0..TLS_STREAMS {
        // A client of its own each time, and with it a connection.
        let mut stream = served.stream().await;
        stream.next().await.expect("connected");
        open.push(stream);
    }
    open
}

async fn end_tls(mut stream: Sse) -> Ended {
    let began_with = stream.retry();
    while stream.next().await.is_some() {}
    Ended { at: Instant::now(), told: stream.retry().filter(|told| Some(*told) != began_with) }
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_streams_end_within_ten_seconds_each_with_a_time_of_its_own_to_come_back() {
    raise_descriptors();
    let sections = format!("{SIMULATED}{LIMITS}");
    let mut served = Process::start(Scheme::Http, &sections).await;
    let mut with_tls = Process::start(Scheme::Https, &sections).await;
    let began = Instant::now();
    let plain = open_plain(&served).await;
    let tls = open_tls(&with_tls).await;
    say(&format!("{} streams opened in {:.1} s", plain.len() + tls.len(), began.elapsed().as_secs_f64()));
    let (_, metrics) = served.admin("/metrics").await.expect("metrics");
    assert!(metrics.contains(&format!("gatewatch_streams_open {STREAMS}\n")), "all of them are open");
    let mut ending = JoinSet::new();
    plain.into_iter().for_each(|stream| drop(ending.spawn(stream.end())));
    tls.into_iter().for_each(|stream| drop(ending.spawn(end_tls(stream))));
    let signalled = Instant::now();
    served.signal(Signal::TERM);
    with_tls.signal(Signal::TERM);
    let ended = tokio::time::timeout(2 * WITHIN, ending.join_all()).await.expect("every stream ends");
    for process in [&mut served, &mut with_tls] {
        let status = process.ended(2 * WITHIN).await;
        assert!(status.success(), "{status:?}");
    }
    let exited = signalled.elapsed();
    let last = ended.iter().map(|stream| stream.at - signalled).max().expect("thousands");
    assert!(last < WITHIN && exited < WITHIN + Duration::from_secs(1), "last stream {last:?}, process {exited:?}");
    let told: Vec<u64> = ended.iter().filter_map(|stream| stream.told).collect();
    let untold = ended.len() - told.len();
    // Of the TLS streams a few may be told the very time that they began with.
    assert!(untold <= TLS_STREAMS / 50, "{untold} streams ended without a word");
    let outside: Vec<&u64> = told.iter().filter(|told| !WINDOW.contains(told)).collect();
    assert!(outside.is_empty(), "outside the window: {outside:?}");
    let parts = spread(&told);
    say(&format!(
        "last stream after {last:.1?}, exit after {exited:.1?}; told times by tenth of the window: {parts:?}"
    ));
    let share = told.len() / PARTS;
    assert!(parts.iter().all(|part| (share / 2..=share * 2).contains(part)), "not spread: {parts:?}");
    // What counts in the end: when they all come back.
    let mut seconds = BTreeMap::<u64, usize>::new();
    for stream in &ended {
        let back = stream.at - signalled + Duration::from_millis(stream.told.unwrap_or_default());
        *seconds.entry(back.as_secs()).or_default() += 1;
    }
    say(&format!("clients that come back, by second behind the signal: {seconds:?}"));
    assert!(seconds.values().all(|count| count * 2 < ended.len()), "half of them in one second: {seconds:?}");
}

/// How many of the told times lie in each part of the window.
fn spread(told: &[u64]) -> [usize; PARTS] {
    let mut parts = [0; PARTS];
    let size = (WINDOW.end() - WINDOW.start()).div_ceil(PARTS as u64);
    for ms in told {
        let part = usize::try_from((ms - WINDOW.start()) / size).expect("few parts");
        parts[part.min(PARTS - 1)] += 1;
    }
    parts
}
