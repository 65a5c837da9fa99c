//! Clients that open a stream and never read it cost little memory and keep nobody else from anything.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::faults::{Follower, Kind, Pause, Place, Played, Target, memory, quantile, say};
use crate::support::{Process, Scheme, eventually};

const SLOW: usize = 50;
const FAST: usize = 8;
/// Durable events, each a frame of at least [`EVENT_BYTES`].
const EVENTS: usize = 6000;
const EVENT_BYTES: usize = 1000;
/// Written at once.
const BURST: usize = 1000;
/// What the slow ones may cost, bytes.
const MAY_COST: u64 = 20_000_000;
const PATIENCE: Duration = Duration::from_secs(30);
/// As long as a name may be.
const VM: &str = "a-vm-whose-name-is-as-long-as-the-name-of-any-vm-may-ever-be-63";
/// The kernel's buffers at the client's end: the least it gives.
const RECEIVE_BUFFER: u32 = 2048;

/// What happened to one process.
struct Measured {
    /// What its memory grew by at most, bytes.
    growth: u64,
    /// Seconds from gatewatch's sight of an event to a fast client's.
    delays: Vec<f64>,
}

/// One that asks for a stream and never reads, not even the head of the answer.
async fn slow(served: &Process) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(RECEIVE_BUFFER).expect("a size");
    let mut stream = socket.connect(([127, 0, 0, 1], served.port).into()).await.expect("it accepts");
    let request = format!(
        "GET /api/benchmark-sse?interval=1 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n",
        served.key()
    );
    stream.write_all(request.as_bytes()).await.expect("it reads");
    stream
}

/// The id of that task: as long as gatewatch keeps one, in bytes of UTF-8.
fn task_id(number: usize) -> String {
    format!("chrome/{}{}-{number:06}", "€".repeat(14), "é".repeat(228))
}

/// What the benchmark writes of one task. The longest worker's name, the time and the score make its event larger.
fn task(number: usize) -> String {
    let id = task_id(number);
    let prefix = format!("[2026-01-02 10:11:12,345 INFO run/245-{}]", "ü".repeat(64));
    let example = id.trim_start_matches("chrome/");
    format!(
        "{prefix} [Domain]: chrome\n{prefix} [Example ID]: {example}\n{prefix} Result: 0.12345678901234567\n{prefix} Finished {id}\n"
    )
}

async fn streams_open(served: &Process) -> usize {
    let (_, text) = served.admin("/metrics").await.expect("metrics");
    let value = text.lines().find_map(|line| line.strip_prefix("gatewatch_streams_open ")).expect("the gauge");
    value.parse().expect("a number")
}

/// Passes all events through a fresh process with `slow_ones` that never read.
async fn pass(slow_ones: usize) -> Measured {
    let mut vm = Played::new(VM, &[Kind::Waa(1)], 1);
    let served = Process::start(Scheme::Http, &format!("[poll]\nidle_interval = \"5s\"\n{}", vm.toml())).await;
    let target = Target { url: served.url(""), key: served.key().to_owned(), client: served.client() };
    let follower = |n| Follower::start(&format!("fast {n}"), target.clone(), "interval=1", Place::Header, Pause::None);
    let fast: Vec<Follower> = (0..FAST).map(follower).collect();
    let mut never_read = Vec::new();
    for _ in 0..slow_ones {
        never_read.push(slow(&served).await);
    }
    eventually(PATIENCE, || async { streams_open(&served).await == FAST + slow_ones }).await;
    let before = memory(served.pid(), false);
    for first in (1..=EVENTS).step_by(BURST) {
        let numbers = first..first + BURST;
        vm.put(&numbers.clone().map(task).collect::<String>(), numbers.map(task_id));
        let written = vm.written();
        for follower in &fast {
            follower.settled(&written, PATIENCE).await;
        }
    }
    let growth = memory(served.pid(), true) - before;
    assert_eq!(streams_open(&served).await, FAST + slow_ones, "nobody was cut: not the fast, and the slow not yet");
    let mut delays = Vec::new();
    for follower in &fast {
        let verdict = follower.settled(&vm.written(), PATIENCE).await;
        assert!(verdict.is_clean() && verdict.events == EVENTS, "{}: {verdict:#?}", follower.name);
        let ledger = follower.ledger();
        assert_eq!(ledger.connections, 1, "{} was never cut", follower.name);
        assert!(ledger.smallest >= EVENT_BYTES, "an event of {} bytes only", ledger.smallest);
        delays.extend(&ledger.delays);
    }
    Measured { growth, delays }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_never_read_cost_little_and_the_others_get_everything_once_and_in_order() {
    let without = pass(0).await;
    let with = pass(SLOW).await;
    for (measured, slow_ones) in [(&without, 0), (&with, SLOW)] {
        say(&format!(
            "{EVENTS} events with {slow_ones} that never read: memory grew by {:.1} MB, delivery p50 {:.0} ms, p99 {:.0} ms",
            measured.growth as f64 / 1e6,
            quantile(&measured.delays, 0.5) * 1e3,
            quantile(&measured.delays, 0.99) * 1e3,
        ));
    }
    let cost = with.growth.saturating_sub(without.growth);
    assert!(cost < MAY_COST, "{SLOW} slow readers cost {cost} bytes");
}
