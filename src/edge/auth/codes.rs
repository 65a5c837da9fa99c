//! Login codes: what a link carries that signs a browser in.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};

use crate::model::Secret;

/// Login codes at once; one more takes the place of any other.
const MAX_CODES: usize = 64;

/// SHA-256 of a code. The text itself is never kept.
type Hash = [u8; 32];

/// The codes of this process, each for an API key. They work as often as wanted while the process lives: they are for the
/// link that `demo` prints.
#[derive(Debug, Default)]
pub struct LoginCodes(Mutex<HashMap<Hash, Arc<str>>>);

impl LoginCodes {
    /// Makes `code` open sessions of the key `key_id`.
    pub fn keep(&self, code: &Secret, key_id: &str) {
        let mut codes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if codes.len() >= MAX_CODES
            && let Some(any) = codes.keys().next().copied()
        {
            codes.remove(&any);
        }
        codes.insert(hash(code.expose()), key_id.into());
    }

    /// The id of the key that `code` stands for.
    pub fn key_id(&self, code: &str) -> Option<Arc<str>> {
        // Looked up by hash: how long that takes says nothing about the code.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&hash(code)).cloned()
    }
}

fn hash(text: &str) -> Hash {
    Sha256::digest(text.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::{LoginCodes, MAX_CODES};
    use crate::model::Secret;

    #[test]
    fn a_code_stands_for_its_key_and_codes_are_bounded() {
        let codes = LoginCodes::default();
        codes.keep(&Secret::new("first"), "k1");
        assert_eq!(codes.key_id("first").as_deref(), Some("k1"));
        assert_eq!(codes.key_id("guess"), None);
        for n in 0..2 * MAX_CODES {
            codes.keep(&Secret::new(format!("code {n}")), "k2");
        }
        assert_eq!(codes.0.lock().unwrap().len(), MAX_CODES);
    }
}
