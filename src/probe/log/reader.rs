//! The incremental reader: the last cursor and one raw reading in, facts and the next cursors out (SEMANTICS 2).

use std::sync::Arc;

use super::dialect::{Found, LineParser, Profile};
use super::identity::{confirms, next_generation, same_inode};
use super::raw::{RawFile, RawLog};
use super::scan::{MAX_LINE, Tail, scan};
use super::text::text;
use super::trouble::Trouble;
use crate::model::{LogCursor, LogPart, LogRead, LogText};

/// Reads on in the log `source` from `cursor`.
///
/// `known_size` is the `size` of the last [`LogRead`] that had `exists` set, 0 before the first: what it shows to have
/// stood behind `cursor` and is gone now is told as `log_gap`. `raw` must have been asked for with `cursor`.
///
/// The next cursor is that of the last part, or still `cursor` if there is none. `unread` above 0 asks to read again
/// with it at once; each such reading makes progress.
pub fn read_log(source: &Arc<str>, profile: &Profile, cursor: &LogCursor, known_size: u64, raw: &RawLog) -> LogRead {
    read_log_capped(source, profile, cursor, known_size, raw, MAX_LINE)
}

/// [`read_log`] with a cap on lines of the caller's choice.
pub(super) fn read_log_capped(
    source: &Arc<str>,
    profile: &Profile,
    cursor: &LogCursor,
    known_size: u64,
    raw: &RawLog,
    cap: usize,
) -> LogRead {
    let mut reading =
        Reading { profile, cap, trouble: Trouble::default(), parts: Vec::new(), rest: None, unread: 0, text: None };
    let exists = raw.current.is_some() || raw.unreadable.is_some();
    let size = match &raw.unreadable {
        Some(why) => {
            reading.trouble.unreadable = Some(text(why.as_bytes()).unwrap_or_else(|| "no reason given".to_owned()));
            known_size
        }
        None => reading.files(cursor, known_size, raw),
    };
    let Reading { trouble, parts, rest, unread, text, .. } = reading;
    LogRead { source: source.clone(), size, exists, parts, rest, unread, text, problems: trouble.problems() }
}

struct Reading<'p> {
    profile: &'p Profile,
    cap: usize,
    trouble: Trouble,
    parts: Vec<LogPart>,
    rest: Option<LogPart>,
    unread: u64,
    text: Option<LogText>,
}

impl Reading<'_> {
    /// Reads what is to be read and gives the size of the file that the next cursor stands in.
    fn files(&mut self, cursor: &LogCursor, known_size: u64, raw: &RawLog) -> u64 {
        let known = cursor.generation > 0;
        let renamed = raw.renamed.as_ref().filter(|file| known && same_inode(cursor, file) && confirms(cursor, file));
        match (&raw.current, renamed) {
            (Some(current), _) if !known => {
                let first = next_generation(cursor, current);
                self.file(&first, current, Tail::Waits);
                if self.parts.is_empty() {
                    self.parts.push(LogPart { facts: Vec::new(), cursor: first });
                }
                end(current)
            }
            (Some(current), renamed) if stands(cursor, current, renamed.is_some()) => {
                let replaced = cursor.offset == 0 && !same_inode(cursor, current);
                self.trouble.gap = known_size.saturating_sub(if replaced { 0 } else { current.size });
                self.file(cursor, current, Tail::Waits);
                end(current)
            }
            // Whoever writes to the renamed file may go on to do so until the new one has bytes.
            (Some(current), Some(renamed)) if current.size > 0 => self.leave(cursor, renamed, current),
            (current, Some(renamed)) => {
                self.file(cursor, renamed, Tail::Waits);
                current.as_ref().map_or(0, |_| end(renamed))
            }
            (Some(current), None) => {
                self.trouble.gap = known_size.saturating_sub(cursor.offset);
                self.turn_to(cursor, current)
            }
            (None, None) => 0,
        }
    }

    /// Reads `renamed` to its end, then turns to `current`; while more of `renamed` is left, stays with it.
    fn leave(&mut self, cursor: &LogCursor, renamed: &RawFile, current: &RawFile) -> u64 {
        let last = self.file(cursor, renamed, Tail::Ended);
        if self.unread > 0 {
            self.unread = self.unread.saturating_add(current.size);
            return end(renamed);
        }
        if self.trouble.unreadable.is_some() {
            return end(renamed);
        }
        self.turn_to(&last, current)
    }

    /// Begins a generation. Its bytes are read when asked for again: these were read from the old offset.
    fn turn_to(&mut self, cursor: &LogCursor, current: &RawFile) -> u64 {
        self.parts.push(LogPart { facts: Vec::new(), cursor: next_generation(cursor, current) });
        self.unread = current.size;
        current.size
    }

    /// Reads the data of `file`, which `cursor` was confirmed for; `tail` holds if the data reaches the file's end.
    fn file(&mut self, cursor: &LogCursor, file: &RawFile, tail: Tail) -> LogCursor {
        if file.data_offset != cursor.offset {
            let why = "the reply for this log does not begin where it was asked to";
            self.trouble.unreadable = Some(why.to_owned());
            return cursor.clone();
        }
        self.unread = end(file) - (file.data_offset + file.data.len() as u64);
        let tail = if self.unread > 0 { Tail::Cut } else { tail };
        let parser = LineParser::new(self.profile, Found::of(cursor));
        let scanned = scan(cursor, file, parser, self.cap, tail, &mut self.trouble);
        if self.unread > 0 && scanned.cursor.offset == cursor.offset {
            // Less than a longest line, yet not all: to ask again at once would give the same again.
            self.unread = 0;
            self.trouble.unreadable = Some("the reply holds less of this log than was asked for".to_owned());
        }
        let taken = scanned.cursor.offset - cursor.offset;
        if taken > 0 {
            let lines = file.data.get(..taken as usize).unwrap_or(&file.data);
            self.text = Some(LogText::of(cursor.generation, cursor.offset, lines));
        }
        self.parts.extend(scanned.parts);
        self.rest = scanned.rest;
        scanned.cursor
    }
}

/// Whether `current` is the file that `cursor` was left in. The hashes decide; before the first byte there are none,
/// and a renamed file that has the cursor's inode is the better candidate.
fn stands(cursor: &LogCursor, current: &RawFile, renamed: bool) -> bool {
    confirms(cursor, current) && (cursor.offset > 0 || same_inode(cursor, current) || !renamed)
}

/// The size of `file`, counting what it grew by while it was read.
fn end(file: &RawFile) -> u64 {
    file.size.max(file.data_offset.saturating_add(file.data.len() as u64))
}
