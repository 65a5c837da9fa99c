//! The stream's route. What it carries is the hub's; here are its parameters, its headers and its place among others.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::SystemTime;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{Method, Version, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http_body::{Frame, SizeHint};

use super::ApiState;
use super::caller::{Caller, Pairs};
use super::problem::ApiError;
use super::query;
use crate::edge::{Client, StreamSlot, note_over};
use crate::hub::{Cut, StreamBody, StreamRequest, Via};
use crate::model::Timestamp;

/// Opens a stream.
pub(super) async fn open(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    Pairs(pairs): Pairs,
    client: Client,
    request: Request,
) -> Result<Response, ApiError> {
    let (method, headers, extensions) = (request.method(), request.headers(), request.extensions());
    let wanted = StreamRequest {
        vms: query::vms(&pairs)?,
        interval: query::interval(&pairs, state.default_interval)?,
        last_event_id: query::last_event_id(headers, &pairs),
        client: format!("{} from {}", principal.name, client.ip),
        principal: principal.clone(),
        via: Via { ip: client.ip, protocol: protocol(request.version()) },
        cut: extensions.get::<Cut>().cloned(),
    };
    let head = [
        (header::CONTENT_TYPE, "text/event-stream"),
        // A proxy that compresses or rewrites would hold frames back (G52).
        (header::CACHE_CONTROL, "no-cache, no-transform"),
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    if *method == Method::HEAD {
        // The headers are all it asks for: no stream is opened only to be dropped. The body's length is not known.
        return Ok((head, Body::from_stream(stream::empty::<Result<Bytes, Infallible>>())).into_response());
    }
    let slot = match state.edge.limits().streams().enter(client.key, &principal.name) {
        Ok(slot) => slot,
        Err(problem) => return Ok(problem.into_response()),
    };
    let body = Placed { body: state.hub.open(wanted)?, _slot: slot };
    // From here on the hub tells the stream of a revocation; one that came since the credential was looked at was not told.
    if state.edge.renewed(&principal, Timestamp::from(SystemTime::now())).is_none_or(|now| *now != *principal) {
        note_over(extensions);
        return Err(ApiError::Unauthenticated);
    }
    Ok((head, Body::new(body)).into_response())
}

/// As request logs of other servers name it.
fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_11 => "HTTP/1.1",
        _ => "HTTP/1.0",
    }
}

/// A stream and its place, which is free when the stream is dropped, in whatever way it ends (G47).
struct Placed {
    body: StreamBody,
    _slot: StreamSlot,
}

impl http_body::Body for Placed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
