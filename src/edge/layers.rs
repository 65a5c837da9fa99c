//! Every layer, on one screen.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName,
    HeaderValue, REFERRER_POLICY, RETRY_AFTER, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::auth::authenticate;
use super::clean::{clean, refuse};
use super::client::locate;
use super::limits::{per_address, per_principal, while_in_flight};
use super::problem::MEDIA_TYPE;
use super::record::record;
use super::shared::{from_fn, from_fn_with_state};
use super::{EdgeState, Problem, origin};
use crate::telemetry::Limit;

/// Puts the edge around `router`: every route and the fallback. Outermost first.
///
/// Public routes need nothing more; every other route carries [`super::require`].
pub fn layers(router: Router, edge: EdgeState) -> Router {
    let stack = ServiceBuilder::new()
        // Outermost: every line of the log and every answer carries the id, errors in their document.
        .layer(from_fn(identify))
        // Outside all that can answer by itself: a 400, 401, 413, 429, 500 or 503 needs them as much as a page does.
        .layer(from_fn_with_state(edge.clone(), secure))
        // Before everything that reads headers or the path. What it refuses is answered further inside, to be logged.
        .layer(from_fn(clean))
        // Who the client is: known to the log and the limits, decided once.
        .layer(from_fn_with_state(edge.clone(), locate))
        // Access log and metrics must see what the layers below answer: 400, 401, 408, 413, 414, 429, 500, 503.
        .layer(from_fn_with_state(edge.clone(), record))
        // Inside log and metrics, so that a panic is counted; outside the rest, so that a panic there is caught too.
        .layer(CatchPanicLayer::custom(panicked))
        // Outside all that refuses: a listed origin must be able to read an error, or its page would see none (G45).
        .layer(cors(&edge))
        // Before auth, so that guessing is slow, and before all that costs more than a look at a table.
        .layer(from_fn_with_state(edge.clone(), per_address))
        // Inside the rate: whoever sends what is unfit uses up his own share.
        .layer(from_fn(refuse))
        // To the head of the answer only; a stream may last. Around auth, which may wait for a key set.
        .layer(from_fn_with_state(edge.clone(), in_time))
        // Before the body: nobody's body is read before it is known who sends it.
        .layer(from_fn_with_state(edge.clone(), authenticate))
        // Behind auth, as it counts by who was let in. It also closes the door on strangers who could not be counted.
        .layer(from_fn_with_state(edge.clone(), per_principal))
        // What a handler gets is whole, and came in time.
        .layer(from_fn_with_state(edge.clone(), read_body))
        // Innermost: it counts handlers at work. Around the body, clients who trickle theirs in would take every place.
        .layer(from_fn_with_state(edge.clone(), while_in_flight));
    router.layer(stack)
}

/// Pages of listed origins may read answers, with a credential in a header or with a cookie that browsers let them send;
/// never everybody's (G69).
fn cors(edge: &EdgeState) -> CorsLayer {
    let edge = edge.clone();
    let listed = move |origin: &HeaderValue, _: &Parts| {
        origin.to_str().is_ok_and(|origin| origin::is_listed(origin, &edge.origins()))
    };
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(listed))
        .allow_credentials(true)
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::DELETE])
        .allow_headers([AUTHORIZATION, CONTENT_TYPE, X_API_KEY, LAST_EVENT_ID])
        .expose_headers([X_REQUEST_ID, RETRY_AFTER])
        .max_age(CORS_MAX_AGE)
}

/// The id of one request: 128 random bits as hex. Always ours: a client's own would let it forge joins in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Ends the connection after the answer.
const CLOSE: HeaderValue = HeaderValue::from_static("close");
/// How long a browser need not ask again what a page may do.
const CORS_MAX_AGE: Duration = Duration::from_secs(600);
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Header that carries the request id.
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Text of a bare error answer that is taken over into its problem document, in bytes.
const MAX_BARE_TEXT: u64 = 1024;

async fn identify(mut request: Request, next: Next) -> Response {
    let mut digits = [0; 32];
    hex::encode_to_slice(rand::random::<[u8; 16]>(), &mut digits).expect("two digits for each byte");
    let id = RequestId(std::str::from_utf8(&digits).expect("hex digits").into());
    let value = HeaderValue::from_str(id.as_str()).expect("hex digits");
    request.headers_mut().insert(X_REQUEST_ID, value.clone());
    request.extensions_mut().insert(id.clone());
    let mut response = as_problem(next.run(request).await, &id).await;
    response.headers_mut().insert(X_REQUEST_ID, value);
    response
}

