//! API keys between the file (config) and the door (edge).

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rand::distr::{Alphanumeric, SampleString};

use crate::config::{Access, AuthConfig, ConfigErrors, KeysFile};
use crate::edge::auth::{self, KeySet};
use crate::edge::{AuthMode, Keys};
use crate::model::{Scope, Secret, Timestamp, VmGrant};

/// Why the keys cannot be used: one readable line (or one per mistake).
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file.
    #[error("{0}")]
    File(#[from] ConfigErrors),
    /// What it holds.
    #[error("the keys cannot be used: {0}")]
    Set(#[from] auth::KeysError),
}

/// Who is let in, and the id of a key that may do everything, if there is one.
pub(super) fn load(config: &AuthConfig) -> Result<(AuthMode, Arc<Keys>, Option<String>), KeysError> {
    match &config.access {
        Access::Open => Ok((AuthMode::Open, Arc::new(Keys::none()), None)),
        Access::Tokens => Ok((AuthMode::Keys, Arc::new(Keys::none()), None)),
        Access::Keys(path) => {
            let entries = KeysFile::load(path)?;
            let admin = entries.iter().find(|entry| entry.scopes.allow(Scope::Admin)).map(|entry| entry.id.clone());
            Ok((AuthMode::Keys, Arc::new(Keys::new(KeySet::new(entries)?)), admin))
        }
    }
}

/// The checked set of a keys file, to replace the one in force.
pub(super) fn load_set(path: &Path) -> Result<KeySet, KeysError> {
    Ok(KeySet::new(KeysFile::load(path)?)?)
}

/// Makes a key, appends its hash to `keys_file` (made with mode 0600 if it is not there) and gives the key itself.
///
/// # Errors
/// One readable line; nothing was written then.
pub fn new_key(
    keys_file: &Path,
    name: &str,
    scopes: &[String],
    vms: &[String],
    expires: &str,
) -> Result<Secret, String> {
    let scopes = scopes
        .iter()
        .map(|text| Scope::parse(text).ok_or_else(|| format!("{text:?} is no scope; there are {}", every_scope())))
        .collect::<Result<Vec<_>, _>>()?;
    if vms.iter().any(|glob| glob.is_empty()) {
        return Err("the new key: an empty pattern matches no VM; * matches all".to_owned());
    }
    let (secret, entry) = auth::new_key(name, scopes, VmGrant::from_globs(vms.iter().map(String::as_str)), None);
    // The file's own reader is the judge of names, globs and times: what it would refuse is never written.
    let text = entry.to_toml().replace("expires = \"never\"", &format!("expires = {expires:?}"));
    let before = match fs::read_to_string(keys_file) {
        Ok(before) => before,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(format!("{}: {error}", keys_file.display())),
    };
    if !before.trim().is_empty() {
        KeysFile::parse(&before).map_err(|errors| format!("{}: {errors}", keys_file.display()))?;
    }
    let checked = KeysFile::parse(&text).map_err(|errors| format!("the new key: {errors}"))?;
    if checked.iter().any(|key| key.expires_at.is_some_and(|at| at <= Timestamp::from(SystemTime::now()))) {
        return Err(format!("the new key: {expires} is past"));
    }
    private(keys_file)?;
    append(keys_file, &text).map_err(|error| format!("{}: {error}", keys_file.display()))?;
    Ok(secret)
}

/// A keys file that others may read is refused when it is used; so it is here, before a key stands in it.
fn private(keys_file: &Path) -> Result<(), String> {
    match fs::metadata(keys_file) {
        Ok(found) if found.mode() & 0o077 != 0 => {
            Err(format!("{} may be read by others: chmod 600 it first", keys_file.display()))
        }
        _ => Ok(()),
    }
}

fn append(keys_file: &Path, text: &str) -> io::Result<()> {
    if let Some(dir) = keys_file.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        fs::create_dir_all(dir)?;
    }
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(keys_file)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn every_scope() -> String {
    Scope::ALL.map(Scope::as_str).join(", ")
}

/// 43 characters of base62: 256 random bits.
pub(super) fn random_text() -> String {
    Alphanumeric.sample_string(&mut rand::rng(), 43)
}

#[cfg(test)]
mod tests {
    use super::new_key;
    use crate::config::KeysFile;

    #[test]
    fn a_new_key_is_in_the_file_by_its_hash_alone_and_a_bad_one_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config/keys.toml");
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let key =
            new_key(&file, "grafana", &owned(&["events:read"]), &owned(&["waa-*"]), "2031-01-01T00:00:00Z").unwrap();
        new_key(&file, "admin \"x\"", &owned(&["admin"]), &owned(&["*"]), "never").unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(!text.contains(key.expose()));
        let entries = KeysFile::load(&file).unwrap();
        assert_eq!(entries.len(), 2);
        assert!(entries[0].expires_at.is_some() && entries[1].expires_at.is_none());
        for (scopes, vms, expires) in [("root", "*", "never"), ("admin", "A*", "never"), ("admin", "*", "soon")] {
            assert!(
                new_key(&file, "bad", &owned(&[scopes]), &owned(&[vms]), expires).is_err(),
                "{scopes} {vms} {expires}"
            );
        }
        assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    }
}
