//! The entries of the stream, as JSON. Pure.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::names::Topic;
use crate::event::{DurableEvent, Epoch, EventKind};
use crate::journal::{Commit, JournalError, RECORD_VERSION};
use crate::model::{LogCursor, RunId, Timestamp, VmId, VmName};

/// What an entry says.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    /// What stands before ids from here on.
    Epoch(Epoch),
    /// `vm` is the name of `vm_id`, which was that of `from` before, if that is named. Says nothing if the name has an
    /// identity, or `from` has none.
    Vm { vm: VmName, vm_id: VmId, from: Option<VmName> },
    /// A record of version `v`; made at `at` where that is not when it came into the stream.
    Commit { v: u32, at: Option<Timestamp>, commit: Box<Commit> },
}

/// Why an entry says nothing here.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    /// A later program wrote it.
    #[error("an entry of the stream is of version {0}; this program reads versions up to {max}", max = RECORD_VERSION + 1)]
    Newer(u32),
    /// It is none of ours.
    #[error("{0}")]
    Foreign(String),
}

/// What every entry has.
#[derive(Deserialize)]
struct Version {
    v: u32,
}

#[derive(Serialize, Deserialize)]
struct EpochRecord {
    v: u32,
    epoch: String,
}

#[derive(Serialize, Deserialize)]
struct VmRecord {
    v: u32,
    vm_id: VmId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<VmName>,
}

#[derive(Serialize, Deserialize)]
struct CommitRecord {
    v: u32,
    lease_rev: u64,
    n: u64,
    follows: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<Timestamp>,
    cursors: Vec<LogCursor>,
    tracker_state: Box<RawValue>,
    events: Vec<EventRecord>,
}

#[derive(Serialize, Deserialize)]
struct EventRecord {
    kind: EventKind,
    vm: VmName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run: Option<RunId>,
    data: Box<RawValue>,
}

/// The entry that begins `epoch`.
pub(super) fn of_epoch(epoch: &Epoch) -> Result<Bytes, JournalError> {
    json(&EpochRecord { v: RECORD_VERSION, epoch: epoch.as_str().to_owned() })
}

/// The entry that gives a name an identity.
pub(super) fn of_vm(vm_id: &VmId, from: Option<&VmName>) -> Result<Bytes, JournalError> {
    json(&VmRecord { v: RECORD_VERSION, vm_id: vm_id.clone(), from: from.cloned() })
}

/// The entry of `commit`, whose events are all of its VM; made at `at` if not now.
pub(super) fn of_commit(commit: &Commit, at: Option<Timestamp>) -> Result<Bytes, JournalError> {
    let event = |event: &DurableEvent| {
        Ok(EventRecord { kind: event.kind, vm: event.vm.clone(), run: event.run.clone(), data: raw(&event.data)? })
    };
    json(&CommitRecord {
        v: RECORD_VERSION,
        lease_rev: commit.lease_rev,
        n: commit.n,
        follows: commit.follows,
        at,
        cursors: commit.cursors.clone(),
        tracker_state: raw(&commit.tracker_state)?,
        events: commit.events.iter().map(event).collect::<Result<_, JournalError>>()?,
    })
}

/// Reads what an entry about `topic` says.
pub(super) fn read(topic: &Topic, payload: &[u8]) -> Result<Entry, Unreadable> {
    let foreign = |error: serde_json::Error| Unreadable::Foreign(error.to_string());
    let Version { v } = serde_json::from_slice(payload).map_err(foreign)?;
    // This version and the next: a fleet is brought up to date one process after the other.
    if v > RECORD_VERSION + 1 {
        return Err(Unreadable::Newer(v));
    }
    match topic {
        Topic::Epoch => {
            let record: EpochRecord = serde_json::from_slice(payload).map_err(foreign)?;
            let epoch = Epoch::new(&record.epoch).map_err(|error| Unreadable::Foreign(error.to_string()))?;
            Ok(Entry::Epoch(epoch))
        }
        Topic::Vm(vm) => {
            let record: VmRecord = serde_json::from_slice(payload).map_err(foreign)?;
            Ok(Entry::Vm { vm: vm.clone(), vm_id: record.vm_id, from: record.from })
        }
        Topic::Commit(vm_id) => {
            let record: CommitRecord = serde_json::from_slice(payload).map_err(foreign)?;
            let events = record.events.into_iter().map(|event| DurableEvent {
                kind: event.kind,
                vm: event.vm,
                vm_id: vm_id.clone(),
                run: event.run,
                data: event.data.get().into(),
            });
            let commit = Commit {
                vm_id: vm_id.clone(),
                lease_rev: record.lease_rev,
                n: record.n,
                follows: record.follows,
                cursors: record.cursors,
                tracker_state: record.tracker_state.get().into(),
                events: events.collect(),
            };
            Ok(Entry::Commit { v, at: record.at, commit: Box::new(commit) })
        }
    }
}

/// JSON goes into the record as it is: escaped once more it would be larger than it was reckoned.
fn raw(text: &str) -> Result<Box<RawValue>, JournalError> {
    RawValue::from_string(text.to_owned()).map_err(not_json)
}

fn json(record: &impl Serialize) -> Result<Bytes, JournalError> {
    serde_json::to_vec(record).map(Bytes::from).map_err(not_json)
}

fn not_json(error: serde_json::Error) -> JournalError {
    JournalError::Store(format!("a record cannot be encoded: {error}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_comes_back_as_it_was_byte_for_byte() {
        let vm_id = VmId::from_journal("0123456789abcdef");
        let event = DurableEvent {
            kind: EventKind::TaskComplete,
            vm: VmName::new("a").expect("a name"),
            vm_id: vm_id.clone(),
            run: Some(RunId::from_hash("r")),
            data: "{\"score\":0.10000000000000001, \"text\":\"\\u2028\\\"\"}".into(),
        };
        let commit = Commit {
            vm_id: vm_id.clone(),
            lease_rev: 7,
            n: 3,
            follows: 12,
            cursors: vec![LogCursor { offset: 9, ..LogCursor::start("/log") }],
            tracker_state: "{\"v\":1,  \"x\":1e400}".into(),
            events: vec![event],
        };
        let payload = of_commit(&commit, Some(Timestamp(5.25))).expect("encoded");
        let Ok(Entry::Commit { v, at, commit: read }) = read(&Topic::Commit(vm_id), &payload) else {
            panic!("no commit")
        };
        assert_eq!((v, at), (RECORD_VERSION, Some(Timestamp(5.25))));
        assert_eq!(format!("{read:?}"), format!("{commit:?}"));
    }

    #[test]
    fn the_next_version_is_read_and_a_later_one_said() {
        let record = |v: u32| format!("{{\"v\":{v},\"epoch\":\"abc\",\"more\":[]}}");
        let of = |v: u32| read(&Topic::Epoch, record(v).as_bytes());
        assert!(of(RECORD_VERSION).is_ok() && of(RECORD_VERSION + 1).is_ok());
        assert!(matches!(of(RECORD_VERSION + 2), Err(Unreadable::Newer(v)) if v == RECORD_VERSION + 2));
        for foreign in [&b""[..], b"{}", b"\xff", b"{\"v\":1}", b"{\"v\":1,\"epoch\":\"a-b\"}"] {
            assert!(matches!(read(&Topic::Epoch, foreign), Err(Unreadable::Foreign(_))));
        }
    }
}
