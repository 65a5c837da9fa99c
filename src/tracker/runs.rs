//! The runs of one log: when one opens, how its tasks begin and close, when it ends (SEMANTICS, section 1).

use serde::{Deserialize, Serialize};

use crate::model::{Change, RunEndReason, RunId, TaskView, Timestamp};

use super::source::{At, Context, Effect, Source};
use super::tasks::{Closed, Task, Worker};
use super::text::{cut, digest};

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Run {
    pub(super) id: RunId,
    pub(super) open: bool,
    pub(super) started_at: Timestamp,
    pub(super) ended_at: Option<Timestamp>,
    pub(super) opened_in: u64,
    pub(super) began_in: u64,
    pub(super) historic: bool,
    pub(super) total: Option<u64>,
    /// `total` is of a numbered task, which a progress bar's does not replace.
    pub(super) total_numbered: bool,
    pub(super) model: Option<String>,
    pub(super) average_score: Option<f64>,
    /// Tasks begun.
    pub(super) begun: u64,
    /// The number of the last task that had one.
    pub(super) last_number: Option<u64>,
    pub(super) completed: u64,
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) unknown: u64,
    pub(super) workers: Vec<Worker>,
    /// The task closed last.
    pub(super) last: Option<TaskView>,
}

/// How a task begins.
#[derive(Default)]
pub(super) struct Start<'a> {
    pub(super) number: Option<u64>,
    pub(super) total: Option<u64>,
    pub(super) id: Option<&'a str>,
    pub(super) title: Option<&'a str>,
}

impl Source {
    /// Begins a task; opens a run if this is the first after a new file or a mark, or its number does not increase.
    pub(super) fn begin(
        &mut self,
        context: &Context,
        worker: &str,
        at: &At<'_>,
        start: Start<'_>,
        changes: &mut Vec<Change>,
    ) -> Effect {
        let opens = self.opens(worker, start.number);
        if opens {
            self.open_run(context, worker, at, start.total, changes);
        }
        let Some(run) = self.run.as_mut() else { return Effect::Nothing };
        let index = match run.workers.iter().position(|known| known.is(worker)) {
            Some(index) => index,
            None if run.workers.len() < context.workers => {
                run.workers.push(Worker::new(worker));
                run.workers.len() - 1
            }
            None => return Effect::Refused,
        };
        self.close(context, index, at, changes);
        let Some(run) = self.run.as_mut() else { return Effect::Nothing };
        run.begun += 1;
        run.began_in = context.poll;
        if let Some(total) = start.total {
            run.total = Some(total);
            run.total_numbered = true;
        }
        run.last_number = start.number.or(run.last_number);
        let worker = &mut run.workers[index];
        worker.last_number = start.number.or(worker.last_number);
        worker.task = Some(Task {
            id: start.id.map(cut),
            title: start.title.map(cut),
            number: start.number,
            ordinal: run.begun,
            began_in: context.poll,
            started_at: context.now,
            ..Task::default()
        });
        if opens { Effect::Opened } else { Effect::Began }
    }

    fn opens(&self, worker: &str, number: Option<u64>) -> bool {
        let Some(run) = self.run.as_ref().filter(|run| run.open && !self.fresh) else { return true };
        let last = run.workers.iter().find(|known| known.is(worker)).and_then(|known| known.last_number);
        number.zip(last).is_some_and(|(number, last)| number <= last)
    }

