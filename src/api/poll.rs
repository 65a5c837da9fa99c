//! The polling fallbacks, in the shapes of the server this replaces.
//!
//! That server knew one VM; `vm` chooses here, see [`Selection`].

use std::time::SystemTime;

use axum::Json;
use axum::http::header;
use axum::response::IntoResponse;
use serde::Serialize;

use super::caller::Selection;
use super::{runs, tasks};

/// An answer that is true for this caller and now: no cache may keep it (G69).
pub(super) fn answer(value: impl Serialize) -> impl IntoResponse {
    ([(header::CACHE_CONTROL, "no-store")], Json(value))
}

/// `/api/benchmark-live`.
pub(super) async fn live(selection: Selection) -> impl IntoResponse {
    answer(runs::live(&selection))
}

/// `/api/benchmark-progress`.
pub(super) async fn progress(selection: Selection) -> impl IntoResponse {
    answer(runs::progress(&selection))
}

/// `/api/current-run`.
pub(super) async fn current_run(selection: Selection) -> impl IntoResponse {
    answer(runs::current(&selection, SystemTime::now().into()))
}

/// `/api/tasks` and `/api/background-tasks`.
pub(super) async fn tasks(selection: Selection) -> impl IntoResponse {
    answer(tasks::tasks(&selection, SystemTime::now().into()))
}

/// `/api/probe-vm`: what the last poll saw. Asking makes nobody dial anything.
pub(super) async fn probe(selection: Selection) -> impl IntoResponse {
    answer(tasks::probe(&selection))
}
