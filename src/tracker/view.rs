//! What is known of the VM now: what the last answers said beside stages and runs, and the whole as a [`VmView`].

use serde::{Deserialize, Serialize};

use crate::model::{
    Container, ContainerSeen, MemoryUse, Observation, Power, ProbeReply, ProcessCheck, ProcessSeen, ProgressView,
    Stage, StorageUse, TaskView, Timestamp, VmView,
};

use super::TrackerConfig;
use super::runs::Run;
use super::source::Source;
use super::state::State;
use super::text::cut;

/// Characters of container log text and of a probe's reply that are kept.
const TAIL_CHARS: usize = 500;

/// What the last polls saw that only a view needs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Seen {
    reported_at: Option<Timestamp>,
    answered_at: Option<Timestamp>,
    reachable: bool,
    connected: bool,
    waa_ready: bool,
    probe_reply: Option<String>,
    power: Option<Power>,
    clock_skew: Option<f64>,
    container: Option<Container>,
    container_log_tail: String,
    process: Option<ProcessSeen>,
    storage: Option<StorageUse>,
    memory: Option<MemoryUse>,
    qemu_monitor: Option<bool>,
}

impl Seen {
    /// A continuation was answered.
    pub(super) fn answers(&mut self, now: Timestamp) {
        self.reported_at = Some(now);
        self.answered_at = Some(now);
        self.reachable = true;
    }

    /// A poll failed: nothing of the moment is known, what lasts stays as it was.
    pub(super) fn lost(&mut self, power: Option<Power>, now: Timestamp) {
        self.reported_at = Some(now);
        self.power = power.or(self.power);
        self.reachable = false;
        self.connected = false;
        self.waa_ready = false;
        self.probe_reply = None;
        self.qemu_monitor = None;
        if matches!(power, Some(Power::Off | Power::Stopping)) {
            self.container = None;
            self.process = None;
            self.storage = None;
            self.memory = None;
        }
    }

    /// A full poll was answered. `renewed`: the container is another start than before.
    pub(super) fn observe(&mut self, seen: &Observation, renewed: bool, has_power: bool, now: Timestamp) {
        self.answers(now);
        self.power = has_power.then_some(Power::On);
        self.clock_skew = seen.clock.map(|clock| clock - now.0).filter(|skew| skew.is_finite());
        self.connected = match &seen.container {
            ContainerSeen::NotConfigured => true,
            ContainerSeen::Found(container) => container.running,
            ContainerSeen::Missing | ContainerSeen::DockerUnavailable(_) => false,
        };
        self.container = match &seen.container {
            ContainerSeen::Found(container) => Some(shortened(container)),
            _ => None,
        };
        self.probe_reply = match &seen.probe {
            ProbeReply::Answered(body) => Some(body.chars().take(TAIL_CHARS).collect()),
            ProbeReply::Silent | ProbeReply::NotConfigured => None,
        };
        self.waa_ready = self.probe_reply.is_some();
        match &seen.process {
            Some(ProcessCheck::Present(process)) => self.process = Some(process.clone()),
            Some(ProcessCheck::Absent) => self.process = None,
            Some(ProcessCheck::Failed(_)) | None if self.connected => {}
            Some(ProcessCheck::Failed(_)) | None => self.process = None,
        }
        self.storage = seen.storage;
        self.memory = seen.memory;
        self.qemu_monitor = seen.qemu_monitor;
        if renewed {
            self.container_log_tail.clear();
        }
        self.append(&seen.container_log_tail);
    }

    /// Adds new container log text and keeps the end.
    fn append(&mut self, new: &str) {
        if new.is_empty() {
            return;
        }
        if !self.container_log_tail.is_empty() && !self.container_log_tail.ends_with('\n') {
            self.container_log_tail.push('\n');
        }
        self.container_log_tail.push_str(new);
        if let Some((start, _)) = self.container_log_tail.char_indices().rev().nth(TAIL_CHARS - 1) {
            self.container_log_tail.drain(..start);
        }
    }
}

fn shortened(container: &Container) -> Container {
    Container {
        id: cut(&container.id),
        name: cut(&container.name),
        image: cut(&container.image),
        running: container.running,
        state: cut(&container.state),
        started_at: cut(&container.started_at),
    }
}

impl State {
    /// What is known of the VM; `None` before the first report.
    pub(super) fn view(&self, config: &TrackerConfig) -> Option<VmView> {
        (self.seen.reported_at.is_some() || self.machine.stage.is_some()).then(|| self.view_anyhow(config))
    }

    /// What is known of the VM, be it nothing.
    pub(super) fn view_anyhow(&self, config: &TrackerConfig) -> VmView {
        let Self { machine, seen, .. } = self;
        let reported_at = seen.reported_at.unwrap_or(machine.since);
        VmView {
            stage: machine.stage.unwrap_or(Stage::Unreachable),
            stage_since: if machine.stage.is_some() { machine.since } else { reported_at },
            stages: machine.history.clone(),
            reported_at,
            answered_at: seen.answered_at,
            reachable: seen.reachable,
            connected: seen.connected,
            waa_ready: seen.waa_ready,
            probe_reply: seen.probe_reply.clone(),
            power: seen.power,
            clock_skew: seen.clock_skew,
            boot_percent: machine.percent,
            download_seconds_left: machine.boot.seconds_left.filter(|_| machine.stage == Some(Stage::Downloading)),
            container: seen.container.clone(),
            container_log_tail: seen.container_log_tail.clone(),
            setup_script: machine.boot.setup_script.clone(),
            dependencies: machine.boot.dependencies.clone(),
            process: seen.process.clone(),
            storage: seen.storage,
            memory: seen.memory,
            qemu_monitor: seen.qemu_monitor,
            progress: self.sources.iter().filter_map(|source| source.progress(config)).collect(),
            errors: self.errors.view(),
        }
    }
}

impl Source {
    fn progress(&self, config: &TrackerConfig) -> Option<ProgressView> {
        let run = self.run.as_ref()?;
        Some(ProgressView {
            source: self.path.clone(),
            run: run.id.clone(),
            open: run.open,
            started_at: run.started_at,
            ended_at: run.ended_at,
            task_number: run.last_number.unwrap_or(run.begun),
            // A progress bar may speak of a part of the run; there are at least as many tasks as have begun.
            total_tasks: config.total_tasks.or(run.total.map(|total| total.max(run.begun))).unwrap_or(0),
            completed: run.completed,
            passed: run.passed,
            failed: run.failed,
            unknown: run.unknown,
            current: run.current(),
            model: run.model.clone(),
            average_score: run.average_score,
            historic: run.historic,
        })
    }
}

impl Run {
    /// The open task begun last, or the task closed last.
    fn current(&self) -> Option<TaskView> {
        let open = self.workers.iter().filter_map(|worker| worker.task.as_ref()).max_by_key(|task| task.ordinal);
        open.map(|task| task.view(false)).or_else(|| self.last.clone())
    }
}
