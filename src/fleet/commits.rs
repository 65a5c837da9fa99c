//! From what the tracker says to journal commits: pure.

use std::collections::HashMap;
use std::sync::Arc;

use crate::event;
use crate::journal::Commit;
use crate::model::{Timestamp, VmFacts, VmId, VmName};
use crate::tracker::{Step, Tracker};

/// Who a VM is, for everything that is said of it.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    /// For people.
    pub(super) vm: VmName,
    /// For keys.
    pub(super) vm_id: VmId,
    /// What the configuration says.
    pub(super) facts: Arc<VmFacts>,
}

/// Where a commit stands among those of its VM.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    /// The lease under which it is made; 0 where there are none.
    pub(super) lease_rev: u64,
    /// Counts this VM's commits.
    pub(super) n: u64,
    /// The sequence of the one before it.
    pub(super) follows: u64,
}

/// One commit for one step: its durable events and what they leave behind.
pub(super) fn commit_of(who: &Identity, step: Step, place: Place, now: Timestamp) -> Commit {
    let events = step
        .changes
        .iter()
        .map(|change| event::durable(&who.vm, &who.vm_id, &who.facts, &step.view, change, now))
        .collect();
    Commit {
        vm_id: who.vm_id.clone(),
        lease_rev: place.lease_rev,
        n: place.n,
        follows: place.follows,
        cursors: step.cursors,
        tracker_state: step.state.into_boxed_str(),
        events,
    }
}

/// A commit without events that says where `tracker` stands.
pub(super) fn checkpoint_of(who: &Identity, tracker: &Tracker, place: Place) -> Commit {
    Commit {
        vm_id: who.vm_id.clone(),
        lease_rev: place.lease_rev,
        n: place.n,
        follows: place.follows,
        cursors: tracker.cursors(),
        tracker_state: tracker.state_json().into_boxed_str(),
        events: Vec::new(),
    }
}

/// Which configured VMs begin, end, or change so much that their poller must be made anew.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Difference<T> {
    /// To be watched from now on; those that changed are among them.
    pub(super) begin: Vec<T>,
    /// No longer configured: they are told as removed.
    pub(super) removed: Vec<VmName>,
    /// Still configured, but otherwise: their poller is stopped without a word to clients.
    pub(super) changed: Vec<VmName>,
}

/// Compares two lists of VMs by name.
pub(super) fn difference<T: PartialEq + Clone>(
    old: &HashMap<VmName, T>,
    new: impl IntoIterator<Item = (VmName, T)>,
) -> Difference<T> {
    let new: HashMap<VmName, T> = new.into_iter().collect();
    let mut removed: Vec<VmName> = old.keys().filter(|vm| !new.contains_key(*vm)).cloned().collect();
    let mut changed: Vec<VmName> =
        old.iter().filter(|(vm, was)| new.get(*vm).is_some_and(|is| is != *was)).map(|(vm, _)| vm.clone()).collect();
    removed.sort_unstable();
    changed.sort_unstable();
    let mut begin: Vec<(VmName, T)> = new.into_iter().filter(|(vm, is)| old.get(vm) != Some(is)).collect();
    begin.sort_by(|a, b| a.0.cmp(&b.0));
    Difference { begin: begin.into_iter().map(|(_, config)| config).collect(), removed, changed }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Identity, Place, commit_of, difference};
    use crate::journal::{Journal, MemoryJournal, MemoryJournalConfig};
    use crate::model::{
        FactKind, LogCursor, LogFact, LogPart, LogRead, Observation, ProcessCheck, ProcessSeen, Report, Timestamp,
        VmFacts, VmId, VmName,
    };
    use crate::tracker::{Tracker, TrackerConfig};

    /// One part of a log with the longest texts of the worst characters, from as many workers as are told apart.
    fn worst_part(source: &str, begins: u64) -> LogPart {
        let text = "\"".repeat(10_000);
        let facts = (0..32_u64).flat_map(|n| {
            let fact = |kind| LogFact {
                offset: begins + n,
                worker: format!("{n}{}", "\\".repeat(200)).into(),
                log_time: Some("2026-01-02 10:11:12,345".into()),
                kind,
            };
            [
                fact(FactKind::TaskStart {
                    number: Some(1),
                    total: Some(9),
                    id: Some(text.clone()),
                    title: Some(text.clone()),
                }),
                fact(FactKind::Instruction(text.clone())),
                fact(FactKind::Step { number: 1, action: Some(text.clone()) }),
            ]
        });
        let cursor = LogCursor { generation: 1, offset: begins + 100, ..LogCursor::start(source) };
        LogPart { facts: facts.collect(), cursor }
    }

    #[tokio::test]
    async fn whatever_a_log_holds_a_commit_fits_into_a_record() {
        let sources: Vec<Arc<str>> = (0..16).map(|n| format!("/var/log/benchmark-{n}.log").into()).collect();
        let who = Identity {
            vm: VmName::new(&"v".repeat(63)).expect("a name"),
            vm_id: VmId::from_journal("0123456789abcdef"),
            facts: Arc::new(VmFacts::default()),
        };
        let config = TrackerConfig { total_tasks: None, sources: sources.clone(), has_power: false };
        let mut tracker = Tracker::new(who.vm_id.clone(), config);
        let journal = MemoryJournal::new(MemoryJournalConfig::default());
        let mut n = 0;
        for poll in 0..4_u64 {
            let logs = sources.iter().map(|source| LogRead {
                source: source.clone(),
                size: 10_000,
                exists: true,
                parts: vec![worst_part(source, poll * 1000)],
                rest: None,
                unread: 0,
                text: None,
                problems: Vec::new(),
            });
            let mut seen = Observation::empty(None);
            seen.process = Some(ProcessCheck::Present(ProcessSeen { pid: 1, start_ticks: poll }));
            seen.logs = logs.collect();
            let report = Report {
                outcome: Ok(seen),
                ..Report::failed(
                    poll,
                    std::time::Duration::ZERO,
                    crate::model::PollFailure::new(crate::model::ErrorCode::SshLost, ""),
                )
            };
            for step in tracker.apply(&report, Timestamp(1000.0 + poll as f64)) {
                n += 1;
                let commit = commit_of(&who, step, Place { n, ..Place::default() }, Timestamp(1.0));
                assert!(journal.commit(commit).await.is_ok(), "commit {n}");
            }
        }
        assert!(n > 16, "{n} commits");
    }

    #[test]
    fn a_new_list_of_vms_begins_ends_and_changes_exactly_what_differs() {
        let vm = |name: &str| VmName::new(name).expect("a name");
        let old = [(vm("keeps"), 1), (vm("goes"), 1), (vm("changes"), 1)].into_iter().collect();
        let found = difference(&old, [(vm("keeps"), 1), (vm("changes"), 2), (vm("comes"), 7)]);
        assert_eq!(found.begin, [2, 7]);
        assert_eq!(found.removed, [vm("goes")]);
        assert_eq!(found.changed, [vm("changes")]);
    }
}
