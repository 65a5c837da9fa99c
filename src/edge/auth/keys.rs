//! API keys: `gw_<id>_<secret>`, of which only a hash is kept.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rand::distr::{Alphanumeric, SampleString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::watch;

use crate::config::KeyEntry;
use crate::model::{Principal, PrincipalKind, Scope, Secret, Timestamp, VmGrant};

/// What every key begins with, so that scanners of repositories can find a leaked one.
pub(super) const PREFIX: &str = "gw_";
/// Characters of an id.
const ID_LENGTH: usize = 10;
/// Characters of a secret: 43 of base62 are 256 bits.
pub(super) const SECRET_LENGTH: usize = 43;
/// Longest key that is looked at, in bytes.
const MAX_KEY: usize = 128;

/// A new key: its text, to be shown once, and what is kept of it.
pub fn new_key(
    name: impl Into<String>,
    scopes: impl IntoIterator<Item = Scope>,
    vms: VmGrant,
    expires_at: Option<Timestamp>,
) -> (Secret, KeyEntry) {
    let id = random_text(ID_LENGTH);
    let text = format!("{PREFIX}{id}_{}", random_text(SECRET_LENGTH));
    let sha256 = Sha256::digest(text.as_bytes()).into();
    let scopes = scopes.into_iter().collect();
    (Secret::new(text), KeyEntry { id, sha256: vec![sha256], name: name.into(), scopes, vms, expires_at })
}

/// `length` characters of base62 from the operating system's generator.
pub(super) fn random_text(length: usize) -> String {
    Alphanumeric.sample_string(&mut rand::rng(), length)
}

/// Why a set of keys is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// There is none: nobody could come in, and an empty file is most often a mistake (G26).
    #[error("there is no key")]
    Empty,
    /// Two keys have one id.
    #[error("the key id {0:?} is there twice")]
    Twice(String),
    /// An id that no key can show.
    #[error("the key id {0:?} is not 1 to 32 of A-Z, a-z, 0-9")]
    Id(String),
}

/// A checked set of keys.
#[derive(Clone, Debug)]
pub struct KeySet(HashMap<String, Kept>);

#[derive(Clone, Debug)]
struct Kept {
    sha256: [u8; 32],
    principal: Arc<Principal>,
}

impl KeySet {
    /// Checks `entries`.
    pub fn new(entries: impl IntoIterator<Item = KeyEntry>) -> Result<Self, KeysError> {
        let mut keys = HashMap::new();
        for entry in entries {
            if !is_id(&entry.id) {
                return Err(KeysError::Id(entry.id));
            }
            let principal = Arc::new(Principal {
                kind: PrincipalKind::ApiKey,
                name: entry.id.as_str().into(),
                issuer: None,
                scopes: entry.scopes,
                vms: entry.vms,
                expires_at: entry.expires_at,
            });
            if keys.insert(entry.id.clone(), Kept { sha256: entry.sha256[0], principal }).is_some() {
                return Err(KeysError::Twice(entry.id));
            }
        }
        if keys.is_empty() { Err(KeysError::Empty) } else { Ok(Self(keys)) }
    }
}

fn is_id(id: &str) -> bool {
    (1..=32).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// Why a key is not taken. For the log alone: the client sees one answer (G24).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFault {
    /// Not `gw_<id>_<secret>`.
    Malformed,
    /// No such id.
    Unknown,
    /// Another secret.
    Wrong,
    /// It was valid once.
    Expired,
}

/// Whether a principal may still do what it was let in for: a stream asks while it lasts (G49).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It may.
    Valid,
    /// Its time is over.
    Expired,
    /// Its key was taken out, or may do and see other things than before.
    Revoked,
}

/// The keys in force. They are replaced whole, without a lock in the way of a request.
#[derive(Debug)]
pub struct Keys {
    set: ArcSwap<KeySet>,
    version: watch::Sender<u64>,
}

impl Keys {
    /// With `set` in force.
    pub fn new(set: KeySet) -> Self {
        Self { set: ArcSwap::from_pointee(set), version: watch::Sender::new(0) }
    }

    /// With no key at all, for [`super::super::AuthMode::Open`].
    pub fn none() -> Self {
        Self::new(KeySet(HashMap::new()))
    }

    /// Puts `set` in force; whoever watches [`Keys::changes`] is told.
    pub fn replace(&self, set: KeySet) {
        self.set.store(Arc::new(set));
        self.version.send_modify(|version| *version += 1);
    }

    /// Changes whenever keys were replaced: the time for a stream to ask whether it still stands.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Whose key `text` is at `now`.
    pub fn verify(&self, text: &str, now: Timestamp) -> Result<Arc<Principal>, KeyFault> {
        let id = parse(text).ok_or(KeyFault::Malformed)?;
        let set = self.set.load();
        let kept = set.0.get(id);
        // An unknown id costs the same hash and the same comparison as a known one. No text hashes to zeros.
        let expected = kept.map_or(&[0; 32], |kept| &kept.sha256);
        let shown: [u8; 32] = Sha256::digest(text.as_bytes()).into();
        let same = bool::from(shown.ct_eq(expected));
        let Some(kept) = kept else { return Err(KeyFault::Unknown) };
        if !same {
            return Err(KeyFault::Wrong);
        }
        if expired(&kept.principal, now) {
            return Err(KeyFault::Expired);
        }
        Ok(Arc::clone(&kept.principal))
    }

