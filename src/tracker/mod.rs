//! The state machine: `(state, report, now) -> (state, changes)`. The same log bytes and run-end marks always give the
//! same changes, however they are cut into polls (SEMANTICS, section 3).
//!
//! Pure: no sockets, no clock, no async. May import `model` alone.
//!
//! [`stage`] and [`boot`] say where the VM is; [`source`], [`runs`] and [`tasks`] what one log tells; [`marks`] when a
//! run is over without its log saying so; [`errors`] what is wrong; [`view`] what is known of the VM now; [`state`]
//! how all that is written down.

mod boot;
mod errors;
mod marks;
mod runs;
mod source;
mod stage;
mod state;
mod tasks;
mod text;
mod view;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::model::{
    Change, ErrorCode, LogCursor, Observation, PollFailure, Power, Report, Stage, Timestamp, VmId, VmView,
};

use errors::LOG_ERROR_LASTS;
use marks::{ABSENT_POLLS, Evidence};
use source::{Context, Source};
use state::State;

pub use state::StateError;

/// Workers over all logs of one VM that are told apart; the bound that keeps the state small.
const MAX_WORKERS: usize = 64;

/// What the configuration says of the VM that the tracker needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrackerConfig {
    /// How many tasks a run has; overrules what logs say.
    pub total_tasks: Option<u64>,
    /// The configured benchmark logs, in order; each path once.
    pub sources: Vec<Arc<str>>,
    /// Whether there is a power source to ask.
    pub has_power: bool,
}

impl TrackerConfig {
    /// Workers told apart per log: 64, shared out where there are several logs, and never fewer than 8.
    fn workers_per_source(&self) -> usize {
        (MAX_WORKERS / self.sources.len().max(1)).max(1)
    }
}

/// One group of durable changes with the state that they leave behind: what becomes one commit.
///
/// A report's steps are committed in order. If only the first of them could be, a tracker restored from it goes on
/// from its cursors and says the rest again.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What happened, in order; never empty.
    pub changes: Vec<Change>,
    /// The tracker's state behind these changes, as JSON.
    pub state: String,
    /// The cursors behind these changes, one per configured log, in order.
    pub cursors: Vec<LogCursor>,
    /// What is known of the VM behind these changes.
    pub view: VmView,
}

/// The state machine of one VM.
#[derive(Clone, Debug)]
pub struct Tracker {
    vm_id: VmId,
    config: TrackerConfig,
    state: State,
}

impl Tracker {
    /// A tracker of a VM never seen.
    pub fn new(vm_id: VmId, config: TrackerConfig) -> Self {
        let state = State::new(&config);
        Self { vm_id, config, state }
    }

    /// A tracker that goes on from a commit's state.
    ///
    /// Logs that are new in `config` begin at their start, those that were configured before where they were left; the open
    /// run of a log that is no longer configured ends at the next report.
    ///
    /// # Errors
    /// If `state` is of a version that this program does not know, or is not a state at all.
    pub fn restore(vm_id: VmId, config: TrackerConfig, state: &str) -> Result<Self, StateError> {
        let state = State::parse(state)?.fitted_to(&config);
        Ok(Self { vm_id, config, state })
    }

    /// How far each configured log is read, in order; [`LogCursor::start`] for one never seen.
    pub fn cursors(&self) -> Vec<LogCursor> {
        self.state.sources.iter().map(|source| source.cursor.clone()).collect()
    }

    /// Takes one report in. Gives a step per part of a log with changes, per run-end mark, and for a new stage;
    /// nothing if nothing durable happened.
    pub fn apply(&mut self, report: &Report, now: Timestamp) -> Vec<Step> {
        let mut steps = Vec::new();
        self.retire(now, &mut steps);
        self.state.errors.begin(report.power_failure.as_ref(), now);
        let stage = match &report.outcome {
            Err(failure) => self.lost(report.power, failure, now),
            Ok(seen) if seen.continuation => {
                self.state.machine.answers();
                self.state.seen.answers(now);
                self.state.errors.answers();
                self.read_logs(seen, None, now, &mut steps);
                None
            }
            Ok(seen) => Some(self.answered(seen, now, &mut steps)),
        };
        if let Some(stage) = stage {
            self.reach(stage, now, &mut steps);
        }
        steps
    }

    /// The VM was taken out of the configuration: open runs end, the stage is `removed`. A second call does nothing.
    pub fn remove(&mut self, now: Timestamp) -> Vec<Step> {
        let mut steps = Vec::new();
        let context = self.context(now);
        let mut changes = Vec::new();
        for source in self.state.sources.iter_mut().chain(&mut self.state.retired) {
            source.removed(&context, &mut changes);
        }
        self.state.rest();
        self.commit(changes, &mut steps);
        self.state.machine.forget_runs();
        self.reach(Stage::Removed, now, &mut steps);
        steps
    }

