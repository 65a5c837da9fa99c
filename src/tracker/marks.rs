//! Run-end marks: when a run is over although its log does not say so, and where in the log that stands
//! (SEMANTICS, section 3).
//!
//! What a log was last read under (process, container instance) is kept per log, so that a mark whose commit got lost
//! is made again for that log and for no other.

use serde::{Deserialize, Serialize};

use crate::model::{
    Change, Container, ContainerSeen, ErrorCode, LogPart, LogRead, Observation, ProcessCheck, ProcessSeen, RunEndReason,
};

use super::source::{At, Context, Effect, Source};

/// Polls in a row that must find no benchmark process before its run is over.
pub(super) const ABSENT_POLLS: u32 = 2;

/// What a poll proves about the benchmark process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Evidence {
    /// Nothing.
    Unknown,
    /// None runs.
    Absent,
    /// This one runs.
    Present(ProcessSeen),
}

impl Evidence {
    /// What `seen` proves. No process runs in a container that does not run, whatever the check could find out; a
    /// paused one still holds its processes. Without Docker nothing can be found out.
    pub(super) fn of(seen: &Observation) -> Self {
        match (&seen.process, &seen.container) {
            (Some(ProcessCheck::Present(process)), _) => Self::Present(process.clone()),
            (_, ContainerSeen::DockerUnavailable(_)) => Self::Unknown,
            (Some(ProcessCheck::Absent), _) | (_, ContainerSeen::Missing) => Self::Absent,
            (_, ContainerSeen::Found(container)) if !container.running && container.state != "paused" => Self::Absent,
            _ => Self::Unknown,
        }
    }
}

/// What tells one start of a container from the next.
pub(super) fn instance(container: &Container) -> String {
    super::text::cut(&format!("{} {}", container.id, container.started_at))
}

/// Under what a log was last read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Watch {
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<ProcessSeen>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    /// Runs opened since that process was first seen.
    pub(super) runs: u32,
    /// A mark whose place in the log is not known yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pending: Option<RunEndReason>,
    /// Generation and end of the unterminated rest last seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    rest: Option<(u64, u64)>,
}

/// Where a mark stands among a report's facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// There is none to be set now.
    Nothing,
    /// Just before a fact.
    Before { part: usize, fact: usize, reason: RunEndReason },
    /// Behind the last complete line.
    AtEnd(RunEndReason),
}

impl Plan {
    /// The place within one part: the fact before which the mark stands, and why.
    pub(super) fn within(&self, number: usize) -> Option<(usize, RunEndReason)> {
        match self {
            Self::Before { part, fact, reason } if *part == number => Some((*fact, *reason)),
            _ => None,
        }
    }
}

/// Whether a pid with another start is another process; a start of 0 is unknown.
fn same(a: &ProcessSeen, b: &ProcessSeen) -> bool {
    a.pid == b.pid && (a.start_ticks == b.start_ticks || a.start_ticks == 0 || b.start_ticks == 0)
}

impl Source {
    /// Compares what runs now with what ran before; a change asks for a mark.
    pub(super) fn notice(&mut self, evidence: &Evidence, instance: Option<&str>, poll: u64) {
        if let Some(instance) = instance {
            if self.watch.instance.as_deref().is_some_and(|old| old != instance) {
                self.watch.pending = Some(RunEndReason::ContainerReplaced);
                self.watch.process = None;
            }
            self.watch.instance = Some(instance.to_owned());
        }
        if let Evidence::Present(process) = evidence {
            let replaced = self.watch.process.as_ref().is_some_and(|old| !same(old, process));
            // The process is sampled before the log is read, so a new one's first line may have come with the poll
            // before: a run opened then is its own, if the process before had opened one already.
            let its_own = self.run_opened_in(poll.saturating_sub(1)) && self.watch.runs > 1;
            if replaced && !its_own {
                self.watch.pending.get_or_insert(RunEndReason::ProcessReplaced);
            }
            if replaced || self.watch.process.is_none() {
                self.watch.runs = u32::from(its_own);
            }
            self.watch.process = Some(process.clone());
        }
        if !self.run_open() {
            self.watch.pending = None;
        }
    }

    /// Where the pending mark stands in what was read. A start that opens the next run is its place, and takes it by
    /// itself; else it stands before the first start; else, once all is read, at the end.
    pub(super) fn plan(&mut self, context: &Context, log: &LogRead) -> Plan {
        let Some(reason) = self.watch.pending else { return Plan::Nothing };
        if !self.run_open() {
            self.watch.pending = None;
            return Plan::Nothing;
        }
        let first = match self.trial(context, &log.parts) {
            Trial::Opens => return Plan::Nothing,
            Trial::Begins(part, fact) => Some((part, fact)),
            Trial::Neither => None,
        };
        if log.unread > 0 || unreadable(log) {
            return Plan::Nothing;
        }
        self.watch.pending = None;
        match first {
            Some((part, fact)) => Plan::Before { part, fact, reason },
            None => Plan::AtEnd(reason),
        }
    }

    /// Applies `parts` to a copy, to see which starts they hold.
    fn trial(&self, context: &Context, parts: &[LogPart]) -> Trial {
        let mut copy = self.clone();
        let mut first = Trial::Neither;
        for (number, part) in parts.iter().enumerate() {
            copy.turn_to(&part.cursor);
            for (index, fact) in part.facts.iter().enumerate() {
                match copy.fact(context, fact, &mut Vec::new()) {
                    Effect::Opened => return Trial::Opens,
                    Effect::Began if matches!(first, Trial::Neither) => first = Trial::Begins(number, index),
                    _ => {}
                }
            }
        }
        first
    }

    /// Behind the last part: sets the mark that stands there. `over`: this poll and the one before found no process.
    pub(super) fn finish(
        &mut self,
        context: &Context,
        log: &LogRead,
        plan: &Plan,
        over: bool,
        changes: &mut Vec<Change>,
    ) {
        let seen_before = self.watch.rest.take();
        self.watch.rest = log.rest.as_ref().map(end_of);
        if let Plan::AtEnd(reason) = plan {
            self.mark(context, *reason, changes);
        }
        // A task that began with this very poll may be that of a process newer than the sample: the next poll tells.
        if !over || log.unread > 0 || unreadable(log) || !self.run_open() || self.began_in(context.poll) {
            return;
        }
        match &log.rest {
            Some(rest) if seen_before != Some(end_of(rest)) => return,
            Some(rest) => {
                self.part(context, rest, None, changes);
                self.watch.rest = None;
            }
            None => {}
        }
        self.mark(context, RunEndReason::ProcessEnded, changes);
        self.watch.process = None;
    }

    /// The VM is taken out of the configuration, or this log is.
    pub(super) fn removed(&mut self, context: &Context, changes: &mut Vec<Change>) {
        self.mark(context, RunEndReason::Removed, changes);
    }

    /// The run ends where the log has been read to.
    fn mark(&mut self, context: &Context, reason: RunEndReason, changes: &mut Vec<Change>) {
        let at = At { generation: self.cursor.generation, offset: self.cursor.offset, log_time: None };
        self.watch.pending = None;
        self.end_run(context, reason, &at, changes);
    }
}

enum Trial {
    Opens,
    Begins(usize, usize),
    Neither,
}

fn end_of(rest: &LogPart) -> (u64, u64) {
    (rest.cursor.generation, rest.cursor.offset)
}

fn unreadable(log: &LogRead) -> bool {
    log.problems.iter().any(|problem| problem.code == ErrorCode::LogUnreadable)
}
