//! Every transition between stages.

use super::*;

const NET: ErrorCode = ErrorCode::SshTimeout;

/// What one poll shows.
enum Sees {
    Answers(Box<Observation>),
    Fails(Option<Power>),
}
use Sees::{Answers, Fails};

fn answers(seen: Observation) -> Sees {
    Answers(Box::new(seen))
}

fn booting(marks: Vec<BootMark>) -> Sees {
    answers(Observation { boot: marks, ..up() })
}

fn with(container: ContainerSeen) -> Sees {
    answers(Observation { container, ..up() })
}

fn silent(process: Option<ProcessCheck>) -> Sees {
    answers(Observation { probe: ProbeReply::Silent, ..ready(process, Vec::new()) })
}

fn good(process: Option<ProcessCheck>) -> Sees {
    answers(ready(process, Vec::new()))
}

/// Plays `polls`; after each, the stage must be as given and a change must have been said exactly if it is news.
fn play(polls: Vec<(Sees, Option<Stage>)>) {
    let mut lab = Lab::new();
    let mut before = None;
    for (number, (sees, expected)) in polls.into_iter().enumerate() {
        let changes = match sees {
            Answers(seen) => lab.poll(*seen),
            Fails(power) => lab.fail(NET, power),
        };
        let stages: Vec<_> = changes
            .iter()
            .filter_map(|change| match change {
                Change::Stage { from, to } => Some((*from, *to)),
                _ => None,
            })
            .collect();
        match expected {
            Some(stage) if before != expected => assert_eq!(stages, [(before, stage)], "poll {number}"),
            _ => assert_eq!(stages, [], "poll {number}"),
        }
        if expected.is_some() {
            assert_eq!(lab.stage(), expected, "poll {number}");
        }
        before = expected;
    }
}

#[test]
fn the_boot_table_decides_from_the_top() {
    let percent = |percent, seconds_left| BootMark::Downloading { percent, seconds_left };
    let table: Vec<(Vec<BootMark>, Stage, f64)> = vec![
        (vec![], Stage::Starting, 0.0),
        (vec![percent(50.0, Some(30))], Stage::Downloading, 15.0),
        (vec![percent(100.0, None), BootMark::Extracting], Stage::Extracting, 35.0),
        (vec![BootMark::Configuring, percent(3.0, None)], Stage::Configuring, 50.0),
        (vec![BootMark::Building], Stage::Building, 60.0),
        (vec![BootMark::Booting, BootMark::LoginWait], Stage::Booting, 70.0),
        (vec![BootMark::WindowsStarted], Stage::Oobe, 80.0),
        (vec![BootMark::LoginWait, BootMark::WindowsStarted], Stage::Oobe, 85.0),
        (vec![percent(f64::NAN, None)], Stage::Downloading, 0.0),
        (vec![percent(1e300, None)], Stage::Downloading, 30.0),
    ];
    for (marks, stage, percent) in table {
        let mut lab = Lab::new();
        lab.poll(Observation { boot: marks.clone(), ..up() });
        let view = lab.tracker.view().expect("a report was made");
        assert_eq!((view.stage, view.boot_percent), (stage, percent), "{marks:?}");
    }
}

#[test]
fn boot_marks_are_gathered_until_the_container_starts_anew() {
    play(vec![
        (booting(vec![BootMark::Extracting]), Some(Stage::Extracting)),
        (booting(vec![]), Some(Stage::Extracting)),
        (booting(vec![BootMark::Booting]), Some(Stage::Booting)),
        (booting(vec![BootMark::WindowsStarted]), Some(Stage::Oobe)),
        (good(absent()), Some(Stage::Ready)),
        (
            answers(Observation { container: container("running", "t2"), boot: vec![BootMark::Building], ..up() }),
            Some(Stage::Building),
        ),
    ]);
}

#[test]
fn a_probe_that_answers_is_enough_for_ready() {
    play(vec![(answers(Observation { probe: answered(), ..up() }), Some(Stage::Ready))]);
}

