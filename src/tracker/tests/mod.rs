//! What a VM is made to show, for the tables and properties of this room.

mod errors;
mod marks;
mod properties;
mod runs;
mod stages;
mod timeline;

use std::sync::Arc;
use std::time::Duration;

use super::{Step, Tracker, TrackerConfig};
use crate::model::{
    BootMark, Change, Container, ContainerSeen, ErrorCode, FactKind, LogCursor, LogFact, LogPart, LogRead, Observation,
    PollFailure, Power, ProbeReply, ProcessCheck, ProcessSeen, Report, RunEndReason, Stage, Timestamp, VmId,
};

pub(super) const LOG: &str = "/tmp/waa_benchmark.log";

/// Bytes of a line in these tests.
pub(super) const LINE: u64 = 10;

/// A tracker, its clock and what it has said.
pub(super) struct Lab {
    pub(super) tracker: Tracker,
    pub(super) now: f64,
    /// Seconds between polls.
    pub(super) interval: f64,
    poll_no: u64,
}

impl Lab {
    pub(super) fn new() -> Self {
        Self::with_sources(&[LOG])
    }

    pub(super) fn with_sources(sources: &[&str]) -> Self {
        let config = TrackerConfig {
            total_tasks: None,
            sources: sources.iter().map(|path| Arc::from(*path)).collect(),
            has_power: true,
        };
        Self { tracker: Tracker::new(vm_id(), config), now: 1000.0, interval: 1.0, poll_no: 0 }
    }

    pub(super) fn report(&mut self, report: &Report) -> Vec<Step> {
        self.poll_no += 1;
        let steps = self.tracker.apply(report, Timestamp(self.now));
        self.now += self.interval;
        for step in &steps {
            assert!(!step.changes.is_empty());
            assert!(step.state.starts_with("{\"v\":1,"), "{}", step.state);
        }
        steps
    }

    pub(super) fn poll(&mut self, seen: Observation) -> Vec<Change> {
        self.report(&answer(seen)).into_iter().flat_map(|step| step.changes).collect()
    }

    pub(super) fn fail(&mut self, code: ErrorCode, power: Option<Power>) -> Vec<Change> {
        let mut report = Report::failed(0, Duration::ZERO, PollFailure::new(code, "no answer"));
        report.power = power;
        self.report(&report).into_iter().flat_map(|step| step.changes).collect()
    }

    pub(super) fn stage(&self) -> Option<Stage> {
        self.tracker.view().map(|view| view.stage)
    }

    pub(super) fn codes(&self) -> Vec<&'static str> {
        self.tracker.view().map(|view| view.errors.iter().map(|e| e.code.as_str()).collect()).unwrap_or_default()
    }
}

pub(super) fn vm_id() -> VmId {
    VmId::from_journal("vm-1")
}

pub(super) fn answer(seen: Observation) -> Report {
    Report { poll_no: 1, took: Duration::ZERO, power: None, power_failure: None, outcome: Ok(seen) }
}

pub(super) fn container(state: &str, started_at: &str) -> ContainerSeen {
    ContainerSeen::Found(Container {
        id: "c0ffee".to_owned(),
        name: "winarena".to_owned(),
        image: "windows".to_owned(),
        running: state == "running",
        state: state.to_owned(),
        started_at: started_at.to_owned(),
    })
}

pub(super) fn present(pid: u32) -> Option<ProcessCheck> {
    Some(ProcessCheck::Present(ProcessSeen { pid, start_ticks: u64::from(pid) * 100 }))
}

pub(super) fn absent() -> Option<ProcessCheck> {
    Some(ProcessCheck::Absent)
}

pub(super) fn check_failed() -> Option<ProcessCheck> {
    Some(ProcessCheck::Failed("docker exec failed".to_owned()))
}

pub(super) fn answered() -> ProbeReply {
    ProbeReply::Answered("ok".to_owned())
}

/// A VM whose container runs, with no sign of Windows and no process.
pub(super) fn up() -> Observation {
    Observation {
        container: container("running", "t1"),
        probe: ProbeReply::Silent,
        process: absent(),
        ..Observation::empty(None)
    }
}

