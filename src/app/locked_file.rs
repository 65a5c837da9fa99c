//! A private file that one process changes at a time, whole or not at all.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

/// How long another process that changes the same file is waited for.
const LOCK_WITHIN: Duration = Duration::from_secs(10);
/// The largest file that is changed, bytes: as much as is read of it when it is used.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// Replaces what `path` holds by what `change` makes of it (`""` if there is no such file yet). Readers see the old file
/// or the new one, never a part. Owner and mode stay; a new file has mode 0600.
///
/// # Errors
/// One readable line (or one per mistake); the file is as it was then.
pub(super) fn change<T>(path: &Path, change: impl FnOnce(&str) -> Result<(String, T), String>) -> Result<T, String> {
    let at = |error: io::Error| format!("{}: {error}", path.display());
    // Behind a link it is the file itself that is replaced.
    let real = match fs::canonicalize(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => path.to_owned(),
        found => found.map_err(at)?,
    };
    let _lock = lock(&real).map_err(|error| format!("{}: {error}", lock_of(&real).display()))?;
    let (before, metadata) = match File::open(&real) {
        Err(error) if error.kind() == ErrorKind::NotFound => (String::new(), None),
        opened => {
            let file = opened.map_err(at)?;
            let metadata = file.metadata().map_err(at)?;
            if metadata.mode() & 0o077 != 0 {
                return Err(format!("{} may be read by others: chmod 600 it first", path.display()));
            }
            if metadata.len() > MAX_BYTES {
                return Err(format!("{} is larger than {MAX_BYTES} bytes", path.display()));
            }
            let mut text = String::new();
            file.take(MAX_BYTES).read_to_string(&mut text).map_err(at)?;
            (text, Some(metadata))
        }
    };
    let (after, value) = change(&before).map_err(|why| format!("{}: {why}", path.display()))?;
    write(&real, &after, metadata.as_ref()).map_err(at)?;
    Ok(value)
}

/// Held until it is dropped. The lock is a file of its own: the one it guards is another file after each change.
fn lock(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(lock_of(path))?;
    belong(&file, path)?;
    let (done, locked) = mpsc::sync_channel(1);
    // In a thread of its own, because the kernel knows no time limit for it. One that comes too late lets go at once.
    std::thread::spawn(move || {
        let outcome = flock(&file, FlockOperation::LockExclusive).map(|()| file);
        let _ = done.send(outcome);
    });
    match locked.recv_timeout(LOCK_WITHIN) {
        Ok(outcome) => outcome.map_err(io::Error::from),
        Err(_) => Err(io::Error::new(ErrorKind::TimedOut, "another process is changing it for too long")),
    }
}

fn lock_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".lock");
    path.with_file_name(name)
}

/// Gives `lock` to the owner of what it guards: who may change that must be able to lock it, also after root made the lock.
fn belong(lock: &File, path: &Path) -> io::Result<()> {
    let Ok(guarded) = fs::metadata(path) else { return Ok(()) };
    let is = lock.metadata()?;
    if (is.uid(), is.gid()) != (guarded.uid(), guarded.gid()) && rustix::process::geteuid().is_root() {
        std::os::unix::fs::fchown(lock, Some(guarded.uid()), Some(guarded.gid()))?;
    }
    Ok(())
}

fn write(path: &Path, text: &str, before: Option<&fs::Metadata>) -> io::Result<()> {
    let dir = folder(path);
    // Made with mode 0600.
    let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(&dir)?;
    if let Some(before) = before {
        file.as_file().set_permissions(Permissions::from_mode(before.mode() & 0o700))?;
        let made = file.as_file().metadata()?;
        if (made.uid(), made.gid()) != (before.uid(), before.gid()) {
            std::os::unix::fs::fchown(file.as_file(), Some(before.uid()), Some(before.gid()))?;
        }
    }
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    File::open(dir)?.sync_all()
}

/// The folder that `path` is in.
pub(super) fn folder(path: &Path) -> PathBuf {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    use super::change;

    #[test]
    fn g26_a_file_that_others_may_read_is_not_touched_and_a_private_one_keeps_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        let append = |text: &str| Ok::<_, String>((format!("{text}x"), ()));
        change(&path, append).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        fs::set_permissions(&path, Permissions::from_mode(0o400)).unwrap();
        change(&path, append).unwrap();
        assert_eq!(
            (fs::read_to_string(&path).unwrap().as_str(), fs::metadata(&path).unwrap().mode() & 0o777),
            ("xx", 0o400)
        );
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        assert!(change(&path, append).unwrap_err().contains("chmod 600"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "xx");
    }

    #[test]
    fn whoever_may_change_the_file_may_lock_it_even_after_root_did() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        fs::write(&path, "one").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&path, Some(10001), Some(10001)).unwrap();
        }
        change(&path, |_| Ok(("two".to_owned(), ()))).unwrap();
        let owner = |path: &std::path::Path| fs::metadata(path).map(|of| (of.uid(), of.gid())).unwrap();
        assert_eq!(owner(&dir.path().join("keys.lock")), owner(&path));
    }

    #[test]
    fn a_refused_change_leaves_the_file_and_nothing_else_behind_and_a_link_stays_one() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("keys"), dir.path().join("link"));
        change(&path, |_| Ok(("one".to_owned(), ()))).unwrap();
        symlink(&path, &link).unwrap();
        assert!(change(&link, |_| Err::<(String, ()), _>("no".to_owned())).unwrap_err().ends_with("link: no"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
        change(&link, |_| Ok(("two".to_owned(), ()))).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["keys", "keys.lock", "link"]);
    }
}
