//! What the reader and the dialects promise.

mod cuts;
mod dialects;
mod disk;
mod files;
mod hostile;

use std::sync::Arc;

use super::{CustomDialect, CustomPatterns, Found, LineParser, Profile};
use crate::model::{FactKind, LogFact};

/// The facts of one line.
fn facts_of(profile: &Profile, line: &[u8]) -> Vec<LogFact> {
    let mut facts = Vec::new();
    LineParser::new(profile, Found::default()).parse(0, line, &mut facts);
    facts
}

/// What one line says.
fn said(profile: &Profile, line: impl AsRef<[u8]>) -> Vec<FactKind> {
    facts_of(profile, line.as_ref()).into_iter().map(|fact| fact.kind).collect()
}

/// A custom dialect that uses every key.
fn custom() -> Profile {
    let some = |pattern: &str| Some(pattern.to_owned());
    let patterns = CustomPatterns {
        task_start: some(r"^BEGIN (?<number>\d+) of (?<total>\d+) id=(?<task>\S+)(?: (?<title>.*))?$"),
        task: some(r"^now (?<task>\S+)"),
        step: some(r"^step#(?<step>\d+)(?: (?<action>\w+))?"),
        outcome: some(r"^(?<task>\S+) (?:(?<pass>ok)|(?<fail>broken))$"),
        score: some(r"points=(?<score>\S+)"),
        task_end: some(r"^END (?<task>\S+)(?: (?:(?<pass>ok)|(?<fail>bad)))?"),
        total: some(r"^there are (?<total>\S+) tasks"),
        model: some(r"^using (?<model>\S+)"),
    };
    Profile::Custom(Arc::new(CustomDialect::new(&patterns).unwrap()))
}

fn start(number: u64, total: u64, title: &str) -> FactKind {
    FactKind::TaskStart { number: Some(number), total: Some(total), id: None, title: Some(title.to_owned()) }
}

fn outcome(task: &str, success: bool) -> FactKind {
    FactKind::Outcome { task: Some(task.to_owned()), success }
}

fn step(number: u64, action: &str) -> FactKind {
    FactKind::Step { number, action: Some(action.to_owned()) }
}

fn task_end(task: &str, success: Option<bool>) -> FactKind {
    FactKind::TaskEnd { task: Some(task.to_owned()), success }
}

fn domain(title: &str) -> FactKind {
    FactKind::TaskStart { number: None, total: None, id: None, title: Some(title.to_owned()) }
}
