//! The stream's route. What it carries is the hub's; here are its parameters and its headers.

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, Method, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;

use super::ApiState;
use super::caller::{Caller, Pairs};
use super::problem::ApiError;
use super::query;
use crate::hub::{Cut, StreamRequest};

/// Opens a stream.
pub(super) async fn open(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    Pairs(pairs): Pairs,
    method: Method,
    headers: HeaderMap,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    cut: Option<Extension<Cut>>,
) -> Result<Response, ApiError> {
    let client = match peer {
        Some(Extension(ConnectInfo(peer))) => format!("{} from {}", principal.name, peer.ip()),
        None => principal.name.to_string(),
    };
    let request = StreamRequest {
        vms: query::vms(&pairs)?,
        interval: query::interval(&pairs, state.default_interval)?,
        last_event_id: query::last_event_id(&headers, &pairs),
        principal,
        client,
        cut: cut.map(|Extension(cut)| cut),
    };
    let head = [
        (header::CONTENT_TYPE, "text/event-stream"),
        // A proxy that compresses or rewrites would hold frames back (G52).
        (header::CACHE_CONTROL, "no-cache, no-transform"),
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    if method == Method::HEAD {
        // The headers are all it asks for: no stream is opened only to be dropped. The body's length is not known.
        return Ok((head, Body::from_stream(stream::empty::<Result<Bytes, Infallible>>())).into_response());
    }
    let body = state.hub.open(request)?;
    Ok((head, Body::new(body)).into_response())
}
