//! Which file a journal's path leads to.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::mark;
use crate::journal::store::{OpenError, create_private};

/// The file behind `path`, made if there is none. Its lock and its mark stand beside the file itself, so that it has one of
/// each, whatever links lead to it.
///
/// # Errors
/// If it is empty although its mark says that it was not: something emptied it.
pub(super) fn behind_links(path: &Path) -> Result<PathBuf, OpenError> {
    let io = |error: io::Error| OpenError::Io(path.to_owned(), error.to_string());
    match fs::canonicalize(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // First, so that what is left of another journal says nothing of this one.
            mark::forget(path).map_err(io)?;
            create_private(path).and_then(|_| fs::canonicalize(path)).map_err(io)
        }
        found => {
            let found = found.map_err(io)?;
            let commits = mark::announced(&found).map_err(io)?;
            if commits > 0 && fs::metadata(&found).map_err(io)?.len() == 0 {
                let what = format!("it is empty and held {commits} commits");
                return Err(OpenError::Corrupt(found, what));
            }
            Ok(found)
        }
    }
}
