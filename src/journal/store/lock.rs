//! One process at a time.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::{OpenError, create_private};

/// The longest note of a holder that is shown, bytes.
const NOTE: u64 = 64;

/// How long somebody else's lock is waited for.
const MOMENT: Duration = Duration::from_millis(500);

/// Held until it is dropped, or the process ends in whatever way: the kernel lets go of it.
///
/// Two locks: one on a file beside the journal, which says who holds it, and one on the journal itself, which another name
/// of the same file cannot get round. The second is not SQLite's own kind; its handle is opened before SQLite's and closed
/// after them, since closing any handle would take SQLite's locks away.
#[derive(Debug)]
pub(in crate::journal) struct Lock {
    _note: File,
    _journal: File,
}

impl Lock {
    /// Locks the journal at `path`, or says who has it.
    pub(in crate::journal) fn take(path: &Path) -> Result<Self, OpenError> {
        let io = |error: io::Error| OpenError::Io(path.to_owned(), error.to_string());
        let mut note = create_private(&beside(path, ".lock")).map_err(io)?;
        if !try_lock(&note).map_err(io)? {
            let mut holder = String::new();
            // What it says is for people only: the lock itself is the kernel's.
            if note.take(NOTE).read_to_string(&mut holder).is_err() || holder.trim().is_empty() {
                holder = "it does not say who it is".to_owned();
            }
            return Err(OpenError::InUse(path.to_owned(), holder.trim().to_owned()));
        }
        let journal = create_private(path).map_err(io)?;
        if !try_lock(&journal).map_err(io)? {
            return Err(OpenError::InUse(path.to_owned(), "under another name".to_owned()));
        }
        let text = format!("process {}\n", std::process::id());
        // On a full disk the note may be missing; the lock holds without it.
        let _ = note.set_len(0).and_then(|()| note.rewind()).and_then(|()| note.write_all(text.as_bytes()));
        Ok(Self { _note: note, _journal: journal })
    }
}

/// `false`: somebody else has it, and not only for a moment. What a process starts has its handles until it runs a program
/// of its own, so the lock of one that was killed may outlive it by so long.
#[allow(clippy::disallowed_methods, reason = "a journal is opened on a thread that may block")]
fn try_lock(file: &File) -> io::Result<bool> {
    let began = Instant::now();
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK) if began.elapsed() < MOMENT => std::thread::sleep(MOMENT / 50),
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The file of `path`'s name with `suffix` behind it.
pub(in crate::journal) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}
