//! Whether a file is still the one that a cursor was left in, and what a new cursor remembers of it (SEMANTICS 2).

use sha2::{Digest, Sha256};

use super::raw::{BEFORE_LEN, HEAD_LEN, RawFile};
use crate::model::LogCursor;

/// Whether `file` still holds what was read of it up to `cursor`. Before the first byte nothing can differ.
pub(super) fn confirms(cursor: &LogCursor, file: &RawFile) -> bool {
    let same = |stored_len: u32, stored: &str, wanted: usize, bytes: Option<&[u8]>| {
        stored_len as usize == wanted && bytes.is_some_and(|bytes| hash(bytes) == stored)
    };
    let (head_len, before_len) = (first(cursor.offset, HEAD_LEN), first(cursor.offset, BEFORE_LEN));
    let head = file.head.get(..head_len);
    let before = (file.before.len() == before_len).then_some(&file.before[..]);
    file.size >= cursor.offset
        && same(cursor.head_len, &cursor.head_hash, head_len, head)
        && same(cursor.before_len, &cursor.before_hash, before_len, before)
}

/// Whether `file` has the device and inode that `cursor` saw.
pub(super) fn same_inode(cursor: &LogCursor, file: &RawFile) -> bool {
    (cursor.dev, cursor.inode) == (file.dev, file.inode)
}

/// The cursor at the start of `file`, the next one after that of `cursor` to stand at its path.
pub(super) fn next_generation(cursor: &LogCursor, file: &RawFile) -> LogCursor {
    let generation = cursor.generation.saturating_add(1);
    LogCursor { generation, dev: file.dev, inode: file.inode, ..LogCursor::start(&cursor.path) }
}

/// `cursor` moved on by `consumed` bytes of the data of `file`, which `cursor` was confirmed for.
///
/// Only bytes that were consumed are remembered, so that a file that changed meanwhile is noticed by the next poll.
pub(super) fn advance(cursor: &LogCursor, file: &RawFile, consumed: usize) -> LogCursor {
    let offset = cursor.offset + consumed as u64;
    let consumed = &file.data[..consumed];
    let mut next = LogCursor { dev: file.dev, inode: file.inode, offset, ..cursor.clone() };
    let (head_len, had) = (first(offset, HEAD_LEN), first(cursor.offset, HEAD_LEN));
    if head_len > had {
        let head: Vec<u8> = file.head[..had].iter().chain(&consumed[..head_len - had]).copied().collect();
        (next.head_len, next.head_hash) = (head_len as u32, hash(&head));
    }
    let before_len = first(offset, BEFORE_LEN);
    if !consumed.is_empty() {
        let fresh = consumed.len().min(before_len);
        let older = &file.before[file.before.len() - (before_len - fresh)..];
        let before: Vec<u8> = older.iter().chain(&consumed[consumed.len() - fresh..]).copied().collect();
        (next.before_len, next.before_hash) = (before_len as u32, hash(&before));
    }
    next
}

fn first(offset: u64, cap: usize) -> usize {
    usize::try_from(offset).unwrap_or(cap).min(cap)
}

/// SHA-256 as hex; empty for no bytes, as in [`LogCursor::start`].
fn hash(bytes: &[u8]) -> String {
    if bytes.is_empty() { String::new() } else { hex::encode(Sha256::digest(bytes)) }
}
