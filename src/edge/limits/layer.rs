//! The limits as layers. What stands where, and why, is in `edge/layers.rs`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::Instant;

use super::Limits;
use super::bodies::Full;
use super::in_flight::Place;
use super::rate::{self, Passed};
use super::told::{self, Policy};
use crate::edge::clean::Unfit;
use crate::edge::client::Client;
use crate::edge::{EdgeState, Problem};
use crate::model::{ClientKey, Principal};
use crate::telemetry::Limit;

/// Until a full table is swept again, in seconds.
const TABLE_FULL_WAIT: u64 = 1;
/// Until an address may send one more body, in seconds: most are over in a moment.
const BODY_WAIT: u64 = 1;

/// Marks a request that the table of addresses had no room for.
#[derive(Clone, Copy, Debug)]
struct Uncounted;

/// 429 for an address that asks too often.
pub(in crate::edge) async fn per_address(State(edge): State<EdgeState>, mut request: Request, next: Next) -> Response {
    if request.extensions().get::<Client>().is_none() {
        return Unfit::left(request.extensions()).map_or_else(rate::no_key, IntoResponse::into_response);
    }
    let limits = edge.limits();
    let table = limits.address.table();
    if !table.admits(Instant::now()) {
        request.extensions_mut().insert(Uncounted);
        return next.run(request).await;
    }
    match table.pass(request, next, limits.tells()).await {
        Passed::Yes(response) => response,
        Passed::No(wait) => limits.refused(Limit::Requests, &table.policy, wait).into_response(),
        Passed::NoKey => rate::no_key(),
    }
}

/// 429 for a principal that asks too often, and for nobody in particular while the table of addresses is full: it closes
/// for unknown callers and stays open for known ones (G55).
pub(in crate::edge) async fn per_principal(State(edge): State<EdgeState>, request: Request, next: Next) -> Response {
    let limits = edge.limits();
    if request.extensions().get::<Arc<Principal>>().is_none() {
        if request.extensions().get::<Uncounted>().is_some() {
            let policy = &limits.address.table().policy;
            return limits.refused(Limit::RequestsTableFull, policy, TABLE_FULL_WAIT).into_response();
        }
        return next.run(request).await;
    }
    let table = limits.principal.table();
    if !table.admits(Instant::now()) {
        return next.run(request).await;
    }
    match table.pass(request, next, limits.tells()).await {
        Passed::Yes(response) => response,
        Passed::No(wait) => limits.refused(Limit::PrincipalRequests, &table.policy, wait).into_response(),
        Passed::NoKey => Problem::unauthorized().into_response(),
    }
}

/// 503 if too many handlers are at work. A place is held to the head of the answer: streams hold none.
pub(in crate::edge) async fn while_in_flight(State(edge): State<EdgeState>, request: Request, next: Next) -> Response {
    match edge.limits().work() {
        Ok(_place) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

impl Limits {
    /// A place for a handler.
    fn work(&self) -> Result<Place, Problem> {
        self.in_flight.enter(self.config.load().requests_in_flight).ok_or_else(|| self.overloaded())
    }

    /// A place for a body from `key` that is read. They are as many as those of handlers and apart from them, so that clients
    /// who trickle their bodies in take memory that is bounded, and nothing from requests without a body; one address gets
    /// a part of them, so that it takes nothing from others either (G53, G58).
    pub(in crate::edge) fn body(&self, key: ClientKey) -> Result<impl Sized + Send + use<>, Problem> {
        self.bodies.enter(key, self.config.load().requests_in_flight).map_err(|full| match full {
            Full::All => self.overloaded(),
            Full::Address(share) => {
                self.metrics.hits.of(Limit::InFlight).inc();
                told::too_many_at_once(&Policy::at_once("bodies-per-address", share), BODY_WAIT, self.tells())
            }
        })
    }

    fn overloaded(&self) -> Problem {
        self.metrics.hits.of(Limit::InFlight).inc();
        told::overloaded()
    }

    fn tells(&self) -> bool {
        self.config.load().rate_limit_headers
    }
}
