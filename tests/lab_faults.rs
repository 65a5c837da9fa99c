//! A real VM goes wrong in every way there is; each ends in the right stage and a clear error, and recovers by itself.

use std::time::Duration;

use crate::lab::Lab;
use crate::lab::play::{Dialect, Play};
use crate::lab_run::masters;
use crate::support::{Frame, Gateway, Sse, eventually};

const VM: &str = "lab-vm";
const LONG: Duration = Duration::from_secs(40);

/// A lab whose benchmark has run its first task, a gateway that watches it, and a stream that saw that.
struct Watched {
    lab: Lab,
    gateway: Gateway,
    stream: Sse,
    play: Play,
}

impl Watched {
    async fn start() -> Option<Self> {
        let lab = Lab::for_test().await?;
        let config = format!("[poll]\ntimeout = \"2s\"\n{}", lab.vm_toml(VM));
        let gateway = Gateway::start(&config).await;
        let mut stream = gateway.stream("interval=1").await;
        let play = Play::new(Dialect::Openadapt, 4, 11).at_speed(f64::INFINITY);
        play.boot(&lab).await.expect("it boots");
        play.begin(&lab).await.expect("it begins");
        play.task(&lab, 0).await.expect("a task");
        stream.until(LONG, stage("running")).await;
        assert_eq!(masters(&lab).len(), 1, "one kept connection");
        Some(Self { lab, gateway, stream, play })
    }

    /// The rest of the run arrives whole: the fault lost nothing.
    async fn rest_of_the_run_arrives(&mut self) {
        for index in 1..self.play.tasks.len() {
            self.play.task(&self.lab, index).await.expect("a task");
        }
        self.play.end(&self.lab).await.expect("it ends");
        self.stream.until(LONG, |f| f.event == "run_complete").await;
        let mut again = self.gateway.stream("interval=1").await;
        let snapshot = again.until(LONG, stage("complete")).await;
        let ids: Vec<&str> =
            snapshot.iter().filter(|f| f.event == "task_complete").map(|f| f.text("task_id")).collect();
        let played: Vec<String> = self.play.all_played().into_iter().map(|task| task.task_id).collect();
        assert_eq!(ids, played, "every completion once and in order");
    }

    async fn end(self) {
        assert_eq!(self.gateway.stop().await, "");
        assert!(masters(&self.lab).is_empty(), "{:?}", masters(&self.lab));
    }
}

fn stage(stage: &'static str) -> impl FnMut(&Frame) -> bool {
    move |frame| frame.event == "status" && frame.text("stage") == stage
}

fn raised(code: &'static str) -> impl FnMut(&Frame) -> bool {
    move |frame| frame.event == "error" && frame.text("code") == code && frame.data["resolved"] != true
}

fn resolved(code: &'static str) -> impl FnMut(&Frame) -> bool {
    move |frame| frame.event == "error" && frame.text("code") == code && frame.data["resolved"] == true
}

