//! The newest lines of a VM's logs.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::ApiState;
use super::caller::{Caller, Pairs};
use super::poll::answer;
use super::problem::ApiError;
use super::query::at_most_one;
use crate::model::VmName;

#[derive(Debug, Serialize)]
struct Logs<'a> {
    vm: &'a VmName,
    logs: Vec<LogRow<'a>>,
    container: &'a str,
}

#[derive(Debug, Serialize)]
struct LogRow<'a> {
    source: &'a str,
    generation: u64,
    start: u64,
    end: u64,
    text: &'a str,
}

/// `/api/vms/{vm}/log`.
pub(super) async fn of_vm(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    Path(vm): Path<String>,
    Pairs(pairs): Pairs,
) -> Result<Response, ApiError> {
    let vm = VmName::new(&vm).map_err(|_| ApiError::UnknownVm(None))?;
    let source = at_most_one(&pairs, "source")?;
    let after: Option<u64> = at_most_one(&pairs, "after")?
        .map(|text| text.parse().map_err(|_| ApiError::InvalidParameter("after", "an offset in bytes")))
        .transpose()?;
    let known = state.hub.vms(&principal.vms).into_iter().find(|entry| entry.vm == vm);
    let entry = known.ok_or(ApiError::UnknownVm(Some(vm)))?;
    let mut logs: Vec<_> = entry
        .logs
        .iter()
        .filter(|tail| source.is_none_or(|source| *tail.source == *source))
        .map(|tail| {
            let (start, text) = after.map_or((tail.start, &*tail.text), |after| tail.after(after));
            LogRow { source: &tail.source, generation: tail.generation, start, end: tail.end, text }
        })
        .collect();
    // Not in the order in which they grew: whoever asks again finds each where it was.
    logs.sort_unstable_by_key(|log| log.source);
    let container = entry.view.as_deref().map_or("", |view| &view.container_log_tail);
    Ok(answer(Logs { vm: &entry.vm, logs, container }).into_response())
}
