//! Files of issuers, read within bounds.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The least bytes of a shared secret: those of the hash (RFC 7518, 3.2; G26).
const MIN_SECRET: usize = 32;
/// The largest file of a secret, in bytes.
const MAX_SECRET_FILE: usize = 64 * 1024;

/// The whole file, if it is one and has at most `limit` bytes. The error is what is wrong, to be read behind its name.
pub(super) fn file(path: &Path, limit: usize) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("cannot be read: {error}");
    // Looked at before it is opened: to open a pipe would wait for its writer.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err("is not a file".to_owned());
    }
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(limit as u64 + 1).read_to_end(&mut bytes));
    read.map_err(failed)?;
    if bytes.len() > limit { Err(format!("is larger than {limit} bytes")) } else { Ok(bytes) }
}

/// The secret in a file that nobody else may read. Line breaks at its end do not count.
pub(super) fn secret(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = file(path, MAX_SECRET_FILE)?;
    let metadata = std::fs::metadata(path).map_err(|error| format!("cannot be read: {error}"))?;
    if metadata.mode() & 0o077 != 0 {
        return Err("may be read by others: chmod 600 it".to_owned());
    }
    let end = bytes.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |last| last + 1);
    bytes.truncate(end);
    if bytes.len() < MIN_SECRET {
        return Err(format!("holds fewer than {MIN_SECRET} bytes: it could be guessed"));
    }
    Ok(bytes)
}
