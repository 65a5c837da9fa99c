//! The pages: the dashboard, where it was built before the binary was, and a plain one of four files that needs no build.
//! None has data of its own.

mod dashboard;
mod embedded;

use axum::extract::Path;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};

use super::ApiError;
use dashboard::File;

const INDEX: &str = include_str!("index.html");
const SCRIPT: &str = include_str!("page.js");
const STYLE: &str = include_str!("page.css");
const ICON: &str = include_str!("page.svg");

/// The page belongs to this very binary, so it is asked for again after an upgrade.
const FRESH: (header::HeaderName, &str) = (header::CACHE_CONTROL, "no-cache");

/// The dashboard, else the plain page.
pub(super) async fn index(headers: HeaderMap) -> Response {
    match dashboard::find(embedded::FILES, "index.html") {
        Some(file) => file.answer(&headers),
        None => plain().await.into_response(),
    }
}

/// A file of the dashboard, under a name that changes with its content.
pub(super) async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Result<Response, ApiError> {
    let file = dashboard::find(embedded::FILES, &format!("assets/{name}"));
    file.map(|file| file.answer(&headers)).ok_or(ApiError::NoSuchRoute)
}

/// The plain page.
pub(super) async fn plain() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8"), FRESH], INDEX)
}

pub(super) async fn script() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8"), FRESH], SCRIPT)
}

pub(super) async fn style() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8"), FRESH], STYLE)
}

pub(super) async fn icon() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "image/svg+xml"), FRESH], ICON)
}
