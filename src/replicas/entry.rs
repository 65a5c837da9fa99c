//! One entry of the bucket of leases, and how it is written: behind what it was, or not at all.

use std::sync::Arc;

use async_nats::jetstream::kv::{Operation, Store};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Holder {
    pub(super) id: String,
    /// Counts the writes of this holder: of two it tells which one landed.
    pub(super) n: u64,
}

/// How a write ended.
pub(super) enum Outcome {
    /// It is what the entry says.
    Done(u64),
    /// The entry says something else (`None`: there is none).
    Other(Option<(u64, Option<Holder>)>),
    /// Nobody answers, or nothing is written; why.
    Failed(Arc<str>),
    /// Given back, or given up: whoever wants it finds out.
    Released,
}

/// Writes `value`, which says what `wrote` does, behind `revision` of the entry `key` (0: there is none).
pub(super) async fn write(bucket: &Store, key: &str, value: Bytes, wrote: &Holder, revision: u64) -> Outcome {
    let error = match bucket.update(key, value, revision).await {
        Ok(revision) => return Outcome::Done(revision),
        Err(error) => error,
    };
    let found = match bucket.entry(key).await {
        Ok(found) => found,
        Err(error) => return Outcome::Failed(error.to_string().into()),
    };
    let read = found.map(|entry| {
        let put = entry.operation == Operation::Put;
        let holder: Option<Holder> = put.then(|| serde_json::from_slice(&entry.value).ok()).flatten();
        (entry.revision, holder)
    });
    match read {
        Some((at, Some(holder))) if holder == *wrote => Outcome::Done(at),
        // Nothing stood in the way, and still it is not written.
        found if found.as_ref().map_or(0, |(at, _)| *at) == revision => Outcome::Failed(error.to_string().into()),
        other => Outcome::Other(other),
    }
}
