//! Browser sessions: `EventSource` cannot send a header, so a browser shows a cookie.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

use super::keys::{Keys, SECRET_LENGTH, random_text};
use crate::model::{Principal, PrincipalKind, Secret, Timestamp};

/// Sessions at once; one more ends the one that would end first.
const MAX_SESSIONS: usize = 1024;
/// Login codes at once; likewise.
const MAX_CODES: usize = 64;
/// How long a session lasts, in seconds: 12 h.
pub(super) const SESSION_TTL: u32 = 12 * 3600;
/// How long a login code that works once lasts, in seconds: 10 min.
const CODE_TTL: f64 = 600.0;

/// Name of the session cookie. The prefix makes browsers refuse it without `Secure` and `Path=/`, or with a `Domain`
/// (RFC 6265bis, 4.1.3.2); it needs TLS.
pub(super) fn cookie_name(tls: bool) -> &'static str {
    if tls { "__Host-gatewatch" } else { "gatewatch" }
}

/// SHA-256 of a cookie or a code. The text itself is never kept.
type Hash = [u8; 32];

/// Sessions and login codes, in memory: a restart ends them all. Each stands for an API key, and no longer than it.
#[derive(Debug, Default)]
pub struct SessionStore(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    sessions: HashMap<Hash, Pass>,
    codes: HashMap<Hash, Pass>,
}

#[derive(Clone, Debug)]
struct Pass {
    key_id: Arc<str>,
    /// Seconds since the epoch; infinite for a code that works as long as the process.
    until: f64,
}

/// Why a login code is not taken. For the log alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeFault {
    /// No such code, or used before.
    Unknown,
    /// Too late, or its key is no more.
    Expired,
}

impl SessionStore {
    /// With no session.
    pub fn new() -> Self {
        Self::default()
    }

    /// A code that opens a session of the key `key_id`: once and within 10 minutes, or, if `reusable`, as often as
    /// wanted while the process lives (the link that `demo` prints).
    pub fn login_code(&self, key_id: &str, reusable: bool, now: Timestamp) -> Secret {
        let code = random_text(SECRET_LENGTH);
        let until = if reusable { f64::INFINITY } else { now.0 + CODE_TTL };
        insert(&mut self.lock().codes, MAX_CODES, hash(&code), Pass { key_id: key_id.into(), until });
        Secret::new(code)
    }

    /// Makes `code` open sessions of the key `key_id` as often as wanted while the process lives: a code that was given
    /// out before a restart.
    pub fn keep_code(&self, code: &Secret, key_id: &str) {
        insert(
            &mut self.lock().codes,
            MAX_CODES,
            hash(code.expose()),
            Pass { key_id: key_id.into(), until: f64::INFINITY },
        );
    }

    /// Opens a session with `code`: the cookie's value, new each time (G29).
    pub fn log_in(&self, code: &str, keys: &Keys, now: Timestamp) -> Result<Secret, CodeFault> {
        let mut held = self.lock();
        let code = hash(code);
        let pass = held.codes.get(&code).cloned().ok_or(CodeFault::Unknown)?;
        if pass.until.is_finite() {
            held.codes.remove(&code);
        }
        if pass.until <= now.0 || keys.principal(&pass.key_id, now).is_none() {
            return Err(CodeFault::Expired);
        }
        let cookie = random_text(SECRET_LENGTH);
        let until = now.0 + f64::from(SESSION_TTL);
        insert(&mut held.sessions, MAX_SESSIONS, hash(&cookie), Pass { key_id: pass.key_id, until });
        Ok(Secret::new(cookie))
    }

    /// Ends the session of `cookie`, if it is one.
    pub fn log_out(&self, cookie: &str) {
        self.lock().sessions.remove(&hash(cookie));
    }

