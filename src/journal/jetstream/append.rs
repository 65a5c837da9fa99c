//! Appending to the stream, fenced: an entry stands where its writer believes that it will, or not at all.

use std::time::Duration;

use async_nats::jetstream::context::PublishError;
use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;
use tokio::time::sleep;

use super::engine::{Engine, away};
use super::names::Topic;
use crate::journal::JournalError;

/// How often the same bytes are tried before the caller is told that the engine does not answer.
const TRIES: usize = 3;

/// Between two tries.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// Appends `payload` behind the entry about `topic` at `follows` (0: as the first one), and says where it stands.
///
/// What went wrong is not believed, since an append that failed may still land: the stream's leader says which entry is
/// the last. If it is this one, it is there; if it is the one before, the same bytes are tried again.
///
/// # Errors
/// [`JournalError::Superseded`] if another one stands there, [`JournalError::Store`] if the engine does not say.
pub(super) async fn append(engine: &Engine, topic: &Topic, payload: Bytes, follows: u64) -> Result<u64, JournalError> {
    let mut cause = None;
    for _ in 0..TRIES {
        if cause.is_some() {
            sleep(AGAIN_AFTER).await;
        }
        let error = match publish(engine, topic, payload.clone(), follows).await {
            Ok(seq) => return Ok(seq),
            Err(error) => error,
        };
        match engine.last(topic).await? {
            Some(last) if last.sequence > follows && last.payload == payload => return Ok(last.sequence),
            // Somebody took it away: whoever follows the stream finds out what happened.
            None if follows > 0 => return Err(away("the stream does not have what this commit follows any more")),
            last if last.as_ref().map_or(0, |last| last.sequence) == follows => cause = Some(error),
            _ => return Err(JournalError::Superseded),
        }
    }
    Err(cause.map_or_else(|| away("no answer"), away))
}

async fn publish(engine: &Engine, topic: &Topic, payload: Bytes, follows: u64) -> Result<u64, PublishError> {
    // Without a message id: a retry would then be called a duplicate even where another one came between.
    let message = PublishMessage::build().payload(payload).expected_last_subject_sequence(follows);
    let acknowledged = engine.context().send_publish(engine.names().subject(topic), message).await?;
    Ok(acknowledged.await?.sequence)
}
