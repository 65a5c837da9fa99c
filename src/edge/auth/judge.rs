//! The auth layer: whose request it is. What a route needs of them is [`super::require`]'s to ask.

use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{Method, StatusCode};

use super::jwt::looks_like_token;
use super::keys::{self, KeyFault, PREFIX};
use super::presented::{Unfit, presented};
use super::session::SessionFault;
use super::ticket::{StoreAway, tickets_away};
use crate::edge::client::OverTls;
use crate::edge::limits::{may_try, note_failure};
use crate::edge::record::AuthNotes;
use crate::edge::{AuthMode, EdgeState, Problem, origin};
use crate::model::{Basis, Principal, PrincipalKind, Scope, Secret, Timestamp, VmGrant};
use crate::telemetry::{AuthMethod, AuthOutcome};

/// What was found, and what follows: a principal, nobody, or a refusal.
pub(super) struct Verdict {
    pub(super) method: AuthMethod,
    pub(super) outcome: Option<AuthOutcome>,
    /// The id of the key that was shown and not taken.
    pub(super) claimed: Option<Arc<str>>,
    pub(super) caller: Result<Option<Arc<Principal>>, Problem>,
}

impl Verdict {
    pub(super) fn caller(method: AuthMethod, principal: Arc<Principal>) -> Self {
        Self { method, outcome: Some(AuthOutcome::Ok), claimed: None, caller: Ok(Some(principal)) }
    }

    pub(super) fn refusal(method: AuthMethod, outcome: AuthOutcome, problem: Problem) -> Self {
        Self { method, outcome: Some(outcome), claimed: None, caller: Err(problem) }
    }

    /// The one answer to every credential that is not valid (G24).
    pub(super) fn invalid(method: AuthMethod, outcome: AuthOutcome) -> Self {
        Self::refusal(method, outcome, Problem::unauthorized())
    }

    pub(super) fn cross_site(method: AuthMethod) -> Self {
        Self::refusal(method, AuthOutcome::CrossSite, cross_site())
    }

    /// Tells log and metrics.
    pub(super) fn note(&self, notes: Option<&AuthNotes>) {
        let Some(notes) = notes else { return };
        notes.change(|note| {
            note.method = self.method;
            note.outcome = self.outcome;
            note.claimed = self.claimed.clone();
            note.principal = self.caller.as_ref().ok().and_then(Option::as_ref).map(|who| Arc::clone(&who.name));
        });
    }
}

/// The answer to a page that may not do what it tries.
pub(super) fn cross_site() -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "cross_site", "Pages of another origin may not do this")
}

/// Puts the principal, as `Arc<Principal>`, into the request's extensions; refuses a credential that is not valid, even
/// where none is needed, so that a mistake shows at once.
pub(in crate::edge) async fn authenticate(State(edge): State<EdgeState>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let verdict = judge(&edge, &parts, Timestamp::from(SystemTime::now())).await;
    verdict.note(parts.extensions.get::<AuthNotes>());
    match verdict.caller {
        Ok(Some(principal)) => {
            parts.extensions.insert(principal);
        }
        Ok(None) => {}
        Err(problem) => return problem.into_response(),
    }
    next.run(Request::from_parts(parts, body)).await
}

async fn judge(edge: &EdgeState, request: &Parts, now: Timestamp) -> Verdict {
    let tls = OverTls::of(&request.extensions, edge);
    let shown = match presented(&request.headers, &request.uri, super::session::cookie_name(tls)) {
        Ok(shown) => shown,
        Err(unfit) => return refuse_unfit(unfit),
    };
    if edge.settings().auth == AuthMode::Open {
        return judge_open(request, tls);
    }
    let Some(shown) = shown else {
        return Verdict { method: AuthMethod::None, outcome: None, claimed: None, caller: Ok(None) };
    };
    match shown.method {
        // A cookie is no attempt: one that is not ours is nobody's, and whoever has one is not kept out by a neighbour's
        // wrong key.
        AuthMethod::Session => judge_session(edge, request, shown.secret.expose(), now),
        method => judge_attempt(edge, request, method, &shown.secret, now).await,
    }
}

/// What somebody may have guessed: looked at only while few of its address were refused, before any work on it (G32), and
/// counted if it is refused.
pub(super) async fn judge_attempt(
    edge: &EdgeState,
    request: &Parts,
    method: AuthMethod,
    secret: &Secret,
    now: Timestamp,
) -> Verdict {
    if let Err(problem) = may_try(edge, &request.extensions) {
        return Verdict::refusal(method, AuthOutcome::Throttled, problem);
    }
    let verdict = match method {
        AuthMethod::Ticket => judge_ticket(edge, request, secret.expose(), now).await,
        method => judge_credential(edge, method, secret, now).await,
    };
    if verdict.caller.as_ref().is_err_and(|problem| problem.status() == StatusCode::UNAUTHORIZED) {
        note_failure(edge, &request.extensions);
    }
    verdict
}

