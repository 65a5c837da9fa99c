//! The `data:` of each event: one line of JSON.
//!
//! The order of fields is part of the look of the stream: those of the server this replaces come first and as it sent
//! them, then what gatewatch adds. So these are structs, not maps.

use serde::Serialize;

use crate::model::{
    Dependency, ErrorCode, MemoryUse, Power, ProcessSeen, ProgressView, RunId, Stage, StorageUse, Timestamp, VmFacts,
    VmName, VmView, Whose,
};

/// The longest `message` of an `error` event, in characters.
const MAX_MESSAGE_CHARS: usize = 500;

/// Why a stream begins anew with a full snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResetReason {
    /// The id is of another journal, or of this one before it was restored.
    UnknownEpoch,
    /// What followed the id is no longer kept.
    Pruned,
    /// The id is not one that a journal gives.
    InvalidId,
    /// More events were missed than are replayed one by one.
    TooManyMissed,
    /// The id is beyond everything that the journal holds.
    Ahead,
    /// The reader was so slow that not even the journal could bridge what it missed.
    Lagged,
    /// The credential now allows other VMs than the stream began with.
    GrantsChanged,
}

impl ResetReason {
    /// Every reason.
    pub const ALL: [Self; 7] = [
        Self::UnknownEpoch,
        Self::Pruned,
        Self::InvalidId,
        Self::TooManyMissed,
        Self::Ahead,
        Self::Lagged,
        Self::GrantsChanged,
    ];

    /// As on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownEpoch => "unknown_epoch",
            Self::Pruned => "pruned",
            Self::InvalidId => "invalid_id",
            Self::TooManyMissed => "too_many_missed",
            Self::Ahead => "ahead",
            Self::Lagged => "lagged",
            Self::GrantsChanged => "grants_changed",
        }
    }
}

/// `value` as one line of JSON.
pub(super) fn line(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("structs whose fields are plain values have no key that is not a string")
}

/// First on every stream: the interval in force (seconds, 1 to 60), this replica, and the hash of what it may see.
pub fn connected(now: Timestamp, interval: u8, replica: &str, view: &str) -> String {
    #[derive(Serialize)]
    struct Connected<'a> {
        timestamp: Timestamp,
        interval: u8,
        version: &'static str,
        replica: &'a str,
        view: &'a str,
    }
    line(&Connected { timestamp: now, interval, version: env!("CARGO_PKG_VERSION"), replica, view })
}

/// The stream lives; `stale` if any VM of it is.
pub fn heartbeat(now: Timestamp, stale: bool) -> String {
    #[derive(Serialize)]
    struct Heartbeat {
        timestamp: Timestamp,
        stale: bool,
    }
    line(&Heartbeat { timestamp: now, stale })
}

/// What follows is a full snapshot; the client drops what it had.
pub fn reset(reason: ResetReason) -> String {
    #[derive(Serialize)]
    struct Reset {
        reason: &'static str,
    }
    line(&Reset { reason: reason.as_str() })
}

/// Where a VM is now, from its latest view.
pub fn status(vm: &VmName, facts: &VmFacts, view: &VmView, stale: bool, now: Timestamp) -> String {
    line(&Status::new(vm, facts, view, stale, now))
}

/// How far one run is.
pub fn progress(vm: &VmName, progress: &ProgressView, now: Timestamp) -> String {
    let task = progress.current.as_ref();
    line(&Progress {
        tasks_completed: progress.task_number,
        total_tasks: progress.total_tasks,
        current_task: task.map(|task| task.task_id.as_str()),
        current_step: task.map_or(0, |task| task.step),
        vm,
        run: &progress.run,
        source: &progress.source,
        completed: progress.completed,
        passed: progress.passed,
        failed: progress.failed,
        unknown: progress.unknown,
        action: task.and_then(|task| task.action.as_deref()),
        instruction: task.and_then(|task| task.instruction.as_deref()),
        domain: task.and_then(|task| task.domain.as_deref()),
        open: progress.open,
        started_at: progress.started_at,
        ended_at: progress.ended_at,
        model: progress.model.as_deref(),
        average_score: progress.average_score,
        historic: progress.historic,
        timestamp: now,
    })
}

