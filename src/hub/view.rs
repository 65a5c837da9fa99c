//! What one stream may see: its grants and its filter.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::model::{Principal, VmName};

/// How many hex digits of the hash clients get: enough to tell one view from another.
const HASH_DIGITS: usize = 12;

/// The grants and the filter of one stream, with their hash: `view` of `connected`.
#[derive(Debug)]
pub(super) struct View {
    pub(super) principal: Arc<Principal>,
    vms: Option<Arc<[VmName]>>,
    hash: Box<str>,
    key: u64,
}

impl View {
    /// What `principal` sees of `vms` (of all, if `None`).
    pub(super) fn new(principal: Arc<Principal>, vms: Option<Arc<[VmName]>>) -> Self {
        let digest = digest(&principal, vms.as_deref());
        let mut hash = hex::encode(digest);
        hash.truncate(HASH_DIGITS);
        let key = digest[..8].iter().fold(0, |key, byte| key << 8 | u64::from(*byte));
        Self { principal, vms, hash: hash.into(), key }
    }

    /// The same filter under other grants.
    pub(super) fn under(&self, principal: Arc<Principal>) -> Self {
        Self::new(principal, self.vms.clone())
    }

    pub(super) fn sees(&self, vm: &VmName) -> bool {
        self.vms.as_ref().is_none_or(|vms| vms.contains(vm)) && self.principal.vms.allows(vm)
    }

    /// The filter; `None`: there is none.
    pub(super) fn vms(&self) -> Option<Arc<[VmName]>> {
        self.vms.clone()
    }

    /// The hash as clients get it: the same on every replica.
    pub(super) fn hash(&self) -> &str {
        &self.hash
    }

    /// The hash as a key.
    pub(super) fn key(&self) -> u64 {
        self.key
    }
}

/// The order in which globs and names are written does not matter; neither character 0 nor 1 is in any of them.
fn digest(principal: &Principal, vms: Option<&[VmName]>) -> [u8; 32] {
    fn sorted<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
        let mut texts: Vec<&str> = texts.collect();
        texts.sort_unstable();
        texts.dedup();
        texts
    }
    let grant = &principal.vms;
    let mut parts = sorted(grant.globs().iter().map(AsRef::as_ref));
    if let Some(only) = grant.only() {
        parts.push("\u{1}of");
        parts.extend(sorted(only.iter().map(AsRef::as_ref)));
    }
    parts.push(if vms.is_some() { "\u{1}only" } else { "\u{1}all" });
    parts.extend(sorted(vms.unwrap_or_default().iter().map(VmName::as_str)));
    let text: String = parts.into_iter().flat_map(|part| [part, "\0"]).collect();
    Sha256::digest(text).into()
}
