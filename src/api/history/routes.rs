//! The routes of the history.

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{Extensions, HeaderMap, Method, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::export::ExportRequest;
use super::params::{self, Shape};
use super::{ExportFormat, HistoryError, Object, TaskRow, Wanted, reader};
use crate::api::ApiState;
use crate::api::caller::{Caller, Pairs};
use crate::api::poll::answer;
use crate::api::problem::ApiError;
use crate::event::{EventId, Position};
use crate::hub::Cut;
use crate::journal::RunSummary;
use crate::model::RunId;

#[derive(Serialize)]
struct RunsPage<'a> {
    runs: Vec<Object<'a, RunSummary>>,
    next: Option<String>,
}

#[derive(Serialize)]
struct TasksPage<'a> {
    run: Object<'a, RunSummary>,
    tasks: Vec<Object<'a, TaskRow>>,
    next: Option<String>,
}

/// `/api/runs`.
pub(in crate::api) async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    Pairs(pairs): Pairs,
    method: Method,
    headers: HeaderMap,
    extensions: Extensions,
) -> Result<Response, ApiError> {
    let asked = params::runs(&pairs, &headers, caller.0.vms.clone(), state.journal.epoch())?;
    if let Shape::Export(format) = asked.shape {
        let name = if asked.tasks { "gatewatch-tasks" } else { "gatewatch-runs" };
        let wanted = if asked.tasks { Wanted::TasksOf(asked.query) } else { Wanted::Runs(asked.query) };
        return export(state, caller, (wanted, format), name, (&method, &extensions)).await;
    }
    let page = reader::runs_page(&*state.journal, &asked.query).await.map_err(unavailable)?;
    let next = page.next.map(|at| cursor(&state, at));
    Ok(answer(RunsPage { runs: page.runs.iter().map(Object).collect(), next }).into_response())
}

/// `/api/runs/{run}`.
pub(in crate::api) async fn detail(
    State(state): State<ApiState>,
    caller: Caller,
    run: Result<Path<String>, PathRejection>,
    Pairs(pairs): Pairs,
    method: Method,
    headers: HeaderMap,
    extensions: Extensions,
) -> Result<Response, ApiError> {
    let asked = params::tasks(&pairs, &headers, state.journal.epoch())?;
    let Path(run) = run.map_err(|_| ApiError::UnknownRun)?;
    let found = reader::run(&*state.journal, &RunId::from_hash(&run)).await.map_err(unavailable)?;
    // One answer for what is not there and for what is not granted.
    let run = found.filter(|run| caller.0.vms.allows(&run.vm)).ok_or(ApiError::UnknownRun)?;
    if let Shape::Export(format) = asked.shape {
        let name = format!("gatewatch-run-{}", run.run);
        return export(state, caller, (Wanted::Tasks(run.run), format), &name, (&method, &extensions)).await;
    }
    let upto = state.journal.bounds().newest;
    let page = reader::tasks_page(&*state.journal, &run.run, (asked.after, upto), asked.limit).await;
    let (tasks, next) = page.map_err(unavailable)?;
    let next = next.map(|at| cursor(&state, at));
    Ok(answer(TasksPage { run: Object(&run), tasks: tasks.iter().map(Object).collect(), next }).into_response())
}

async fn export(
    state: ApiState,
    Caller(principal): Caller,
    (wanted, format): (Wanted, ExportFormat),
    name: &str,
    (method, extensions): (&Method, &Extensions),
) -> Result<Response, ApiError> {
    // What a file may be named everywhere; a run's id is hexadecimal.
    let name: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    let head = [
        (header::CONTENT_TYPE, format.media_type().to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}.{}\"", format.as_str())),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    if *method == Method::HEAD {
        // The headers are all it asks for. The body's length is not known.
        let nothing = futures_util::stream::empty::<Result<axum::body::Bytes, std::convert::Infallible>>();
        return Ok((head, Body::from_stream(nothing)).into_response());
    }
    let ApiState { journal, edge, exports, .. } = state;
    let request = ExportRequest { journal, wanted, format, principal, edge, cut: extensions.get::<Cut>().cloned() };
    Ok((head, exports.begin(request).await?).into_response())
}

fn cursor(state: &ApiState, position: Position) -> String {
    EventId { epoch: state.journal.epoch().clone(), position }.to_string()
}

/// Why is for the log.
fn unavailable(error: HistoryError) -> ApiError {
    tracing::warn!(%error, "the history cannot be read");
    ApiError::Unavailable("the history cannot be read now".into())
}
