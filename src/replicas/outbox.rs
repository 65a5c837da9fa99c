//! What is to be put into a bucket and may have to wait for the engine.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::jetstream::kv::Store;
use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

/// Keys that may wait.
const MAX_WAITING: usize = 20_000;
/// Between two looks whether all is brought.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Between two tries.
const AGAIN_AFTER: Duration = Duration::from_millis(250);

/// Where something is left for a bucket. Of a key the last word counts. Clones share one state.
#[derive(Clone, Debug, Default)]
pub(super) struct Outbox(Arc<State>);

#[derive(Debug, Default)]
struct State {
    waiting: Mutex<Waiting>,
    news: Notify,
}

/// What a key is to hold; `None`: it is to be taken out.
type Word = (Box<str>, Option<Bytes>);

/// What waits. Pure.
#[derive(Debug, Default)]
struct Waiting {
    /// In the order in which they were said.
    words: BTreeMap<u64, Word>,
    /// Where the word of each key is.
    keys: HashMap<Box<str>, u64>,
    said: u64,
}

impl Waiting {
    /// Lets `key` hold `value`, or nothing; `false`: there is no room.
    fn say(&mut self, key: &str, value: Option<Bytes>) -> bool {
        if self.words.len() >= MAX_WAITING && !self.keys.contains_key(key) {
            return false;
        }
        self.said += 1;
        if let Some(before) = self.keys.insert(key.into(), self.said) {
            self.words.remove(&before);
        }
        self.words.insert(self.said, (key.into(), value));
        true
    }

    /// What has waited longest, with its place.
    fn first(&self) -> Option<(u64, Word)> {
        self.words.first_key_value().map(|(place, word)| (*place, word.clone()))
    }

    /// The bucket took the word at `place`; something else may have been said of its key meanwhile.
    fn done(&mut self, place: u64) {
        if let Some((key, _)) = self.words.remove(&place) {
            self.keys.remove(&key);
        }
    }
}

impl Outbox {
    /// Lets `key` hold `value` as soon as the engine takes it.
    pub(super) fn put(&self, key: &str, value: Bytes) {
        self.say(key, Some(value));
    }

    /// Takes `key` out as soon as the engine lets it.
    pub(super) fn remove(&self, key: &str) {
        self.say(key, None);
    }

    fn say(&self, key: &str, value: Option<Bytes>) {
        if !self.waiting().say(key, value) {
            tracing::error!(
                key,
                most = MAX_WAITING,
                "too much waits for NATS: the other replicas are not told of this"
            );
        }
        self.0.news.notify_one();
    }

    /// Brings everything to `bucket`, for ever.
    pub(super) async fn run(self, bucket: Store, mut connected: watch::Receiver<bool>) {
        let mut failing = false;
        loop {
            let Some((place, (key, value))) = self.first() else {
                self.0.news.notified().await;
                continue;
            };
            // What is published without a connection waits in it, and comes again with the next try.
            if connected.wait_for(|connected| *connected).await.is_err() {
                return std::future::pending().await;
            }
            let done = match value {
                Some(value) => bucket.put(&*key, value).await.map(drop).map_err(|error| error.to_string()),
                None => bucket.delete(&*key).await.map_err(|error| error.to_string()),
            };
            match done {
                Ok(()) => {
                    if std::mem::take(&mut failing) {
                        tracing::info!(bucket = bucket.name, "the other replicas can be told again");
                    }
                    self.waiting().done(place);
                }
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(bucket = bucket.name, %error, "the other replicas cannot be told now; trying again");
                    }
                    sleep(AGAIN_AFTER).await;
                }
            }
        }
    }

    /// Waits until nothing waits.
    pub(super) async fn emptied(&self) {
        while self.first().is_some() {
            sleep(LOOK_EVERY).await;
        }
    }

    fn first(&self) -> Option<(u64, Word)> {
        self.waiting().first()
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Every change is one insert or remove: a panic cannot leave it half done.
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_WAITING, Waiting};

    #[test]
    fn of_a_key_the_last_word_is_brought_and_what_waited_longest_first() {
        let mut waiting = Waiting::default();
        assert!(waiting.say("a", Some("1".into())) && waiting.say("b", None));
        let first = |waiting: &Waiting| waiting.first().expect("a word");
        let (sent, (key, value)) = first(&waiting);
        assert_eq!((&*key, value.as_deref()), ("a", Some(&b"1"[..])));
        assert!(waiting.say("a", None), "said while the other is on its way");
        waiting.done(sent);
        let (place, (key, _)) = first(&waiting);
        assert_eq!(&*key, "b");
        waiting.done(place);
        let (place, (key, value)) = first(&waiting);
        assert_eq!((&*key, value), ("a", None));
        waiting.done(place);
        assert!(waiting.first().is_none() && waiting.keys.is_empty());
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut waiting = Waiting::default();
        assert!((0..MAX_WAITING).all(|n| waiting.say(&n.to_string(), None)));
        assert!(!waiting.say("one more", None));
        assert!(waiting.say("7", Some("x".into())), "one that waits already");
        assert_eq!((waiting.words.len(), waiting.keys.len()), (MAX_WAITING, MAX_WAITING));
    }
}
