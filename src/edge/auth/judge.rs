//! The auth layer: whose request it is. What a route needs of them is [`super::require`]'s to ask.

use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;

use super::keys::KeyFault;
use super::presented::{Unfit, presented};
use crate::edge::limits::{may_try, note_failure};
use crate::edge::record::AuthNotes;
use crate::edge::{AuthMode, EdgeState, Problem, origin};
use crate::model::{Principal, PrincipalKind, Scope, Timestamp, VmGrant};
use crate::telemetry::{AuthMethod, AuthOutcome};

/// What was found, and what follows: a principal, nobody, or a refusal.
struct Verdict {
    method: AuthMethod,
    outcome: Option<AuthOutcome>,
    caller: Result<Option<Arc<Principal>>, Problem>,
}

impl Verdict {
    fn caller(method: AuthMethod, principal: Arc<Principal>) -> Self {
        Self { method, outcome: Some(AuthOutcome::Ok), caller: Ok(Some(principal)) }
    }

    fn refusal(method: AuthMethod, outcome: AuthOutcome, problem: Problem) -> Self {
        Self { method, outcome: Some(outcome), caller: Err(problem) }
    }
}

/// Puts the principal, as `Arc<Principal>`, into the request's extensions; refuses a credential that is not valid, even
/// where none is needed, so that a mistake shows at once.
pub(in crate::edge) async fn authenticate(State(edge): State<EdgeState>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let verdict = judge(&edge, &parts, Timestamp::from(SystemTime::now()));
    if let Some(notes) = parts.extensions.get::<AuthNotes>() {
        notes.change(|note| {
            note.method = verdict.method;
            note.outcome = verdict.outcome;
            note.principal = verdict.caller.as_ref().ok().and_then(Option::as_ref).map(|who| Arc::clone(&who.name));
        });
    }
    match verdict.caller {
        Ok(Some(principal)) => {
            parts.extensions.insert(principal);
        }
        Ok(None) => {}
        Err(problem) => {
            if problem.status() == StatusCode::UNAUTHORIZED {
                note_failure(&edge, &parts.extensions);
            }
            return problem.into_response();
        }
    }
    next.run(Request::from_parts(parts, body)).await
}

fn judge(edge: &EdgeState, request: &Parts, now: Timestamp) -> Verdict {
    let tls = edge.settings().tls;
    let shown = match presented(&request.headers, &request.uri, super::session::cookie_name(tls)) {
        Ok(shown) => shown,
        Err(unfit) => return refuse_unfit(unfit),
    };
    if edge.settings().auth == AuthMode::Open {
        return judge_open(request, tls);
    }
    let Some(shown) = shown else {
        return Verdict { method: AuthMethod::None, outcome: None, caller: Ok(None) };
    };
    // Before any work on it: guessing must cost a guesser more than us (G32).
    if let Err(problem) = may_try(edge, &request.extensions) {
        return Verdict::refusal(shown.method, AuthOutcome::Throttled, problem);
    }
    if shown.method == AuthMethod::Session {
        return judge_session(edge, request, shown.secret.expose(), now);
    }
    match edge.keys().verify(shown.secret.expose(), now) {
        Ok(principal) => Verdict::caller(shown.method, principal),
        Err(fault) => {
            let outcome = match fault {
                KeyFault::Malformed => AuthOutcome::Malformed,
                KeyFault::Unknown => AuthOutcome::Unknown,
                KeyFault::Wrong => AuthOutcome::Wrong,
                KeyFault::Expired => AuthOutcome::Expired,
            };
            Verdict::refusal(shown.method, outcome, Problem::unauthorized())
        }
    }
}

/// A cookie that means nothing (any more) is no credential: the browser sends it whether the page wants or not, and
/// must still reach the login.
fn judge_session(edge: &EdgeState, request: &Parts, cookie: &str, now: Timestamp) -> Verdict {
    let method = AuthMethod::Session;
    match edge.sessions().principal(cookie, edge.keys(), now) {
        None => Verdict { method, outcome: Some(AuthOutcome::Unknown), caller: Ok(None) },
        Some(_) if !origin::own_page(request, edge.settings().tls) => {
            Verdict::refusal(method, AuthOutcome::CrossSite, cross_site())
        }
        Some(principal) => Verdict::caller(method, principal),
    }
}

fn judge_open(request: &Parts, tls: bool) -> Verdict {
    if !origin::to_this_machine(request) || !origin::own_page(request, tls) && from_a_browser(request) {
        return Verdict::refusal(AuthMethod::Open, AuthOutcome::CrossSite, cross_site());
    }
    let administrator = Principal {
        kind: PrincipalKind::Session,
        name: "open".into(),
        issuer: None,
        scopes: [Scope::Admin].into_iter().collect(),
        vms: VmGrant::all(),
        expires_at: None,
    };
    Verdict::caller(AuthMethod::Open, Arc::new(administrator))
}

/// Every browser of these years says one or the other with a request that changes something; curl says neither.
fn from_a_browser(request: &Parts) -> bool {
    request.headers.contains_key("sec-fetch-site") || request.headers.contains_key(http::header::ORIGIN)
}

fn cross_site() -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "cross_site", "Pages of another origin may not do this")
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
        Unfit::Malformed(method) => Verdict::refusal(method, AuthOutcome::Malformed, Problem::unauthorized()),
    }
}
