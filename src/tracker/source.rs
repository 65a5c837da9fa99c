//! One log: what each of its facts means for the run and the tasks that it tells of.

use serde::{Deserialize, Serialize};

use crate::model::{Change, ErrorCode, FactKind, LogCursor, LogFact, LogPart, LogRead, RunEndReason, Timestamp, VmId};

use super::marks::{Evidence, Watch};
use super::runs::{Run, Start};
use super::tasks::{Task, Worker};
use super::text::cut;

/// Workers of a run whose tasks keep what they are to do and did last; others keep ids and counts alone.
const MAX_TOLD_WORKERS: usize = 8;

/// What is the same for all facts of one report.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub(super) vm_id: VmId,
    /// The configured number of tasks.
    pub(super) total: Option<u64>,
    /// Workers told apart in this log.
    pub(super) workers: usize,
    /// The number of this poll.
    pub(super) poll: u64,
    pub(super) now: Timestamp,
}

/// The place of a line or mark in the log.
#[derive(Clone, Debug)]
pub(super) struct At<'a> {
    pub(super) generation: u64,
    pub(super) offset: u64,
    pub(super) log_time: Option<&'a str>,
}

/// What a fact did, as far as marks and bounds ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// It began no task.
    Nothing,
    /// It began a task of the open run.
    Began,
    /// It opened a run, with its first task.
    Opened,
    /// Its worker is one too many.
    Refused,
}

/// First contact with a log: what stood there before is history if nothing ran then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Contact {
    pub(super) size: u64,
    /// What the first process check that succeeded said.
    pub(super) absent: Option<bool>,
}

/// What a new file, or the time between two runs, says of the run to come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Prelude {
    pub(super) total: Option<u64>,
    pub(super) model: Option<String>,
}

/// One log and what it has told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Source {
    pub(super) path: String,
    pub(super) cursor: LogCursor,
    /// Why it cannot be read now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) unreadable: Option<String>,
    pub(super) contact: Option<Contact>,
    /// A new file has begun and no task in it yet.
    pub(super) fresh: bool,
    pub(super) prelude: Prelude,
    /// The open run, or the last one.
    pub(super) run: Option<Run>,
    pub(super) watch: Watch,
}

