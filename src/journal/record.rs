//! How large a commit's record is, the epoch that stands before ids, the identity behind a name: what every store shares.

use rand::distr::{Alphanumeric, SampleString as _};

use super::{Commit, JournalError, MAX_RECORD_BYTES};
use crate::event::{DurableEvent, Epoch};
use crate::model::VmId;

/// Length of an epoch, in characters of `[0-9A-Za-z]`.
const EPOCH_CHARS: usize = 10;

/// An epoch that no journal had before.
pub(super) fn new_epoch() -> Epoch {
    let epoch = Alphanumeric.sample_string(&mut rand::rng(), EPOCH_CHARS);
    Epoch::new(&epoch).expect("letters and digits, fewer than 24, are an epoch")
}

/// An identity that no VM had before.
pub(super) fn new_vm_id() -> VmId {
    VmId::from_journal(&format!("{:016x}", rand::random::<u64>()))
}

/// Refuses a commit whose record is over [`MAX_RECORD_BYTES`].
pub(super) fn check_size(commit: &Commit) -> Result<(), JournalError> {
    let size = encoded_size(commit);
    if size > MAX_RECORD_BYTES { Err(JournalError::TooLarge(size)) } else { Ok(()) }
}

/// How many bytes the record of `commit` takes, with state and events as the JSON that they are.
fn encoded_size(commit: &Commit) -> usize {
    /// Names, numbers and punctuation of one event beside its texts.
    const EVENT_OVERHEAD: usize = 128;
    let cursors = serde_json::to_string(&commit.cursors).map_or(usize::MAX, |text| text.len());
    let of = |event: &DurableEvent| {
        let names = event.vm.as_str().len() + event.vm_id.as_str().len();
        EVENT_OVERHEAD + names + event.run.as_ref().map_or(0, |run| run.as_str().len()) + event.data.len()
    };
    commit.events.iter().map(of).sum::<usize>().saturating_add(cursors).saturating_add(commit.tracker_state.len())
}
