//! The routes of browser sessions and tickets.

use std::sync::Arc;
use std::time::SystemTime;

use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, FromRequest, Query, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue, LOCATION, SET_COOKIE};
use http::request::Parts;
use http::{Extensions, HeaderMap, Method, StatusCode, Uri};
use serde::{Deserialize, Serialize};

use super::judge::{Verdict, cross_site, judge_attempt};
use super::login;
use super::presented::presented;
use super::require::{Caller, require};
use super::session::{BeginFault, NewSession, cookie_name};
use super::ticket::{self, TicketFault};
use crate::edge::audit::Act;
use crate::edge::client::OverTls;
use crate::edge::limits::{may_try, note_failure};
use crate::edge::record::AuthNotes;
use crate::edge::{EdgeState, Problem, origin};
use crate::model::{Principal, PrincipalKind, Scope, Scopes, Secret, Timestamp, VmGrant};
use crate::telemetry::{AuthMethod, AuthOutcome};

/// The longest credential that a form or a body may show, bytes.
const MAX_CREDENTIAL: usize = 8 * 1024;
/// Scopes and VMs that a ticket may be asked for.
const MAX_WANTED: usize = 256;

/// `/login`, `/auth/login?code=`, `/auth/session`, `/auth/ticket`. They ask for what they need themselves.
pub fn session_routes(edge: EdgeState) -> Router {
    Router::new()
        .route("/login", get(form))
        .route("/auth/login", get(log_in_by_link))
        .route("/auth/session", post(log_in).get(who).delete(log_out))
        .route("/auth/ticket", post(new_ticket).layer(require(Scope::EventsRead)))
        .with_state(edge)
}

#[derive(Default, Deserialize)]
struct Next {
    #[serde(default)]
    next: String,
}

async fn form(next: Result<Query<Next>, QueryRejection>) -> Response {
    login::page(&next.map(|Query(Next { next })| next).unwrap_or_default(), false)
}

#[derive(Deserialize)]
struct Link {
    #[serde(default)]
    code: String,
}

/// Sets the cookie and leads to the dashboard, always: a target out of the query would be an open redirect (G29).
async fn log_in_by_link(
    State(edge): State<EdgeState>,
    notes: Option<Extension<AuthNotes>>,
    method: Method,
    extensions: Extensions,
    Query(link): Query<Link>,
) -> Response {
    // What looks at a link before a person does must not sign anybody in.
    if method == Method::HEAD {
        let problem = Problem::of_status(StatusCode::METHOD_NOT_ALLOWED);
        return problem.header(ALLOW, HeaderValue::from_static("GET")).into_response();
    }
    let notes = notes.as_deref();
    if let Err(problem) = may_try(&edge, &extensions) {
        Verdict::refusal(AuthMethod::LoginCode, AuthOutcome::Throttled, problem.clone()).note(notes);
        return problem.into_response();
    }
    let now = Timestamp::from(SystemTime::now());
    let key = edge.login_codes().key_id(&link.code);
    let outcome = if key.is_some() { AuthOutcome::Expired } else { AuthOutcome::Unknown };
    let principal = key.and_then(|id| edge.keys().principal(&id, now));
    let found = principal.and_then(|principal| Some((edge.sessions().begin(&principal, now).ok()?, principal)));
    if let Some(notes) = notes {
        notes.change(|note| {
            note.method = AuthMethod::LoginCode;
            note.outcome = Some(if found.is_some() { AuthOutcome::Ok } else { outcome });
            note.act = found.is_some().then_some(Act::Login);
            note.principal = found.as_ref().map(|(_, principal)| principal.name.clone());
        });
    }
    match found {
        Some((session, _)) => {
            let cookie = set_cookie(OverTls::of(&extensions, &edge), &session.cookie, session.seconds);
            (StatusCode::SEE_OTHER, [(LOCATION, HeaderValue::from_static(login::HOME)), (SET_COOKIE, cookie)])
                .into_response()
        }
        None => {
            note_failure(&edge, &extensions);
            Problem::unauthorized().into_response()
        }
    }
}

/// What a login shows in its body; a header may show it instead.
#[derive(Default, Deserialize)]
struct Shown {
    #[serde(default)]
    key: String,
    #[serde(default)]
    next: String,
}