/// Something is wrong with `vm` (with the stream itself if `None`), or, when `resolved`, right again.
///
/// `message` is cut at 500 characters.
pub fn error(vm: Option<&VmName>, code: ErrorCode, message: &str, resolved: bool, now: Timestamp) -> String {
    #[derive(Serialize)]
    struct Error<'a> {
        message: &'a str,
        code: ErrorCode,
        retryable: bool,
        whose: Whose,
        #[serde(skip_serializing_if = "Option::is_none")]
        vm: Option<&'a VmName>,
        resolved: bool,
        timestamp: Timestamp,
    }
    let end = message.char_indices().nth(MAX_MESSAGE_CHARS).map_or(message.len(), |(at, _)| at);
    line(&Error {
        message: &message[..end],
        code,
        retryable: code.retryable(),
        whose: code.whose(),
        vm,
        resolved,
        timestamp: now,
    })
}

/// `status` on the wire; the durable one names `from` too.
#[derive(Serialize)]
pub(super) struct Status<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    connected: bool,
    phase: &'static str,
    waa_ready: bool,
    probe: Probe<'a>,
    vm: &'a VmName,
    stage: Stage,
    stage_since: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<Stage>,
    reachable: bool,
    stale: bool,
    percent: f64,
    download_seconds_left: Option<u64>,
    power: Option<Power>,
    container: Option<ContainerData<'a>>,
    setup_script: Option<&'a str>,
    dependencies: &'a [Dependency],
    process: Option<&'a ProcessSeen>,
    storage: Option<StorageUse>,
    memory: Option<MemoryUse>,
    qemu_monitor: Option<bool>,
    clock_skew: Option<f64>,
    errors: usize,
    reported_at: Timestamp,
    answered_at: Option<Timestamp>,
    timestamp: Timestamp,
}

#[derive(Serialize)]
struct Probe<'a> {
    status: &'static str,
    vnc_url: Option<&'a str>,
}

#[derive(Serialize)]
struct ContainerData<'a> {
    name: &'a str,
    image: &'a str,
    state: &'a str,
    running: bool,
    started_at: &'a str,
}

impl<'a> Status<'a> {
    pub(super) fn new(vm: &'a VmName, facts: &'a VmFacts, view: &'a VmView, stale: bool, now: Timestamp) -> Self {
        let container = view.container.as_ref().map(|seen| ContainerData {
            name: &seen.name,
            image: &seen.image,
            state: &seen.state,
            running: seen.running,
            started_at: &seen.started_at,
        });
        Self {
            kind: "vm_status",
            connected: view.connected,
            phase: view.stage.phase(),
            waa_ready: view.waa_ready,
            probe: Probe {
                status: if view.waa_ready { "ok" } else { "not responding" },
                vnc_url: facts.vnc_url.as_deref(),
            },
            vm,
            stage: view.stage,
            stage_since: view.stage_since,
            from: None,
            reachable: view.reachable,
            stale,
            percent: view.boot_percent,
            download_seconds_left: view.download_seconds_left,
            power: view.power,
            container,
            setup_script: view.setup_script.as_deref(),
            dependencies: &view.dependencies,
            process: view.process.as_ref(),
            storage: view.storage,
            memory: view.memory,
            qemu_monitor: view.qemu_monitor,
            clock_skew: view.clock_skew,
            errors: view.errors.len(),
            reported_at: view.reported_at,
            answered_at: view.answered_at,
            timestamp: now,
        }
    }

    /// The same with the stage that a change reached: one poll may pass through several, the view knows the last.
    pub(super) fn reached(self, from: Option<Stage>, to: Stage) -> Self {
        let since = if to == self.stage { self.stage_since } else { self.timestamp };
        Self { stage: to, phase: to.phase(), stage_since: since, from, ..self }
    }
}

#[derive(Serialize)]
struct Progress<'a> {
    tasks_completed: u64,
    total_tasks: u64,
    current_task: Option<&'a str>,
    current_step: u64,
    vm: &'a VmName,
    run: &'a RunId,
    source: &'a str,
    completed: u64,
    passed: u64,
    failed: u64,
    unknown: u64,
    action: Option<&'a str>,
    instruction: Option<&'a str>,
    domain: Option<&'a str>,
    open: bool,
    started_at: Timestamp,
    ended_at: Option<Timestamp>,
    model: Option<&'a str>,
    average_score: Option<f64>,
    historic: bool,
    timestamp: Timestamp,
}
