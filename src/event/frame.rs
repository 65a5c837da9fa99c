//! SSE frames: the bytes that every stream of one event shares.

use std::fmt::Write as _;

use bytes::Bytes;
use memchr::memchr2;

use super::{EventId, EventKind};

/// One SSE frame: an `id:` line if there is one, the `event:` line, one `data:` line, and the empty line that ends it.
///
/// `data` is one line of JSON. A raw line end in JSON can only be white space between tokens (RFC 8259, section 2), so
/// one that strays in becomes a space: the value stays the same, and nothing can end the frame early or begin another.
pub fn frame(kind: EventKind, id: Option<&EventId>, data: &str) -> Bytes {
    let mut text = String::with_capacity(data.len() + 128);
    if let Some(id) = id {
        // Writing to a String never fails.
        let _ = writeln!(text, "id: {id}");
    }
    let _ = writeln!(text, "event: {}", kind.as_str());
    text.push_str("data: ");
    if memchr2(b'\n', b'\r', data.as_bytes()).is_none() {
        text.push_str(data);
    } else {
        text.extend(data.chars().map(|c| if c == '\n' || c == '\r' { ' ' } else { c }));
    }
    text.push_str("\n\n");
    text.into()
}

/// Tells the client how many milliseconds to wait before it reconnects.
pub fn retry_frame(ms: u32) -> Bytes {
    format!("retry: {ms}\n\n").into()
}
