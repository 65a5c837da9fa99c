//! When a stream begins anew, and with which reason; and when it does not: on the journal that a gateway has by default.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use gatewatch::app;
use gatewatch::event::{DurableEvent, EventKind};
use gatewatch::journal::{Commit, EmbeddedConfig, EmbeddedJournal, Journal, Retention};
use gatewatch::model::{Timestamp, VmId, VmName};
use gatewatch::telemetry::Metrics;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::{Frame, Gateway, Process, SIMULATED, Scheme, Served, Sse, eventually, gatewatch};

/// How long something that happens by itself may take.
const SOON: Duration = Duration::from_secs(20);
const DAY: f64 = 86_400.0;
/// More events than this are not replayed one by one.
const MOST: usize = 50_000;

fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}

/// Adds `events` events to the journal in `dir`, observed at `at`, in commits of at most `together` that are those of each
/// of `vms` in turn. Gives their ids.
async fn fill(dir: &Path, at: Timestamp, vms: &[&str], events: usize, together: usize) -> Vec<String> {
    let retention = Retention::new(Duration::from_secs(30 * 86_400), 1_000_000);
    let config = EmbeddedConfig { path: dir.join("journal.db"), retention };
    let journal = EmbeddedJournal::open(config, Metrics::new().journal, at).expect("it opens");
    let mut ids = Vec::with_capacity(events);
    let mut vms = vms.iter().cycle();
    while ids.len() < events {
        let vm = vms.next().expect("at least one");
        let event = |number: usize| DurableEvent {
            kind: EventKind::TaskComplete,
            vm: VmName::new(vm).expect("a name"),
            vm_id: VmId::from_journal(vm),
            run: None,
            data: format!("{{\"vm\":\"{vm}\",\"key\":\"{number}\"}}").into(),
        };
        let commit = Commit {
            vm_id: VmId::from_journal(vm),
            lease_rev: 0,
            n: 1,
            follows: 0,
            cursors: Vec::new(),
            tracker_state: "{}".into(),
            events: (ids.len()..events.min(ids.len() + together)).map(event).collect(),
        };
        let committed = journal.commit(commit).await.expect("committed");
        let epoch = journal.epoch().as_str();
        let id = |position: gatewatch::event::Position| format!("{epoch}-{}.{}", position.seq, position.i);
        ids.extend(committed.events.iter().map(|stored| id(stored.position)));
    }
    journal.close().await.expect("closed");
    ids
}

/// A gateway on the journal in `dir`, with no VM: nothing happens but what a test does.
async fn quiet(dir: TempDir) -> Gateway {
    Gateway::start_in(dir, "", "mode = \"off\"").await
}

/// What a stream of a [`quiet`] gateway begins with, up to the frame that ends snapshot or replay: with no VM, that is a
/// heartbeat with the journal's last id (`last`, if it is known). Those that come before by the clock are left out.
async fn beginning(mut stream: Sse, last: Option<&String>) -> Vec<Frame> {
    let ends = |frame: &Frame| {
        frame.event == "heartbeat" && frame.id.is_some() && (last.is_none() || frame.id.as_ref() == last)
    };
    let mut frames = stream.until(SOON, ends).await;
    let end = frames.pop();
    frames.retain(|frame| frame.event != "heartbeat");
    frames.extend(end);
    frames
}

fn reason(frames: &[Frame]) -> Option<&str> {
    let resets: Vec<&str> = frames.iter().filter(|f| f.event == "reset").map(|f| f.text("reason")).collect();
    assert!(resets.len() < 2, "{frames:?}");
    resets.first().copied()
}

fn completions(frames: &[Frame]) -> Vec<&str> {
    let completions = frames.iter().filter(|frame| frame.event == "task_complete");
    completions.map(|frame| frame.id.as_deref().expect("a durable event has an id")).collect()
}

