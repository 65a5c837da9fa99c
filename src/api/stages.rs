//! Where a VM has been.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::ApiState;
use super::caller::Caller;
use super::poll::answer;
use super::problem::ApiError;
use crate::model::{Stage, Timestamp, VmName};

#[derive(Debug, Serialize)]
struct Stages<'a> {
    vm: &'a VmName,
    stages: Vec<Reached>,
}

#[derive(Debug, Serialize)]
struct Reached {
    stage: Stage,
    since: Timestamp,
}

/// `/api/vms/{vm}/stages`.
pub(super) async fn of_vm(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    Path(vm): Path<String>,
) -> Result<Response, ApiError> {
    let vm = VmName::new(&vm).map_err(|_| ApiError::UnknownVm(None))?;
    let known = state.hub.vms(&principal.vms).into_iter().find(|entry| entry.vm == vm);
    let entry = known.ok_or(ApiError::UnknownVm(Some(vm)))?;
    let stages = entry.view.iter().flat_map(|view| &view.stages);
    let stages = stages.map(|(stage, since)| Reached { stage: *stage, since: *since }).collect();
    Ok(answer(Stages { vm: &entry.vm, stages }).into_response())
}
