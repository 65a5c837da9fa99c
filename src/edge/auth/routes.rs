//! The routes of a browser session: login by link, who am I, logout.

use std::time::SystemTime;

use axum::extract::{Extension, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::header::{ALLOW, HeaderValue, LOCATION, SET_COOKIE};
use http::{HeaderMap, Method, StatusCode, Uri};
use serde::{Deserialize, Serialize};

use super::presented::presented;
use super::require::Caller;
use super::session::{CodeFault, SESSION_TTL, cookie_name};
use crate::edge::audit::Act;
use crate::edge::record::AuthNotes;
use crate::edge::{EdgeState, Problem};
use crate::model::{PrincipalKind, Scope, Timestamp};
use crate::telemetry::{AuthMethod, AuthOutcome};

/// `GET /auth/login?code=`, `GET /auth/session`, `DELETE /auth/session`. They ask for what they need themselves.
pub fn session_routes(edge: EdgeState) -> Router {
    Router::new().route("/auth/login", get(log_in)).route("/auth/session", get(who).delete(log_out)).with_state(edge)
}

#[derive(Deserialize)]
struct Login {
    #[serde(default)]
    code: String,
}

/// Sets the cookie and leads to the dashboard, always: a target out of the query would be an open redirect (G29).
async fn log_in(
    State(edge): State<EdgeState>,
    notes: Option<Extension<AuthNotes>>,
    method: Method,
    Query(login): Query<Login>,
) -> Response {
    // What looks at a link before a person does must not use up its code.
    if method == Method::HEAD {
        let problem = Problem::of_status(StatusCode::METHOD_NOT_ALLOWED);
        return problem.header(ALLOW, HeaderValue::from_static("GET")).into_response();
    }
    let now = Timestamp::from(SystemTime::now());
    let session = edge.sessions().log_in(&login.code, edge.keys(), now);
    if let Some(Extension(notes)) = notes {
        notes.change(|note| {
            note.method = AuthMethod::LoginCode;
            if let Ok(cookie) = &session {
                note.act = Some(Act::Login);
                note.principal =
                    edge.sessions().principal(cookie.expose(), edge.keys(), now).map(|who| who.name.clone());
            }
            note.outcome = Some(match &session {
                Ok(_) => AuthOutcome::Ok,
                Err(CodeFault::Unknown) => AuthOutcome::Unknown,
                Err(CodeFault::Expired) => AuthOutcome::Expired,
            });
        });
    }
    match session {
        Ok(cookie) => {
            let cookie = set_cookie(edge.settings().tls, cookie.expose(), SESSION_TTL);
            (StatusCode::SEE_OTHER, [(LOCATION, HeaderValue::from_static("/")), (SET_COOKIE, cookie)]).into_response()
        }
        Err(_) => Problem::unauthorized().into_response(),
    }
}

#[derive(Serialize)]
struct Who<'a> {
    name: &'a str,
    kind: &'static str,
    scopes: Vec<&'static str>,
    vms: &'a [Box<str>],
    expires_at: Option<Timestamp>,
}

async fn who(Caller(principal): Caller) -> Response {
    let who = Who {
        name: &principal.name,
        kind: match principal.kind {
            PrincipalKind::ApiKey => "api_key",
            PrincipalKind::Jwt => "jwt",
            PrincipalKind::Session => "session",
            PrincipalKind::Ticket => "ticket",
        },
        scopes: Scope::ALL.into_iter().filter(|scope| principal.scopes.allow(*scope)).map(Scope::as_str).collect(),
        vms: principal.vms.globs(),
        expires_at: principal.expires_at,
    };
    Json(who).into_response()
}

async fn log_out(
    State(edge): State<EdgeState>,
    Caller(_): Caller,
    notes: Option<Extension<AuthNotes>>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let tls = edge.settings().tls;
    if let Ok(Some(shown)) = presented(&headers, &uri, cookie_name(tls))
        && shown.method == AuthMethod::Session
    {
        edge.sessions().log_out(shown.secret.expose());
        if let Some(Extension(notes)) = notes {
            notes.change(|note| note.act = Some(Act::Logout));
        }
    }
    (StatusCode::NO_CONTENT, [(SET_COOKIE, set_cookie(tls, "", 0))]).into_response()
}

fn set_cookie(tls: bool, value: &str, max_age: u32) -> HeaderValue {
    let name = cookie_name(tls);
    let secure = if tls { "; Secure" } else { "" };
    HeaderValue::from_str(&format!("{name}={value}; Max-Age={max_age}; Path=/; HttpOnly; SameSite=Lax{secure}"))
        .expect("base62 and constants")
}
