//! What this replica has of the stream, in SQLite: everything that is read is read here. All of it blocks.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, TransactionBehavior};

use super::entry::Entry;
use crate::event::{Epoch, Position};
use crate::journal::store::{self, FileKind, Head, Lock, OpenError, Pruned, Retention};
use crate::journal::{Committed, JournalError};
use crate::model::{Timestamp, VmId};

/// The token of no entry.
const DIVERGED: &str = "diverged";

/// An entry where it stands in the stream.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) seq: u64,
    /// When it came into the stream, nanoseconds since the epoch.
    pub(super) nanos: i128,
    /// What it says; `None`: nothing that is known here.
    pub(super) entry: Option<Entry>,
}

/// What may stand between two entries that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gaps {
    /// A part that was removed before this mirror began: what is after the last of them is whole.
    Removed,
    /// Nothing.
    None,
}

/// Why entries could not be applied.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApplyError {
    /// What lies between was never seen here.
    #[error("the stream goes on at {found} where {expected} was to come")]
    Jump { expected: u64, found: u64 },
    /// A commit follows another one than is known here: what the stream had was taken back.
    #[error("entry {found} follows another commit of its VM than is known here")]
    Diverged { found: u64 },
    /// The stream was restored: what follows is another history.
    #[error("the stream begins a new epoch at {0}")]
    Epoch(u64),
    /// The disk.
    #[error(transparent)]
    Store(#[from] rusqlite::Error),
}

/// What was applied.
#[derive(Debug, Default)]
pub(super) struct Applied {
    pub(super) commits: Vec<Committed>,
    /// The last sequence.
    pub(super) seq: u64,
    pub(super) floor: Position,
}

/// A mirror that no other process writes.
#[derive(Debug)]
pub(super) struct Mirror {
    path: PathBuf,
    connection: Connection,
    _lock: Lock,
}

impl Mirror {
    /// Opens the mirror at `path`, or makes one; a damaged one is replaced.
    ///
    /// # Errors
    /// If another process has it, or it is something else: it is as it was then.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let io = |error: io::Error| OpenError::Io(path.to_owned(), error.to_string());
        store::create_private(path).map_err(io)?;
        let path = fs::canonicalize(path).map_err(io)?;
        let lock = Lock::take(&path)?;
        let (connection, lock) = match store::open(&path, FileKind::Mirror) {
            Err(OpenError::Corrupt(_, why)) => {
                tracing::warn!(path = %path.display(), why, "the mirror of the stream is damaged: it is made anew");
                // The lock stands beside the file and on it: both are taken anew.
                drop(lock);
                for suffix in ["", "-wal", "-shm"] {
                    remove(&store::beside(&path, suffix)).map_err(io)?;
                }
                let lock = Lock::take(&path)?;
                (store::open(&path, FileKind::Mirror)?, lock)
            }
            opened => (opened?, lock),
        };
        // What a crash loses is read from the stream again.
        let normal = connection.pragma_update(None, "synchronous", "NORMAL");
        normal.map_err(|error| OpenError::sqlite(&path, &error))?;
        Ok(Self { path, connection, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where it stands: its first token is that of the entry at its sequence.
    pub(super) fn head(&self) -> rusqlite::Result<Head> {
        store::head(&self.connection)
    }

    /// Forgets everything and begins anew, for `epoch`.
    pub(super) fn reset(&mut self, epoch: &Epoch) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        store::forget_all(&transaction, epoch)?;
        transaction.commit()
    }

    /// Applies `entries`, which ascend; those that are known are passed over. All of them or none.
    ///
    /// `epoch_at` is where the present epoch begins: what began before it is history.
    pub(super) fn apply(&mut self, entries: &[Placed], epoch_at: u64, gaps: Gaps) -> Result<Applied, ApplyError> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let known = store::head(&transaction)?;
        let mut applied = Applied { commits: Vec::new(), seq: known.seq, floor: known.floor };
        let mut token = None;
        for placed in entries {
            if placed.seq <= applied.seq {
                continue;
            }
            if placed.seq != applied.seq + 1 {
                if gaps == Gaps::None {
                    return Err(ApplyError::Jump { expected: applied.seq + 1, found: placed.seq });
                }
                applied.floor = Position { seq: placed.seq - 1, i: u32::MAX };
                store::raise_floor(&transaction, applied.floor)?;
            }
            applied.commits.extend(put(&transaction, placed, epoch_at)?);
            applied.seq = placed.seq;
            token = Some(placed.nanos.to_string());
        }
        if let Some(token) = token {
            store::stand_at(&transaction, applied.seq, &token)?;
        }
        applied.floor = store::head(&transaction)?.floor;
        transaction.commit()?;
        Ok(applied)
    }

    /// Notes that the stream is not the one that this mirror followed: the next start begins another epoch.
    pub(super) fn doubt(&mut self) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let seq = store::head(&transaction)?.seq;
        store::stand_at(&transaction, seq, DIVERGED)?;
        transaction.commit()
    }

    /// Nothing more comes up to `seq`: what was there is removed.
    pub(super) fn pass_over(&mut self, seq: u64) -> rusqlite::Result<Applied> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        store::raise_floor(&transaction, Position { seq, i: u32::MAX })?;
        store::stand_at(&transaction, seq, "")?;
        let floor = store::head(&transaction)?.floor;
        transaction.commit()?;
        Ok(Applied { commits: Vec::new(), seq, floor })
    }

    /// See [`store::oldest_needed`].
    pub(super) fn oldest_needed(&self) -> Result<Vec<(VmId, u64)>, JournalError> {
        store::oldest_needed(&self.connection)
    }

    /// One step of removal.
    pub(super) fn prune(&mut self, retention: &Retention, now: Timestamp) -> rusqlite::Result<Pruned> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let pruned = store::prune(&transaction, retention, now)?;
        transaction.commit()?;
        Ok(pruned)
    }

    /// How many events are kept.
    pub(super) fn kept(&self) -> rusqlite::Result<i64> {
        store::kept(&self.connection)
    }

    /// Copies the write-ahead log into the file as far as no reader needs it.
    pub(super) fn checkpoint(&self) -> rusqlite::Result<()> {
        self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
    }

    /// Closes the file; whoever copies it has everything.
    pub(super) fn close(self) -> Result<(), JournalError> {
        let copied = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        self.connection.close().map_err(|(_, error)| error)?;
        Ok(copied?)
    }
}

/// Puts one entry; a commit comes back with its places.
fn put(connection: &Connection, placed: &Placed, epoch_at: u64) -> Result<Option<Committed>, ApplyError> {
    match &placed.entry {
        Some(Entry::Commit { v, at, commit }) => {
            let known = store::last_seq(connection, &commit.vm_id)?;
            if known > 0 && known != commit.follows {
                return Err(ApplyError::Diverged { found: placed.seq });
            }
            let at = at.unwrap_or(Timestamp(placed.nanos as f64 / 1e9));
            Ok(Some(store::put(connection, commit, *v, placed.seq, at)?))
        }
        Some(Entry::Vm { vm, vm_id, from: Some(from) }) => {
            if store::known_vm(connection, from)?.as_ref() == Some(vm_id) {
                store::rename_vm(connection, from, vm)?;
            }
            Ok(None)
        }
        Some(Entry::Vm { vm, vm_id, from: None }) => {
            store::vm_id(connection, vm, vm_id)?;
            Ok(None)
        }
        Some(Entry::Epoch(_)) if placed.seq > epoch_at => Err(ApplyError::Epoch(placed.seq)),
        Some(Entry::Epoch(_)) | None => Ok(None),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
