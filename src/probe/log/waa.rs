//! The dialect `waa`: what Windows Agent Arena's own `run.py` logs.
//!
//! `[2026-01-02 10:11:12,345 INFO run/245-MainProcess] [Domain]: chrome`, with tqdm bars on lines of their own or in
//! front of the prefix. A message counts behind that prefix; in a log that has shown none, also at the very start of a line.

use memchr::{memchr_iter, memmem};

use super::dialect::Said;
use super::openadapt;
use super::text::{Absurd, count, digits, leading_score, stamp, text};
use crate::model::FactKind;

/// The process that a log with one worker is written by; its facts name no worker.
const MAIN: &[u8] = b"MainProcess";

/// Parses one line that has no escape sequences.
pub(super) fn parse(line: &[u8]) -> Said<'_> {
    let (bars, prefix, rest) = match find_prefix(line) {
        Some((at, prefix, rest)) => (&line[..at], Some(prefix), rest),
        None => (line, None, line),
    };
    let (worker, time) = match &prefix {
        Some(prefix) => (prefix.worker, Some(prefix.time)),
        None => ("", None),
    };
    let mut said = match message(rest) {
        Some(claim) => Said::one(claim, worker, time),
        None => Said::default(),
    };
    said.prefixed = prefix.is_some();
    match bar_total(bars).map(count) {
        Some(Ok(total)) => said.bar = Some(total),
        Some(Err(Absurd)) => said.absurd = true,
        None => {}
    }
    said
}

/// The prefix that the logger puts before a message.
struct Prefix<'l> {
    time: &'l [u8],
    worker: &'l str,
}

/// The first prefix that stands at the start of the line or right behind progress bars: where it begins, what it
/// says, and the message behind it.
fn find_prefix(line: &[u8]) -> Option<(usize, Prefix<'_>, &[u8])> {
    let (at, prefix, rest) =
        memchr_iter(b'[', line).find_map(|at| prefix(&line[at..]).map(|(prefix, rest)| (at, prefix, rest)))?;
    is_bars(&line[..at]).then_some((at, prefix, rest))
}

fn prefix(bytes: &[u8]) -> Option<(Prefix<'_>, &[u8])> {
    let (time, rest) = stamp(bytes.strip_prefix(b"[")?)?;
    let rest = rest.strip_prefix(b" ")?;
    let end = rest.iter().position(|&b| b == b']')?;
    let (inner, rest) = (&rest[..end], &rest[end + 1..]);
    let level = inner.iter().take_while(|b| b.is_ascii_alphabetic()).count();
    let place = inner[level..].strip_prefix(b" ").filter(|_| level > 0)?;
    // `module/line-process`, where module and process may hold these signs too.
    let process = memchr_iter(b'/', place).find_map(|slash| digits(&place[slash + 1..])?.1.strip_prefix(b"-"))?;
    let worker = if process == MAIN { "" } else { std::str::from_utf8(process).unwrap_or_default() };
    Some((Prefix { time, worker }, rest.strip_prefix(b" ").unwrap_or(rest)))
}

/// Whether `zone` holds nothing, or progress bars as tqdm draws them (`label:  40%|███  | 2/5 [..]`, `label: 2it [..]`).
fn is_bars(zone: &[u8]) -> bool {
    let zone = zone.trim_ascii();
    let drawn = || memmem::find(zone, b"%|").is_some() || memmem::find(zone, b"it [").is_some();
    zone.is_empty() || (zone.ends_with(b"]") && drawn())
}

/// M of the last `Example:  40%|████      | 2/5 [` among the bars of `zone`.
fn bar_total(zone: &[u8]) -> Option<u64> {
    let at = memmem::rfind(zone, b"Example:")?;
    let before = zone[..at].trim_ascii_end();
    if !(before.is_empty() || before.ends_with(b"]")) {
        return None;
    }
    let (_, bar) = digits(zone[at + b"Example:".len()..].trim_ascii_start())?;
    let bar = bar.strip_prefix(b"%|")?;
    let count = bar[bar.iter().position(|&b| b == b'|')? + 1..].trim_ascii_start();
    let (_, rest) = digits(count)?;
    let (total, rest) = digits(rest.strip_prefix(b"/")?)?;
    rest.starts_with(b" [").then_some(total)
}

/// What a message says.
fn message(m: &[u8]) -> Option<Result<FactKind, Absurd>> {
    let fact = match m.first()? {
        b'[' => bracketed(m)?,
        b'S' => return openadapt::step(m),
        b'R' => return Some(leading_score(m.strip_prefix(b"Result:")?)?.map(FactKind::Verdict)),
        b'F' => FactKind::TaskEnd { task: Some(example(m.strip_prefix(b"Finished ")?)?), success: None },
        b'E' => {
            let rest = m.strip_prefix(b"Exception in ")?;
            let id = &rest[..rest.iter().position(|&b| b == b':')?];
            FactKind::TaskEnd { task: Some(example(id)?), success: Some(false) }
        }
        b'A' => match m.strip_prefix(b"Average score:") {
            Some(score) => return Some(leading_score(score)?.map(FactKind::AverageScore)),
            None if m.starts_with(b"Args:") => openadapt::model(m)?,
            None => return None,
        },
        _ => return None,
    };
    Some(Ok(fact))
}

fn bracketed(m: &[u8]) -> Option<FactKind> {
    if let Some(domain) = m.strip_prefix(b"[Domain]:") {
        Some(FactKind::TaskStart { number: None, total: None, id: None, title: Some(text(domain)?) })
    } else if let Some(example) = m.strip_prefix(b"[Example ID]:") {
        text(example).map(FactKind::ExampleId)
    } else {
        text(m.strip_prefix(b"[Instruction]:")?).map(FactKind::Instruction)
    }
}

/// `bytes` as `domain/example`, one word.
fn example(bytes: &[u8]) -> Option<String> {
    let id = bytes.trim_ascii();
    let slash = id.iter().position(|&b| b == b'/')?;
    let whole = slash > 0 && slash + 1 < id.len() && !id.iter().any(u8::is_ascii_whitespace);
    if whole { text(id) } else { None }
}
