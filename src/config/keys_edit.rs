//! Changes to the text of a keys file. What is not changed stays as it was, byte for byte: comments, order, line ends.

use std::ops::Range;

use toml_edit::{Document, Item, Table};

use super::keys_file::hashes;
use super::{ConfigErrors, KeyEntry, KeysFile};

/// Why the text of a keys file is not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyEditError {
    /// It is not the text of a keys file; every mistake in it, none with a hash.
    #[error("{0}")]
    File(#[from] ConfigErrors),
    /// No key has this id.
    #[error("there is no key {0:?}")]
    Unknown(String),
    /// A key of this id is there already.
    #[error("the key {0:?} is there already")]
    Taken(String),
    /// It is TOML, but written in a way that cannot be changed in place.
    #[error("its keys are not written as [[key]], so they can only be changed by hand")]
    Form,
}

impl KeysFile {
    /// `text` with `entry` at its end; in `text` there may be no key yet.
    ///
    /// # Errors
    /// If `text` is no keys file, or has a key of this id.
    pub fn with(text: &str, entry: &KeyEntry) -> Result<String, KeyEditError> {
        let begun = Document::parse(text).is_ok_and(|document| document.is_empty());
        let mut keys = if begun { Vec::new() } else { Self::parse(text)? };
        if keys.iter().any(|key| key.id == entry.id) {
            return Err(KeyEditError::Taken(entry.id.clone()));
        }
        keys.push(entry.clone());
        let mut new = without_empty(text)?;
        end_line(&mut new);
        new.push_str(&entry.to_toml());
        checked(new, &keys)
    }

    /// `text` without the key `id`. Without its last key the file says that it is empty on purpose.
    ///
    /// # Errors
    /// If `text` is no keys file, or has no key of this id.
    pub fn without(text: &str, id: &str) -> Result<String, KeyEditError> {
        let (mut keys, at) = find(text, id)?;
        keys.remove(at);
        let document = document(text)?;
        let mut new = cut(text, lines_of(text, entry(&document, at)?)?);
        if keys.is_empty() {
            end_line(&mut new);
            new.push_str("empty = true\n");
        }
        checked(new, &keys)
    }

    /// `text` with `hashes` (one, or the newer one and then the older) as those of the key `id`.
    ///
    /// # Errors
    /// If `text` is no keys file, or has no key of this id.
    pub fn with_hashes(text: &str, id: &str, new: &[[u8; 32]]) -> Result<String, KeyEditError> {
        let (mut keys, at) = find(text, id)?;
        keys[at].sha256 = new.to_vec();
        let document = document(text)?;
        let value = entry(&document, at)?.get("sha256").and_then(Item::span).ok_or(KeyEditError::Form)?;
        let (before, after) = (&text[..value.start], &text[value.end..]);
        checked(format!("{before}{}{after}", hashes(new)), &keys)
    }
}

/// The keys of `text`, and where among them `id` is.
fn find(text: &str, id: &str) -> Result<(Vec<KeyEntry>, usize), KeyEditError> {
    let keys = KeysFile::parse(text)?;
    let at = keys.iter().position(|key| key.id == id).ok_or_else(|| KeyEditError::Unknown(id.to_owned()))?;
    Ok((keys, at))
}

/// `text`, if it reads as exactly `keys`: a change that did something else is not made.
fn checked(text: String, keys: &[KeyEntry]) -> Result<String, KeyEditError> {
    if KeysFile::parse(&text)? == keys { Ok(text) } else { Err(KeyEditError::Form) }
}

fn document(text: &str) -> Result<Document<&str>, KeyEditError> {
    Document::parse(text).map_err(|_| KeyEditError::Form)
}

fn entry<'d>(document: &'d Document<&str>, at: usize) -> Result<&'d Table, KeyEditError> {
    document.get("key").and_then(Item::as_array_of_tables).and_then(|keys| keys.get(at)).ok_or(KeyEditError::Form)
}

/// From the line of the entry's header to that of its last value, and one empty line after it.
fn lines_of(text: &str, entry: &Table) -> Result<Range<usize>, KeyEditError> {
    let header = entry.span().ok_or(KeyEditError::Form)?;
    let last = entry.iter().filter_map(|(_, item)| item.span()).map(|span| span.end).max();
    let mut end = next_line(text, last.unwrap_or(header.end));
    if text[end..].starts_with('\n') || text[end..].starts_with("\r\n") {
        end = next_line(text, end);
    }
    Ok(line_start(text, header.start)..end)
}

/// `text` without the line that says that there is no key.
fn without_empty(text: &str) -> Result<String, KeyEditError> {
    let document = document(text)?;
    let Some((key, value)) = document.get_key_value("empty") else { return Ok(text.to_owned()) };
    let (key, value) = key.span().zip(value.span()).ok_or(KeyEditError::Form)?;
    Ok(cut(text, line_start(text, key.start)..next_line(text, value.end)))
}

fn cut(text: &str, lines: Range<usize>) -> String {
    format!("{}{}", &text[..lines.start], &text[lines.end..])
}

fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |end| end + 1)
}

fn next_line(text: &str, at: usize) -> usize {
    text[at..].find('\n').map_or(text.len(), |end| at + end + 1)
}

