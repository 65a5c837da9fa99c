//! A journal that holds as many completions as one likes, because it makes them when they are asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use gatewatch::api::history::Exports;
use gatewatch::api::{self, ApiState, Health, Office, ReplicaUp, Replicas};
use gatewatch::config::{Config, MapEnv};
use gatewatch::edge::auth::KeySet;
use gatewatch::edge::{
    self, AuthMode, Credentials, EdgeSettings, EdgeState, Issuers, Keys, SessionSecrets, SessionStore,
};
use gatewatch::event::{DurableEvent, Epoch, EventKind, Position};
use gatewatch::hub::{Hub, HubConfig};
use gatewatch::journal::{
    Bounds, Commit, Committed, Journal, JournalError, LastCommit, Page, RunPage, RunQuery, RunSummary, StoredEvent,
};
use gatewatch::model::{RunEndReason, RunId, Timestamp, VmId, VmName};
use gatewatch::server::{
    ConnectionCaps, ConnectionLimits, Listener, ProxySettings, ServerHandle, Serving, install_crypto, serve,
};
use gatewatch::telemetry::{ExportMetrics, Metrics, Scrape};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// So many runs with so many tasks each.
pub struct Archive {
    epoch: Epoch,
    runs: u64,
    tasks: u64,
    tail: broadcast::Sender<Committed>,
    /// Completions that were read.
    pub read: AtomicU64,
    /// Once so many were read, the store fails.
    pub fails_after: AtomicU64,
}

impl Archive {
    pub fn new(runs: u64, tasks: u64) -> Arc<Self> {
        Arc::new(Self {
            epoch: Epoch::new("archive").expect("an epoch"),
            runs,
            tasks,
            tail: broadcast::Sender::new(1),
            read: AtomicU64::new(0),
            fails_after: AtomicU64::new(u64::MAX),
        })
    }

    /// How many completions were read so far.
    pub fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// From here on nothing can be read once `completions` were.
    pub fn fail_after(&self, completions: u64) {
        self.fails_after.store(completions, Ordering::Relaxed);
    }

    fn works(&self) -> Result<(), JournalError> {
        let fails = self.read() >= self.fails_after.load(Ordering::Relaxed);
        if fails { Err(JournalError::Store("the disk is gone".into())) } else { Ok(()) }
    }

    /// Run `r` opens at (r + 1, 0), and its tasks stand behind that.
    fn summary(&self, r: u64) -> RunSummary {
        let at = Position { seq: r + 1, i: 0 };
        RunSummary {
            run: RunId::from_hash(&format!("{r:012x}")),
            vm: VmName::new(&format!("vm-{}", r % 2)).expect("a name"),
            vm_id: VmId::from_journal("id"),
            source: "/log".to_owned(),
            started: at,
            newest: at,
            started_at: Timestamp(1_767_348_000.0 + r as f64),
            ended_at: Some(Timestamp(1_767_349_000.0 + r as f64)),
            reason: Some(RunEndReason::ProcessEnded),
            total_tasks: Some(self.tasks),
            completed: self.tasks,
            passed: self.tasks,
            failed: 0,
            unknown: 0,
            average_score: Some(1.0),
            scored: self.tasks,
            historic: false,
        }
    }

    fn index(&self, run: &RunId) -> Option<u64> {
        u64::from_str_radix(run.as_str(), 16).ok().filter(|r| *r < self.runs)
    }

    fn completion(&self, r: u64, i: u32) -> StoredEvent {
        let run = self.summary(r);
        let data = format!(
            "{{\"task_id\":\"task_{i}\",\"success\":true,\"score\":1.0,\"vm\":\"{}\",\"run\":\"{}\",\"key\":\"{r}-{i}\",\
             \"number\":{i},\"worker\":null,\"steps\":9,\"duration\":41.2,\"historic\":false,\"log_time\":null,\
             \"timestamp\":1767348000.5}}",
            run.vm, run.run
        );
        let event = DurableEvent {
            kind: EventKind::TaskComplete,
            vm: run.vm,
            vm_id: run.vm_id,
            run: Some(run.run),
            data: data.into(),
        };
        StoredEvent { position: Position { seq: r + 1, i }, event }
    }

    fn list(&self, query: &RunQuery) -> RunPage {
        let before = query.before.map_or(self.runs, |at| at.seq - 1);
        let mut wanted = (0..before).rev().map(|r| self.summary(r)).filter(|run| query.wants(run));
        let runs: Vec<_> = wanted.by_ref().take(query.limit).collect();
        let next = runs.last().map(|last| last.started).filter(|_| wanted.next().is_some());
        RunPage { runs, next }
    }

    fn page(&self, run: &RunId, after: Position, limit: usize) -> Page {
        let Some(r) = self.index(run) else { return Page::default() };
        let first = if after.seq == r + 1 { u64::from(after.i) + 1 } else { 1 };
        let events: Vec<_> = (first..=self.tasks).take(limit).map(|i| Arc::new(self.completion(r, i as u32))).collect();
        self.read.fetch_add(events.len() as u64, Ordering::Relaxed);
        let more = first + (events.len() as u64) <= self.tasks;
        Page { events, more }
    }
}

impl Journal for Archive {
    fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    fn vm_id<'a>(&'a self, _: &'a VmName) -> BoxFuture<'a, Result<VmId, JournalError>> {
        ready(Ok(VmId::from_journal("id"))).boxed()
    }

