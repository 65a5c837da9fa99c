//! What must be true of files on this machine when the configuration is loaded.

use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use super::issue::quoted;

/// A regular file that this process may read; its metadata.
pub(super) fn readable(path: &Path) -> Result<Metadata, String> {
    let shown = || quoted(&path.to_string_lossy());
    // Looked at before it is opened: to open a pipe would wait for its writer.
    let metadata = std::fs::metadata(path).map_err(|error| format!("{} cannot be read: {error}", shown()))?;
    if !metadata.is_file() {
        return Err(format!("{} is not a file", shown()));
    }
    File::open(path).map_err(|error| format!("{} cannot be read: {error}", shown()))?;
    Ok(metadata)
}

/// A readable file that is not empty.
pub(super) fn filled(path: &Path) -> Result<Metadata, String> {
    let metadata = readable(path)?;
    if metadata.len() == 0 {
        return Err(format!("{} is empty", quoted(&path.to_string_lossy())));
    }
    Ok(metadata)
}

/// Whether people other than the owner may read or write it.
pub(super) fn is_open_to_others(metadata: &Metadata) -> bool {
    metadata.permissions().mode() & 0o077 != 0
}

/// How to close a file to others.
pub(super) fn close(path: &Path, metadata: &Metadata) -> String {
    let mode = metadata.permissions().mode() & 0o777;
    format!("has mode {mode:04o}, so others can read it: chmod 600 {}", quoted(&path.to_string_lossy()))
}

/// A private key that ssh will take: ssh itself refuses one of its own user that others may read.
pub(super) fn identity(path: &Path) -> Result<(), String> {
    let metadata = filled(path)?;
    let own = metadata.uid() == rustix::process::getuid().as_raw();
    if own && is_open_to_others(&metadata) { Err(close(path, &metadata)) } else { Ok(()) }
}

/// The file's text, at most `limit` bytes of UTF-8.
pub(super) fn text(path: &Path, limit: u64) -> Result<String, String> {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > limit {
        return Err(format!("is larger than {limit} bytes"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = 1 + memchr::memchr_iter(b'\n', &error.as_bytes()[..valid]).count();
        format!("is not UTF-8 text (line {line})")
    })
}