fn end_line(text: &mut String) {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{KeyEditError, KeysFile};
    use crate::config::KeyEntry;
    use crate::model::{Scope, VmGrant};

    fn key(id: &str, hash: u8) -> KeyEntry {
        KeyEntry {
            id: id.to_owned(),
            sha256: vec![[hash; 32]],
            name: format!("of \"{id}\""),
            scopes: [Scope::EventsRead].into_iter().collect(),
            vms: VmGrant::all(),
            expires_at: None,
        }
    }

    /// Written by hand, with comments wherever people put them and one line end of another system.
    fn by_hand() -> String {
        let entry = |id: &str, hash: &str| {
            format!(
                "[[key]] # {id}\nid   = '{id}'\nsha256 = \"{}\"   # secret of {id}\nname=\"{id}\"\r\nscopes = [\n  \
                 \"events:read\", # to watch\n]\nvms = \"*\"\nexpires = \"never\" # yet\n",
                hash.repeat(32)
            )
        };
        format!(
            "# The team's keys\n\n{}\n# Grafana's\n{}# what is behind it\n\n{}# the end",
            entry("a", "0a"),
            entry("b", "0b"),
            entry("c", "0c")
        )
    }

    #[test]
    fn g25_a_revoked_key_takes_nothing_else_with_it() {
        let text = by_hand();
        let new = KeysFile::without(&text, "b").unwrap();
        let (before, rest) = text.split_once("[[key]] # b").unwrap();
        let (_, after) = rest.split_once("# yet\n").unwrap();
        assert_eq!(new, format!("{before}{after}"));
        let new = KeysFile::without(&KeysFile::without(&new, "a").unwrap(), "c").unwrap();
        assert_eq!(new, "# The team's keys\n\n# Grafana's\n# what is behind it\n\n# the end\nempty = true\n");
        assert_eq!(KeysFile::without(&text, "d").unwrap_err(), KeyEditError::Unknown("d".to_owned()));
    }

    #[test]
    fn g26_a_file_emptied_on_purpose_says_so_and_a_new_key_takes_that_back() {
        let one = KeysFile::with("", &key("a", 1)).unwrap();
        let empty = KeysFile::without(&one, "a").unwrap();
        assert_eq!((empty.as_str(), KeysFile::parse(&empty)), ("empty = true\n", Ok(vec![])));
        let again = KeysFile::with(&format!("# ours\n{empty}# end"), &key("b", 2)).unwrap();
        assert_eq!(again, format!("# ours\n# end\n{}", key("b", 2).to_toml()));
        assert_eq!(KeysFile::with(&again, &key("b", 3)).unwrap_err(), KeyEditError::Taken("b".to_owned()));
        let both = format!("empty = true\n{again}");
        assert!(
            KeysFile::parse(&both).unwrap_err().to_string().contains("keys:1:9: empty: is true, but there are keys")
        );
        assert!(KeysFile::parse("empty = false\n").is_err());
    }

    #[test]
    fn g25_a_rotation_changes_the_hashes_of_one_key_alone() {
        let text = by_hand();
        let (new, old) = ([0xee; 32], [0x0b; 32]);
        let rotated = KeysFile::with_hashes(&text, "b", &[new, old]).unwrap();
        assert_eq!(KeysFile::parse(&rotated).unwrap()[1].sha256, [new, old]);
        let hex = |byte: &str| format!("\"{}\"", byte.repeat(32));
        assert_eq!(rotated, text.replace(&hex("0b"), &format!("[{}, {}]", hex("ee"), hex("0b"))));
        let again = KeysFile::with_hashes(&rotated, "b", &[[0xdd; 32], old]).unwrap();
        assert_eq!(again, rotated.replace(&hex("ee"), &hex("dd")));
        let finished = KeysFile::with_hashes(&rotated, "b", &[new]).unwrap();
        assert_eq!(finished, text.replace(&hex("0b"), &hex("ee")));
    }

    #[test]
    fn keys_that_are_no_sections_are_left_to_people() {
        let inline = format!(
            "key = [{{ id = \"a\", sha256 = \"{}\", name = \"n\", scopes = \"admin\", vms = \"*\", expires = \"never\" }}]\n",
            "0a".repeat(32)
        );
        assert_eq!(KeysFile::without(&inline, "a").unwrap_err(), KeyEditError::Form);
        assert!(matches!(KeysFile::without("[[key]]\n", "a"), Err(KeyEditError::File(_))));
    }

    proptest! {
        #[test]
        fn any_key_can_be_taken_out_and_the_others_stay(
            ids in prop::collection::btree_set("[a-z]{1,3}", 1..6),
            gone in any::<prop::sample::Index>(),
            comment in "(# [ -~]{0,20}\n|\n| ){0,3}",
        ) {
            let mut text = comment.clone();
            for id in &ids {
                text = KeysFile::with(&text, &key(id, 7)).unwrap() + &comment;
            }
            let ids: Vec<_> = ids.into_iter().collect();
            let gone = gone.get(&ids);
            let left: Vec<_> = ids.iter().filter(|id| *id != gone).map(|id| key(id, 7)).collect();
            let new = KeysFile::without(&text, gone).unwrap();
            prop_assert_eq!(new.matches('#').count(), text.matches('#').count());
            prop_assert_eq!(KeysFile::parse(&new), Ok(left));
        }
    }
}
