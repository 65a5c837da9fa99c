//! What ended on one replica and must end on all: sessions that were logged out, and keys that were revoked.

use std::pin::pin;
use std::time::Duration;

use async_nats::jetstream::kv::Store;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::followed::{Followed, Note};
use super::outbox::Outbox;
use crate::journal::{Engine, EngineError};
use crate::model::Timestamp;

/// How long a logout is kept: as long as a session can last. Not what the configuration says: replicas may differ in it
/// while it is changed.
const LOGOUT_AGE: Duration = Duration::from_secs(30 * 86_400);
/// How long a revocation is kept: whatever keys file still has the key by then is nobody's mistake of yesterday.
const REVOCATION_AGE: Duration = Duration::from_secs(90 * 86_400);
/// Logouts that are kept: of more the oldest go. Whoever may sign in can make them as fast as he may ask.
const MAX_LOGOUTS: i64 = 10_000;
/// How long what waits may take when the process stops.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(1);
/// The longest key of either bucket.
const MAX_KEY: usize = 64;

/// What ended, as others tell: a session, with its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logout {
    /// The session's id.
    pub id: Box<str>,
    /// When it would have ended, in whole seconds since the epoch.
    pub until: u64,
}

/// What was revoked, as others tell, or (`false`) put back: a key or one of its secrets.
pub type Revocation = (Box<str>, bool);

/// Why a revocation is in the bucket, for whoever looks there.
#[derive(Serialize, Deserialize)]
struct Because {
    /// The replica whose keys file lost it.
    replica: String,
    at: Timestamp,
}

/// Tells others of logouts. Clones share one state.
#[derive(Clone, Debug)]
pub struct Logouts(Outbox);

impl Logouts {
    /// Tells that the session `id`, which would have ended at `until`, was logged out.
    pub fn tell(&self, id: &str, until: u64) {
        self.0.put(id, until.to_string().into());
    }
}

/// Tells others of revocations. Clones share one state.
#[derive(Clone, Debug)]
pub struct Revocations {
    outbox: Outbox,
    replica: String,
}

impl Revocations {
    /// Tells that `what`, a key or one of its secrets, was revoked at `at`.
    pub fn revoke(&self, what: &str, at: Timestamp) {
        let because = Because { replica: self.replica.clone(), at };
        self.outbox.put(what, serde_json::to_vec(&because).unwrap_or_default().into());
    }

    /// Tells that `what` was put back on purpose.
    pub fn take_back(&self, what: &str) {
        self.outbox.remove(what);
    }
}

/// A bucket of such notices: follows it, and brings there what waits.
pub struct Notices<T> {
    followed: Followed,
    outbox: Outbox,
    connected: watch::Receiver<bool>,
    read: fn(Note) -> Option<T>,
}

impl Notices<Logout> {
    /// The logouts of the fleet; those that are known are handed to `take`.
    ///
    /// # Errors
    /// If they cannot be read.
    pub async fn logouts(engine: &Engine, take: impl FnMut(Vec<Logout>)) -> Result<(Logouts, Self), EngineError> {
        let bucket = engine.bucket_of("logouts", LOGOUT_AGE, Some(MAX_LOGOUTS)).await?;
        let this = Self::open(engine, bucket, logout, take).await?;
        Ok((Logouts(this.outbox.clone()), this))
    }
}

impl Notices<Revocation> {
    /// The revocations of the fleet; those that are known are handed to `take`. `replica` is what this one is called.
    ///
    /// # Errors
    /// If they cannot be read.
    pub async fn revocations(
        engine: &Engine,
        replica: &str,
        take: impl FnMut(Vec<Revocation>),
    ) -> Result<(Revocations, Self), EngineError> {
        let bucket = engine.bucket("revocations", REVOCATION_AGE).await?;
        let this = Self::open(engine, bucket, revocation, take).await?;
        Ok((Revocations { outbox: this.outbox.clone(), replica: replica.to_owned() }, this))
    }
}

impl<T> Notices<T> {
    async fn open(
        engine: &Engine,
        bucket: Store,
        read: fn(Note) -> Option<T>,
        mut take: impl FnMut(Vec<T>),
    ) -> Result<Self, EngineError> {
        let take = |notes: Vec<Note>| take(notes.into_iter().filter_map(read).collect());
        let followed = Followed::new(engine, bucket, take).await?;
        Ok(Self { followed, outbox: Outbox::default(), connected: engine.connected(), read })
    }

    /// Hands what others tell to `take`, and brings what is told here to them, until `stop`. What an engine that is away
    /// does not take then is not told.
    pub async fn run(mut self, mut take: impl FnMut(Vec<T>), stop: CancellationToken) {
        let read = self.read;
        let mut bringing = pin!(self.outbox.clone().run(self.followed.bucket().clone(), self.connected));
        let following = async {
            loop {
                let told: Vec<T> = self.followed.next().await.into_iter().filter_map(read).collect();
                if !told.is_empty() {
                    take(told);
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = &mut bringing => {}
            () = following => {}
        }
        let last_words = async {
            tokio::select! {
                () = bringing => {}
                () = self.outbox.emptied() => {}
            }
        };
        if timeout(LAST_WORDS_WITHIN, last_words).await.is_err() {
            tracing::warn!("NATS did not take all that the other replicas should be told");
        }
    }
}

/// The logout that a note tells of.
fn logout(note: Note) -> Option<Logout> {
    let until = std::str::from_utf8(&note.value?).ok()?.parse().ok()?;
    (note.key.len() <= MAX_KEY).then(|| Logout { id: note.key.into(), until })
}

/// The revocation that a note tells of. What its value says is for people: whatever it is, the key is refused.
fn revocation(note: Note) -> Option<Revocation> {
    (note.key.len() <= MAX_KEY).then(|| (note.key.into(), note.value.is_some()))
}

#[cfg(test)]
mod tests {
    use super::{Logout, Note, logout, revocation};

    fn note(key: &str, value: Option<&str>) -> Note {
        Note { key: key.to_owned(), value: value.map(|value| value.to_owned().into()), revision: 1 }
    }

    #[test]
    fn a_logout_is_a_session_and_its_end_and_nothing_else_is() {
        assert_eq!(logout(note("abc", Some("2000"))), Some(Logout { id: "abc".into(), until: 2000 }));
        let long = "x".repeat(65);
        for (key, value) in
            [("abc", None), ("abc", Some("")), ("abc", Some("-1")), ("abc", Some("{}")), (&long, Some("1"))]
        {
            assert_eq!(logout(note(key, value)), None, "{key} {value:?}");
        }
    }

    #[test]
    fn a_revocation_holds_whatever_stands_beside_it_until_it_is_taken_out() {
        for (value, revoked) in
            [(Some("{\"replica\":\"a\",\"at\":1.0}"), true), (Some("?"), true), (Some(""), true), (None, false)]
        {
            assert_eq!(revocation(note("k1.00ff", value)), Some(("k1.00ff".into(), revoked)));
        }
        assert_eq!(revocation(note(&"x".repeat(65), Some(""))), None);
    }
}