#[test]
fn a_vm_without_container_or_probe_is_ready_when_it_answers() {
    let bare = |probe| answers(Observation { probe, ..Observation::empty(None) });
    play(vec![
        (bare(ProbeReply::NotConfigured), Some(Stage::Ready)),
        (bare(ProbeReply::Silent), Some(Stage::Ready)),
        (bare(ProbeReply::Silent), Some(Stage::Oobe)),
        (bare(answered()), Some(Stage::Ready)),
    ]);
}

#[test]
fn no_running_container_means_starting() {
    for gone in [
        ContainerSeen::Missing,
        container("exited", "t1"),
        container("created", ""),
        container("paused", "t1"),
        ContainerSeen::DockerUnavailable("no socket".to_owned()),
    ] {
        play(vec![(with(gone.clone()), Some(Stage::Starting))]);
        if !matches!(gone, ContainerSeen::DockerUnavailable(_)) {
            play(vec![(good(absent()), Some(Stage::Ready)), (with(gone), Some(Stage::Starting))]);
        }
    }
}

#[test]
fn docker_must_be_away_for_two_polls_to_count() {
    let away = || with(ContainerSeen::DockerUnavailable("no socket".to_owned()));
    play(vec![
        (good(present(1)), Some(Stage::Running)),
        (away(), Some(Stage::Running)),
        (good(present(1)), Some(Stage::Running)),
        (away(), Some(Stage::Running)),
        (away(), Some(Stage::Starting)),
        (good(absent()), Some(Stage::Running)),
        (good(absent()), Some(Stage::Complete)),
    ]);
}

#[test]
fn power_explains_silence_at_once() {
    play(vec![
        (Fails(Some(Power::Off)), Some(Stage::Off)),
        (Fails(Some(Power::Starting)), Some(Stage::Starting)),
        (Fails(Some(Power::On)), Some(Stage::Starting)),
        (good(absent()), Some(Stage::Ready)),
        (Fails(Some(Power::Stopping)), Some(Stage::Off)),
        (Fails(Some(Power::On)), Some(Stage::Starting)),
        (Fails(Some(Power::On)), Some(Stage::Starting)),
        (Fails(Some(Power::On)), Some(Stage::Starting)),
        (Fails(Some(Power::On)), Some(Stage::Starting)),
    ]);
    play(vec![(Fails(Some(Power::On)), Some(Stage::Starting))]);
}

#[test]
fn a_power_source_that_fails_once_changes_nothing() {
    play(vec![
        (Fails(Some(Power::Off)), Some(Stage::Off)),
        (Fails(None), Some(Stage::Off)),
        (Fails(Some(Power::Off)), Some(Stage::Off)),
        (Fails(None), Some(Stage::Off)),
        (Fails(None), Some(Stage::Off)),
        (Fails(None), Some(Stage::Unreachable)),
    ]);
}

#[test]
fn three_failed_polls_make_unreachable_and_one_answer_ends_it() {
    play(vec![
        (good(absent()), Some(Stage::Ready)),
        (Fails(None), Some(Stage::Ready)),
        (good(absent()), Some(Stage::Ready)),
        (Fails(None), Some(Stage::Ready)),
        (Fails(Some(Power::On)), Some(Stage::Ready)),
        (Fails(Some(Power::On)), Some(Stage::Unreachable)),
        (Fails(None), Some(Stage::Unreachable)),
        (good(absent()), Some(Stage::Ready)),
    ]);
    // A VM that never answered: the first that is said of it.
    play(vec![(Fails(None), None), (Fails(None), None), (Fails(None), Some(Stage::Unreachable))]);
}

#[test]
fn fifteen_seconds_of_failure_make_unreachable() {
    let mut lab = Lab::new();
    lab.interval = 15.0;
    lab.poll(ready(absent(), Vec::new()));
    assert_eq!(told(&lab.fail(NET, None)), [""; 0]);
    assert_eq!(told(&lab.fail(NET, None)), ["ready -> unreachable"]);
}

