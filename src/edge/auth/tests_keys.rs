//! What keys open, and what is told of them.

use proptest::prelude::*;

use super::keys::new_secret;
use super::{KeyChanges, KeyFault, KeyNews, KeySet, Keys, KeysError, new_key};
use crate::config::KeyEntry;
use crate::model::{Scope, Timestamp, VmGrant, VmName};

const NOW: Timestamp = Timestamp(1000.0);

#[test]
fn g23_g49_a_key_opens_until_it_expires_or_is_revoked() {
    let (text, entry) = new_key("ci", [Scope::EventsRead], VmGrant::all(), Some(Timestamp(2000.0)));
    let (other, other_entry) = new_key("other", [Scope::Admin], VmGrant::all(), None);
    let keys = Keys::new(KeySet::new([entry.clone()]).unwrap());

    let principal = keys.verify(text.expose(), NOW).unwrap();
    assert_eq!(&*principal.name, entry.id);
    assert!(principal.scopes.allow(Scope::EventsRead) && !principal.scopes.allow(Scope::Admin));

    let mixed = format!("gw_{}_{}", entry.id, other.expose().rsplit('_').next().unwrap());
    for (shown, fault) in [
        (other.expose(), KeyFault::Unknown),
        (mixed.as_str(), KeyFault::Wrong),
        ("", KeyFault::Malformed),
        ("gw_", KeyFault::Malformed),
        ("gw_a", KeyFault::Malformed),
        ("gw_a_", KeyFault::Malformed),
        ("gw__b", KeyFault::Malformed),
        ("gw_ä_b", KeyFault::Malformed),
        (&format!("gw_a_{}", "b".repeat(200)), KeyFault::Malformed),
    ] {
        assert_eq!(keys.verify(shown, NOW).unwrap_err(), fault, "{shown}");
    }
    assert_eq!(keys.verify(text.expose(), Timestamp(2000.0)).unwrap_err(), KeyFault::Expired);
    assert_eq!(keys.renewed(&principal, NOW).as_ref(), Some(&principal));
    assert_eq!(keys.renewed(&principal, Timestamp(2000.0)), None);

    let changes = keys.changes();
    let narrower = KeyEntry { vms: VmGrant::from_globs(["lab"]), ..entry };
    keys.replace(KeySet::new([narrower]).unwrap());
    assert!(changes.has_changed().unwrap());
    assert!(!keys.renewed(&principal, NOW).unwrap().vms.allows(&VmName::new("other").unwrap()), "it may see less now");
    keys.replace(KeySet::new([other_entry]).unwrap());
    assert_eq!(keys.renewed(&principal, NOW), None);
    assert_eq!(keys.verify(text.expose(), NOW).unwrap_err(), KeyFault::Unknown);
}

#[test]
fn g26_a_set_of_keys_is_checked() {
    let (_, entry) = new_key("ci", [], VmGrant::all(), None);
    assert_eq!(KeySet::new([]).unwrap_err(), KeysError::Empty);
    assert_eq!(KeySet::new([entry.clone(), entry.clone()]).unwrap_err(), KeysError::Twice(entry.id.clone()));
    let bad = KeyEntry { id: "a_b".to_owned(), ..entry };
    assert_eq!(KeySet::new([bad]).unwrap_err(), KeysError::Id("a_b".to_owned()));
    for hashes in [0, 3] {
        let (_, entry) = new_key("ci", [], VmGrant::all(), None);
        let bad = KeyEntry { sha256: vec![[1; 32]; hashes], ..entry };
        assert_eq!(KeySet::new([bad.clone()]).unwrap_err(), KeysError::Hashes(bad.id));
    }
}

