//! The replicas that are up, and what each of them does.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::ApiState;
use super::caller::Caller;
use super::poll::answer;
use crate::model::{Principal, Scope, Timestamp, VmName};

/// A replica that is up.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplicaUp {
    /// Its name, as `connected` has it.
    pub replica: String,
    /// Its version.
    pub version: String,
    /// When it started.
    pub started_at: Timestamp,
    /// When it was last heard of here.
    pub heard_at: Timestamp,
    /// Whether it is about to stop.
    pub draining: bool,
    /// Streams open there.
    pub streams: usize,
    /// The VMs that it polls.
    pub polls: Vec<VmName>,
    /// Whether it is this process.
    pub is_self: bool,
}

/// Who is up at the moment of asking.
pub trait Replicas: Send + Sync {
    /// Each, this process among them.
    fn up(&self) -> Vec<ReplicaUp>;
}

#[derive(Debug, Serialize)]
struct Answer<'a> {
    replicas: Vec<Row<'a>>,
}

#[derive(Debug, Serialize)]
struct Row<'a> {
    replica: &'a str,
    version: &'a str,
    started_at: Timestamp,
    heard_at: Timestamp,
    draining: bool,
    /// Null without `admin`: how many others watch is none of a reader's business.
    streams: Option<usize>,
    polls: Vec<&'a VmName>,
    #[serde(rename = "self")]
    is_self: bool,
}

impl<'a> Row<'a> {
    fn of(up: &'a ReplicaUp, principal: &Principal) -> Self {
        let mut polls: Vec<_> = up.polls.iter().filter(|vm| principal.vms.allows(vm)).collect();
        polls.sort();
        Self {
            replica: &up.replica,
            version: &up.version,
            started_at: up.started_at,
            heard_at: up.heard_at,
            draining: up.draining,
            streams: principal.scopes.allow(Scope::Admin).then_some(up.streams),
            polls,
            is_self: up.is_self,
        }
    }
}

/// `/api/replicas`: by name, and of the VMs those that the caller may see.
pub(super) async fn list(State(state): State<ApiState>, Caller(principal): Caller) -> Response {
    let mut up = state.replicas.up();
    up.sort_by(|a, b| a.replica.cmp(&b.replica));
    answer(Answer { replicas: up.iter().map(|up| Row::of(up, &principal)).collect() }).into_response()
}
