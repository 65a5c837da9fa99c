//! What the tracker says: things that must never be lost or doubled. `fleet` turns them into durable events.

use serde::{Deserialize, Serialize};

use super::{RunId, Stage};

/// One durable thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Change {
    /// The VM reached another stage.
    Stage {
        /// Where it was; `None` at first sight.
        from: Option<Stage>,
        /// Where it is.
        to: Stage,
    },
    /// A run opened.
    RunStarted {
        /// Which.
        run: RunId,
        /// The log that tells of it.
        source: String,
        /// How many tasks it has, if known.
        total_tasks: Option<u64>,
        /// It was already over when gatewatch first saw the log: history, not news.
        historic: bool,
        /// The VM's own time of it.
        log_time: Option<String>,
    },
    /// A task closed.
    TaskCompleted {
        /// Its run.
        run: RunId,
        /// (run, source, offset of the line that closed it) as one opaque text; unique along one lineage.
        key: String,
        /// The task's id.
        task_id: String,
        /// Its number in the run, if the log counts.
        number: Option<u64>,
        /// The worker that ran it, if the log says.
        worker: Option<String>,
        /// `None` if the log does not say.
        success: Option<bool>,
        /// `None` if the log does not say.
        score: Option<f64>,
        /// Steps it took, as far as the log counts them.
        steps: Option<u64>,
        /// Seconds between the sight of its start and of its end; `None` if both were read in one poll.
        duration: Option<f64>,
        /// As in `RunStarted`.
        historic: bool,
        /// The VM's own time of the closing line.
        log_time: Option<String>,
    },
    /// A run ended.
    RunEnded {
        /// Which.
        run: RunId,
        /// The log that told of it.
        source: String,
        /// Tasks closed in it.
        completed: u64,
        /// Of these, passed.
        passed: u64,
        /// Failed.
        failed: u64,
        /// Those whose log does not say.
        unknown: u64,
        /// Why it is over.
        reason: RunEndReason,
        /// As in `RunStarted`.
        historic: bool,
        /// The VM's own time of the line that ended it, if one did.
        log_time: Option<String>,
    },
}

/// Why a run is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunEndReason {
    /// No benchmark process in two consecutive polls.
    ProcessEnded,
    /// Another process took its place.
    ProcessReplaced,
    /// The container was restarted or replaced.
    ContainerReplaced,
    /// A task number that does not increase opened the next run.
    NextRun,
    /// The log was truncated or replaced, and its first task opened the next run.
    LogReplaced,
    /// The VM was taken out of the configuration.
    Removed,
}
