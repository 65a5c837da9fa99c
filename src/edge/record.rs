//! The access log and the HTTP metrics: one line and one count for every request, however it ends.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::HeaderName;
use http::{Extensions, HeaderMap, Method};
use tokio::time::Instant;
use tracing::Instrument;

use super::audit::{Act, Seen};
use super::client::{Client, OverTls};
use super::{EdgeState, Problem, RequestId};
use crate::model::Peer;
use crate::telemetry::metrics::LabelSet;
use crate::telemetry::traces::{RequestSeen, RequestTrace};
use crate::telemetry::{AuthMethod, AuthOutcome, Traceparent};

/// In which clients say what trace a request is part of.
pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The status counted for a client that left before the head of its answer.
const CLIENT_LEFT: u16 = 499;

/// What auth found out about a request, for log and metrics. Never a secret.
#[derive(Clone, Debug)]
pub(super) struct AuthNote {
    pub(super) method: AuthMethod,
    /// `None`: no credential was shown, and none was needed.
    pub(super) outcome: Option<AuthOutcome>,
    pub(super) principal: Option<Arc<str>>,
    /// The id of the key that was shown and not taken.
    pub(super) claimed: Option<Arc<str>>,
    /// What the request did, for the audit log.
    pub(super) act: Option<Act>,
}

impl AuthNote {
    const NOTHING: Self = Self { method: AuthMethod::None, outcome: None, principal: None, claimed: None, act: None };
}

/// Where the layers inside leave their note. It lies in the request's extensions, so that it is there even if no
/// response comes back (a panic, a timeout, a client that left).
#[derive(Clone, Debug)]
pub(super) struct AuthNotes(Arc<Mutex<AuthNote>>);

impl AuthNotes {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(AuthNote::NOTHING)))
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut AuthNote)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Tells log and metrics that what let the request in is over by the time it was to be used.
pub fn note_over(extensions: &Extensions) {
    if let Some(notes) = extensions.get::<AuthNotes>() {
        notes.change(|note| note.outcome = Some(AuthOutcome::Expired));
    }
}

/// Tells the audit log what the request did.
pub fn note_act(extensions: &Extensions, act: Act) {
    if let Some(notes) = extensions.get::<AuthNotes>() {
        notes.change(|note| note.act = Some(act));
    }
}

pub(super) async fn record(State(edge): State<EdgeState>, mut request: Request, next: Next) -> Response {
    let notes = AuthNotes::new();
    request.extensions_mut().insert(notes.clone());
    let traces = &edge.settings().traces;
    let trace = traces.request(|| traceparent(request.headers()));
    let extensions = request.extensions();
    let mut entry = Entry {
        began: Instant::now(),
        method: known_method(request.method()),
        route: extensions.get::<MatchedPath>().cloned(),
        id: extensions.get::<RequestId>().cloned(),
        client: extensions.get::<Client>().map(|client| client.ip),
        peer: other_end(extensions),
        https: OverTls::of(extensions, &edge),
        trace,
        status: CLIENT_LEFT,
        problem: None,
        notes,
        edge,
    };
    let id = entry.id.as_ref().map_or("", RequestId::as_str);
    let trace_id = entry.trace.as_ref().map(|trace| tracing::field::display(trace.trace_id()));
    let span = tracing::info_span!("request", request_id = id, trace_id);
    let response = next.run(request).instrument(span).await;
    entry.status = response.status().as_u16();
    entry.problem = response.extensions().get::<Problem>().map(Problem::code);
    response
}

/// What the client says that the request is part of. Of several headers none is believed, as the standard asks for.
fn traceparent(headers: &HeaderMap) -> Option<Traceparent> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    match (values.next(), values.next()) {
        (Some(only), None) => Traceparent::parse(only.as_bytes()),
        _ => None,
    }
}

/// The other end of the socket.
fn other_end(extensions: &Extensions) -> Option<IpAddr> {
    let socket = extensions.get::<Peer>().map(|peer| peer.socket);
    let socket = socket.or_else(|| extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(socket)| *socket));
    socket.map(|socket| socket.ip().to_canonical())
}

/// Written when it is dropped: after the answer, or when the client left and the request with it.
struct Entry {
    began: Instant,
    method: &'static str,
    route: Option<MatchedPath>,
    id: Option<RequestId>,
    client: Option<IpAddr>,
    peer: Option<IpAddr>,
    https: bool,
    trace: Option<RequestTrace>,
    status: u16,
    /// Why the request was refused or failed, as the client is told.
    problem: Option<&'static str>,
    notes: AuthNotes,
    edge: EdgeState,
}

impl Drop for Entry {
    fn drop(&mut self) {
        // The path itself, and above all the query, may hold anything: neither is written anywhere (G43).
        let route = self.route.as_ref().map_or("unmatched", MatchedPath::as_str);
        let seconds = self.began.elapsed().as_secs_f64();
        let http = self.edge.http_metrics();
        http.requests.count(route, self.method, self.status);
        http.duration.observe(route, seconds);

        let mut note = AuthNote::NOTHING;
        self.notes.change(|found| note = found.clone());
        let AuthNote { method, outcome, principal, claimed, act } = note;
        let request_id = self.id.as_ref().map(RequestId::as_str);
        if let Some(outcome) = outcome {
            self.edge.auth_metrics().attempts.of(method, outcome).inc();
        }
        tracing::info!(
            target: "gatewatch::access",
            method = self.method,
            route,
            status = self.status,
            ms = (seconds * 1e6).round() / 1e3,
            problem = self.problem,
            request_id,
            trace_id = self.trace.as_ref().map(|trace| tracing::field::display(trace.trace_id())),
            client = self.client.map(tracing::field::display),
            // Only if it is another: a load balancer's.
            peer = self.peer.filter(|peer| self.client != Some(*peer)).map(tracing::field::display),
            principal = principal.as_deref(),
            auth = method.as_str(),
            auth_outcome = outcome.map(LabelSet::as_str),
        );
        if let Some(trace) = self.trace.take() {
            trace.end(&RequestSeen {
                method: self.method,
                route: self.route.as_ref().map(MatchedPath::as_str),
                status: (self.status != CLIENT_LEFT).then_some(self.status),
                request_id,
                https: self.https,
                took: self.began.elapsed(),
                authenticated: principal.is_some(),
            });
        }
        let client = self.client.or(self.peer);
        let (principal, claimed, status) = (principal.as_deref(), claimed.as_deref(), self.status);
        let seen = Seen { method, outcome, principal, claimed, act, client, request_id, route, status };
        self.edge.audit().request(&seen, Instant::now());
    }
}

/// The method as a label: a client may send any token as a method, and must not make series with it.
fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "OTHER",
    }
}