/// A login: the form's, with a redirect, or a program's, with JSON.
async fn log_in(
    State(edge): State<EdgeState>,
    caller: Option<Extension<Arc<Principal>>>,
    notes: Option<Extension<AuthNotes>>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let tls = OverTls::of(&parts.extensions, &edge);
    let now = Timestamp::from(SystemTime::now());
    // A page of another site must not sign a browser in as somebody else.
    let notes = notes.as_deref();
    if origin::from_a_browser(&parts) && !origin::own_page(&parts, tls, &[]) {
        Verdict::cross_site(AuthMethod::Login).note(notes);
        return cross_site().into_response();
    }
    let from_form = is(&parts, "application/x-www-form-urlencoded");
    let read = Request::from_parts(parts.clone(), body);
    let shown = match (from_form, is(&parts, "application/json")) {
        (true, _) => Form::from_request(read, &()).await.map(|Form(shown)| shown).map_err(IntoResponse::into_response),
        (_, true) => Json::from_request(read, &()).await.map(|Json(shown)| shown).map_err(IntoResponse::into_response),
        _ => Ok(Shown::default()),
    };
    let shown = match shown {
        Ok(shown) => shown,
        Err(refusal) => return refusal,
    };
    let in_header = caller.map(|Extension(caller)| caller).filter(|who| who.kind != PrincipalKind::Session);
    let verdict = match (in_header, shown.key.trim()) {
        (Some(caller), "") => Verdict::caller(AuthMethod::Login, caller),
        (Some(_), _) => {
            let problem = Problem::new(StatusCode::BAD_REQUEST, "several_credentials", "Two credentials were sent");
            Verdict::refusal(AuthMethod::Several, AuthOutcome::Refused, problem)
        }
        (None, key) => judge_attempt(&edge, &parts, AuthMethod::Login, &Secret::new(cut(key)), now).await,
    };
    let begun = begin(&edge, verdict, now);
    begun.as_ref().map_or_else(|refused| refused, |(_, _, verdict)| verdict).note(notes);
    let (session, principal, _) = match begun {
        Ok(begun) => begun,
        Err(refused) => {
            return match refused.caller {
                // Throttled, or unfit: it says what.
                Err(problem) if problem.status() != StatusCode::UNAUTHORIZED => problem.into_response(),
                _ if from_form => login::page(&shown.next, true),
                _ => Problem::unauthorized().into_response(),
            };
        }
    };
    acted(notes, Act::Login);
    let cookie = set_cookie(tls, &session.cookie, session.seconds);
    if from_form {
        // The way back has nothing but visible ASCII.
        let target =
            HeaderValue::from_str(login::way_back(&shown.next)).unwrap_or(HeaderValue::from_static(login::HOME));
        return (StatusCode::SEE_OTHER, [(LOCATION, target), (SET_COOKIE, cookie)]).into_response();
    }
    let who =
        Principal { kind: PrincipalKind::Session, expires_at: Some(session.ends), ..Principal::clone(&principal) };
    ([(SET_COOKIE, cookie)], Json(Who::of(&who))).into_response()
}

/// A session for whom `verdict` lets in; otherwise the verdict that says why there is none.
fn begin(edge: &EdgeState, verdict: Verdict, now: Timestamp) -> Result<(NewSession, Arc<Principal>, Verdict), Verdict> {
    let Ok(Some(principal)) = &verdict.caller else { return Err(verdict) };
    let principal = Arc::clone(principal);
    match edge.sessions().begin(&principal, now) {
        Ok(session) => Ok((session, principal, verdict)),
        Err(BeginFault::Ended) => Err(Verdict::invalid(verdict.method, AuthOutcome::Expired)),
        Err(BeginFault::TooLarge) => {
            let problem =
                Problem::new(StatusCode::FORBIDDEN, "session_too_large", "This token is too large for a session")
                    .detail("It names more than a browser's cookie can hold: use it as Authorization: Bearer.");
            Err(Verdict::refusal(verdict.method, AuthOutcome::Refused, problem))
        }
    }
}

/// What the audit log is to say of the request.
fn acted(notes: Option<&AuthNotes>, act: Act) {
    if let Some(notes) = notes {
        notes.change(|note| note.act = Some(act));
    }
}

/// Whether the body is of the media type `kind`.
fn is(parts: &Parts, kind: &str) -> bool {
    let value = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case(kind))
}

/// What is longer than a credential can be is none; it is cut, so that no work is done on it.
fn cut(text: &str) -> &str {
    if text.len() > MAX_CREDENTIAL { "" } else { text }
}

