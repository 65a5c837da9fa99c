//! What session cookies are signed with: the file of the configuration, or one of our own in the data folder. Where the
//! journal is shared, a secret of our own is the fleet's, and not here.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::config::{Config, JournalKind};
use crate::edge::SessionSecrets;

/// The largest file of secrets that is read, bytes.
const MAX_BYTES: u64 = 64 * 1024;

/// Where the secret is; `None`: the replicas of the fleet share it.
pub(super) fn secret_file(config: &Config) -> Option<PathBuf> {
    match &config.auth.session_secret_file {
        Some(path) => Some(path.clone()),
        None if config.journal.kind == JournalKind::Jetstream => None,
        None => Some(config.data.dir.join("session-secret")),
    }
}

/// The secrets of the file, if there is to be one. One of our own is made at the first start and kept, so that a restart
/// signs nobody out.
///
/// # Errors
/// One readable line.
pub(super) fn load(config: &Config) -> Result<Option<SessionSecrets>, String> {
    let Some(path) = secret_file(config) else { return Ok(None) };
    let at = |error: io::Error| format!("{}: {error}", path.display());
    let text = match read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && config.auth.session_secret_file.is_none() => {
            make(&path).map_err(at)?;
            // Another process may have been first: what is in the file is what counts.
            read(&path).map_err(at)?
        }
        read => read.map_err(at)?,
    };
    SessionSecrets::from_lines(&text).map(Some).map_err(|error| format!("{}: {error}", path.display()))
}

/// What the file holds, if nobody but its owner can read it: whoever reads it can sign himself in as anybody.
fn read(path: &Path) -> io::Result<String> {
    // Looked at before it is opened: to open a pipe would wait for its writer.
    let found = fs::metadata(path)?;
    let wrong = |why: &str| Err(io::Error::other(why.to_owned()));
    if !found.is_file() {
        return wrong("is not a file");
    }
    if found.mode() & 0o077 != 0 {
        return wrong("may be read by others: chmod 600 it, and put another secret in it");
    }
    if found.len() > MAX_BYTES {
        return wrong("is too large");
    }
    let mut text = String::new();
    fs::File::open(path)?.take(MAX_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

/// What is wrong with the secret that is there, for `check`; nothing if there is none yet.
pub(super) fn check(config: &Config) -> Result<(), String> {
    if secret_file(config).is_some_and(|path| path.exists()) { load(config).map(drop) } else { Ok(()) }
}

fn make(path: &Path) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    let (_, text) = SessionSecrets::random();
    let temporary = path.with_extension(format!("{:08x}.tmp", rand::random::<u32>()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    let written = writeln!(file, "{}", text.expose()).and_then(|()| file.sync_all());
    // A link, unlike a rename, does not take the place of one that another process made meanwhile.
    let placed = written.and_then(|()| match fs::hard_link(&temporary, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    });
    fs::remove_file(&temporary).and(placed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::{load, secret_file};
    use crate::config::{Config, JournalKind, MapEnv};

    #[test]
    fn g26_a_secret_of_our_own_is_made_once_for_its_owner_alone_and_a_bad_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let text = format!("auth.none = true\ndata.dir = {:?}\n", dir.path().join("data").display().to_string());
        let config = Config::parse(&text, "test", &MapEnv::default()).unwrap();
        load(&config).unwrap();
        let file = secret_file(&config).unwrap();
        let first = std::fs::read_to_string(&file).unwrap();
        assert!(first.trim().len() >= 43);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        load(&config).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), first);
        assert_eq!(std::fs::read_dir(dir.path().join("data")).unwrap().count(), 1, "nothing is left beside it");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(load(&config).unwrap_err().contains("chmod 600"), "whoever reads it can sign in as anybody");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&file, "short\n").unwrap();
        assert!(load(&config).unwrap_err().contains("fewer than 32 characters"));
    }

    #[test]
    fn replicas_share_a_secret_unless_they_are_given_one() {
        let dir = tempfile::tempdir().unwrap();
        let text = format!("auth.none = true\ndata.dir = {:?}\n", dir.path().join("data").display().to_string());
        let mut config = Config::parse(&text, "test", &MapEnv::default()).unwrap();
        config.journal.kind = JournalKind::Jetstream;
        assert!(load(&config).unwrap().is_none() && !dir.path().join("data").exists());
        let given = dir.path().join("given");
        std::fs::write(&given, "s".repeat(43)).unwrap();
        std::fs::set_permissions(&given, std::fs::Permissions::from_mode(0o600)).unwrap();
        config.auth.session_secret_file = Some(given);
        assert!(load(&config).unwrap().is_some());
    }
}