    fn open_run(
        &mut self,
        context: &Context,
        worker: &str,
        at: &At<'_>,
        total: Option<u64>,
        changes: &mut Vec<Change>,
    ) {
        let natural = if self.fresh { RunEndReason::LogReplaced } else { RunEndReason::NextRun };
        let reason = self.watch.pending.take().unwrap_or(natural);
        self.end_run(context, reason, at, changes);
        self.fresh = false;
        let prelude = std::mem::take(&mut self.prelude);
        let contact = self.contact.as_ref();
        let historic = at.generation == 1
            && contact.is_some_and(|contact| contact.absent == Some(true) && at.offset < contact.size);
        let id = digest(&[
            context.vm_id.as_str().as_bytes(),
            self.path.as_bytes(),
            &at.generation.to_be_bytes(),
            &at.offset.to_be_bytes(),
        ]);
        let id = RunId::from_hash(&hex::encode(&id[..6]));
        let total_numbered = total.is_some();
        let total = total.or(prelude.total);
        // A late line about the task before must not be taken for one about the first of this run.
        let before = self.run.take().and_then(|run| run.workers.into_iter().find(|known| known.is(worker)));
        changes.push(Change::RunStarted {
            run: id.clone(),
            source: self.path.clone(),
            total_tasks: context.total.or(total),
            historic,
            log_time: at.log_time.map(str::to_owned),
        });
        self.watch.runs = self.watch.runs.saturating_add(1);
        self.run = Some(Run {
            id,
            open: true,
            started_at: context.now,
            ended_at: None,
            opened_in: context.poll,
            began_in: context.poll,
            historic,
            total,
            total_numbered,
            model: prelude.model,
            average_score: None,
            begun: 0,
            last_number: None,
            completed: 0,
            passed: 0,
            failed: 0,
            unknown: 0,
            workers: before.map(Worker::for_next_run).into_iter().collect(),
            last: None,
        });
    }

    /// Closes the tasks of the open run in the order of their beginning, and the run; nothing without an open one.
    pub(super) fn end_run(&mut self, context: &Context, reason: RunEndReason, at: &At<'_>, changes: &mut Vec<Change>) {
        let Some(run) = self.run.as_ref().filter(|run| run.open) else { return };
        let mut open: Vec<(u64, usize)> = run
            .workers
            .iter()
            .enumerate()
            .filter_map(|(index, worker)| Some((worker.task.as_ref()?.ordinal, index)))
            .collect();
        open.sort_unstable();
        for (_, index) in open {
            self.close(context, index, at, changes);
        }
        let Some(run) = self.run.as_mut() else { return };
        run.open = false;
        run.ended_at = Some(context.now);
        changes.push(Change::RunEnded {
            run: run.id.clone(),
            source: self.path.clone(),
            completed: run.completed,
            passed: run.passed,
            failed: run.failed,
            unknown: run.unknown,
            reason,
            historic: run.historic,
            log_time: at.log_time.map(str::to_owned),
        });
    }

    /// Closes a worker's open task at a line or mark; nothing if none is open.
    pub(super) fn close(&mut self, context: &Context, index: usize, at: &At<'_>, changes: &mut Vec<Change>) {
        let Some(run) = self.run.as_mut() else { return };
        let worker = &mut run.workers[index];
        let Some(task) = worker.task.take() else { return };
        let again = worker.closed_at(at.generation, at.offset);
        let slot = digest(&[self.path.as_bytes(), worker.name.as_bytes(), &at.generation.to_be_bytes()]);
        let mut key = format!("{}-{}-{}", run.id, hex::encode(&slot[..4]), at.offset);
        if again > 0 {
            key.push_str(&format!(".{again}"));
        }
        run.completed += 1;
        *match task.success {
            Some(true) => &mut run.passed,
            Some(false) => &mut run.failed,
            None => &mut run.unknown,
        } += 1;
        worker.left = Closed::of(&task);
        run.last = Some(task.view(true));
        changes.push(Change::TaskCompleted {
            run: run.id.clone(),
            key,
            task_id: task.name(),
            number: task.number,
            worker: Some(worker.name.clone()).filter(|name| !name.is_empty()),
            success: task.success,
            score: task.score,
            steps: task.step,
            duration: (task.began_in != context.poll).then(|| context.now.since(task.started_at)),
            historic: run.historic,
            log_time: at.log_time.map(str::to_owned),
        });
    }
}
