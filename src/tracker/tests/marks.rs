//! Run-end marks: who makes them, who does not, and where they stand.

use super::*;

/// A lab whose run has one open task `a` at line 0 and 1, process 1.
fn running() -> Lab {
    let mut lab = Lab::new();
    lab.poll(ready(present(1), lines(0, vec![start(1), id("a")])));
    lab.poll(ready(present(1), quiet()));
    lab
}

fn runs(lab: &mut Lab, seen: Observation) -> Vec<String> {
    told(&of_runs(lab.poll(seen)))
}

const ENDED: [&str; 2] = ["a ?", "end ProcessEnded 1/0/0/1"];
const NONE: [&str; 0] = [];

#[test]
fn two_polls_without_a_process_end_a_run() {
    let mut lab = running();
    assert_eq!(runs(&mut lab, ready(absent(), quiet())), NONE);
    assert_eq!(runs(&mut lab, ready(absent(), quiet())), ENDED);
    assert_eq!(runs(&mut lab, ready(absent(), quiet())), NONE);
}

#[test]
fn what_breaks_the_row_of_absences() {
    let breaks: [fn(&mut Lab); 4] = [
        |lab| drop(lab.fail(ErrorCode::SshTimeout, None)),
        |lab| drop(lab.poll(ready(check_failed(), quiet()))),
        |lab| drop(lab.poll(ready(present(1), quiet()))),
        |lab| {
            let container = ContainerSeen::DockerUnavailable("no socket".to_owned());
            drop(lab.poll(Observation { container, ..ready(check_failed(), quiet()) }));
        },
    ];
    for (number, breaks) in breaks.into_iter().enumerate() {
        let mut lab = running();
        assert_eq!(runs(&mut lab, ready(absent(), quiet())), NONE);
        breaks(&mut lab);
        assert_eq!(runs(&mut lab, ready(absent(), quiet())), NONE, "{number}");
        assert_eq!(runs(&mut lab, ready(absent(), quiet())), ENDED, "{number}");
    }
    // A continuation neither counts nor breaks.
    let mut lab = running();
    let continuation = || Observation { continuation: true, process: None, ..ready(None, quiet()) };
    assert_eq!(runs(&mut lab, ready(absent(), quiet())), NONE);
    assert_eq!(runs(&mut lab, continuation()), NONE);
    assert_eq!(runs(&mut lab, ready(absent(), quiet())), ENDED);
}

#[test]
fn a_stopped_container_holds_no_process_and_a_paused_one_may() {
    for (state, ends) in [("exited", true), ("dead", true), ("paused", false)] {
        let mut lab = running();
        let stopped = || Observation { container: container(state, "t1"), ..ready(check_failed(), quiet()) };
        assert_eq!(runs(&mut lab, stopped()), NONE);
        let expected: &[&str] = if ends { &ENDED } else { &[] };
        assert_eq!(runs(&mut lab, stopped()), expected, "{state}");
    }
}

#[test]
fn the_log_must_be_read_to_its_end() {
    let mut lab = running();
    lab.poll(ready(absent(), quiet()));
    let behind = || vec![LogRead { unread: 5, ..read_of(LOG, vec![]) }];
    assert_eq!(runs(&mut lab, ready(absent(), behind())), NONE);
    assert_eq!(lab.stage(), Some(Stage::Running), "it waits for the log");
    assert_eq!(runs(&mut lab, ready(absent(), quiet())), ENDED);
    // Not a log that cannot be read, and the stage does not wait for ever.
    let mut lab = running();
    let problem = crate::model::LogProblem { code: ErrorCode::LogUnreadable, message: "denied".to_owned() };
    let denied = || vec![LogRead { problems: vec![problem.clone()], ..read_of(LOG, vec![]) }];
    for _ in 0..6 {
        assert_eq!(runs(&mut lab, ready(absent(), denied())), NONE);
    }
    assert_eq!(lab.stage(), Some(Stage::Ready));
    assert_eq!(runs(&mut lab, ready(absent(), quiet())), ENDED);
    assert_eq!(lab.stage(), Some(Stage::Complete));
}

#[test]
fn the_mark_takes_a_rest_that_stood_there_in_the_poll_before() {
    let rest = |line, kind| {
        let part = part_of(LOG, 1, line, vec![("", kind)]);
        vec![LogRead { rest: Some(part), ..read_of(LOG, vec![]) }]
    };
    let mut lab = running();
    assert_eq!(runs(&mut lab, ready(absent(), rest(2, outcome(true)))), NONE);
    assert_eq!(runs(&mut lab, ready(absent(), rest(2, outcome(true)))), ["a pass", "end ProcessEnded 1/1/0/0"]);
    assert_eq!(lab.tracker.cursors()[0].offset, 3 * LINE);
    // One that is new or grows is waited for.
    let mut lab = running();
    assert_eq!(runs(&mut lab, ready(absent(), quiet())), NONE);
    assert_eq!(runs(&mut lab, ready(absent(), rest(2, outcome(true)))), NONE);
    assert_eq!(runs(&mut lab, ready(absent(), rest(3, outcome(false)))), NONE);
    assert_eq!(runs(&mut lab, ready(absent(), rest(3, outcome(false)))), ["a fail", "end ProcessEnded 1/0/1/0"]);
}

