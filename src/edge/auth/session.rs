//! Browser sessions: `EventSource` cannot send a header, so a browser shows a cookie.
//!
//! The cookie is a signed statement, not the key of a table, so that every replica that has the secret can read it. It
//! names who logged in; what they may do is asked anew each time. Only what was logged out is remembered.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use super::hook::Hook;
use super::keys::random_text;
use crate::model::{Basis, Principal, PrincipalKind, Scope, Scopes, Secret, Timestamp, VmGrant};

/// Logged-out sessions that are remembered; of one more the one that would end first is forgotten.
const MAX_ENDED: usize = 10_000;
/// Secrets in force at once.
const MAX_SECRETS: usize = 8;
/// The least characters of a secret (G26).
const MIN_SECRET: usize = 32;
/// Characters of a session's id: 131 random bits.
const ID_LENGTH: usize = 22;
/// Hex digits of a secret's mark.
const MARK_LENGTH: usize = 8;
/// The longest cookie that is looked at, bytes. Browsers keep up to 4096 with name and attributes.
const MAX_COOKIE: usize = 3500;
/// What a session is for; no other token of anybody's is for this (G37).
const AUDIENCE: &str = "gatewatch:session";

/// Name of the session cookie. The prefix makes browsers refuse it without `Secure` and `Path=/`, or with a `Domain`
/// (RFC 6265bis, 4.1.3.2); it needs TLS.
pub(super) fn cookie_name(tls: bool) -> &'static str {
    if tls { "__Host-gatewatch" } else { "gatewatch" }
}

/// Why a set of session secrets is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionSecretError {
    /// An empty secret is no secret (G26).
    #[error("there is no secret in it")]
    Empty,
    /// It could be guessed.
    #[error("a secret has fewer than {MIN_SECRET} characters")]
    Short,
    /// More than a rotation needs.
    #[error("there are more than {MAX_SECRETS} secrets in it")]
    Many,
}

/// What session cookies are signed with.
pub struct SessionSecrets {
    sign: EncodingKey,
    /// Each with its mark, the first being the one that signs.
    verify: Vec<(DecodingKey, String)>,
}

impl SessionSecrets {
    /// One secret a line: the first signs, every one is accepted, so that a new one can be put in front of the old.
    ///
    /// # Errors
    /// If there is none, or one that is too short.
    pub fn from_lines(text: &str) -> Result<Self, SessionSecretError> {
        let lines: Vec<&[u8]> = text.lines().map(str::trim).filter(|l| !l.is_empty()).map(str::as_bytes).collect();
        let first = lines.first().ok_or(SessionSecretError::Empty)?;
        if lines.iter().any(|line| line.len() < MIN_SECRET) {
            return Err(SessionSecretError::Short);
        }
        if lines.len() > MAX_SECRETS {
            return Err(SessionSecretError::Many);
        }
        let verify = lines.iter().map(|line| (DecodingKey::from_secret(line), mark(line))).collect();
        Ok(Self { sign: EncodingKey::from_secret(first), verify })
    }

    /// One of its own, of 256 random bits, and its text.
    pub fn random() -> (Self, Secret) {
        let text = random_text(super::keys::SECRET_LENGTH);
        let key = text.as_bytes();
        (
            Self { sign: EncodingKey::from_secret(key), verify: vec![(DecodingKey::from_secret(key), mark(key))] },
            Secret::new(text),
        )
    }
}

/// What tells secrets apart, and stands at the beginning of the ids of their sessions.
fn mark(secret: &[u8]) -> String {
    hex::encode(&Sha256::digest(secret)[..MARK_LENGTH / 2])
}

impl fmt::Debug for SessionSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionSecrets({})", self.verify.len())
    }
}

