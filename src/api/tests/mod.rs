//! Handlers through the router, as a client sees them.

mod admin;
mod docs;
mod log;
mod metrics;
mod polling;
mod replicas;
mod stream;
mod writing;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::history::Exports;
use super::{ApiState, FilesView, Health, LastReload, Office, RegisterVm, ReplicaUp, Replicas, RevokeKey, router};
use crate::edge::{AuthMode, Client, Credentials, EdgeSettings, EdgeState, Keys};
use crate::event::Position;
use crate::hub::{Hub, HubConfig, VmEntry};
use crate::journal::{Journal, LiveReport, MemoryJournal, MemoryJournalConfig, live_bus};
use crate::model::{
    Basis, Container, MemoryUse, Principal, PrincipalKind, ProgressView, RunId, Scope, Stage, TaskView, Timestamp,
    VmFacts, VmGrant, VmId, VmName, VmView,
};
use crate::telemetry::{AddressSource, Metrics, Scrape};

/// A router and the far ends of what it is given.
struct Lab {
    router: Router,
    state: ApiState,
    hub: Arc<Hub>,
    registrations: mpsc::Receiver<RegisterVm>,
    files: watch::Sender<Arc<FilesView>>,
    not_ready: watch::Sender<Vec<(String, String)>>,
    hung: watch::Sender<Option<String>>,
    revocations: mpsc::Receiver<RevokeKey>,
    reloads: watch::Sender<Option<LastReload>>,
    up: watch::Sender<Vec<ReplicaUp>>,
    /// The hub's task; it ends with the lab.
    _running: JoinSet<()>,
}

/// Health as a test says it is.
struct Said {
    not_ready: watch::Receiver<Vec<(String, String)>>,
    hung: watch::Receiver<Option<String>>,
}

impl Health for Said {
    fn hung(&self) -> Option<String> {
        self.hung.borrow().clone()
    }

    fn not_ready(&self) -> Vec<(String, String)> {
        self.not_ready.borrow().clone()
    }
}

impl Replicas for watch::Receiver<Vec<ReplicaUp>> {
    fn up(&self) -> Vec<ReplicaUp> {
        self.borrow().clone()
    }
}

impl Lab {
    async fn new(entries: Vec<VmEntry>) -> Self {
        Self::with(entries, HubConfig::default()).await
    }

    async fn with(entries: Vec<VmEntry>, config: HubConfig) -> Self {
        Self::behind(entries, config, EdgeSettings { auth: AuthMode::Open, ..EdgeSettings::default() }).await
    }

    /// A real hub that has heard of `entries`.
    async fn behind(entries: Vec<VmEntry>, config: HubConfig, settings: EdgeSettings) -> Self {
        let journal: Arc<dyn Journal> = Arc::new(MemoryJournal::new(MemoryJournalConfig::default()));
        let metrics = Metrics::new();
        let hub = Hub::new(Arc::clone(&journal), config, metrics.hub.clone());
        let (live, receiver) = live_bus();
        let mut running = JoinSet::new();
        running.spawn(Arc::clone(&hub).run(receiver, CancellationToken::new()));
        let known = entries.len();
        for entry in entries {
            let VmEntry { vm, vm_id, facts, view, logs, interval, .. } = entry;
            let (lease_rev, poll_no, after) = (0, 1, Position::START);
            live.publish(LiveReport { vm, vm_id, lease_rev, poll_no, after, interval, facts, view, logs }).await;
        }
        while hub.vms(&VmGrant::all()).len() < known {
            tokio::task::yield_now().await;
        }
        let (register, registrations) = mpsc::channel(1);
        let (files, files_view) = watch::channel(Arc::default());
        let (revoke, revocations) = mpsc::channel(1);
        let (reloads, reload) = watch::channel(None);
        let (not_ready, not_ready_view) = watch::channel(Vec::new());
        let (up, up_view) = watch::channel(Vec::new());
        let (hung, hung_view) = watch::channel(None);
        let credentials = Credentials::of_keys(Arc::new(Keys::none()), &metrics);
        let edge = EdgeState::new(settings, credentials, &metrics);
        let (exports, runner) = Exports::new(metrics.exports.clone());
        running.spawn(runner.run(CancellationToken::new()));
        let state = ApiState {
            edge,
            hub: Arc::clone(&hub),
            journal,
            exports,
            register,
            office: Office {
                revoke,
                reload,
                started_at: Timestamp(1.0),
                limits: metrics.limits.clone(),
                certificate_end: metrics.server.certificate_end.clone(),
            },
            files: files_view,
            metrics: Arc::new(Scrape::new(metrics.registry.clone())),
            health: Arc::new(Said { not_ready: not_ready_view, hung: hung_view }),
            replicas: Arc::new(up_view),
            default_interval: 5,
        };
        Self {
            router: router(state.clone()),
            state,
            hub,
            registrations,
            files,
            not_ready,
            hung,
            revocations,
            reloads,
            up,
            _running: running,
        }
    }

