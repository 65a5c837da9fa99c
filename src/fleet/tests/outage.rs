//! A journal that does not commit stops neither polls nor live events, and nothing is lost, doubled or reordered.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::event::EventKind;
use crate::model::{
    ErrorCode, FactKind, LogCursor, LogFact, LogPart, LogRead, Observation, ProcessCheck, ProcessSeen, Report, Stage,
    Timestamp,
};

/// One poll of a log that grows: how many lines were written before it, and what the journal does then.
#[derive(Clone, Debug)]
struct Turn {
    lines: usize,
    /// How many of those become one part of the report.
    per_part: usize,
    mood: Mood,
    /// Whether the journal does not tell its last commit either.
    silent: bool,
    /// Whether the process ends behind this poll and another one goes on.
    restarts: bool,
}

fn kind() -> impl Strategy<Value = FactKind> {
    let start = |number| FactKind::TaskStart { number: Some(number), total: Some(9), id: None, title: None };
    prop_oneof![
        4 => (1..6_u64).prop_map(start),
        1 => select(vec!["a", "b"]).prop_map(|id| FactKind::TaskId(id.to_owned())),
        2 => any::<bool>().prop_map(|success| FactKind::Outcome { task: None, success }),
        2 => Just(FactKind::Score(0.5)),
        1 => Just(FactKind::TaskEnd { task: None, success: None }),
    ]
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let mood = prop_oneof![
        3 => Just(Mood::Works),
        2 => (0..3_usize).prop_map(|after| Mood::Refuses { after }),
        2 => (0..3_usize).prop_map(|after| Mood::Mumbles { after }),
        1 => Just(Mood::Hangs),
    ];
    let turn = (0..6_usize, 1..4_usize, mood, any::<bool>(), prop::bool::weighted(0.2));
    vec(
        turn.prop_map(|(lines, per_part, mood, silent, restarts)| Turn { lines, per_part, mood, silent, restarts }),
        1..30,
    )
}

/// The lines of two files that stood at the log's path one after the other.
struct Lines(Vec<(u64, u64, FactKind)>);

impl Lines {
    fn new(kinds: &[FactKind], second_from: usize) -> Self {
        let place = |line: usize| if line < second_from { (1, line) } else { (2, line - second_from) };
        let line = |(line, kind): (usize, &FactKind)| {
            let (generation, offset) = place(line);
            (generation, offset as u64 * 10, kind.clone())
        };
        Self(kinds.iter().enumerate().map(line).collect())
    }

    /// What a probe reads behind `cursor` when the first `written` lines are there.
    fn read(&self, cursor: &LogCursor, written: usize, per_part: usize) -> LogRead {
        let unread = self.0[..written]
            .iter()
            .filter(|(generation, offset, _)| (*generation, *offset) >= (cursor.generation, cursor.offset));
        let unread: Vec<_> = unread.collect();
        let parts = unread.chunk_by(|a, b| a.0 == b.0).flat_map(|file| file.chunks(per_part)).map(|lines| {
            let facts = lines.iter().map(|(_, offset, kind)| LogFact {
                offset: *offset,
                worker: "".into(),
                log_time: None,
                kind: kind.clone(),
            });
            let (generation, last, _) = lines[lines.len() - 1];
            let cursor = LogCursor { generation: *generation, offset: last + 10, ..LogCursor::start(LOG) };
            LogPart { facts: facts.collect(), cursor }
        });
        LogRead {
            source: LOG.into(),
            size: 10 * written as u64,
            exists: true,
            parts: parts.collect(),
            rest: None,
            unread: 0,
            text: None,
            problems: Vec::new(),
        }
    }
}

fn report(process: ProcessCheck, log: LogRead) -> Report {
    let seen = Observation { process: Some(process), logs: vec![log], ..Observation::empty(None) };
    Report { poll_no: 1, took: Duration::ZERO, power: None, power_failure: None, outcome: Ok(seen) }
}

fn present() -> ProcessCheck {
    ProcessCheck::Present(ProcessSeen { pid: 1, start_ticks: 1 })
}