/// What a cookie says.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    aud: String,
    /// The session's own id: new at each login (G29), and what a logout remembers. It begins with the mark of the secret.
    sid: String,
    /// Which secret of the API key was shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<u64>,
    /// Whole seconds since the epoch.
    exp: u64,
    /// The name of the principal that logged in.
    sub: String,
    /// What a JWT granted; of an API key the keys file says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    jwt: Option<Granted>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Granted {
    iss: String,
    scopes: Vec<Scope>,
    vms: Vec<Box<str>>,
}

/// A cookie to be set.
#[derive(Debug)]
pub struct NewSession {
    /// Its value.
    pub cookie: Secret,
    /// For how many seconds, from now on.
    pub seconds: u64,
    /// When it ends: a whole second.
    pub ends: Timestamp,
}

/// Why there is no session for somebody who was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BeginFault {
    /// The credential is over by now.
    Ended,
    /// What it grants does not fit into a cookie.
    TooLarge,
}

/// Why a cookie is no session. For the log alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionFault {
    /// Not signed with one of the secrets, or not by us.
    Unknown,
    /// Its time is over.
    Expired,
    /// It was logged out.
    Revoked,
}

/// A session that was logged out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedOut {
    /// Its id: 8 hex digits and 22 of base62. It opens nothing.
    pub id: Box<str>,
    /// When it would have ended, in whole seconds since the epoch.
    pub until: u64,
}

/// Makes and reads sessions.
#[derive(Debug)]
pub struct SessionStore {
    secrets: ArcSwap<SessionSecrets>,
    /// What is checked of a cookie.
    rules: Validation,
    ttl: Duration,
    /// Ids that were logged out, and when each would have ended.
    ended: Mutex<HashMap<Box<str>, u64>>,
    /// Changes with every session that ends before its time.
    changed: watch::Sender<u64>,
    logouts: Hook<LoggedOut>,
}

impl SessionStore {
    /// Sessions signed with `secrets` that last for `ttl`, or until their credential ends.
    pub fn new(secrets: SessionSecrets, ttl: Duration) -> Self {
        let mut rules = Validation::new(Algorithm::HS256);
        rules.set_audience(&[AUDIENCE]);
        rules.set_required_spec_claims(&["exp", "aud", "sub"]);
        // Time is our argument, not the library's.
        rules.validate_exp = false;
        let secrets = ArcSwap::from_pointee(secrets);
        Self {
            secrets,
            rules,
            ttl,
            ended: Mutex::default(),
            changed: watch::Sender::default(),
            logouts: Hook::default(),
        }
    }

    /// Puts other secrets in force. Sessions signed with one that is not among them end.
    pub fn replace_secrets(&self, secrets: SessionSecrets) {
        self.secrets.store(Arc::new(secrets));
    }

    /// Changes whenever a session was logged out: the time to ask whose streams still stand.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Whether the session `sid` was not logged out and its secret is in force.
    pub(in crate::edge) fn stands(&self, sid: &str) -> bool {
        let secrets = self.secrets.load();
        secrets.verify.iter().any(|(_, mark)| sid.starts_with(mark.as_str())) && !self.ended().contains_key(sid)
    }

