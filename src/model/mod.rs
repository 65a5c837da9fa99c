//! Plain values that every room may speak of: VMs, stages, reports, what the tracker says, who is calling and from where.
//!
//! No I/O, no async, no clock. This room imports nothing of ours.

mod change;
mod client;
mod cursor;
mod demand;
mod fault;
mod log_tail;
mod principal;
mod report;
mod secret;
mod stage;
mod text;
mod time;
mod view;
mod vm;

pub use change::{Change, RunEndReason};
pub use client::{ClientKey, Peer};
pub use cursor::{Dialect, LogCursor};
pub use demand::Demand;
pub use fault::{ErrorCode, PollFailure, Whose};
pub use log_tail::{LogTail, LogTails, LogText};
pub use principal::{Basis, Principal, PrincipalKind, Scope, Scopes, VmGrant};
pub use report::{
    BootMark, Container, ContainerSeen, Dependency, FactKind, LogFact, LogPart, LogProblem, LogRead, MemoryUse,
    Observation, Power, ProbeReply, ProcessCheck, ProcessSeen, Report, StorageUse,
};
pub use secret::Secret;
pub use stage::Stage;
pub use text::disturbs_line;
pub use time::Timestamp;
pub use view::{ActiveError, ProgressView, TaskView, VmFacts, VmView};
pub use vm::{InvalidHost, InvalidName, InvalidUser, LOCAL_VM, RegisteredVm, RunId, SshHost, SshUser, VmId, VmName};
