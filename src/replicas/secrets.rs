//! What every replica signs browser sessions with, if nobody gave them a file: made by the first.

use std::time::Duration;

use async_nats::jetstream::kv::{CreateErrorKind, Operation};
use tokio::time::{Instant, sleep};

use crate::journal::{Engine, EngineError};
use crate::model::Secret;

/// Where it is in its bucket.
const KEY: &str = "session";
/// How long a start waits for it.
const WITHIN: Duration = Duration::from_secs(20);
/// Between two tries.
const AGAIN_AFTER: Duration = Duration::from_millis(250);
/// The largest that is taken, in bytes.
const MAX_BYTES: usize = 64 * 1024;

/// The session secret of the fleet of `engine`: one line for each, as in a file. `fresh` becomes it if there is none.
///
/// # Errors
/// If it can be neither made nor read.
pub async fn session_secret(engine: &Engine, fresh: &Secret) -> Result<Secret, EngineError> {
    // Zero: it stays.
    let bucket = engine.bucket("secrets", Duration::ZERO).await?;
    let end = Instant::now() + WITHIN;
    loop {
        let why = match bucket.entry(KEY).await {
            Ok(Some(entry)) if entry.operation == Operation::Put => {
                let text = std::str::from_utf8(&entry.value).ok().filter(|text| text.len() <= MAX_BYTES);
                let bad = || EngineError::NotMade {
                    what: format!("a secret of {KEY} in the bucket {}", bucket.name),
                    why: "what is there is not text, or too long".to_owned(),
                };
                return text.map(Secret::new).ok_or_else(bad);
            }
            Ok(_) => match bucket.create(KEY, fresh.expose().to_owned().into()).await {
                Ok(_) => {
                    tracing::info!(bucket = bucket.name, "the session secret of the fleet is made");
                    continue;
                }
                // Another replica was faster: what it made counts.
                Err(error) if error.kind() == CreateErrorKind::AlreadyExists => continue,
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        };
        if Instant::now() >= end {
            return Err(EngineError::Away(why));
        }
        sleep(AGAIN_AFTER).await;
    }
}
