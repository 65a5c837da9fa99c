//! Which epoch the stream is in, and whether it is the one that this replica knew.

use std::time::Duration;

use async_nats::jetstream::message::StreamMessage;
use tokio::time::{Instant, sleep};

use super::append::append;
use super::blocking;
use super::engine::{AGAIN_AFTER, Engine};
use super::entry::{self, Entry, Unreadable};
use super::mirror::Mirror;
use super::names::Topic;
use crate::event::Epoch;
use crate::journal::{JournalError, record};

/// Makes `mirror` one of the stream's present epoch, and says where that begins. A stream that is behind what was
/// announced from here, or has something else there, was restored: it gets a new epoch.
///
/// `None`: the stream has entries, but no beginning.
pub(super) async fn settle(engine: &Engine, mirror: Mirror) -> Result<Option<(Mirror, Epoch, u64)>, JournalError> {
    let Some((mut epoch, mut epoch_at)) = epoch_of(engine).await? else { return Ok(None) };
    let head = mirror.head()?;
    if head.epoch.as_ref() == Some(&epoch) && !stays_there(engine, head.seq, &head.tokens[0]).await? {
        tracing::warn!(seq = head.seq, "the stream was restored, or another one took its place: a new epoch begins");
        begin_epoch(engine, epoch_at).await?;
        match epoch_of(engine).await? {
            Some(renewed) => (epoch, epoch_at) = renewed,
            None => return Ok(None),
        }
    }
    if head.epoch.as_ref() == Some(&epoch) {
        return Ok(Some((mirror, epoch, epoch_at)));
    }
    tracing::info!(epoch = epoch.as_str(), "the mirror of the stream is made anew");
    blocking(move || {
        let mut mirror = mirror;
        mirror.reset(&epoch)?;
        Ok(Some((mirror, epoch, epoch_at)))
    })
    .await
}

/// The stream's epoch, and which entry began it. An empty stream gets its first one.
async fn epoch_of(engine: &Engine) -> Result<Option<(Epoch, u64)>, JournalError> {
    if let Some(found) = engine.last(&Topic::Epoch).await? {
        return read(&found).map(|epoch| Some((epoch, found.sequence)));
    }
    // It is the first entry of all, and is never removed: where others are and it never was, an import broke off. Where the
    // first of all is gone somebody emptied the stream.
    let state = engine.state().await?;
    if state.last_sequence == 0 || state.first_sequence > 1 {
        begin_epoch(engine, 0).await?;
    }
    let begun = engine.last(&Topic::Epoch).await?;
    begun.map(|found| read(&found).map(|epoch| (epoch, found.sequence))).transpose()
}

/// Begins an epoch behind the one that the entry at `follows` began. If another replica is faster, its one counts.
pub(super) async fn begin_epoch(engine: &Engine, follows: u64) -> Result<(), JournalError> {
    match append(engine, &Topic::Epoch, entry::of_epoch(&record::new_epoch())?, follows).await {
        Ok(_) | Err(JournalError::Superseded) => Ok(()),
        Err(error) => Err(error),
    }
}

fn read(found: &StreamMessage) -> Result<Epoch, JournalError> {
    match entry::read(&Topic::Epoch, &found.payload) {
        Ok(Entry::Epoch(epoch)) => Ok(epoch),
        Err(Unreadable::Newer(v)) => Err(JournalError::Version(v)),
        Ok(_) | Err(Unreadable::Foreign(_)) => {
            Err(JournalError::Store("the entry of the stream's epoch is no epoch".into()))
        }
    }
}

/// For how long a stream must not have what it had before that is believed: a leader that was elected just now may still be
/// reading what it has.
pub(super) const BELIEVED_AFTER: Duration = Duration::from_secs(3);

/// As [`is_there`], but what is not there is looked for again for [`BELIEVED_AFTER`].
async fn stays_there(engine: &Engine, seq: u64, token: &str) -> Result<bool, JournalError> {
    let end = Instant::now() + BELIEVED_AFTER;
    while !is_there(engine, seq, token).await? {
        if Instant::now() >= end {
            return Ok(false);
        }
        sleep(AGAIN_AFTER).await;
    }
    Ok(true)
}

/// Whether the entry that was last applied here is the stream's. Of one that is no longer kept that cannot be told.
pub(super) async fn is_there(engine: &Engine, seq: u64, token: &str) -> Result<bool, JournalError> {
    if seq > engine.state().await?.last_sequence {
        return Ok(false);
    }
    let there = engine.entry(seq.max(1)).await?;
    Ok(seq == 0 || there.is_none_or(|entry| entry.time.unix_timestamp_nanos().to_string() == token))
}