/// What is told of a benchmark whose polls are cut as `turns` say; it ends when the journal works again.
async fn play(lines: &Lines, turns: &[Turn]) -> Vec<DurableEvent> {
    let (journal, metrics) = (Flaky::new(), Metrics::new().polls);
    let mut recorder = recorder(&journal, &metrics).await;
    let now = Timestamp(1000.0);
    let mut written = 0;
    for turn in turns {
        written = (written + turn.lines).min(lines.0.len());
        journal.set(turn.mood, turn.silent);
        recorder.settle().await.expect("its own state");
        let log = lines.read(&recorder.cursors()[0], written, turn.per_part);
        let taken = recorder.take(&report(present(), log), now).await.expect("its own state");
        // What a poll has seen is shown, whatever the journal does.
        assert_eq!(taken.view.expect("a view").stage, Stage::Running);
        if turn.restarts {
            journal.set(Mood::Works, false);
            recorder = super::recorder(&journal, &metrics).await;
        }
    }
    journal.set(Mood::Works, false);
    for process in [present(), present(), ProcessCheck::Absent, ProcessCheck::Absent, ProcessCheck::Absent] {
        recorder.settle().await.expect("its own state");
        let log = lines.read(&recorder.cursors()[0], lines.0.len(), 3);
        assert!(recorder.take(&report(process, log), now).await.expect("its own state").committed);
    }
    assert_eq!(metrics.uncommitted.get(), 0);
    let events = told(&journal).await;
    let last = journal.inner.last_commit(&events[0].vm_id).await.expect("memory").expect("there is one");
    assert!(last.commit.n >= 1);
    events
}