/// Writes the id into a problem document, and makes one of an error that has none (a bare 404, an extractor's text).
async fn as_problem(response: Response, id: &RequestId) -> Response {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let problem = match parts.extensions.remove::<Problem>() {
        Some(problem) => problem,
        None => match bare_text(&parts.headers, &body) {
            Bare::No => return Response::from_parts(parts, body),
            Bare::Empty => Problem::of_status(status),
            Bare::Text => match axum::body::to_bytes(body, MAX_BARE_TEXT as usize).await {
                Ok(text) if status.is_client_error() => {
                    Problem::of_status(status).detail(String::from_utf8_lossy(&text))
                }
                _ => Problem::of_status(status),
            },
        },
    };
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(problem.document(Some(id.as_str()))))
}

enum Bare {
    No,
    Empty,
    Text,
}

fn bare_text(headers: &HeaderMap, body: &Body) -> Bare {
    let size = body.size_hint().exact();
    match headers.get(CONTENT_TYPE).map(|kind| kind.as_bytes().starts_with(b"text/plain")) {
        None if size == Some(0) => Bare::Empty,
        Some(true) if size.is_some_and(|bytes| bytes <= MAX_BARE_TEXT) => Bare::Text,
        _ => Bare::No,
    }
}

/// What a page of ours may do: nothing inline, nothing from elsewhere, in nobody's frame, forms to us alone.
const CSP: &str = "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self'; frame-ancestors 'none'";

/// Sets the security headers that the handler did not set itself.
async fn secure(State(edge): State<EdgeState>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let mut default = |name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    default(X_CONTENT_TYPE_OPTIONS, "nosniff");
    default(REFERRER_POLICY, "no-referrer");
    default(X_FRAME_OPTIONS, "DENY");
    default(CONTENT_SECURITY_POLICY, CSP);
    // What is behind a credential must stay in no cache (G69); streams and public assets set their own.
    default(CACHE_CONTROL, "no-store");
    if edge.settings().hsts {
        default(STRICT_TRANSPORT_SECURITY, "max-age=31536000");
    }
    response
}

/// 503 if the head of the answer takes too long.
async fn in_time(State(edge): State<EdgeState>, request: Request, next: Next) -> Response {
    let limit = edge.settings().head_timeout;
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            tracing::warn!(?limit, "no answer in time");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", "The answer took too long").into_response()
        }
    }
}

/// Reads the whole body, within its limits of size and time (G53): a client that trickles it in holds up nobody's answer
/// but its own. 413 and 408 close the connection, for what is left of the body is not waited for.
async fn read_body(State(edge): State<EdgeState>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let settings = edge.settings();
    let over = |limit: Limit, status: StatusCode| {
        edge.limit_metrics().hits.of(limit).inc();
        Problem::of_status(status).header(CONNECTION, CLOSE).into_response()
    };
    let too_large = || over(Limit::Body, StatusCode::PAYLOAD_TOO_LARGE);
    let hint = body.size_hint();
    if hint.upper() == Some(0) {
        return next.run(Request::from_parts(parts, Body::empty())).await;
    }
    if hint.lower() > settings.body_limit as u64 {
        return too_large();
    }
    let place = match edge.limits().body() {
        Ok(place) => place,
        Err(problem) => return problem.header(CONNECTION, CLOSE).into_response(),
    };
    let read = tokio::time::timeout(settings.body_timeout, Limited::new(body, settings.body_limit).collect()).await;
    drop(place);
    match read {
        Ok(Ok(whole)) => next.run(Request::from_parts(parts, Body::from(whole.to_bytes()))).await,
        Ok(Err(error)) if error.is::<LengthLimitError>() => too_large(),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a request body ended early");
            Problem::of_status(StatusCode::BAD_REQUEST).into_response()
        }
        Err(_) => over(Limit::BodyTime, StatusCode::REQUEST_TIMEOUT),
    }
}

/// 500 for a handler that panicked. The text of the panic is for the log alone.
fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text");
    tracing::error!(panic = text, "a handler panicked");
    Problem::of_status(StatusCode::INTERNAL_SERVER_ERROR).into_response()
}
