use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::journal::MAX_RECORD_BYTES;
use crate::model::LogCursor;

fn now<T>(future: BoxFuture<'_, T>) -> T {
    future.now_or_never().expect("a journal in memory waits for nothing")
}

fn small(max_events: usize) -> MemoryJournal {
    MemoryJournal::new(MemoryJournalConfig { max_events, ..MemoryJournalConfig::default() })
}

fn event(vm: &str, kind: EventKind, run: Option<&str>, data: &str) -> DurableEvent {
    DurableEvent {
        kind,
        vm: VmName::new(vm).expect("a name"),
        vm_id: VmId::from_journal(vm),
        run: run.map(RunId::from_hash),
        data: data.into(),
    }
}

fn status(vm: &str) -> DurableEvent {
    event(vm, EventKind::Status, None, "{}")
}

fn started(vm: &str, run: &str, source: &str) -> DurableEvent {
    event(vm, EventKind::RunStarted, Some(run), &format!("{{\"vm\":\"{vm}\",\"source\":\"{source}\"}}"))
}

fn done(vm: &str, run: &str) -> DurableEvent {
    event(vm, EventKind::TaskComplete, Some(run), "{}")
}

fn commit(vm: &str, events: Vec<DurableEvent>) -> Commit {
    Commit {
        vm_id: VmId::from_journal(vm),
        lease_rev: 0,
        n: 1,
        follows: 0,
        cursors: vec![LogCursor::start("/l")],
        tracker_state: "{}".into(),
        events,
    }
}

fn put(journal: &MemoryJournal, vm: &str, events: Vec<DurableEvent>) -> Committed {
    now(journal.commit(commit(vm, events))).expect("it fits")
}

fn at(seq: u64, i: u32) -> Position {
    Position { seq, i }
}

fn completions(journal: &MemoryJournal, run: &str) -> Vec<Position> {
    let page = now(journal.read_runs(&[RunId::from_hash(run)], Position::START, at(u64::MAX, 0), 1000)).expect("read");
    assert!(!page.more);
    page.events.iter().map(|event| event.position).collect()
}

#[test]
fn a_checkpoint_takes_a_sequence_and_moves_no_event_bound() {
    let journal = MemoryJournal::new(MemoryJournalConfig::default());
    assert_eq!(journal.bounds(), Bounds { floor: Position::START, newest: Position::START, applied: 0, announced: 0 });
    assert_eq!(put(&journal, "a", vec![]).seq, 1);
    assert_eq!(journal.bounds().newest, Position::START);
    let two = put(&journal, "a", vec![status("a"), done("a", "r")]);
    assert_eq!(two.events.iter().map(|event| event.position).collect::<Vec<_>>(), [at(2, 0), at(2, 1)]);
    assert_eq!(journal.bounds().newest, at(2, 1));
}

#[test]
fn a_vm_keeps_its_id_and_its_last_commit() {
    let journal = small(1);
    let (a, b) = (VmName::new("a").expect("a name"), VmName::new("b").expect("a name"));
    let id = now(journal.vm_id(&a)).expect("an id");
    assert_eq!(id, now(journal.vm_id(&a)).expect("an id"));
    assert_ne!(id, now(journal.vm_id(&b)).expect("an id"));
    assert!(id.as_str().len() == 16 && id.as_str().bytes().all(|b| b.is_ascii_hexdigit()));
    assert!(now(journal.last_commit(&id)).expect("read").is_none());
    now(journal.commit(Commit { vm_id: id.clone(), n: 7, ..commit("x", vec![status("a")]) })).expect("it fits");
    put(&journal, "b", vec![status("b"), status("b")]);
    assert_eq!(
        now(journal.last_commit(&id)).expect("read").map(|last| last.commit.n),
        Some(7),
        "although its events are pruned"
    );
}

#[test]
fn every_journal_has_its_own_epoch() {
    let epochs: HashSet<_> = (0..50).map(|_| small(1).epoch().clone()).collect();
    assert_eq!(epochs.len(), 50);
}

