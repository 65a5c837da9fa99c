//! What it takes until a durable event is on the disk and at a stream, and to read back what was missed.
//!
//! The embedded journal and the hub in one process, on the disk of the build folder; a stream is what an HTTP connection
//! would poll, read by a task. Beside each commit, in the same loop, stands a bare SQLite commit of as many bytes.

mod figures;

use std::future::poll_fn;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use figures::{Figures, Result, Spread, ms};
use gatewatch::event::{DurableEvent, EventKind, Position};
use gatewatch::hub::{Hub, HubConfig, StreamRequest, Via};
use gatewatch::journal::{Commit, EmbeddedConfig, EmbeddedJournal, Journal, Retention, live_bus};
use gatewatch::model::{Basis, LogCursor, Principal, PrincipalKind, RunId, Scope, Timestamp, VmGrant, VmId, VmName};
use gatewatch::telemetry::HubMetrics;
use gatewatch::telemetry::JournalMetrics;
use http_body::Body as _;
use rusqlite::Connection;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Commits that are measured.
const COMMITS: usize = 2_000;
/// Events that the large journal holds.
const MANY: usize = 1_000_000;
/// Completions per run, and per commit while the journal is filled.
const RUN: usize = 1_000;
const PER_COMMIT: usize = 250;
/// Bytes of a tracker's state in the middle of a run.
const STATE: usize = 3_000;
/// Readings back that are measured.
const READS: usize = 200;

#[tokio::main]
async fn main() -> Result<()> {
    let Some(mut figures) = Figures::begin("journal") else { return Ok(()) };
    // Not the system's folder for temporary files: that may be memory, in which nothing is waited for.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let path = dir.path().join("journal.db");
    let mut vm = Vm::new("vm-1")?;
    let journal = open(&path)?;
    commits(&mut figures, &journal, dir.path(), &mut vm, "").await?;
    let few = missed(&journal).await?;
    fill(&journal, &mut vm).await?;
    commits(&mut figures, &journal, dir.path(), &mut vm, ", 1 million events stored").await?;
    let many = missed(&journal).await?;
    let what = "finding and reading 256 missed events";
    figures.row(format!("{what} among {COMMITS}"), few.shown("ms", 2), None);
    figures.row(format!("{what} among 1 million"), many.shown("ms", 2), None);
    figures.spread("missed_few_ms", &few);
    figures.spread("missed_many_ms", &many);
    runs(&mut figures, &journal).await?;
    journal.close().await?;
    drop(journal);
    reopen(&mut figures, &path).await?;
    figures.end()
}

fn open(path: &Path) -> Result<Arc<EmbeddedJournal>> {
    let retention = Retention::new(Duration::from_secs(30 * 86_400), 10_000_000);
    let metrics = JournalMetrics::register(&prometheus::Registry::new())?;
    let config = EmbeddedConfig { path: path.to_owned(), retention };
    Ok(Arc::new(EmbeddedJournal::open(config, metrics, Timestamp(1.8e9))?))
}

/// Who completes tasks.
struct Vm {
    name: VmName,
    id: VmId,
    n: u64,
}

impl Vm {
    fn new(name: &str) -> Result<Self> {
        Ok(Self { name: VmName::new(name)?, id: VmId::from_journal(name), n: 0 })
    }

    fn event(&self, kind: EventKind, run: &RunId, data: &serde_json::Value) -> DurableEvent {
        let data = data.to_string().into();
        DurableEvent { kind, vm: self.name.clone(), vm_id: self.id.clone(), run: Some(run.clone()), data }
    }

    fn started(&self, run: &RunId) -> DurableEvent {
        let data = json!({"vm": self.name, "run": run, "source": "/tmp/waa_benchmark.log", "timestamp": 1.8e9});
        self.event(EventKind::RunStarted, run, &data)
    }

