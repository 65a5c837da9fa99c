//! What a fleet of replicas costs: the same 200 VMs and the same 8,000 streams, on one, two and four of them.
//!
//! Each replica is a process of its own and so is the one NATS server; the streams are plain connections of this process,
//! whose time is not counted. What a VM costs is measured while nobody watches, what a stream costs is what comes on top.

mod figures;
#[path = "../tests/lab/mod.rs"]
#[allow(unused_imports, reason = "its own tests are not part of a bench")]
mod lab;
#[path = "../tests/support/mod.rs"]
#[allow(dead_code, unused_imports, unreachable_pub, reason = "shared with the tests; a bench uses a part of it")]
#[allow(clippy::panic, clippy::disallowed_methods, reason = "it is made for tests")]
mod support;

use std::fmt::Write as _;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use figures::{Figures, Result};
use support::{Nats, Process, Scheme};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// VMs, and how often each is asked, seconds.
const VMS: usize = 200;
const INTERVAL: u64 = 5;
/// Open streams, each of one VM.
const STREAMS: usize = 8_000;
/// How long is measured.
const WINDOW: Duration = Duration::from_secs(30);
/// How many replicas.
const REPLICAS: [usize; 3] = [1, 2, 4];
/// By how much a cost may grow from one replica to four, of what it was.
const FLAT: f64 = 1.5;

#[tokio::main]
async fn main() -> Result<()> {
    let Some(mut figures) = Figures::begin("replicas") else { return Ok(()) };
    let mut costs = Vec::new();
    for count in REPLICAS {
        let Some(nats) = Nats::start(1) else {
            figures.lacks("what replicas cost: there is no nats-server");
            return figures.end();
        };
        costs.push(measure(&nats, count, &mut figures).await?);
    }
    for (what, of) in [("a VM", 0), ("a stream", 1)] {
        let cost = |costs: &[f64; 2]| costs[of];
        let (one, four) = (costs.first().map_or(0.0, cost), costs.last().map_or(0.0, cost));
        let growth = four / one;
        let goal = format!("at most {FLAT}");
        figures.row(
            format!("{what} on four replicas, of what it costs on one"),
            format!("**{growth:.2}**"),
            Some((&goal, growth <= FLAT)),
        );
        figures.value(if of == 0 { "vm_four_of_one" } else { "stream_four_of_one" }, growth);
    }
    figures.end()
}

/// CPU time of a VM and of a stream, microseconds each second, over all `count` replicas.
async fn measure(nats: &Nats, count: usize, figures: &mut Figures) -> Result<[f64; 2]> {
    let mut fleet = vec![Process::start_logging("warn", Scheme::Http, &sections(nats)).await];
    while fleet.len() < count {
        let twin = fleet[0].twin().await;
        fleet.push(twin);
    }
    // Leases are taken, first reports made.
    sleep(Duration::from_secs(10)).await;
    let (vms, nats_idle) = spent(&fleet, nats).await?;
    let frames = Arc::new(AtomicU64::new(0));
    let mut streams = open(&fleet, &frames).await?;
    sleep(Duration::from_secs(5)).await;
    let (all, nats_busy) = spent(&fleet, nats).await?;
    let heard = frames.load(Ordering::Relaxed);
    streams.shutdown().await;
    if heard < STREAMS as u64 {
        return Err(format!("{STREAMS} streams heard {heard} frames: they do not work").into());
    }
    let per_second = |cpu: Duration, of: usize| cpu.as_secs_f64() * 1e6 / WINDOW.as_secs_f64() / of as f64;
    let cost = [per_second(vms, VMS), per_second(all.saturating_sub(vms), STREAMS)];
    let replicas = if count == 1 { "1 replica".to_owned() } else { format!("{count} replicas") };
    let rows = [
        (format!("{replicas}: CPU of one of {VMS} VMs, polled every {INTERVAL} s, each second"), cost[0]),
        (format!("{replicas}: CPU of one of {STREAMS} streams of a VM each, on top, each second"), cost[1]),
        (format!("{replicas}: CPU of the NATS server for one VM, each second"), per_second(nats_idle, VMS)),
        (format!("{replicas}: the same with all streams open"), per_second(nats_busy, VMS)),
    ];
    for (what, micros) in rows {
        figures.row(what, format!("**{micros:.1}** us"), None);
    }
    figures.value(&format!("vm_us_per_second_{count}"), cost[0]);
    figures.value(&format!("stream_us_per_second_{count}"), cost[1]);
    Ok(cost)
}

