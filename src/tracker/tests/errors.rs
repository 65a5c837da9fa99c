//! When an error is in force, and what a state must be to be gone on from.

use super::super::StateError;
use super::*;
use crate::model::LogProblem;

const NO_CODES: [&str; 0] = [];

#[test]
fn a_failed_poll_is_an_error_from_the_second_on_until_an_answer() {
    let mut lab = Lab::new();
    lab.fail(ErrorCode::SshTimeout, None);
    assert_eq!(lab.codes(), NO_CODES);
    lab.fail(ErrorCode::SshTimeout, Some(Power::On));
    assert_eq!(lab.codes(), ["ssh_timeout"]);
    lab.fail(ErrorCode::SshLost, None);
    assert_eq!(lab.codes(), ["ssh_lost"]);
    lab.poll(up());
    assert_eq!(lab.codes(), NO_CODES);
}

#[test]
fn what_needs_a_person_is_an_error_at_once() {
    for code in [ErrorCode::HostKey, ErrorCode::SshAuth, ErrorCode::SshSetup] {
        let mut lab = Lab::new();
        lab.fail(code, None);
        assert_eq!(lab.codes(), [code.as_str()]);
        lab.fail(code, Some(Power::Off));
        assert_eq!(lab.codes(), NO_CODES, "what is off cannot answer");
    }
}

#[test]
fn a_vm_that_is_on_and_never_answers_is_an_error_though_it_is_starting() {
    let mut lab = Lab::new();
    lab.fail(ErrorCode::SshUnreachable, Some(Power::On));
    lab.fail(ErrorCode::SshUnreachable, Some(Power::On));
    assert_eq!((lab.stage(), lab.codes()), (Some(Stage::Starting), vec!["ssh_unreachable"]));
}

#[test]
fn containers_are_missed_only_once_they_were_there() {
    let missing = || Observation { container: ContainerSeen::Missing, ..up() };
    let away = || Observation { container: ContainerSeen::DockerUnavailable("gone".to_owned()), ..up() };
    let mut lab = Lab::new();
    lab.poll(missing());
    lab.poll(away());
    assert_eq!(lab.codes(), NO_CODES);
    lab.poll(up());
    lab.poll(missing());
    assert_eq!(lab.codes(), ["container_missing"]);
    lab.poll(away());
    assert_eq!(lab.codes(), ["docker_unavailable"]);
    for (state, code) in [("exited", true), ("dead", true), ("paused", true), ("created", false), ("restarting", false)]
    {
        lab.poll(Observation { container: container(state, "t1"), ..up() });
        assert_eq!(lab.codes(), if code { vec!["container_stopped"] } else { vec![] }, "{state}");
    }
}

#[test]
fn a_process_check_must_fail_twice() {
    let mut lab = Lab::new();
    lab.poll(ready(check_failed(), vec![]));
    assert_eq!(lab.codes(), NO_CODES);
    lab.poll(ready(check_failed(), vec![]));
    assert_eq!(lab.codes(), ["process_check"]);
    lab.poll(ready(absent(), vec![]));
    assert_eq!(lab.codes(), NO_CODES);
}

#[test]
fn log_errors_last_as_their_kind_does() {
    let problem = |code| LogProblem { code, message: "bad".to_owned() };
    let with = |problems| vec![LogRead { problems, ..read_of(LOG, vec![]) }];
    let mut lab = Lab::new();
    lab.poll(ready(absent(), with(vec![problem(ErrorCode::LogGap), problem(ErrorCode::LogUnreadable)])));
    assert_eq!(lab.codes(), ["log_unreadable", "log_gap"]);
    lab.poll(ready(absent(), quiet()));
    assert_eq!(lab.codes(), ["log_gap"]);
    lab.now += 590.0;
    lab.poll(ready(absent(), quiet()));
    assert_eq!(lab.codes(), ["log_gap"]);
    lab.now += 10.0;
    lab.poll(ready(absent(), quiet()));
    assert_eq!(lab.codes(), NO_CODES);
}

#[test]
fn a_power_source_that_fails_is_an_error_while_it_does() {
    let mut lab = Lab::new();
    let failure = PollFailure::new(ErrorCode::SshTimeout, "no answer");
    let mut report = Report::failed(1, Duration::ZERO, failure);
    report.power_failure = Some(PollFailure::new(ErrorCode::PowerFailed, "az: not found"));
    lab.report(&report);
    assert_eq!(lab.codes(), ["power_failed"]);
    lab.fail(ErrorCode::SshTimeout, Some(Power::Off));
    assert_eq!(lab.codes(), NO_CODES);
}

#[test]
fn a_state_of_another_version_is_refused() {
    let restore = |text: &str| Tracker::restore(vm_id(), TrackerConfig::default(), text).map(|_| ());
    assert_eq!(restore(&Lab::new().tracker.state_json()), Ok(()));
    assert_eq!(restore(r#"{"v":2,"state":{}}"#), Err(StateError::Version(2)));
    for bad in ["", "{}", "[]", r#"{"v":1}"#, r#"{"v":1,"state":{"sources":7}}"#, "\u{0}"] {
        assert!(matches!(restore(bad), Err(StateError::Unreadable(_))), "{bad:?}");
    }
}

#[test]
fn a_view_begins_with_the_first_report_and_shows_what_was_seen() {
    let mut lab = Lab::new();
    assert_eq!(lab.tracker.view(), None);
    assert_eq!(lab.tracker.cursors(), [LogCursor::start(LOG)]);
    lab.fail(ErrorCode::SshTimeout, None);
    let view = lab.tracker.view().expect("a report was made");
    assert_eq!((view.stage, view.reachable, view.answered_at), (Stage::Unreachable, false, None));
    let dependency = |complete| BootMark::Dependency(crate::model::Dependency { name: "Python".to_owned(), complete });
    let seen = Observation {
        clock: Some(1011.0),
        boot: vec![
            BootMark::Downloading { percent: 10.0, seconds_left: Some(9) },
            BootMark::SetupScript("setup.ps1".to_owned()),
            dependency(false),
            dependency(true),
        ],
        container_log_tail: "x".repeat(400),
        ..up()
    };
    lab.poll(seen.clone());
    lab.poll(Observation { boot: vec![], container_log_tail: "y".repeat(300), ..seen });
    let view = lab.tracker.view().expect("a report was made");
    assert_eq!((view.download_seconds_left, view.boot_percent), (Some(9), 3.0));
    assert_eq!(view.setup_script.as_deref(), Some("setup.ps1"));
    assert!(view.dependencies.len() == 1 && view.dependencies[0].complete);
    assert_eq!(view.container_log_tail.len(), 500);
    assert!(view.container_log_tail.ends_with(&format!("x\n{}", "y".repeat(300))));
    assert_eq!((view.power, view.clock_skew), (Some(Power::On), Some(9.0)));
    assert!(view.connected && view.reachable && !view.waa_ready);
}
