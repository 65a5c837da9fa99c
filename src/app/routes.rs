//! Which routes stand behind which door.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use tokio::sync::{mpsc, watch};

use crate::api::history::Exports;
use crate::api::{self, ApiState, FilesView, Health, Office, RegisterVm, Replicas};
use crate::edge::{self, EdgeState};
use crate::hub::{Cut, Hub};
use crate::journal::Journal;
use crate::server::Connection;
use crate::telemetry::Scrape;

/// What the routes lead to.
#[derive(Clone)]
pub(super) struct Doors {
    pub(super) edge: EdgeState,
    pub(super) hub: Arc<Hub>,
    pub(super) journal: Arc<dyn Journal>,
    pub(super) exports: Exports,
    pub(super) register: mpsc::Sender<RegisterVm>,
    pub(super) office: Office,
    pub(super) files: watch::Receiver<Arc<FilesView>>,
    pub(super) metrics: Arc<Scrape>,
    pub(super) health: Arc<dyn Health>,
    pub(super) replicas: Arc<dyn Replicas>,
    pub(super) default_interval: u8,
}

impl From<Doors> for ApiState {
    fn from(doors: Doors) -> Self {
        Self {
            edge: doors.edge,
            hub: doors.hub,
            journal: doors.journal,
            exports: doors.exports,
            register: doors.register,
            office: doors.office,
            files: doors.files,
            metrics: doors.metrics,
            health: doors.health,
            replicas: doors.replicas,
            default_interval: doors.default_interval,
        }
    }
}

/// The public listener: every route, behind the whole edge.
pub(super) fn public(doors: Doors) -> Router {
    let edge = doors.edge.clone();
    let routes = api::router(doors.into()).merge(edge::session_routes(edge.clone()));
    edge::layers(routes.layer(from_fn(lend_cut)), edge)
}

/// The hub knows no connection and the server no stream: here one's way to end a connection becomes the other's.
async fn lend_cut(mut request: Request, next: Next) -> Response {
    if let Some(connection) = request.extensions().get::<Connection>().cloned() {
        request.extensions_mut().insert(Cut::new(move || connection.cut()));
    }
    next.run(request).await
}

/// The administration listener.
pub(super) fn admin(doors: Doors) -> Router {
    api::admin_router(doors.into())
}
