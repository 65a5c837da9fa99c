//! The file of API keys.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use proptest::prelude::*;

use super::{KeyEntry, KeysFile};
use crate::model::{Scope, Timestamp, VmGrant, VmName};

/// A `[[key]]` in which `line` replaces the line of the same key.
fn entry(line: &str) -> String {
    let hash = "0f".repeat(32);
    let lines = [
        "id = \"abc123\"".to_owned(),
        format!("sha256 = \"{hash}\""),
        "name = \"grafana\"".to_owned(),
        "scopes = [\"events:read\", \"metrics:read\"]".to_owned(),
        "vms = [\"waa-*\"]".to_owned(),
        "expires = \"never\"".to_owned(),
    ];
    let key = line.split(' ').next().unwrap_or_default().to_owned() + " ";
    let kept = lines.iter().filter(|known| !known.starts_with(&key)).cloned().collect::<Vec<_>>();
    format!("[[key]]\n{}\n{}\n", kept.join("\n"), if line.contains('=') { line } else { "" })
}

#[test]
fn g25_a_key_is_read_as_written_and_its_end_is_mandatory() {
    let keys = KeysFile::parse(&entry("expires = \"2027-01-31T12:00:00+01:00\"")).expect("keys");
    let key = &keys[0];
    assert_eq!((key.id.as_str(), key.name.as_str(), &key.sha256[..]), ("abc123", "grafana", &[[0x0f; 32]][..]));
    assert!(
        key.scopes.allow(Scope::EventsRead) && key.scopes.allow(Scope::MetricsRead) && !key.scopes.allow(Scope::Admin)
    );
    assert!(
        key.vms.allows(&VmName::new("waa-1").expect("a name")) && !key.vms.allows(&VmName::new("b").expect("a name"))
    );
    assert_eq!(key.expires_at, Some(Timestamp(1_801_393_200.0)));
    let unquoted = KeysFile::parse(&entry("expires = 2027-01-31T11:00:00Z")).expect("keys");
    assert_eq!(unquoted[0].expires_at, key.expires_at);
    assert_eq!(KeysFile::parse(&entry("")).expect("keys")[0].expires_at, None);
    let message = KeysFile::parse(&entry("expires")).expect_err("no end").to_string();
    assert!(message.contains("key[0].expires: is missing"), "{message}");
}

#[test]
fn g26_mistakes_in_a_key_are_named_and_no_hash_is_printed() {
    for (line, message) in [
        ("id", "key[0].id: is missing"),
        ("id = \"a_b\"", "key[0].id: \"a_b\": an id is"),
        ("sha256", "key[0].sha256: is missing"),
        ("sha256 = \"topsecret\"", "key[0].sha256: [secret]: is not a SHA-256"),
        ("sha256 = 5", "key[0].sha256: [secret] is not a list of at most 2 texts"),
        (
            "sha256 = \"E3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"",
            "key[0].sha256: [secret]: is the hash of an empty secret",
        ),
        ("sha256 = []", "key[0].sha256: is empty"),
        ("sha256 = [\"topsecret\"]", "key[0].sha256[0]: [secret]: is not a SHA-256"),
        ("sha256 = [\"a\", \"b\", \"c\"]", "key[0].sha256: has 3 items, at most 2 are allowed"),
        ("name = \"\"", "key[0].name: \"\": is not 1 to 500"),
        ("scopes", "key[0].scopes: is missing"),
        ("scopes = []", "key[0].scopes: is empty"),
        ("scopes = [\"events:write\"]", "key[0].scopes[0]: \"events:write\": is not one of events:read, metrics:read"),
        ("vms = []", "key[0].vms: is empty"),
        ("vms = [\"waa-[0-9]\"]", "key[0].vms[0]: \"waa-[0-9]\": is not a VM name in which"),
        ("expires", "key[0].expires: is missing"),
        ("expires = \"tomorrow\"", "key[0].expires: \"tomorrow\": is neither"),
        ("expires = 2027-01-31", "key[0].expires: \"2027-01-31\": is neither"),
        ("secret = \"topsecret\"", "key[0].secret: no such key"),
    ] {
        let errors = KeysFile::parse(&entry(line)).expect_err(line).to_string();
        assert!(errors.lines().count() == 1 && errors.contains(message), "{line}: {errors}");
        assert!(!errors.contains("topsecret") && !errors.contains("0f0f"), "{errors}");
    }
    let twice = KeysFile::parse(&(entry("") + &entry(""))).expect_err("twice").to_string();
    assert!(twice.contains("key[1].id: \"abc123\" is the id of the key at keys:1:1 too"), "{twice}");
}

#[test]
fn g26_a_file_without_a_key_lets_nobody_in_and_is_refused() {
    for text in ["", "# nothing\n", "key = []"] {
        let errors = KeysFile::parse(text).expect_err("no keys").to_string();
        assert!(errors.contains("has no [[key]]"), "{text:?}: {errors}");
    }
}

#[test]
fn g26_a_file_that_others_can_read_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("keys.toml");
    fs::write(&path, entry("")).expect("a file");
    for (mode, refused) in [(0o600, false), (0o400, false), (0o640, true), (0o644, true), (0o620, true)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
        assert_eq!(KeysFile::load(&path).is_err(), refused, "{mode:o}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a mode");
    fs::write(&path, entry("id = 5")).expect("a file");
    let text = format!("auth.keys_file = \"{}\"", path.display());
    let errors = super::Config::parse(&text, "f.toml", &super::MapEnv::default()).expect_err("a bad key").to_string();
    assert!(errors.contains("keys.toml:7:6: key[0].id: 5 is not a text (id)"), "{errors}");
}

proptest! {
    #[test]
    fn a_key_that_is_written_is_read_again(
        id in "[A-Za-z0-9]{1,32}",
        sha256 in prop::collection::vec(any::<[u8; 32]>(), 1..=2),
        name in "[ -~ä]{0,40}x",
        scopes in prop::sample::subsequence(Scope::ALL.to_vec(), 1..=5),
        vms in prop::collection::vec("[a-z0-9*-]{1,20}", 1..4),
        expires in prop::option::of(0_u32..),
    ) {
        let scopes = if scopes.contains(&Scope::Admin) { vec![Scope::Admin] } else { scopes };
        let key = KeyEntry {
            id, sha256, name,
            scopes: scopes.into_iter().collect(),
            vms: VmGrant::from_globs(vms),
            expires_at: expires.map(|seconds| Timestamp(f64::from(seconds))),
        };
        let again = KeysFile::parse(&key.to_toml());
        prop_assert_eq!(again.as_deref(), Ok(&[key][..]));
    }

    #[test]
    fn any_text_is_keys_or_mistakes(text in "(\\[\\[key\\]\\]|[a-z0-9]{1,8} = .{0,8}|.*\n){0,6}") {
        let _ = KeysFile::parse(&text);
    }
}
