//! The timeline that the old server's clients know, from a simulated VM through the whole pipeline to a stream: 1 s here
//! is 4 s there, so that each stage lasts longer than a poll interval.

use std::time::Duration;

use crate::support::{Frame, Gateway};

const VM: &str = "
[[vm]]
name = \"waa-1\"
transport = \"simulated\"
[vm.simulated]
speed = \"4\"
once = true
";

fn of<'a>(frames: &'a [Frame], event: &str) -> Vec<&'a Frame> {
    frames.iter().filter(|frame| frame.event == event).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_sees_the_whole_timeline_from_off_to_complete() {
    let gateway = Gateway::start(VM).await;
    let mut stream = gateway.stream("interval=1").await;
    let frames = stream
        .until(Duration::from_secs(40), |frame| frame.event == "status" && frame.text("stage") == "complete")
        .await;

    assert_eq!(frames[0].event, "connected");
    let mut stages: Vec<&str> = of(&frames, "status").iter().map(|frame| frame.text("stage")).collect();
    stages.dedup();
    assert_eq!((stages[0], stages[1]), ("off", "starting"), "{stages:?}");
    assert_eq!(&stages[stages.len() - 3..], ["ready", "running", "complete"], "{stages:?}");

    // 10 s: VM ready, WAA not ready. 15 s: WAA ready. `phase` stays `ready` while the benchmark runs.
    let waiting = of(&frames, "status").into_iter().find(|f| f.data["connected"] == true).expect("a reachable VM");
    assert_eq!(waiting.data["waa_ready"], false);
    for status in of(&frames, "status") {
        assert_eq!(status.data["type"], "vm_status");
        if ["ready", "running", "complete"].contains(&status.text("stage")) {
            assert_eq!((status.text("phase"), &status.data["waa_ready"]), ("ready", &true.into()), "{status:?}");
        }
    }

    // 20 s: Task 1/30, step 0; then steps; 35 s: Task 2/30 and the completion of task_001, a pass.
    let progress = of(&frames, "progress");
    assert_eq!((&progress[0].data["tasks_completed"], &progress[0].data["total_tasks"]), (&1.into(), &30.into()));
    assert_eq!(progress[0].text("current_task"), "task_001");
    assert!(progress[0].data["current_step"].as_u64() < Some(5), "the first poll of the run: {:?}", progress[0]);
    let steps: Vec<u64> = progress
        .iter()
        .filter(|f| f.text("current_task") == "task_001")
        .map(|f| f.data["current_step"].as_u64().expect("a number"))
        .collect();
    assert!(steps.is_sorted() && steps.last() >= Some(&10), "{steps:?}");

    let completions = of(&frames, "task_complete");
    let ids: Vec<&str> = completions.iter().map(|f| f.text("task_id")).collect();
    let expected: Vec<String> = (1..=30).map(|n| format!("task_{n:03}")).collect();
    assert_eq!(ids, expected, "every task once and in order, the last one too");
    assert_eq!((&completions[0].data["success"], &completions[0].data["score"]), (&true.into(), &1.0.into()));
    assert!(completions[6].data["success"].is_null(), "task 7's log does not say how it went");
    assert_eq!(completions[2].data["success"], false);

    let run = of(&frames, "run_complete");
    assert_eq!(run.len(), 1);
    assert_eq!((&run[0].data["completed"], &run[0].data["unknown"]), (&30.into(), &4.into()));
    assert_eq!(run[0].data["reason"], "process_ended");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_that_fails_and_recovers_loses_no_completion() {
    let vm = VM.replace("once = true", "once = true\ntrouble = true\ndialect = \"waa\"");
    let gateway = Gateway::start(&vm).await;
    let mut stream = gateway.stream("interval=1").await;
    let frames = stream.until(Duration::from_secs(60), |frame| frame.event == "run_complete").await;
    let ids: Vec<&str> = of(&frames, "task_complete").iter().map(|f| f.text("task_id")).collect();
    assert_eq!(ids.len(), 30, "{ids:?}");
    assert_eq!((ids[0], ids[1]), ("chrome/4abc-WOS", "notepad/4abd-WOS"));
    let mut keys: Vec<&str> = of(&frames, "task_complete").iter().map(|f| f.text("key")).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 30, "no completion twice");
    gateway.stop().await;
}