    /// The principal of the key `id`, if it is in force at `now`.
    pub fn principal(&self, id: &str, now: Timestamp) -> Option<Arc<Principal>> {
        let set = self.set.load();
        set.0.get(id).map(|kept| Arc::clone(&kept.principal)).filter(|principal| !expired(principal, now))
    }

    /// What `principal`, let in earlier, is at `now`: with the grants that the key behind it has by then, and never longer
    /// than either of them; `None` if it is no more.
    pub fn renewed(&self, principal: &Principal, now: Timestamp) -> Option<Arc<Principal>> {
        let key = self.principal(&principal.name, now)?;
        if principal.kind == PrincipalKind::ApiKey {
            return Some(key);
        }
        let end = [principal.expires_at, key.expires_at].into_iter().flatten().min_by(|a, b| a.0.total_cmp(&b.0));
        let scopes =
            if principal.kind == PrincipalKind::Ticket { principal.scopes.and(key.scopes) } else { key.scopes };
        let vms = principal.vms.over(&key.vms);
        Some(Arc::new(Principal { scopes, vms, expires_at: end, ..principal.clone() }))
    }

    /// Whether `principal`, let in earlier, still stands at `now`. A session stands as long as the key behind it.
    pub(in crate::edge) fn standing(&self, principal: &Principal, now: Timestamp) -> Standing {
        if expired(principal, now) {
            return Standing::Expired;
        }
        let set = self.set.load();
        match set.0.get(principal.name.as_ref()).map(|kept| &kept.principal) {
            Some(key) if expired(key, now) => Standing::Expired,
            Some(key) if key.scopes == principal.scopes && key.vms == principal.vms => Standing::Valid,
            _ => Standing::Revoked,
        }
    }
}

fn expired(principal: &Principal, now: Timestamp) -> bool {
    principal.expires_at.is_some_and(|at| at <= now)
}

/// The id in `gw_<id>_<secret>`.
fn parse(text: &str) -> Option<&str> {
    let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
    let plain = !secret.is_empty() && secret.bytes().all(|b| b.is_ascii_alphanumeric());
    (text.len() <= MAX_KEY && is_id(id) && plain).then_some(id)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{KeyFault, KeySet, Keys, KeysError, Standing, new_key};
    use crate::model::{Scope, Timestamp, VmGrant};

    const NOW: Timestamp = Timestamp(1000.0);

    #[test]
    fn a_key_opens_until_it_expires_or_is_revoked() {
        let (text, entry) = new_key("ci", [Scope::EventsRead], VmGrant::all(), Some(Timestamp(2000.0)));
        let (other, other_entry) = new_key("other", [Scope::Admin], VmGrant::all(), None);
        let keys = Keys::new(KeySet::new([entry.clone()]).unwrap());

        let principal = keys.verify(text.expose(), NOW).unwrap();
        assert_eq!(&*principal.name, entry.id);
        assert!(principal.scopes.allow(Scope::EventsRead) && !principal.scopes.allow(Scope::Admin));

        let mixed = format!("gw_{}_{}", entry.id, other.expose().rsplit('_').next().unwrap());
        for (shown, fault) in [
            (other.expose(), KeyFault::Unknown),
            (mixed.as_str(), KeyFault::Wrong),
            ("", KeyFault::Malformed),
            ("gw_", KeyFault::Malformed),
            ("gw_a", KeyFault::Malformed),
            ("gw_a_", KeyFault::Malformed),
            ("gw__b", KeyFault::Malformed),
            ("gw_ä_b", KeyFault::Malformed),
            (&format!("gw_a_{}", "b".repeat(200)), KeyFault::Malformed),
        ] {
            assert_eq!(keys.verify(shown, NOW).unwrap_err(), fault, "{shown}");
        }
        assert_eq!(keys.verify(text.expose(), Timestamp(2000.0)).unwrap_err(), KeyFault::Expired);
        assert_eq!(keys.standing(&principal, NOW), Standing::Valid);
        assert_eq!(keys.standing(&principal, Timestamp(2000.0)), Standing::Expired);

        let changes = keys.changes();
        let narrower = super::KeyEntry { vms: VmGrant::from_globs(["lab"]), ..entry };
        keys.replace(KeySet::new([narrower]).unwrap());
        assert!(changes.has_changed().unwrap());
        assert_eq!(keys.standing(&principal, NOW), Standing::Revoked, "it may see less now");
        keys.replace(KeySet::new([other_entry]).unwrap());
        assert_eq!(keys.standing(&principal, NOW), Standing::Revoked);
        assert_eq!(keys.verify(text.expose(), NOW).unwrap_err(), KeyFault::Unknown);
    }

    #[test]
    fn a_set_of_keys_is_checked() {
        let (_, entry) = new_key("ci", [], VmGrant::all(), None);
        assert_eq!(KeySet::new([]).unwrap_err(), KeysError::Empty);
        assert_eq!(KeySet::new([entry.clone(), entry.clone()]).unwrap_err(), KeysError::Twice(entry.id.clone()));
        let bad = super::KeyEntry { id: "a_b".to_owned(), ..entry };
        assert_eq!(KeySet::new([bad]).unwrap_err(), KeysError::Id("a_b".to_owned()));
    }

    proptest! {
        #[test]
        fn no_other_text_opens(text in "(gw_)?[a-zA-Z0-9_]{0,60}|\\PC*") {
            let (_, entry) = new_key("ci", [], VmGrant::all(), None);
            prop_assert!(Keys::new(KeySet::new([entry]).unwrap()).verify(&text, NOW).is_err());
        }
    }
}
