//! One section: its keys as values of the type, within the range and with the default that the table of keys says.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::issue::{ConfigIssue, Place, plain, quoted};
use super::keys::{Default, Key, Kind, seconds};
use super::reader::Reader;
use super::tree::{Node, Spot, Value};
use super::url::has_credentials;

/// One section, or one entry of a list of sections.
pub(super) struct Table<'r> {
    pub(super) reader: &'r Reader<'r>,
    /// For people, such as `vm[2].power`.
    pub(super) path: String,
    at: Spot,
    map: Option<&'r BTreeMap<String, Node>>,
}

impl<'r> Table<'r> {
    /// The whole text.
    pub(super) fn root(reader: &'r Reader<'r>, map: &'r BTreeMap<String, Node>) -> Self {
        Self { reader, path: String::new(), at: Spot::Whole, map: Some(map) }
    }

    fn below(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// The section `name` within this one.
    pub(super) fn table(&self, name: &str) -> Self {
        let node = self.map.and_then(|map| map.get(name));
        let map = node.and_then(|node| if let Value::Table(map) = &node.value { Some(map) } else { None });
        let at = node.map_or_else(|| self.at.clone(), |node| node.at.clone());
        Self { reader: self.reader, path: self.below(name), at, map }
    }

    /// The entries of the list `name` within this section.
    pub(super) fn entries(&self, name: &str) -> Vec<Self> {
        let Some(Node { value: Value::List(items), .. }) = self.map.and_then(|map| map.get(name)) else {
            return Vec::new();
        };
        let entry = |(i, item): (usize, &'r Node)| match &item.value {
            Value::Table(map) => Some(Self {
                reader: self.reader,
                path: format!("{}[{i}]", self.below(name)),
                at: item.at.clone(),
                map: Some(map),
            }),
            _ => None,
        };
        items.iter().enumerate().filter_map(entry).collect()
    }

    /// Whether the section is written at all.
    pub(super) fn is_written(&self) -> bool {
        self.map.is_some()
    }

    /// Whether `key` is written in it, and not as `""`.
    pub(super) fn has(&self, key: &'static Key) -> bool {
        match self.look(key).map(|node| &node.value) {
            Some(Value::Text(text)) => !text.is_empty(),
            found => found.is_some(),
        }
    }

    pub(super) fn look(&self, key: &'static Key) -> Option<&'r Node> {
        debug_assert_eq!(
            without_numbers(&self.path),
            key.section().replace("[]", ""),
            "a key is read from its own section"
        );
        self.reader.note(key);
        self.map?.get(key.leaf())
    }

    /// Reports a mistake of `key`, at its value, or at the section if it is not written.
    pub(super) fn refuse(&self, key: &'static Key, message: impl Into<String>) {
        let spot = self.map.and_then(|map| map.get(key.leaf())).map_or(&self.at, |node| &node.at);
        self.reader.at(spot, &self.below(key.leaf()), message.into());
    }

    /// Reports a mistake of the section itself.
    pub(super) fn refuse_here(&self, message: impl Into<String>) {
        self.reader.at(&self.at, &self.path, message.into());
    }

    /// Notes an insecure choice made by `key`.
    pub(super) fn warn(&self, key: &'static Key, message: impl Into<String>) {
        let spot = self.map.and_then(|map| map.get(key.leaf())).map_or(&self.at, |node| &node.at);
        let issue =
            ConfigIssue { place: self.reader.place(spot), key: self.below(key.leaf()), message: message.into() };
        self.reader.warn(issue);
    }

    /// The place of the section, for messages about another.
    pub(super) fn place(&self) -> Place {
        self.reader.place(&self.at)
    }

    fn mismatch(&self, key: &'static Key, node: &Node) {
        let message = format!("{} is not {}", shown(key, &node.value), wanted(key));
        self.reader.at(&node.at, &self.below(key.leaf()), message);
    }

    pub(super) fn bool(&self, key: &'static Key) -> bool {
        let default = matches!(key.default, Default::Bool(true));
        match self.look(key) {
            None => default,
            Some(Node { value: Value::Bool(value), .. }) => *value,
            Some(node) => {
                self.mismatch(key, node);
                default
            }
        }
    }

    /// A number within the key's range, which must fit `T`.
    pub(super) fn integer<T: TryFrom<u64> + std::default::Default>(&self, key: &'static Key) -> T {
        let default = if let Default::Integer(number) = key.default { number } else { 0 };
        let (Kind::Integer { min, max }, Some(node)) = (key.kind, self.look(key)) else {
            return T::try_from(default).unwrap_or_default();
        };
        let number = match &node.value {
            Value::Integer(Some(number)) => u64::try_from(*number).ok().filter(|number| (min..=max).contains(number)),
            _ => None,
        };
        if number.is_none() {
            self.mismatch(key, node);
        }
        T::try_from(number.unwrap_or(default)).unwrap_or_default()
    }

    pub(super) fn duration(&self, key: &'static Key) -> Duration {
        let parse = |text: &str| humantime::parse_duration(text).ok();
        let default = if let Default::Text(text) = key.default { parse(text) } else { None }.unwrap_or_default();
        let (Kind::Duration { min, max }, Some(node)) = (key.kind, self.look(key)) else { return default };
        let value = if let Value::Text(text) = &node.value { parse(text) } else { None };
        let name = self.below(key.leaf());
        match (value, &node.value) {
            (Some(value), _) if value >= Duration::from_secs(min) && value <= Duration::from_secs(max) => value,
            (Some(_), Value::Text(text)) => {
                let message = format!("{} is not between {} and {}", plain(text), seconds(min), seconds(max));
                self.reader.at(&node.at, &name, message);
                default
            }
            (_, Value::Integer(Some(number))) => {
                let message = format!("{number} has no unit: write \"{number}s\" for seconds");
                self.reader.at(&node.at, &name, message);
                default
            }
            _ => {
                self.mismatch(key, node);
                default
            }
        }
    }

    /// The text of `key` as `read` takes it; `None` if there is none, or if there is a mistake, which is then reported.
    pub(super) fn parsed<T, E: ToString>(
        &self,
        key: &'static Key,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let node = self.look(key);
        let text = match node.map(|node| &node.value) {
            Some(Value::Text(text)) => text.as_str(),
            Some(Value::Time(text)) if matches!(key.kind, Kind::Time) => text.as_str(),
            Some(_) => {
                node.inspect(|node| self.mismatch(key, node));
                return None;
            }
            None => match key.default {
                Default::Text(text) => text,
                Default::Required => {
                    self.refuse(key, format!("is missing: {} is needed", wanted(key)));
                    return None;
                }
                _ => return None,
            },
        };
        let required = matches!(key.default, Default::Required) || matches!(key.kind, Kind::OneOf(_));
        if text.is_empty() && !required {
            return None;
        }
        read(text).map_err(|error| self.refuse(key, format!("{}: {}", shown_text(key, text), error.to_string()))).ok()
    }

    /// The word of `key` as `read` takes it; `fallback` stands in after a mistake.
    pub(super) fn word<T>(&self, key: &'static Key, read: impl FnOnce(&str) -> Option<T>, fallback: T) -> T {
        let node = self.look(key);
        let word = match (node.map(|node| &node.value), key.default) {
            (Some(Value::Text(text)), _) => text.as_str(),
            (None, Default::Text(text)) => text,
            (None, Default::Required) => {
                self.refuse(key, format!("is missing: {} is needed", wanted(key)));
                return fallback;
            }
            (None, _) => return fallback,
            (Some(_), _) => "",
        };
        read(word).unwrap_or_else(|| {
            node.inspect(|node| self.mismatch(key, node));
            fallback
        })
    }

    /// The items of the list `key`, without those that `read` refuses; a single text is a list of one.
    pub(super) fn list<T, E: ToString>(&self, key: &'static Key, read: impl Fn(&str) -> Result<T, E>) -> Vec<T> {
        let Some(node) = self.look(key) else {
            return match key.default {
                Default::List(items) => items.iter().filter_map(|item| read(item).ok()).collect(),
                Default::Required => {
                    self.refuse(key, format!("is missing: {} is needed", wanted(key)));
                    Vec::new()
                }
                _ => Vec::new(),
            };
        };
        let name = self.below(key.leaf());
        let one = |(i, node): (Option<usize>, &Node)| {
            let name = i.map_or_else(|| name.clone(), |i| format!("{name}[{i}]"));
            let Value::Text(text) = &node.value else {
                self.reader.at(&node.at, &name, format!("{} is not a text", shown(key, &node.value)));
                return None;
            };
            let refuse = |error: E| {
                self.reader.at(&node.at, &name, format!("{}: {}", shown_text(key, text), error.to_string()));
            };
            read(text).map_err(refuse).ok()
        };
        match (&node.value, key.kind) {
            (Value::List(items), Kind::List { max, .. }) if items.len() > max => {
                self.refuse(key, format!("has {} items, at most {max} are allowed", items.len()));
                Vec::new()
            }
            (Value::List(items), _) => items.iter().enumerate().filter_map(|(i, item)| one((Some(i), item))).collect(),
            (Value::Text(text), _) if text.is_empty() => Vec::new(),
            (Value::Text(_), _) => one((None, node)).into_iter().collect(),
            _ => {
                self.mismatch(key, node);
                Vec::new()
            }
        }
    }

    /// A path on this machine, with `~/` taken for the home directory. Its value is not printed if it looks as if the
    /// file's content had been pasted instead of its path.
    pub(super) fn path(&self, key: &'static Key) -> Option<PathBuf> {
        if let Some(Node { value: Value::Text(text), .. }) = self.look(key)
            && (text.contains("-----BEGIN") || text.chars().any(char::is_control))
        {
            self.refuse(key, "is not a path: give the name of the file, not what is in it");
            return None;
        }
        self.parsed(key, |text| match text.strip_prefix("~/") {
            None => Ok(PathBuf::from(text)),
            Some(rest) => match self.reader.env.get("HOME").filter(|home| !home.is_empty()) {
                Some(home) => Ok(PathBuf::from(home).join(rest)),
                None => Err("HOME is not set, so ~ cannot be found"),
            },
        })
    }
}

/// `vm[2].power` as `vm.power`.
fn without_numbers(path: &str) -> String {
    let mut within = false;
    let outside = |c: &char| {
        within = *c == '[' || (within && *c != ']');
        !within && *c != ']'
    };
    path.chars().filter(outside).collect()
}

/// What `key` wants, for people.
pub(super) fn wanted(key: &Key) -> String {
    match key.kind {
        Kind::Bool => "true or false".to_owned(),
        Kind::Integer { min, max } => format!("a number between {min} and {max}"),
        Kind::Duration { min, max } => {
            format!("a duration between {} and {}, such as \"{}\"", seconds(min), seconds(max), seconds(max))
        }
        Kind::OneOf(words) => {
            let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
            format!("one of {}", quoted.join(", "))
        }
        Kind::Text(what) => format!("a text ({what})"),
        Kind::Path => "a text (path)".to_owned(),
        Kind::Time => "\"never\" or a date and time such as \"2027-01-31T12:00:00Z\"".to_owned(),
        Kind::List { of, max } => format!("a list of at most {max} texts ({of})"),
    }
}

fn shown(key: &Key, value: &Value) -> String {
    match value {
        _ if key.secret => "[secret]".to_owned(),
        Value::Text(text) => shown_text(key, text),
        Value::Integer(Some(number)) => number.to_string(),
        Value::Bool(is) => is.to_string(),
        Value::Time(text) => text.clone(),
        other => other.kind().to_owned(),
    }
}

fn shown_text(key: &Key, text: &str) -> String {
    let url = text.contains("://") || matches!(key.kind, Kind::Text(what) if what.contains("URL"));
    if key.secret || (url && has_credentials(text)) { "[secret]".to_owned() } else { quoted(text) }
}