#[test]
fn g25_both_secrets_of_a_rotated_key_open_until_the_old_one_is_dropped() {
    let (old, entry) = new_key("ci", [Scope::EventsRead], VmGrant::all(), None);
    let (new, hash) = new_secret(&entry.id);
    let keys = Keys::new(KeySet::new([entry.clone()]).unwrap());
    assert_eq!(keys.verify(new.expose(), NOW).unwrap_err(), KeyFault::Wrong);

    let principal = keys.verify(old.expose(), NOW).unwrap();
    let both = KeyEntry { sha256: vec![hash, entry.sha256[0]], ..entry.clone() };
    let changes = keys.replace(KeySet::new([both]).unwrap());
    assert_eq!(changes.changed, std::slice::from_ref(&entry.id));
    assert!(keys.list()[0].rotating);
    let by_new = keys.verify(new.expose(), NOW).unwrap();
    assert_eq!((&by_new.name, &by_new.vms), (&principal.name, &principal.vms));
    assert_eq!(keys.renewed(&principal, NOW).as_ref(), Some(&principal), "a rotation ends no stream");

    keys.replace(KeySet::new([KeyEntry { sha256: vec![hash], ..entry }]).unwrap());
    assert!(!keys.list()[0].rotating);
    assert_eq!(keys.verify(old.expose(), NOW).unwrap_err(), KeyFault::Wrong);
    assert_eq!(keys.renewed(&principal, NOW), None, "what the old secret opened ends with it");
    assert_eq!(keys.renewed(&by_new, NOW), Some(by_new));
}

#[test]
fn when_a_key_was_last_used_outlives_a_reload_and_a_refusal_is_no_use() {
    let (text, entry) = new_key("ci", [Scope::EventsRead], VmGrant::all(), Some(Timestamp(2000.0)));
    let keys = Keys::new(KeySet::new([entry.clone()]).unwrap());
    let last = || keys.list()[0].last_used;
    assert_eq!(last(), None);
    let wrong = format!("{}x", text.expose());
    assert!(keys.verify(&wrong, NOW).is_err() && keys.verify(text.expose(), Timestamp(2000.0)).is_err());
    assert_eq!(last(), None);

    keys.verify(text.expose(), Timestamp(1000.7)).unwrap();
    assert_eq!(last(), Some(NOW));
    keys.verify(text.expose(), Timestamp(900.0)).unwrap();
    assert_eq!(last(), Some(NOW), "a clock that steps back undoes nothing");
    let (_, rotated) = new_secret(&entry.id);
    keys.replace(KeySet::new([KeyEntry { sha256: vec![rotated], ..entry.clone() }]).unwrap());
    assert_eq!(last(), Some(NOW));

    let (_, other) = new_key("other", [], VmGrant::all(), None);
    keys.replace(KeySet::new([other]).unwrap());
    keys.replace(KeySet::new([entry]).unwrap());
    assert_eq!(last(), None, "what is gone is forgotten");
}

#[test]
fn a_new_set_says_what_it_changes() {
    let made = ["c", "a", "b"]
        .map(|id| KeyEntry { id: id.to_owned(), ..new_key("ci", [Scope::EventsRead], VmGrant::all(), None).1 });
    let keys = Keys::new(KeySet::new(made.clone()).unwrap());
    assert!(keys.replace(KeySet::new(made.clone()).unwrap()).is_empty());
    let [c, a, b] = made;
    let changed = [
        KeyEntry { name: "another".to_owned(), ..c },
        KeyEntry { expires_at: Some(NOW), ..a },
        KeyEntry { id: "d".to_owned(), ..b },
    ];
    let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        keys.replace(KeySet::new(changed).unwrap()),
        KeyChanges { added: ids(&["d"]), removed: ids(&["b"]), changed: ids(&["a", "c"]) }
    );
    assert_eq!(keys.replace(KeySet::none()).removed, ids(&["a", "c", "d"]));
    assert_eq!(keys.list(), []);
}

proptest! {
    #[test]
    fn g23_no_other_text_opens(text in "(gw_)?[a-zA-Z0-9_]{0,60}|\\PC*") {
        let (_, entry) = new_key("ci", [], VmGrant::all(), None);
        prop_assert!(Keys::new(KeySet::new([entry]).unwrap()).verify(&text, NOW).is_err());
    }
}

