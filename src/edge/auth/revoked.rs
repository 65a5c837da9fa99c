//! What other processes with the same keys revoked, and what they are to be told of.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use arc_swap::ArcSwap;
use sha2::{Digest, Sha256};

/// Bytes of the hash that tells the secrets of a key apart in a [`KeyNews`].
const MARK_LENGTH: usize = 8;
/// Revocations that are remembered.
const MAX_REVOKED: usize = 100_000;

/// What a new set of keys means for other processes with the same keys. A key is called by its id; one of its secrets by
/// the id, a dot, and the beginning of the hash of the secret's hash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyNews {
    /// Was there before and is gone.
    pub gone: Vec<Box<str>>,
    /// Was not there before, was revoked once, and is there now.
    pub back: Vec<Box<str>>,
}

/// What is not taken although it may be among the keys, as a [`KeyNews`] calls it.
#[derive(Debug, Default)]
pub(super) struct Revoked(ArcSwap<HashSet<Arc<str>>>);

impl Revoked {
    /// Takes what is revoked now, or (`false`) not any more; whether that makes a difference.
    pub(super) fn take(&self, revoked: impl IntoIterator<Item = (Box<str>, bool)>) -> bool {
        let mut all = HashSet::clone(&self.0.load());
        let mut news = false;
        for (mark, is_revoked) in revoked {
            if !is_revoked {
                news |= all.remove(&*mark);
            } else if all.len() < MAX_REVOKED {
                news |= all.insert(mark.into());
            } else if !all.contains(&*mark) {
                tracing::error!(%mark, most = MAX_REVOKED, "too many keys were revoked: this revocation is not in force");
            }
        }
        if news {
            self.0.store(Arc::new(all));
        }
        news
    }

    /// Whether the key `id`, or the one of its secrets that is called `mark`, is revoked.
    pub(super) fn has(&self, id: &str, mark: &str) -> bool {
        let revoked = self.0.load();
        // Most often there is none.
        !revoked.is_empty() && (revoked.contains(id) || revoked.contains(mark))
    }

    /// What keys with the marks `now` mean for others where those with `before` were in force.
    pub(super) fn news(&self, now: &BTreeSet<&str>, before: &BTreeSet<&str>) -> KeyNews {
        let revoked = self.0.load();
        let owned = |mark: &&str| Box::from(*mark);
        KeyNews {
            gone: before.difference(now).map(owned).collect(),
            back: now.difference(before).filter(|mark| revoked.contains(**mark)).map(owned).collect(),
        }
    }
}

/// What the secret with this hash, of the key `id`, is called in a [`KeyNews`].
pub(super) fn mark(id: &str, hash: &[u8; 32]) -> Box<str> {
    format!("{id}.{}", hex::encode(&Sha256::digest(hash)[..MARK_LENGTH])).into()
}
