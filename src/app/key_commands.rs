//! What `gatewatch key` does to a keys file. A gateway that runs takes each change within a second.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use serde::Serialize;

use super::keys::{KeyState, state};
use super::locked_file::{change, folder};
use crate::config::{KeyEditError, KeyEntry, KeysFile};
use crate::edge::auth;
use crate::model::{Scope, Secret, Timestamp, VmGrant};

/// Makes a key, adds its hash to `keys_file` (made with mode 0600 if it is not there) and gives the key itself.
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
    let checked = KeysFile::parse(&text).map_err(|errors| format!("the new key: {errors}"))?;
    if checked.iter().any(|key| state(key, now()) == KeyState::Expired) {
        return Err(format!("the new key: {expires} is past"));
    }
    fs::create_dir_all(folder(keys_file)).map_err(|error| format!("{}: {error}", keys_file.display()))?;
    change(keys_file, |text| {
        let with = |text: String, key: &KeyEntry| KeysFile::with(&text, key);
        let after = checked.iter().try_fold(text.to_owned(), with).map_err(|error| error.to_string())?;
        Ok((after, ()))
    })?;
    Ok(secret)
}

/// One key, for whoever keeps the file. Never a hash.
#[derive(Clone, Debug, Serialize)]
pub struct KeyRow {
    /// The public part.
    pub id: String,
    /// For people.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<&'static str>,
    /// The globs over VMs that it may see.
    pub vms: Vec<String>,
    /// An RFC 3339 time, or `never`.
    pub expires: String,
    /// How it stands.
    pub state: KeyState,
    /// Whether it has two secrets.
    pub rotating: bool,
}

/// The keys in `keys_file`, in its order.
///
/// # Errors
/// One readable line for each mistake in it.
pub fn list_keys(keys_file: &Path) -> Result<Vec<KeyRow>, String> {
    let keys = KeysFile::load(keys_file).map_err(|errors| errors.to_string())?;
    let row = |key: &KeyEntry| KeyRow {
        id: key.id.clone(),
        name: key.name.clone(),
        scopes: key.scope_names(),
        vms: key.vms.globs().iter().map(ToString::to_string).collect(),
        expires: key.expires(),
        state: state(key, now()),
        rotating: key.sha256.len() > 1,
    };
    Ok(keys.iter().map(row).collect())
}

/// Takes the key `id` out of `keys_file`; `last` allows that no key is left.
///
/// # Errors
/// Nothing was written then.
pub fn revoke_key(keys_file: &Path, id: &str, last: bool) -> Result<(), RevokeKeyError> {
    let mut kind: fn(String) -> RevokeKeyError = RevokeKeyError::File;
    let done = change_there(keys_file, |text| {
        let after = KeysFile::without(text, id).map_err(|error| {
            if matches!(error, KeyEditError::Unknown(_)) {
                kind = RevokeKeyError::Unknown;
            }
            error.to_string()
        })?;
        if !last && KeysFile::parse(&after).is_ok_and(|keys| keys.is_empty()) {
            kind = RevokeKeyError::Last;
            return Err(format!(
                "{id:?} is the last key. Without it no key opens the gateway that runs, and none starts on this file. \
                 If it must go at once, say --last; else make another one first"
            ));
        }
        Ok((after, ()))
    });
    done.map_err(kind)
}

/// Why a key was not revoked, each with one readable line.
#[derive(Debug, thiserror::Error)]
pub enum RevokeKeyError {
    /// The file has no such key.
    #[error("{0}")]
    Unknown(String),
    /// The file would have none left.
    #[error("{0}")]
    Last(String),
    /// The file cannot be read, changed or written.
    #[error("{0}")]
    File(String),
}

/// Makes a new secret for the key `id` and gives the new key. The old one opens too until [`finish_rotation`]. While the
/// key is being rotated already, the newer of its secrets is replaced: nobody can tell whether it was seen.
///
/// # Errors
/// One readable line; nothing was written then.
pub fn rotate_key(keys_file: &Path, id: &str) -> Result<Secret, String> {
    change_there(keys_file, |text| {
        // The last is the one that works where the key is used.
        let [.., old] = hashes(text, id)?[..] else { return Err(format!("{id:?} has no secret")) };
        let (secret, new) = auth::new_secret(id);
        let after = KeysFile::with_hashes(text, id, &[new, old]).map_err(|error| error.to_string())?;
        Ok((after, secret))
    })
}

