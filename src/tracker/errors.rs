//! The errors in force: when each is raised, and what clears it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{
    ActiveError, ContainerSeen, ErrorCode, LogRead, Observation, PollFailure, Power, ProcessCheck, Timestamp,
};

/// How long a gap or a bad line in a log stays in force after it was last seen.
pub(super) const LOG_ERROR_LASTS: Duration = Duration::from_secs(600);

/// Failed polls in a row (or failed process checks in a row) from which on the failure is an error in force.
const IN_A_ROW: u32 = 2;

/// The longest message kept, in characters.
const MAX_MESSAGE: usize = 500;

/// Errors in force, at most one per code, in the order of the codes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Errors(Vec<Held>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Held {
    code: ErrorCode,
    message: String,
    /// Raised by a failed poll: the next answer clears it, whatever its code.
    #[serde(default)]
    lost: bool,
    /// When it ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
}

impl Errors {
    /// At the head of every report.
    pub(super) fn begin(&mut self, power_failure: Option<&PollFailure>, now: Timestamp) {
        self.0.retain(|held| held.until.is_none_or(|until| now < until));
        self.state(ErrorCode::PowerFailed, power_failure.map(|failure| failure.message.as_str()));
    }

    /// A poll failed, the `lost_polls`-th in a row that no power source explains.
    pub(super) fn lost(&mut self, failure: &PollFailure, power: Option<Power>, lost_polls: u32) {
        self.0.retain(|held| !held.lost);
        match power {
            // What is off cannot answer; nothing that was wrong on it is in force.
            Some(Power::Off | Power::Stopping) => self.0.retain(|held| held.code == ErrorCode::PowerFailed),
            Some(Power::Starting) => {}
            Some(Power::On) | None => {
                // These need a person; waiting changes nothing.
                let at_once = matches!(failure.code, ErrorCode::HostKey | ErrorCode::SshAuth | ErrorCode::SshSetup);
                if at_once || lost_polls >= IN_A_ROW {
                    self.put(Held { code: failure.code, message: cut(&failure.message), lost: true, until: None });
                }
            }
        }
    }

    /// A full poll was answered. `container_known`: the container had been seen before. `failed_checks`: how many
    /// process checks in a row failed, this one included.
    pub(super) fn observe(&mut self, seen: &Observation, container_known: bool, failed_checks: u32) {
        let (mut unavailable, mut missing, mut stopped) = (None, None, None);
        match &seen.container {
            ContainerSeen::DockerUnavailable(why) if container_known => unavailable = Some(why.clone()),
            ContainerSeen::Missing if container_known => missing = Some("the container is gone".to_owned()),
            ContainerSeen::Found(it) if !it.running && !matches!(it.state.as_str(), "created" | "restarting") => {
                stopped = Some(format!("the container {} is {}", it.name, it.state));
            }
            _ => {}
        }
        self.state(ErrorCode::DockerUnavailable, unavailable.as_deref());
        self.state(ErrorCode::ContainerMissing, missing.as_deref());
        self.state(ErrorCode::ContainerStopped, stopped.as_deref());
        match &seen.process {
            Some(ProcessCheck::Failed(why)) if failed_checks >= IN_A_ROW => {
                self.state(ErrorCode::ProcessCheck, Some(why));
            }
            _ if failed_checks == 0 => self.state(ErrorCode::ProcessCheck, None),
            _ => {}
        }
    }

    /// The VM answered.
    pub(super) fn answers(&mut self) {
        self.0.retain(|held| !held.lost);
    }

    /// What is wrong with one log, apart from being unreadable.
    pub(super) fn log_problems(&mut self, log: &LogRead, now: Timestamp) {
        for problem in log.problems.iter().filter(|problem| problem.code != ErrorCode::LogUnreadable) {
            self.raise_until(problem.code, &problem.message, now.plus(LOG_ERROR_LASTS));
        }
    }

    /// Whether some log cannot be read now, and why.
    pub(super) fn log_unreadable(&mut self, why: Option<&str>) {
        self.state(ErrorCode::LogUnreadable, why);
    }

    /// Raises `code` until a moment.
    pub(super) fn raise_until(&mut self, code: ErrorCode, message: &str, until: Timestamp) {
        self.put(Held { code, message: cut(message), lost: false, until: Some(until) });
    }

    pub(super) fn view(&self) -> Vec<ActiveError> {
        self.0.iter().map(|held| ActiveError { code: held.code, message: held.message.clone() }).collect()
    }

    /// Raises or clears what lasts as long as its condition.
    fn state(&mut self, code: ErrorCode, message: Option<&str>) {
        match message {
            Some(message) => self.put(Held { code, message: cut(message), lost: false, until: None }),
            None => self.0.retain(|held| held.code != code),
        }
    }

    fn put(&mut self, held: Held) {
        match self.0.binary_search_by_key(&held.code, |held| held.code) {
            Ok(at) => self.0[at] = held,
            Err(at) => self.0.insert(at, held),
        }
    }
}

fn cut(message: &str) -> String {
    message.chars().take(MAX_MESSAGE).collect()
}
