//! Metrics: those of the process, and of each VM that the reader sees.

use std::time::SystemTime;

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

use super::ApiState;
use super::caller::Caller;
use super::health::hung;
use super::problem::ApiError;
use crate::model::{Timestamp, VmGrant};
use crate::telemetry::{VmPage, metrics};

/// `/metrics` of the administration listener: everything.
pub(super) async fn all(State(state): State<ApiState>) -> Response {
    // The page says whether the process is ready, and must not say otherwise than `/readyz`.
    hung(&state).await;
    answer(page(&state, &VmGrant::all()))
}

/// `/metrics` of the public listener: of VMs only those that the caller sees.
pub(super) async fn of_caller(State(state): State<ApiState>, Caller(principal): Caller) -> Result<Response, ApiError> {
    hung(&state).await;
    // Thousands of VMs take a while to write out, and streams wait for these threads.
    let page = tokio::task::spawn_blocking(move || page(&state, &principal.vms)).await;
    page.map(answer).map_err(|error| {
        tracing::error!(%error, "metrics could not be written out");
        ApiError::Unavailable("the metrics cannot be written out now".into())
    })
}

fn answer(page: String) -> Response {
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE), (CACHE_CONTROL, "no-store")], page).into_response()
}

fn page(state: &ApiState, grant: &VmGrant) -> String {
    let mut text = state.metrics.text();
    match VmPage::new(Timestamp::from(SystemTime::now())) {
        Ok(page) => {
            for entry in state.hub.vms(grant) {
                page.add(&entry.vm, entry.interval, entry.stale, entry.view.as_deref());
            }
            text += &page.text();
        }
        Err(error) => tracing::error!(%error, "metrics of VMs could not be written out"),
    }
    text
}
