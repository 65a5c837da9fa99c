//! From the bytes at hand to parts: lines, the cap on their length, the cut into parts.

use std::mem;

use memchr::memchr2_iter;

use super::dialect::{LineParser, Oddities};
use super::identity::advance;
use super::raw::RawFile;
use super::trouble::Trouble;
use crate::model::{FactKind, LogCursor, LogFact, LogPart};

/// Bytes of the longest line that is parsed, without its terminator. A longer one is passed over whole.
pub const MAX_LINE: usize = 64 << 10;

/// Facts of one part that can begin or end a task.
pub const PART_TURNS: usize = 32;

/// What to make of bytes behind the last terminator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// More of the file is to come: they wait.
    Cut,
    /// The file ends here for now: they wait, and are told as the rest.
    Waits,
    /// The file ends here for good: they are a line.
    Ended,
}

/// What one file's data gave.
pub(super) struct Scanned {
    pub(super) parts: Vec<LogPart>,
    pub(super) rest: Option<LogPart>,
    /// The cursor behind everything consumed.
    pub(super) cursor: LogCursor,
}

/// Reads `file.data`, which begins at `cursor`, in lines of at most `cap` bytes. Both `\n` and `\r` end a line.
pub(super) fn scan(
    cursor: &LogCursor,
    file: &RawFile,
    mut parser: LineParser<'_>,
    cap: usize,
    tail: Tail,
    trouble: &mut Trouble,
) -> Scanned {
    let data = &file.data[..];
    let mut parts = Parts { from: cursor, file, done: Vec::new(), facts: Vec::new(), turns: 0 };
    let mut overlong = cursor.overlong;
    let mut at = 0;
    for end in memchr2_iter(b'\n', b'\r', data) {
        if !overlong {
            at += hole(&data[at..end], trouble);
        }
        let line = &data[at..end];
        if mem::take(&mut overlong) {
            // The end of a line that was passed over.
        } else if line.len() > cap {
            trouble.overlong += 1;
        } else if !line.is_empty() {
            parts.line(&mut parser, at, line, trouble);
        }
        at = end + 1;
    }
    if !overlong {
        at += hole(&data[at..], trouble);
    }
    let mut left = &data[at..];
    if overlong || left.len() > cap {
        trouble.overlong += u64::from(!overlong);
        (overlong, at, left) = (true, data.len(), &[]);
    } else if tail == Tail::Ended && !left.is_empty() {
        parts.line(&mut parser, at, left, trouble);
        (at, left) = (data.len(), &[]);
    }
    let rest = (tail == Tail::Waits && !left.is_empty()).then(|| {
        let mut facts = Vec::new();
        let mut parser = parser.clone();
        parser.parse(cursor.offset + at as u64, left, &mut facts);
        let cursor = parser.found().mark(LogCursor { overlong: false, ..advance(cursor, file, data.len()) });
        LogPart { facts, cursor }
    });
    let end = parser.found().mark(LogCursor { overlong, ..advance(cursor, file, at) });
    if !parts.facts.is_empty() || parts.done.last().map_or(cursor, |part| &part.cursor) != &end {
        parts.done.push(LogPart { facts: parts.facts, cursor: end.clone() });
    }
    Scanned { parts: parts.done, rest, cursor: end }
}

/// How many NUL bytes a line begins with. They are passed over: a writer that goes on at its old offset after its log was
/// truncated leaves a hole that reads as NULs, and the line behind it counts.
fn hole(line: &[u8], trouble: &mut Trouble) -> usize {
    let nuls = line.iter().take_while(|byte| **byte == 0).count();
    trouble.nul += u64::from(nuls > 0);
    nuls
}

/// The parts so far, and the facts of the one that is open.
struct Parts<'a> {
    from: &'a LogCursor,
    file: &'a RawFile,
    done: Vec<LogPart>,
    facts: Vec<LogFact>,
    turns: usize,
}

impl Parts<'_> {
    /// Adds the facts of the line that stands at `at` in the data, in a new part if they do not fit.
    fn line(&mut self, parser: &mut LineParser<'_>, at: usize, line: &[u8], trouble: &mut Trouble) {
        let known = self.facts.len();
        let found = parser.found();
        let Oddities { absurd, nul } = parser.parse(self.from.offset + at as u64, line, &mut self.facts);
        trouble.absurd += u64::from(absurd);
        trouble.nul += u64::from(nul);
        let turns = self.facts[known..].iter().filter(|fact| turns(&fact.kind)).count();
        if self.turns + turns > PART_TURNS {
            let facts = self.facts.split_off(known);
            let facts = mem::replace(&mut self.facts, facts);
            let cursor = found.mark(LogCursor { overlong: false, ..advance(self.from, self.file, at) });
            self.done.push(LogPart { facts, cursor });
            self.turns = 0;
        }
        self.turns += turns;
    }
}

/// Whether a fact can begin or end a task.
fn turns(kind: &FactKind) -> bool {
    match kind {
        FactKind::TaskStart { .. }
        | FactKind::TaskId(_)
        | FactKind::ExampleId(_)
        | FactKind::Outcome { .. }
        | FactKind::Score(_)
        | FactKind::TaskEnd { .. } => true,
        FactKind::Instruction(_)
        | FactKind::Step { .. }
        | FactKind::Verdict(_)
        | FactKind::Total(_)
        | FactKind::Model(_)
        | FactKind::AverageScore(_) => false,
    }
}