    fn completed(&self, run: &RunId, number: usize) -> DurableEvent {
        let data = json!({
            "task_id": format!("notepad/{number:08}-WOS"), "success": true, "score": 0.85, "vm": self.name, "run": run,
            "key": format!("{run}-0123abcd-{number}"), "number": number, "worker": null, "steps": 12, "duration": 305.6,
            "historic": false, "log_time": "2026-01-02 10:11:12,345", "timestamp": 1.8e9,
        });
        self.event(EventKind::TaskComplete, run, &data)
    }

    fn commit(&mut self, events: Vec<DurableEvent>) -> Commit {
        self.n += 1;
        Commit {
            vm_id: self.id.clone(),
            lease_rev: 0,
            n: self.n,
            follows: 0,
            cursors: vec![LogCursor::start("/tmp/waa_benchmark.log")],
            tracker_state: "s".repeat(STATE).into(),
            events,
        }
    }
}

/// Commits one completion after the other, each until an open stream has it, and beside each a bare commit.
async fn commits(
    figures: &mut Figures,
    journal: &Arc<EmbeddedJournal>,
    dir: &Path,
    vm: &mut Vm,
    among: &str,
) -> Result<()> {
    let hub =
        Hub::new(Arc::clone(journal) as _, HubConfig::default(), HubMetrics::register(&prometheus::Registry::new())?);
    let (_bus, receiver) = live_bus();
    let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
    tasks.spawn(Arc::clone(&hub).run(receiver, stop.clone()));
    let (heard, mut chunks) = mpsc::channel(16);
    let mut body = Box::pin(hub.open(watcher())?);
    tasks.spawn(async move {
        while let Some(Ok(frame)) = poll_fn(|context| Pin::as_mut(&mut body).poll_frame(context)).await {
            let at = Instant::now();
            if heard.send((at, frame.into_data().unwrap_or_default())).await.is_err() {
                return;
            }
        }
    });
    let bare = Bare::open(dir)?;
    let run = RunId::from_hash(&format!("bench-{}", vm.n));
    journal.commit(vm.commit(vec![vm.started(&run)])).await?;
    let (mut plain, mut committed, mut delivered) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..COMMITS {
        let event = vm.completed(&run, number);
        plain.push(bare.commit(event.data.len() + STATE)?);
        let wanted = format!("{number:08}-WOS");
        let commit = vm.commit(vec![event]);
        let began = Instant::now();
        journal.commit(commit).await?;
        committed.push(ms(began.elapsed()));
        loop {
            let (at, bytes) = chunks.recv().await.ok_or("the stream ended")?;
            if memchr::memmem::find(&bytes, wanted.as_bytes()).is_some() {
                delivered.push(ms(at.duration_since(began)));
                break;
            }
        }
    }
    stop.cancel();
    drop(chunks);
    while tasks.join_next().await.is_some() {}
    let [plain, committed, delivered] = [plain, committed, delivered].map(Spread::of);
    let key = if among.is_empty() { "few" } else { "many" };
    for (what, name, spread, goal) in [
        ("a bare SQLite commit with its fsync", "bare", &plain, None),
        ("a commit with its fsync", "commit", &committed, None),
        ("a commit with its fsync, until a stream has it", "delivered", &delivered, Some(2.0)),
    ] {
        let p99 = spread.at(0.99);
        let shown = format!("{}; p99 **{p99:.2}** ms", spread.shown("ms", 2));
        let goal = goal.map(|limit| (format!("p99 under {limit} ms"), p99 < limit));
        figures.row(format!("{what}{among}"), shown, goal.as_ref().map(|(text, met)| (text.as_str(), *met)));
        figures.spread(&format!("{name}_{key}_ms"), spread);
        figures.value(&format!("{name}_{key}_p99_ms"), p99);
    }
    let ratio = delivered.median() / plain.median();
    figures.row(format!("the last against the first{among}"), format!("**{ratio:.2}** times"), None);
    Ok(())
}

fn watcher() -> StreamRequest {
    let principal = Principal {
        kind: PrincipalKind::ApiKey,
        name: "watcher".into(),
        issuer: None,
        scopes: [Scope::EventsRead].into_iter().collect(),
        vms: VmGrant::all(),
        basis: Basis::default(),
        expires_at: None,
    };
    StreamRequest {
        principal: Arc::new(principal),
        vms: None,
        interval: 1,
        last_event_id: None,
        cut: None,
        client: "watcher from 192.0.2.10".to_owned(),
        via: Via { ip: std::net::Ipv4Addr::LOCALHOST.into(), protocol: "HTTP/1.1" },
    }
}