    /// A session for `principal`, who showed a key or a JWT.
    ///
    /// # Errors
    /// Why there can be none.
    pub fn begin(&self, principal: &Principal, now: Timestamp) -> Result<NewSession, BeginFault> {
        let own = now.0 + self.ttl.as_secs_f64();
        let end = principal.expires_at.map_or(own, |at| at.0.min(own));
        let seconds = (end - now.0).floor();
        if seconds < 1.0 {
            return Err(BeginFault::Ended);
        }
        let secrets = self.secrets.load();
        let mark = secrets.verify.first().map_or("", |(_, mark)| mark);
        let scopes = || Scope::ALL.into_iter().filter(|scope| principal.scopes.allow(*scope)).collect();
        let claims = Claims {
            aud: AUDIENCE.to_owned(),
            sid: format!("{mark}{}", random_text(ID_LENGTH)),
            key: principal.basis.key_secret,
            exp: end.floor() as u64,
            sub: principal.name.as_ref().to_owned(),
            jwt: principal.issuer.as_ref().map(|iss| Granted {
                iss: iss.as_ref().to_owned(),
                scopes: scopes(),
                vms: principal.vms.globs().to_vec(),
            }),
        };
        let cookie = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &secrets.sign);
        // A browser would drop a larger one without a word.
        let cookie = cookie.ok().filter(|cookie| cookie.len() <= MAX_COOKIE).ok_or(BeginFault::TooLarge)?;
        Ok(NewSession { cookie: Secret::new(cookie), seconds: seconds as u64, ends: Timestamp(end.floor()) })
    }

    /// Who the cookie names. What a key may do is not in it: the caller asks the keys.
    pub fn principal(&self, cookie: &str, now: Timestamp) -> Result<Principal, SessionFault> {
        let claims = self.read(cookie).ok_or(SessionFault::Unknown)?;
        if claims.exp as f64 <= now.0 {
            return Err(SessionFault::Expired);
        }
        if !self.stands(&claims.sid) {
            return Err(SessionFault::Revoked);
        }
        let (issuer, scopes, vms) = match claims.jwt {
            Some(granted) => (Some(granted.iss.into()), granted.scopes.into_iter().collect(), granted.vms),
            None => (None, Scopes::default(), Vec::new()),
        };
        Ok(Principal {
            kind: PrincipalKind::Session,
            name: claims.sub.into(),
            issuer,
            scopes,
            vms: VmGrant::from_globs(vms),
            basis: Basis { key_secret: claims.key, session: Some(claims.sid.into()) },
            expires_at: Some(Timestamp(claims.exp as f64)),
        })
    }

    /// Ends the session of `cookie`, if it is one.
    pub fn log_out(&self, cookie: &str, now: Timestamp) {
        let Some(claims) = self.read(cookie) else { return };
        let gone = LoggedOut { id: claims.sid.into(), until: claims.exp };
        self.end([gone.clone()], now);
        self.logouts.tell(|| gone);
    }

    /// Tells `told` of every session that is logged out here.
    pub fn on_logout(&self, told: impl Fn(LoggedOut) + Send + Sync + 'static) {
        self.logouts.set(told);
    }

    /// Ends sessions that were logged out, here or elsewhere.
    pub fn end(&self, gone: impl IntoIterator<Item = LoggedOut>, now: Timestamp) {
        let mut ended = self.ended();
        if ended.len() >= MAX_ENDED {
            ended.retain(|_, until| *until as f64 > now.0);
        }
        let mut news = false;
        for LoggedOut { id, until } in gone {
            make_room(&mut ended, &id);
            news |= ended.insert(id, until).is_none();
        }
        drop(ended);
        if news {
            self.changed.send_modify(|version| *version += 1);
        }
    }

    fn read(&self, cookie: &str) -> Option<Claims> {
        if cookie.len() > MAX_COOKIE {
            return None;
        }
        let secrets = self.secrets.load();
        let mut read = secrets.verify.iter().map(|(key, _)| jsonwebtoken::decode::<Claims>(cookie, key, &self.rules));
        read.find_map(|read| read.ok().map(|data| data.claims))
    }

    fn ended(&self) -> MutexGuard<'_, HashMap<Box<str>, u64>> {
        // Every change is one insert or remove: a panic cannot leave it half done.
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes room for `sid`, if it is not there: what would end first goes.
fn make_room(ended: &mut HashMap<Box<str>, u64>, sid: &str) {
    if ended.len() >= MAX_ENDED
        && !ended.contains_key(sid)
        && let Some(first) = ended.iter().min_by_key(|(_, until)| **until).map(|(sid, _)| sid.clone())
    {
        ended.remove(&first);
    }
}

#[cfg(test)]
#[path = "tests_session.rs"]
mod tests;