/// A VM whose benchmark server answers, with the given process and logs.
pub(super) fn ready(process: Option<ProcessCheck>, logs: Vec<LogRead>) -> Observation {
    Observation { boot: vec![BootMark::WindowsStarted], probe: answered(), process, logs, ..up() }
}

/// A fact for each kind, one per line from line `line` on.
pub(super) fn part_of(path: &str, generation: u64, line: u64, kinds: Vec<(&str, FactKind)>) -> LogPart {
    let facts: Vec<LogFact> = kinds
        .into_iter()
        .enumerate()
        .map(|(index, (worker, kind))| LogFact {
            offset: (line + index as u64) * LINE,
            worker: worker.into(),
            log_time: None,
            kind,
        })
        .collect();
    let offset = (line + facts.len() as u64) * LINE;
    LogPart { facts, cursor: LogCursor { generation, offset, ..LogCursor::start(path) } }
}

pub(super) fn read_of(path: &str, parts: Vec<LogPart>) -> LogRead {
    let size = parts.last().map_or(0, |part| part.cursor.offset);
    LogRead { source: path.into(), size, exists: true, parts, rest: None, unread: 0, text: None, problems: Vec::new() }
}

/// One part of the one log, of worker ``.
pub(super) fn lines(line: u64, kinds: Vec<FactKind>) -> Vec<LogRead> {
    let kinds = kinds.into_iter().map(|kind| ("", kind)).collect();
    vec![read_of(LOG, vec![part_of(LOG, 1, line, kinds)])]
}

/// The one log with nothing new.
pub(super) fn quiet() -> Vec<LogRead> {
    vec![read_of(LOG, Vec::new())]
}

pub(super) fn start(number: u64) -> FactKind {
    FactKind::TaskStart { number: Some(number), total: Some(30), id: None, title: None }
}

pub(super) fn titled(title: &str) -> FactKind {
    FactKind::TaskStart { number: None, total: None, id: None, title: Some(title.to_owned()) }
}

pub(super) fn id(id: &str) -> FactKind {
    FactKind::TaskId(id.to_owned())
}

pub(super) fn outcome(success: bool) -> FactKind {
    FactKind::Outcome { task: None, success }
}

pub(super) fn outcome_of(task: &str, success: bool) -> FactKind {
    FactKind::Outcome { task: Some(task.to_owned()), success }
}

pub(super) fn end_of(task: &str) -> FactKind {
    FactKind::TaskEnd { task: Some(task.to_owned()), success: None }
}

/// Changes in a few words, for tables: `start`, `end ProcessEnded 2/1/0/1`, `task_1 pass 0.5`, `off -> starting`.
pub(super) fn told(changes: &[Change]) -> Vec<String> {
    changes.iter().map(tell).collect()
}

fn tell(change: &Change) -> String {
    match change {
        Change::Stage { from, to } => match from {
            Some(from) => format!("{from} -> {to}"),
            None => format!("-> {to}"),
        },
        Change::RunStarted { historic, .. } => if *historic { "start historic" } else { "start" }.to_owned(),
        Change::TaskCompleted { task_id, success, score, .. } => {
            let success = match success {
                Some(true) => "pass",
                Some(false) => "fail",
                None => "?",
            };
            let score = score.map(|score| format!(" {score}")).unwrap_or_default();
            format!("{task_id} {success}{score}")
        }
        Change::RunEnded { completed, passed, failed, unknown, reason, .. } => {
            format!("end {reason:?} {completed}/{passed}/{failed}/{unknown}")
        }
    }
}

/// What the changes say of runs, without the stages.
pub(super) fn of_runs(changes: Vec<Change>) -> Vec<Change> {
    changes.into_iter().filter(|change| !matches!(change, Change::Stage { .. })).collect()
}

pub(super) fn reasons(changes: &[Change]) -> Vec<RunEndReason> {
    changes
        .iter()
        .filter_map(|change| match change {
            Change::RunEnded { reason, .. } => Some(*reason),
            _ => None,
        })
        .collect()
}

/// The keys of completions, in order.
pub(super) fn keys(changes: &[Change]) -> Vec<String> {
    changes
        .iter()
        .filter_map(|change| match change {
            Change::TaskCompleted { key, .. } => Some(key.clone()),
            _ => None,
        })
        .collect()
}
