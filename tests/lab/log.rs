//! The benchmark's log on the VM.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use super::{Lab, Result};

impl Lab {
    /// Appends to the benchmark log; makes it if there is none.
    pub fn log_append(&self, bytes: impl AsRef<[u8]>) -> Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).open(&self.log)?;
        Ok(file.write_all(bytes.as_ref())?)
    }

    /// Rotates as logrotate does: renames the log to `.1` and makes a new one.
    pub fn log_rotate(&self) -> Result<()> {
        fs::rename(&self.log, self.log_rotated())?;
        self.log_append("")
    }

    /// Rotates as logrotate's `copytruncate` does: copies the log to `.1` and empties it.
    pub fn log_copytruncate(&self) -> Result<()> {
        fs::copy(&self.log, self.log_rotated())?;
        self.log_truncate()
    }

    /// Where rotation puts the old log.
    pub fn log_rotated(&self) -> PathBuf {
        self.log.with_extension("log.1")
    }

    /// Empties the log in place.
    pub fn log_truncate(&self) -> Result<()> {
        Ok(OpenOptions::new().write(true).open(&self.log)?.set_len(0)?)
    }

    /// Removes the log.
    pub fn log_remove(&self) -> Result<()> {
        Ok(fs::remove_file(&self.log)?)
    }
}
