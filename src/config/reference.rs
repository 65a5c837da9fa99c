//! `docs/CONFIG.md`, made from the table of keys.

use std::fmt::Write as _;

use super::environment::variable;
use super::keys::{Default, Key, Kind, header, seconds};
use super::listed::CONFIG;

const HEAD: &str = "\
# Configuration

<!-- Made from the table of keys in src/config/listed.rs; `UPDATE_DOCS=1 cargo test --lib config::` writes it anew. -->

gatewatch reads one TOML file (`--config`, at most 1 MiB). `gatewatch check` reports every mistake in it at once, each
with its line, its key and what is allowed. An unknown key or section is a mistake. `config/gatewatch.toml` has every
key with its default, `config/minimal.toml` the least that watches a VM, `config/local.toml` one for gatewatch on the VM
itself.

- Paths are relative to the working directory; a leading `~/` is the home directory.
- Durations have a unit: `\"500ms\"`, `\"5s\"`, `\"2m\"`, `\"12h\"`.
- `\"\"` is the same as not written for a key without a default, and takes the default away from one that has it.
- A list of one may be written as a single text.
- Every key outside `[[...]]` lists is also a variable, named below, which wins over the file. Lists are separated by
  commas there. A `GATEWATCH__` variable that names no key is a mistake.
- The variable of a key marked *secret* may also end in `_FILE` and name a file that holds the value. Secrets are never
  printed.

What must hold between keys is checked too: VM names are unique; `poll.idle_interval` is not less than `poll.interval`;
`limits.burst` is not less than `limits.requests_per_second`; certificates, private keys, key files and known hosts are
there, readable, and private where ssh or a secret asks for it.
";

/// The reference of every key: path, type, default, range, meaning and variable, as Markdown.
pub fn reference() -> String {
    let mut page = String::from(HEAD);
    for (section, meaning) in CONFIG.sections {
        // Writing to a String cannot fail.
        let _ = write!(page, "\n## `{}`\n\n{meaning}\n", header(section));
        let keys: Vec<_> = CONFIG.keys.iter().filter(|key| key.section() == *section).collect();
        if let Some(prefix) = keys.first().and_then(|key| variable(key)) {
            let prefix = prefix.rsplit_once("__").map(|(prefix, _)| format!("{prefix}__")).unwrap_or_default();
            let _ = write!(page, "\nVariables: `{prefix}` and the key in capitals.\n");
        }
        page.push_str("\n| key | type | default | meaning |\n|---|---|---|---|\n");
        for key in keys {
            let _ = writeln!(page, "| `{}` | {} | {} | {} |", key.leaf(), kind(key), default(key), meaning_of(key));
        }
    }
    page
}

fn kind(key: &Key) -> String {
    match key.kind {
        Kind::Bool => "`true` or `false`".to_owned(),
        Kind::Integer { min, max } => format!("number, {min} to {max}"),
        Kind::Duration { min, max } => format!("duration, {} to {}", seconds(min), seconds(max)),
        Kind::OneOf(words) => words.iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(", "),
        Kind::Text(what) => what.to_owned(),
        Kind::Path => "path".to_owned(),
        Kind::Time => "`\"never\"` or date and time".to_owned(),
        Kind::List { of, max } => format!("list of {of}, at most {max}"),
    }
}

fn default(key: &Key) -> String {
    match key.default {
        Default::None => "none".to_owned(),
        Default::Required => "must be written".to_owned(),
        _ => format!("`{}`", toml_default(key)),
    }
}

/// The default as it would be written in the file; `""` for none.
pub(super) fn toml_default(key: &Key) -> String {
    match key.default {
        Default::None | Default::Required => "\"\"".to_owned(),
        Default::Bool(is) => is.to_string(),
        Default::Integer(number) => number.to_string(),
        Default::Text(text) => format!("\"{text}\""),
        Default::List(items) => {
            let items: Vec<String> = items.iter().map(|item| format!("\"{item}\"")).collect();
            format!("[{}]", items.join(", "))
        }
    }
}

fn meaning_of(key: &Key) -> String {
    let mut meaning = key.meaning.replace('|', "\\|");
    if key.secret {
        meaning.push_str(" *Secret.*");
    }
    meaning
}
