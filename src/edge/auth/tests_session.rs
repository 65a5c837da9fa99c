//! Sessions live as long as they are said to, and no longer.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::super::{KeySet, Keys, new_key};
use super::{BeginFault, MAX_ENDED, SessionFault, SessionSecretError, SessionSecrets, SessionStore};
use crate::model::{Basis, Principal, PrincipalKind, Scope, Timestamp, VmGrant};

const NOW: Timestamp = Timestamp(1000.0);
const TTL: Duration = Duration::from_secs(3600);

fn later(seconds: f64) -> Timestamp {
    Timestamp(NOW.0 + seconds)
}

fn store() -> SessionStore {
    SessionStore::new(SessionSecrets::random().0, TTL)
}

fn key(expires_at: Option<Timestamp>) -> (Arc<Principal>, Keys) {
    let (text, entry) = new_key("people", [Scope::EventsRead], VmGrant::from_globs(["waa-*"]), expires_at);
    let keys = Keys::new(KeySet::new([entry]).unwrap());
    (keys.verify(text.expose(), NOW).unwrap(), keys)
}

#[test]
fn g29_a_session_is_new_at_each_login_and_ends_with_its_time_its_credential_or_its_logout() {
    let store = store();
    let (principal, keys) = key(None);
    let first = store.begin(&principal, NOW).unwrap();
    assert_eq!(first.seconds, 3600);
    let second = store.begin(&principal, NOW).unwrap();
    assert!(!first.cookie.matches(second.cookie.expose()));

    let named = store.principal(first.cookie.expose(), later(3599.0)).unwrap();
    assert!(!named.scopes.allow(Scope::EventsRead), "what a key may do is not in the cookie");
    let renewed = keys.renewed(&named, NOW).unwrap();
    assert_eq!((renewed.kind, &renewed.name), (PrincipalKind::Session, &principal.name));
    assert_eq!((renewed.scopes, &renewed.vms), (principal.scopes, &principal.vms));
    assert_eq!(renewed.expires_at, Some(later(3600.0)));
    assert_eq!(store.principal(first.cookie.expose(), later(3600.0)).unwrap_err(), SessionFault::Expired);

    store.log_out(first.cookie.expose(), NOW);
    assert_eq!(store.principal(first.cookie.expose(), NOW).unwrap_err(), SessionFault::Revoked);
    assert!(store.principal(second.cookie.expose(), NOW).is_ok(), "another session of the same key stays");

    let (_, other) = new_key("other", [], VmGrant::all(), None);
    keys.replace(KeySet::new([other]).unwrap());
    assert!(keys.renewed(&named, NOW).is_none(), "the key behind it is revoked");

    let (ending, _) = key(Some(later(60.0)));
    assert_eq!(store.begin(&ending, NOW).unwrap().seconds, 60);
    assert!(matches!(store.begin(&ending, later(60.0)), Err(BeginFault::Ended)));
}

#[test]
fn a_session_of_a_jwt_carries_what_the_jwt_granted() {
    let store = store();
    let token = Principal {
        kind: PrincipalKind::Jwt,
        name: "alice@https://issuer.example".into(),
        issuer: Some("https://issuer.example".into()),
        scopes: [Scope::EventsRead, Scope::VncView].into_iter().collect(),
        vms: VmGrant::from_globs(["waa-*"]),
        basis: Basis::default(),
        expires_at: Some(later(100.0)),
    };
    let cookie = store.begin(&token, NOW).unwrap().cookie;
    let named = store.principal(cookie.expose(), NOW).unwrap();
    assert!(named.basis.session.is_some(), "it ends with its logout");
    assert_eq!(named, Principal { kind: PrincipalKind::Session, basis: named.basis.clone(), ..token });
}

#[test]
fn a_secret_is_rotated_by_putting_the_new_one_in_front() {
    let (old, new) = ("o".repeat(32), "n".repeat(32));
    let secrets = |text: &str| SessionSecrets::from_lines(text).unwrap();
    let replica = SessionStore::new(secrets(&old), TTL);
    let (principal, _) = key(None);
    let cookie = replica.begin(&principal, NOW).unwrap().cookie;
    let other = SessionStore::new(secrets(&format!("{old}\r\n")), TTL);
    assert!(other.principal(cookie.expose(), NOW).is_ok(), "replicas share it");

    other.replace_secrets(secrets(&format!("{new}\n{old}\n")));
    assert!(other.principal(cookie.expose(), NOW).is_ok());
    let newer = other.begin(&principal, NOW).unwrap().cookie;
    assert_eq!(replica.principal(newer.expose(), NOW).unwrap_err(), SessionFault::Unknown);
    other.replace_secrets(secrets(&new));
    assert_eq!(other.principal(cookie.expose(), NOW).unwrap_err(), SessionFault::Unknown);
    assert!(other.principal(newer.expose(), NOW).is_ok());
}

