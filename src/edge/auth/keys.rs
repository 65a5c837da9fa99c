//! API keys: `gw_<id>_<secret>`, of which only a hash is kept.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use rand::distr::{Alphanumeric, SampleString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::watch;

use super::hook::Hook;
use super::revoked::{KeyNews, Revoked, mark};
use crate::config::KeyEntry;
use crate::model::{Basis, Principal, PrincipalKind, Scope, Scopes, Secret, Timestamp, VmGrant};

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
    let (text, sha256) = new_secret(&id);
    let scopes = scopes.into_iter().collect();
    (text, KeyEntry { id, sha256: vec![sha256], name: name.into(), scopes, vms, expires_at })
}

/// A new secret for the key `id`: the whole key, to be shown once, and its hash.
pub fn new_secret(id: &str) -> (Secret, [u8; 32]) {
    let text = format!("{PREFIX}{id}_{}", random_text(SECRET_LENGTH));
    let sha256 = Sha256::digest(text.as_bytes()).into();
    (Secret::new(text), sha256)
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
    /// Neither one nor two hashes.
    #[error("the key id {0:?} has neither one nor two hashes")]
    Hashes(String),
    /// An id that no key can show.
    #[error("the key id {0:?} is not 1 to 32 of A-Z, a-z, 0-9")]
    Id(String),
}

/// A checked set of keys.
#[derive(Clone, Debug)]
pub struct KeySet(HashMap<String, Kept>);

#[derive(Clone, Debug)]
struct Kept {
    /// Always as many: a key with one secret has [`NO_HASH`] for the other, so that what a key is like shows in no time.
    sha256: [[u8; 32]; 2],
    name: Arc<str>,
    /// Whom each of the two lets in; of a key with one secret both are the same.
    principals: [Arc<Principal>; 2],
    /// What each of the two is called in a [`KeyNews`]; of a key with one secret both are the same.
    marks: [Box<str>; 2],
    /// Whole seconds since the epoch; 0: not since the process started. It outlives a replacement of the set.
    last_used: Arc<AtomicU64>,
}

/// The hash of no text.
const NO_HASH: [u8; 32] = [0; 32];

impl Kept {
    /// Whether both are one key: the file may have changed everything about it.
    fn same(&self, other: &Self) -> bool {
        (&self.sha256, &self.name, &self.principals) == (&other.sha256, &other.name, &other.principals)
    }
}

impl KeySet {
    /// Checks `entries`.
    pub fn new(entries: impl IntoIterator<Item = KeyEntry>) -> Result<Self, KeysError> {
        let mut keys = HashMap::new();
        for entry in entries {
            if !is_id(&entry.id) {
                return Err(KeysError::Id(entry.id));
            }
            let sha256 = match entry.sha256[..] {
                [one] => [one, NO_HASH],
                [new, old] => [new, old],
                _ => return Err(KeysError::Hashes(entry.id)),
            };
            let name: Arc<str> = entry.id.as_str().into();
            let principal = |hash: &[u8; 32]| {
                Arc::new(Principal {
                    kind: PrincipalKind::ApiKey,
                    name: Arc::clone(&name),
                    issuer: None,
                    scopes: entry.scopes,
                    vms: entry.vms.clone(),
                    basis: Basis { key_secret: Some(beginning(hash)), session: None },
                    expires_at: entry.expires_at,
                })
            };
            let principals = match &entry.sha256[..] {
                [new, old] => [principal(new), principal(old)],
                _ => {
                    let one = principal(&sha256[0]);
                    [Arc::clone(&one), one]
                }
            };
            let marks = match sha256 {
                [one, NO_HASH] => [mark(&entry.id, &one), mark(&entry.id, &one)],
                [new, old] => [mark(&entry.id, &new), mark(&entry.id, &old)],
            };
            let kept = Kept { sha256, name: entry.name.into(), principals, marks, last_used: Arc::default() };
            if keys.insert(entry.id.clone(), kept).is_some() {
                return Err(KeysError::Twice(entry.id));
            }
        }
        if keys.is_empty() { Err(KeysError::Empty) } else { Ok(Self(keys)) }
    }

    /// No key at all, said on purpose: by a keys file that says so, or without one.
    pub fn none() -> Self {
        Self(HashMap::new())
    }

    /// Its keys and secrets, as a [`KeyNews`] calls them.
    fn marks(&self) -> BTreeSet<&str> {
        self.0.iter().flat_map(|(id, kept)| [id.as_str(), &kept.marks[0], &kept.marks[1]]).collect()
    }