/// An API key or a JWT, in a header or in the body of a login.
async fn judge_credential(edge: &EdgeState, method: AuthMethod, secret: &Secret, now: Timestamp) -> Verdict {
    if method != AuthMethod::ApiKey && is_token(edge, secret.expose()) {
        let method = if method == AuthMethod::Bearer { AuthMethod::Jwt } else { method };
        return judge_token(edge, method, secret.expose(), now).await;
    }
    match edge.keys().verify(secret.expose(), now) {
        Ok(principal) => Verdict::caller(method, principal),
        Err(fault) => {
            let outcome = match fault {
                KeyFault::Malformed => AuthOutcome::Malformed,
                KeyFault::Unknown => AuthOutcome::Unknown,
                KeyFault::Wrong => AuthOutcome::Wrong,
                KeyFault::Expired => AuthOutcome::Expired,
                KeyFault::Revoked => AuthOutcome::Revoked,
            };
            let claimed = keys::parse(secret.expose()).map(Arc::from);
            Verdict { claimed, ..Verdict::invalid(method, outcome) }
        }
    }
}

/// Whether a bearer's text is judged as a JWT: every API key says that it is one.
fn is_token(edge: &EdgeState, text: &str) -> bool {
    !text.starts_with(PREFIX) && looks_like_token(text) && !edge.issuers().is_empty()
}

async fn judge_token(edge: &EdgeState, method: AuthMethod, token: &str, now: Timestamp) -> Verdict {
    match edge.issuers().verify(token, now).await {
        Ok(principal) => Verdict::caller(method, principal),
        Err(fault) => {
            tracing::info!(reason = %fault, "a JWT is refused");
            Verdict::invalid(method, fault.outcome())
        }
    }
}

/// A cookie that means nothing (any more) is no credential: the browser sends it whether the page wants or not, and
/// must still reach the login.
fn judge_session(edge: &EdgeState, request: &Parts, cookie: &str, now: Timestamp) -> Verdict {
    let method = AuthMethod::Session;
    let nobody = |outcome| Verdict { method, outcome: Some(outcome), claimed: None, caller: Ok(None) };
    let named = match edge.sessions().principal(cookie, now) {
        Ok(named) => named,
        Err(SessionFault::Unknown) => return nobody(AuthOutcome::Unknown),
        Err(SessionFault::Expired) => return nobody(AuthOutcome::Expired),
        Err(SessionFault::Revoked) => return nobody(AuthOutcome::Revoked),
    };
    match edge.renewed(&named, now) {
        None => nobody(AuthOutcome::Revoked),
        Some(_) if !origin::own_page(request, OverTls::of(&request.extensions, edge), &edge.origins()) => {
            Verdict::cross_site(method)
        }
        Some(principal) => Verdict::caller(method, principal),
    }
}

/// A ticket is looked at only where it may be used, and used up only by a page that may use it.
async fn judge_ticket(edge: &EdgeState, request: &Parts, ticket: &str, now: Timestamp) -> Verdict {
    let method = AuthMethod::Ticket;
    let route = request.extensions.get::<MatchedPath>().map(MatchedPath::as_str);
    if route != Some(edge.settings().ticket_route) || request.method != Method::GET {
        return Verdict::invalid(method, AuthOutcome::Refused);
    }
    if !origin::known_page(request, OverTls::of(&request.extensions, edge), &edge.origins()) {
        return Verdict::cross_site(method);
    }
    let issued = match edge.tickets().redeem(ticket, now).await {
        Ok(Some(issued)) => issued,
        Ok(None) => return Verdict::invalid(method, AuthOutcome::Unknown),
        Err(StoreAway) => return Verdict::refusal(method, AuthOutcome::Unavailable, tickets_away()),
    };
    match edge.renewed(&issued, now) {
        Some(principal) => Verdict::caller(method, principal),
        None => Verdict::invalid(method, AuthOutcome::Revoked),
    }
}

fn judge_open(request: &Parts, tls: bool) -> Verdict {
    if !origin::to_this_machine(request) || !origin::own_page(request, tls, &[]) && origin::from_a_browser(request) {
        return Verdict::cross_site(AuthMethod::Open);
    }
    let administrator = Principal {
        kind: PrincipalKind::Session,
        name: "open".into(),
        issuer: None,
        scopes: [Scope::Admin].into_iter().collect(),
        vms: VmGrant::all(),
        basis: Basis::default(),
        expires_at: None,
    };
    Verdict::caller(AuthMethod::Open, Arc::new(administrator))
}

fn refuse_unfit(unfit: Unfit) -> Verdict {
    match unfit {
        Unfit::InQuery => Verdict::refusal(
            AuthMethod::Query,
            AuthOutcome::Refused,
            Problem::new(StatusCode::BAD_REQUEST, "credential_in_query", "A credential does not belong in an address")
                .detail(
                    "Send it as Authorization: Bearer or as X-API-Key. One that was sent in an \
                     address should be replaced: addresses are kept in histories and logs.",
                ),
        ),
        Unfit::Several => Verdict::refusal(
            AuthMethod::Several,
            AuthOutcome::Refused,
            Problem::new(StatusCode::BAD_REQUEST, "several_credentials", "Two different credentials were sent"),
        ),
        Unfit::Malformed(method) => Verdict::invalid(method, AuthOutcome::Malformed),
    }
}
