//! The messages that clients get, and their encoding: [`model`](crate::model) values in, SSE bytes out.
//!
//! Pure: no I/O, no async, no clock. May import `model` alone.

mod data;
mod durable;
mod frame;
mod id;
#[cfg(test)]
mod tests;

pub use data::{ResetReason, connected, error, heartbeat, progress, reset, status};
pub use durable::durable;
pub use frame::{frame, retry_frame};
pub use id::{Epoch, EventId, InvalidId, MAX_ID_BYTES, Position};

use crate::model::{RunId, VmId, VmName};

/// The name of an event, as in the `event:` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// First on every stream.
    Connected,
    /// Where a VM is. Durable when its stage changed, else live.
    Status,
    /// How far a run is. Live.
    Progress,
    /// A task closed. Durable.
    TaskComplete,
    /// A run opened. Durable.
    RunStarted,
    /// A run ended. Durable.
    RunComplete,
    /// The stream lives.
    Heartbeat,
    /// Something is wrong (or, with `resolved`, right again). Live.
    Error,
    /// What follows is a full snapshot.
    Reset,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Connected,
        Self::Status,
        Self::Progress,
        Self::TaskComplete,
        Self::RunStarted,
        Self::RunComplete,
        Self::Heartbeat,
        Self::Error,
        Self::Reset,
    ];

    /// As on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Status => "status",
            Self::Progress => "progress",
            Self::TaskComplete => "task_complete",
            Self::RunStarted => "run_started",
            Self::RunComplete => "run_complete",
            Self::Heartbeat => "heartbeat",
            Self::Error => "error",
            Self::Reset => "reset",
        }
    }
}

/// An event that must never be lost or doubled, its data encoded once. The journal gives it an id.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DurableEvent {
    /// `status`, `run_started`, `task_complete` or `run_complete`.
    pub kind: EventKind,
    /// Whom it is about.
    pub vm: VmName,
    /// The same, for keys.
    pub vm_id: VmId,
    /// The run it belongs to; `None` for a status.
    pub run: Option<RunId>,
    /// One line of JSON: the `data:` of its frame.
    pub data: Box<str>,
}
