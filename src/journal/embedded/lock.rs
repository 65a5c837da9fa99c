//! One process at a time.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::journal::store::{OpenError, create_private};

/// The longest note of a holder that is shown, bytes.
const NOTE: u64 = 64;

/// Held until it is dropped, or the process ends in whatever way: the kernel lets go of it.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Locks the journal at `path`, or says who has it.
    pub(super) fn take(path: &Path) -> Result<Self, OpenError> {
        let io = |error: std::io::Error| OpenError::Io(path.to_owned(), error.to_string());
        let mut file = create_private(&beside(path, ".lock")).map_err(io)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                // What it says is for people only: the lock itself is the kernel's.
                if file.take(NOTE).read_to_string(&mut holder).is_err() || holder.trim().is_empty() {
                    holder = "it does not say who it is".to_owned();
                }
                return Err(OpenError::InUse(path.to_owned(), holder.trim().to_owned()));
            }
            Err(error) => return Err(io(error.into())),
        }
        let note = format!("process {}\n", std::process::id());
        // On a full disk the note may be missing; the lock holds without it.
        let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(note.as_bytes()));
        Ok(Self { _file: file })
    }
}

/// The file behind `path`, made if there is none. Its lock and its mark stand beside the file itself, so that it has one of
/// each, whatever links lead to it.
pub(super) fn behind_links(path: &Path) -> Result<PathBuf, OpenError> {
    let found = match fs::canonicalize(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => create_private(path).and_then(|_| fs::canonicalize(path)),
        found => found,
    };
    found.map_err(|error| OpenError::Io(path.to_owned(), error.to_string()))
}

/// The file of `path`'s name with `suffix` behind it.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}
