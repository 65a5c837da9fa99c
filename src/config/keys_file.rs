//! The file of API keys: hashes only, readable by its owner only.
//!
//! ```toml
//! [[key]]
//! id = "abc123"
//! sha256 = "<64 hex digits>"          # of the whole key, gw_<id>_<secret>
//! name = "grafana"
//! scopes = ["events:read"]
//! vms = ["*"]
//! expires = "never"                   # or an RFC 3339 date and time
//! ```
//!
//! While a key is rotated, `sha256 = ["<new>", "<old>"]` lets both secrets in (G25).
//!
//! A file without a `[[key]]` is a mistake (G26): most often it was cut short. Whoever means it writes `empty = true` at the
//! top, as `gatewatch key revoke --last` does; a gateway that runs then lets no key in from its next reload on. None starts
//! on such a file.

use std::collections::HashMap;
use std::path::Path;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::issue::{ConfigErrors, Place, quoted};
use super::keys::{Default, Key, Kind, Schema, keys};
use super::reader::Reader;
use super::table::Table;
use super::{MapEnv, files, rules};
use crate::model::{Scope, Scopes, Timestamp, VmGrant};

/// The largest file of keys, bytes: room for about 10,000 of them.
const MAX_BYTES: u64 = 4 * 1024 * 1024;
/// How many keys one file may have.
const MAX_KEYS: usize = 10_000;
/// How many globs one key may have.
const MAX_GLOBS: usize = 256;
/// How many secrets one key may have at once: the new one and the one before it (G25).
const MAX_HASHES: usize = 2;
/// SHA-256 of nothing: the hash of an empty secret (G26).
const HASH_OF_NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

static SCHEMA: Schema = Schema { keys: KEYS, sections: &[("key[]", "An API key, one entry each; at most 10000.")] };

keys! { KEYS:
    EMPTY = Key::new("empty", Kind::Bool, Default::Bool(false), "Whether the file has no key on purpose.");
    ID = Key::new("key[].id", Kind::Text("id"), Default::Required, "The public part of the key.");
    HASH = Key::new("key[].sha256", Kind::List { of: "64 hex digits", max: MAX_HASHES }, Default::Required,
        "SHA-256 of the whole key, `gw_<id>_<secret>`; a second one while it is rotated.").secret();
    NAME = Key::new("key[].name", Kind::Text("text"), Default::Required, "For people.");
    SCOPES = Key::new("key[].scopes", Kind::List { of: "scope", max: 16 }, Default::Required, "What it may do.");
    VMS = Key::new("key[].vms", Kind::List { of: "glob over VM names", max: MAX_GLOBS }, Default::Required,
        "Which VMs it may see.");
    EXPIRES = Key::new("key[].expires", Kind::Time, Default::Required, "When it ends.");
}

/// One API key, as the file has it.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyEntry {
    /// The public part: 1 to 32 of `A-Z a-z 0-9`, unique in the file.
    pub id: String,
    /// SHA-256 of the whole key, `gw_<id>_<secret>`: one, or the new one and the one before it while it is rotated. The
    /// secret is random, so no slow hash is needed (G23).
    pub sha256: Vec<[u8; 32]>,
    /// For people, at most 500 characters.
    pub name: String,
    /// What it may do; at least one scope.
    pub scopes: Scopes,
    /// Which VMs it may see; at least one glob.
    pub vms: VmGrant,
    /// When it ends; `None`: never. It may be past.
    pub expires_at: Option<Timestamp>,
}

/// Reads files of API keys.
#[derive(Clone, Copy, Debug)]
pub struct KeysFile;

impl KeysFile {
    /// Loads `path`: at most 4 MiB, not readable by others (mode 0600).
    ///
    /// # Errors
    /// Every mistake at once; one whose place is [`Place::Whole`] is about the file itself.
    pub fn load(path: &Path) -> Result<Vec<KeyEntry>, ConfigErrors> {
        let origin = path.to_string_lossy();
        let whole = |message: String| ConfigErrors::one(Place::Whole(origin.as_ref().into()), "", message);
        let metadata = files::readable(path).map_err(whole)?;
        if files::is_open_to_others(&metadata) {
            return Err(whole(files::close(path, &metadata)));
        }
        let text = files::text(path, MAX_BYTES).map_err(|message| whole(format!("{} {message}", quoted(&origin))))?;
        Self::parse_from(&text, &origin)
    }

    /// Parses the text of such a file. A file without a key is a mistake, unless it says so: then there are none (G26).
    ///
    /// # Errors
    /// Every mistake at once, none with a hash in it.
    pub fn parse(text: &str) -> Result<Vec<KeyEntry>, ConfigErrors> {
        Self::parse_from(text, "keys")
    }

    fn parse_from(text: &str, origin: &str) -> Result<Vec<KeyEntry>, ConfigErrors> {
        let env = MapEnv::default();
        let reader = Reader::new(text, origin, &env, SCHEMA);
        let document = reader.document(false);
        let keys = document.as_ref().map(|document| {
            let keys = entries(&document.entries(&reader, "key"));
            let top = document.top(&reader);
            match (keys.is_empty(), top.bool(&EMPTY)) {
                (true, false) if !reader.has_issues() => {
                    let message = format!("{} has no [[key]]; `gatewatch key new` makes one", quoted(origin));
                    reader.push(Place::Whole(origin.into()), "", message);
                }
                (false, true) => top.refuse(&EMPTY, "is true, but there are keys; take the line out"),
                _ => {}
            }
            keys
        });
        reader.finish(keys).map(|(keys, _)| keys)
    }
}

