//! Runs and tasks as logs tell of them.

use super::*;

/// What a log of one worker, read in one poll while the process runs, is said to tell.
fn tells(kinds: Vec<FactKind>) -> Vec<String> {
    told(&of_runs(Lab::new().poll(ready(present(1), lines(0, kinds)))))
}

#[test]
fn a_log_gives_these_runs_and_tasks() {
    let score = FactKind::Score;
    let verdict = FactKind::Verdict;
    let example = |id: &str| FactKind::ExampleId(id.to_owned());
    let named = |number, id: &str| FactKind::TaskStart {
        number: Some(number),
        total: None,
        id: Some(id.to_owned()),
        title: None,
    };
    let table: Vec<(&str, Vec<FactKind>, Vec<&str>)> = vec![
        ("nothing before the first start", vec![outcome(true), score(1.0), end_of("x")], vec![]),
        ("a start closes the task before", vec![start(1), start(2)], vec!["start", "task_1 ?"]),
        (
            "an id, an outcome and a score",
            vec![start(1), id("a"), outcome(true), score(0.5)],
            vec!["start", "a pass 0.5"],
        ),
        (
            "a score before the outcome",
            vec![start(1), id("a"), score(0.5), outcome(false)],
            vec!["start", "a fail 0.5"],
        ),
        ("a score alone says nothing of success", vec![start(1), score(0.5), start(2)], vec!["start", "task_1 ? 0.5"]),
        ("a title stands in for an id", vec![titled("notepad"), titled("x")], vec!["start", "notepad ?"]),
        (
            "an ordinal stands in for a title",
            vec![id("a"), FactKind::TaskStart { number: None, total: None, id: None, title: None }, start(9)],
            vec!["start", "a ?", "task_2 ?"],
        ),
        ("ids alone make tasks", vec![id("a"), id("a"), id("b"), id("c")], vec!["start", "a ?", "b ?"]),
        (
            "what follows a closed task is not the next one's",
            vec![start(1), outcome(true), score(1.0), outcome(false), score(0.0), start(2), start(3)],
            vec!["start", "task_1 pass 1", "task_2 ?"],
        ),
        (
            "an outcome of another task is not this one's",
            vec![start(1), id("a"), outcome_of("b", true), start(2)],
            vec!["start", "a ?"],
        ),
        (
            "a late outcome of the task before is not this one's",
            vec![start(1), id("a"), start(2), outcome_of("a", false), start(3)],
            vec!["start", "a ?", "task_2 ?"],
        ),
        (
            "an outcome names the task that has no id",
            vec![start(1), outcome_of("a", true), start(2)],
            vec!["start", "a pass"],
        ),
        (
            "an outcome may name the title",
            vec![titled("t"), id("a"), outcome_of("t", true), start(2)],
            vec!["start", "a pass"],
        ),
        (
            "the last outcome holds",
            vec![start(1), outcome(true), outcome(false), start(2)],
            vec!["start", "task_1 fail"],
        ),
        (
            "a verdict closes nothing",
            vec![titled("chrome"), example("x"), verdict(1.0), end_of("chrome/x")],
            vec!["start", "chrome/x pass 1"],
        ),
        (
            "a verdict below one is a failure",
            vec![titled("chrome"), example("x"), verdict(0.99), end_of("chrome/x")],
            vec!["start", "chrome/x fail 0.99"],
        ),
        (
            "a verdict is no outcome that a score would complete",
            vec![titled("chrome"), verdict(1.0), score(1.0), outcome(true)],
            vec!["start", "chrome pass 1"],
        ),
        (
            "an example without its domain's line gets its full id at its end",
            vec![example("x"), verdict(0.0), end_of("chrome/x"), titled("chrome")],
            vec!["start", "chrome/x fail 0"],
        ),
        (
            "the same example again is no other",
            vec![titled("chrome"), example("x"), example("x"), example("y")],
            vec!["start", "chrome/x ?"],
        ),
        ("the end of another task is ignored", vec![start(1), id("a"), end_of("b")], vec!["start"]),
        (
            "an end names the task that has no id, and says how it went",
            vec![start(1), FactKind::TaskEnd { task: Some("a".to_owned()), success: Some(false) }],
            vec!["start", "a fail"],
        ),
        (
            "a number that does not increase opens the next run",
            vec![start(1), start(2), start(2), start(1)],
            vec![
                "start",
                "task_1 ?",
                "task_2 ?",
                "end NextRun 2/0/0/2",
                "start",
                "task_2 ?",
                "end NextRun 1/0/0/1",
                "start",
            ],
        ),
        ("numbers may jump", vec![named(3, "a"), named(9, "b")], vec!["start", "a ?"]),
        (
            "absurd numbers are only numbers",
            vec![verdict(f64::NAN), start(u64::MAX), score(f64::INFINITY), start(0)],
            vec!["start", &"task_18446744073709551615 ?", "end NextRun 1/0/0/1", "start"],
        ),
    ];
    for (name, kinds, expected) in table {
        assert_eq!(tells(kinds), expected, "{name}");
    }
}

