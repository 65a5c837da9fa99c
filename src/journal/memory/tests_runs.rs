//! Runs as this journal remembers them.

use serde_json::json;

use super::*;
use crate::model::{RunEndReason, Timestamp, VmGrant};

fn now<T>(future: BoxFuture<'_, T>) -> T {
    future.now_or_never().expect("a journal in memory waits for nothing")
}

fn event(vm: &str, kind: EventKind, run: &str, data: &serde_json::Value) -> DurableEvent {
    let vm_id = VmId::from_journal(vm);
    let vm = VmName::new(vm).expect("a name");
    DurableEvent { kind, vm, vm_id, run: Some(RunId::from_hash(run)), data: data.to_string().into() }
}

fn started(vm: &str, run: &str, at: f64) -> DurableEvent {
    let data = json!({"source": format!("/{vm}.log"), "total_tasks": 30, "historic": false, "timestamp": at});
    event(vm, EventKind::RunStarted, run, &data)
}

fn done(vm: &str, run: &str, success: Option<bool>, score: Option<f64>) -> DurableEvent {
    event(vm, EventKind::TaskComplete, run, &json!({"success": success, "score": score, "timestamp": 5.0}))
}

fn ended(vm: &str, run: &str, at: f64) -> DurableEvent {
    event(vm, EventKind::RunComplete, run, &json!({"reason": "next_run", "timestamp": at}))
}

fn status(vm: &str) -> DurableEvent {
    DurableEvent { run: None, ..event(vm, EventKind::Status, "-", &json!({})) }
}

fn put(journal: &MemoryJournal, events: Vec<DurableEvent>) {
    let vm_id = VmId::from_journal("any");
    let commit = Commit { vm_id, lease_rev: 0, n: 1, follows: 0, cursors: vec![], tracker_state: "{}".into(), events };
    now(journal.commit(commit)).expect("it fits");
}

fn all() -> RunQuery {
    RunQuery { grant: VmGrant::all(), vm: None, open: None, since: None, until: None, before: None, limit: 100 }
}

fn found(journal: &MemoryJournal, query: &RunQuery) -> Vec<String> {
    let page = now(journal.runs(query)).expect("read");
    assert_eq!(page.next, None);
    page.runs.iter().map(|run| run.run.to_string()).collect()
}

fn run(journal: &MemoryJournal, run: &str) -> Option<RunSummary> {
    now(journal.run(&RunId::from_hash(run))).expect("read")
}

#[test]
fn a_summary_is_what_the_events_of_its_run_say() {
    let journal = MemoryJournal::new(MemoryJournalConfig::default());
    put(&journal, vec![status("a"), started("a", "r", 1.5), done("a", "r", Some(true), Some(1.0))]);
    put(&journal, vec![done("a", "other", Some(true), None), done("a", "r", Some(false), Some(0.5))]);
    put(&journal, vec![done("a", "r", None, None), done("a", "r", Some(true), Some(0.0))]);
    let open = run(&journal, "r").expect("it opened");
    let wanted = RunSummary {
        run: RunId::from_hash("r"),
        vm: VmName::new("a").expect("a name"),
        vm_id: VmId::from_journal("a"),
        source: "/a.log".to_owned(),
        started: Position { seq: 1, i: 1 },
        newest: Position { seq: 3, i: 1 },
        started_at: Timestamp(1.5),
        ended_at: None,
        reason: None,
        total_tasks: Some(30),
        completed: 4,
        passed: 2,
        failed: 1,
        unknown: 1,
        average_score: Some(0.5),
        scored: 3,
        historic: false,
    };
    assert_eq!(open, wanted);
    put(&journal, vec![ended("a", "r", 9.0)]);
    let newest = Position { seq: 4, i: 0 };
    let (ended_at, reason) = (Some(Timestamp(9.0)), Some(RunEndReason::NextRun));
    assert_eq!(run(&journal, "r"), Some(RunSummary { newest, ended_at, reason, ..wanted }));
    assert_eq!(run(&journal, "other"), None, "nobody saw it open");
}

