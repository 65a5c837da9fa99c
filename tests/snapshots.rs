//! What a stream begins with on VMs whose benchmark is over, frame by frame; and that nothing is written meanwhile.

use std::time::Duration;

use gatewatch::app;

use crate::support::{Frame, Gateway, Sse, eventually};

/// How long something that happens by itself may take.
const SOON: Duration = Duration::from_secs(30);

/// Two VMs that play one benchmark each from the beginning, off and all.
const TWO: &str = "
[[vm]]
name = \"one\"
transport = \"simulated\"
[vm.simulated]
speed = \"30\"
once = true
[[vm]]
name = \"two\"
transport = \"simulated\"
[vm.simulated]
speed = \"30\"
once = true
dialect = \"waa\"
[poll]
interval = \"1s\"
idle_interval = \"1s\"
";

/// An id as a number for each place.
fn place(id: &str) -> (u64, u32) {
    let (_, place) = id.split_once('-').expect("an epoch");
    let (seq, i) = place.split_once('.').expect("an index");
    (seq.parse().expect("digits"), i.parse().expect("digits"))
}

/// What a stream begins with, up to the frame that ends snapshot or replay: the last VM's progress, with `position`.
async fn beginning(stream: &mut Sse, position: &str) -> Vec<Frame> {
    let ends = |frame: &Frame| frame.event == "progress" && frame.id.as_deref() == Some(position);
    let mut frames = stream.until(SOON, ends).await;
    // One may come at any time.
    frames.retain(|frame| frame.event != "heartbeat");
    frames
}

fn of<'a>(frames: &'a [Frame], event: &str) -> Vec<&'a Frame> {
    frames.iter().filter(|frame| frame.event == event).collect()
}

fn durable(frame: &&Frame) -> bool {
    ["task_complete", "run_started", "run_complete"].contains(&frame.event.as_str())
}

async fn as_key(gateway: &Gateway, key: &str, id: &str) -> Sse {
    let request = gateway.anonymous().get(gateway.url("/api/benchmark-sse?interval=1")).bearer_auth(key);
    Sse::new(request.header("Last-Event-ID", id).send().await.expect("an answer"))
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshot_and_replay_are_whole_in_order_and_end_with_the_position_and_quiet_polls_write_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let narrow = app::new_key(
        &dir.path().join("keys.toml"),
        "narrow",
        &["events:read".to_owned()],
        &["two".to_owned()],
        "never",
    );
    let narrow = narrow.expect("a key");
    let gateway = Gateway::start_in(dir, TWO, "mode = \"off\"").await;
    // A client that comes first and goes before any run begins.
    let mut early = gateway.stream("interval=1").await;
    while early.last_id.is_none() {
        let frame = early.next().await.expect("a beginning");
        assert!(!durable(&&frame), "{frame:?}");
    }
    let first = early.last_id.clone().expect("an id");
    drop(early);
    // And one that stays.
    let mut all = gateway.resume("interval=1", &first).await;
    let mut frames = Vec::new();
    while ["one", "two"]
        .iter()
        .any(|vm| !frames.iter().any(|f: &Frame| f.text("vm") == *vm && f.text("stage") == "complete"))
    {
        frames.extend(all.until(SOON, |frame| frame.text("stage") == "complete").await);
    }
    drop(all);
    let told: Vec<Frame> =
        frames.iter().filter(|f| f.id.is_some() && (durable(f) || f.data.get("from").is_some())).cloned().collect();
    let position = told.last().and_then(|frame| frame.id.clone()).expect("an id");
    let commits = gateway.metric("gatewatch_journal_commits_total").await;
    let polls = gateway.metric("gatewatch_polls_total").await;

    let mut stream = gateway.stream("interval=1").await;
    let snapshot = beginning(&mut stream, &position).await;
    let completions = of(&snapshot, "task_complete");
    let ids: Vec<_> = completions.iter().map(|frame| place(frame.id.as_deref().expect("its own id"))).collect();
    assert_eq!(ids.len(), 60);
    assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
    let own: Vec<_> = told.iter().filter(|frame| frame.event == "task_complete").collect();
    assert_eq!(completions, own, "as they were when they happened");
    // `connected`, the completions, then what is so now.
    assert_eq!(snapshot[0].event, "connected");
    assert!(snapshot[1..61].iter().all(|frame| frame.event == "task_complete"));
    let now: Vec<_> = snapshot[61..].iter().map(|f| (f.event.as_str(), f.text("vm"), f.id.as_deref())).collect();
    // The VMs in the order in which they were first heard of.
    let (first_vm, then_vm) = if now[0].1 == "one" { ("one", "two") } else { ("two", "one") };
    let expected = [
        ("status", first_vm, None),
        ("progress", first_vm, None),
        ("status", then_vm, None),
        ("progress", then_vm, Some(&*position)),
    ];
    assert_eq!(now, expected);
    assert!(snapshot[62].data["completed"] == 30 && snapshot[61].text("stage") == "complete");

    for from in (0..told.len()).step_by(5) {
        let id = told[from].id.clone().expect("an id");
        let frames = beginning(&mut gateway.resume("interval=1", &id).await, &position).await;
        assert_eq!(frames[1..frames.len() - 4], told[from + 1..], "exactly the rest");
        let now: Vec<_> =
            frames[frames.len() - 4..].iter().map(|f| (f.event.as_str(), f.text("vm"), f.id.as_deref())).collect();
        assert_eq!(now, expected);
        // One that sees less gets less, and stands at the same place.
        let frames = beginning(&mut as_key(&gateway, narrow.expose(), &id).await, &position).await;
        let of_two: Vec<_> = told[from + 1..].iter().filter(|frame| frame.text("vm") == "two").cloned().collect();
        assert_eq!(frames[1..frames.len() - 2], of_two);
        assert!(frames.iter().all(|frame| frame.event != "reset" && frame.text("vm") != "one"), "{frames:?}");
    }
    let frames = beginning(&mut gateway.resume("interval=1", &first).await, &position).await;
    let missed: Vec<_> = frames.iter().filter(durable).collect();
    assert_eq!(missed, told.iter().filter(durable).collect::<Vec<_>>(), "nothing since its first id is missing");
    assert_eq!((of(&frames, "run_started").len(), of(&frames, "run_complete").len()), (2, 2));

    eventually(SOON, || async { gateway.metric("gatewatch_polls_total").await >= polls + 6.0 }).await;
    assert_eq!(gateway.metric("gatewatch_journal_commits_total").await, commits);
    assert_eq!(gateway.stop().await, "");
}
