//! Key-value buckets beside the stream: for what replicas share and what is no event.

use std::time::Duration;

use async_nats::jetstream::kv::Store;
use async_nats::jetstream::stream::{Config as StreamConfig, DiscardPolicy, StorageType};
use tokio::time::{Instant, sleep};

use super::engine::{AGAIN_AFTER, Engine, EngineError, REACHED_WITHIN, settle};

/// The longest that NATS remembers message ids; it must not be longer than entries live.
const DUPLICATES: Duration = Duration::from_secs(120);

impl Engine {
    /// The bucket that holds `what`, made if there is none. An entry is gone `max_age` after it was last put; zero: it
    /// stays. Waits for servers that start meanwhile, as [`Engine::open`] does.
    ///
    /// Everything is read from the bucket's leader: another server may be behind.
    ///
    /// # Errors
    /// If it cannot be reached, or somebody made or changed it otherwise.
    pub async fn bucket(&self, what: &str, max_age: Duration) -> Result<Store, EngineError> {
        self.bucket_of(what, max_age, None).await
    }

    /// The same, with `most` entries at most: of more the oldest go.
    ///
    /// # Errors
    /// As [`Engine::bucket`].
    pub async fn bucket_of(&self, what: &str, max_age: Duration, most: Option<i64>) -> Result<Store, EngineError> {
        let end = Instant::now() + REACHED_WITHIN;
        loop {
            match self.try_bucket(what, max_age, most).await {
                Err(EngineError::Away(_)) if Instant::now() < end => sleep(AGAIN_AFTER).await,
                done => return done,
            }
        }
    }

    async fn try_bucket(&self, what: &str, max_age: Duration, most: Option<i64>) -> Result<Store, EngineError> {
        let name = self.names().bucket(what);
        let wanted = StreamConfig { max_messages: most.unwrap_or(-1), ..wanted(&name, max_age, self.replicas()) };
        let discard = if most.is_some() { DiscardPolicy::Old } else { DiscardPolicy::New };
        settle(self.context(), StreamConfig { discard, ..wanted }).await?;
        self.context().get_key_value(name).await.map_err(|error| EngineError::Away(error.to_string()))
    }
}

/// The stream of a bucket, as it is made.
fn wanted(bucket: &str, max_age: Duration, replicas: usize) -> StreamConfig {
    StreamConfig {
        name: format!("KV_{bucket}"),
        description: Some("What the replicas of a fleet of gatewatch share".to_owned()),
        subjects: vec![format!("$KV.{bucket}.>")],
        max_messages_per_subject: 1,
        max_age,
        discard: DiscardPolicy::New,
        storage: StorageType::File,
        num_replicas: replicas,
        allow_rollup: true,
        deny_delete: true,
        allow_direct: false,
        duplicate_window: if max_age.is_zero() { DUPLICATES } else { max_age.min(DUPLICATES) },
        ..StreamConfig::default()
    }
}