    /// Who the session of `cookie` stands for at `now`.
    pub fn principal(&self, cookie: &str, keys: &Keys, now: Timestamp) -> Option<Arc<Principal>> {
        // Looked up by hash: how long that takes says nothing about the cookie.
        let pass = self.lock().sessions.get(&hash(cookie)).cloned().filter(|pass| pass.until > now.0)?;
        let key = keys.principal(&pass.key_id, now)?;
        let until = key.expires_at.map_or(pass.until, |at| at.0.min(pass.until));
        let expires_at = Some(Timestamp(until));
        Some(Arc::new(Principal { kind: PrincipalKind::Session, expires_at, ..Principal::clone(&key) }))
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // Every change is one insert or remove: a panic cannot leave it half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hash(text: &str) -> Hash {
    Sha256::digest(text.as_bytes()).into()
}

fn insert(passes: &mut HashMap<Hash, Pass>, max: usize, hash: Hash, pass: Pass) {
    while passes.len() >= max {
        let Some(first) = passes.iter().min_by(|a, b| a.1.until.total_cmp(&b.1.until)).map(|(hash, _)| *hash) else {
            break;
        };
        passes.remove(&first);
    }
    passes.insert(hash, pass);
}

#[cfg(test)]
mod tests {
    use super::super::{KeySet, Keys, new_key};
    use super::{CODE_TTL, CodeFault, MAX_SESSIONS, SESSION_TTL, SessionStore};
    use crate::model::{PrincipalKind, Scope, Timestamp, VmGrant};

    const NOW: Timestamp = Timestamp(1000.0);

    fn later(seconds: f64) -> Timestamp {
        Timestamp(NOW.0 + seconds)
    }

    fn keys() -> (String, Keys) {
        let (_, entry) = new_key("people", [Scope::EventsRead], VmGrant::all(), None);
        (entry.id.clone(), Keys::new(KeySet::new([entry]).unwrap()))
    }

    #[test]
    fn a_code_works_once_and_in_time_unless_it_is_reusable() {
        let (id, keys) = keys();
        let store = SessionStore::new();
        let code = store.login_code(&id, false, NOW);
        assert!(store.log_in(code.expose(), &keys, later(CODE_TTL - 1.0)).is_ok());
        assert_eq!(store.log_in(code.expose(), &keys, NOW).unwrap_err(), CodeFault::Unknown);
        let code = store.login_code(&id, false, NOW);
        assert_eq!(store.log_in(code.expose(), &keys, later(CODE_TTL)).unwrap_err(), CodeFault::Expired);
        assert_eq!(store.log_in("guess", &keys, NOW).unwrap_err(), CodeFault::Unknown);

        let code = store.login_code(&id, true, NOW);
        let first = store.log_in(code.expose(), &keys, NOW).unwrap();
        let second = store.log_in(code.expose(), &keys, later(1e6)).unwrap();
        assert!(!first.matches(second.expose()), "each login is a session of its own");
    }

    #[test]
    fn a_session_ends_with_its_time_its_key_or_its_logout() {
        let (id, keys) = keys();
        let store = SessionStore::new();
        let code = store.login_code(&id, true, NOW);
        let cookie = store.log_in(code.expose(), &keys, NOW).unwrap();
        let principal = store.principal(cookie.expose(), &keys, NOW).unwrap();
        assert_eq!((principal.kind, &*principal.name), (PrincipalKind::Session, id.as_str()));
        assert_eq!(principal.expires_at, Some(later(f64::from(SESSION_TTL))));
        assert!(store.principal(cookie.expose(), &keys, later(f64::from(SESSION_TTL))).is_none());
        assert!(store.principal("guess", &keys, NOW).is_none());

        let (_, other) = new_key("other", [], VmGrant::all(), None);
        keys.replace(KeySet::new([other]).unwrap());
        assert!(store.principal(cookie.expose(), &keys, NOW).is_none(), "the key behind it is revoked");
        assert_eq!(store.log_in(code.expose(), &keys, NOW).unwrap_err(), CodeFault::Expired);
    }

    #[test]
    fn sessions_are_bounded_and_the_oldest_goes_first() {
        let (id, keys) = keys();
        let store = SessionStore::new();
        let code = store.login_code(&id, true, NOW);
        let mut cookies = Vec::new();
        for n in 0..=MAX_SESSIONS {
            cookies.push(store.log_in(code.expose(), &keys, later(n as f64)).unwrap());
        }
        assert_eq!(store.lock().sessions.len(), MAX_SESSIONS);
        assert!(store.principal(cookies[0].expose(), &keys, NOW).is_none());
        assert!(store.principal(cookies[1].expose(), &keys, NOW).is_some());
        store.log_out(cookies[1].expose());
        assert!(store.principal(cookies[1].expose(), &keys, NOW).is_none());
    }
}
