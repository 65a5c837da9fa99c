//! What is known of one VM now: the source of every live event and of the polling routes.

use serde::{Deserialize, Serialize};

use super::{Container, Dependency, ErrorCode, MemoryUse, Power, ProcessSeen, RunId, Stage, StorageUse, Timestamp};

/// What the configuration says of one VM, as far as clients may know it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmFacts {
    /// Address that ssh dials; empty for `local` and `simulated`.
    pub host: String,
    /// Remote user; empty for `local` and `simulated`.
    pub user: String,
    /// Name of the container; empty if the VM has none.
    pub container: String,
    /// Address of the benchmark server as seen from the VM (host part of `probe_url`); empty without one.
    pub internal_ip: String,
    /// Port of the benchmark server; 0 without one.
    pub waa_port: u16,
    /// Address of the VNC page, if configured.
    pub vnc_url: Option<String>,
}

/// What is known of one VM after a report. Each report replaces it whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VmView {
    /// Where it is.
    pub stage: Stage,
    /// Since when, as observed.
    pub stage_since: Timestamp,
    /// The latest stages and when each was reached, the present one last; at most 24.
    #[serde(default)]
    pub stages: Vec<(Stage, Timestamp)>,
    /// When the last report (failed or not) was made.
    pub reported_at: Timestamp,
    /// When the VM last answered.
    pub answered_at: Option<Timestamp>,
    /// Whether the VM answered the last poll.
    pub reachable: bool,
    /// Whether the container runs (without one configured: whether the VM answers). `connected` on the wire.
    pub connected: bool,
    /// Whether the benchmark server answered the last poll. `waa_ready` on the wire.
    pub waa_ready: bool,
    /// The body of its answer, cut.
    pub probe_reply: Option<String>,
    /// What the power source says.
    pub power: Option<Power>,
    /// The VM's own clock minus ours, seconds.
    pub clock_skew: Option<f64>,
    /// Progress towards ready, 0 to 100: the percent column of the boot table.
    pub boot_percent: f64,
    /// Seconds that the download still needs, as wget says.
    pub download_seconds_left: Option<u64>,
    /// The container.
    pub container: Option<Container>,
    /// The container's recent log text, at most 500 characters.
    pub container_log_tail: String,
    /// The setup script last named by the container's log.
    pub setup_script: Option<String>,
    /// Dependencies that the log named.
    pub dependencies: Vec<Dependency>,
    /// The benchmark process.
    pub process: Option<ProcessSeen>,
    /// Disk.
    pub storage: Option<StorageUse>,
    /// Memory.
    pub memory: Option<MemoryUse>,
    /// QEMU monitor port open.
    pub qemu_monitor: Option<bool>,
    /// One per log that has told of a run, in the order of the configuration.
    pub progress: Vec<ProgressView>,
    /// Errors in force, at most one per code.
    pub errors: Vec<ActiveError>,
}

/// An error in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveError {
    /// Which of the closed list.
    pub code: ErrorCode,
    /// For people.
    pub message: String,
}

/// How far one run is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProgressView {
    /// The log that tells of it.
    pub source: String,
    /// Which run.
    pub run: RunId,
    /// Whether it is still open.
    pub open: bool,
    /// When its start was observed.
    pub started_at: Timestamp,
    /// When its end was observed.
    pub ended_at: Option<Timestamp>,
    /// N of the last `Task N/M`, or the count of tasks begun where the log does not number them: `tasks_completed` on the wire.
    pub task_number: u64,
    /// How many tasks it has; 0 if unknown.
    pub total_tasks: u64,
    /// Tasks closed.
    pub completed: u64,
    /// Of these, passed.
    pub passed: u64,
    /// Failed.
    pub failed: u64,
    /// Not said.
    pub unknown: u64,
    /// The task that runs (with several workers: the one begun last), or the last one that ran.
    pub current: Option<TaskView>,
    /// The model under test.
    pub model: Option<String>,
    /// The mean score the log printed at its end.
    pub average_score: Option<f64>,
    /// It was already over when first seen.
    pub historic: bool,
}

/// A task that runs, or the last one that ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskView {
    /// Its id.
    pub task_id: String,
    /// What it is to do.
    pub instruction: Option<String>,
    /// The part of its id before the first `/`, if there is one.
    pub domain: Option<String>,
    /// The last step's number; 0 before the first.
    pub step: u64,
    /// The last step's action.
    pub action: Option<String>,
    /// When its start was observed.
    pub started_at: Timestamp,
    /// Whether it is closed.
    pub closed: bool,
    /// How it went, as far as the log says.
    pub success: Option<bool>,
    /// Its score, as far as the log says.
    pub score: Option<f64>,
}
