//! VMs that were added by `POST /api/vms/register`: a JSON file in the data folder, so that they outlive a restart.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::model::RegisteredVm;

/// The most VMs that can be registered.
pub const MAX_REGISTERED: usize = 1_000;

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// The file of registered VMs.
#[derive(Clone, Debug)]
pub struct RegisteredFile(PathBuf);

/// Why the file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RegisteredError {
    /// The file system refused.
    #[error("{path}: {cause}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        cause: io::Error,
    },
    /// It is not what was written here; it is left as it is.
    #[error("{path} is not a list of registered VMs: {cause}; mend it or move it away")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where and why.
        cause: serde_json::Error,
    },
    /// There are [`MAX_REGISTERED`] already.
    #[error("{MAX_REGISTERED} VMs are registered already")]
    Full,
}

impl RegisteredFile {
    /// The file in `data_dir`, which need not exist yet.
    pub fn in_dir(data_dir: &Path) -> Self {
        Self(data_dir.join("registered.json"))
    }

    /// What it holds; nothing if it does not exist.
    ///
    /// # Errors
    /// If it cannot be read, or is not a list of VMs.
    pub fn load(&self) -> Result<Vec<RegisteredVm>, RegisteredError> {
        let file = match File::open(&self.0) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(cause) => return Err(self.io(cause)),
        };
        let mut text = Vec::new();
        file.take(MAX_FILE).read_to_end(&mut text).map_err(|cause| self.io(cause))?;
        serde_json::from_slice(&text).map_err(|cause| RegisteredError::Corrupt { path: self.0.clone(), cause })
    }

    /// Replaces what it holds, whole or not at all.
    ///
    /// # Errors
    /// If it cannot be written; what it held stays.
    pub fn store(&self, vms: &[RegisteredVm]) -> Result<(), RegisteredError> {
        if vms.len() > MAX_REGISTERED {
            return Err(RegisteredError::Full);
        }
        let text =
            serde_json::to_vec_pretty(vms).map_err(|cause| RegisteredError::Corrupt { path: self.0.clone(), cause })?;
        self.replace(&text).map_err(|cause| self.io(cause))
    }

    fn replace(&self, text: &[u8]) -> io::Result<()> {
        let dir = self.0.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(dir)?;
        let new = self.0.with_extension("json.new");
        let mut file = File::create(&new)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(&new, &self.0)?;
        // The rename itself must outlive a power cut, not only the bytes.
        File::open(dir)?.sync_all()
    }

    fn io(&self, cause: io::Error) -> RegisteredError {
        RegisteredError::Io { path: self.0.clone(), cause }
    }
}

#[cfg(test)]
mod tests {
    use super::{RegisteredError, RegisteredFile};
    use crate::model::{RegisteredVm, VmName};

    fn vm(name: &str) -> RegisteredVm {
        serde_json::from_value(serde_json::json!({"name": VmName::new(name).unwrap(), "ssh_host": "192.0.2.10"}))
            .unwrap()
    }

    #[test]
    fn what_was_stored_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let file = RegisteredFile::in_dir(&dir.path().join("data"));
        assert_eq!(file.load().unwrap(), []);
        file.store(&[vm("a"), vm("b")]).unwrap();
        assert_eq!(RegisteredFile::in_dir(&dir.path().join("data")).load().unwrap(), [vm("a"), vm("b")]);
    }

    #[test]
    fn a_corrupt_file_is_refused_and_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("registered.json");
        std::fs::write(&path, "[{\"name\": \"a; rm -rf /\"").unwrap();
        let file = RegisteredFile::in_dir(dir.path());
        assert!(matches!(file.load(), Err(RegisteredError::Corrupt { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "[{\"name\": \"a; rm -rf /\"");
    }
}
