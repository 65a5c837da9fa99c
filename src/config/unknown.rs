//! Keys and sections that no key is named like: refused, with the nearest known one named.

use std::collections::BTreeMap;

use super::issue::plain;
use super::keys::header;
use super::reader::Reader;
use super::tree::{Node, Value};

/// How alike (0 to 1) two names must be for the one to be suggested for the other.
const ALIKE: f64 = 0.8;

/// The candidate most like `name`, if one is like it at all.
pub(super) fn nearest<'c>(name: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    let likeness = |candidate: &&str| strsim::jaro_winkler(name, candidate);
    let best = candidates.max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(&best) >= ALIKE).then_some(best)
}

/// Reports every unknown key and section below `table`. `path` is normal (`vm[].power`), `shown` is for people
/// (`vm[2].power`).
pub(super) fn refuse(reader: &Reader<'_>, table: &BTreeMap<String, Node>, path: &str, shown: &str) {
    for (name, node) in table {
        let below = |base: &str| if base.is_empty() { name.clone() } else { format!("{base}.{name}") };
        let (child, child_shown) = (below(path), below(shown));
        let list = format!("{child}[]");
        if reader.schema.has_key(&child) {
            continue;
        } else if reader.schema.has_section(&child) {
            match &node.value {
                Value::Table(inner) => refuse(reader, inner, &child, &child_shown),
                other => {
                    let message = format!("is {}, but this is a section: write {}", other.kind(), header(&child));
                    reader.at(&node.at, &child_shown, message);
                }
            }
        } else if reader.schema.has_section(&list) {
            refuse_entries(reader, node, &list, &child_shown);
        } else {
            // Past the cap a mistake is only counted, and the likeness of names is not worth computing.
            let message = if reader.is_full() { String::new() } else { message(reader, name, path) };
            reader.at(&node.key_at, &plain(&child_shown), message);
        }
    }
}

fn refuse_entries(reader: &Reader<'_>, node: &Node, list: &str, shown: &str) {
    let header = list.trim_end_matches("[]");
    let Value::List(items) = &node.value else {
        let message = format!("is {}, but there may be several: write [[{header}]]", node.value.kind());
        return reader.at(&node.at, shown, message);
    };
    for (i, item) in items.iter().enumerate() {
        match &item.value {
            Value::Table(inner) => refuse(reader, inner, list, &format!("{shown}[{i}]")),
            other => {
                let message = format!("is {}: write [[{header}]]", other.kind());
                reader.at(&item.at, &format!("{shown}[{i}]"), message);
            }
        }
    }
}

fn message(reader: &Reader<'_>, name: &str, path: &str) -> String {
    let here = reader.schema.names_in(path);
    let what = if path.is_empty() { "no such section" } else { "no such key" };
    if let Some(near) = nearest(name, here.iter().copied()) {
        return format!("{what}; did you mean {near}?");
    }
    // A key after the wrong header is the usual slip in TOML: keys of [[vm]] written below [vm.power].
    if let Some(section) = reader.schema.section_with(name) {
        return format!("{what}; {name} belongs to {}", header(section));
    }
    format!("{what}; known here: {}", here.join(", "))
}
