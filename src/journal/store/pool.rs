//! Connections to read with, off the runtime's threads.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::OpenError;
use super::schema::open_to_read;
use crate::journal::JournalError;

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
