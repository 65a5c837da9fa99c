//! What one poll saw, as typed values.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ErrorCode, LogCursor, LogText, PollFailure, Timestamp};

/// What one poll saw. A failed poll is a report too.
#[derive(Clone, Debug)]
pub struct Report {
    /// Counts the polls of this VM in this process, from 1.
    pub poll_no: u64,
    /// How long it took, from the request to the parsed reply.
    pub took: Duration,
    /// What the power source says; `None` without one, or when it was not asked because the VM answered.
    pub power: Option<Power>,
    /// Why the power source could not say, if it failed.
    pub power_failure: Option<PollFailure>,
    /// What the VM answered, or why it did not.
    pub outcome: Result<Observation, PollFailure>,
}

/// What a VM's power source says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Power {
    /// Running.
    On,
    /// Coming up.
    Starting,
    /// Going down; counts as off.
    Stopping,
    /// Stopped or deallocated.
    Off,
}

/// What a reachable VM answered.
#[derive(Clone, Debug)]
pub struct Observation {
    /// The VM's own clock, epoch seconds; `None` if its reply could not be read.
    pub clock: Option<f64>,
    /// The container.
    pub container: ContainerSeen,
    /// What the container's log said since the last poll, in its order. The tracker gathers them per container start.
    pub boot: Vec<BootMark>,
    /// The end of the container's new log text (at most 500 characters, escape sequences removed), empty if nothing new.
    pub container_log_tail: String,
    /// The benchmark process, sampled before the logs were read. `None` in a continuation that only read on in logs.
    pub process: Option<ProcessCheck>,
    /// The benchmark server's `/probe`.
    pub probe: ProbeReply,
    /// The container's `/storage`, if it could be asked.
    pub storage: Option<StorageUse>,
    /// The container's memory, if it could be asked.
    pub memory: Option<MemoryUse>,
    /// Whether the QEMU monitor's port (7200) is open; `None` if that could not be asked.
    pub qemu_monitor: Option<bool>,
    /// The benchmark logs, in the order of the configuration.
    pub logs: Vec<LogRead>,
    /// This is a continuation: only `logs` holds news, everything else is as in the report before.
    pub continuation: bool,
}

/// The container, as far as Docker could be asked.
#[derive(Clone, Debug, PartialEq)]
pub enum ContainerSeen {
    /// The VM is configured without one.
    NotConfigured,
    /// Docker does not answer, and what it said.
    DockerUnavailable(String),
    /// Docker answers; there is no such container.
    Missing,
    /// It exists.
    Found(Container),
}

/// A container as Docker describes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Container {
    /// Full id.
    pub id: String,
    /// Name without the leading slash.
    pub name: String,
    /// Image reference.
    pub image: String,
    /// Whether its state is `running`.
    pub running: bool,
    /// `running`, `exited`, `created`, `restarting`, `paused`, `dead`.
    pub state: String,
    /// Docker's StartedAt, as it printed it (RFC 3339). A change means a restart.
    pub started_at: String,
}

/// One thing that the container's log says about the boot. In the order of progress.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BootMark {
    /// A wget progress line: percent done and, if it said, seconds left.
    Downloading {
        /// 0 to 100.
        percent: f64,
        /// As wget estimates.
        seconds_left: Option<u64>,
    },
    /// `Extracting`.
    Extracting,
    /// `Adding ... image`.
    Configuring,
    /// `Building Windows` or `Creating a`.
    Building,
    /// `Booting Windows`.
    Booting,
    /// `Boot0004`: Windows waits for a login.
    LoginWait,
    /// `Windows started successfully`.
    WindowsStarted,
    /// A setup script (install.bat, setup.ps1, on-logon.ps1) was named.
    SetupScript(String),
    /// A dependency was named as being installed, or as installed.
    Dependency(Dependency),
}

/// One dependency of the benchmark inside Windows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    /// For example `Python`.
    pub name: String,
    /// Whether it is complete (else it is being installed).
    pub complete: bool,
}

/// Whether the benchmark process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessCheck {
    /// It could not be found out, and why. Never ends a run.
    Failed(String),
    /// None runs.
    Absent,
    /// The oldest one that runs.
    Present(ProcessSeen),
}

/// A benchmark process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessSeen {
    /// Its id, in the container's own counting.
    pub pid: u32,
    /// Its start in clock ticks after boot (`/proc/PID/stat`, field 22); 0 if unknown.
    pub start_ticks: u64,
}

/// What the benchmark server's `/probe` did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeReply {
    /// No address is configured.
    NotConfigured,
    /// It did not answer.
    Silent,
    /// It answered; the body's first 500 characters.
    Answered(String),
}

/// Disk use in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageUse {
    /// Bytes in use.
    pub used: u64,
    /// Bytes in all.
    pub total: u64,
}

