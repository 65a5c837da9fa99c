//! What holds for any log, cut into any polls.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

/// What a log and its process do, one after the other.
#[derive(Clone, Debug)]
enum Act {
    /// A worker writes a line.
    Line(&'static str, FactKind),
    /// Another file takes the path.
    NewFile,
    /// No process runs for two polls.
    Gone,
}

/// How the acts are cut: what happens between two of them.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cut {
    /// They are read together.
    None,
    /// A part ends.
    Part,
    /// A poll ends.
    Poll,
    /// A poll ends and its logs are read on at once.
    Continuation,
    /// A poll ends, and the next one fails.
    Failure,
    /// A poll ends, and another tracker goes on from the state.
    Restored,
}

fn kind() -> impl Strategy<Value = FactKind> {
    let name = || select(vec!["a", "b", "c", "chrome/a"]).prop_map(str::to_owned);
    let number = prop::option::of(1..6_u64);
    prop_oneof![
        3 => (number, prop::option::of(name()), prop::option::of(name()))
            .prop_map(|(number, id, title)| FactKind::TaskStart { number, total: Some(9), id, title }),
        2 => name().prop_map(FactKind::TaskId),
        1 => name().prop_map(FactKind::ExampleId),
        1 => (1..9_u64).prop_map(|number| FactKind::Step { number, action: None }),
        3 => (prop::option::of(name()), any::<bool>()).prop_map(|(task, success)| FactKind::Outcome { task, success }),
        2 => (0..5_u8).prop_map(|score| FactKind::Score(f64::from(score) / 4.0)),
        1 => (0..5_u8).prop_map(|score| FactKind::Verdict(f64::from(score) / 4.0)),
        1 => prop::option::of(name()).prop_map(|task| FactKind::TaskEnd { task, success: None }),
        1 => name().prop_map(FactKind::Model),
        1 => (1..50_u64).prop_map(FactKind::Total),
    ]
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        30 => (select(vec!["", "w1", "w2"]), kind()).prop_map(|(worker, kind)| Act::Line(worker, kind)),
        1 => Just(Act::NewFile),
        2 => Just(Act::Gone),
    ];
    vec(act, 1..60)
}

fn cuts() -> impl Strategy<Value = Vec<Cut>> {
    let cut = select(vec![Cut::None, Cut::None, Cut::Part, Cut::Poll, Cut::Continuation, Cut::Failure, Cut::Restored]);
    vec(cut, 60)
}

/// Plays acts as reports, cut as told.
struct Player {
    lab: Lab,
    parts: Vec<LogPart>,
    open_part: bool,
    generation: u64,
    line: u64,
    changes: Vec<Change>,
    continues: bool,
}

impl Player {
    fn new() -> Self {
        Self {
            lab: Lab::new(),
            parts: Vec::new(),
            open_part: false,
            generation: 1,
            line: 0,
            changes: Vec::new(),
            continues: false,
        }
    }

    fn play(mut self, acts: &[Act], cuts: &[Cut]) -> Vec<Change> {
        self.lab.poll(ready(present(1), vec![LogRead { exists: false, ..read_of(LOG, vec![]) }]));
        for (act, cut) in acts.iter().zip(cuts) {
            match act {
                Act::Line(worker, kind) => self.line(worker, kind),
                Act::NewFile => {
                    (self.generation, self.line, self.open_part) = (self.generation + 1, 0, false);
                }
                Act::Gone => {
                    self.flush(absent());
                    self.flush(absent());
                    self.continues = false;
                }
            }
            match cut {
                Cut::None => {}
                Cut::Part => self.open_part = false,
                Cut::Poll => self.flush(present(1)),
                Cut::Continuation => {
                    self.flush(present(1));
                    self.continues = true;
                }
                Cut::Failure => {
                    self.flush(present(1));
                    self.lab.fail(ErrorCode::SshTimeout, None);
                    self.continues = false;
                }
                Cut::Restored => {
                    self.flush(present(1));
                    let (config, state) = (self.lab.tracker.config.clone(), self.lab.tracker.state_json());
                    self.lab.tracker = Tracker::restore(vm_id(), config, &state).expect("its own state");
                    assert_eq!(self.lab.tracker.state_json(), state);
                }
            }
        }
        self.flush(absent());
        self.flush(absent());
        self.changes
    }

    fn line(&mut self, worker: &str, kind: &FactKind) {
        let part = part_of(LOG, self.generation, self.line, vec![(worker, kind.clone())]);
        self.line += 1;
        match self.parts.last_mut() {
            Some(last) if self.open_part => {
                last.facts.extend(part.facts);
                last.cursor = part.cursor;
            }
            _ => self.parts.push(part),
        }
        self.open_part = true;
    }

