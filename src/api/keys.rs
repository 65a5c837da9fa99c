//! The API keys in force, for administrators.

use std::time::SystemTime;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::ApiState;
use super::poll::answer;
use super::runs::iso;
use crate::edge::auth::KeyInfo;
use crate::model::{Scope, Timestamp};

/// One key: nothing that opens anything.
#[derive(Debug, Serialize)]
struct KeyRow<'a> {
    id: &'a str,
    name: &'a str,
    scopes: Vec<&'static str>,
    vms: &'a [Box<str>],
    expires_at: Option<String>,
    last_used: Option<String>,
    expired: bool,
    rotating: bool,
}

impl<'a> KeyRow<'a> {
    fn of(key: &'a KeyInfo, now: Timestamp) -> Self {
        Self {
            id: &key.id,
            name: &key.name,
            scopes: Scope::ALL.into_iter().filter(|scope| key.scopes.allow(*scope)).map(Scope::as_str).collect(),
            vms: key.vms.globs(),
            expires_at: key.expires_at.and_then(iso),
            last_used: key.last_used.and_then(iso),
            expired: key.expires_at.is_some_and(|at| at <= now),
            rotating: key.rotating,
        }
    }
}

/// `/api/keys`.
pub(super) async fn list(State(state): State<ApiState>) -> Response {
    let now = Timestamp::from(SystemTime::now());
    let keys = state.edge.keys().list();
    answer(keys.iter().map(|key| KeyRow::of(key, now)).collect::<Vec<_>>()).into_response()
}