#[test]
fn runs_come_newest_first_and_each_filter_counts() {
    let journal = MemoryJournal::new(MemoryJournalConfig::default());
    put(&journal, vec![started("a", "a1", 10.0), ended("a", "a1", 15.0), started("b", "b1", 20.0)]);
    put(&journal, vec![started("a", "a2", 30.0)]);
    assert_eq!(found(&journal, &all()), ["a2", "b1", "a1"]);
    let at = |seconds| Some(Timestamp(seconds));
    for (query, wanted) in [
        (RunQuery { vm: VmName::new("a").ok(), ..all() }, vec!["a2", "a1"]),
        (RunQuery { vm: VmName::new("c").ok(), ..all() }, vec![]),
        (RunQuery { grant: VmGrant::from_globs(["b*"]), ..all() }, vec!["b1"]),
        (RunQuery { grant: VmGrant::from_globs(["b*"]), vm: VmName::new("a").ok(), ..all() }, vec![]),
        (RunQuery { open: Some(true), ..all() }, vec!["a2", "b1"]),
        (RunQuery { open: Some(false), ..all() }, vec!["a1"]),
        (RunQuery { since: at(20.0), ..all() }, vec!["a2", "b1"]),
        (RunQuery { until: at(20.0), ..all() }, vec!["a1"]),
        (RunQuery { since: at(15.0), until: at(25.0), ..all() }, vec!["b1"]),
        (RunQuery { before: Some(Position { seq: 2, i: 0 }), ..all() }, vec!["b1", "a1"]),
        (RunQuery { before: Some(Position::START), ..all() }, vec![]),
    ] {
        assert_eq!(found(&journal, &query), wanted, "{query:?}");
    }
}

#[test]
fn pages_of_runs_put_together_are_all_that_match_each_once() {
    let journal = MemoryJournal::new(MemoryJournalConfig::default());
    for n in 0..20 {
        let vm = if n % 3 == 0 { "a" } else { "b" };
        put(&journal, vec![started(vm, &format!("r{n}"), f64::from(n))]);
    }
    for vm in [None, VmName::new("a").ok(), VmName::new("b").ok()] {
        let whole = found(&journal, &RunQuery { vm: vm.clone(), ..all() });
        for limit in [1, 2, 7, 100, usize::MAX] {
            let (mut query, mut seen) = (RunQuery { vm: vm.clone(), limit, ..all() }, Vec::new());
            loop {
                let page = now(journal.runs(&query)).expect("read");
                assert!(page.runs.len() <= limit.min(MAX_RUNS_PAGE));
                seen.extend(page.runs.iter().map(|run| run.run.to_string()));
                match page.next {
                    Some(next) => query.before = Some(next),
                    None => break,
                }
            }
            assert_eq!(seen, whole, "{limit} at a time");
        }
    }
}

#[test]
fn a_run_is_forgotten_with_its_last_event_unless_it_is_its_logs_latest() {
    let journal = MemoryJournal::new(MemoryJournalConfig { max_events: 3, ..MemoryJournalConfig::default() });
    put(&journal, vec![started("a", "a1", 1.0), done("a", "a1", None, None)]);
    put(&journal, vec![started("b", "b1", 2.0)]);
    put(&journal, vec![status("c"), status("c"), status("c")]);
    assert_eq!(found(&journal, &all()), ["b1", "a1"], "the latest of their logs");

    put(&journal, vec![started("a", "a2", 3.0)]);
    assert_eq!(found(&journal, &all()), ["a2", "b1"], "nothing of the older one can be read any more");
    assert_eq!(run(&journal, "a1"), None);
    // One that still has an event stays, whole, although a later run of its log opened.
    put(&journal, vec![ended("a", "a2", 4.0), started("a", "a3", 5.0)]);
    assert_eq!(found(&journal, &all()), ["a3", "a2", "b1"]);
    put(&journal, vec![status("c"), status("c"), status("c")]);
    assert_eq!(found(&journal, &all()), ["a3", "b1"]);
    assert_eq!(journal.state().opened.len(), 2, "and no entry is left of the others");
}
