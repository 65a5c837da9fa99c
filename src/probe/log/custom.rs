//! The dialect `custom`: regular expressions of the configuration, with named groups.

use regex::{Captures, Regex, RegexBuilder, RegexSet, RegexSetBuilder};

use super::dialect::Said;
use super::openadapt;
use super::text::{Absurd, count, digits, score, step_number, text};
pub use crate::config::CustomDialect as CustomPatterns;
use crate::model::FactKind;

/// Bytes that one compiled expression may take.
const REGEX_SIZE: usize = 1 << 20;

/// First bytes of a line that the expressions are tried on: bounds what a long line can cost under any expression.
pub const CUSTOM_LINE_MAX: usize = 4096;

/// A mistake in one expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct CustomError {
    /// Which field of [`CustomPatterns`].
    pub key: &'static str,
    /// What is wrong with it, for people.
    pub message: String,
}

/// What an expression tells of.
#[derive(Clone, Copy, Debug)]
enum Tells {
    Model,
    Total,
    TaskStart,
    Task,
    Step,
    Outcome,
    Score,
    TaskEnd,
}

/// Checked and compiled [`CustomPatterns`].
#[derive(Clone, Debug)]
pub struct CustomDialect {
    /// In the order in which one line's facts are told.
    rules: Vec<(Tells, Regex)>,
    /// All expressions at once: most lines match none.
    any: RegexSet,
}

impl CustomDialect {
    /// Compiles and checks `patterns`.
    ///
    /// # Errors
    /// Every mistake in them: syntax, size (1 MiB compiled), unknown or missing groups, no way to tell a task's start.
    pub fn new(patterns: &CustomPatterns) -> Result<Self, Vec<CustomError>> {
        let fields = [
            (Tells::Model, "model", &patterns.model, &["model"][..], &[][..]),
            (Tells::Total, "total", &patterns.total, &["total"], &[]),
            (Tells::TaskStart, "task_start", &patterns.task_start, &["number", "task", "title"], &["total"]),
            (Tells::Task, "task", &patterns.task, &["task"], &[]),
            (Tells::Step, "step", &patterns.step, &["step"], &["action"]),
            (Tells::Outcome, "outcome", &patterns.outcome, &["pass", "fail"], &["task"]),
            (Tells::Score, "score", &patterns.score, &["score"], &[]),
            (Tells::TaskEnd, "task_end", &patterns.task_end, &[], &["task", "pass", "fail"]),
        ];
        let mut rules = Vec::new();
        let mut errors = Vec::new();
        for (tells, key, pattern, one_of, optional) in fields {
            let Some(pattern) = pattern else { continue };
            match compile(pattern, one_of, optional) {
                Ok(regex) => rules.push((tells, regex)),
                Err(message) => errors.push(CustomError { key, message }),
            }
        }
        if patterns.task_start.is_none() && patterns.task.is_none() {
            let message = "either task_start or task is needed: without one no task ever begins".to_owned();
            errors.push(CustomError { key: "task_start", message });
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let any = RegexSetBuilder::new(rules.iter().map(|(_, regex)| regex.as_str()))
            .size_limit(REGEX_SIZE * rules.len().max(1) * 2)
            .build()
            .map_err(|error| vec![CustomError { key: "task_start", message: format!("taken together: {error}") }])?;
        Ok(Self { rules, any })
    }

    /// Parses one line that has no escape sequences.
    pub(super) fn parse(&self, line: &[u8]) -> Said<'static> {
        let line = String::from_utf8_lossy(&line[..line.len().min(CUSTOM_LINE_MAX)]);
        let mut said = Said::default();
        if !self.any.is_match(&line) {
            return said;
        }
        for (tells, regex) in &self.rules {
            let Some(groups) = regex.captures(&line) else { continue };
            match tells.claim(&groups) {
                Some(Ok(kind)) => said.kinds.push(kind),
                Some(Err(Absurd)) => said.absurd = true,
                None => {}
            }
        }
        said
    }
}

fn compile(pattern: &str, one_of: &[&str], optional: &[&str]) -> Result<Regex, String> {
    let built = RegexBuilder::new(pattern).size_limit(REGEX_SIZE).dfa_size_limit(REGEX_SIZE).build();
    let regex = built.map_err(|error| error.to_string())?;
    let has = |name: &&str| regex.capture_names().flatten().any(|group| group == *name);
    if !one_of.is_empty() && !one_of.iter().any(has) {
        let wanted: Vec<_> = one_of.iter().map(|name| format!("(?<{name}>...)")).collect();
        return Err(format!("has no group {}", wanted.join(" or ")));
    }
    let known = |group: &&str| one_of.contains(group) || optional.contains(group);
    if let Some(unknown) = regex.capture_names().flatten().find(|group| !known(group)) {
        let names: Vec<_> = one_of.iter().chain(optional).copied().collect();
        return Err(format!("group `{unknown}` means nothing here; known are: {}", names.join(", ")));
    }
    Ok(regex)
}

impl Tells {
    /// What the matched groups claim.
    fn claim(self, groups: &Captures<'_>) -> Option<Result<FactKind, Absurd>> {
        let bytes = |name: &str| {
            groups.name(name).map(|group| group.as_str().trim().as_bytes()).filter(|group| !group.is_empty())
        };
        let words = |name: &str| bytes(name).and_then(text);
        let whole =
            |digits_of: &[u8]| digits(digits_of).filter(|(_, rest)| rest.is_empty()).map_or(u64::MAX, |(n, _)| n);
        let success = || match (groups.name("pass"), groups.name("fail")) {
            (_, Some(_)) => Some(false),
            (Some(_), None) => Some(true),
            (None, None) => None,
        };
        let fact = match self {
            Self::Model => FactKind::Model(words("model")?),
            Self::Total => return Some(count(whole(bytes("total")?)).map(FactKind::Total)),
            Self::TaskStart => {
                let (number, total) = (bytes("number").map(whole), bytes("total").map(whole));
                return Some(start(number, total, words("task"), words("title")));
            }
            Self::Task => FactKind::TaskId(words("task")?),
            Self::Step => {
                let action = words("action");
                return Some(step_number(whole(bytes("step")?)).map(|number| FactKind::Step { number, action }));
            }
            Self::Outcome => FactKind::Outcome { task: words("task"), success: success()? },
            Self::Score => return Some(score(bytes("score")?).unwrap_or(Err(Absurd)).map(FactKind::Score)),
            Self::TaskEnd => FactKind::TaskEnd { task: words("task"), success: success() },
        };
        Some(Ok(fact))
    }
}

fn start(
    number: Option<u64>,
    total: Option<u64>,
    id: Option<String>,
    title: Option<String>,
) -> Result<FactKind, Absurd> {
    if let (Some(number), Some(total)) = (number, total) {
        openadapt::start(number, total)?;
    }
    let number = number.map(count).transpose()?;
    let total = total.map(count).transpose()?;
    Ok(FactKind::TaskStart { number, total, id, title })
}
