//! From an embedded journal into an empty stream: commits are copied, the epoch is new (SEMANTICS, section 4).

use std::path::Path;

use rusqlite::Connection;

use super::append::append;
use super::engine::Engine;
use super::names::Topic;
use super::{blocking, entry, settle};
use crate::event::Position;
use crate::journal::store::{self, FileKind, Lock, OpenError};
use crate::journal::{Commit, JournalError, StoredEvent};
use crate::model::{Timestamp, VmId};

/// Events read at a time.
const PAGE: usize = 1000;

/// What was imported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// VMs.
    pub vms: usize,
    /// Commits with events.
    pub commits: usize,
    /// Their events.
    pub events: usize,
}

/// Why not all was imported. What is in the stream then is no journal: delete it, and try again.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file.
    #[error(transparent)]
    File(#[from] OpenError),
    /// The stream holds something.
    #[error("the stream {0} is not empty: an import begins a stream. Delete it, or set another journal.fleet")]
    NotEmpty(String),
    /// Reading or writing.
    #[error("the import stopped, and the stream is no journal yet: {0}. Delete the stream and import again")]
    Journal(#[from] JournalError),
}

/// Copies the journal at `path`, which no process may have open, into the stream, which must be empty.
///
/// # Errors
/// If either is not so, or reading or writing fails.
pub async fn import(engine: &Engine, path: &Path) -> Result<Imported, ImportError> {
    let path = path.to_owned();
    let opening = tokio::task::spawn_blocking(move || open(&path));
    let source = opening.await.map_err(|gone| JournalError::Store(gone.to_string().into()))??;
    if engine.state().await?.last_sequence > 0 {
        return Err(ImportError::NotEmpty(engine.names().stream()));
    }
    let mut copying = Copying { engine, source: Some(source), done: Imported::default() };
    copying.names().await?;
    copying.commits().await?;
    copying.last_commits().await?;
    // Last, so that a stream without it is known as one that is not whole.
    settle::begin_epoch(engine, 0).await?;
    Ok(copying.done)
}

fn open(path: &Path) -> Result<(Connection, Lock), OpenError> {
    if !path.exists() {
        return Err(OpenError::Missing(path.to_owned()));
    }
    let path = path.canonicalize().map_err(|error| OpenError::Io(path.to_owned(), error.to_string()))?;
    let lock = Lock::take(&path)?;
    Ok((store::open(&path, FileKind::Journal)?, lock))
}

struct Copying<'e> {
    engine: &'e Engine,
    /// Not there while a thread that may block has it.
    source: Option<(Connection, Lock)>,
    done: Imported,
}

impl Copying<'_> {
    async fn read<T: Send + 'static>(
        &mut self,
        read: impl FnOnce(&mut Connection) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        let mut source = self.source.take().ok_or_else(|| JournalError::Store("the file is gone".into()))?;
        let (source, found) = blocking(move || {
            let found = read(&mut source.0);
            Ok((source, found))
        })
        .await?;
        self.source = Some(source);
        found
    }

    async fn names(&mut self) -> Result<(), JournalError> {
        for (vm, vm_id) in self.read(|source| store::vms(source)).await? {
            append(self.engine, &Topic::Vm(vm), entry::of_vm(&vm_id, None)?, 0).await?;
            self.done.vms += 1;
        }
        Ok(())
    }

    /// Commits as they were, but for what they left behind: only the last of each VM is gone on from.
    async fn commits(&mut self) -> Result<(), JournalError> {
        let (mut after, mut last) = (Position::START, std::collections::HashMap::<VmId, (u64, u64)>::new());
        loop {
            let from = after;
            // A page may end within a commit, whose rest is then a commit of its own.
            let page = self.read(move |source| store::read_with_times(source, from, PAGE)).await?;
            let Some((newest, _)) = page.last() else { return Ok(()) };
            after = newest.position;
            for events in
                page.chunk_by(|(a, _), (b, _)| a.position.seq == b.position.seq && a.event.vm_id == b.event.vm_id)
            {
                let vm_id = events[0].0.event.vm_id.clone();
                let (n, follows) = last.get(&vm_id).copied().unwrap_or_default();
                let seq = self.commit(&vm_id, n + 1, follows, events).await?;
                last.insert(vm_id, (n + 1, seq));
            }
        }
    }

    async fn commit(
        &mut self,
        vm_id: &VmId,
        n: u64,
        follows: u64,
        events: &[(StoredEvent, Timestamp)],
    ) -> Result<u64, JournalError> {
        let commit = Commit {
            vm_id: vm_id.clone(),
            lease_rev: 0,
            n,
            follows,
            cursors: Vec::new(),
            tracker_state: "null".into(),
            events: events.iter().map(|(stored, _)| stored.event.clone()).collect(),
        };
        let at = events.first().map(|(_, at)| *at);
        self.done.commits += 1;
        self.done.events += events.len();
        append(self.engine, &Topic::Commit(vm_id.clone()), entry::of_commit(&commit, at)?, follows).await
    }

    /// Where each VM's next poll goes on.
    async fn last_commits(&mut self) -> Result<(), JournalError> {
        for (_, vm_id) in self.read(|source| store::vms(source)).await? {
            let of = vm_id.clone();
            let Some(last) = self.read(move |source| store::last_commit(source, &of)).await? else { continue };
            let topic = Topic::Commit(vm_id);
            let follows = self.engine.last(&topic).await?.map_or(0, |last| last.sequence);
            let commit = Commit { lease_rev: 0, follows, events: Vec::new(), ..Commit::clone(&last.commit) };
            append(self.engine, &topic, entry::of_commit(&commit, None)?, follows).await?;
        }
        Ok(())
    }
}