    /// What is known of the VM now; `None` before the first report.
    ///
    /// A VM that has never answered and whose silence does not count yet shows as `unreachable`, though no change has
    /// said so.
    pub fn view(&self) -> Option<VmView> {
        self.state.view(&self.config)
    }

    /// The whole state as versioned JSON: `{"v":1,...}`.
    pub fn state_json(&self) -> String {
        self.state.to_json()
    }

    /// A poll failed.
    fn lost(&mut self, power: Option<Power>, failure: &PollFailure, now: Timestamp) -> Option<Stage> {
        self.state.polls += 1;
        let stage = self.state.machine.lost(power, now);
        self.state.seen.lost(power, now);
        self.state.errors.lost(failure, power, self.state.machine.lost_polls());
        stage
    }

    /// A full poll was answered.
    fn answered(&mut self, seen: &Observation, now: Timestamp, steps: &mut Vec<Step>) -> Stage {
        let state = &mut self.state;
        state.polls += 1;
        let evidence = Evidence::of(seen);
        let container_known = state.machine.container_known();
        let renewed = state.machine.observe(seen, &evidence);
        state.seen.observe(seen, renewed, self.config.has_power, now);
        state.errors.answers();
        state.errors.observe(seen, container_known, state.machine.failed_checks());
        for source in &mut state.sources {
            source.notice(&evidence, state.machine.instance(), state.polls);
        }
        self.read_logs(seen, Some(&evidence), now, steps);
        let run_open = self.state.run_open();
        self.state.machine.settle(seen, &evidence, run_open)
    }

    /// Takes in what the logs say, and the marks that end runs.
    fn read_logs(&mut self, seen: &Observation, evidence: Option<&Evidence>, now: Timestamp, steps: &mut Vec<Step>) {
        let context = self.context(now);
        let over = matches!(evidence, Some(Evidence::Absent)) && self.state.machine.absent_polls() >= ABSENT_POLLS;
        for index in 0..self.state.sources.len() {
            let path = &self.state.sources[index].path;
            let Some(log) = seen.logs.iter().find(|log| *log.source == **path) else { continue };
            self.state.sources[index].contact(log, evidence);
            let plan = self.state.sources[index].plan(&context, log);
            for (number, part) in log.parts.iter().enumerate() {
                let mut changes = Vec::new();
                let refused = self.state.sources[index].part(&context, part, plan.within(number), &mut changes);
                if refused {
                    let message = format!("{}: more workers than can be told apart", log.source);
                    self.state.errors.raise_until(ErrorCode::LogFormat, &message, now.plus(LOG_ERROR_LASTS));
                }
                self.commit(changes, steps);
            }
            let mut changes = Vec::new();
            self.state.sources[index].finish(&context, log, &plan, over, &mut changes);
            self.commit(changes, steps);
            self.state.errors.log_problems(log, now);
        }
        let unreadable = self.state.sources.iter().find_map(|source| source.unreadable.as_deref());
        self.state.errors.log_unreadable(unreadable);
    }

    /// Ends the runs of logs that are no longer configured.
    fn retire(&mut self, now: Timestamp, steps: &mut Vec<Step>) {
        if !self.state.retired.iter().any(Source::run_open) {
            return;
        }
        let context = self.context(now);
        let mut changes = Vec::new();
        for source in &mut self.state.retired {
            source.removed(&context, &mut changes);
        }
        self.state.rest();
        self.commit(changes, steps);
    }

    /// Says that the VM is at `stage`, if that is news.
    fn reach(&mut self, stage: Stage, now: Timestamp, steps: &mut Vec<Step>) {
        let from = self.state.machine.stage;
        if from != Some(stage) {
            self.state.machine.reach(stage, now);
            self.commit(vec![Change::Stage { from, to: stage }], steps);
        }
    }

    /// Makes a step of `changes`, if there are any.
    fn commit(&mut self, changes: Vec<Change>, steps: &mut Vec<Step>) {
        if changes.is_empty() {
            return;
        }
        // Before the state is written down: a tracker restored from this very step must still know it.
        let run_open = self.state.run_open();
        self.state.machine.runs_changed(&changes, run_open);
        let view = self.state.view_anyhow(&self.config);
        steps.push(Step { changes, state: self.state.to_json(), cursors: self.cursors(), view });
    }

    fn context(&self, now: Timestamp) -> Context {
        Context {
            vm_id: self.vm_id.clone(),
            total: self.config.total_tasks,
            workers: self.config.workers_per_source(),
            poll: self.state.polls,
            now,
        }
    }
}

impl State {
    /// Whether any log tells of an open run.
    fn run_open(&self) -> bool {
        self.sources.iter().any(Source::run_open)
    }
}
