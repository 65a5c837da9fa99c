//! One line in, its facts out, in the dialect that the configuration names or that `auto` finds.

use std::sync::Arc;

use memchr::memmem;

use super::text::{Absurd, has_control, strip, text};
use super::{CustomDialect, openadapt, waa};
use crate::model::{Dialect, FactKind, LogCursor, LogFact};

/// How a log is to be read.
#[derive(Clone, Debug, Default)]
pub enum Profile {
    /// Each generation in the dialect of its first line that begins a task in one of `openadapt` and `waa`.
    #[default]
    Auto,
    /// `Task 5/30: notepad_1`, `Running task: ...`, `Result: PASS`.
    Openadapt,
    /// Windows Agent Arena's own `run.py`.
    Waa,
    /// Regular expressions of the configuration.
    Custom(Arc<CustomDialect>),
}

/// What one line says.
#[derive(Default)]
pub(super) struct Said<'l> {
    /// The total of a progress bar. Whoever drew the bar, it belongs to the whole log, not to a worker.
    pub(super) bar: Option<u64>,
    /// The rest of it, in order.
    pub(super) kinds: Vec<FactKind>,
    /// Who says it; empty if the line does not tell.
    pub(super) worker: &'l str,
    /// When, in the line's own words.
    pub(super) time: Option<&'l [u8]>,
    /// It claims what cannot be.
    pub(super) absurd: bool,
    /// It has the prefix of `waa`'s logger.
    pub(super) prefixed: bool,
}

impl<'l> Said<'l> {
    pub(super) fn one(claim: Result<FactKind, Absurd>, worker: &'l str, time: Option<&'l [u8]>) -> Self {
        match claim {
            Ok(kind) => Self { kinds: vec![kind], worker, time, ..Self::default() },
            Err(Absurd) => Self { absurd: true, ..Self::default() },
        }
    }

    pub(super) fn maybe(claim: Option<Result<FactKind, Absurd>>) -> Self {
        claim.map_or_else(Self::default, |claim| Self::one(claim, "", None))
    }

    /// Whether it shows the dialect: it begins a task.
    fn begins(&self) -> bool {
        self.kinds
            .iter()
            .any(|kind| matches!(kind, FactKind::TaskStart { .. } | FactKind::TaskId(_) | FactKind::ExampleId(_)))
    }
}

/// What is odd about a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Oddities {
    /// It claims something that cannot be, and gave no fact for it.
    pub absurd: bool,
    /// It holds NUL bytes.
    pub nul: bool,
}

/// What the lines of a generation have shown so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// What `auto` found.
    pub dialect: Option<Dialect>,
    /// A line of `waa` had its logger's prefix.
    pub prefixed: bool,
}

impl Found {
    /// What `cursor` remembers.
    pub fn of(cursor: &LogCursor) -> Self {
        Self { dialect: cursor.dialect, prefixed: cursor.prefixed }
    }

    /// `cursor`, remembering this.
    pub(super) fn mark(self, cursor: LogCursor) -> LogCursor {
        LogCursor { dialect: self.dialect, prefixed: self.prefixed, ..cursor }
    }
}

/// Turns the lines of one generation into facts.
#[derive(Clone, Debug)]
pub struct LineParser<'p> {
    profile: &'p Profile,
    found: Found,
    /// The line without escape sequences, if it had any.
    clean: Vec<u8>,
    nobody: Arc<str>,
    /// The worker last named: most lines name the same.
    worker: Arc<str>,
}

impl<'p> LineParser<'p> {
    /// A parser for `profile`; `found` is what this generation has shown so far.
    pub fn new(profile: &'p Profile, found: Found) -> Self {
        let nobody: Arc<str> = Arc::from("");
        Self { profile, found, clean: Vec::new(), worker: nobody.clone(), nobody }
    }

    /// What this generation has shown so far.
    pub fn found(&self) -> Found {
        self.found
    }

    /// Adds the facts of `line` (without its terminator), whose first byte stands at `offset`, to `facts`.
    pub fn parse(&mut self, offset: u64, line: &[u8], facts: &mut Vec<LogFact>) -> Oddities {
        let dirty = has_control(line);
        let nul = dirty && memchr::memchr(0, line).is_some();
        let line = if dirty {
            strip(line, &mut self.clean);
            &self.clean
        } else {
            line
        };
        let said = match (self.profile, self.found.dialect) {
            (Profile::Custom(custom), _) => custom.parse(line),
            (Profile::Openadapt, _) => openadapt::parse(line),
            (Profile::Auto, Some(Dialect::Openadapt)) => overruled(line, &mut self.found),
            (Profile::Waa, _) | (Profile::Auto, Some(Dialect::Waa)) => of_waa(line, &mut self.found),
            (Profile::Auto, _) => undecided(line, &mut self.found),
        };
        if let Some(total) = said.bar {
            facts.push(LogFact { offset, worker: self.nobody.clone(), log_time: None, kind: FactKind::Total(total) });
        }
        if !said.kinds.is_empty() {
            let log_time = said.time.and_then(text).map(Arc::from);
            if *self.worker != *said.worker {
                self.worker = text(said.worker.as_bytes()).unwrap_or_default().into();
            }
            let worker = &self.worker;
            let fact = |kind| LogFact { offset, worker: worker.clone(), log_time: log_time.clone(), kind };
            facts.extend(said.kinds.into_iter().map(fact));
        }
        Oddities { absurd: said.absurd, nul }
    }
}

/// Reads a line of `waa`. Once a prefix was seen, a line without one is text of the model or the program under test, and
/// only a progress bar in it counts: it must not pass for a result.
fn of_waa<'l>(line: &'l [u8], found: &mut Found) -> Said<'l> {
    let said = waa::parse(line);
    if found.prefixed && !said.prefixed {
        return Said { bar: said.bar, ..Said::default() };
    }
    found.prefixed |= said.prefixed;
    said
}

/// Reads a line after one that looked like `openadapt`'s. A task that begins behind `waa`'s prefix cannot come from it,
/// while a single line of text may look like anything.
fn overruled<'l>(line: &'l [u8], found: &mut Found) -> Said<'l> {
    // Looked for first: nearly no line has it, and every line is looked at twice otherwise.
    if memmem::find(line, b"] [").is_none() {
        return openadapt::parse(line);
    }
    let waa = waa::parse(line);
    if waa.prefixed && waa.begins() {
        *found = Found { dialect: Some(Dialect::Waa), prefixed: true };
        return waa;
    }
    openadapt::parse(line)
}

/// Reads a line whose dialect is not known yet: one that begins a task decides and counts; of others only a progress
/// bar's total and the model count.
fn undecided<'l>(line: &'l [u8], found: &mut Found) -> Said<'l> {
    let waa = waa::parse(line);
    found.prefixed |= waa.prefixed;
    let openadapt = openadapt::parse(line);
    // A logger that puts `waa`'s prefix before its lines is no `openadapt`'s, whatever they say.
    if openadapt.begins() && !found.prefixed {
        found.dialect = Some(Dialect::Openadapt);
        return openadapt;
    }
    if waa.begins() && (waa.prefixed || !found.prefixed) {
        found.dialect = Some(Dialect::Waa);
        return waa;
    }
    let absurd = openadapt.absurd || waa.absurd;
    let mut said = if waa.kinds.is_empty() { openadapt } else { Said { bar: None, ..waa } };
    said.kinds.retain(|kind| matches!(kind, FactKind::Model(_)));
    Said { bar: waa.bar, absurd, ..said }
}