    fn vms(&self) -> BoxFuture<'_, Result<Vec<(VmName, VmId)>, JournalError>> {
        ready(Ok(Vec::new())).boxed()
    }

    fn rename_vm<'a>(&'a self, _: &'a VmName, _: &'a VmName) -> BoxFuture<'a, Result<bool, JournalError>> {
        ready(Ok(false)).boxed()
    }

    fn last_commit<'a>(&'a self, _: &'a VmId) -> BoxFuture<'a, Result<Option<LastCommit>, JournalError>> {
        ready(Ok(None)).boxed()
    }

    fn commit(&self, _: Commit) -> BoxFuture<'_, Result<Committed, JournalError>> {
        ready(Err(JournalError::Store("an archive takes nothing in".into()))).boxed()
    }

    fn tail(&self) -> broadcast::Receiver<Committed> {
        self.tail.subscribe()
    }

    fn bounds(&self) -> Bounds {
        let newest = Position { seq: self.runs, i: self.tasks as u32 };
        Bounds { floor: Position::START, newest, applied: self.runs, announced: self.runs }
    }

    fn count_after(&self, _: Position, _: usize) -> BoxFuture<'_, Result<usize, JournalError>> {
        ready(Ok(0)).boxed()
    }

    fn read(&self, _: Position, _: Position, _: usize) -> BoxFuture<'_, Result<Page, JournalError>> {
        ready(Ok(Page::default())).boxed()
    }

    fn read_runs<'a>(
        &'a self,
        runs: &'a [RunId],
        after: Position,
        _: Position,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page, JournalError>> {
        ready(self.works().map(|()| self.page(&runs[0], after, limit))).boxed()
    }

    fn runs<'a>(&'a self, query: &'a RunQuery) -> BoxFuture<'a, Result<RunPage, JournalError>> {
        ready(self.works().map(|()| self.list(query))).boxed()
    }

    fn run<'a>(&'a self, run: &'a RunId) -> BoxFuture<'a, Result<Option<RunSummary>, JournalError>> {
        ready(self.works().map(|()| self.index(run).map(|r| self.summary(r)))).boxed()
    }
}

/// Nothing is wrong with it, and no other one is asked for.
struct Well;

impl Health for Well {
    fn hung(&self) -> Option<String> {
        None
    }

    fn not_ready(&self) -> Vec<(String, String)> {
        Vec::new()
    }
}

impl Replicas for Well {
    fn up(&self) -> Vec<ReplicaUp> {
        Vec::new()
    }
}

/// The routes over an [`Archive`].
pub struct Reading {
    pub archive: Arc<Archive>,
    /// The routes without the edge: whose request it is stands in its extensions.
    pub bare: Router,
    pub keys: Arc<Keys>,
    /// As the beginning of a stop.
    pub stop: CancellationToken,
    /// What exports count.
    pub exports: ExportMetrics,
    edge: EdgeState,
    /// Tasks that end with the value.
    tasks: JoinSet<()>,
}

impl Reading {
    pub fn of(archive: Arc<Archive>, auth: AuthMode, keys: KeySet) -> Self {
        let metrics = Metrics::new();
        let keys = Arc::new(Keys::new(keys));
        let credentials = Credentials {
            keys: Arc::clone(&keys),
            issuers: Arc::new(Issuers::none(&metrics.auth)),
            sessions: SessionStore::new(SessionSecrets::random().0, Duration::from_secs(3600)),
        };
        let edge = EdgeState::new(EdgeSettings { auth, ..EdgeSettings::default() }, credentials, &metrics);
        let journal: Arc<dyn Journal> = archive.clone();
        let hub = Hub::new(Arc::clone(&journal), HubConfig::default(), metrics.hub.clone());
        let (exports, runner) = Exports::new(metrics.exports.clone());
        let mut tasks = JoinSet::new();
        let stop = CancellationToken::new();
        tasks.spawn(runner.run(stop.clone()));
        let state = ApiState {
            edge: edge.clone(),
            hub,
            journal,
            exports,
            register: mpsc::channel(1).0,
            office: Office {
                revoke: mpsc::channel(1).0,
                reload: watch::channel(None).1,
                started_at: Timestamp(0.0),
                limits: metrics.limits.clone(),
                certificate_end: metrics.server.certificate_end.clone(),
            },
            files: watch::channel(Arc::default()).1,
            metrics: Arc::new(Scrape::new(metrics.registry)),
            health: Arc::new(Well),
            replicas: Arc::new(Well),
            default_interval: 5,
        };
        Self { archive, bare: api::router(state), keys, stop, exports: metrics.exports, edge, tasks }
    }

    /// Serves it on a free port, behind the edge that lets everybody on loopback in, and gives the URL.
    pub fn serve(&mut self) -> String {
        install_crypto();
        let listener = Listener::bind(([127, 0, 0, 1], 0).into()).expect("a port");
        let url = format!("http://{}", listener.local_addr());
        let text = "[auth]\nnone = true\n[server]\nlisten = \"127.0.0.1:0\"\n";
        let config = Config::parse(text, "test", &MapEnv::default()).expect("a configuration");
        let metrics = Metrics::new();
        let serving = Serving {
            tls: None,
            limits: ConnectionLimits::default(),
            caps: ConnectionCaps::new(100, 100, metrics.limits.clone()),
            proxy: ProxySettings::from(&config.proxy),
            metrics: metrics.server.clone(),
            handle: ServerHandle::new(),
        };
        let router = edge::layers(self.bare.clone(), self.edge.clone());
        self.tasks.spawn(async move { serve(listener, router, serving).await.expect("it serves") });
        url
    }
}