    fn flush(&mut self, process: Option<ProcessCheck>) {
        let parts = std::mem::take(&mut self.parts);
        self.open_part = false;
        let logs = vec![read_of(LOG, parts)];
        let gone = process == absent();
        let seen = if self.continues && !gone {
            self.continues = false;
            Observation { continuation: true, process: None, logs, ..Observation::empty(None) }
        } else {
            ready(process, logs)
        };
        let changes = self.lab.poll(seen);
        self.changes.extend(of_runs(changes));
    }
}

/// Without what depends on when it was seen.
fn timeless(mut changes: Vec<Change>) -> Vec<Change> {
    for change in &mut changes {
        if let Change::TaskCompleted { duration, .. } = change {
            *duration = None;
        }
    }
    changes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_same_bytes_and_marks_give_the_same_changes_however_they_are_cut(acts in acts(), cuts in cuts()) {
        let whole = timeless(Player::new().play(&acts, &[Cut::None; 60]));
        let single = timeless(Player::new().play(&acts, &[Cut::Poll; 60]));
        let cut = timeless(Player::new().play(&acts, &cuts));
        prop_assert_eq!(&whole, &single);
        prop_assert_eq!(&whole, &cut);

        let mut unique = keys(&whole);
        unique.sort_unstable();
        unique.dedup();
        prop_assert_eq!(unique.len(), keys(&whole).len(), "a completion was said twice");
    }

    #[test]
    fn runs_open_and_end_in_turn_and_count_their_completions(acts in acts(), cuts in cuts()) {
        let mut open: Option<(String, u64)> = None;
        for change in Player::new().play(&acts, &cuts) {
            match change {
                Change::RunStarted { run, .. } => {
                    prop_assert_eq!(&open, &None);
                    open = Some((run.to_string(), 0));
                }
                Change::TaskCompleted { run, key, .. } => {
                    let Some((id, count)) = &mut open else { return Err(TestCaseError::fail("no run is open")) };
                    prop_assert_eq!(&*id, run.as_str());
                    prop_assert!(key.starts_with(run.as_str()));
                    *count += 1;
                }
                Change::RunEnded { run, completed, passed, failed, unknown, .. } => {
                    prop_assert_eq!(open.take(), Some((run.to_string(), completed)));
                    prop_assert_eq!(completed, passed + failed + unknown);
                }
                Change::Stage { .. } => {}
            }
        }
        prop_assert_eq!(open, None, "the process is gone");
    }

    #[test]
    fn a_tracker_restored_from_any_step_says_the_rest(acts in acts(), stop in 0_usize..40) {
        let (reports, whole) = as_reports(&acts);
        let mut lab = Lab::new();
        let (mut said, mut left) = (Vec::new(), stop);
        let mut queue: std::collections::VecDeque<Observation> = reports.into();
        while let Some(seen) = queue.pop_front() {
            for step in lab.report(&answer(seen.clone())) {
                said.extend(step.changes.clone());
                if left == 0 {
                    // The process dies behind this commit: what the step's cursors have not passed is read again.
                    let config = lab.tracker.config.clone();
                    lab.tracker = Tracker::restore(vm_id(), config, &step.state).expect("its own state");
                    queue.push_front(unread(seen, &step.cursors[0]));
                    left = usize::MAX;
                    break;
                }
                left = left.saturating_sub(1);
            }
        }
        prop_assert_eq!(timeless(of_runs(said)), timeless(whole));
    }

    #[test]
    fn no_report_makes_it_panic(reports in vec(report(), 1..40)) {
        let mut lab = Lab::with_sources(&[LOG, "/tmp/b.log"]);
        for report in reports {
            lab.report(&report);
            let state = lab.tracker.state_json();
            let config = lab.tracker.config.clone();
            let again = Tracker::restore(vm_id(), config, &state).expect("its own state");
            prop_assert_eq!(again.view(), lab.tracker.view());
            prop_assert_eq!(again.cursors(), lab.tracker.cursors());
            prop_assert_eq!(again.state_json(), state);
        }
        lab.tracker.remove(Timestamp(0.0));
    }
}