/// What is told of runs, without how long a task was watched: that depends on when it was seen.
fn of_runs(events: &[DurableEvent]) -> Vec<(EventKind, serde_json::Value)> {
    let runs = events.iter().filter(|event| event.kind != EventKind::Status);
    let data = |event: &DurableEvent| {
        let mut data: serde_json::Value = serde_json::from_str(&event.data).expect("JSON");
        data.as_object_mut().expect("an object").remove("duration");
        data
    };
    runs.map(|event| (event.kind, data(event))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn outages_of_the_journal_lose_double_and_reorder_nothing(
        kinds in vec(kind(), 1..60),
        share in 0.0..1.5_f64,
        turns in turns(),
    ) {
        let lines = Lines::new(&kinds, (share * kinds.len() as f64) as usize);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        let calm: Vec<_> = turns.iter().map(|turn| Turn { mood: Mood::Works, restarts: false, ..turn.clone() }).collect();
        let (with, without) = runtime.block_on(async { (play(&lines, &turns).await, play(&lines, &calm).await) });
        prop_assert_eq!(of_runs(&with), of_runs(&without));

        // Stages may collapse, but each begins where the one before it ended.
        let stages = with.iter().filter(|event| event.kind == EventKind::Status);
        let mut before = serde_json::Value::Null;
        for event in stages {
            let data: serde_json::Value = serde_json::from_str(&event.data).expect("JSON");
            prop_assert_eq!(&data["from"], &before, "{}", event.data);
            before = data["stage"].clone();
        }
        prop_assert_eq!(before, "complete");
    }
}

#[tokio::test(start_paused = true)]
async fn polls_and_live_events_go_on_while_the_journal_does_not_commit_and_all_is_told_when_it_does() {
    let journal = Flaky::new();
    journal.set(Mood::Refuses { after: 0 }, false);
    let mut lab = Lab::new(&journal);
    lab.fleet.add(running("a", "")).expect("watched");
    assert_eq!(lab.next().await.poll_no, 0);
    for poll in 1..=5 {
        let report = lab.next().await;
        assert_eq!((report.poll_no, report.after), (poll, Position::START));
        let view = report.view.expect("a view");
        assert_eq!((view.stage, view.progress.len()), (Stage::Running, 1), "what was just seen");
        assert_eq!(view.errors[0].code, ErrorCode::JournalFailed);
    }
    assert_eq!(told(&journal).await, []);
    assert_eq!((lab.metrics.uncommitted.get(), lab.metrics.journal_failures.get()), (1, 5));
    assert_eq!(lab.not_ready(), [], "the VM is served");

    journal.set(Mood::Works, false);
    let report = lab.next().await;
    let events = told(&journal).await;
    assert!(events.len() > 10, "{}", events.len());
    assert_eq!(report.after, journal.bounds().newest);
    assert_eq!(report.view.expect("a view").errors, []);
    assert_eq!(lab.metrics.uncommitted.get(), 0);
    lab.next().await;
    assert_eq!(told(&journal).await.len(), events.len(), "and once");
    lab.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_hangs_delays_a_poll_and_no_more() {
    let journal = Flaky::new();
    journal.set(Mood::Hangs, false);
    let mut lab = Lab::new(&journal);
    lab.fleet.add(running("a", "")).expect("watched");
    let begun = tokio::time::Instant::now();
    for _ in 0..4 {
        lab.next().await;
    }
    assert!(begun.elapsed() < Duration::from_secs(100), "{:?}", begun.elapsed());
    lab.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_removal_is_told_once_the_journal_is_back_and_not_waited_for_longer_than_its_bound() {
    let journal = Flaky::new();
    let mut lab = Lab::new(&journal);
    lab.fleet.add(running("a", "")).expect("watched");
    lab.fleet.add(running("b", "")).expect("watched");
    for _ in 0..4 {
        lab.next().await;
    }
    journal.set(Mood::Mumbles { after: 0 }, false);
    lab.fleet.remove(&name("a")).await;
    let removed = |events: &[DurableEvent], vm: &str| {
        let of = events.iter().filter(|event| event.vm.as_str() == vm && event.data.contains("\"stage\":\"removed\""));
        of.count()
    };
    assert_eq!(removed(&told(&journal).await, "a"), 1, "the answer was lost, not the commit");
    journal.set(Mood::Refuses { after: 0 }, false);
    let begun = tokio::time::Instant::now();
    lab.fleet.remove(&name("b")).await;
    assert!(begun.elapsed() < Duration::from_secs(6));
    assert_eq!(removed(&told(&journal).await, "b"), 0);
    lab.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_read_without_an_event_is_committed_before_too_much_would_be_read_again_and_once_a_day() {
    let (journal, metrics) = (Flaky::new(), Metrics::new().polls);
    let mut recorder = recorder(&journal, &metrics).await;
    let mib = 1 << 20;
    let read = |offset: u64| LogRead {
        size: offset,
        parts: vec![LogPart {
            facts: Vec::new(),
            cursor: LogCursor { generation: 1, offset, ..LogCursor::start(LOG) },
        }],
        ..Lines(Vec::new()).read(&LogCursor::start(LOG), 0, 1)
    };
    let mut offset = 0;
    let vm_id = journal.inner.vm_id(&name("a")).await.expect("an identity");
    for _ in 0..40 {
        offset += mib;
        recorder.take(&report(present(), read(offset)), Timestamp(1.0)).await.expect("its own state");
        let last = journal.inner.last_commit(&vm_id).await.expect("memory").expect("the stage, at least");
        assert!(offset - last.commit.cursors[0].offset <= 8 * mib);
        assert_eq!(recorder.after().seq, last.seq);
    }
    let before = journal.bounds();
    assert!((4..8).contains(&before.applied), "{before:?}");
    assert_eq!(told(&journal).await.len(), 1, "none of them has an event");

    for (hours, commits) in [(23, 0), (2, 1), (1, 1)] {
        tokio::time::advance(Duration::from_secs(hours * 3600)).await;
        recorder.take(&report(present(), read(offset)), Timestamp(1.0)).await.expect("its own state");
        assert_eq!(journal.bounds().applied - before.applied, commits, "after {hours} hours more");
    }
    let again = super::recorder(&journal, &metrics).await;
    assert_eq!(again.cursors()[0].offset, offset);
}

#[tokio::test(start_paused = true)]
async fn polls_that_bring_no_event_write_nothing() {
    let journal = Flaky::new();
    let mut lab = Lab::new(&journal);
    lab.fleet.add(running("a", "")).expect("watched");
    while lab.next().await.poll_no < 3 {}
    let before = journal.bounds();
    assert!(before.applied > 0, "the first polls had something to tell");
    // Less than a day of idle polls.
    while lab.next().await.poll_no < 500 {}
    assert_eq!(journal.bounds(), before);
    lab.stop().await;
}