/// What SQLite itself takes, with the same settings.
struct Bare(Connection);

impl Bare {
    fn open(dir: &Path) -> Result<Self> {
        let connection = Connection::open(dir.join("bare.db"))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch("CREATE TABLE IF NOT EXISTS rows (id INTEGER PRIMARY KEY, data TEXT NOT NULL)")?;
        Ok(Self(connection))
    }

    /// Milliseconds of one.
    fn commit(&self, bytes: usize) -> Result<f64> {
        let data = "x".repeat(bytes);
        let began = Instant::now();
        self.0.execute("INSERT INTO rows (data) VALUES (?1)", [data])?;
        Ok(ms(began.elapsed()))
    }
}

/// Makes it a journal of a million events, in runs of a thousand tasks.
async fn fill(journal: &EmbeddedJournal, vm: &mut Vm) -> Result<()> {
    for number in 0..MANY / RUN {
        let run = RunId::from_hash(&format!("run-{number}"));
        let mut events = vec![vm.started(&run)];
        for task in 0..RUN {
            events.push(vm.completed(&run, task));
            if events.len() >= PER_COMMIT {
                journal.commit(vm.commit(std::mem::take(&mut events))).await?;
            }
        }
        journal.commit(vm.commit(events)).await?;
    }
    Ok(())
}

/// What a client that comes back costs: how much it missed, and the first page of it.
async fn missed(journal: &EmbeddedJournal) -> Result<Spread> {
    let newest = journal.bounds().newest;
    let mut took = Vec::new();
    for _ in 0..READS {
        let from = Position { seq: newest.seq - 400 + rand::random_range(0..100), i: 0 };
        let began = Instant::now();
        let count = journal.count_after(from, 50_001).await?;
        let page = journal.read(from, newest, 256).await?;
        took.push(ms(began.elapsed()));
        if count < 256 || page.events.len() != 256 {
            return Err(format!("{count} missed, {} read", page.events.len()).into());
        }
    }
    Ok(Spread::of(took))
}

/// All completions of one run among a thousand, in pages as a snapshot reads them.
async fn runs(figures: &mut Figures, journal: &EmbeddedJournal) -> Result<()> {
    let newest = journal.bounds().newest;
    let mut took = Vec::new();
    for _ in 0..READS {
        let run = [RunId::from_hash(&format!("run-{}", rand::random_range(0..MANY / RUN)))];
        let (mut after, mut tasks) = (Position::START, 0);
        let began = Instant::now();
        loop {
            let page = journal.read_runs(&run, after, newest, 256).await?;
            tasks += page.events.len();
            match page.events.last().filter(|_| page.more) {
                Some(last) => after = last.position,
                None => break,
            }
        }
        took.push(ms(began.elapsed()));
        if tasks != RUN {
            return Err(format!("{tasks} tasks read of {RUN}").into());
        }
    }
    let took = Spread::of(took);
    let goal = took.at(0.99) < 20.0;
    let shown = format!("{}; p99 **{:.2}** ms", took.shown("ms", 2), took.at(0.99));
    figures.row("reading back a run of 1000 tasks, 1 million events stored", shown, Some(("p99 under 20 ms", goal)));
    figures.spread("run_ms", &took);
    Ok(())
}

/// A start on what was kept.
async fn reopen(figures: &mut Figures, path: &Path) -> Result<()> {
    let size = std::fs::metadata(path)?.len() as f64 / 1e6;
    let began = Instant::now();
    let journal = open(path)?;
    let took = ms(began.elapsed());
    journal.close().await?;
    figures.row("the file of 1 million completions", format!("**{size:.0}** MB"), None);
    figures.row("opening it, checks included", format!("**{took:.0}** ms"), None);
    figures.value("file_mb", size);
    figures.value("open_ms", took);
    Ok(())
}