#[test]
fn a_replaced_process_ends_the_run_where_the_new_one_begins() {
    let table: Vec<(&str, Vec<FactKind>, Vec<&str>)> = vec![
        ("nothing new: at the end", vec![], vec!["a ?", "end ProcessReplaced 1/0/0/1"]),
        ("no start: at the end", vec![outcome(true)], vec!["a pass", "end ProcessReplaced 1/1/0/0"]),
        (
            "before the first start",
            vec![outcome(true), titled("x"), titled("y")],
            vec!["a pass", "end ProcessReplaced 1/1/0/0", "start", "x ?"],
        ),
        (
            "rather before the start whose number does not increase",
            vec![start(2), outcome(false), start(1), start(2)],
            vec!["a ?", "task_2 fail", "end ProcessReplaced 2/0/1/1", "start", "task_1 ?"],
        ),
    ];
    for (name, kinds, expected) in table {
        let mut lab = running();
        assert_eq!(runs(&mut lab, ready(present(2), lines(2, kinds))), expected, "{name}");
        assert_eq!(runs(&mut lab, ready(present(2), quiet())), NONE, "{name}");
    }
}

#[test]
fn a_replaced_container_marks_and_its_first_process_does_not_mark_again() {
    let mut lab = running();
    let anew = |process, logs| Observation { container: container("running", "t2"), ..ready(process, logs) };
    let changes = lab.poll(anew(absent(), quiet()));
    assert_eq!(told(&changes), ["a ?", "end ContainerReplaced 1/0/0/1", "running -> ready"]);
    assert_eq!(runs(&mut lab, anew(present(2), lines(2, vec![start(1)]))), ["start"]);
    assert_eq!(runs(&mut lab, anew(present(2), quiet())), NONE);
}

#[test]
fn a_mark_waits_for_the_rest_of_a_long_log() {
    let mut lab = running();
    let mut logs = lines(2, vec![start(2)]);
    logs[0].unread = 100;
    assert_eq!(runs(&mut lab, ready(present(2), logs)), ["a ?"]);
    let continuation =
        Observation { continuation: true, process: None, ..ready(None, lines(3, vec![outcome(true), start(1)])) };
    assert_eq!(runs(&mut lab, continuation), ["task_2 pass", "end ProcessReplaced 2/1/0/1", "start"]);
}

#[test]
fn a_run_that_a_new_process_opened_before_it_was_sampled_is_its_own() {
    let mut lab = running();
    assert_eq!(runs(&mut lab, ready(present(1), lines(2, vec![start(1)]))), ["a ?", "end NextRun 1/0/0/1", "start"]);
    assert_eq!(runs(&mut lab, ready(present(2), quiet())), NONE);
    // Likewise behind two polls without a process.
    let mut lab = running();
    lab.poll(ready(absent(), quiet()));
    assert_eq!(runs(&mut lab, ready(absent(), lines(2, vec![start(1)]))), ["a ?", "end NextRun 1/0/0/1", "start"]);
    assert_eq!(runs(&mut lab, ready(present(2), quiet())), NONE);
    assert!(lab.tracker.view().is_some_and(|view| view.progress[0].open));
}

#[test]
fn a_log_taken_out_of_the_configuration_ends_its_run() {
    let lab = running();
    let config = TrackerConfig { total_tasks: None, sources: vec!["/tmp/other.log".into()], has_power: true };
    let mut tracker = Tracker::restore(vm_id(), config, &lab.tracker.state_json()).expect("its own state");
    assert_eq!(tracker.cursors(), [LogCursor::start("/tmp/other.log")]);
    let steps = tracker.apply(&answer(ready(present(1), Vec::new())), Timestamp(2000.0));
    assert_eq!(told(&steps[0].changes), ["a ?", "end Removed 1/0/0/1"]);
}

#[test]
fn a_log_that_is_configured_again_is_read_on_and_not_anew() {
    let lab = running();
    let of = |paths: &[&str]| TrackerConfig {
        total_tasks: None,
        sources: paths.iter().map(|path| (*path).into()).collect(),
        has_power: true,
    };
    let before = lab.tracker.cursors();
    assert!(before[0].offset > 0);
    let mut state = lab.tracker.state_json();
    // Twenty others come and go meanwhile; the restarts between them change nothing.
    for (n, other) in (0..20).map(|n| (n, format!("/tmp/other-{n}.log"))) {
        let mut tracker = Tracker::restore(vm_id(), of(&[&other]), &state).expect("its own state");
        let steps = tracker.apply(&answer(ready(present(1), Vec::new())), Timestamp(2000.0 + f64::from(n)));
        assert_eq!(steps.iter().any(|step| !step.changes.is_empty()), n == 0, "its run ends once");
        state = tracker.state_json();
        let again = Tracker::restore(vm_id(), of(&[&before[0].path]), &state).expect("its own state");
        let kept = again.cursors() == before;
        assert_eq!(kept, n < 16, "{n}: the newest sixteen are kept");
    }
    let mut tracker = Tracker::restore(vm_id(), of(&["/tmp/one.log", "/tmp/two.log"]), &state).expect("its own state");
    tracker.remove(Timestamp(3000.0));
    assert_eq!(
        Tracker::restore(vm_id(), of(&["/tmp/two.log"]), &tracker.state_json()).expect("as before").cursors().len(),
        1
    );
}

#[test]
fn the_same_pid_with_another_start_is_another_process() {
    let mut lab = Lab::new();
    let seen = |ticks: u64| Some(ProcessCheck::Present(ProcessSeen { pid: 7, start_ticks: ticks }));
    lab.poll(ready(seen(100), lines(0, vec![start(1)])));
    lab.poll(ready(seen(100), quiet()));
    let changes = lab.poll(ready(seen(200), quiet()));
    assert_eq!(reasons(&changes), [RunEndReason::ProcessReplaced]);
}

#[test]
fn a_process_that_is_replaced_right_after_its_first_task_ends_its_run() {
    let mut lab = Lab::new();
    lab.poll(ready(present(7), lines(0, vec![titled("chrome")])));
    let changes = lab.poll(ready(present(8), lines(100, vec![titled("chrome")])));
    assert_eq!(reasons(&changes), [RunEndReason::ProcessReplaced]);
}
