//! API keys between the file (config) and the door (edge).

use std::path::Path;
use std::sync::Arc;

use rand::distr::{Alphanumeric, SampleString};
use serde::Serialize;

use crate::config::{Access, AuthConfig, ConfigErrors, KeyEntry, KeysFile};
use crate::edge::auth::{self, KeySet};
use crate::edge::{AuthMode, Keys};
use crate::model::{Scope, Timestamp};

/// From when on the end of a key is worth a warning, in seconds before it: 14 days.
const ENDS_SOON: f64 = 14.0 * 86_400.0;

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

/// Who is let in, and the id of a key that may do everything, if there is one. A file that says that it has no key is
/// refused all the same: nobody could come in (G26).
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

/// The checked set of a keys file, to replace the one in force. A file that says that it has no key is taken at its
/// word: the last key may have to go at once.
pub(super) fn load_set(path: &Path) -> Result<KeySet, KeysError> {
    let entries = KeysFile::load(path)?;
    if entries.is_empty() { Ok(KeySet::none()) } else { Ok(KeySet::new(entries)?) }
}

/// How a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// It opens.
    Active,
    /// It opens, and ends within 14 days.
    Expiring,
    /// It opened once.
    Expired,
}

impl KeyState {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expiring => "expiring",
            Self::Expired => "expired",
        }
    }
}

/// How `key` stands at `now`.
pub(super) fn state(key: &KeyEntry, now: Timestamp) -> KeyState {
    match key.expires_at {
        Some(at) if at <= now => KeyState::Expired,
        Some(at) if at.since(now) <= ENDS_SOON => KeyState::Expiring,
        _ => KeyState::Active,
    }
}

/// What whoever keeps the keys file should know at `now`: one line for each key that ended or ends soon. Nothing if the
/// file cannot be read, which others say.
pub(super) fn hints(config: &AuthConfig, now: Timestamp) -> Vec<String> {
    let Access::Keys(path) = &config.access else { return Vec::new() };
    let keys = KeysFile::load(path).unwrap_or_default();
    let hint = |key: &KeyEntry| {
        let what = match state(key, now) {
            KeyState::Active => return None,
            KeyState::Expiring => "ends at",
            KeyState::Expired => "ended at",
        };
        Some(format!("{}: the key {} ({:?}) {what} {}", path.display(), key.id, key.name, key.expires()))
    };
    keys.iter().filter_map(hint).collect()
}

/// 43 characters of base62: 256 random bits.
pub(super) fn random_text() -> String {
    Alphanumeric.sample_string(&mut rand::rng(), 43)
}