    async fn send(&self, request: Request<Body>) -> Response<Body> {
        self.router.clone().oneshot(request).await.expect("a router does not fail")
    }

    /// GET as a principal that may watch everything.
    async fn get(&self, path: &str) -> Response<Body> {
        self.send(request("GET", path, Some(principal(&["*"])))).await
    }

    async fn get_json(&self, path: &str) -> Value {
        self.get_json_as(path, &["*"]).await
    }

    async fn get_json_as(&self, path: &str, globs: &[&str]) -> Value {
        let response = self.send(request("GET", path, Some(principal(globs)))).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store", "{path}");
        json(response).await
    }
}

fn principal(globs: &[&str]) -> Principal {
    Principal {
        kind: PrincipalKind::ApiKey,
        name: "reader".into(),
        issuer: None,
        scopes: [Scope::EventsRead].into_iter().collect(),
        vms: VmGrant::from_globs(globs.iter().copied()),
        basis: Basis::default(),
        expires_at: None,
    }
}

fn request(method: &str, path: &str, principal: Option<Principal>) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path).body(Body::empty()).expect("a request");
    request.extensions_mut().insert(Client::new([192, 0, 2, 1].into(), AddressSource::Socket));
    if let Some(principal) = principal {
        request.extensions_mut().insert(Arc::new(principal));
    }
    request
}

async fn json(response: Response<Body>) -> Value {
    let bytes = response.into_body().collect().await.expect("a body").to_bytes();
    serde_json::from_slice(&bytes).expect("JSON")
}

/// Asserts a problem document with `code` and gives it.
async fn problem(response: Response<Body>, status: u16, code: &str) -> Value {
    assert_eq!(response.status().as_u16(), status);
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    let problem = json(response).await;
    assert_eq!(problem["code"], code, "{problem}");
    assert!(problem["title"].is_string(), "{problem}");
    problem
}

fn name(text: &str) -> VmName {
    VmName::new(text).expect("a name")
}

fn entry(vm: &str, view: Option<VmView>) -> VmEntry {
    VmEntry {
        vm: name(vm),
        vm_id: VmId::from_journal(&format!("id-{vm}")),
        facts: Arc::new(VmFacts {
            host: "192.0.2.10".into(),
            user: "azureuser".into(),
            container: "winarena".into(),
            internal_ip: "172.30.0.2".into(),
            waa_port: 5000,
            vnc_url: Some("http://192.0.2.10:8006".into()),
        }),
        view: view.map(Arc::new),
        logs: Default::default(),
        interval: 5.0,
        stale: false,
    }
}

/// A VM whose benchmark server answers.
fn view(stage: Stage, progress: Vec<ProgressView>) -> VmView {
    VmView {
        stage,
        stage_since: Timestamp(1_767_348_000.0),
        stages: vec![(stage, Timestamp(1_767_348_000.0))],
        reported_at: Timestamp(1_767_348_060.5),
        answered_at: Some(Timestamp(1_767_348_060.5)),
        reachable: true,
        connected: true,
        waa_ready: true,
        probe_reply: Some(r#"{"status":"ok"}"#.into()),
        power: None,
        clock_skew: None,
        boot_percent: 100.0,
        download_seconds_left: None,
        container: Some(Container {
            id: "c0ffee".into(),
            name: "winarena".into(),
            image: "windows:11".into(),
            running: true,
            state: "running".into(),
            started_at: "2026-01-02T10:00:00Z".into(),
        }),
        container_log_tail: "ready".into(),
        setup_script: None,
        dependencies: vec![],
        process: None,
        storage: None,
        memory: Some(MemoryUse { used: 3_326_083, limit: Some(25_275_882_209) }),
        qemu_monitor: Some(false),
        progress,
        errors: vec![],
    }
}

fn run(id: &str, open: bool, at: f64) -> ProgressView {
    ProgressView {
        source: format!("/tmp/{id}.log"),
        run: RunId::from_hash(id),
        open,
        started_at: Timestamp(at),
        ended_at: (!open).then_some(Timestamp(at + 60.0)),
        task_number: 4,
        total_tasks: 10,
        completed: 3,
        passed: 2,
        failed: 1,
        unknown: 0,
        current: Some(TaskView {
            task_id: format!("{id}/task_004"),
            instruction: Some("Open the browser".into()),
            domain: Some("chrome".into()),
            step: 2,
            action: Some("CLICK".into()),
            started_at: Timestamp(at),
            closed: false,
            success: None,
            score: None,
        }),
        model: Some("gpt-4o".into()),
        average_score: None,
        historic: false,
    }
}