    /// What is other in it than in `before`, by ids in their order.
    fn changes(&self, before: &Self) -> KeyChanges {
        let sorted = |ids: Vec<&String>| {
            let mut ids: Vec<String> = ids.into_iter().cloned().collect();
            ids.sort_unstable();
            ids
        };
        let differs = |(id, kept): &(&String, &Kept)| before.0.get(*id).is_some_and(|old| !old.same(kept));
        KeyChanges {
            added: sorted(self.0.keys().filter(|id| !before.0.contains_key(*id)).collect()),
            removed: sorted(before.0.keys().filter(|id| !self.0.contains_key(*id)).collect()),
            changed: sorted(self.0.iter().filter(differs).map(|(id, _)| id).collect()),
        }
    }
}

/// What a new set of keys changed: ids, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyChanges {
    /// Not there before.
    pub added: Vec<String>,
    /// Revoked.
    pub removed: Vec<String>,
    /// With other secrets, grants, name or end.
    pub changed: Vec<String>,
}

impl KeyChanges {
    /// Whether everything is as it was.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

/// A key in force, as an administrator sees it: nothing that opens anything.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyInfo {
    /// The public part.
    pub id: Arc<str>,
    /// For people.
    pub name: Arc<str>,
    /// What it may do.
    pub scopes: Scopes,
    /// Which VMs it may see.
    pub vms: VmGrant,
    /// When it ends; `None`: never. It may be past.
    pub expires_at: Option<Timestamp>,
    /// When it was last shown and let in, in whole seconds; `None`: not since this process started.
    pub last_used: Option<Timestamp>,
    /// Whether it has two secrets.
    pub rotating: bool,
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
    /// Another process revoked it.
    Revoked,
}

/// The keys in force. They are replaced whole, without a lock in the way of a request.
#[derive(Debug)]
pub struct Keys {
    set: ArcSwap<KeySet>,
    /// What is not taken although it may be in the set, as a [`KeyNews`] calls it.
    revoked: Revoked,
    version: watch::Sender<u64>,
    news: Hook<KeyNews>,
}

impl Keys {
    /// With `set` in force.
    pub fn new(set: KeySet) -> Self {
        let (set, version) = (ArcSwap::from_pointee(set), watch::Sender::new(0));
        Self { set, revoked: Revoked::default(), version, news: Hook::default() }
    }

    /// With no key at all, for [`super::super::AuthMode::Open`].
    pub fn none() -> Self {
        Self::new(KeySet::none())
    }

    /// Puts `set` in force and says what it changes; whoever watches [`Keys::changes`] is told. When a key was last used
    /// is kept.
    pub fn replace(&self, mut set: KeySet) -> KeyChanges {
        let before = self.set.load();
        for (id, kept) in &mut set.0 {
            if let Some(old) = before.0.get(id) {
                kept.last_used = Arc::clone(&old.last_used);
            }
        }
        let changes = set.changes(&before);
        let set = Arc::new(set);
        self.set.store(Arc::clone(&set));
        self.version.send_modify(|version| *version += 1);
        self.news.tell(|| {
            let news = self.revoked.news(&set.marks(), &before.marks());
            // Known at once, so that one that comes back soon is known to have gone.
            self.revoke(news.gone.iter().map(|what| (what.clone(), true)));
            news
        });
        changes
    }

    /// Tells `told` of each replacement what it means for others.
    pub fn on_news(&self, told: impl Fn(KeyNews) + Send + Sync + 'static) {
        self.news.set(told);
    }

    /// Refuses from now on what `revoked` names, as a [`KeyNews`] does, or (`false`) takes it again if it is in the set.
    /// Whether that makes a difference.
    pub fn revoke(&self, revoked: impl IntoIterator<Item = (Box<str>, bool)>) -> bool {
        let news = self.revoked.take(revoked);
        if news {
            self.version.send_modify(|version| *version += 1);
        }
        news
    }

    /// Keys of the set of which something was revoked elsewhere, in the order of ids.
    pub fn refused(&self) -> Vec<String> {
        let set = self.set.load();
        let refused = |(_, kept): &(&String, &Kept)| (0..2).any(|secret| self.is_revoked(kept, secret));
        let mut ids: Vec<String> = set.0.iter().filter(refused).map(|(id, _)| id.clone()).collect();
        ids.sort_unstable();
        ids
    }

    /// Whether the secret at `secret` of `kept` was revoked elsewhere, by itself or with its key.
    fn is_revoked(&self, kept: &Kept, secret: usize) -> bool {
        self.revoked.has(&kept.principals[secret].name, &kept.marks[secret])
    }

