//! Which polls count as done.

use tokio::time::{Instant, sleep};

use super::*;

/// A simulated VM that is off: its polls fail.
fn off(vm: &str) -> VmConfig {
    let text = format!(
        "auth.none = true\n[[vm]]\nname = \"{vm}\"\ntransport = \"simulated\"\n[vm.simulated]\nspeed = \"0.1\"\nonce = true\n"
    );
    Config::parse(&text, "test", &MapEnv::default()).expect("a configuration").vms.remove(0)
}

#[tokio::test(start_paused = true)]
async fn each_poll_that_ends_is_told_whatever_came_of_it_and_nothing_is_missed_of_nobody() {
    for (vm, answers) in [(running("a", ""), true), (off("a"), false)] {
        let mut lab = Lab::new(&Flaky::new());
        let pulse = lab.fleet.shared.pulse.clone();
        assert_eq!(pulse.silence(Instant::now()), None);
        lab.fleet.add(vm).expect("watched");
        assert_eq!(lab.next().await.poll_no, 0, "announced");
        for _ in 0..3 {
            let view = lab.next().await.view.expect("a view");
            assert_eq!(view.reachable, answers);
            // The poll's own end is just behind its report, and the next one a whole interval away.
            sleep(Duration::from_millis(1)).await;
            let silence = pulse.silence(Instant::now()).expect("it polls");
            assert!(silence < Duration::from_secs(1), "{silence:?}");
        }
        lab.stop().await;
        assert_eq!(pulse.silence(Instant::now() + Duration::from_secs(3600)), None, "who stopped is not waited for");
    }
}
