//! Runs as the polling routes show them.

use serde::Serialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::caller::Selection;
use crate::model::{ProgressView, TaskView, Timestamp, VmView};

/// The run that a client who shows one would show: the open one begun last, else the one that ended last.
pub(super) fn main_run(view: &VmView) -> Option<&ProgressView> {
    let when = |run: &ProgressView| if run.open { run.started_at } else { run.ended_at.unwrap_or(run.started_at) };
    view.progress.iter().max_by(|a, b| a.open.cmp(&b.open).then(when(a).0.total_cmp(&when(b).0)))
}

fn selected_run(selection: &Selection) -> Option<&ProgressView> {
    main_run(selection.entry.as_ref()?.view.as_deref()?)
}

/// `at` as clients of the replaced server read it: ISO 8601, here always UTC. `None` for what is no time.
pub(super) fn iso(at: Timestamp) -> Option<String> {
    let micros = (at.0 * 1e6).round();
    if !micros.is_finite() {
        return None;
    }
    OffsetDateTime::from_unix_timestamp_nanos(micros as i128 * 1000).ok()?.format(&Rfc3339).ok()
}

/// Whether a file's `status` says that a benchmark runs.
pub(super) fn says_running(file: &Value) -> bool {
    file.get("status").and_then(Value::as_str) == Some("running")
}

/// `/api/benchmark-live`: the file's own words if there is one, else what is known in the same shape.
pub(super) fn live(selection: &Selection) -> Value {
    if let Some(file) = &selection.files.live {
        return file.clone();
    }
    match selected_run(selection) {
        None => json!({"status": "idle"}),
        Some(run) if run.open => json!({
            "status": "running",
            "total_tasks": run.total_tasks,
            "tasks_completed": run.completed,
            "current_task": run.current.as_ref().map(live_task),
        }),
        Some(run) => json!({
            "status": "complete",
            "total_tasks": run.total_tasks,
            "tasks_completed": run.completed,
        }),
    }
}

/// Of the steps, only the last is known.
fn live_task(task: &TaskView) -> Value {
    let step = json!({
        "step_idx": task.step,
        "action": {
            "type": task.action, "x": null, "y": null, "target_node_id": null, "text": null, "key": null,
        },
        "reasoning": null,
        "screenshot_url": null,
    });
    let result = json!({
        "success": task.success,
        "score": task.score,
        "num_steps": task.step,
        "total_time_seconds": null,
    });
    json!({
        "task_id": task.task_id,
        "instruction": task.instruction,
        "domain": task.domain,
        "steps": if task.step == 0 { vec![] } else { vec![step] },
        "result": task.closed.then_some(result),
    })
}

/// `/api/benchmark-progress`: the file, or `idle`. Only who names a VM gets that VM's run in the same shape.
pub(super) fn progress(selection: &Selection) -> Value {
    if let Some(file) = &selection.files.progress {
        return file.clone();
    }
    match selected_run(selection).filter(|_| selection.named) {
        None => json!({"status": "idle"}),
        Some(run) => json!({
            "status": if run.open { "running" } else { "complete" },
            "provider": run.model,
            "tasks_total": run.total_tasks,
            "tasks_complete": run.completed,
            "message": run.current.as_ref().map(|task| &task.task_id),
        }),
    }
}

/// `/api/current-run`.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct CurrentRun {
    running: bool,
    #[serde(rename = "type")]
    kind: Option<&'static str>,
    model: Option<String>,
    progress: Counts,
    current_task: Option<String>,
    started_at: Option<String>,
    elapsed_minutes: u64,
    vm: Option<String>,
}

#[derive(Debug, Default, PartialEq, Serialize)]
struct Counts {
    tasks_completed: u64,
    total_tasks: u64,
}

/// The benchmark that runs now: the local one if its file says so, else the VM's.
pub(super) fn current(selection: &Selection, now: Timestamp) -> CurrentRun {
    if let Some(file) = selection.files.progress.as_ref().filter(|file| says_running(file)) {
        let count = |key| file.get(key).and_then(Value::as_u64).unwrap_or(0);
        return CurrentRun {
            running: true,
            kind: Some("local"),
            model: file.get("provider").and_then(Value::as_str).map(str::to_owned),
            progress: Counts { tasks_completed: count("tasks_complete"), total_tasks: count("tasks_total") },
            ..CurrentRun::default()
        };
    }
    let (Some(entry), Some(run)) = (&selection.entry, selected_run(selection).filter(|run| run.open)) else {
        return CurrentRun::default();
    };
    CurrentRun {
        running: true,
        kind: Some("azure_vm"),
        model: run.model.clone(),
        progress: Counts { tasks_completed: run.task_number, total_tasks: run.total_tasks },
        current_task: run.current.as_ref().map(|task| task.task_id.clone()),
        started_at: iso(run.started_at),
        elapsed_minutes: (now.since(run.started_at) / 60.0) as u64,
        vm: Some(entry.vm.to_string()),
    }
}