/// Drops the old secret of the key `id`.
///
/// # Errors
/// One readable line; nothing was written then.
pub fn finish_rotation(keys_file: &Path, id: &str) -> Result<(), String> {
    change_there(keys_file, |text| {
        let [new, _] = hashes(text, id)?[..] else { return Err(format!("{id:?} has one secret: nothing to drop")) };
        let after = KeysFile::with_hashes(text, id, &[new]).map_err(|error| error.to_string())?;
        Ok((after, ()))
    })
}

/// As [`change`], of a file that is there.
fn change_there<T>(path: &Path, how: impl FnOnce(&str) -> Result<(String, T), String>) -> Result<T, String> {
    // Looked at first, so that a mistyped name leaves no lock beside it.
    fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
    change(path, how)
}

fn hashes(text: &str, id: &str) -> Result<Vec<[u8; 32]>, String> {
    let keys = KeysFile::parse(text).map_err(|errors| errors.to_string())?;
    let key = keys.into_iter().find(|key| key.id == id).ok_or_else(|| format!("there is no key {id:?}"))?;
    Ok(key.sha256)
}

fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}

fn every_scope() -> String {
    Scope::ALL.map(Scope::as_str).join(", ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::{KeyState, finish_rotation, list_keys, new_key, revoke_key, rotate_key};
    use crate::config::{Access, AuthConfig, Config, KeysFile, MapEnv};
    use crate::edge::Keys;
    use crate::model::{Secret, Timestamp};

    fn make(file: &Path, name: &str, expires: &str) -> Result<Secret, String> {
        new_key(file, name, &["events:read".to_owned()], &["waa-*".to_owned()], expires)
    }

    fn id_of(key: &Secret) -> String {
        key.expose().split('_').nth(1).unwrap().to_owned()
    }

    #[test]
    fn g23_a_new_key_is_in_the_file_by_its_hash_alone_and_a_bad_one_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config/keys.toml");
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let key = make(&file, "grafana", "2031-01-01T00:00:00Z").unwrap();
        new_key(&file, "admin \"x\"", &owned(&["admin"]), &owned(&["*"]), "never").unwrap();
        let text = fs::read_to_string(&file).unwrap();
        assert!(!text.contains(key.expose()));
        let entries = KeysFile::load(&file).unwrap();
        assert_eq!(entries.len(), 2);
        assert!(entries[0].expires_at.is_some() && entries[1].expires_at.is_none());
        for (scopes, vms, expires) in [
            ("root", "*", "never"),
            ("admin", "A*", "never"),
            ("admin", "", "never"),
            ("admin", "*", "soon"),
            ("admin", "*", "2020-01-01T00:00:00Z"),
        ] {
            assert!(
                new_key(&file, "bad", &owned(&[scopes]), &owned(&[vms]), expires).is_err(),
                "{scopes} {vms} {expires}"
            );
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
    }

    #[test]
    fn g26_the_last_key_is_revoked_only_when_that_is_meant() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("keys.toml");
        let (first, last) = (make(&file, "a", "never").unwrap(), make(&file, "b", "never").unwrap());
        revoke_key(&file, &id_of(&first), false).unwrap();
        assert!(revoke_key(&file, &id_of(&first), false).unwrap_err().to_string().contains("there is no key"));
        let before = fs::read_to_string(&file).unwrap();
        let refused = revoke_key(&file, &id_of(&last), false).unwrap_err().to_string();
        assert!(refused.contains("--last") && fs::read_to_string(&file).unwrap() == before, "{refused}");
        revoke_key(&file, &id_of(&last), true).unwrap();
        assert!(list_keys(&file).unwrap().is_empty());

        let config = AuthConfig { access: Access::Keys(file.clone()), ..auth(&dir) };
        assert!(super::super::keys::load(&config).is_err(), "none starts on it");
        let keys = Keys::none();
        assert!(keys.replace(super::super::keys::load_set(&file).unwrap()).is_empty(), "one that runs takes it");
        fs::write(&file, "").unwrap();
        assert!(super::super::keys::load_set(&file).is_err(), "a file that is merely empty was cut short");

        assert!(revoke_key(&dir.path().join("no.toml"), "x", false).is_err());
        assert!(!dir.path().join("no.toml.lock").exists());
    }

    #[test]
    fn g25_a_rotation_has_two_secrets_until_it_is_finished() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("keys.toml");
        let old = make(&file, "a", "never").unwrap();
        let id = id_of(&old);
        let now = Timestamp(0.0);
        let opens = |key: &Secret| {
            let keys = Keys::new(super::super::keys::load_set(&file).unwrap());
            keys.verify(key.expose(), now).is_ok()
        };
        assert!(finish_rotation(&file, &id).unwrap_err().contains("nothing to drop"));
        let new = rotate_key(&file, &id).unwrap();
        assert_eq!(id_of(&new), id);
        assert!(opens(&old) && opens(&new) && list_keys(&file).unwrap()[0].rotating);
        finish_rotation(&file, &id).unwrap();
        assert!(!opens(&old) && opens(&new) && !list_keys(&file).unwrap()[0].rotating);
        assert!(rotate_key(&file, "other").unwrap_err().contains("there is no key"));
    }

    #[test]
    fn g25_a_secret_that_nobody_saw_is_replaced_and_the_old_one_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("keys.toml");
        let old = make(&file, "a", "never").unwrap();
        let id = id_of(&old);
        let opens = |key: &Secret| {
            let keys = Keys::new(super::super::keys::load_set(&file).unwrap());
            keys.verify(key.expose(), Timestamp(0.0)).is_ok()
        };
        let unseen = rotate_key(&file, &id).unwrap();
        let seen = rotate_key(&file, &id).unwrap();
        assert!(opens(&old) && !opens(&unseen) && opens(&seen) && list_keys(&file).unwrap()[0].rotating);
        finish_rotation(&file, &id).unwrap();
        assert!(!opens(&old) && !opens(&unseen) && opens(&seen));
    }

    #[test]
    fn keys_made_at_once_are_all_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("keys.toml");
        let made: BTreeSet<String> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| (0..5).map(|_| id_of(&make(&file, "n", "never").unwrap())).collect::<Vec<_>>()))
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let kept: BTreeSet<String> = list_keys(&file).unwrap().into_iter().map(|row| row.id).collect();
        assert_eq!((kept.len(), kept), (40, made));
    }

    fn auth(dir: &tempfile::TempDir) -> AuthConfig {
        let text = format!("auth.none = true\ndata.dir = {:?}\n", dir.path().display().to_string());
        Config::parse(&text, "test", &MapEnv::default()).unwrap().auth
    }

    #[test]
    fn g26_keys_that_ended_or_end_soon_are_told_of() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("keys.toml");
        let made = ["2031-01-01T00:00:00Z", "2031-01-14T00:00:00Z", "2031-03-01T00:00:00Z", "never"]
            .map(|expires| id_of(&make(&file, "n", expires).unwrap()));
        let config = AuthConfig { access: Access::Keys(file.clone()), ..auth(&dir) };
        // 2031-01-01T00:00:00Z
        let hints = super::super::keys::hints(&config, Timestamp(1_924_992_000.0));
        assert_eq!(hints.len(), 2, "{hints:#?}");
        assert!(
            hints[0].ends_with(&format!("the key {} (\"n\") ended at 2031-01-01T00:00:00Z", made[0])),
            "{hints:#?}"
        );
        assert!(hints[1].ends_with(&format!("the key {} (\"n\") ends at 2031-01-14T00:00:00Z", made[1])), "{hints:#?}");
        assert!(list_keys(&file).unwrap().iter().all(|row| row.state == KeyState::Active));
        assert_eq!(super::super::keys::hints(&auth(&dir), Timestamp(0.0)), Vec::<String>::new());
    }
}