#[test]
fn a_record_over_the_limit_is_refused_whole() {
    let journal = small(10);
    let mut tail = journal.tail();
    let large = Commit { tracker_state: "x".repeat(MAX_RECORD_BYTES).into(), ..commit("a", vec![status("a")]) };
    assert!(matches!(now(journal.commit(large)), Err(JournalError::TooLarge(size)) if size > MAX_RECORD_BYTES));
    assert!(tail.try_recv().is_err());
    assert_eq!(journal.bounds().newest, Position::START);
    assert_eq!(put(&journal, "a", vec![status("a")]).seq, 1, "it took no sequence");
}

#[test]
fn what_is_pruned_says_so() {
    let journal = small(3);
    for _ in 0..5 {
        put(&journal, "a", vec![status("a")]);
    }
    assert_eq!(journal.bounds(), Bounds { floor: at(2, 0), newest: at(5, 0), applied: 5, announced: 5 });
    for pruned in [Position::START, at(1, 0), at(1, 9)] {
        assert!(matches!(now(journal.read(pruned, at(5, 0), 9)), Err(JournalError::Pruned)), "{pruned:?}");
        assert!(matches!(now(journal.count_after(pruned, 9)), Err(JournalError::Pruned)), "{pruned:?}");
    }
    assert_eq!(now(journal.read(at(2, 0), at(5, 0), 9)).expect("kept").events.len(), 3);
    assert_eq!(now(journal.count_after(at(2, 0), 9)).expect("kept"), 3);
    assert_eq!(now(journal.count_after(at(2, 0), 2)).expect("kept"), 2, "no further than asked");
    assert_eq!(now(journal.count_after(at(5, 0), 9)).expect("kept"), 0);
    assert_eq!(now(journal.count_after(at(9, 0), 9)).expect("kept"), 0);
}

#[test]
fn bounds_that_cross_read_nothing() {
    let journal = small(9);
    put(&journal, "a", vec![status("a"), status("a")]);
    let page = now(journal.read(at(1, 1), at(1, 0), 9)).expect("read");
    assert!(page.events.is_empty() && !page.more);
}

#[test]
fn the_latest_run_of_each_log_outlives_pruning() {
    let journal = small(2);
    put(&journal, "a", vec![started("a", "old", "/1"), done("a", "old"), started("a", "one", "/1"), done("a", "one")]);
    put(&journal, "a", vec![started("a", "two", "/2"), done("a", "two"), done("a", "one")]);
    put(&journal, "b", vec![started("b", "b", "/1"), done("b", "b")]);
    for _ in 0..4 {
        put(&journal, "a", vec![status("a")]);
    }
    assert_eq!(completions(&journal, "old"), []);
    assert_eq!(completions(&journal, "one"), [at(1, 3), at(2, 2)]);
    assert_eq!(completions(&journal, "two"), [at(2, 1)]);
    assert_eq!(completions(&journal, "b"), [at(3, 1)]);
    put(&journal, "a", vec![started("a", "next", "/1")]);
    assert_eq!(completions(&journal, "one"), [], "another run of that log is the latest now");
    assert_eq!(completions(&journal, "two"), [at(2, 1)]);
    assert!(!journal.state().runs.contains_key(&RunId::from_hash("one")));
}

#[test]
fn completions_of_several_runs_come_in_one_order_and_in_pages() {
    let journal = small(100);
    for _ in 0..4 {
        put(&journal, "a", vec![done("a", "r"), status("a"), done("a", "s")]);
    }
    let runs = ["s", "r", "s", "none"].map(RunId::from_hash);
    let first = now(journal.read_runs(&runs, at(1, 0), at(4, 0), 4)).expect("read");
    assert_eq!(
        first.events.iter().map(|event| event.position).collect::<Vec<_>>(),
        [at(1, 2), at(2, 0), at(2, 2), at(3, 0)]
    );
    assert!(first.more);
    let rest = now(journal.read_runs(&runs, at(3, 0), at(4, 0), 4)).expect("read");
    assert_eq!(rest.events.iter().map(|event| event.position).collect::<Vec<_>>(), [at(3, 2), at(4, 0)]);
    assert!(!rest.more);
}