#[test]
fn what_another_process_revoked_is_refused_by_secret_or_with_its_key_until_it_is_taken_back() {
    let (old, mut entry) = new_key("ci", [Scope::EventsRead], VmGrant::all(), None);
    let (new, sha256) = new_secret(&entry.id);
    entry.sha256.insert(0, sha256);
    let (id, keys) = (entry.id.clone(), Keys::new(KeySet::new([entry.clone()]).unwrap()));
    let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let by = keys.verify(old.expose(), NOW).unwrap();

    // The process that takes the old secret out says how it is called.
    let teller = Keys::new(KeySet::new([entry.clone()]).unwrap());
    let hears = std::sync::Arc::clone(&told);
    teller.on_news(move |news| hears.lock().unwrap().push(news));
    let only_new = KeyEntry { sha256: vec![sha256], ..entry.clone() };
    teller.replace(KeySet::new([only_new.clone()]).unwrap());
    let mark = told.lock().unwrap()[0].gone[0].clone();
    assert_eq!(told.lock().unwrap()[0], KeyNews { gone: vec![mark.clone()], back: vec![] });
    assert!(mark.starts_with(&format!("{id}.")) && mark.len() == id.len() + 17, "{mark}");

    let changes = keys.changes();
    assert!(keys.revoke([(mark.clone(), true)]) && changes.has_changed().unwrap());
    assert!(!keys.revoke([(mark.clone(), true)]), "that is known");
    assert_eq!(keys.verify(old.expose(), NOW).unwrap_err(), KeyFault::Revoked);
    assert_eq!(keys.renewed(&by, NOW), None);
    assert!(keys.verify(new.expose(), NOW).is_ok() && keys.principal(&id, NOW).is_some());
    assert_eq!((keys.list().len(), keys.refused()), (1, vec![id.clone()]));

    assert!(keys.revoke([(id.as_str().into(), true)]));
    assert_eq!(keys.verify(new.expose(), NOW).unwrap_err(), KeyFault::Revoked);
    assert!(keys.list().is_empty() && keys.principal(&id, NOW).is_none());
    assert!(keys.revoke([(id.as_str().into(), false), (mark, false)]));
    assert!(keys.verify(old.expose(), NOW).is_ok() && keys.verify(new.expose(), NOW).is_ok());
    assert!(keys.refused().is_empty());
}

#[test]
fn a_key_that_goes_is_told_with_its_secrets_and_one_that_comes_back_only_if_it_was_revoked() {
    let (_, entry) = new_key("ci", [Scope::EventsRead], VmGrant::all(), None);
    let (_, other) = new_key("other", [Scope::Admin], VmGrant::all(), None);
    let (both, one) = ([entry.clone(), other.clone()], [other]);
    let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let keys = Keys::new(KeySet::new(one.clone()).unwrap());
    let hears = std::sync::Arc::clone(&told);
    keys.on_news(move |news| hears.lock().unwrap().push(news));
    let news = || told.lock().unwrap().pop().unwrap();
    keys.replace(KeySet::new(both.clone()).unwrap());
    assert_eq!(news(), KeyNews::default(), "it is new");
    keys.replace(KeySet::new(one).unwrap());
    let gone = news().gone;
    assert_eq!((gone.len(), &*gone[0]), (2, entry.id.as_str()));
    assert!(!keys.revoke([(gone[0].clone(), true)]), "that is known");
    keys.replace(KeySet::new(both).unwrap());
    assert_eq!(news(), KeyNews { gone: vec![], back: gone.clone() }, "put back on purpose");
    assert_eq!(keys.refused(), [entry.id], "until the others have heard it too");
    assert!(keys.revoke(gone.into_iter().map(|mark| (mark, false))));
    assert!(keys.refused().is_empty());
}
