//! Every layer, on one screen.

use std::any::Any;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{
    ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, HeaderName, HeaderValue, ORIGIN, REFERRER_POLICY, RETRY_AFTER, STRICT_TRANSPORT_SECURITY, VARY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::request::Parts;
use http::{Extensions, HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::auth::authenticate;
use super::clean::{clean, refuse};
use super::client::{AddressFault, Client, locate};
use super::limits::{per_address, per_principal, while_in_flight};
use super::problem::MEDIA_TYPE;
use super::record::{TRACEPARENT, record};
use super::shared::{from_fn, from_fn_with_state};
use super::{EdgeState, Problem, origin};
use crate::model::Principal;
use crate::telemetry::Limit;

/// Puts the edge around `router`: every route and the fallback. Outermost first.
///
/// Public routes need nothing more; every other route carries [`super::require`].
pub fn layers(router: Router, edge: EdgeState) -> Router {
    let cors = Arc::new(cors(&edge));
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
        // Outside all that refuses or fails: a listed origin must be able to read an error, or its page would see none (G45).
        .layer(from_fn_with_state(cors.clone(), readable))
        // Inside log and metrics, so that a panic is counted; outside the rest, so that a panic there is caught too.
        .layer(CatchPanicLayer::custom(panicked))
        // Before auth, so that guessing is slow, and before all that costs more than a look at a table.
        .layer(from_fn_with_state(edge.clone(), per_address))
        // Inside the rate: whoever sends what is unfit uses up his own share.
        .layer(from_fn(refuse))
        // Behind both, as it answers by itself; before auth, as browsers show no credential when they ask beforehand.
        .layer(from_fn_with_state(cors, preflight))
        // To the head of the answer only; a stream may last. Around auth, which may wait for a key set.
        .layer(from_fn_with_state(edge.clone(), in_time))
        // Before the body, which is read of known callers, and of others only where a route says so.
        .layer(from_fn_with_state(edge.clone(), authenticate))
        // Behind auth, as it counts by who was let in. It also closes the door on strangers who could not be counted.
        .layer(from_fn_with_state(edge.clone(), per_principal))
        // Behind auth: nobody's body is read before it is known who sends it. What a handler gets is whole, and came in time.
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
        .allow_headers([AUTHORIZATION, CONTENT_TYPE, X_API_KEY, LAST_EVENT_ID, TRACEPARENT])
        .expose_headers([X_REQUEST_ID, RETRY_AFTER, RATELIMIT, RATELIMIT_POLICY])
        .max_age(CORS_MAX_AGE)
}

/// Says who may read the answer. Not of OPTIONS: the layer would answer every one by itself, and no limit would be met. A
/// request that no page of another origin sent needs nothing said but that the answer would be another for one that was.
async fn readable(State(cors): State<Arc<CorsLayer>>, request: Request, next: Next) -> Response {
    if request.method() == Method::OPTIONS {
        return next.run(request).await;
    }
    if !request.headers().contains_key(ORIGIN) {
        let mut response = next.run(request).await;
        response.headers_mut().append(VARY, HeaderValue::from_static("origin"));
        return response;
    }
    through(cors, request, next).await
}

/// Answers what browsers ask beforehand, and nothing else: any other OPTIONS is a method as all others.
async fn preflight(State(cors): State<Arc<CorsLayer>>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let asks = headers.contains_key(ORIGIN) && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    if asks && request.method() == Method::OPTIONS {
        return through(cors, request, next).await;
    }
    next.run(request).await
}

async fn through(cors: Arc<CorsLayer>, request: Request, next: Next) -> Response {
    let answer: Result<Response, Infallible> = cors.layer(next).oneshot(request).await;
    let Ok(response) = answer;
    response
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
const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
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

/// When it may help to ask again for what took too long, in seconds: longer than for a place, as whatever is stuck takes
/// its time.
const TIMEOUT_WAIT: u64 = 5;

/// 503 if the head of the answer takes too long.
async fn in_time(State(edge): State<EdgeState>, request: Request, next: Next) -> Response {
    let limit = edge.settings().head_timeout;
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            tracing::warn!(?limit, "no answer in time");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", "The answer took too long")
                .header(RETRY_AFTER, TIMEOUT_WAIT.into())
                .into_response()
        }
    }
}

/// Reads the whole body, within its limits of size and time (G53): a client that trickles it in holds up nobody's answer
/// but its own. That of an unknown caller is read on no route but those that take one from anybody: he gets his 401 at
/// once, and no place is his (G58). Whatever is left unread closes the connection, for it is not waited for.
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
    if !takes_body(settings.open_bodies, &parts.extensions) {
        drop(body);
        let mut response = next.run(Request::from_parts(parts, Body::empty())).await;
        response.headers_mut().insert(CONNECTION, CLOSE);
        return response;
    }
    let Some(client) = parts.extensions.get::<Client>() else {
        return Problem::from(AddressFault::NoPeer).into_response();
    };
    if hint.lower() > settings.body_limit as u64 {
        return too_large();
    }
    let place = match edge.limits().body(client.key) {
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

/// Whether the body of this request is read at all.
fn takes_body(open: &[&str], extensions: &Extensions) -> bool {
    let open = || extensions.get::<MatchedPath>().is_some_and(|route| open.contains(&route.as_str()));
    extensions.get::<Arc<Principal>>().is_some() || open()
}

/// 500 for a handler that panicked. The text of the panic is for the log alone.
fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text");
    tracing::error!(panic = text, "a handler panicked");
    Problem::of_status(StatusCode::INTERNAL_SERVER_ERROR).into_response()
}