#[test]
fn each_worker_has_its_own_task_in_one_run() {
    let mut lab = Lab::new();
    let kinds = vec![
        ("a", start(1)),
        ("b", start(2)),
        ("a", id("one")),
        ("b", id("two")),
        ("b", outcome(false)),
        ("a", outcome(true)),
        ("a", FactKind::Score(1.0)),
        ("a", start(3)),
        ("c", outcome(true)),
        // The next run begins with the worker whose number falls; it closes all, in the order of their beginning.
        ("a", start(1)),
        ("b", start(2)),
    ];
    let seen = ready(present(1), vec![read_of(LOG, vec![part_of(LOG, 1, 0, kinds)])]);
    let changes = of_runs(lab.poll(seen));
    assert_eq!(told(&changes), ["start", "one pass 1", "two fail", "task_3 ?", "end NextRun 3/1/1/1", "start"]);
    let keys = keys(&changes);
    assert_eq!(keys.len(), 3);
    assert!(keys[1] != keys[2], "one line closed both, in one run: {keys:?}");
    let view = lab.tracker.view().expect("a report was made");
    assert_eq!(view.progress[0].current.as_ref().map(|task| task.task_id.as_str()), Some("task_2"));
}

#[test]
fn each_log_has_its_own_runs() {
    let (a, b) = ("/tmp/a.log", "/tmp/b.log");
    let mut lab = Lab::with_sources(&[a, b]);
    let part = |path, kinds: Vec<FactKind>| part_of(path, 1, 0, kinds.into_iter().map(|kind| ("", kind)).collect());
    let logs = vec![
        read_of(b, vec![part(b, vec![start(1), start(2)])]),
        read_of(a, vec![part(a, vec![start(1)])]),
        read_of("/tmp/unknown.log", vec![part("/tmp/unknown.log", vec![start(1)])]),
    ];
    let changes = of_runs(lab.poll(ready(present(1), logs)));
    assert_eq!(told(&changes), ["start", "start", "task_1 ?"]);
    let view = lab.tracker.view().expect("a report was made");
    let sources: Vec<_> = view.progress.iter().map(|run| (run.source.as_str(), run.task_number)).collect();
    assert_eq!(sources, [(a, 1), (b, 2)]);
    assert!(view.progress[0].run != view.progress[1].run);
    lab.poll(ready(absent(), vec![read_of(a, vec![]), read_of(b, vec![])]));
    let changes = lab.poll(ready(absent(), vec![read_of(a, vec![]), read_of(b, vec![])]));
    assert_eq!(reasons(&changes), [RunEndReason::ProcessEnded; 2]);
}

/// The runs that begin in one log of one VM, read when the clock shows `now`.
fn run_ids(vm: &str, path: &str, generation: u64, line: u64, now: f64) -> Vec<String> {
    let config = TrackerConfig { total_tasks: None, sources: vec![path.into()], has_power: false };
    let mut tracker = Tracker::new(VmId::from_journal(vm), config);
    let kinds = vec![("", start(1)), ("", id("a")), ("", start(1))];
    let log = read_of(path, vec![part_of(path, generation, line, kinds)]);
    let steps = tracker.apply(&answer(ready(present(1), vec![log])), Timestamp(now));
    let changes = steps.into_iter().flat_map(|step| step.changes);
    let id = |change| if let Change::RunStarted { run, .. } = change { Some(run.as_str().to_owned()) } else { None };
    changes.filter_map(id).collect()
}

#[test]
fn the_id_of_a_run_follows_from_vm_log_generation_and_offset_alone() {
    let ids = run_ids("vm-1", LOG, 1, 0, 1.0);
    assert!(ids.len() == 2 && ids[0] != ids[1], "two offsets: {ids:?}");
    assert!(ids.iter().all(|id| id.len() == 12 && id.bytes().all(|b| b.is_ascii_hexdigit())), "{ids:?}");
    assert_eq!(run_ids("vm-1", LOG, 1, 0, 99.0), ids, "not from when it was seen");
    for other in [
        run_ids("vm-2", LOG, 1, 0, 1.0),
        run_ids("vm-1", "/tmp/other.log", 1, 0, 1.0),
        run_ids("vm-1", LOG, 2, 0, 1.0),
        run_ids("vm-1", LOG, 1, 5, 1.0),
    ] {
        assert!(other.len() == 2 && other.iter().all(|id| !ids.contains(id)), "{other:?} and {ids:?}");
    }
}

