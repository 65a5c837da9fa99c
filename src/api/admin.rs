//! What administrators see of the process itself, and the one thing that they do from here: revoke a key.

use std::time::{Duration, SystemTime};

use axum::extract::{Path, State};
use axum::http::Extensions;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot, watch};

use super::ApiState;
use super::caller::{Caller, Pairs};
use super::poll::answer;
use super::problem::ApiError;
use super::query::at_most_one;
use crate::edge::audit::Act;
use crate::edge::note_act;
use crate::hub::OpenStream;
use crate::model::{PrincipalKind, Timestamp, VmName};
use crate::telemetry::metrics::LabelSet as _;
use crate::telemetry::{Gauge, Limit, LimitMetrics};

/// Streams of a list whose `limit` is not given, and at most.
const DEFAULT_STREAMS: usize = 200;
const MAX_STREAMS: usize = 1000;

/// How long the files are waited for.
const REVOKE_TIMEOUT: Duration = Duration::from_secs(15);

/// What these routes answer from.
#[derive(Clone, Debug)]
pub struct Office {
    /// Where keys to be revoked go.
    pub revoke: mpsc::Sender<RevokeKey>,
    /// The last reload; `None`: none since the start.
    pub reload: watch::Receiver<Option<LastReload>>,
    /// When the process began to serve.
    pub started_at: Timestamp,
    /// How often each limit was hit.
    pub limits: LimitMetrics,
    /// When the first of the certificates ends, seconds since the epoch; 0 without one.
    pub certificate_end: Gauge,
}

/// An API key to be taken out of the keys file, at once.
#[derive(Debug)]
pub struct RevokeKey {
    /// Which.
    pub id: String,
    /// Told once it opens nothing any more, or why it still does.
    pub reply: oneshot::Sender<Result<(), RevokeError>>,
}

/// Why a key was not revoked. The texts are shown to the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RevokeError {
    /// No key of the file has this id.
    #[error("there is no key {0:?}")]
    Unknown(String),
    /// Without it none is left.
    #[error("it is the last key: without it nobody comes in with one")]
    Last,
    /// The file could not be changed now; the gateway's log has the cause.
    #[error("the keys file could not be changed")]
    Unavailable,
}

/// How the last reload went.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LastReload {
    /// When it ended.
    pub at: Timestamp,
    /// `applied` or `refused`.
    pub outcome: &'static str,
    /// Why it was refused, a line for each mistake.
    pub problems: Vec<String>,
    /// The sections that changed and are in force only after a restart.
    pub needs_restart: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
struct Streams<'a> {
    streams: Vec<StreamRow<'a>>,
    total: usize,
}

#[derive(Debug, Serialize)]
struct StreamRow<'a> {
    id: String,
    principal: &'a str,
    kind: &'static str,
    client: std::net::IpAddr,
    protocol: &'static str,
    opened_at: Timestamp,
    vms: Option<&'a [VmName]>,
    interval: u8,
    behind: u64,
    delivered: u64,
    coalesced: u64,
}

impl<'a> StreamRow<'a> {
    fn of(stream: &'a OpenStream) -> Self {
        Self {
            id: stream.id.to_string(),
            principal: &stream.principal.name,
            kind: match stream.principal.kind {
                PrincipalKind::ApiKey => "api_key",
                PrincipalKind::Jwt => "jwt",
                PrincipalKind::Session => "session",
                PrincipalKind::Ticket => "ticket",
            },
            client: stream.via.ip,
            protocol: stream.via.protocol,
            opened_at: stream.opened_at,
            vms: stream.vms.as_deref(),
            interval: stream.interval,
            behind: stream.behind,
            delivered: stream.delivered,
            coalesced: stream.coalesced,
        }
    }
}

/// `/api/streams`.
pub(super) async fn streams(State(state): State<ApiState>, Pairs(pairs): Pairs) -> Result<Response, ApiError> {
    let limit = match at_most_one(&pairs, "limit")? {
        None => DEFAULT_STREAMS,
        Some(text) => text
            .parse()
            .ok()
            .filter(|limit| (1..=MAX_STREAMS).contains(limit))
            .ok_or(ApiError::InvalidParameter("limit", "a number from 1 to 1000"))?,
    };
    let (open, total) = state.hub.open_streams(limit);
    let streams = open.iter().map(StreamRow::of).collect();
    Ok(answer(Streams { streams, total }).into_response())
}

#[derive(Debug, Serialize)]
struct Hits {
    hits: Vec<Hit>,
}

#[derive(Debug, Serialize)]
struct Hit {
    limit: &'static str,
    count: u64,
}

/// `/api/limits`.
pub(super) async fn limits(State(state): State<ApiState>) -> Response {
    let hit = |limit: &Limit| Hit { limit: limit.as_str(), count: state.office.limits.hits.of(*limit).get() };
    answer(Hits { hits: Limit::ALL.iter().map(hit).collect() }).into_response()
}

#[derive(Debug, Serialize)]
struct Process {
    version: &'static str,
    started_at: Timestamp,
    certificate_expires_at: Option<i64>,
    last: Option<LastReload>,
}

/// `/api/reload`.
pub(super) async fn reload(State(state): State<ApiState>) -> Response {
    let office = &state.office;
    let ends = office.certificate_end.get();
    answer(Process {
        version: env!("CARGO_PKG_VERSION"),
        started_at: office.started_at,
        certificate_expires_at: (ends != 0).then_some(ends),
        last: office.reload.borrow().clone(),
    })
    .into_response()
}

#[derive(Debug, Serialize)]
struct Revoked {
    id: String,
    revoked_at: Timestamp,
}

/// `POST /api/keys/{id}/revoke`.
pub(super) async fn revoke(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    Path(id): Path<String>,
    extensions: Extensions,
) -> Result<Response, ApiError> {
    let (reply, answered) = oneshot::channel();
    let busy = || ApiError::Unavailable("another key is being revoked, or the gateway is stopping".into());
    state.office.revoke.try_send(RevokeKey { id: id.clone(), reply }).map_err(|_| busy())?;
    match tokio::time::timeout(REVOKE_TIMEOUT, answered).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(RevokeError::Unknown(_)))) => return Err(ApiError::UnknownKey),
        Ok(Ok(Err(why @ RevokeError::Last))) => return Err(ApiError::LastKey(why.to_string())),
        Ok(Ok(Err(why @ RevokeError::Unavailable))) => return Err(ApiError::Unavailable(why.to_string())),
        Ok(Err(_)) => return Err(busy()),
        Err(_) => return Err(ApiError::Unavailable("no answer in time; look whether the key is still listed".into())),
    }
    note_act(&extensions, Act::Revoke);
    tracing::info!(key = %id.escape_debug(), by = %principal.name.escape_debug(), "API key revoked");
    Ok(answer(Revoked { id, revoked_at: Timestamp::from(SystemTime::now()) }).into_response())
}
