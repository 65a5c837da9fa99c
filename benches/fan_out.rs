//! What the hub's fan-out costs: CPU time per delivery to an open stream, and memory per stream.
//!
//! In process, on one thread, its clock paused so that it never waits: a stream is what an HTTP connection would poll,
//! read by a task of its own. Sockets and TLS are not in these figures.

mod figures;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use figures::{Figures, Result, Spread, cpu, resident};
use gatewatch::event::{self, Position};
use gatewatch::hub::{Hub, HubConfig, StreamBody, StreamRequest, Via};
use gatewatch::journal::{Commit, Journal as _, LiveReport, LiveSender, MemoryJournal, MemoryJournalConfig, live_bus};
use gatewatch::model::{
    Basis, Change, Principal, PrincipalKind, RunId, Scope, Timestamp, VmFacts, VmGrant, VmId, VmName, VmView,
};
use gatewatch::telemetry::HubMetrics;
use http_body_util::BodyExt as _;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Open streams, in as many batches as memory is measured in.
const STREAMS: usize = 5_000;
const BATCHES: usize = 5;
/// VMs, all seen by every stream.
const VMS: usize = 8;
/// Events of each class that are delivered and measured.
const ROUNDS: u64 = 30;
/// Long enough, on the paused clock, for everything that can happen at once to happen.
const SETTLE: Duration = Duration::from_millis(1);
/// The streams' interval.
const INTERVAL: u8 = 1;

fn main() -> Result<()> {
    let Some(mut figures) = Figures::begin("fan_out") else { return Ok(()) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    runtime.block_on(measure(&mut figures))?;
    figures.end()
}

async fn measure(figures: &mut Figures) -> Result<()> {
    let mut fleet = Fleet::start()?;
    for vm in 0..VMS {
        fleet.report(vm, 0).await?;
    }
    // What only the first streams cost (code that is loaded, caches) is nobody's share.
    drop(open(&fleet.hub, 10).await?);
    let (mut bodies, mut bytes) = (Vec::with_capacity(STREAMS), Vec::new());
    for _ in 0..BATCHES {
        let before = resident();
        bodies.extend(open(&fleet.hub, STREAMS / BATCHES).await?);
        bytes.push(resident().saturating_sub(before) as f64 / (STREAMS / BATCHES) as f64);
    }
    let tally = Arc::new(Tally::default());
    let mut readers = JoinSet::new();
    for body in bodies {
        readers.spawn(read(body, Arc::clone(&tally)));
    }
    sleep(Duration::from_secs(2)).await;

    let (mut durable, mut live) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        // A lane gives a VM's live events at most once per interval.
        sleep(Duration::from_secs(u64::from(INTERVAL) + 1)).await;
        durable.push(tally.cost(async || fleet.complete(0, round).await).await?);
        sleep(Duration::from_secs(u64::from(INTERVAL) + 1)).await;
        live.push(tally.cost(async || fleet.report(0, round).await).await?);
    }
    fleet.stop.cancel();

    let size = |costs: &[Cost]| costs.iter().map(|cost| cost.bytes).sum::<f64>() / costs.len() as f64;
    let sizes = (size(&durable), size(&live));
    let [durable, live] = [durable, live].map(|costs| Spread::of(costs.into_iter().map(|cost| cost.micros)));
    let bytes = Spread::of(bytes);
    let streams = format!("{STREAMS} open streams");
    figures.row(format!("a completion of {:.0} bytes to one of {streams}, CPU", sizes.0), durable.shown("us", 2), None);
    figures.row(
        format!("status and progress, {:.0} bytes, to one of {streams}, CPU", sizes.1),
        live.shown("us", 2),
        None,
    );
    let what = format!("memory that one open stream holds in the hub ({VMS} VMs in view)");
    figures.row(what, bytes.shown("bytes", 0), None);
    figures.spread("durable_us_per_delivery", &durable);
    figures.spread("live_us_per_delivery", &live);
    figures.spread("bytes_per_stream", &bytes);
    Ok(())
}

type Body = Pin<Box<StreamBody>>;

/// Streams that have read their snapshot.
async fn open(hub: &Arc<Hub>, count: usize) -> Result<Vec<Body>> {
    let principal = Arc::new(Principal {
        kind: PrincipalKind::ApiKey,
        name: "watcher".into(),
        issuer: None,
        scopes: [Scope::EventsRead].into_iter().collect(),
        vms: VmGrant::all(),
        basis: Basis::default(),
        expires_at: None,
    });
    let mut bodies = Vec::with_capacity(count);
    for _ in 0..count {
        let request = StreamRequest {
            principal: Arc::clone(&principal),
            vms: None,
            interval: INTERVAL,
            last_event_id: None,
            cut: None,
            client: "watcher from 192.0.2.10".to_owned(),
            via: Via { ip: std::net::Ipv4Addr::LOCALHOST.into(), protocol: "HTTP/1.1" },
        };
        let mut body = Box::pin(hub.open(request)?);
        while timeout(SETTLE, body.frame()).await.is_ok() {}
        bodies.push(body);
    }
    Ok(bodies)
}

