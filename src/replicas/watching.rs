//! Following a bucket: what it holds, then what changes, for as long as asked.

use std::time::Duration;

use async_nats::jetstream::kv::{Entry, Operation, Store, Watch};
use futures_util::StreamExt as _;
use tokio::time::sleep;

/// Between two tries to follow.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// A bucket that is followed. After a break everything it holds is told anew.
pub(super) struct Watching {
    bucket: Store,
    watch: Option<Watch>,
}

/// What a bucket says of one key.
#[derive(Clone, Debug)]
pub(super) struct Word {
    pub(super) key: String,
    /// `None`: it was taken out.
    pub(super) value: Option<bytes::Bytes>,
    pub(super) revision: u64,
}

impl From<Entry> for Word {
    fn from(entry: Entry) -> Self {
        let value = (entry.operation == Operation::Put).then_some(entry.value);
        Self { key: entry.key, value, revision: entry.revision }
    }
}

impl Watching {
    pub(super) fn new(bucket: Store) -> Self {
        Self { bucket, watch: None }
    }

    /// The next word. Waits for an engine that is away. Safe to cancel.
    pub(super) async fn next(&mut self) -> Word {
        loop {
            let Some(watch) = &mut self.watch else {
                match self.bucket.watch_with_history(">").await {
                    Ok(watch) => self.watch = Some(watch),
                    Err(error) => {
                        tracing::debug!(bucket = self.bucket.name, %error, "a bucket cannot be followed now");
                        sleep(AGAIN_AFTER).await;
                    }
                }
                continue;
            };
            match watch.next().await {
                Some(Ok(entry)) => return entry.into(),
                Some(Err(error)) => {
                    tracing::debug!(bucket = self.bucket.name, %error, "a bucket is followed anew");
                    self.watch = None;
                    sleep(AGAIN_AFTER).await;
                }
                None => {
                    self.watch = None;
                    sleep(AGAIN_AFTER).await;
                }
            }
        }
    }
}