#[test]
fn g26_an_empty_or_short_session_secret_is_refused() {
    let error = |text: &str| SessionSecrets::from_lines(text).unwrap_err();
    assert_eq!(error(""), SessionSecretError::Empty);
    assert_eq!(error(" \n\n"), SessionSecretError::Empty);
    assert_eq!(error(&format!("{}\nshort", "x".repeat(32))), SessionSecretError::Short);
    assert_eq!(error(&"x".repeat(31)), SessionSecretError::Short);
    assert_eq!(error(&format!("{}\n", "x".repeat(32)).repeat(9)), SessionSecretError::Many);
    assert!(!format!("{:?}", SessionSecrets::random().0).contains("Key"));
}

#[test]
fn g37_no_other_token_is_a_session() {
    let secret = "s".repeat(32);
    let store = SessionStore::new(SessionSecrets::from_lines(&secret).unwrap(), TTL);
    let signed = |claims: serde_json::Value, algorithm| {
        let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
        jsonwebtoken::encode(&jsonwebtoken::Header::new(algorithm), &claims, &key).unwrap()
    };
    let sid = format!("{}a", super::mark(secret.as_bytes()));
    let claims = |aud: &str| serde_json::json!({"aud": aud, "sid": sid, "exp": 2000, "sub": "k"});
    use jsonwebtoken::Algorithm::{HS256, HS384};
    assert!(store.principal(&signed(claims("gatewatch:session"), HS256), NOW).is_ok());
    for other in [
        signed(claims("gatewatch"), HS256),
        signed(claims("gatewatch:session"), HS384),
        signed(serde_json::json!({"aud": "gatewatch:session", "sid": "a", "sub": "k"}), HS256),
        signed(serde_json::json!({"aud": "gatewatch:session", "sid": "a", "exp": 2000, "sub": "k", "x": 1}), HS256),
        "x".repeat(5000),
    ] {
        assert_eq!(store.principal(&other, NOW).unwrap_err(), SessionFault::Unknown, "{other}");
    }
}

#[test]
fn what_is_remembered_of_logouts_is_bounded() {
    let store = store();
    let (principal, _) = key(None);
    let last = store.begin(&principal, later(10.0)).unwrap().cookie;
    for n in 0..MAX_ENDED {
        store.ended().insert(n.to_string().into(), 5000);
    }
    store.log_out(last.expose(), NOW);
    assert_eq!(store.ended().len(), MAX_ENDED);
    assert_eq!(store.principal(last.expose(), NOW).unwrap_err(), SessionFault::Revoked);
    store.log_out(last.expose(), later(4990.0));
    assert!(store.ended().len() < MAX_ENDED, "what is over is forgotten first");
}

#[test]
fn a_logout_is_told_to_others_and_theirs_ends_the_session_here() {
    let secret = "s".repeat(32);
    let store = || SessionStore::new(SessionSecrets::from_lines(&secret).unwrap(), TTL);
    let (here, there) = (store(), store());
    let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let hears = std::sync::Arc::clone(&told);
    here.on_logout(move |gone| hears.lock().unwrap().push(gone));
    let cookie = here.begin(&key(None).0, NOW).unwrap().cookie;
    here.log_out("no session", NOW);
    here.log_out(cookie.expose(), NOW);
    let gone = told.lock().unwrap().clone();
    assert_eq!(gone.len(), 1);
    assert!(there.principal(cookie.expose(), NOW).is_ok());
    let mut changes = there.changes();
    there.end(gone.clone(), NOW);
    assert_eq!(there.principal(cookie.expose(), NOW).unwrap_err(), SessionFault::Revoked);
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    there.end(gone, NOW);
    assert!(!changes.has_changed().unwrap(), "that is known");
}

proptest! {
    #[test]
    fn no_other_text_is_a_session(text in "\\PC{0,200}|[a-zA-Z0-9_.-]{0,200}") {
        prop_assert!(store().principal(&text, NOW).is_err());
    }
}