#[test]
fn a_new_file_opens_a_run_with_its_first_start_and_closes_nothing_by_itself() {
    let mut lab = Lab::new();
    lab.poll(ready(present(1), lines(0, vec![start(1), id("a")])));
    let kinds = vec![("", FactKind::Step { number: 4, action: None }), ("", outcome(true)), ("", FactKind::Total(7))];
    let next = part_of(LOG, 2, 0, kinds);
    assert_eq!(told(&lab.poll(ready(present(1), vec![read_of(LOG, vec![next])]))), [""; 0]);
    let next = part_of(LOG, 2, 3, vec![("", titled("b"))]);
    let changes = lab.poll(ready(present(1), vec![read_of(LOG, vec![next])]));
    assert_eq!(told(&changes), ["a pass", "end LogReplaced 1/1/0/0", "start"]);
    assert!(matches!(&changes[0], Change::TaskCompleted { steps: Some(4), duration: Some(_), .. }), "{changes:?}");
    assert!(matches!(&changes[2], Change::RunStarted { total_tasks: Some(7), .. }), "{changes:?}");
}

#[test]
fn a_log_already_finished_at_first_contact_is_history() {
    let mut lab = Lab::new();
    assert_eq!(
        told(&lab.poll(ready(absent(), lines(0, vec![start(1), outcome(true)])))),
        ["start historic", "-> ready"]
    );
    let changes = lab.poll(ready(absent(), quiet()));
    assert_eq!(told(&changes), ["task_1 pass", "end ProcessEnded 1/1/0/0", "ready -> complete"]);
    assert!(matches!(&changes[0], Change::TaskCompleted { historic: true, .. }));
    assert!(matches!(&changes[1], Change::RunEnded { historic: true, .. }));
    // What comes behind the first size is news.
    assert_eq!(told(&lab.poll(ready(present(1), lines(2, vec![start(1)])))), ["start", "complete -> running"]);
}

#[test]
fn a_log_in_use_at_first_contact_is_news() {
    assert_eq!(told(&Lab::new().poll(ready(present(1), lines(0, vec![start(1)])))), ["start", "-> running"]);
    // Not there at first contact: everything in it is news.
    let mut lab = Lab::new();
    let missing = LogRead { exists: false, ..read_of(LOG, vec![]) };
    lab.poll(ready(absent(), vec![missing]));
    assert_eq!(told(&lab.poll(ready(absent(), lines(0, vec![start(1)])))), ["start"]);
}

#[test]
fn the_configured_total_overrules_the_log() {
    let config = TrackerConfig { total_tasks: Some(99), sources: vec![LOG.into()], has_power: false };
    let mut tracker = Tracker::new(vm_id(), config);
    let steps = tracker.apply(&answer(ready(present(1), lines(0, vec![start(1)]))), Timestamp(1.0));
    assert!(matches!(&steps[0].changes[0], Change::RunStarted { total_tasks: Some(99), .. }));
    assert_eq!(steps[0].view.progress[0].total_tasks, 99);
}

#[test]
fn a_line_that_closes_twice_gives_two_keys() {
    let log = read_of(
        LOG,
        vec![LogPart {
            facts: [
                start(1),
                titled("x"),
                outcome(true),
                FactKind::Score(1.0),
                titled("y"),
                FactKind::Score(0.0),
                outcome(false),
            ]
            .into_iter()
            .map(|kind| LogFact { offset: 0, worker: "".into(), log_time: None, kind })
            .collect(),
            cursor: LogCursor { generation: 1, offset: 10, ..LogCursor::start(LOG) },
        }],
    );
    let changes = Lab::new().poll(ready(present(1), vec![log]));
    let mut keys = keys(&changes);
    assert_eq!(keys.len(), 3);
    keys.dedup();
    assert_eq!(keys.len(), 3);
}

#[test]
fn the_state_stays_small_whatever_a_log_claims() {
    let mut lab = Lab::new();
    let long = "\"é".repeat(4000);
    let mut kinds = Vec::new();
    let names: Vec<String> = (0..100).map(|n| format!("{n:03}{long}")).collect();
    for name in &names {
        kinds.push((name.as_str(), titled(&long)));
        kinds.push((name, FactKind::TaskId(name.clone())));
        kinds.push((name, FactKind::Instruction(long.clone())));
        kinds.push((name, FactKind::Step { number: 1, action: Some(long.clone()) }));
    }
    let steps = lab.report(&answer(ready(present(1), vec![read_of(LOG, vec![part_of(LOG, 1, 0, kinds)])])));
    let largest = steps.iter().map(|step| step.state.len()).max();
    assert!(largest.is_some_and(|bytes| bytes < 100 * 1024), "{largest:?}");
    assert_eq!(lab.codes(), ["log_format"]);
    let open = lab.tracker.state.sources[0].run.as_ref().map(|run| run.workers.len());
    assert_eq!(open, Some(64));
}
