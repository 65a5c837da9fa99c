//! Where the VM is: the transition rules, each poll judged by what it saw and by the few counters that debounce it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{
    Change, ContainerSeen, Observation, Power, ProbeReply, ProcessCheck, RunEndReason, Stage, Timestamp,
};

use super::boot::Boot;
use super::marks::{ABSENT_POLLS, Evidence, instance};

/// Failed polls in a row after which a VM is unreachable (SEMANTICS, section 3).
const UNREACHABLE_POLLS: u32 = 3;

/// Time of failed polls after which it is, even if they are fewer.
const UNREACHABLE_AFTER: Duration = Duration::from_secs(15);

/// Silent probes in a row that end `ready`, and answers in a row without Docker that count as no container.
const SILENT_POLLS: u32 = 2;

/// How long a VM that is said to be on may take until it answers for the first time.
const BOOT_PATIENCE: Duration = Duration::from_secs(300);

/// Polls without a process for which `running` waits that the log is read to its end and its run closed.
const PATIENCE_POLLS: u32 = 6;

/// Stages that are remembered: two boots, or an hour of a VM that comes and goes every few minutes. Each commit carries them.
const MAX_HISTORY: usize = 24;

/// The state machine of the stage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Machine {
    pub(super) stage: Option<Stage>,
    /// When `stage` was reached.
    pub(super) since: Timestamp,
    /// The latest stages and when each was reached, the present one last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) history: Vec<(Stage, Timestamp)>,
    /// It has answered since it was last off or starting.
    answered: bool,
    /// Failed polls in a row that the power source does not explain, and when the first was.
    failed: u32,
    first_failed: Option<Timestamp>,
    /// Since when it is said to be on without having answered.
    on_since: Option<Timestamp>,
    /// Failed polls in a row of a VM that is not said to be off or starting.
    lost: u32,
    absent: u32,
    failed_checks: u32,
    silent: u32,
    docker_away: u32,
    /// A benchmark process was seen, and has not been gone for two polls.
    busy: bool,
    /// The last run ended, and none has begun since.
    done: bool,
    instance: Option<String>,
    container_known: bool,
    pub(super) boot: Boot,
    /// Progress towards ready, 0 to 100.
    pub(super) percent: f64,
}

impl Machine {
    /// Failed polls in a row of a VM that is not said to be off or starting.
    pub(super) fn lost_polls(&self) -> u32 {
        self.lost
    }

    /// Polls in a row that proved that no benchmark process runs.
    pub(super) fn absent_polls(&self) -> u32 {
        self.absent
    }

    /// Process checks in a row that failed.
    pub(super) fn failed_checks(&self) -> u32 {
        self.failed_checks
    }

    /// Whether the container was ever seen.
    pub(super) fn container_known(&self) -> bool {
        self.container_known
    }

    /// The container's start last seen.
    pub(super) fn instance(&self) -> Option<&str> {
        self.instance.as_deref()
    }

    /// Enters `stage`.
    pub(super) fn reach(&mut self, stage: Stage, now: Timestamp) {
        self.stage = Some(stage);
        self.since = now;
        if self.history.len() >= MAX_HISTORY {
            self.history.remove(0);
        }
        self.history.push((stage, now));
        match stage {
            Stage::Ready | Stage::Running | Stage::Complete => self.percent = 100.0,
            Stage::Off | Stage::Removed => self.percent = 0.0,
            _ => {}
        }
    }

    /// No benchmark is known of any more.
    pub(super) fn forget_runs(&mut self) {
        self.busy = false;
        self.done = false;
        self.absent = 0;
    }

    /// Runs opened or ended.
    pub(super) fn runs_changed(&mut self, changes: &[Change], run_open: bool) {
        let ended = changes.iter().any(
            |change| matches!(change, Change::RunEnded { reason, .. } if !matches!(reason, RunEndReason::ContainerReplaced | RunEndReason::Removed)),
        );
        if run_open {
            self.done = false;
        } else if ended {
            self.done = true;
        }
    }

    /// A poll failed: the stage that this proves, if any.
    pub(super) fn lost(&mut self, power: Option<Power>, now: Timestamp) -> Option<Stage> {
        self.absent = 0;
        let explained = match power {
            Some(Power::Off | Power::Stopping) => Some(Stage::Off),
            Some(Power::Starting) => Some(Stage::Starting),
            Some(Power::On) if !self.answered => {
                self.lost = self.lost.saturating_add(1);
                self.unfail();
                let since = *self.on_since.get_or_insert(now);
                let boots = now.since(since) < BOOT_PATIENCE.as_secs_f64();
                return Some(if boots { Stage::Starting } else { Stage::Unreachable });
            }
            Some(Power::On) | None => None,
        };
        if explained.is_some() {
            self.answered = false;
            self.on_since = None;
            self.lost = 0;
            self.silent = 0;
            self.percent = 0.0;
            self.unfail();
            return explained;
        }
        self.lost = self.lost.saturating_add(1);
        self.failed = self.failed.saturating_add(1);
        let first = *self.first_failed.get_or_insert(now);
        let long = now.since(first) >= UNREACHABLE_AFTER.as_secs_f64();
        (long || self.failed >= UNREACHABLE_POLLS).then_some(Stage::Unreachable)
    }

