//! Routes and handlers: what a caller asks, answered from the hub's views and the journal. Nothing here polls a VM.
//!
//! May import `model`, `telemetry`, `event`, `journal`, `hub` and `edge`.

mod admin;
mod caller;
mod health;
pub mod history;
mod keys;
mod log;
mod metrics;
mod openapi;
mod page;
mod poll;
mod problem;
mod query;
mod replicas;
mod runs;
mod sse;
mod stages;
mod tasks;
#[cfg(test)]
mod tests;
mod vms;

use std::sync::Arc;

use axum::Router;
use axum::routing::{MethodRouter, get, post};
use serde_json::Value;
use tokio::sync::{mpsc, watch};

use self::history::Exports;
use self::problem::ApiError;
use crate::edge::{self, EdgeState};
use crate::hub::Hub;
use crate::journal::Journal;
use crate::model::Scope::{self, Admin, EventsRead, MetricsRead, VmsWrite};
use crate::telemetry::Scrape;

pub use self::admin::{LastReload, Office, RevokeError, RevokeKey};
pub use self::health::Health;
pub use self::replicas::{ReplicaUp, Replicas};
pub use self::vms::{RegisterError, RegisterVm};

/// What handlers need; `app` fills it.
#[derive(Clone)]
pub struct ApiState {
    /// Who may open a stream more, and still.
    pub edge: EdgeState,
    /// Streams and views.
    pub hub: Arc<Hub>,
    /// What was.
    pub journal: Arc<dyn Journal>,
    /// Places for exports of it.
    pub exports: Exports,
    /// Where VMs to be registered go.
    pub register: mpsc::Sender<RegisterVm>,
    /// What administrators see and do.
    pub office: Office,
    /// The latest contents of the files of `[files]`.
    pub files: watch::Receiver<Arc<FilesView>>,
    /// What `/metrics` shows of the process.
    pub metrics: Arc<Scrape>,
    /// How the process is now.
    pub health: Arc<dyn Health>,
    /// Which replicas are up.
    pub replicas: Arc<dyn Replicas>,
    /// Seconds between live events of a stream that names no interval, 1 to 60.
    pub default_interval: u8,
}

/// The local files of `[files]` as last read; `None` for one that is not there or is no JSON.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FilesView {
    /// `benchmark_progress.json`.
    pub progress: Option<Value>,
    /// `benchmark_live.json`.
    pub live: Option<Value>,
}

/// Every route and the scope that it needs.
pub fn router(state: ApiState) -> Router {
    Router::new()
        // Without a credential: they tell nothing of any VM.
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        // The dashboard, and the page that needs no build. They hold no data: what they show comes over the stream.
        .route("/", get(page::index))
        .route("/assets/{file}", get(page::asset))
        .route("/plain", get(page::plain))
        .route("/page.js", get(page::script))
        .route("/page.css", get(page::style))
        .route("/page.svg", get(page::icon))
        // What all of these are, for programs.
        .route("/api/openapi.json", get(openapi::document))
        // The stream.
        .route("/api/benchmark-sse", needs(EventsRead, get(sse::open)))
        // What clients without a stream poll.
        .route("/api/benchmark-live", needs(EventsRead, get(poll::live)))
        .route("/api/benchmark-progress", needs(EventsRead, get(poll::progress)))
        .route("/api/current-run", needs(EventsRead, get(poll::current_run)))
        .route("/api/tasks", needs(EventsRead, get(poll::tasks)))
        .route("/api/background-tasks", needs(EventsRead, get(poll::tasks)))
        .route("/api/probe-vm", needs(EventsRead, get(poll::probe)))
        .route("/api/vms", needs(EventsRead, get(vms::list)))
        .route("/api/vms/{vm}/stages", needs(EventsRead, get(stages::of_vm)))
        .route("/api/vms/{vm}/log", needs(EventsRead, get(log::of_vm)))
        .route("/api/replicas", needs(EventsRead, get(replicas::list)))
        // What was.
        .route("/api/runs", needs(EventsRead, get(history::list)))
        .route("/api/runs/{run}", needs(EventsRead, get(history::detail)))
        // For Prometheus.
        .route("/metrics", needs(MetricsRead, get(metrics::of_caller)))
        // For administrators.
        .route("/api/keys", needs(Admin, get(keys::list)))
        .route("/api/streams", needs(Admin, get(admin::streams)))
        .route("/api/limits", needs(Admin, get(admin::limits)))
        .route("/api/reload", needs(Admin, get(admin::reload)))
        // What changes something.
        .route("/api/vms/register", needs(VmsWrite, post(vms::register)))
        .route("/api/keys/{id}/revoke", needs(Admin, post(admin::revoke)))
        .fallback(async || ApiError::NoSuchRoute)
        .method_not_allowed_fallback(async || ApiError::WrongMethod)
        .with_state(state)
}

/// The administration listener: health and metrics, without a key, for whoever reaches it.
pub fn admin_router(state: ApiState) -> Router {
    Router::new()
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics::all))
        .with_state(state)
}

/// `routes` behind `scope`.
fn needs(scope: Scope, routes: MethodRouter<ApiState>) -> MethodRouter<ApiState> {
    routes.route_layer(edge::require(scope))
}
