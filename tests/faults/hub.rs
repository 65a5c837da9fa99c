//! A hub behind a plain HTTP server, on a journal of the test's own: for what takes a hub's own settings or a writer that
//! no poll could be.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use gatewatch::event::{DurableEvent, EventId, EventKind, Position};
use gatewatch::hub::{Hub, HubConfig, StreamRequest, Via};
use gatewatch::journal::{Commit, Journal, LiveReport, LiveSender, live_bus};
use gatewatch::model::{Basis, Principal, PrincipalKind, RunId, Scope, VmFacts, VmGrant, VmId, VmName};
use gatewatch::telemetry::HubMetrics;
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Target, now};
use crate::support::plain;

/// The one VM.
const VM: &str = "written";

/// A running hub; it ends with the value.
pub struct BareHub {
    /// Where it listens.
    pub port: u16,
    /// The journal that it reads.
    pub journal: Arc<dyn Journal>,
    vm_id: VmId,
    commits: std::sync::atomic::AtomicU64,
    _live: LiveSender,
    _tasks: JoinSet<()>,
}

impl BareHub {
    /// Starts one with one VM.
    pub async fn start(journal: Arc<dyn Journal>, config: HubConfig) -> Self {
        let metrics = HubMetrics::register(&prometheus::Registry::new()).expect("fresh names");
        let hub = Hub::new(Arc::clone(&journal), config, metrics);
        let (live, receiver) = live_bus();
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&hub).run(receiver, CancellationToken::new()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let router = Router::new().route("/api/benchmark-sse", get(open)).with_state(Arc::clone(&hub));
        tasks.spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        let vm = VmName::new(VM).expect("a name");
        let vm_id = journal.vm_id(&vm).await.expect("an identity");
        let report = LiveReport {
            vm: vm.clone(),
            vm_id: vm_id.clone(),
            lease_rev: 0,
            poll_no: 0,
            after: Position::START,
            interval: 5.0,
            facts: Arc::new(VmFacts::default()),
            view: None,
            logs: Default::default(),
        };
        assert!(live.publish(report).await);
        while !hub.has_vm(&VmGrant::from_globs(["*"]), &vm) {
            tokio::task::yield_now().await;
        }
        Self { port, journal, vm_id, commits: 0.into(), _live: live, _tasks: tasks }
    }

    /// For clients that come straight to it.
    pub fn target(&self) -> Target {
        Target { url: format!("http://127.0.0.1:{}", self.port), key: String::new(), client: plain() }
    }

    /// Commits the completions of these numbers in one commit; gives the last id.
    pub async fn commit(&self, numbers: Range<u64>) -> String {
        let vm = VmName::new(VM).expect("a name");
        let event = |number: u64| DurableEvent {
            kind: EventKind::TaskComplete,
            vm: vm.clone(),
            vm_id: self.vm_id.clone(),
            run: Some(RunId::from_hash("0123456789ab")),
            data: json!({"task_id": task_id(number), "key": format!("key-{number}"), "timestamp": now()})
                .to_string()
                .into(),
        };
        let events = numbers.map(event).collect();
        let n = self.commits.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        let vm_id = self.vm_id.clone();
        let commit =
            Commit { vm_id, lease_rev: 0, n, follows: 0, cursors: Vec::new(), tracker_state: "{}".into(), events };
        let committed = self.journal.commit(commit).await.expect("the journal commits");
        let position = committed.events.last().expect("at least one").position;
        EventId { epoch: self.journal.epoch().clone(), position }.to_string()
    }
}

/// The task id of that number.
pub fn task_id(number: u64) -> String {
    format!("{VM}-{number:06}")
}

async fn open(
    State(hub): State<Arc<Hub>>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let header = headers.get("last-event-id").and_then(|value| value.to_str().ok().map(str::to_owned));
    let request = StreamRequest {
        principal: Arc::new(Principal {
            kind: PrincipalKind::ApiKey,
            name: "test".into(),
            issuer: None,
            scopes: [Scope::EventsRead].into_iter().collect(),
            vms: VmGrant::all(),
            basis: Basis::default(),
            expires_at: None,
        }),
        vms: None,
        interval: 1,
        last_event_id: header.or_else(|| query.get("lastEventId").cloned()),
        client: "test".to_owned(),
        via: Via { ip: std::net::Ipv4Addr::LOCALHOST.into(), protocol: "HTTP/1.1" },
        cut: None,
    };
    let body = hub.open(request).expect("the hub takes streams");
    ([("content-type", "text/event-stream")], Body::new(body)).into_response()
}
