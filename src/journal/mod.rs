//! The ordered log of durable events, whose unit is one poll's commit; it alone gives ids (SEMANTICS, section 4).
//!
//! Beside it runs the live bus, on which the latest view of each VM travels. The hub is fed by these two alone, so it
//! cannot tell one replica from many. May import `model`, `event`, `config` and `telemetry`.

mod embedded;
mod history;
mod jetstream;
mod live;
mod memory;
mod record;
mod store;

pub use embedded::{EmbeddedConfig, EmbeddedJournal};
pub use history::{MAX_RUNS_PAGE, RunPage, RunQuery, RunSummary};
pub use jetstream::{
    Engine, EngineError, Follower, ImportError, Imported, JetstreamConfig, JetstreamError, JetstreamJournal, Names,
    import,
};
pub use live::{LiveReceiver, LiveReport, LiveSender, live_bus};
pub use memory::{MemoryJournal, MemoryJournalConfig};
pub use store::{OpenError, ReadOnlyJournal, Retention};

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use tokio::sync::broadcast;

use crate::event::{DurableEvent, Epoch, Position};
use crate::model::{LogCursor, RunId, VmId, VmName};

/// The version of records written here. Readers accept this one and the next.
pub const RECORD_VERSION: u32 = 1;

/// The largest record, in bytes of its encoded form.
pub const MAX_RECORD_BYTES: usize = 256 * 1024;

/// How many commits a receiver of the tail may lag behind before it must read.
const TAIL_CAPACITY: usize = 1024;

/// One poll's durable events with the cursors and tracker state that they leave behind: one journal record.
///
/// Committed whole or not at all. `events` may be empty: a checkpoint.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Whose poll.
    pub vm_id: VmId,
    /// The lease under which it was polled; 0 where there are no leases.
    pub lease_rev: u64,
    /// Counts this VM's commits; with `lease_rev` it tells a retried commit from another one.
    pub n: u64,
    /// The sequence of this VM's commit before this one, 0 for its first. A journal that several processes write takes
    /// the commit only if that is still the VM's last; one that this process alone writes does not look at it.
    pub follows: u64,
    /// How far each log is read.
    pub cursors: Vec<LogCursor>,
    /// The tracker's state behind these events, as JSON.
    pub tracker_state: Box<str>,
    /// The poll's durable events in order.
    pub events: Vec<DurableEvent>,
}

/// The last commit of a VM and its place.
#[derive(Clone, Debug)]
pub struct LastCommit {
    /// Its sequence.
    pub seq: u64,
    /// What it says. Its events need not be there: they are read by position.
    pub commit: Arc<Commit>,
}

/// A durable event and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// Where it stands.
    pub position: Position,
    /// What it says.
    pub event: DurableEvent,
}

/// What was committed, as the tail hands it on.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The commit's sequence.
    pub seq: u64,
    /// Whose.
    pub vm_id: VmId,
    /// Its events with their places; empty for a checkpoint.
    pub events: Arc<[Arc<StoredEvent>]>,
}

/// From where to where the journal can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Everything after this position is kept; a client that stopped before it cannot be resumed.
    pub floor: Position,
    /// The newest event's position (or `floor`, if there is none).
    pub newest: Position,
    /// The newest commit that can be read here, with events or without.
    pub applied: u64,
    /// The last sequence that the engine is known to have given. Above `newest.seq` where the store read here still
    /// follows the engine: an id up to it is real, one beyond it was never given.
    pub announced: u64,
}

/// Some events in ascending order.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The events.
    pub events: Vec<Arc<StoredEvent>>,
    /// Whether there are more behind them within the bounds asked for.
    pub more: bool,
}

/// Why the journal did not do as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// The record is larger than [`MAX_RECORD_BYTES`]: a fault of the caller, not to be retried.
    #[error("a record of {0} bytes is over the limit of {MAX_RECORD_BYTES}")]
    TooLarge(usize),
    /// The store could not write or read now; the same call may succeed later.
    #[error("the journal's store failed: {0}")]
    Store(Arc<str>),
    /// The position asked for is no longer kept.
    #[error("the position is pruned")]
    Pruned,
    /// Another commit stands where this one was to go: whoever made it holds the VM, or made it earlier and lost the
    /// answer. To be gone on from, after a look at who holds the VM.
    #[error("another commit of this VM came first")]
    Superseded,
    /// The record was written by a program that is too new for this one: not to be retried.
    #[error("the record is of version {0}; this program reads versions up to {max}", max = RECORD_VERSION + 1)]
    Version(u32),
}

/// What every journal does. Commits of one VM are made one after the other by its one poller.
pub trait Journal: Send + Sync + 'static {
    /// The epoch that stands before every id.
    fn epoch(&self) -> &Epoch;

    /// The identity behind `vm`, made at first sight.
    fn vm_id<'a>(&'a self, vm: &'a VmName) -> BoxFuture<'a, Result<VmId, JournalError>>;

    /// Every VM that ever had an identity, by name.
    fn vms(&self) -> BoxFuture<'_, Result<Vec<(VmName, VmId)>, JournalError>>;

    /// Gives the identity behind `from` to the name `to`, and all that was told of it counts as told of `to` (the data of
    /// events stays as it was). `false`, and nothing is changed, if `from` is not known or `to` has an identity of its own.
    fn rename_vm<'a>(&'a self, from: &'a VmName, to: &'a VmName) -> BoxFuture<'a, Result<bool, JournalError>>;

    /// The last commit of a VM: where its next poll goes on.
    fn last_commit<'a>(&'a self, vm_id: &'a VmId) -> BoxFuture<'a, Result<Option<LastCommit>, JournalError>>;

    /// The last commit of a VM that is known here without asking anybody: what a replica that does not poll it can tell.
    fn last_known<'a>(&'a self, vm_id: &'a VmId) -> BoxFuture<'a, Result<Option<LastCommit>, JournalError>> {
        self.last_commit(vm_id)
    }

    /// Appends `commit`; when it returns it will not be lost, and the tail has it or is about to.
    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Committed, JournalError>>;

    /// Every commit from now on. A receiver that lags reads what it missed with [`Journal::read`].
    fn tail(&self) -> broadcast::Receiver<Committed>;

    /// From where to where [`Journal::read`] answers now.
    fn bounds(&self) -> Bounds;

    /// [`Bounds::announced`], asked of the engine itself: an id that another replica gave just now is at most that.
    fn announced(&self) -> BoxFuture<'_, u64> {
        ready(self.bounds().announced).boxed()
    }

    /// How many durable events stand after `after`, counting no further than `cap`.
    fn count_after(&self, after: Position, cap: usize) -> BoxFuture<'_, Result<usize, JournalError>>;

    /// Events after `after` up to and including `upto`, ascending, at most `limit`.
    fn read(&self, after: Position, upto: Position, limit: usize) -> BoxFuture<'_, Result<Page, JournalError>>;

    /// The `task_complete` events of `runs` after `after` up to and including `upto`, ascending, at most `limit`.
    fn read_runs<'a>(
        &'a self,
        runs: &'a [RunId],
        after: Position,
        upto: Position,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page, JournalError>>;

    /// Runs from the newest to the oldest.
    fn runs<'a>(&'a self, query: &'a RunQuery) -> BoxFuture<'a, Result<RunPage, JournalError>>;

    /// One run; `None` if it is not known, or no longer.
    fn run<'a>(&'a self, run: &'a RunId) -> BoxFuture<'a, Result<Option<RunSummary>, JournalError>>;
}

impl From<rusqlite::Error> for JournalError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.to_string().into())
    }
}
