//! Runs as the journal remembers them: one summary per run, folded from its durable events. Pure.

use serde::{Deserialize, Serialize};

use super::StoredEvent;
use crate::event::{DurableEvent, EventKind, Position};
use crate::model::{RunEndReason, RunId, Timestamp, VmGrant, VmId, VmName};

/// The most runs that one page holds.
pub const MAX_RUNS_PAGE: usize = 500;

/// One run, as its durable events tell it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    /// Which.
    pub run: RunId,
    /// Whose.
    pub vm: VmName,
    /// The same, for keys.
    pub vm_id: VmId,
    /// The log that tells of it.
    pub source: String,
    /// Where its `run_started` stands: runs are listed in this order.
    pub started: Position,
    /// Where its newest event stands.
    pub newest: Position,
    /// When gatewatch saw it open.
    pub started_at: Timestamp,
    /// When gatewatch saw it end; `None` while it is open.
    pub ended_at: Option<Timestamp>,
    /// Why it is over.
    pub reason: Option<RunEndReason>,
    /// How many tasks it has, if that was known when it opened.
    pub total_tasks: Option<u64>,
    /// Tasks closed, of all outcomes.
    pub completed: u64,
    /// Tasks that passed.
    pub passed: u64,
    /// Tasks that failed.
    pub failed: u64,
    /// Tasks closed without an outcome.
    pub unknown: u64,
    /// The mean of the scores of tasks that have one.
    pub average_score: Option<f64>,
    /// How many tasks have one.
    pub scored: u64,
    /// Found already finished at first contact: history, not news.
    pub historic: bool,
}

/// Which runs are asked for.
#[derive(Clone, Debug)]
pub struct RunQuery {
    /// Of these VMs only.
    pub grant: VmGrant,
    /// Of this one only.
    pub vm: Option<VmName>,
    /// Open ones only, or ended ones only.
    pub open: Option<bool>,
    /// Seen to open at this time or later.
    pub since: Option<Timestamp>,
    /// Seen to open before this time.
    pub until: Option<Timestamp>,
    /// Those that stand before this position only: the `started` of the last run of the page before.
    pub before: Option<Position>,
    /// As many at most; [`MAX_RUNS_PAGE`] at most.
    pub limit: usize,
}

/// Runs from the newest to the oldest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunPage {
    /// The runs.
    pub runs: Vec<RunSummary>,
    /// Where the next page begins ([`RunQuery::before`]); `None`: there are no more. A page may be short, even empty,
    /// and still have a next one: a store looks at a bounded number of runs for each.
    pub next: Option<Position>,
}

impl RunQuery {
    /// Whether `run` is one of those asked for, wherever it stands.
    pub fn wants(&self, run: &RunSummary) -> bool {
        self.grant.allows(&run.vm)
            && self.vm.as_ref().is_none_or(|vm| *vm == run.vm)
            && self.open.is_none_or(|open| open == run.ended_at.is_none())
            && self.since.is_none_or(|since| run.started_at >= since)
            && self.until.is_none_or(|until| run.started_at < until)
    }
}

/// What the events of a run say beside what every event says.
#[derive(Deserialize)]
struct Data {
    source: Option<String>,
    total_tasks: Option<u64>,
    historic: Option<bool>,
    timestamp: Option<Timestamp>,
    success: Option<bool>,
    score: Option<f64>,
    reason: Option<RunEndReason>,
}

impl Data {
    fn of(event: &DurableEvent) -> Option<Self> {
        serde_json::from_str(&event.data).ok()
    }
}

impl RunSummary {
    /// The summary of the run that `stored`, a `run_started`, opens; `None` for any other event.
    pub fn opened(stored: &StoredEvent) -> Option<Self> {
        let event = &stored.event;
        let run = event.run.clone().filter(|_| event.kind == EventKind::RunStarted)?;
        let data = Data::of(event)?;
        Some(Self {
            run,
            vm: event.vm.clone(),
            vm_id: event.vm_id.clone(),
            source: data.source.unwrap_or_default(),
            started: stored.position,
            newest: stored.position,
            started_at: data.timestamp.unwrap_or(Timestamp(0.0)),
            ended_at: None,
            reason: None,
            total_tasks: data.total_tasks,
            completed: 0,
            passed: 0,
            failed: 0,
            unknown: 0,
            average_score: None,
            scored: 0,
            historic: data.historic.unwrap_or(false),
        })
    }

    /// Takes in a later event of the same run.
    pub fn take(&mut self, stored: &StoredEvent) {
        self.newest = self.newest.max(stored.position);
        let Some(data) = Data::of(&stored.event) else { return };
        match stored.event.kind {
            EventKind::TaskComplete => {
                self.completed += 1;
                *match data.success {
                    Some(true) => &mut self.passed,
                    Some(false) => &mut self.failed,
                    None => &mut self.unknown,
                } += 1;
                if let Some(score) = data.score {
                    let sum = self.average_score.unwrap_or(0.0) * self.scored as f64 + score;
                    self.scored += 1;
                    self.average_score = Some(sum / self.scored as f64);
                }
            }
            EventKind::RunComplete => {
                self.ended_at = data.timestamp;
                self.reason = data.reason;
            }
            _ => {}
        }
    }
}
