//! TOML text as a tree of owned values that know where they stand.

use std::collections::BTreeMap;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

/// How deep tables and lists are kept. The deepest known key, `vm[].power.command[]`, lies at 5; what is deeper is
/// unknown anyway.
const MAX_DEPTH: usize = 8;

/// Where a node stands, before it is worth computing a line.
#[derive(Clone, Debug)]
pub(super) enum Spot {
    /// Nowhere: the whole text.
    Whole,
    /// At a byte of the text.
    Byte(usize),
    /// In a variable.
    Env(Arc<str>),
}

/// A value of the text or of a variable.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(String),
    /// `None`: more than any key could mean.
    Integer(Option<i128>),
    Float,
    Bool(bool),
    Time(String),
    List(Vec<Node>),
    Table(BTreeMap<String, Node>),
}

impl Value {
    /// The value's type, for people.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Integer(_) | Self::Float => "a number",
            Self::Bool(_) => "true or false",
            Self::Time(_) => "a date or time",
            Self::List(_) => "a list",
            Self::Table(_) => "a section",
        }
    }
}

/// A value with the place of its key and its own.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) key_at: Spot,
    pub(super) at: Spot,
    pub(super) value: Value,
}

/// A syntax mistake at a byte.
#[derive(Debug, PartialEq)]
pub(super) struct Syntax {
    pub(super) at: Option<usize>,
    pub(super) message: String,
}

/// Past this size only the first syntax mistake is reported: binary rubbish has one at every byte.
const ALL_SYNTAX_MISTAKES_UP_TO: usize = 64 * 1024;

/// Parses `text`. The tree is present whenever it can be trusted in spite of the mistakes: a key given twice leaves the
/// rest of the text readable, so its other mistakes can be reported in the same go.
pub(super) fn parse(text: &str) -> (Option<BTreeMap<String, Node>>, Vec<Syntax>) {
    let (table, errors) = match DeTable::parse(text) {
        Ok(table) => (table, Vec::new()),
        Err(error) if text.len() > ALL_SYNTAX_MISTAKES_UP_TO => return (None, vec![syntax(&error)]),
        Err(_) => DeTable::parse_recoverable(text),
    };
    let mut mistakes: Vec<Syntax> = errors.iter().map(syntax).collect();
    mistakes.dedup();
    let sound = mistakes.iter().all(|mistake| is_key_given_twice(text, mistake));
    (sound.then(|| entries(table.get_ref(), 0)), mistakes)
}

fn syntax(error: &toml::de::Error) -> Syntax {
    Syntax { at: error.span().map(|span| span.start), message: error.message().to_owned() }
}

/// A second header of one table swallows the first; a second key does not.
fn is_key_given_twice(text: &str, mistake: &Syntax) -> bool {
    let line = mistake.at.and_then(|at| text.get(..at)).map(|before| before.rsplit('\n').next().unwrap_or_default());
    mistake.message == "duplicate key" && line.is_some_and(|line| !line.trim_start().starts_with('['))
}

fn entries(table: &DeTable<'_>, depth: usize) -> BTreeMap<String, Node> {
    if depth > MAX_DEPTH {
        return BTreeMap::new();
    }
    let entry = |(key, value): (&toml::Spanned<toml::de::DeString<'_>>, &toml::Spanned<DeValue<'_>>)| {
        (key.get_ref().to_string(), node(key.span().start, value, depth + 1))
    };
    table.iter().map(entry).collect()
}

fn node(key_at: usize, value: &toml::Spanned<DeValue<'_>>, depth: usize) -> Node {
    let at = value.span().start;
    let value = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => Value::Integer(i128::from_str_radix(number.as_str(), number.radix()).ok()),
        DeValue::Float(_) => Value::Float,
        DeValue::Boolean(is) => Value::Bool(*is),
        DeValue::Datetime(time) => Value::Time(time.to_string()),
        DeValue::Array(_) if depth > MAX_DEPTH => Value::List(Vec::new()),
        DeValue::Array(items) => {
            Value::List(items.iter().map(|item| node(item.span().start, item, depth + 1)).collect())
        }
        DeValue::Table(table) => Value::Table(entries(table, depth)),
    };
    Node { key_at: Spot::Byte(key_at), at: Spot::Byte(at), value }
}

/// Line and column (from 1, in characters) of byte `at`.
pub(super) fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..at.min(text.len())];
    let line_start = memchr::memrchr(b'\n', before).map_or(0, |newline| newline + 1);
    let line = 1 + memchr::memchr_iter(b'\n', before).count();
    // Bytes that continue a UTF-8 character do not begin a column.
    let column = 1 + before[line_start..].iter().filter(|byte| **byte & 0xC0 != 0x80).count();
    (line, column)
}
