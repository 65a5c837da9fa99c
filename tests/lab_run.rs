//! Whole benchmarks on a real VM (sshd, Docker Engine, a container, a growing log), watched over real SSH: every event
//! is compared with what was played.

use std::time::{Duration, Instant};

use crate::lab::Lab;
use crate::lab::play::{Dialect, Play, Played};
use crate::support::{Frame, Gateway};

const VM: &str = "lab-vm";

fn completions(frames: &[Frame]) -> Vec<Played> {
    let closed = frames.iter().filter(|frame| frame.event == "task_complete");
    closed
        .map(|frame| Played {
            task_id: frame.text("task_id").to_owned(),
            success: frame.data["success"].as_bool(),
            score: frame.data["score"].as_f64(),
        })
        .collect()
}

fn stages(frames: &[Frame]) -> Vec<String> {
    let mut stages: Vec<String> =
        frames.iter().filter(|f| f.event == "status").map(|f| f.text("stage").to_owned()).collect();
    stages.dedup();
    stages
}

async fn a_whole_run_is_told_as_it_was_played(dialect: Dialect) {
    let Some(lab) = Lab::for_test().await else { return };
    let gateway = Gateway::start(&lab.vm_toml(VM)).await;
    let mut stream = gateway.stream("interval=1").await;
    let play = Play::new(dialect, 12, 7).at_speed(4.0);
    play.boot(&lab).await.expect("it boots");
    let mut frames = stream.until(Duration::from_secs(20), |f| f.event == "status" && f.text("stage") == "ready").await;
    let played = play.run(&lab).await.expect("it runs");
    frames.extend(stream.until(Duration::from_secs(30), |f| f.event == "run_complete").await);

    assert_eq!(completions(&frames), played);
    let end = frames.last().expect("the end");
    let count = |wanted: Option<bool>| played.iter().filter(|task| task.success == wanted).count() as u64;
    assert_eq!(end.data["completed"], played.len() as u64);
    assert_eq!((&end.data["passed"], &end.data["failed"]), (&count(Some(true)).into(), &count(Some(false)).into()));
    assert_eq!(end.text("reason"), "process_ended");
    let seen = stages(&frames);
    assert_eq!(seen.last().map(String::as_str), Some("running"), "{seen:?}");
    stream.until(Duration::from_secs(5), |f| f.event == "status" && f.text("stage") == "complete").await;
    let errors: Vec<&Frame> = frames.iter().filter(|f| f.event == "error").collect();
    assert!(errors.is_empty(), "nothing failed: {errors:?}");
    assert_eq!(lab.logins(), 1, "one login for the whole run");
    assert_eq!(gateway.metric("gatewatch_ssh_connections").await, 1.0);
    assert_eq!(gateway.metric("gatewatch_ssh_logins_total").await, 1.0);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_openadapt_run_is_told_as_it_was_played() {
    a_whole_run_is_told_as_it_was_played(Dialect::Openadapt).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_waa_run_is_told_as_it_was_played() {
    a_whole_run_is_told_as_it_was_played(Dialect::Waa).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_clients_cost_no_further_login_and_polls_stay_one_per_interval() {
    let Some(lab) = Lab::for_test().await else { return };
    let gateway = Gateway::start(&lab.vm_toml(VM)).await;
    gateway.wait_for_stage(VM, "starting").await;
    let logins = lab.logins();
    let mut streams = Vec::new();
    for _ in 0..30 {
        streams.push(gateway.stream("interval=1").await);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let polls = gateway.metric("gatewatch_polls_total").await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let polls = gateway.metric("gatewatch_polls_total").await - polls;
    assert!((1.0..=11.0).contains(&polls), "{polls} polls in 10 s");
    assert_eq!((lab.logins(), lab.logins() - logins), (1, 0));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_in_the_log_reaches_every_stream_within_one_poll() {
    let Some(lab) = Lab::for_test().await else { return };
    let gateway = Gateway::start(&lab.vm_toml(VM)).await;
    let play = Play::new(Dialect::Openadapt, 3, 1).at_speed(f64::INFINITY);
    lab.probe_on().await.expect("it answers");
    play.begin(&lab).await.expect("it begins");
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(gateway.stream("interval=1").await);
    }
    streams[0].until(Duration::from_secs(10), |f| f.event == "status" && f.text("stage") == "running").await;
    let polls = gateway.metric("gatewatch_polls_total").await;
    let began = Instant::now();
    let played = play.task(&lab, 0).await.expect("a task");
    for stream in &mut streams {
        stream
            .until(Duration::from_secs(5), |f| f.event == "task_complete" && f.text("task_id") == played.task_id)
            .await;
    }
    // The machine decides how long that took; the count of polls does not depend on it.
    let polls = gateway.metric("gatewatch_polls_total").await - polls;
    assert!(polls <= 3.0, "{polls} polls, {:?}", began.elapsed());
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_found_finished_is_told_as_history() {
    let Some(lab) = Lab::for_test().await else { return };
    let play = Play::new(Dialect::Openadapt, 5, 3);
    lab.log_append(play.log_text()).expect("written");
    let gateway = Gateway::start(&lab.vm_toml(VM)).await;
    let mut stream = gateway.stream("interval=1").await;
    let frames = stream.until(Duration::from_secs(20), |f| f.event == "run_complete").await;
    assert_eq!(completions(&frames), play.all_played());
    for frame in frames.iter().filter(|f| ["task_complete", "run_started", "run_complete"].contains(&f.event.as_str()))
    {
        assert_eq!(frame.data["historic"], true, "{frame:?}");
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g67_two_vms_are_watched_beside_each_other_and_a_stop_leaves_no_ssh_behind() {
    let (Some(first), Some(second)) = (Lab::for_test().await, Lab::for_test().await) else { return };
    let gateway = Gateway::start(&format!("{}{}", first.vm_toml("lab-1"), second.vm_toml("lab-2"))).await;
    gateway.wait_for_stage("lab-1", "starting").await;
    gateway.wait_for_stage("lab-2", "starting").await;
    assert!(!masters(&first).is_empty());
    assert_eq!(gateway.stop().await, "");
    for lab in [&first, &second] {
        assert!(masters(lab).is_empty(), "{:?}", masters(lab));
    }
}

/// Command lines of gatewatch's ssh processes that talk to `lab`, told by the port in the file that each was given.
pub fn masters(lab: &Lab) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").expect("proc");
    let lines = processes.filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).into_owned());
    let port = lab.ssh_port.to_string();
    lines
        .filter(|line| {
            let mut words = line.split('\0');
            let config = words.by_ref().skip_while(|word| *word != "-F").nth(1).unwrap_or_default();
            let config = std::fs::read_to_string(config).unwrap_or_default();
            line.starts_with("ssh\0") && config.split_whitespace().any(|word| word == port)
        })
        .collect()
}