#[derive(Serialize)]
struct Who<'a> {
    name: &'a str,
    kind: &'static str,
    scopes: Vec<&'static str>,
    vms: &'a [Box<str>],
    expires_at: Option<Timestamp>,
}

impl<'a> Who<'a> {
    fn of(principal: &'a Principal) -> Self {
        let allowed = |scope: &Scope| principal.scopes.allow(*scope);
        Self {
            name: &principal.name,
            kind: match principal.kind {
                PrincipalKind::ApiKey => "api_key",
                PrincipalKind::Jwt => "jwt",
                PrincipalKind::Session => "session",
                PrincipalKind::Ticket => "ticket",
            },
            scopes: Scope::ALL.into_iter().filter(allowed).map(Scope::as_str).collect(),
            vms: principal.vms.globs(),
            expires_at: principal.expires_at,
        }
    }
}

async fn who(Caller(principal): Caller) -> Response {
    Json(Who::of(&principal)).into_response()
}

async fn log_out(
    State(edge): State<EdgeState>,
    Caller(_): Caller,
    notes: Option<Extension<AuthNotes>>,
    extensions: Extensions,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let tls = OverTls::of(&extensions, &edge);
    if let Ok(Some(shown)) = presented(&headers, &uri, cookie_name(tls))
        && shown.method == AuthMethod::Session
    {
        edge.sessions().log_out(shown.secret.expose(), Timestamp::from(SystemTime::now()));
        acted(notes.as_deref(), Act::Logout);
    }
    (StatusCode::NO_CONTENT, [(SET_COOKIE, set_cookie(tls, &Secret::new(""), 0))]).into_response()
}

/// What a ticket is to be for; less than its principal may do, never more.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Wanted {
    scopes: Option<Vec<Scope>>,
    vms: Option<Vec<String>>,
}

#[derive(Serialize)]
struct NewTicket<'a> {
    ticket: &'a str,
    expires_in: f64,
}

async fn new_ticket(
    State(edge): State<EdgeState>,
    Caller(principal): Caller,
    notes: Option<Extension<AuthNotes>>,
    body: Bytes,
) -> Response {
    let wanted: Wanted = match body.first() {
        None => Wanted::default(),
        // A list would be read as the fields in their order.
        Some(b'[') => return not_wanted("The body is no object."),
        Some(_) => match serde_json::from_slice(&body) {
            Ok(wanted) => wanted,
            Err(_) => {
                return not_wanted("The body is no {\"scopes\": [...], \"vms\": [...]}, or names an unknown scope.");
            }
        },
    };
    let vms = wanted.vms.unwrap_or_else(|| vec!["*".to_owned()]);
    let scopes = wanted.scopes.unwrap_or_else(|| vec![Scope::EventsRead]);
    if vms.len() > MAX_WANTED || scopes.len() > MAX_WANTED || !vms.iter().all(|glob| VmGrant::is_glob(glob)) {
        return not_wanted("vms are names in which * stands for anything.");
    }
    let scopes: Scopes = scopes.into_iter().collect();
    let now = Timestamp::from(SystemTime::now());
    match edge.tickets().issue(&principal, scopes, &VmGrant::from_globs(vms), now).await {
        Ok(ticket) => {
            acted(notes.as_deref(), Act::Ticket);
            (StatusCode::CREATED, Json(NewTicket { ticket: ticket.expose(), expires_in: ticket::TTL })).into_response()
        }
        Err(TicketFault::Away) => ticket::tickets_away().into_response(),
        Err(TicketFault::TooMany) => {
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_tickets", "Too many tickets wait for their use")
                .header(http::header::RETRY_AFTER, HeaderValue::from(ticket::TTL as u64))
                .into_response()
        }
    }
}

fn not_wanted(detail: &'static str) -> Response {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_ticket", "No such ticket can be made")
        .detail(detail)
        .into_response()
}

fn set_cookie(tls: bool, value: &Secret, max_age: u64) -> HeaderValue {
    let name = cookie_name(tls);
    let secure = if tls { "; Secure" } else { "" };
    let text = format!("{name}={}; Max-Age={max_age}; Path=/; HttpOnly; SameSite=Lax{secure}", value.expose());
    let mut value = HeaderValue::from_str(&text).expect("base64url, dots and constants");
    value.set_sensitive(true);
    value
}
