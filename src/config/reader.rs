//! One text being read: where its mistakes are collected, each with its key and place.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::issue::{ConfigErrors, ConfigIssue, Issues, Place, plain};
use super::keys::{Key, Schema};
use super::table::Table;
use super::tree::{self, Node, Spot};
use super::{Env, environment, unknown};

/// One text being read.
pub(super) struct Reader<'a> {
    pub(super) origin: Arc<str>,
    text: &'a str,
    pub(super) env: &'a dyn Env,
    pub(super) schema: Schema,
    issues: RefCell<Issues>,
    warnings: RefCell<Vec<ConfigIssue>>,
    asked: RefCell<BTreeSet<&'static str>>,
}

/// The tree of a text, once it could be parsed.
pub(super) struct Document(BTreeMap<String, Node>);

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str, origin: &str, env: &'a dyn Env, schema: Schema) -> Self {
        Self {
            origin: origin.into(),
            text,
            env,
            schema,
            issues: RefCell::default(),
            warnings: RefCell::default(),
            asked: RefCell::default(),
        }
    }

    /// Parses the text, lays the environment over it if `with_env`, and refuses what is unknown. `None` if the text is
    /// not TOML: then nothing more can be said of it.
    pub(super) fn document(&self, with_env: bool) -> Option<Document> {
        let (tree, mistakes) = tree::parse(self.text);
        for mistake in mistakes {
            let spot = mistake.at.map_or(Spot::Whole, Spot::Byte);
            self.at(&spot, "", plain(&mistake.message));
        }
        let mut tree = tree?;
        unknown::refuse(self, &tree, "", "");
        if with_env {
            environment::lay_over(&mut tree, self);
        }
        Some(Document(tree))
    }

    /// Ends the reading: `value`, unless there were mistakes.
    pub(super) fn finish<T>(self, value: Option<T>) -> Result<(T, Vec<ConfigIssue>), ConfigErrors> {
        let issues = self.issues.into_inner();
        match value {
            Some(value) if issues.kept.is_empty() => {
                let mut warnings = self.warnings.into_inner();
                warnings.sort_by(|a, b| a.place.cmp(&b.place));
                Ok((value, warnings))
            }
            _ => Err(ConfigErrors::new(issues.kept, issues.unnamed)),
        }
    }

    /// The paths of the keys read so far: what is in the table but never asked for would be documented and do nothing.
    #[cfg(test)]
    pub(super) fn asked(&self) -> BTreeSet<&'static str> {
        self.asked.borrow().clone()
    }

    /// Notes that `key` is read.
    pub(super) fn note(&self, key: &Key) {
        self.asked.borrow_mut().insert(key.path);
    }

    /// Notes an insecure choice.
    pub(super) fn warn(&self, issue: ConfigIssue) {
        self.warnings.borrow_mut().push(issue);
    }

    pub(super) fn has_issues(&self) -> bool {
        !self.issues.borrow().kept.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.issues.borrow().is_full()
    }

    /// Whether a mistake of `key`, or of an item of it, was reported.
    pub(super) fn has_issue_of(&self, key: &str) -> bool {
        let is_of = |issue: &ConfigIssue| {
            issue.key.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('['))
        };
        self.issues.borrow().kept.iter().any(is_of)
    }

    pub(super) fn push(&self, place: Place, key: &str, message: String) {
        self.issues.borrow_mut().push(ConfigIssue { place, key: key.to_owned(), message });
    }

    pub(super) fn at(&self, spot: &Spot, key: &str, message: String) {
        // Past the cap a mistake is only counted, and its line is not worth looking for.
        let place = if self.is_full() { Place::Whole(self.origin.clone()) } else { self.place(spot) };
        self.push(place, key, message);
    }

    pub(super) fn place(&self, spot: &Spot) -> Place {
        match spot {
            Spot::Whole => Place::Whole(self.origin.clone()),
            Spot::Env(name) => Place::Env(name.clone()),
            Spot::Byte(at) => {
                let (line, column) = tree::line_and_column(self.text, *at);
                Place::At { origin: self.origin.clone(), line, column }
            }
        }
    }
}

impl Document {
    /// What stands in no section.
    pub(super) fn top<'r>(&'r self, reader: &'r Reader<'r>) -> Table<'r> {
        Table::root(reader, &self.0)
    }

    /// The section `name`, empty if it is not written.
    pub(super) fn table<'r>(&'r self, reader: &'r Reader<'r>, name: &str) -> Table<'r> {
        Table::root(reader, &self.0).table(name)
    }

    /// The entries of the list `name`.
    pub(super) fn entries<'r>(&'r self, reader: &'r Reader<'r>, name: &str) -> Vec<Table<'r>> {
        Table::root(reader, &self.0).entries(name)
    }
}
