//! Connections to read with, off the runtime's threads.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::OpenError;
use super::schema::open_to_read;
use crate::event::Position;
use crate::journal::{JournalError, LastCommit, Page, RunPage, RunQuery, RunSummary};
use crate::model::{RunId, VmId, VmName};

/// What a read answers, in time.
type Answer<'a, T> = BoxFuture<'a, Result<T, JournalError>>;

/// Reads at work at once: the hub's 8, and room for people's queries.
const READERS: usize = 12;

/// A few connections to one file, opened when they are first needed.
#[derive(Debug)]
pub(in crate::journal) struct Pool {
    path: PathBuf,
    idle: Arc<Mutex<Vec<Connection>>>,
    places: Arc<Semaphore>,
}

impl Pool {
    /// A pool for the file at `path`, which must be there.
    pub(in crate::journal) fn open(path: PathBuf) -> Result<Self, OpenError> {
        let first = open_to_read(&path)?;
        Ok(Self { path, idle: Arc::new(Mutex::new(vec![first])), places: Arc::new(Semaphore::new(READERS)) })
    }

    /// Runs `read` on a thread that may block. It goes on if the caller gives up, and gives its place back by itself.
    pub(in crate::journal) async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut Connection) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        let store = |error: &dyn std::fmt::Display| JournalError::Store(error.to_string().into());
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|closed| store(&closed))?;
        let (path, idle) = (self.path.clone(), Arc::clone(&self.idle));
        let done = tokio::task::spawn_blocking(move || {
            let kept = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut connection = match kept {
                Some(connection) => connection,
                None => open_to_read(&path).map_err(|error| JournalError::Store(error.to_string().into()))?,
            };
            let answer = read(&mut connection);
            // One that failed may be at fault itself; the next read opens another.
            if !matches!(answer, Err(JournalError::Store(_))) {
                idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            }
            drop(place);
            answer
        });
        done.await.map_err(|gone| store(&gone))?
    }
}

/// The questions of the journal's trait that the file alone can answer, each as the trait has it.
impl Pool {
    pub(in crate::journal) fn vms(&self) -> Answer<'_, Vec<(VmName, VmId)>> {
        self.run(|connection| super::vms(connection)).boxed()
    }

    pub(in crate::journal) fn last_commit(&self, vm_id: &VmId) -> Answer<'_, Option<LastCommit>> {
        let vm_id = vm_id.clone();
        self.run(move |connection| super::last_commit(connection, &vm_id)).boxed()
    }

    pub(in crate::journal) fn count_after(&self, after: Position, cap: usize) -> Answer<'_, usize> {
        self.run(move |connection| super::count_after(connection, after, cap)).boxed()
    }

    pub(in crate::journal) fn read(&self, after: Position, upto: Position, limit: usize) -> Answer<'_, Page> {
        self.run(move |connection| super::read(connection, after, upto, limit)).boxed()
    }

    pub(in crate::journal) fn read_runs(
        &self,
        runs: &[RunId],
        after: Position,
        upto: Position,
        limit: usize,
    ) -> Answer<'_, Page> {
        let runs = runs.to_vec();
        self.run(move |connection| super::read_runs(connection, &runs, after, upto, limit)).boxed()
    }

    pub(in crate::journal) fn runs(&self, query: &RunQuery) -> Answer<'_, RunPage> {
        let query = query.clone();
        self.run(move |connection| super::runs(connection, &query)).boxed()
    }

    pub(in crate::journal) fn run_of(&self, run: &RunId) -> Answer<'_, Option<RunSummary>> {
        let run = run.clone();
        self.run(move |connection| super::run(connection, &run)).boxed()
    }
}