#[test]
fn a_process_means_running_whatever_the_probe_says() {
    play(vec![
        (silent(present(1)), Some(Stage::Running)),
        (silent(present(1)), Some(Stage::Running)),
        (silent(present(1)), Some(Stage::Running)),
        // Its end needs two polls; a check that fails says nothing.
        (silent(absent()), Some(Stage::Running)),
        (silent(check_failed()), Some(Stage::Running)),
        (silent(absent()), Some(Stage::Running)),
        (good(absent()), Some(Stage::Complete)),
        (good(absent()), Some(Stage::Complete)),
        (silent(absent()), Some(Stage::Complete)),
        (silent(absent()), Some(Stage::Oobe)),
        (good(absent()), Some(Stage::Ready)),
        (good(present(2)), Some(Stage::Running)),
    ]);
}

#[test]
fn complete_ends_with_its_container() {
    play(vec![
        (good(present(1)), Some(Stage::Running)),
        (good(absent()), Some(Stage::Running)),
        (good(absent()), Some(Stage::Complete)),
        (
            answers(Observation { container: container("running", "t2"), ..ready(absent(), Vec::new()) }),
            Some(Stage::Ready),
        ),
    ]);
}

#[test]
fn ready_bears_one_silent_probe() {
    play(vec![
        (good(absent()), Some(Stage::Ready)),
        (silent(absent()), Some(Stage::Ready)),
        (good(absent()), Some(Stage::Ready)),
        (silent(absent()), Some(Stage::Ready)),
        (silent(absent()), Some(Stage::Oobe)),
    ]);
    let mut lab = Lab::new();
    lab.poll(ready(absent(), Vec::new()));
    lab.poll(Observation { probe: ProbeReply::Silent, ..ready(absent(), Vec::new()) });
    assert_eq!(lab.tracker.view().map(|view| view.waa_ready), Some(false));
}

#[test]
fn a_removed_vm_ends_its_runs_once_and_may_come_back() {
    let mut lab = Lab::new();
    lab.poll(ready(present(1), lines(0, vec![start(1)])));
    let steps = lab.tracker.remove(Timestamp(lab.now));
    let changes: Vec<_> = steps.iter().flat_map(|step| step.changes.clone()).collect();
    assert_eq!(told(&changes), ["task_1 ?", "end Removed 1/0/0/1", "running -> removed"]);
    assert_eq!(steps.last().map(|step| step.view.stage), Some(Stage::Removed));
    assert_eq!(lab.tracker.remove(Timestamp(lab.now)), []);
    assert_eq!(told(&lab.poll(ready(absent(), quiet()))), ["removed -> ready"]);
    // Never polled: still removed.
    let told: Vec<_> = Lab::new().tracker.remove(Timestamp(1.0)).iter().flat_map(|step| told(&step.changes)).collect();
    assert_eq!(told, ["-> removed"]);
}

#[test]
fn a_vm_that_is_on_but_never_answers_is_unreachable_in_the_end() {
    let mut lab = Lab { interval: 60.0, ..Lab::new() };
    let mut stages = Vec::new();
    for _ in 0..8 {
        lab.fail(NET, Some(Power::On));
        stages.push(lab.stage());
    }
    assert_eq!((stages[0], stages[4]), (Some(Stage::Starting), Some(Stage::Starting)));
    assert_eq!((stages[5], stages[7]), (Some(Stage::Unreachable), Some(Stage::Unreachable)));
}

#[test]
fn the_latest_stages_are_remembered_and_no_more_of_them_than_fit() {
    let mut lab = Lab::new();
    let view = |lab: &Lab| lab.tracker.view().expect("a view");
    lab.poll(ready(absent(), vec![]));
    assert_eq!(view(&lab).stages, [(view(&lab).stage, view(&lab).stage_since)]);
    for _ in 0..40 {
        for _ in 0..4 {
            lab.fail(NET, None);
        }
        lab.poll(ready(absent(), vec![]));
    }
    let stages = view(&lab).stages;
    assert_eq!(stages.len(), 24);
    assert!(stages.windows(2).all(|pair| pair[0].1 <= pair[1].1 && pair[0].0 != pair[1].0), "{stages:?}");
}