/// Acts as reports of a few lines, one part each; and all that they make a tracker say of runs.
fn as_reports(acts: &[Act]) -> (Vec<Observation>, Vec<Change>) {
    let mut reports = Vec::new();
    let (mut generation, mut line) = (1, 0);
    let mut parts = Vec::new();
    for act in acts {
        match act {
            Act::Line(worker, kind) => {
                parts.push(part_of(LOG, generation, line, vec![(worker, kind.clone())]));
                line += 1;
            }
            Act::NewFile => (generation, line) = (generation + 1, 0),
            Act::Gone => {
                reports.push(ready(absent(), vec![read_of(LOG, std::mem::take(&mut parts))]));
                reports.push(ready(absent(), quiet()));
                reports.push(ready(absent(), quiet()));
            }
        }
        if parts.len() == 7 {
            reports.push(ready(present(1), vec![read_of(LOG, std::mem::take(&mut parts))]));
        }
    }
    reports.push(ready(absent(), vec![read_of(LOG, parts)]));
    reports.extend([ready(absent(), quiet()), ready(absent(), quiet()), ready(absent(), quiet())]);
    let mut lab = Lab::new();
    let whole = reports.iter().flat_map(|seen| lab.poll(seen.clone())).collect();
    (reports, of_runs(whole))
}

/// The same report with the parts that `cursor` has not passed.
fn unread(mut seen: Observation, cursor: &LogCursor) -> Observation {
    let place = |cursor: &LogCursor| (cursor.generation, cursor.offset);
    for log in &mut seen.logs {
        log.parts.retain(|part| place(&part.cursor) > place(cursor));
    }
    seen
}

fn report() -> impl Strategy<Value = Report> {
    let power = select(vec![None, Some(Power::On), Some(Power::Starting), Some(Power::Stopping), Some(Power::Off)]);
    let code = select(ErrorCode::ALL.to_vec());
    let failure = (code, power).prop_map(|(code, power)| {
        let failure = PollFailure::new(code, "x".repeat(600));
        Report { power, power_failure: Some(failure.clone()), ..Report::failed(1, Duration::ZERO, failure) }
    });
    prop_oneof![1 => failure, 3 => observation().prop_map(answer)]
}

fn observation() -> impl Strategy<Value = Observation> {
    let container = select(vec![
        ContainerSeen::NotConfigured,
        ContainerSeen::Missing,
        ContainerSeen::DockerUnavailable("x".to_owned()),
        container("running", "t1"),
        container("running", "t2"),
        container("exited", "t1"),
        container("paused", "t1"),
    ]);
    let process = select(vec![None, absent(), check_failed(), present(1), present(2)]);
    let probe = select(vec![ProbeReply::NotConfigured, ProbeReply::Silent, answered()]);
    let mark = prop_oneof![
        any::<f64>().prop_map(|percent| BootMark::Downloading { percent, seconds_left: None }),
        Just(BootMark::WindowsStarted),
        ".{0,20}".prop_map(BootMark::SetupScript),
    ];
    let clock = prop::option::of(any::<f64>());
    let all = (container, process, probe, vec(mark, 0..3), clock, vec(log(), 0..3), any::<bool>(), ".{0,30}");
    all.prop_map(|(container, process, probe, boot, clock, logs, continuation, tail)| Observation {
        container,
        process,
        probe,
        boot,
        clock,
        logs,
        continuation,
        container_log_tail: tail,
        ..Observation::empty(None)
    })
}

fn log() -> impl Strategy<Value = LogRead> {
    let text = ".{0,300}";
    let any_kind = prop_oneof![
        kind(),
        any::<f64>().prop_map(FactKind::Score),
        any::<f64>().prop_map(FactKind::AverageScore),
        any::<u64>().prop_map(FactKind::Total),
        text.prop_map(FactKind::Instruction),
        (any::<u64>(), any::<u64>()).prop_map(|(number, total)| FactKind::TaskStart {
            number: Some(number),
            total: Some(total),
            id: None,
            title: None
        }),
    ];
    let fact = (any::<u64>(), ".{0,2}", any_kind).prop_map(|(offset, worker, kind)| LogFact {
        offset,
        worker: worker.into(),
        log_time: None,
        kind,
    });
    let part = (vec(fact, 0..8), 0..4_u64, any::<u64>()).prop_map(|(facts, generation, offset)| LogPart {
        facts,
        cursor: LogCursor { generation, offset, ..LogCursor::start(LOG) },
    });
    let source = select(vec![LOG, "/tmp/b.log", "/tmp/unknown.log"]);
    let code = select(vec![ErrorCode::LogGap, ErrorCode::LogFormat, ErrorCode::LogUnreadable]);
    let problems = vec(code.prop_map(|code| crate::model::LogProblem { code, message: "x".repeat(900) }), 0..2);
    let rest = prop::option::of(part.clone());
    (source, any::<u64>(), any::<bool>(), vec(part, 0..4), rest, 0..2_u64, problems).prop_map(
        |(source, size, exists, parts, rest, unread, problems)| LogRead {
            source: source.into(),
            size,
            exists,
            parts,
            rest,
            unread,
            text: None,
            problems,
        },
    )
}
