//! The environment: read through a trait, so that no test changes the process's own, and laid over the file's values.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read as _;
use std::sync::Arc;

use super::issue::{Place, plain};
use super::keys::{Key, Kind, Schema};
use super::reader::Reader;
use super::tree::{Node, Spot, Value};

/// What every variable of gatewatch's configuration begins with.
pub const PREFIX: &str = "GATEWATCH__";

/// What a secret's variable ends with when it names a file that holds the secret.
const FILE_SUFFIX: &str = "_FILE";

/// The largest file that holds one secret, bytes.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// Where variables come from.
pub trait Env {
    /// The value of `name`, if it is set.
    fn get(&self, name: &str) -> Option<OsString>;

    /// Name and value of every variable whose name begins with `prefix`, sorted by name.
    fn with_prefix(&self, prefix: &str) -> Vec<(String, OsString)>;
}

/// The variables of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessEnv;

impl Env for ProcessEnv {
    fn get(&self, name: &str) -> Option<OsString> {
        std::env::var_os(name)
    }

    fn with_prefix(&self, prefix: &str) -> Vec<(String, OsString)> {
        let all = std::env::vars_os().map(|(name, value)| (name.to_string_lossy().into_owned(), value));
        let mut ours: Vec<_> = all.filter(|(name, _)| name.starts_with(prefix)).collect();
        ours.sort();
        ours
    }
}

/// Variables in a map: none of the process's, only those given.
#[derive(Clone, Debug, Default)]
pub struct MapEnv(BTreeMap<String, OsString>);

impl<N: Into<String>, V: Into<OsString>> FromIterator<(N, V)> for MapEnv {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl Env for MapEnv {
    fn get(&self, name: &str) -> Option<OsString> {
        self.0.get(name).cloned()
    }

    fn with_prefix(&self, prefix: &str) -> Vec<(String, OsString)> {
        let ours = self.0.iter().filter(|(name, _)| name.starts_with(prefix));
        ours.map(|(name, value)| (name.clone(), value.clone())).collect()
    }
}

/// The variable that gives `key`; `None` for keys of list entries such as `[[vm]]`, which a variable cannot name.
pub(super) fn variable(key: &Key) -> Option<String> {
    let name = || key.path.to_ascii_uppercase().replace('.', "__");
    (!key.path.contains("[]")).then(|| format!("{PREFIX}{}", name()))
}

/// Lays the variables over `root`; mistakes go to `reader`.
pub(super) fn lay_over(root: &mut BTreeMap<String, Node>, reader: &Reader<'_>) {
    for (name, value) in reader.env.with_prefix(PREFIX) {
        let place = Place::Env(name.as_str().into());
        let Some(value) = value.to_str() else {
            reader.push(place, "", "its value is not UTF-8".to_owned());
            continue;
        };
        match find(&reader.schema, &name) {
            Some((key, false)) => insert(root, key, &name, value),
            Some((key, true)) => {
                let direct = name.strip_suffix(FILE_SUFFIX).unwrap_or(&name);
                if reader.env.get(direct).is_some() {
                    reader.push(place, key.path, format!("{direct} is set too; give only one of them"));
                    continue;
                }
                match secret_from_file(value) {
                    Ok(secret) => insert(root, key, &name, &secret),
                    Err(message) => reader.push(place, key.path, message),
                }
            }
            None => reader.push(place, "", unknown(&reader.schema, &name)),
        }
    }
}

/// The key that variable `name` gives, and whether it names a file that holds the value.
fn find(schema: &Schema, name: &str) -> Option<(&'static Key, bool)> {
    let named = |wanted: &str| schema.keys.iter().find(|key| variable(key).as_deref() == Some(wanted)).copied();
    if let Some(key) = named(name) {
        return Some((key, false));
    }
    let key = named(name.strip_suffix(FILE_SUFFIX)?)?;
    key.secret.then_some((key, true))
}

fn unknown(schema: &Schema, name: &str) -> String {
    let rest = name.trim_start_matches(PREFIX);
    let entry_of = |section: &&&str| {
        section.strip_suffix("[]").is_some_and(|list| {
            let list = list.to_ascii_uppercase().replace('.', "__");
            rest == list || rest.strip_prefix(list.as_str()).is_some_and(|rest| rest.starts_with("__"))
        })
    };
    if let Some(list) = schema.sections.iter().map(|(path, _)| path).find(entry_of) {
        let list = list.trim_end_matches("[]");
        return format!("[[{list}]] entries cannot be given by the environment; write them in the file");
    }
    let names: Vec<String> = schema.keys.iter().filter_map(|key| variable(key)).collect();
    // Without what all of them begin with, which would make any two alike.
    match super::unknown::nearest(rest, names.iter().map(|name| name.trim_start_matches(PREFIX))) {
        Some(near) => format!("no such variable; did you mean {PREFIX}{near}?"),
        None => format!("no such variable; variables are named {PREFIX}SECTION__KEY"),
    }
}

fn secret_from_file(path: &str) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|error| format!("cannot read {}: {error}", plain(path)))?;
    let mut secret = String::new();
    let read = file.take(MAX_SECRET_BYTES + 1).read_to_string(&mut secret);
    read.map_err(|error| format!("cannot read {}: {error}", plain(path)))?;
    if secret.len() as u64 > MAX_SECRET_BYTES {
        return Err(format!("{} is larger than {MAX_SECRET_BYTES} bytes", plain(path)));
    }
    match secret.trim_end_matches(['\r', '\n']) {
        // An empty secret that is taken for one opens every door (G26).
        "" => Err(format!("{} is empty", plain(path))),
        secret => Ok(secret.to_owned()),
    }
}

fn insert(root: &mut BTreeMap<String, Node>, key: &Key, name: &str, text: &str) {
    let at = Spot::Env(Arc::from(name));
    let node = |value| Node { key_at: at.clone(), at: at.clone(), value };
    let value = match key.kind {
        Kind::Bool => text.parse().map_or_else(|_| Value::Text(text.to_owned()), Value::Bool),
        Kind::Integer { .. } => {
            text.parse().map_or_else(|_| Value::Text(text.to_owned()), |number| Value::Integer(Some(number)))
        }
        Kind::List { .. } => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Value::List(items.map(|item| node(Value::Text(item.to_owned()))).collect())
        }
        Kind::Duration { .. } | Kind::OneOf(_) | Kind::Text(_) | Kind::Path | Kind::Time => {
            Value::Text(text.to_owned())
        }
    };
    let mut table = root;
    let (sections, leaf) = key.path.rsplit_once('.').unwrap_or(("", key.path));
    for section in sections.split('.') {
        let entry = table.entry(section.to_owned()).or_insert_with(|| node(Value::Table(BTreeMap::new())));
        match &mut entry.value {
            Value::Table(inner) => table = inner,
            // `poll = 3` in the file is a mistake of its own, reported by the walk.
            _ => return,
        }
    }
    table.insert(leaf.to_owned(), node(value));
}