    /// Every key in force, in the order of ids.
    pub fn list(&self) -> Vec<KeyInfo> {
        let set = self.set.load();
        let info = |kept: &Kept| KeyInfo {
            id: Arc::clone(&kept.principals[0].name),
            name: Arc::clone(&kept.name),
            scopes: kept.principals[0].scopes,
            vms: kept.principals[0].vms.clone(),
            expires_at: kept.principals[0].expires_at,
            last_used: Some(kept.last_used.load(Ordering::Relaxed)).filter(|at| *at > 0).map(|at| Timestamp(at as f64)),
            rotating: kept.sha256[1] != NO_HASH,
        };
        let in_force = |kept: &&Kept| (0..2).any(|secret| !self.is_revoked(kept, secret));
        let mut keys: Vec<KeyInfo> = set.0.values().filter(in_force).map(info).collect();
        keys.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        keys
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
        // An unknown id costs the same hash and the same two comparisons as a known one, whose first secret costs what its
        // second does.
        let [new, old] = kept.map_or(&[NO_HASH; 2], |kept| &kept.sha256);
        let shown: [u8; 32] = Sha256::digest(text.as_bytes()).into();
        let is_new = shown.ct_eq(new);
        let same = bool::from(is_new | shown.ct_eq(old));
        let Some(kept) = kept else { return Err(KeyFault::Unknown) };
        if !same {
            return Err(KeyFault::Wrong);
        }
        let secret = usize::from(!bool::from(is_new));
        let principal = &kept.principals[secret];
        if expired(principal, now) {
            return Err(KeyFault::Expired);
        }
        if self.is_revoked(kept, secret) {
            return Err(KeyFault::Revoked);
        }
        used(&kept.last_used, now);
        Ok(Arc::clone(principal))
    }

    /// The principal of the key `id`, if it is in force at `now`.
    pub fn principal(&self, id: &str, now: Timestamp) -> Option<Arc<Principal>> {
        let set = self.set.load();
        let kept = set.0.get(id)?;
        let secret = (0..2).find(|secret| !self.is_revoked(kept, *secret))?;
        Some(Arc::clone(&kept.principals[secret])).filter(|principal| !expired(principal, now))
    }

    /// What `principal`, let in earlier, is at `now`: with the grants that the key behind it has by then, and never longer
    /// than either of them; `None` if it is no more, or no more by the secret that let it in.
    pub fn renewed(&self, principal: &Principal, now: Timestamp) -> Option<Arc<Principal>> {
        let set = self.set.load();
        let kept = set.0.get(&*principal.name)?;
        let mut by_secret = kept.principals.iter();
        let secret = by_secret.position(|key| key.basis.key_secret == principal.basis.key_secret)?;
        let key = &kept.principals[secret];
        if expired(key, now) || self.is_revoked(kept, secret) {
            return None;
        }
        let key = Arc::clone(key);
        if principal.kind == PrincipalKind::ApiKey {
            return Some(key);
        }
        let end = [principal.expires_at, key.expires_at].into_iter().flatten().min_by(|a, b| a.0.total_cmp(&b.0));
        let scopes =
            if principal.kind == PrincipalKind::Ticket { principal.scopes.and(key.scopes) } else { key.scopes };
        let vms = principal.vms.over(&key.vms);
        Some(Arc::new(Principal { scopes, vms, expires_at: end, ..principal.clone() }))
    }
}

/// What tells one secret of a key from another; nothing can be opened with it.
fn beginning(hash: &[u8; 32]) -> u64 {
    hash[..8].iter().fold(0, |beginning, byte| beginning << 8 | u64::from(*byte))
}

/// Notes a use; within the same second nothing is written, so that busy cores do not fight for it.
fn used(last: &AtomicU64, now: Timestamp) {
    let now = now.0.max(0.0) as u64;
    if last.load(Ordering::Relaxed) < now {
        last.fetch_max(now, Ordering::Relaxed);
    }
}

fn expired(principal: &Principal, now: Timestamp) -> bool {
    principal.expires_at.is_some_and(|at| at <= now)
}

/// The id in `gw_<id>_<secret>`; `None` if `text` is not of that form.
pub(super) fn parse(text: &str) -> Option<&str> {
    let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
    let plain = !secret.is_empty() && secret.bytes().all(|b| b.is_ascii_alphanumeric());
    (text.len() <= MAX_KEY && is_id(id) && plain).then_some(id)
}
