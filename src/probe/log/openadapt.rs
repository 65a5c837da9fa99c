//! The dialect `openadapt`: `Task 5/30: notepad_1`, `Running task: task_005`, `Result: PASS`.
//!
//! A pattern counts at the start of a line or behind the prefix of a logger, never within prose.

use memchr::memmem;

use super::dialect::Said;
use super::text::{Absurd, count, digits, leading_score, stamp, step_number, text, word};
use crate::model::FactKind;

/// What a message claims: a fact, something absurd, or (`None`) nothing.
type Claim = Option<Result<FactKind, Absurd>>;

/// Levels as loggers print them, in any case.
const LEVELS: [&[u8]; 9] =
    [b"TRACE", b"DEBUG", b"INFO", b"NOTICE", b"WARNING", b"WARN", b"ERROR", b"CRITICAL", b"FATAL"];

/// Parses one line that has no escape sequences.
pub(super) fn parse(line: &[u8]) -> Said<'_> {
    let mut rest = line.trim_ascii();
    let mut prefix = Prefix::default();
    loop {
        if let Some(claim) = message(rest) {
            return Said::one(claim, "", prefix.time);
        }
        match prefix.take(rest) {
            Some(after) => rest = after,
            None => break,
        }
    }
    Said::maybe(model(line).map(Ok))
}

/// The parts of a logger's prefix that were passed; each occurs once.
#[derive(Default)]
struct Prefix<'l> {
    time: Option<&'l [u8]>,
    level: bool,
    name: bool,
}

impl<'l> Prefix<'l> {
    /// Takes the next part of a prefix from the start of `rest`: a time, a level, or (behind one of these) a name.
    fn take(&mut self, rest: &'l [u8]) -> Option<&'l [u8]> {
        let (bracket, inner) = match rest.strip_prefix(b"[") {
            Some(inner) => (true, inner),
            None => (false, rest),
        };
        let after = if let (None, Some((time, after))) = (self.time, stamp(inner)) {
            self.time = Some(time);
            match level(after.trim_ascii_start()) {
                // `[10:11:12 INFO]`
                Some(after) if bracket => {
                    self.level = true;
                    after
                }
                _ => after,
            }
        } else if let (false, Some(after)) = (self.level, level(inner)) {
            self.level = true;
            after
        } else if !self.name && (self.time.is_some() || self.level) {
            self.name = true;
            name(inner, bracket)?
        } else {
            return None;
        };
        let after = if bracket { after.strip_prefix(b"]")? } else { after };
        let separators = after.iter().take_while(|b| matches!(b, b' ' | b'\t' | b'-' | b'|' | b':')).count();
        (bracket || separators > 0).then(|| &after[separators..])
    }
}

/// What follows a level at the start of `bytes`.
fn level(bytes: &[u8]) -> Option<&[u8]> {
    let len = bytes.iter().take_while(|b| b.is_ascii_alphabetic()).count();
    let (word, rest) = bytes.split_at(len);
    (3 < len && LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word))).then_some(rest)
}

/// What follows a logger's name at the start of `bytes`. Without brackets it must be set off by ` - `, ` | ` or, as in
/// `INFO:root:...`, a colon with no space before the message.
fn name(bytes: &[u8], bracket: bool) -> Option<&[u8]> {
    let part = |b: &u8| b.is_ascii_alphanumeric() || b"_.-<>/".contains(b);
    let mut len = bytes.iter().take_while(|b| part(b)).count();
    while bytes.get(len) == Some(&b':') && bytes.get(len + 1).is_some_and(|b| part(b) && !b.is_ascii_uppercase()) {
        len += 1 + bytes[len + 1..].iter().take_while(|b| part(b)).count();
    }
    let rest = &bytes[len..];
    let set_off = rest.starts_with(b" - ")
        || rest.starts_with(b" | ")
        || (rest.starts_with(b":") && rest.get(1).is_some_and(|b| !b.is_ascii_whitespace()));
    (len > 0 && (bracket || set_off)).then_some(rest)
}

/// What a message says.
fn message(m: &[u8]) -> Claim {
    match m.first()? {
        b'T' => task(m.strip_prefix(b"Task ")?.trim_ascii_start()),
        b'R' => match m.strip_prefix(b"Running task:") {
            Some(id) => task_id(id),
            None => result(m.strip_prefix(b"Result:")?.trim_ascii_start()),
        },
        b'P' => task_id(m.strip_prefix(b"Processing task:")?),
        b'S' => match m.strip_prefix(b"Score:") {
            Some(score) => Some(leading_score(score)?.map(FactKind::Score)),
            None => step(m),
        },
        b'C' => total(m.strip_prefix(b"Completed:")?),
        b'm' if m.starts_with(b"model=") => model(m).map(Ok),
        _ => None,
    }
}

