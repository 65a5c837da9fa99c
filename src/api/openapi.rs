//! The description of these routes for programs; `tests/openapi` holds it against what they answer.

use axum::http::header;
use axum::response::IntoResponse;

const DOCUMENT: &str = include_str!("../../docs/openapi.json");

/// `/api/openapi.json`. It is asked for again after an upgrade.
pub(super) async fn document() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")], DOCUMENT)
}
