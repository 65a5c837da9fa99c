//! Whether the process lives, and whether it should be given work.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::Serialize;

use super::ApiState;

/// How long after the first look a silence is looked at again: a process that was stopped and goes on, or a machine that
/// was suspended, may answer before it works.
const SECOND_LOOK: Duration = Duration::from_millis(500);

/// How the process is at the moment of asking, whatever hangs.
pub trait Health: Send + Sync {
    /// That the runtime that does the work does none, if so, in words.
    fn hung(&self) -> Option<String>;
    /// What is not ready, each as (what, why), a hang with it; empty when everything is.
    fn not_ready(&self) -> Vec<(String, String)>;
}

/// What [`Health::hung`] says, when it has said so for a moment.
pub(super) async fn hung(state: &ApiState) -> Option<String> {
    state.health.hung()?;
    tokio::time::sleep(SECOND_LOOK).await;
    state.health.hung()
}

/// Nothing between here and the client may answer for us.
const NO_STORE: [(header::HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];

/// The process answers, and not only this much of it.
pub(super) async fn alive(State(state): State<ApiState>) -> impl IntoResponse {
    match hung(&state).await {
        None => (StatusCode::OK, NO_STORE, "ok".to_owned()),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, NO_STORE, why),
    }
}

/// Whether every part said that it is ready, and which did not.
pub(super) async fn ready(State(state): State<ApiState>) -> impl IntoResponse {
    #[derive(Serialize)]
    struct Ready {
        ready: bool,
        not_ready: Vec<Part>,
    }
    #[derive(Serialize)]
    struct Part {
        what: String,
        why: String,
    }
    // Waited for alone: what is not ready says it too.
    hung(&state).await;
    let not_ready: Vec<Part> = state.health.not_ready().into_iter().map(|(what, why)| Part { what, why }).collect();
    let ready = not_ready.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, NO_STORE, Json(Ready { ready, not_ready }))
}
