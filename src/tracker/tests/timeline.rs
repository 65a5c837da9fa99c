//! The event timeline of the server this replaces, poll by poll, 5 s apart.

use super::*;

/// Seconds; what the VM answers, if it does; what the power source says; what the tracker must say.
type Poll = (u64, Option<Observation>, Option<Power>, &'static [&'static str]);

#[test]
#[allow(clippy::print_stdout, reason = "the timeline is meant to be read with --nocapture beside the document's")]
fn the_timeline_of_the_replaced_server_happens_as_written() {
    let mut lab = Lab::new();
    lab.interval = 5.0;
    let step = |number| FactKind::Step { number, action: Some("CLICK".to_owned()) };
    let polls: Vec<Poll> = vec![
        (0, None, Some(Power::Off), &["-> off"]),
        (5, None, Some(Power::Starting), &["off -> starting"]),
        (
            10,
            Some(Observation { boot: vec![BootMark::Booting, BootMark::WindowsStarted], logs: quiet(), ..up() }),
            None,
            &["starting -> oobe"],
        ),
        (15, Some(ready(absent(), quiet())), None, &["oobe -> ready"]),
        (
            20,
            Some(ready(present(7), lines(0, vec![start(1), id("task_001"), step(0)]))),
            None,
            &["start", "ready -> running"],
        ),
        (25, Some(ready(present(7), lines(3, vec![step(5)]))), None, &[]),
        (30, Some(ready(present(7), lines(4, vec![step(10)]))), None, &[]),
        (
            35,
            Some(ready(present(7), lines(5, vec![outcome_of("task_001", true), start(2), id("task_002"), step(0)]))),
            None,
            &["task_001 pass"],
        ),
        (40, Some(ready(present(7), lines(9, vec![step(5)]))), None, &[]),
    ];
    let mut progress = Vec::new();
    for (at, seen, power, expected) in polls {
        assert_eq!(lab.now, 1000.0 + at as f64);
        let changes = match seen {
            Some(seen) => lab.poll(seen),
            None => lab.fail(ErrorCode::SshTimeout, power),
        };
        let told = told(&changes);
        println!("{at:>2} s  {told:?}");
        assert_eq!(told, expected, "at {at} s");
        let view = lab.tracker.view().expect("a report was made");
        assert_eq!(view.waa_ready, at >= 15);
        assert_eq!(view.connected, at >= 10);
        progress.extend(view.progress.first().map(|run| {
            let step = run.current.as_ref().map_or(0, |task| task.step);
            (at, run.task_number, run.total_tasks, step)
        }));
    }
    assert_eq!(progress, [(20, 1, 30, 0), (25, 1, 30, 5), (30, 1, 30, 10), (35, 2, 30, 0), (40, 2, 30, 5)]);
}

#[test]
fn the_last_task_completes_and_the_vm_is_complete_when_the_process_ends() {
    let mut lab = Lab::new();
    lab.poll(ready(present(7), lines(0, vec![start(1), id("a"), outcome(true)])));
    assert_eq!(told(&lab.poll(ready(absent(), quiet()))), [""; 0]);
    assert_eq!(
        told(&lab.poll(ready(absent(), quiet()))),
        ["a pass", "end ProcessEnded 1/1/0/0", "running -> complete"]
    );
    assert_eq!(told(&lab.poll(ready(absent(), quiet()))), [""; 0]);
    // A new process begins again.
    assert_eq!(told(&lab.poll(ready(present(9), quiet()))), ["complete -> running"]);
    assert_eq!(told(&lab.poll(ready(present(9), lines(3, vec![start(1)])))), ["start"]);
}
