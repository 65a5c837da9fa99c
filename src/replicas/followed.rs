//! A bucket that is followed: all that it holds, then each change, a few at a time.

use std::time::Duration;

use async_nats::jetstream::kv::{Entry, Operation, Store, Watch};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::ReadyChunks;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::journal::{Engine, EngineError};

/// Between two tries to follow a bucket.
const AGAIN_AFTER: Duration = Duration::from_millis(250);
/// Notes that are taken together, so that what follows from each is done once for all.
const MAX_TOGETHER: usize = 256;
/// How long the first look at a bucket may take.
const FIRST_WITHIN: Duration = Duration::from_secs(20);
/// After how long without a note the first look asks whether there is one more.
const SILENCE: Duration = Duration::from_secs(1);

/// What a bucket says of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) key: String,
    /// `None`: it was taken out.
    pub(super) value: Option<Bytes>,
    /// Greater than that of every note before.
    pub(super) revision: u64,
}

impl From<Entry> for Note {
    fn from(entry: Entry) -> Self {
        let value = (entry.operation == Operation::Put).then_some(entry.value);
        Self { key: entry.key, value, revision: entry.revision }
    }
}

/// A bucket, and where its notes are read. After every break all that it holds is told anew.
pub(super) struct Followed {
    bucket: Store,
    connected: watch::Receiver<bool>,
    watch: Option<ReadyChunks<Watch>>,
}

impl Followed {
    /// Is about to follow `bucket` of `engine`: all that it holds comes with the first notes.
    pub(super) fn from_now(engine: &Engine, bucket: Store) -> Self {
        Self { bucket, connected: engine.connected(), watch: None }
    }

    /// Follows `bucket` of `engine`, and hands all that it holds to `take`.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) async fn new(engine: &Engine, bucket: Store, take: impl FnMut(Vec<Note>)) -> Result<Self, EngineError> {
        let mut this = Self::from_now(engine, bucket);
        let read = timeout(FIRST_WITHIN, this.first(take)).await;
        read.map_err(|_| EngineError::Away(format!("the bucket {} cannot be read", this.bucket.name)))?;
        Ok(this)
    }

    /// The bucket.
    pub(super) fn bucket(&self) -> &Store {
        &self.bucket
    }

    /// Reads until nothing is left of what the bucket held when it was asked last.
    async fn first(&mut self, mut take: impl FnMut(Vec<Note>)) {
        let mut seen = 0;
        loop {
            match self.bucket.stream.get_info().await {
                // The newest entry is the last that ages.
                Ok(info) if info.state.messages == 0 || info.state.last_sequence <= seen => return,
                Ok(_) => {}
                Err(_) => sleep(AGAIN_AFTER).await,
            }
            if let Ok(notes) = timeout(SILENCE, self.next()).await {
                seen = notes.iter().map(|note| note.revision).fold(seen, u64::max);
                take(notes);
            }
        }
    }

    /// The next notes, in their order. Waits for an engine that is away. Safe to cancel.
    pub(super) async fn next(&mut self) -> Vec<Note> {
        loop {
            let Some(watch) = &mut self.watch else {
                self.begin().await;
                continue;
            };
            let found = tokio::select! {
                // What a new connection goes on with, an old subscription may learn much later.
                () = reconnected(&mut self.connected) => None,
                found = watch.next() => found,
            };
            let mut notes = Vec::new();
            let mut broken = found.is_none();
            for entry in found.into_iter().flatten() {
                match entry {
                    Ok(entry) => notes.push(entry.into()),
                    Err(error) => {
                        tracing::debug!(bucket = self.bucket.name, %error, "a bucket is followed anew");
                        broken = true;
                    }
                }
            }
            if broken {
                self.watch = None;
            }
            if !notes.is_empty() {
                return notes;
            }
        }
    }

    async fn begin(&mut self) {
        let began = Instant::now();
        self.connected.mark_unchanged();
        match self.bucket.watch_with_history(">").await {
            Ok(watch) => self.watch = Some(watch.ready_chunks(MAX_TOGETHER)),
            Err(error) => {
                tracing::debug!(bucket = self.bucket.name, %error, "a bucket cannot be followed now");
                tokio::time::sleep_until(began + AGAIN_AFTER).await;
            }
        }
    }
}

/// Waits for the next connection. Safe to cancel.
async fn reconnected(connected: &mut watch::Receiver<bool>) {
    loop {
        if connected.changed().await.is_err() {
            // The connection is closed for good: so is what is followed.
            return std::future::pending().await;
        }
        if *connected.borrow_and_update() {
            return;
        }
    }
}
