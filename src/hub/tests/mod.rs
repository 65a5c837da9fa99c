//! A hub on a journal in memory, with clients that read its streams.

mod begin;
mod embedded;
mod faulty;
mod life;
mod live;
mod race;
mod resume;
mod who;

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use prometheus::Registry;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{Hub, HubConfig, OpenError, StreamBody, StreamRequest, Via};
use crate::event::{self, DurableEvent, Position};
use crate::journal::{
    Commit, Committed, Journal, LiveReport, LiveSender, MemoryJournal, MemoryJournalConfig, live_bus,
};
use crate::model::{
    ActiveError, Basis, Change, ErrorCode, Principal, PrincipalKind, ProgressView, RunId, Scope, Stage, Timestamp,
    VmFacts, VmGrant, VmId, VmName, VmView,
};
use crate::telemetry::HubMetrics;

struct Lab {
    hub: Arc<Hub>,
    journal: Arc<dyn Journal>,
    bus: LiveSender,
    stop: CancellationToken,
    metrics: HubMetrics,
    polls: HashMap<VmName, (u64, Position)>,
    tasks: JoinSet<()>,
}

fn name(vm: &str) -> VmName {
    VmName::new(vm).expect("a name")
}

fn vm_id(vm: &str) -> VmId {
    VmId::from_journal(&format!("id-{vm}"))
}

fn principal(name: &str, globs: &[&str]) -> Arc<Principal> {
    Arc::new(Principal {
        kind: PrincipalKind::ApiKey,
        name: name.into(),
        issuer: None,
        scopes: [Scope::EventsRead].into_iter().collect(),
        vms: VmGrant::from_globs(globs.iter().copied()),
        basis: Basis::default(),
        expires_at: None,
    })
}

fn request(globs: &[&str], interval: u8, last_event_id: Option<&str>) -> StreamRequest {
    StreamRequest {
        principal: principal("watcher", globs),
        vms: None,
        interval,
        last_event_id: last_event_id.map(str::to_owned),
        client: "test".to_owned(),
        via: Via { ip: std::net::Ipv4Addr::LOCALHOST.into(), protocol: "HTTP/1.1" },
        cut: None,
    }
}

fn view(stage: Stage) -> VmView {
    VmView {
        stage,
        stage_since: Timestamp(1.0),
        stages: Vec::new(),
        reported_at: Timestamp(1.0),
        answered_at: None,
        reachable: true,
        connected: true,
        waa_ready: false,
        probe_reply: None,
        power: None,
        clock_skew: None,
        boot_percent: 0.0,
        download_seconds_left: None,
        container: None,
        container_log_tail: String::new(),
        setup_script: None,
        dependencies: Vec::new(),
        process: None,
        storage: None,
        memory: None,
        qemu_monitor: None,
        progress: Vec::new(),
        errors: Vec::new(),
    }
}

fn running(run: &str, completed: u64) -> VmView {
    let progress = ProgressView {
        source: "/log".to_owned(),
        run: RunId::from_hash(run),
        open: true,
        started_at: Timestamp(1.0),
        ended_at: None,
        task_number: completed,
        total_tasks: 100,
        completed,
        passed: completed,
        failed: 0,
        unknown: 0,
        current: None,
        model: None,
        average_score: None,
        historic: false,
    };
    VmView { progress: vec![progress], ..view(Stage::Running) }
}

fn failing(codes: &[ErrorCode]) -> VmView {
    let errors = codes.iter().map(|code| ActiveError { code: *code, message: "it is so".to_owned() }).collect();
    VmView { errors, ..view(Stage::Ready) }
}

fn durable(vm: &str, change: &Change) -> DurableEvent {
    event::durable(&name(vm), &vm_id(vm), &VmFacts::default(), &view(Stage::Ready), change, Timestamp(2.0))
}

fn started(vm: &str, run: &str) -> DurableEvent {
    let (run, source) = (RunId::from_hash(run), "/log".to_owned());
    durable(vm, &Change::RunStarted { run, source, total_tasks: None, historic: false, log_time: None })
}

fn completed(vm: &str, run: &str, number: u64) -> DurableEvent {
    let change = Change::TaskCompleted {
        run: RunId::from_hash(run),
        key: format!("{vm}/{run}/{number}"),
        task_id: format!("task_{number}"),
        number: Some(number),
        worker: None,
        success: None,
        score: None,
        steps: None,
        duration: None,
        historic: false,
        log_time: None,
    };
    durable(vm, &change)
}

fn reached(vm: &str, to: Stage) -> DurableEvent {
    durable(vm, &Change::Stage { from: None, to })
}

async fn commit(journal: &dyn Journal, vm: &str, events: Vec<DurableEvent>) -> Committed {
    let commit = Commit {
        vm_id: vm_id(vm),
        lease_rev: 0,
        n: 0,
        follows: 0,
        cursors: Vec::new(),
        tracker_state: "{}".into(),
        events,
    };
    journal.commit(commit).await.expect("committed")
}

impl Lab {
    fn new() -> Self {
        Self::with(HubConfig::default(), MemoryJournalConfig::default())
    }

    fn with(config: HubConfig, journal: MemoryJournalConfig) -> Self {
        Self::on(Arc::new(MemoryJournal::new(journal)), config)
    }

    fn on(journal: Arc<dyn Journal>, config: HubConfig) -> Self {
        Self::through(Arc::clone(&journal), journal, config)
    }

