//! One mistake or warning, and all of them together.

use std::fmt;
use std::sync::Arc;

/// How many mistakes are kept; the rest is only counted.
pub(super) const MAX_ISSUES: usize = 500;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A file as a whole: what is wrong is that something is not in it, or the file itself.
    Whole(Arc<str>),
    /// A line and column (both from 1, the column in characters) of a file.
    At {
        /// The file's path as it was given, or what the text came from.
        origin: Arc<str>,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
    },
    /// An environment variable.
    Env(Arc<str>),
    /// A request to register a VM.
    Request,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(origin) => f.write_str(origin),
            Self::At { origin, line, column } => write!(f, "{origin}:{line}:{column}"),
            Self::Env(name) => f.write_str(name),
            Self::Request => f.write_str("request"),
        }
    }
}

/// One mistake (in [`ConfigErrors`]) or one insecure choice (in `Config::warnings`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigIssue {
    /// Where it was written.
    pub place: Place,
    /// The key's path, such as `poll.interval` or `vm[2].host`; empty if the text is not TOML at all.
    pub key: String,
    /// What is wrong and what is allowed, on one line. Never the value of a secret.
    pub message: String,
}

impl fmt::Display for ConfigIssue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() {
            write!(f, "{}: {}", self.place, self.message)
        } else {
            write!(f, "{}: {}: {}", self.place, self.key, self.message)
        }
    }
}

/// Every mistake of one configuration, in the order of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    issues: Vec<ConfigIssue>,
    unnamed: usize,
}

impl ConfigErrors {
    /// `issues` sorted by place; `unnamed` more were only counted.
    pub(super) fn new(mut issues: Vec<ConfigIssue>, unnamed: usize) -> Self {
        issues.sort_by(|a, b| a.place.cmp(&b.place));
        Self { issues, unnamed }
    }

    /// A single mistake.
    pub(super) fn one(place: Place, key: &str, message: impl Into<String>) -> Self {
        Self { issues: vec![ConfigIssue { place, key: key.to_owned(), message: message.into() }], unnamed: 0 }
    }

    /// The mistakes, at most 500 of them; never empty.
    pub fn issues(&self) -> &[ConfigIssue] {
        &self.issues
    }

    /// How many mistakes there are, with those past the first 500.
    pub fn count(&self) -> usize {
        self.issues.len() + self.unnamed
    }
}

/// One line per mistake, without a line end after the last.
impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, issue) in self.issues.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{issue}")?;
        }
        if self.unnamed > 0 {
            write!(f, "\nand {} more", self.unnamed)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Issues while they are collected.
#[derive(Debug, Default)]
pub(super) struct Issues {
    pub(super) kept: Vec<ConfigIssue>,
    pub(super) unnamed: usize,
}

impl Issues {
    pub(super) fn is_full(&self) -> bool {
        self.kept.len() >= MAX_ISSUES
    }

    pub(super) fn push(&mut self, issue: ConfigIssue) {
        if self.is_full() {
            self.unnamed += 1;
        } else {
            self.kept.push(issue);
        }
    }
}

/// `text` as it may stand in a message: control characters escaped, at most 100 characters.
pub(super) fn plain(text: &str) -> String {
    const LONGEST: usize = 100;
    let mut shown = String::new();
    for (i, c) in text.chars().enumerate() {
        if i == LONGEST {
            shown.push('…');
            break;
        }
        if c.is_control() { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

/// As [`plain`], in quotes.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", plain(text))
}