/// Memory use in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryUse {
    /// Bytes in use.
    pub used: u64,
    /// The limit, if there is one.
    pub limit: Option<u64>,
}

/// What was read of one log file in one poll.
#[derive(Clone, Debug)]
pub struct LogRead {
    /// The path as configured; names the source.
    pub source: Arc<str>,
    /// The file's size when it was read, 0 if it is missing.
    pub size: u64,
    /// Whether the file stood there.
    pub exists: bool,
    /// Facts, cut so that each part begins or ends at most 32 tasks; each with the cursor that it leaves behind. Parts of a
    /// renamed older file come before parts of the file that took its place. Empty if nothing new was complete.
    pub parts: Vec<LogPart>,
    /// The unterminated rest at the end of the file, if any, as it would read if the line ended there. A run-end mark
    /// takes it; otherwise it is read again.
    pub rest: Option<LogPart>,
    /// Bytes beyond what this poll took: ask again at once.
    pub unread: u64,
    /// The lines themselves, as far as they were taken; `None` if none was.
    pub text: Option<LogText>,
    /// What is wrong with this log, each kind at most once.
    pub problems: Vec<LogProblem>,
}

/// Something wrong with a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogProblem {
    /// `log_gap`, `log_format` or `log_unreadable`.
    pub code: ErrorCode,
    /// For people.
    pub message: String,
}

/// Facts of consecutive lines of one generation, and the cursor behind the last of them.
#[derive(Clone, Debug, PartialEq)]
pub struct LogPart {
    /// In the order of the file.
    pub facts: Vec<LogFact>,
    /// The cursor after them. Its `generation` differs from the part before if a new file took the path.
    pub cursor: LogCursor,
}

/// One thing that one line says.
#[derive(Clone, Debug, PartialEq)]
pub struct LogFact {
    /// Offset of the line's first byte in its generation.
    pub offset: u64,
    /// Which worker wrote it (`MainProcess`, ...); empty if the line does not say.
    pub worker: Arc<str>,
    /// The time the line carries, as it stands there.
    pub log_time: Option<Arc<str>>,
    /// What it says.
    pub kind: FactKind,
}

/// What a line says. Texts are at most 256 characters, without control characters.
#[derive(Clone, Debug, PartialEq)]
pub enum FactKind {
    /// A task begins.
    TaskStart {
        /// Its number (N of `Task N/M`).
        number: Option<u64>,
        /// How many there are (M).
        total: Option<u64>,
        /// Its id, if this line has it.
        id: Option<String>,
        /// What the line calls it.
        title: Option<String>,
    },
    /// The id of the task that runs (`Running task: X`); begins one if none runs or another one did.
    TaskId(String),
    /// The example's id (waa); the task's id is `domain/X`, the domain being the running task's title.
    ExampleId(String),
    /// What the task that runs is to do.
    Instruction(String),
    /// A step within the task.
    Step {
        /// Its number.
        number: u64,
        /// What is done (`CLICK`).
        action: Option<String>,
    },
    /// How the task went. Once both an outcome and a score are known, the line that gave the second closes it.
    Outcome {
        /// Which task it is said of; `None`: the one that runs.
        task: Option<String>,
        /// Passed or failed.
        success: bool,
    },
    /// A score of the task that runs. Closes it once an outcome is known.
    Score(f64),
    /// The evaluator's number (`Result: 1.00`): score, and success if it is 1 or more. Closes nothing by itself.
    Verdict(f64),
    /// The dialect's terminal line of a task.
    TaskEnd {
        /// Which task; `None`: the one that runs.
        task: Option<String>,
        /// Passed or failed, if this line says it.
        success: Option<bool>,
    },
    /// How many tasks the run has (a progress bar's total).
    Total(u64),
    /// The model under test.
    Model(String),
    /// The run's mean score, printed at its end.
    AverageScore(f64),
}

impl Report {
    /// A report of a poll that failed.
    pub fn failed(poll_no: u64, took: Duration, failure: PollFailure) -> Self {
        Self { poll_no, took, power: None, power_failure: None, outcome: Err(failure) }
    }

    /// Whether logs hold more than this poll took.
    pub fn unread(&self) -> bool {
        self.outcome.as_ref().is_ok_and(|seen| seen.logs.iter().any(|log| log.unread > 0))
    }
}

impl Observation {
    /// An observation of a VM with nothing on it: the base from which readers and tests build.
    pub fn empty(clock: Option<Timestamp>) -> Self {
        Self {
            clock: clock.map(|at| at.0),
            container: ContainerSeen::NotConfigured,
            boot: Vec::new(),
            container_log_tail: String::new(),
            process: None,
            probe: ProbeReply::NotConfigured,
            storage: None,
            memory: None,
            qemu_monitor: None,
            logs: Vec::new(),
            continuation: false,
        }
    }
}