fn sections(nats: &Nats) -> String {
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let url = &nats.urls()[0];
    let most = 2 * STREAMS;
    let mut text = format!(
        "[journal]\nkind = \"jetstream\"\nservers = [\"{url}\"]\nfleet = \"bench\"\nreplicas = 1\n[poll]\ninterval = \
         \"{INTERVAL}s\"\nidle_interval = \"{INTERVAL}s\"\n[limits]\nconnections = {most}\nconnections_per_ip = {most}\n\
         streams_per_ip = {most}\nstreams_per_principal = {most}\nrequests_per_second = 10000\nburst = 20000\n\
         principal_requests_per_second = 10000\nprincipal_burst = 20000\n"
    );
    for n in 0..VMS {
        let _ = write!(
            text,
            "[[vm]]\nname = \"vm-{n}\"\ntransport = \"simulated\"\n[vm.simulated]\nstarted = \"{started}\"\nspeed = \"1\"\n\
             start_at = \"60s\"\n"
        );
    }
    text
}

/// Opens every stream, spread over `fleet` in turn.
async fn open(fleet: &[Process], frames: &Arc<AtomicU64>) -> Result<JoinSet<()>> {
    let mut streams = JoinSet::new();
    for n in 0..STREAMS {
        let replica = &fleet[n % fleet.len()];
        let path = format!("/api/benchmark-sse?vms=vm-{}&interval={INTERVAL}", n % VMS);
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\naccept: text/event-stream\r\n\r\n",
            replica.key()
        );
        let mut stream = TcpStream::connect(("127.0.0.1", replica.port)).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut head = [0; 1024];
        let read = timeout(Duration::from_secs(30), stream.read(&mut head)).await??;
        if !head[..read].starts_with(b"HTTP/1.1 200") {
            return Err(format!("stream {n}: {}", String::from_utf8_lossy(&head[..read])).into());
        }
        streams.spawn(count_frames(stream, Arc::clone(frames)));
    }
    Ok(streams)
}

async fn count_frames(mut stream: TcpStream, frames: Arc<AtomicU64>) {
    let mut bytes = vec![0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut bytes).await {
        let ends = bytes[..read].windows(2).filter(|pair| pair == b"\n\n").count();
        frames.fetch_add(ends as u64, Ordering::Relaxed);
    }
}

/// CPU time that the replicas and the server spend within [`WINDOW`].
async fn spent(fleet: &[Process], nats: &Nats) -> Result<(Duration, Duration)> {
    let read = || -> Result<(Duration, Duration)> {
        let replicas = fleet.iter().map(|replica| cpu_of(replica.pid())).sum::<Result<Duration>>()?;
        Ok((replicas, cpu_of(nats.pid(0))?))
    };
    let (before, began) = (read()?, Instant::now());
    sleep(WINDOW).await;
    let (after, scale) = (read()?, WINDOW.as_secs_f64() / began.elapsed().as_secs_f64());
    Ok(((after.0 - before.0).mul_f64(scale), (after.1 - before.1).mul_f64(scale)))
}

/// User and system time of the process `pid`: fields 14 and 15 of its `stat`, in hundredths of a second (proc(5)).
fn cpu_of(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in parentheses, may hold anything.
    let rest = stat.rsplit_once(')').ok_or("no stat")?.1;
    let ticks: u64 = rest.split_ascii_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 10))
}
