//! The journal of one process: a SQLite file that one writer's thread appends to.
//!
//! Commits that wait together go into one transaction and onto the disk together; each is still whole or not there. What
//! the tail sends is sent after that, by the same thread, so the tail's order is the order of sequences and whoever heard
//! of a commit can read it.

mod links;
mod mark;
#[cfg(test)]
mod tests;
mod writer;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use self::links::behind_links;
use self::writer::{Request, Writer};
use super::store::{self, FileKind, Head, Lock, OpenError, Pool, Retention};
use super::{
    Bounds, Commit, Committed, Journal, JournalError, LastCommit, Page, RunPage, RunQuery, RunSummary, TAIL_CAPACITY,
    record,
};
use crate::event::{Epoch, Position};
use crate::model::{RunId, Timestamp, VmId, VmName};
use crate::telemetry::JournalMetrics;

/// Requests that may wait for the writer; a poller that comes later waits for its turn.
const WAITING: usize = 256;

/// Where the journal is, and how much of it is kept.
#[derive(Clone, Debug)]
pub struct EmbeddedConfig {
    /// The SQLite file. Beside it stand its `-wal` and `-shm`, `.lock` and `.mark`. Of a link: the
    /// file that it leads to.
    pub path: PathBuf,
    /// What is kept.
    pub retention: Retention,
}

/// A journal in a SQLite file that no other process writes.
#[derive(Debug)]
pub struct EmbeddedJournal {
    epoch: Epoch,
    requests: mpsc::Sender<Request>,
    pool: Pool,
    tail: broadcast::Sender<Committed>,
    bounds: Arc<Mutex<Bounds>>,
    failing: watch::Receiver<Option<Arc<str>>>,
}

impl EmbeddedJournal {
    /// Opens the journal, makes it if there is none, and starts its writer. Blocks on the disk.
    ///
    /// # Errors
    /// If another process has it, or it is damaged, of a newer version or no journal at all: it is as it was then.
    pub fn open(config: EmbeddedConfig, metrics: JournalMetrics, now: Timestamp) -> Result<Self, OpenError> {
        let EmbeddedConfig { path, retention } = config;
        let path = behind_links(&path)?;
        let lock = Lock::take(&path)?;
        let connection = store::open(&path, FileKind::Journal)?;
        let io = |error: &dyn std::fmt::Display| OpenError::Io(path.clone(), error.to_string());
        let (head, mark) = mark::settle(&path, &connection).map_err(|error| error.of(&path))?;
        let pool = Pool::open(path.clone())?;
        let Head { epoch, seq, floor, newest, .. } = head;
        let epoch = epoch.ok_or_else(|| io(&"it has no epoch"))?;
        tracing::info!(path = %path.display(), epoch = epoch.as_str(), seq, "the journal is open");
        let bounds = Arc::new(Mutex::new(Bounds { floor, newest, applied: seq, announced: newest.seq }));
        let (requests, waiting) = mpsc::channel(WAITING);
        let tail = broadcast::Sender::new(TAIL_CAPACITY);
        let (failed, failing) = watch::channel(mark.full.then(|| "database or disk is full".into()));
        metrics.failing.set(i64::from(mark.full));
        let writer = Writer {
            path: path.clone(),
            epoch: epoch.clone(),
            connection,
            mark,
            retention,
            now,
            tail: tail.clone(),
            bounds: Arc::clone(&bounds),
            failing: failed,
            metrics,
            pruned: None,
            unsaved: 0,
            _lock: lock,
        };
        let name = "journal".to_owned();
        let started = std::thread::Builder::new().name(name).spawn(move || writer.run(waiting));
        started.map_err(|error| io(&error))?;
        Ok(Self { epoch, requests, pool, tail, bounds, failing })
    }

    /// Why the journal takes no commits now; `None` while it does.
    pub fn failing(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.failing.clone()
    }

    /// How many requests wait for the writer.
    pub fn waiting(&self) -> usize {
        self.requests.max_capacity() - self.requests.capacity()
    }

    /// What has to be done from time to time, to be called every second or so: removes what is no longer kept, a step at
    /// a time, and finds out whether a store that failed works again.
    pub async fn maintain(&self, now: Timestamp) -> Result<(), JournalError> {
        while self.ask(|reply| Request::Maintain { now, reply }).await? {}
        Ok(())
    }

    /// Ends the writer once it has done what waits. What is asked of it later fails.
    pub async fn close(&self) -> Result<(), JournalError> {
        self.ask(|reply| Request::Close { reply }).await
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, JournalError>>) -> Request,
    ) -> Result<T, JournalError> {
        let closed = || JournalError::Store("the journal is closed".into());
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }
}

impl Journal for EmbeddedJournal {
    fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    fn vm_id<'a>(&'a self, vm: &'a VmName) -> BoxFuture<'a, Result<VmId, JournalError>> {
        self.ask(|reply| Request::VmId { vm: vm.clone(), fresh: record::new_vm_id(), reply }).boxed()
    }

    fn vms(&self) -> BoxFuture<'_, Result<Vec<(VmName, VmId)>, JournalError>> {
        self.pool.vms()
    }

    fn rename_vm<'a>(&'a self, from: &'a VmName, to: &'a VmName) -> BoxFuture<'a, Result<bool, JournalError>> {
        self.ask(|reply| Request::Rename { from: from.clone(), to: to.clone(), reply }).boxed()
    }

    fn last_commit<'a>(&'a self, vm_id: &'a VmId) -> BoxFuture<'a, Result<Option<LastCommit>, JournalError>> {
        // Asked of the writer, behind any commit that its poller did not wait for.
        self.ask(|reply| Request::LastCommit { vm_id: vm_id.clone(), reply }).boxed()
    }

    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Committed, JournalError>> {
        async move {
            record::check_size(&commit)?;
            self.ask(|reply| Request::Commit { commit: Box::new(commit), reply }).await
        }
        .boxed()
    }

    fn tail(&self) -> broadcast::Receiver<Committed> {
        self.tail.subscribe()
    }

    fn bounds(&self) -> Bounds {
        // Nothing is done under the lock that could leave it half changed.
        *self.bounds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count_after(&self, after: Position, cap: usize) -> BoxFuture<'_, Result<usize, JournalError>> {
        self.pool.count_after(after, cap)
    }

    fn read(&self, after: Position, upto: Position, limit: usize) -> BoxFuture<'_, Result<Page, JournalError>> {
        self.pool.read(after, upto, limit)
    }

    fn read_runs<'a>(
        &'a self,
        runs: &'a [RunId],
        after: Position,
        upto: Position,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page, JournalError>> {
        self.pool.read_runs(runs, after, upto, limit)
    }

    fn runs<'a>(&'a self, query: &'a RunQuery) -> BoxFuture<'a, Result<RunPage, JournalError>> {
        self.pool.runs(query)
    }

    fn run<'a>(&'a self, run: &'a RunId) -> BoxFuture<'a, Result<Option<RunSummary>, JournalError>> {
        self.pool.run_of(run)
    }
}
