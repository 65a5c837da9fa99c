//! A journal whose disk is full: nothing is committed and everybody is told, live events go on, and once there is room
//! every completion comes, once and in order.

use std::time::{Duration, Instant};

use crate::faults::{Follower, Kind, Pause, Place, Played, SmallDisk, Target};
use crate::lab;
use crate::support::{Process, Scheme, eventually};

/// Enough for a journal with a few dozen commits.
const MEBIBYTES: u32 = 4;
const PATIENCE: Duration = Duration::from_secs(30);

/// What readiness says: the status, and why the journal is not ready.
async fn readiness(served: &Process) -> (u16, String) {
    let (status, text) = served.admin("/readyz").await.expect("an answer");
    let said: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let parts = said["not_ready"].as_array().cloned().unwrap_or_default();
    let journal = parts.iter().find(|part| part["what"] == "journal").map(|part| part["why"].to_string());
    (status, journal.unwrap_or_default())
}

async fn metric(served: &Process, name: &str) -> f64 {
    let (_, text) = served.admin("/metrics").await.expect("metrics");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("it is there");
    line.trim().parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_takes_readiness_and_commits_and_nothing_else_and_room_brings_all_back() {
    let disk = match SmallDisk::mount(MEBIBYTES) {
        Ok(disk) => disk,
        Err(why) => return lab::skip(&why),
    };
    let mut vm = Played::new("one", &[Kind::Openadapt], 3);
    let sections = format!(
        "[journal]\npath = {:?}\n[poll]\ninterval = \"1s\"\nidle_interval = \"1s\"\n{}",
        disk.path().join("journal.db"),
        vm.toml()
    );
    let mut served = Process::start(Scheme::Http, &sections).await;
    let target = Target { url: served.url(""), key: served.key().to_owned(), client: served.client() };
    let follower = Follower::start("follower", target, "interval=1", Place::Header, Pause::None);
    vm.write(1);
    let before = vm.finish();
    assert_eq!(follower.settled(&before, PATIENCE).await.events, before.len());
    assert_eq!(readiness(&served).await, (200, String::new()));

    for round in 1..=2 {
        let known = vm.written().len();
        disk.fill();
        let mut live = served.stream().await;
        live.until(PATIENCE, |frame| frame.event == "progress").await;
        // Until a commit finds no room; the first may still fit into what the files have.
        let began = Instant::now();
        while readiness(&served).await.0 == 200 {
            assert!(began.elapsed() < PATIENCE, "everything is committed on a full disk");
            vm.write(1);
            vm.finish();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let (_, why) = readiness(&served).await;
        assert!(why.contains("takes no commits") && why.contains("full"), "{why}");
        assert!(served.log().contains("make room on its disk"), "the log says what to do");
        assert!(metric(&served, "gatewatch_vms_uncommitted").await > 0.0);
        let told = follower.ledger().completions.len();
        let written = vm.finish().len();
        assert!(told < written && written > known, "round {round}: {told} of {written} told");
        // Clients see the trouble, and that the benchmark goes on.
        live.until(PATIENCE, |frame| frame.event == "error" && frame.text("code") == "journal_failed").await;
        vm.write(1);
        let newest = vm.finish().pop().expect("a task");
        live.until(PATIENCE, |frame| frame.event == "progress" && frame.text("current_task") == newest).await;
        assert_eq!(follower.ledger().completions.len(), told, "nothing is told that is not committed");

        if round == 2 {
            // It starts without room too, and says the same.
            served.start_again();
            eventually(PATIENCE, async || {
                served.admin("/readyz").await.is_some() && readiness(&served).await.1.contains("takes no commits")
            })
            .await;
            live = served.stream().await;
            live.until(PATIENCE, |frame| frame.event == "error" && frame.text("code") == "journal_failed").await;
            live.until(PATIENCE, |frame| frame.event == "progress" && frame.text("current_task") == newest).await;
        }
        disk.make_room();
        eventually(PATIENCE, async || readiness(&served).await.0 == 200).await;
        let written = vm.written();
        let verdict = follower.settled(&written, PATIENCE).await;
        assert!(verdict.is_clean() && verdict.events == written.len(), "round {round}: {verdict:#?}");
        let resolved = live.until(PATIENCE, |frame| frame.event == "error" && frame.data["resolved"] == true).await;
        assert_eq!(resolved.last().expect("a frame").text("code"), "journal_failed");
        assert!(served.log().contains("takes commits again"));
        assert_eq!(metric(&served, "gatewatch_vms_uncommitted").await, 0.0);
    }
}
