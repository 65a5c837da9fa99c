//! A journal's file, opened to look at what it holds while another process may write it.

use std::path::Path;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use tokio::sync::broadcast;

use super::{Head, OpenError, Pool, head, schema};
use crate::event::{Epoch, Position};
use crate::journal::{
    Bounds, Commit, Committed, Journal, JournalError, LastCommit, Page, RunPage, RunQuery, RunSummary,
};
use crate::model::{RunId, VmId, VmName};

/// A journal as it was when it was opened; it takes no commit, and its tail is silent. Runs and events that came since
/// are read all the same.
#[derive(Debug)]
pub struct ReadOnlyJournal {
    pool: Pool,
    epoch: Epoch,
    head: Head,
    tail: broadcast::Sender<Committed>,
}

impl ReadOnlyJournal {
    /// Opens the file at `path`, whoever else has it open.
    ///
    /// # Errors
    /// If there is none, or it is none of this program's.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let connection = schema::open_to_look(path)?;
        let at = |error: rusqlite::Error| OpenError::Io(path.to_owned(), error.to_string());
        let head = head(&connection).map_err(at)?;
        let epoch = head.epoch.clone().ok_or_else(|| OpenError::Missing(path.to_owned()))?;
        Ok(Self { pool: Pool::open(path.to_owned())?, epoch, head, tail: broadcast::Sender::new(1) })
    }
}

fn refused<'a, T: Send + 'a>() -> BoxFuture<'a, Result<T, JournalError>> {
    ready(Err(JournalError::Store("it was opened for reading only".into()))).boxed()
}

impl Journal for ReadOnlyJournal {
    fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    fn vm_id<'a>(&'a self, _: &'a VmName) -> BoxFuture<'a, Result<VmId, JournalError>> {
        refused()
    }

    fn vms(&self) -> BoxFuture<'_, Result<Vec<(VmName, VmId)>, JournalError>> {
        self.pool.vms()
    }

    fn rename_vm<'a>(&'a self, _: &'a VmName, _: &'a VmName) -> BoxFuture<'a, Result<bool, JournalError>> {
        refused()
    }

    fn last_commit<'a>(&'a self, vm_id: &'a VmId) -> BoxFuture<'a, Result<Option<LastCommit>, JournalError>> {
        self.pool.last_commit(vm_id)
    }

    fn commit(&self, _: Commit) -> BoxFuture<'_, Result<Committed, JournalError>> {
        refused()
    }

    fn tail(&self) -> broadcast::Receiver<Committed> {
        self.tail.subscribe()
    }

    fn bounds(&self) -> Bounds {
        let Head { floor, newest, seq, .. } = self.head;
        Bounds { floor, newest, applied: seq, announced: newest.seq }
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