    /// The VM answered.
    pub(super) fn answers(&mut self) {
        self.on_since = None;
        self.answered = true;
        self.lost = 0;
        self.unfail();
    }

    fn unfail(&mut self) {
        self.failed = 0;
        self.first_failed = None;
    }

    /// Takes in a full answer, before the logs are read. Says whether the container is another start than before.
    pub(super) fn observe(&mut self, seen: &Observation, evidence: &Evidence) -> bool {
        self.answers();
        let renewed = self.take_container(seen);
        for mark in &seen.boot {
            self.boot.take(mark);
        }
        let count = |counter: u32, holds: bool| if holds { counter.saturating_add(1) } else { 0 };
        self.absent = count(self.absent, *evidence == Evidence::Absent);
        let check_failed = *evidence == Evidence::Unknown && matches!(seen.process, Some(ProcessCheck::Failed(_)));
        self.failed_checks = count(self.failed_checks, check_failed);
        self.docker_away = count(self.docker_away, matches!(seen.container, ContainerSeen::DockerUnavailable(_)));
        self.silent = count(self.silent, seen.probe == ProbeReply::Silent);
        if renewed && self.silent > 0 {
            // The one that was ready is gone; there is nothing to wait for.
            self.silent = SILENT_POLLS;
        }
        renewed
    }

    fn take_container(&mut self, seen: &Observation) -> bool {
        let ContainerSeen::Found(container) = &seen.container else { return false };
        self.container_known = true;
        let now = instance(container);
        if self.instance.as_ref() == Some(&now) {
            return false;
        }
        let renewed = self.instance.replace(now).is_some();
        self.boot = Boot::default();
        self.busy = false;
        self.done = false;
        renewed
    }

    /// The stage of a VM that answered, after its logs were read.
    pub(super) fn settle(&mut self, seen: &Observation, evidence: &Evidence, run_open: bool) -> Stage {
        if matches!(evidence, Evidence::Present(_)) {
            self.busy = true;
            self.done = false;
            // What a busy server does not answer is not counted against it.
            self.silent = 0;
            return Stage::Running;
        }
        let docker_blinked =
            matches!(seen.container, ContainerSeen::DockerUnavailable(_)) && self.docker_away < SILENT_POLLS;
        if docker_blinked
            && self.container_known
            && let Some(stage) = self.stage.filter(|stage| (Stage::Downloading..=Stage::Complete).contains(stage))
        {
            return stage;
        }
        let gone = self.absent >= ABSENT_POLLS && (!run_open || self.absent >= PATIENCE_POLLS);
        if self.busy && gone {
            self.busy = false;
            self.done = !run_open;
        }
        let (stage, percent) = self.table(seen);
        let works = matches!(
            &seen.container,
            ContainerSeen::NotConfigured | ContainerSeen::Found(crate::model::Container { running: true, .. })
        );
        if self.busy && works {
            self.silent = 0;
            return Stage::Running;
        }
        let was_ready = matches!(self.stage, Some(Stage::Ready | Stage::Running | Stage::Complete));
        let blinked = works && was_ready && seen.probe == ProbeReply::Silent && self.silent < SILENT_POLLS;
        if stage != Stage::Ready && !blinked {
            self.done = false;
            self.percent = percent;
            return stage;
        }
        self.percent = 100.0;
        if self.done { Stage::Complete } else { Stage::Ready }
    }

    /// The boot table, first rule from the top, and its percent.
    fn table(&self, seen: &Observation) -> (Stage, f64) {
        const READY: (Stage, f64) = (Stage::Ready, 100.0);
        match (&seen.container, &seen.probe) {
            (ContainerSeen::NotConfigured, ProbeReply::Silent) => (Stage::Oobe, 80.0),
            (ContainerSeen::NotConfigured, _) => READY,
            (ContainerSeen::Found(container), probe) if container.running => match probe {
                ProbeReply::Answered(_) => READY,
                ProbeReply::NotConfigured if self.boot.started() => READY,
                _ => self.boot.stage(),
            },
            _ => (Stage::Starting, 0.0),
        }
    }
}