#[test]
fn one_endless_run_is_bounded() {
    let journal = MemoryJournal::new(MemoryJournalConfig { max_events: 2, max_run_completions: 5 });
    put(&journal, "a", vec![started("a", "r", "/1")]);
    for _ in 0..20 {
        put(&journal, "a", vec![done("a", "r")]);
    }
    assert_eq!(completions(&journal, "r"), [at(17, 0), at(18, 0), at(19, 0), at(20, 0), at(21, 0)]);
}

#[test]
fn many_pollers_at_once_give_one_order_for_tail_and_readers() {
    const VMS: usize = 8;
    const COMMITS: usize = 100;
    let journal = small(10_000);
    let mut tail = journal.tail();
    std::thread::scope(|scope| {
        for vm in 0..VMS {
            let journal = &journal;
            scope.spawn(move || {
                let vm = format!("vm-{vm}");
                for n in 0..COMMITS {
                    put(journal, &vm, vec![status(&vm); n % 4]);
                }
            });
        }
    });
    let mut heard = Vec::new();
    for seq in 1..=(VMS * COMMITS) as u64 {
        let committed = tail.try_recv().expect("each commit is on the tail");
        assert_eq!(committed.seq, seq);
        assert!(committed.events.iter().all(|event| event.event.vm_id == committed.vm_id));
        heard.extend(committed.events.iter().cloned());
    }
    let read = now(journal.read(Position::START, journal.bounds().newest, usize::MAX)).expect("read");
    assert_eq!(read.events, heard);
}

proptest! {
    #[test]
    fn pages_put_together_are_what_was_committed(
        sizes in prop::collection::vec(0_usize..5, 0..40),
        max_events in 1_usize..60,
        limit in 1_usize..7,
        from in 0_usize..200,
    ) {
        let journal = small(max_events);
        let mut all = Vec::new();
        for size in sizes {
            all.extend(put(&journal, "a", vec![done("a", "r"); size]).events.iter().cloned());
        }
        prop_assert!(all.is_sorted_by(|a, b| a.position < b.position), "ids strictly ascend");
        let kept = &all[all.len().saturating_sub(max_events)..];
        let bounds = journal.bounds();
        prop_assert_eq!(bounds.newest, kept.last().map_or(Position::START, |event| event.position));

        let skip = if kept.is_empty() { 0 } else { from % (kept.len() + 1) };
        let start = if skip == 0 { bounds.floor } else { kept[skip - 1].position };
        prop_assert_eq!(now(journal.count_after(start, 1000)).expect("kept"), kept.len() - skip);
        let (mut after, mut seen) = (start, Vec::new());
        loop {
            let page = now(journal.read(after, bounds.newest, limit)).expect("kept");
            prop_assert!(page.events.len() <= limit);
            seen.extend(page.events);
            after = seen.last().map_or(after, |event| event.position);
            if !page.more {
                break;
            }
        }
        prop_assert_eq!(&seen[..], &kept[skip..]);
    }
}

#[test]
fn a_rename_keeps_the_identity_and_takes_no_other() {
    let journal = small(9);
    let [old, new, other] = ["old", "new", "other"].map(|name| VmName::new(name).expect("a name"));
    let (id, others) = (now(journal.vm_id(&old)).expect("an id"), now(journal.vm_id(&other)).expect("an id"));
    assert!(!now(journal.rename_vm(&old, &other)).expect("answered"), "it has an identity");
    assert!(!now(journal.rename_vm(&new, &other)).expect("answered"), "nobody knows it");
    assert!(now(journal.rename_vm(&old, &new)).expect("answered"));
    assert_eq!(now(journal.vm_id(&new)).expect("an id"), id);
    assert_eq!(now(journal.vm_id(&other)).expect("an id"), others);
    let next = now(journal.vm_id(&old)).expect("an id");
    assert!(next != id && next != others, "the name is another VM's now");
}
