//! The private folder of one connection: its control socket and the configuration that ssh reads.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

const PREFIX: &str = "gw-";
const SOCKET: &str = "m";
const LOCK: &str = "lock";
/// A Unix socket's path has at most 107 bytes; ssh binds `PATH.` and 16 random characters before it renames.
const MAX_SOCKET_PATH: usize = 107 - 17;

/// Where connections keep their sockets: the user's own folder `gatewatch` in `$XDG_RUNTIME_DIR`, else
/// `gatewatch-UID` in the folder for temporary files. All processes of a user share it, so that one finds and ends what
/// another left when it was killed; it stays.
///
/// # Errors
/// If it cannot be made, or is not a private folder of this user.
pub fn runtime_dir() -> io::Result<PathBuf> {
    let own = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute() && dir.is_dir());
    let dir = match own {
        Some(own) => own.join("gatewatch"),
        None => std::env::temp_dir().join(format!("gatewatch-{}", geteuid().as_raw())),
    };
    match fs::DirBuilder::new().mode(0o700).create(&dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(io::Error::new(error.kind(), format!("{}: {error}", dir.display())));
        }
        _ => {}
    }
    // Anybody may make a name in the folder for temporary files; one that is not ours alone is not used.
    let found = fs::symlink_metadata(&dir)?;
    if !found.is_dir() || found.uid() != geteuid().as_raw() || found.mode() & 0o077 != 0 {
        let text = format!("{} is not a private folder (mode 0700) of this user: remove it", dir.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    Ok(dir)
}

/// The folder of one connection, removed with this value.
#[derive(Debug)]
pub(super) struct ConnectionDir {
    // Dropped first: the folder goes while the lock still says that it has an owner.
    folder: TempDir,
    _lock: File,
}

impl ConnectionDir {
    /// Makes one in `base`, after sweeping away what a killed process of ours left there.
    pub(super) fn create(base: &Path) -> io::Result<Self> {
        fs::create_dir_all(base)?;
        sweep(base);
        let folder =
            tempfile::Builder::new().prefix(PREFIX).permissions(Permissions::from_mode(0o700)).tempdir_in(base)?;
        let socket = folder.path().join(SOCKET);
        if socket.as_os_str().len() > MAX_SOCKET_PATH {
            let text = format!("{} is too long a path for a socket: configure a shorter folder", socket.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        // Locked before it has its name: a sweep of another connection finds either no lock or a held one.
        let unnamed = folder.path().join("lock.new");
        let lock = File::create(&unnamed)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        fs::rename(unnamed, folder.path().join(LOCK))?;
        Ok(Self { folder, _lock: lock })
    }

    /// The path of the control socket.
    pub(super) fn socket(&self) -> PathBuf {
        self.folder.path().join(SOCKET)
    }

    /// Writes the configuration for ssh.
    pub(super) fn write_config(&self, text: &str) -> io::Result<PathBuf> {
        let path = self.folder.path().join("config");
        fs::write(&path, text)?;
        Ok(path)
    }
}

/// Ends masters and removes folders whose owner is gone (killed outright: everything else cleans up after itself).
fn sweep(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        let ours = entry.file_name().as_bytes().starts_with(PREFIX.as_bytes())
            && entry.metadata().is_ok_and(|found| found.is_dir() && found.uid() == geteuid().as_raw());
        if !ours {
            continue;
        }
        let Ok(lock) = File::open(entry.path().join(LOCK)) else { continue };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            for master in masters_of(&entry.path().join(SOCKET)) {
                // It is gone already if it noticed by itself.
                let _ = kill_process(master, Signal::KILL);
            }
            if let Err(error) = fs::remove_dir_all(entry.path()) {
                tracing::warn!(path = %entry.path().display(), %error, "a left-over connection folder stays");
            }
        }
    }
}

/// The `ssh` processes that serve `socket`, as their command lines say.
pub(super) fn masters_of(socket: &Path) -> Vec<Pid> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    processes
        .flatten()
        .filter_map(|entry| {
            let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            let mut words = line.split(|byte| *byte == 0);
            let is_ssh = words.next()?.ends_with(b"ssh");
            (is_ssh && words.any(|word| word == socket.as_os_str().as_bytes())).then_some(pid)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_private_and_goes_with_its_value() {
        let base = tempfile::tempdir().unwrap();
        let dir = ConnectionDir::create(base.path()).unwrap();
        let other = ConnectionDir::create(base.path()).unwrap();
        let path = dir.socket().parent().unwrap().to_owned();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        drop(dir);
        assert!(!path.exists());
        assert!(other.socket().parent().unwrap().exists(), "a living owner's folder is not swept");
    }

    #[test]
    fn what_a_killed_owner_left_is_swept() {
        let base = tempfile::tempdir().unwrap();
        let left = base.path().join("gw-abcdef");
        fs::create_dir(&left).unwrap();
        fs::write(left.join(LOCK), "").unwrap();
        let foreign = base.path().join("other");
        fs::create_dir(&foreign).unwrap();
        let _dir = ConnectionDir::create(base.path()).unwrap();
        assert!(!left.exists());
        assert!(foreign.exists());
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_said() {
        let base = tempfile::tempdir().unwrap();
        let error = ConnectionDir::create(&base.path().join("x".repeat(90))).unwrap_err();
        assert!(error.to_string().contains("too long"), "{error}");
    }
}
