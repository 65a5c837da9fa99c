//! Whether the process lives, and whether it should be given work.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::Serialize;

use super::ApiState;

/// Nothing between here and the client may answer for us.
const NO_STORE: [(header::HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];

/// The process answers.
pub(super) async fn alive() -> impl IntoResponse {
    (NO_STORE, "ok")
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
    let not_ready: Vec<Part> = state.not_ready.borrow().iter().cloned().map(|(what, why)| Part { what, why }).collect();
    let ready = not_ready.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, NO_STORE, Json(Ready { ready, not_ready }))
}
