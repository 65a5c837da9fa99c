//! What the tracker says, as durable events.

use serde::Serialize;

use super::data::{Status, line};
use super::{DurableEvent, EventKind};
use crate::model::{Change, RunEndReason, RunId, Timestamp, VmFacts, VmId, VmName, VmView};

/// The durable event that tells of `change`. `view` is what is known of the VM after the report that brought it.
pub fn durable(
    vm: &VmName,
    vm_id: &VmId,
    facts: &VmFacts,
    view: &VmView,
    change: &Change,
    now: Timestamp,
) -> DurableEvent {
    let (kind, run, data) = match change {
        Change::Stage { from, to } => {
            (EventKind::Status, None, line(&Status::new(vm, facts, view, false, now).reached(*from, *to)))
        }
        Change::RunStarted { run, source, total_tasks, historic, log_time } => {
            let data = RunStarted {
                vm,
                run,
                source,
                total_tasks: *total_tasks,
                historic: *historic,
                log_time: log_time.as_deref(),
                timestamp: now,
            };
            (EventKind::RunStarted, Some(run), line(&data))
        }
        Change::TaskCompleted {
            run,
            key,
            task_id,
            number,
            worker,
            success,
            score,
            steps,
            duration,
            historic,
            log_time,
        } => {
            let data = TaskComplete {
                task_id,
                success: *success,
                score: *score,
                vm,
                run,
                key,
                number: *number,
                worker: worker.as_deref(),
                steps: *steps,
                duration: *duration,
                historic: *historic,
                log_time: log_time.as_deref(),
                timestamp: now,
            };
            (EventKind::TaskComplete, Some(run), line(&data))
        }
        Change::RunEnded { run, source, completed, passed, failed, unknown, reason, historic, log_time } => {
            let data = RunComplete {
                vm,
                run,
                source,
                completed: *completed,
                passed: *passed,
                failed: *failed,
                unknown: *unknown,
                reason: *reason,
                historic: *historic,
                log_time: log_time.as_deref(),
                timestamp: now,
            };
            (EventKind::RunComplete, Some(run), line(&data))
        }
    };
    DurableEvent { kind, vm: vm.clone(), vm_id: vm_id.clone(), run: run.cloned(), data: data.into() }
}

#[derive(Serialize)]
struct RunStarted<'a> {
    vm: &'a VmName,
    run: &'a RunId,
    source: &'a str,
    total_tasks: Option<u64>,
    historic: bool,
    log_time: Option<&'a str>,
    timestamp: Timestamp,
}

#[derive(Serialize)]
struct TaskComplete<'a> {
    task_id: &'a str,
    success: Option<bool>,
    score: Option<f64>,
    vm: &'a VmName,
    run: &'a RunId,
    key: &'a str,
    number: Option<u64>,
    worker: Option<&'a str>,
    steps: Option<u64>,
    duration: Option<f64>,
    historic: bool,
    log_time: Option<&'a str>,
    timestamp: Timestamp,
}

#[derive(Serialize)]
struct RunComplete<'a> {
    vm: &'a VmName,
    run: &'a RunId,
    source: &'a str,
    completed: u64,
    passed: u64,
    failed: u64,
    unknown: u64,
    reason: RunEndReason,
    historic: bool,
    log_time: Option<&'a str>,
    timestamp: Timestamp,
}