/// `id` as a value of a query.
fn escaped(id: &str) -> String {
    id.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_fifty_thousand_missed_events_are_replayed_and_one_more_is_too_many() {
    let dir = tempfile::tempdir().expect("a folder");
    let ids = fill(dir.path(), now(), &["a"], MOST + 2, 500).await;
    let gateway = quiet(dir).await;
    let frames = beginning(gateway.resume("", &ids[1]).await, ids.last()).await;
    assert_eq!(reason(&frames), None);
    assert!(completions(&frames) == ids[2..], "each once and in order");
    assert_eq!(frames.last().expect("a heartbeat").id.as_ref(), ids.last());
    let frames = beginning(gateway.resume("", &ids[0]).await, ids.last()).await;
    assert_eq!((reason(&frames), completions(&frames).len()), (Some("too_many_missed"), 0));
    assert_eq!(frames.last().expect("a heartbeat").id.as_ref(), ids.last());
    assert_eq!(gateway.stop().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_from_before_what_is_kept_is_pruned_and_the_last_one_pruned_still_serves() {
    let dir = tempfile::tempdir().expect("a folder");
    let old = fill(dir.path(), Timestamp(now().0 - 40.0 * DAY), &["a"], 10, 3).await;
    let kept = fill(dir.path(), now(), &["a"], 5, 3).await;
    let gateway = quiet(dir).await;
    let reset = async || reason(&beginning(gateway.resume("", &old[0]).await, kept.last()).await) == Some("pruned");
    eventually(SOON, reset).await;
    for id in &old[..9] {
        assert_eq!(reason(&beginning(gateway.resume("", id).await, kept.last()).await), Some("pruned"), "{id}");
    }
    let frames = beginning(gateway.resume("", &old[9]).await, kept.last()).await;
    assert_eq!((reason(&frames), completions(&frames)), (None, kept.iter().map(String::as_str).collect()));
    assert_eq!(gateway.stop().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_id_of_this_journal_says_why_in_the_header_as_in_the_query_and_every_id_of_it_serves() {
    let dir = tempfile::tempdir().expect("a folder");
    let ids = fill(dir.path(), now(), &["a"], 6, 2).await;
    let epoch = ids[0].split('-').next().expect("an epoch").to_owned();
    let gateway = quiet(dir).await;
    let long = "9".repeat(1000);
    let garbage = ["garbage", "-", "1", "a-1", "a-1.", "a-.0", "a-01.0", "a-1.0.0", "a-+1.0", "a--1.0", "ä-1.0", &long];
    let own = ["-1", "-1.x", "-1.4294967296", "-18446744073709551616.0", "-1.0 x", "-0x1.0"];
    let own = own.map(|rest| format!("{epoch}{rest}"));
    let other = ["other-0.0", "other-1.0", "other-99999.0", "0-0.0"];
    // Far beyond everything, the next commit, and the next event of the last commit: that one is waited for.
    let ahead = ["-18446744073709551615.4294967295", "-4.0", "-3.2"].map(|rest| format!("{epoch}{rest}"));
    let cases = garbage.iter().copied().chain(own.iter().map(String::as_str)).map(|id| (id, "invalid_id"));
    let cases = cases.chain(other.iter().map(|id| (*id, "unknown_epoch")));
    for (id, wanted) in cases.chain(ahead.iter().map(|id| (id.as_str(), "ahead"))) {
        let in_header = gateway.resume("", id).await;
        let in_query = gateway.stream(&format!("lastEventId={}", escaped(id))).await;
        let (in_header, in_query) = tokio::join!(beginning(in_header, ids.last()), beginning(in_query, ids.last()));
        for frames in [in_header, in_query] {
            assert_eq!(reason(&frames), Some(wanted), "{id}");
            assert_eq!((frames[0].event.as_str(), frames[1].event.as_str()), ("connected", "reset"), "{id}");
            assert_eq!(frames.last().expect("a heartbeat").id, ids.last().cloned(), "{id}");
        }
    }
    // Bytes that no text has, and a line break.
    for id in ["%ff%fe", "a-1.0%0a", "%00"] {
        let frames = beginning(gateway.stream(&format!("lastEventId={id}")).await, ids.last()).await;
        assert_eq!(reason(&frames), Some("invalid_id"), "{id}");
    }
    let before_all = format!("{epoch}-0.0");
    for (n, id) in std::iter::once(&before_all).chain(&ids).enumerate() {
        let frames = beginning(gateway.resume("", id).await, ids.last()).await;
        assert!(reason(&frames).is_none() && completions(&frames) == ids[n..], "{id}: {frames:?}");
    }
    assert_eq!(reason(&beginning(gateway.stream("lastEventId=").await, ids.last()).await), None, "nothing is no id");
    assert_eq!(gateway.stop().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_header_wins_over_the_query() {
    let dir = tempfile::tempdir().expect("a folder");
    let ids = fill(dir.path(), now(), &["a"], 4, 1).await;
    let gateway = quiet(dir).await;
    let frames = beginning(gateway.resume("lastEventId=garbage", &ids[2]).await, ids.last()).await;
    assert_eq!((reason(&frames), completions(&frames)), (None, vec![&*ids[3]]));
    let frames = beginning(gateway.resume(&format!("lastEventId={}", ids[2]), "garbage").await, ids.last()).await;
    assert_eq!(reason(&frames), Some("invalid_id"));
    let frames = beginning(gateway.resume(&format!("lastEventId={}", ids[0]), &ids[1]).await, ids.last()).await;
    assert_eq!((reason(&frames), completions(&frames)), (None, vec![&*ids[2], &*ids[3]]));
    assert_eq!(gateway.stop().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resume_holds_what_the_credential_sees_in_order_and_ends_where_the_journal_does() {
    let dir = tempfile::tempdir().expect("a folder");
    let ids = fill(dir.path(), now(), &["waa-1", "lab", "waa-2"], 60, 2).await;
    let keys = dir.path().join("keys.toml");
    let narrow = app::new_key(&keys, "narrow", &["events:read".to_owned()], &["waa-*".to_owned()], "never");
    let narrow = narrow.expect("a key");
    let gateway = quiet(dir).await;
    for from in [0, 1, 2, 31, 59] {
        let request = gateway.anonymous().get(gateway.url("/api/benchmark-sse")).bearer_auth(narrow.expose());
        let stream = Sse::new(request.header("Last-Event-ID", &ids[from]).send().await.expect("an answer"));
        let frames = beginning(stream, ids.last()).await;
        // Commits of two events: those of `lab` are every second one of three.
        let visible = (from + 1..60).filter(|n| n / 2 % 3 != 1);
        let visible: Vec<&str> = visible.map(|n| &*ids[n]).collect();
        assert_eq!((reason(&frames), completions(&frames)), (None, visible));
        assert!(frames.iter().all(|frame| frame.text("vm") != "lab"), "{frames:?}");
        assert_eq!(frames.last().expect("a heartbeat").id.as_ref(), ids.last(), "it stands behind what it may not see");
    }
    assert_eq!(gateway.stop().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_restored_from_a_backup_answers_every_id_of_before_with_unknown_epoch_and_keeps_its_new_one() {
    for with_mark in [true, false] {
        let (dir, backup) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let mut ids = fill(dir.path(), now(), &["a"], 3, 1).await;
        let files = if with_mark { &["journal.db", "journal.db.mark"][..] } else { &["journal.db"] };
        let copy = |from: &Path, to: &Path| {
            for file in files {
                fs::copy(from.join(file), to.join(file)).expect("copied");
            }
        };
        copy(dir.path(), backup.path());
        ids.extend(fill(dir.path(), now(), &["a"], 3, 1).await);
        let gateway = quiet(dir).await;
        assert_eq!(
            reason(&beginning(gateway.resume("", &ids[0]).await, ids.last()).await),
            None,
            "so far it is the same journal"
        );
        let dir = gateway.stop_keeping_data().await;
        copy(backup.path(), dir.path());

        let gateway = quiet(dir).await;
        for id in &ids {
            assert_eq!(reason(&beginning(gateway.resume("", id).await, None).await), Some("unknown_epoch"), "{id}");
        }
        let new = beginning(gateway.stream("").await, None).await.pop().and_then(|frame| frame.id).expect("an id");
        let gateway = quiet(gateway.stop_keeping_data().await).await;
        let frames = beginning(gateway.resume("", &new).await, Some(&new)).await;
        assert_eq!((reason(&frames), frames.last().and_then(|frame| frame.id.clone())), (None, Some(new)));
        assert_eq!(gateway.stop().await, "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_plain_restart_in_order_or_by_kill_9_every_id_of_before_goes_on() {
    let vm = SIMULATED.replace("speed = \"5\"", "speed = \"20\"");
    let mut served = Process::start(Scheme::Http, &vm).await;
    let mut known: Vec<(String, String)> = Vec::new();
    for in_order in [true, false, true] {
        let mut stream = served.stream().await;
        let frames = stream.until(SOON, |frame| frame.event == "run_complete").await;
        let told = frames.iter().filter(|frame| frame.event == "task_complete");
        known = told.map(|frame| (frame.id.clone().expect("an id"), frame.text("key").to_owned())).collect();
        assert_eq!(known.len(), 30, "one run of the snapshot or as it went on");
        if in_order {
            served.signal(Signal::TERM);
            assert!(served.ended(SOON).await.success());
        }
        served.restart().await;
        for from in (0..known.len()).step_by(7) {
            let request = served.client().get(served.url("/api/benchmark-sse?interval=1")).bearer_auth(served.key());
            let request = request.header("Last-Event-ID", &known[from].0);
            let mut stream = Sse::new(request.send().await.expect("an answer"));
            let last = known.last().expect("thirty");
            let mut frames = Vec::new();
            if from + 1 < known.len() {
                frames = stream.until(SOON, |frame| frame.text("key") == last.1).await;
            }
            frames.extend(stream.until(SOON, |frame| frame.event == "progress").await);
            assert_eq!(reason(&frames), None, "in order: {in_order}");
            let missed = frames.iter().filter(|frame| frame.event == "task_complete");
            let missed: Vec<_> =
                missed.map(|frame| (frame.id.clone().expect("an id"), frame.text("key").to_owned())).collect();
            assert!(missed.starts_with(&known[from + 1..]), "in order: {in_order}, from {from}: {missed:?}");
        }
    }
    assert!(!known.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn grants_that_change_under_an_open_stream_reset_it_to_what_they_allow_now() {
    let served = Served::start().await;
    let file = served.keys_file();
    let made =
        gatewatch(&["key", "new", "--name", "watcher", "--vms", "one", "--keys-file", &file.display().to_string()]);
    let key = String::from_utf8(made.stdout).expect("text").trim().to_owned();
    eventually(SOON, || async { served.get_as("/api/vms", &key).await.is_some_and(|answer| answer.status() == 200) })
        .await;
    let mut stream = served.stream_as(&key).await;
    let before = fs::read_to_string(&file).expect("the keys");
    let mut allowed = "\"one\"".to_owned();
    // Wider, narrower, others.
    for (now, vms) in [("\"one\", \"two\"", &["one", "two"][..]), ("\"two\"", &["two"]), ("\"one\"", &["one"])] {
        let text = fs::read_to_string(&file).expect("the keys");
        let changed = text.replace(&format!("vms = [{allowed}]"), &format!("vms = [{now}]"));
        assert_ne!(changed, text, "{before}");
        // Another file would be one that others can read.
        fs::write(&file, changed).expect("written");
        served.reload();
        now.clone_into(&mut allowed);
        let frames = stream.until(SOON, |frame| frame.event == "reset").await;
        assert_eq!(frames.last().map(|frame| frame.text("reason")), Some("grants_changed"));
        let snapshot = stream.until(SOON, |frame| frame.event != "task_complete" && frame.id.is_some()).await;
        let mut shown: Vec<_> = snapshot.iter().filter(|f| f.event == "status").map(|f| f.text("vm")).collect();
        shown.sort_unstable();
        assert_eq!(shown, vms);
    }
}