#[tokio::test(flavor = "multi_thread")]
async fn g67_a_vm_that_swallows_every_packet_is_unreachable_and_comes_back() {
    let Some(mut watched) = Watched::start().await else { return };
    watched.lab.sshd_stop().await.expect("stopped");
    let frames = watched.stream.until(LONG, stage("unreachable")).await;
    if !frames.iter().any(|f| raised("ssh_timeout")(f)) {
        watched.stream.until(LONG, raised("ssh_timeout")).await;
    }
    let lab = &watched.lab;
    eventually(Duration::from_secs(10), || async { masters(lab).len() <= 1 }).await;
    watched.lab.sshd_cont().await.expect("it goes on");
    let frames = watched.stream.until(LONG, stage("running")).await;
    if !frames.iter().any(|f| resolved("ssh_timeout")(f)) {
        watched.stream.until(LONG, resolved("ssh_timeout")).await;
    }
    watched.rest_of_the_run_arrives().await;
    watched.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g67_a_killed_connection_is_made_anew_and_nothing_is_lost() {
    let Some(mut watched) = Watched::start().await else { return };
    let logins = watched.lab.logins();
    watched.lab.sshd_kill_connections().await.expect("killed");
    let lab = &watched.lab;
    eventually(LONG, || async { lab.logins() > logins }).await;
    watched.rest_of_the_run_arrives().await;
    assert_eq!(watched.lab.logins(), logins + 1, "one new login");
    watched.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_connection_is_unreachable_and_comes_back() {
    let Some(mut watched) = Watched::start().await else { return };
    watched.lab.sshd_shutdown().await.expect("down");
    let frames = watched.stream.until(LONG, stage("unreachable")).await;
    if !frames.iter().any(|f| raised("ssh_unreachable")(f)) {
        watched.stream.until(LONG, raised("ssh_unreachable")).await;
    }
    watched.lab.sshd_start().await.expect("up");
    watched.stream.until(LONG, stage("running")).await;
    watched.rest_of_the_run_arrives().await;
    watched.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_key_is_told_as_such_and_no_fault_of_the_network() {
    let Some(mut watched) = Watched::start().await else { return };
    watched.lab.reject_key().await.expect("rejected");
    let frames = watched.stream.until(LONG, raised("ssh_auth")).await;
    let error = frames.last().expect("the error");
    assert!(error.text("message").contains("key"), "{error:?}");
    watched.lab.accept_key().expect("accepted");
    watched.stream.until(LONG, resolved("ssh_auth")).await;
    watched.rest_of_the_run_arrives().await;
    watched.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g66_a_changed_host_key_is_refused_until_the_known_one_is_back() {
    let Some(mut watched) = Watched::start().await else { return };
    watched.lab.change_host_key().await.expect("changed");
    let frames = watched.stream.until(LONG, raised("host_key")).await;
    let error = frames.last().expect("the error");
    assert!(error.text("message").contains("known_hosts"), "it says what to do: {error:?}");
    assert_eq!(error.data["retryable"], false);
    let logins = watched.lab.logins();
    watched.stream.until(LONG, stage("unreachable")).await;
    assert_eq!(watched.lab.logins(), logins, "no login with a key that is not known");
    watched.lab.restore_host_key().await.expect("restored");
    watched.stream.until(LONG, resolved("host_key")).await;
    watched.rest_of_the_run_arrives().await;
    watched.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_container_ends_the_run_and_is_told() {
    let Some(mut watched) = Watched::start().await else { return };
    watched.lab.container_stop().await.expect("stopped");
    let frames = watched.stream.until(LONG, |f| f.event == "run_complete").await;
    assert!(frames.iter().any(|f| raised("container_stopped")(f)), "{frames:#?}");
    assert!(frames.iter().any(|f| stage("starting")(f)), "{frames:#?}");
    watched.lab.container_start().await.expect("started");
    let frames = watched.stream.until(LONG, resolved("container_stopped")).await;
    drop(frames);
    watched.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_restarted_mid_run_ends_that_run_and_the_next_one_is_another() {
    let Some(mut watched) = Watched::start().await else { return };
    watched.lab.container_restart().await.expect("restarted");
    let ended = watched.stream.until(LONG, |f| f.event == "run_complete").await;
    let first = ended.last().expect("the end").text("run").to_owned();
    watched.play.begin(&watched.lab).await.expect("it begins again");
    watched.play.task(&watched.lab, 0).await.expect("a task");
    let frames = watched.stream.until(LONG, |f| f.event == "run_started").await;
    assert_ne!(frames.last().expect("the start").text("run"), first);
    watched.stream.until(LONG, stage("running")).await;
    watched.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_log_is_read_to_its_end_and_its_successor_from_its_start() {
    let Some(mut watched) = Watched::start().await else { return };
    watched.play.task(&watched.lab, 1).await.expect("a task");
    watched.lab.log_rotate().expect("rotated");
    watched.play.task(&watched.lab, 2).await.expect("a task");
    let last = watched.play.tasks[2].id.clone();
    let mut frames = watched.stream.until(LONG, |f| f.event == "progress" && f.text("current_task") == last).await;
    watched.play.task(&watched.lab, 3).await.expect("a task");
    watched.play.end(&watched.lab).await.expect("it ends");
    // The new file opens a run of its own; both runs end.
    frames.extend(watched.stream.until(LONG, stage("complete")).await);
    let mut ids: Vec<String> =
        frames.iter().filter(|f| f.event == "task_complete").map(|f| f.text("task_id").to_owned()).collect();
    ids.dedup();
    let played: Vec<String> = watched.play.all_played().into_iter().skip(1).map(|task| task.task_id).collect();
    assert!(ids.ends_with(&played), "{ids:?} does not end with {played:?}");
    watched.end().await;
}
