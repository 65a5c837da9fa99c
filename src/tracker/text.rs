//! How texts are kept short, and how identities are hashed.

use sha2::{Digest, Sha256};

/// The longest text kept, in characters.
const MAX_CHARS: usize = 256;

/// The longest text kept, in bytes of its JSON; with [`MAX_CHARS`] what keeps a state of 64 workers under 100 KiB.
const MAX_BYTES: usize = 512;

/// The longest name of a worker kept, in characters; longer ones that begin alike are one worker.
const MAX_WORKER_CHARS: usize = 64;

/// A text as it is kept: at most 256 characters, and 512 bytes of its JSON.
pub(super) fn cut(text: &str) -> String {
    shortened(text, MAX_CHARS, MAX_BYTES).to_owned()
}

/// A worker's name as it is kept: at most 64 characters, and 128 bytes of its JSON.
pub(super) fn cut_worker(name: &str) -> &str {
    shortened(name, MAX_WORKER_CHARS, 2 * MAX_WORKER_CHARS)
}

fn shortened(text: &str, chars: usize, bytes: usize) -> &str {
    let mut size = 0;
    let fits = text.char_indices().take(chars).take_while(|(_, c)| {
        // As JSON has it: what must be escaped takes two bytes.
        size += if matches!(c, '"' | '\\') { 2 } else { c.len_utf8() };
        size <= bytes
    });
    let end = fits.last().map_or(0, |(at, c)| at + c.len_utf8());
    &text[..end]
}

/// SHA-256 over `fields`, each with its length before it, so that no two lists give the same bytes.
pub(super) fn digest(fields: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for field in fields {
        hash.update((field.len() as u64).to_be_bytes());
        hash.update(field);
    }
    hash.finalize().into()
}