async fn read(mut body: Body, tally: Arc<Tally>) {
    while let Some(Ok(frame)) = body.frame().await {
        let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
        tally.chunks.fetch_add(1, Ordering::Relaxed);
        tally.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// What all streams took together.
#[derive(Default)]
struct Tally {
    chunks: AtomicU64,
    bytes: AtomicU64,
}

/// Of one delivery.
struct Cost {
    micros: f64,
    bytes: f64,
}

impl Tally {
    /// What one delivery of what `happens` costs, when every stream gets it.
    async fn cost(&self, happens: impl AsyncFnOnce() -> Result<()>) -> Result<Cost> {
        let (chunks, bytes) = (self.chunks.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed));
        let before = cpu();
        happens().await?;
        sleep(SETTLE).await;
        let spent = cpu().saturating_sub(before);
        let chunks = self.chunks.load(Ordering::Relaxed) - chunks;
        let bytes = self.bytes.load(Ordering::Relaxed) - bytes;
        if chunks != STREAMS as u64 {
            return Err(format!("{chunks} deliveries to {STREAMS} streams").into());
        }
        Ok(Cost { micros: spent.as_secs_f64() * 1e6 / chunks as f64, bytes: bytes as f64 / chunks as f64 })
    }
}

/// A hub, and the VMs that it hears of.
struct Fleet {
    hub: Arc<Hub>,
    journal: Arc<MemoryJournal>,
    bus: LiveSender,
    after: Position,
    stop: CancellationToken,
    _running: JoinSet<()>,
}

impl Fleet {
    fn start() -> Result<Self> {
        let journal = Arc::new(MemoryJournal::new(MemoryJournalConfig::default()));
        // Heartbeats are deliveries too, but not the ones that are measured.
        let config = HubConfig { heartbeat: Duration::from_secs(24 * 3600), ..HubConfig::default() };
        let hub = Hub::new(Arc::clone(&journal) as _, config, HubMetrics::register(&prometheus::Registry::new())?);
        let (bus, receiver) = live_bus();
        let (stop, mut running) = (CancellationToken::new(), JoinSet::new());
        running.spawn(Arc::clone(&hub).run(receiver, stop.clone()));
        Ok(Self { hub, journal, bus, after: Position::START, stop, _running: running })
    }

    /// A poll that brought nothing but the next step.
    async fn report(&self, vm: usize, step: u64) -> Result<()> {
        let report = LiveReport {
            vm: name(vm)?,
            vm_id: id(vm),
            lease_rev: 0,
            poll_no: step + 1,
            after: self.after,
            interval: 3600.0,
            facts: Arc::default(),
            view: Some(Arc::new(view(step)?)),
            logs: Default::default(),
        };
        if self.bus.publish(report).await { Ok(()) } else { Err("the hub is gone".into()) }
    }

    /// A task is completed.
    async fn complete(&mut self, vm: usize, number: u64) -> Result<()> {
        let change = Change::TaskCompleted {
            run: RunId::from_hash("0123456789abcdef"),
            key: format!("{}/0123456789abcdef/{number}", id(vm)),
            task_id: format!("notepad/{number:08}-WOS"),
            number: Some(number),
            worker: None,
            success: Some(true),
            score: Some(0.85),
            steps: Some(12),
            duration: Some(305.6),
            historic: false,
            log_time: Some("2026-01-02 10:11:12,345".into()),
        };
        let told = event::durable(&name(vm)?, &id(vm), &VmFacts::default(), &view(0)?, &change, Timestamp(1.8e9));
        let commit = Commit {
            vm_id: id(vm),
            lease_rev: 0,
            n: number,
            follows: 0,
            cursors: Vec::new(),
            tracker_state: "{}".into(),
            events: vec![told],
        };
        let committed = self.journal.commit(commit).await?;
        self.after = committed.events.last().map_or(self.after, |stored| stored.position);
        Ok(())
    }
}

fn name(vm: usize) -> Result<VmName> {
    Ok(VmName::new(&format!("vm-{vm}"))?)
}

fn id(vm: usize) -> VmId {
    VmId::from_journal(&format!("id-{vm}"))
}

/// A VM that runs its benchmark.
fn view(step: u64) -> Result<VmView> {
    let at = 1.8e9;
    let task = json!({
        "task_id": "notepad/00000001-WOS", "instruction": "Change the default search engine to another one and save it.",
        "domain": "notepad", "step": step, "action": "CLICK", "started_at": at, "closed": false,
    });
    let progress = json!({
        "source": "/tmp/waa_benchmark.log", "run": "0123456789abcdef", "open": true, "started_at": at, "task_number": 1,
        "total_tasks": 154, "completed": 0, "passed": 0, "failed": 0, "unknown": 0, "current": task, "historic": false,
    });
    Ok(serde_json::from_value(json!({
        "stage": "running", "stage_since": at, "reported_at": at + step as f64, "answered_at": at + step as f64,
        "reachable": true, "connected": true, "waa_ready": true, "boot_percent": 100.0, "container_log_tail": "",
        "dependencies": [], "storage": {"used": 42_000_000_000_u64, "total": 128_000_000_000_u64},
        "memory": {"used": 8_000_000_000_u64}, "qemu_monitor": true, "progress": [progress], "errors": [],
    }))?)
}