impl Source {
    pub(super) fn new(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            cursor: LogCursor::start(path),
            unreadable: None,
            contact: None,
            fresh: false,
            prelude: Prelude::default(),
            run: None,
            watch: Watch::default(),
        }
    }

    /// Keeps what it takes to read on, should the log be configured again.
    pub(super) fn rest(&mut self) {
        let Self { path, cursor, contact, fresh, .. } = std::mem::replace(self, Self::new(""));
        *self = Self { cursor, contact, fresh, ..Self::new(&path) };
    }

    /// Whether it tells of an open run.
    pub(super) fn run_open(&self) -> bool {
        self.run.as_ref().is_some_and(|run| run.open)
    }

    /// Whether its run is open and opened in that poll.
    pub(super) fn run_opened_in(&self, poll: u64) -> bool {
        self.run.as_ref().is_some_and(|run| run.open && run.opened_in == poll)
    }

    /// Whether its run is open and a task of it began in that poll.
    pub(super) fn began_in(&self, poll: u64) -> bool {
        self.run.as_ref().is_some_and(|run| run.open && run.began_in == poll)
    }

    /// The log stands (or does not stand) there: remembers how it was at first sight.
    pub(super) fn contact(&mut self, log: &LogRead, evidence: Option<&Evidence>) {
        let problem = log.problems.iter().find(|problem| problem.code == ErrorCode::LogUnreadable);
        self.unreadable = problem.map(|problem| problem.message.clone());
        if self.unreadable.is_some() {
            return;
        }
        let size = if log.exists { log.size } else { 0 };
        let contact = self.contact.get_or_insert(Contact { size, absent: None });
        if contact.absent.is_none() {
            contact.absent = match evidence {
                Some(Evidence::Absent) => Some(true),
                Some(Evidence::Present(_)) => Some(false),
                Some(Evidence::Unknown) | None => None,
            };
        }
    }

    /// Moves to the file and place of `cursor`.
    pub(super) fn turn_to(&mut self, cursor: &LogCursor) {
        if cursor.generation != self.cursor.generation {
            self.fresh = true;
            self.prelude = Prelude::default();
        }
        self.cursor.clone_from(cursor);
    }

    /// Applies one part, with a mark before one of its facts if `mark` says so. Says whether facts of too many
    /// workers were ignored.
    pub(super) fn part(
        &mut self,
        context: &Context,
        part: &LogPart,
        mark: Option<(usize, RunEndReason)>,
        changes: &mut Vec<Change>,
    ) -> bool {
        self.turn_to(&part.cursor);
        let mut refused = false;
        for (index, fact) in part.facts.iter().enumerate() {
            if let Some((before, reason)) = mark
                && before == index
            {
                let at = At { generation: self.cursor.generation, offset: fact.offset, log_time: None };
                self.end_run(context, reason, &at, changes);
            }
            refused |= self.fact(context, fact, changes) == Effect::Refused;
        }
        refused
    }

    /// Applies one fact of the file that the cursor names.
    pub(super) fn fact(&mut self, context: &Context, fact: &LogFact, changes: &mut Vec<Change>) -> Effect {
        let at = At { generation: self.cursor.generation, offset: fact.offset, log_time: fact.log_time.as_deref() };
        let worker = fact.worker.as_ref();
        match &fact.kind {
            FactKind::TaskStart { number, total, id, title } => {
                let total = total.filter(|total| *total > 0);
                let start = Start { number: *number, total, id: id.as_deref(), title: title.as_deref() };
                return self.begin(context, worker, &at, start, changes);
            }
            FactKind::TaskId(id) | FactKind::ExampleId(id) => {
                let whole = self.whole_id(worker, id, matches!(fact.kind, FactKind::ExampleId(_)));
                match self.open_task(worker) {
                    Some(task) if task.id.is_none() => task.id = Some(cut(&whole)),
                    Some(task) if task.is(&whole) => {}
                    open => {
                        // The domain that a title gave is that of the task before.
                        let id = if open.is_some() { id } else { &whole };
                        let start = Start { id: Some(id), ..Start::default() };
                        return self.begin(context, worker, &at, start, changes);
                    }
                }
            }
            FactKind::Total(total) => self.total(*total),
            FactKind::Model(model) => self.model(model),
            FactKind::AverageScore(score) => {
                if let Some(run) = self.run.as_mut().filter(|_| !self.fresh) {
                    run.average_score = Some(*score).filter(|score| score.is_finite());
                }
            }
            kind => self.tell(context, worker, &at, kind, changes),
        }
        Effect::Nothing
    }

    /// What a fact says of its worker's open task; without one it says nothing.
    fn tell(&mut self, context: &Context, worker: &str, at: &At<'_>, kind: &FactKind, changes: &mut Vec<Change>) {
        let Some(run) = self.run.as_mut() else { return };
        let Some(index) = run.workers.iter().position(|known| known.is(worker)) else { return };
        let Worker { task: Some(task), left, .. } = &mut run.workers[index] else { return };
        let told = index < MAX_TOLD_WORKERS;
        match kind {
            FactKind::Instruction(text) if told => task.instruction = Some(cut(text)),
            FactKind::Step { number, action } => {
                task.step = Some(*number);
                task.action = action.as_deref().filter(|_| told).map(cut);
            }
            FactKind::Outcome { task: named, success } if task.concerns(named.as_deref(), left) => {
                task.success = Some(*success);
                task.outcome_said = true;
            }
            FactKind::Score(score) if score.is_finite() => {
                task.score = Some(*score);
                task.score_said = true;
            }
            FactKind::Verdict(score) if score.is_finite() => {
                task.score = Some(*score);
                task.success = Some(*score >= 1.0);
            }
            FactKind::TaskEnd { task: named, success } if task.concerns(named.as_deref(), left) => {
                task.success = success.or(task.success);
                task.over = true;
            }
            _ => {}
        }
        if task.over || (task.outcome_said && task.score_said) {
            self.close(context, index, at, changes);
        }
    }

    fn open_task(&mut self, worker: &str) -> Option<&mut Task> {
        let run = self.run.as_mut()?;
        run.workers.iter_mut().find(|known| known.is(worker))?.task.as_mut()
    }

    /// The id that a line means: with the running task's title before it, if the line gives an example's.
    fn whole_id(&mut self, worker: &str, id: &str, example: bool) -> String {
        let title = self.open_task(worker).filter(|_| example).and_then(|task| task.title.as_deref());
        title.map_or_else(|| id.to_owned(), |title| format!("{title}/{id}"))
    }

    /// Whether the run that general facts speak of is yet to open.
    fn between_runs(&self) -> bool {
        self.fresh || !self.run_open()
    }

    fn total(&mut self, total: u64) {
        if total == 0 {
            return;
        }
        if self.between_runs() {
            self.prelude.total = Some(total);
        } else if let Some(run) = self.run.as_mut().filter(|run| !run.total_numbered) {
            run.total = Some(total);
        }
    }

    fn model(&mut self, model: &str) {
        if self.between_runs() {
            self.prelude.model = Some(cut(model));
        } else if let Some(run) = self.run.as_mut() {
            run.model = Some(cut(model));
        }
    }
}