/// `Step 12: CLICK`, `Step 12`, `Step 12/15: CLICK`. The dialect `waa` writes its steps the same way.
pub(super) fn step(m: &[u8]) -> Claim {
    let (number, rest) = digits(m.strip_prefix(b"Step ")?.trim_ascii_start())?;
    let rest = match rest.strip_prefix(b"/").and_then(digits) {
        Some((_, rest)) => rest,
        None => rest,
    };
    let action = match rest.trim_ascii_start() {
        [] => None,
        [b':', action @ ..] => text(action),
        _ => return None,
    };
    Some(step_number(number).map(|number| FactKind::Step { number, action }))
}

/// What stands behind `Task `: `5/30: title` is a start; `X: SUCCESS`, `X failed` and the like tell of an end.
fn task(m: &[u8]) -> Claim {
    if let Some((number, rest)) = digits(m)
        && let Some((total, rest)) = rest.strip_prefix(b"/").and_then(digits)
    {
        let title = match rest.trim_ascii_start() {
            [] => None,
            [b':', title @ ..] => text(title),
            [b'-', b' ', title @ ..] if rest.starts_with(b" ") => text(title),
            _ => return None,
        };
        return Some(start(number, total).map(|(number, total)| FactKind::TaskStart {
            number: Some(number),
            total: Some(total),
            id: None,
            title,
        }));
    }
    let (id, rest) = word(m);
    let rest = rest.trim_ascii_start();
    let success = match id.strip_suffix(b":") {
        Some(_) => verdict(rest)?,
        None if rest.starts_with(b":") => verdict(rest[1..].trim_ascii_start())?,
        None if starts_with_words(rest, b"completed successfully") => true,
        None if starts_with_words(rest, b"failed") && word(rest[6..].trim_ascii_start()).0 != b"to" => false,
        None => return None,
    };
    let task = text(id.strip_suffix(b":").unwrap_or(id))?;
    Some(Ok(FactKind::Outcome { task: Some(task), success }))
}

/// N and M of `Task N/M`, if they can be a number and a total.
pub(super) fn start(number: u64, total: u64) -> Result<(u64, u64), Absurd> {
    let (number, total) = (count(number)?, count(total)?);
    if number <= total { Ok((number, total)) } else { Err(Absurd) }
}

fn task_id(rest: &[u8]) -> Claim {
    let id = word(rest.trim_ascii_start()).0;
    let kept = id.iter().rposition(|b| !b".,;:".contains(b)).map_or(0, |last| last + 1);
    Some(Ok(FactKind::TaskId(text(&id[..kept])?)))
}

fn result(rest: &[u8]) -> Claim {
    Some(Ok(FactKind::Outcome { task: None, success: verdict(rest)? }))
}

fn verdict(word: &[u8]) -> Option<bool> {
    let is = |words: &[&[u8]]| words.iter().any(|w| starts_with_words(word, w));
    if is(&[b"SUCCESS", b"PASS", b"PASSED"]) {
        Some(true)
    } else if is(&[b"FAIL", b"FAILED", b"FAILURE"]) {
        Some(false)
    } else {
        None
    }
}

/// Whether `bytes` starts with `words` as whole words.
fn starts_with_words(bytes: &[u8], words: &[u8]) -> bool {
    let Some(rest) = bytes.strip_prefix(words) else { return false };
    !rest.first().is_some_and(|&b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-' || b >= 0x80)
}

/// `Completed: 5, Remaining: 25`.
fn total(rest: &[u8]) -> Claim {
    let (done, rest) = digits(rest.trim_ascii_start())?;
    let rest = rest.strip_prefix(b",")?.trim_ascii_start().strip_prefix(b"Remaining:")?;
    let (left, _) = digits(rest.trim_ascii_start())?;
    Some(count(done.saturating_add(left)).map(FactKind::Total))
}

/// `model=gpt-4o`: at the start, or as a flag or in a list of keys (`--model=`, `(model=`, `, model=`, `: model=`).
pub(super) fn model(line: &[u8]) -> Option<FactKind> {
    let at = memmem::find_iter(line, b"model=").find(|&at| {
        let before = &line[..at];
        let in_list = before.trim_ascii_end().last().is_none_or(|b| b",;(:|]-".contains(b));
        let apart = before.last().is_none_or(|b| !b.is_ascii_alphanumeric() && *b != b'_');
        in_list && apart
    })?;
    let value = &line[at + b"model=".len()..];
    let value = value.strip_prefix(b"'").or_else(|| value.strip_prefix(b"\"")).unwrap_or(value);
    let ends = |b: &u8| b.is_ascii_whitespace() || b",;()'\"".contains(b);
    let name = text(&value[..value.iter().position(ends).unwrap_or(value.len())])?;
    (name != "None").then_some(FactKind::Model(name))
}