    /// The hub sees `journal` through `seen`.
    fn through(seen: Arc<dyn Journal>, journal: Arc<dyn Journal>, config: HubConfig) -> Self {
        let metrics = HubMetrics::register(&Registry::new()).expect("fresh names");
        let hub = Hub::new(seen, config, metrics.clone());
        let (bus, receiver) = live_bus();
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&hub).run(receiver, stop.clone()));
        Self { hub, journal, bus, stop, metrics, polls: HashMap::new(), tasks }
    }

    /// Commits `events` and lets the hub hear of them.
    async fn commit(&mut self, vm: &str, events: Vec<DurableEvent>) -> String {
        let committed = commit(&*self.journal, vm, events).await;
        let at = committed.events.last().map_or(Position { seq: committed.seq, i: 0 }, |stored| stored.position);
        self.polls.entry(name(vm)).or_default().1 = at;
        settle().await;
        self.id(at)
    }

    fn id(&self, position: Position) -> String {
        format!("{}-{}.{}", self.journal.epoch().as_str(), position.seq, position.i)
    }

    fn poll(&mut self, vm: &str, view: Option<VmView>) -> LiveReport {
        let (poll_no, after) = self.polls.entry(name(vm)).or_default();
        *poll_no += u64::from(view.is_some());
        LiveReport {
            vm: name(vm),
            vm_id: vm_id(vm),
            lease_rev: 0,
            poll_no: *poll_no,
            after: *after,
            interval: 5.0,
            facts: Arc::default(),
            view: view.map(Arc::new),
            logs: Default::default(),
        }
    }

    async fn publish(&self, report: LiveReport) {
        assert!(self.bus.publish(report).await);
        settle().await;
    }

    async fn announce(&mut self, vm: &str) {
        let report = self.poll(vm, None);
        self.publish(report).await;
    }

    async fn report(&mut self, vm: &str, view: VmView) {
        let report = self.poll(vm, Some(view));
        self.publish(report).await;
    }

    fn open(&self, interval: u8, last_event_id: Option<&str>) -> Client {
        Client::new(self.hub.open(request(&["*"], interval, last_event_id)).expect("a stream"))
    }

    /// A stream that has read its snapshot.
    async fn watch(&self, interval: u8) -> Client {
        let mut client = self.open(interval, None);
        client.so_far().await;
        client
    }

    fn ended(&self, reason: &'static str) -> u64 {
        self.metrics.streams_ended.of(reason).get()
    }

    fn reset(&self, reason: &'static str) -> u64 {
        self.metrics.streams_reset.of(reason).get()
    }
}

/// Lets every task do what it can do now.
async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

/// One frame as a client reads it.
#[derive(Clone, Debug, PartialEq)]
struct Got {
    id: Option<String>,
    event: String,
    data: Value,
}

impl Got {
    fn parse(text: &str) -> Self {
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        if let Some(ms) = field("retry:") {
            return Self { id: None, event: "retry".to_owned(), data: json!(ms.parse::<u64>().expect("a number")) };
        }
        Self {
            id: field("id:").map(str::to_owned),
            event: field("event:").expect("every frame has a name").to_owned(),
            data: serde_json::from_str(field("data:").expect("and data")).expect("as JSON"),
        }
    }

    fn key(&self) -> Option<String> {
        self.data.get("key").and_then(Value::as_str).map(str::to_owned)
    }
}

/// One client: reads a body, cuts it into frames.
struct Client {
    body: Pin<Box<StreamBody>>,
    text: String,
    ended: bool,
}

impl Client {
    fn new(body: StreamBody) -> Self {
        Self { body: Box::pin(body), text: String::new(), ended: false }
    }

    async fn chunk(&mut self) -> Option<Bytes> {
        let frame = self.body.frame().await?;
        Some(frame.expect("a body that never fails").into_data().expect("data"))
    }

    /// The next frame; `None` at the end, or if none comes within `limit`.
    async fn within(&mut self, limit: Duration) -> Option<Got> {
        loop {
            if let Some((frame, rest)) = self.text.split_once("\n\n") {
                let got = Got::parse(frame);
                self.text = rest.to_owned();
                return Some(got);
            }
            match timeout(limit, self.chunk()).await {
                Ok(Some(bytes)) => self.text.push_str(std::str::from_utf8(&bytes).expect("frames are text")),
                Ok(None) => {
                    self.ended = true;
                    return None;
                }
                Err(_) => return None,
            }
        }
    }

    async fn next(&mut self) -> Got {
        self.within(Duration::from_secs(600)).await.expect("a frame")
    }

    /// All that can be had without waiting for time to pass, without heartbeats.
    async fn so_far(&mut self) -> Vec<Got> {
        let mut all = self.so_far_with_heartbeats().await;
        all.retain(|got| got.event != "heartbeat");
        all
    }

    async fn so_far_with_heartbeats(&mut self) -> Vec<Got> {
        let mut all = Vec::new();
        while let Some(got) = self.within(Duration::from_millis(2)).await {
            all.push(got);
        }
        all
    }

    /// All that comes within `limit`, without heartbeats.
    async fn during(&mut self, limit: Duration) -> Vec<Got> {
        let until = tokio::time::Instant::now() + limit;
        let mut all = Vec::new();
        while let Some(got) = self.within(until - tokio::time::Instant::now()).await {
            all.push(got);
        }
        all.retain(|got| got.event != "heartbeat");
        all
    }
}

fn names(frames: &[Got]) -> Vec<&str> {
    frames.iter().map(|got| got.event.as_str()).collect()
}

fn keys(frames: &[Got]) -> Vec<String> {
    frames.iter().filter_map(Got::key).collect()
}