impl KeyEntry {
    /// The key as a `[[key]]` of the file, with an empty line after it.
    pub fn to_toml(&self) -> String {
        let list = |items: Vec<&str>| items.iter().map(|item| format!("\"{item}\"")).collect::<Vec<_>>().join(", ");
        let expires = self.expires();
        let name = self.name.replace('\\', "\\\\").replace('"', "\\\"");
        format!(
            "[[key]]\nid = \"{}\"\nsha256 = {}\nname = \"{name}\"\nscopes = [{}]\nvms = [{}]\n\
             expires = \"{expires}\"\n\n",
            self.id,
            hashes(&self.sha256),
            list(self.scope_names()),
            list(self.vms.globs().iter().map(AsRef::as_ref).collect()),
        )
    }

    /// When it ends, as the file has it: whole seconds, or `never`.
    pub fn expires(&self) -> String {
        self.expires_at.and_then(rfc3339).unwrap_or_else(|| "never".to_owned())
    }

    /// Its scopes, as the file has them: `admin` includes all, and stands alone.
    pub fn scope_names(&self) -> Vec<&'static str> {
        if self.scopes.allow(Scope::Admin) {
            return vec![Scope::Admin.as_str()];
        }
        Scope::ALL.into_iter().filter(|scope| self.scopes.allow(*scope)).map(Scope::as_str).collect()
    }
}

/// `hashes` as the value of `sha256`.
pub(super) fn hashes(hashes: &[[u8; 32]]) -> String {
    let shown: Vec<String> = hashes.iter().map(|hash| format!("\"{}\"", hex::encode(hash))).collect();
    if let [one] = &shown[..] { one.clone() } else { format!("[{}]", shown.join(", ")) }
}

fn rfc3339(at: Timestamp) -> Option<String> {
    // The wire's microseconds, the file's whole seconds: a key's end needs no more.
    OffsetDateTime::from_unix_timestamp(at.0 as i64).ok()?.format(&Rfc3339).ok()
}

fn entries(tables: &[Table<'_>]) -> Vec<KeyEntry> {
    if let Some(first_too_many) = tables.get(MAX_KEYS) {
        first_too_many.refuse_here(format!("there are {} keys, at most {MAX_KEYS} are allowed", tables.len()));
    }
    let mut seen: HashMap<_, &Table<'_>> = HashMap::new();
    let mut keys = Vec::new();
    for table in tables.iter().take(MAX_KEYS) {
        let Some(key) = entry(table) else { continue };
        match seen.get(&key.id) {
            Some(first) => table.refuse(&ID, format!("\"{}\" is the id of the key at {} too", key.id, first.place())),
            None => {
                seen.insert(key.id.clone(), table);
                keys.push(key);
            }
        }
    }
    keys
}

fn entry(table: &Table<'_>) -> Option<KeyEntry> {
    let id = table.parsed(&ID, id);
    let sha256 = table.list(&HASH, hash);
    let name = table.parsed(&NAME, rules::line);
    let scopes = table.list(&SCOPES, scope);
    let vms = table.list(&VMS, glob);
    let expires = table.parsed(&EXPIRES, expires);
    if table.look(&HASH).is_some_and(super::vm::is_empty_list) {
        table.refuse(&HASH, "is empty; no secret would open it");
    }
    if sha256.len() == MAX_HASHES && sha256[0] == sha256[1] {
        table.refuse(&HASH, "has the same hash twice");
    }
    for key in [&SCOPES, &VMS] {
        if table.look(key).is_some_and(super::vm::is_empty_list) {
            table.refuse(key, "is empty; such a key could do nothing");
        }
    }
    Some(KeyEntry {
        id: id?,
        sha256,
        name: name?,
        scopes: scopes.into_iter().collect(),
        vms: VmGrant::from_globs(vms),
        expires_at: expires?,
    })
}

fn id(text: &str) -> Result<String, &'static str> {
    let fits = (1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric());
    if fits { Ok(text.to_owned()) } else { Err("an id is 1 to 32 characters of A-Z, a-z and 0-9") }
}

fn hash(text: &str) -> Result<[u8; 32], &'static str> {
    if text.eq_ignore_ascii_case(HASH_OF_NOTHING) {
        return Err("is the hash of an empty secret");
    }
    let mut hash = [0; 32];
    hex::decode_to_slice(text, &mut hash).map(|()| hash).map_err(|_| "is not a SHA-256 of 64 hex digits")
}

pub(super) fn scope(text: &str) -> Result<Scope, String> {
    let all = || Scope::ALL.map(Scope::as_str).join(", ");
    Scope::parse(text).ok_or_else(|| format!("is not one of {}", all()))
}

pub(super) fn glob(text: &str) -> Result<String, &'static str> {
    if VmGrant::is_glob(text) { Ok(text.to_owned()) } else { Err("is not a VM name in which * stands for anything") }
}

fn expires(text: &str) -> Result<Option<Timestamp>, &'static str> {
    if text == "never" {
        return Ok(None);
    }
    let at = OffsetDateTime::parse(text, &Rfc3339);
    let at = at.map_err(|_| "is neither \"never\" nor a date and time such as 2027-01-31T12:00:00Z")?;
    Ok(Some(Timestamp(at.unix_timestamp() as f64)))
}
