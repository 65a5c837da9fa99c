//! What a new process, or a new poller, goes on from.

use tokio::task::JoinSet;

use super::*;
use crate::event::EventKind;
use crate::journal::Commit;
use crate::model::Stage;

/// Polls `vm` until its run is told, and ends without a word.
async fn one_life(journal: &Arc<Flaky>, config: VmConfig) -> LiveReport {
    let mut lab = Lab::new(journal);
    lab.fleet.add(config).expect("watched");
    let announcement = lab.next().await;
    assert_eq!(announcement.poll_no, 0);
    while lab.next().await.poll_no < 2 {}
    lab.stop().await;
    announcement
}

#[tokio::test(start_paused = true)]
async fn a_restarted_poller_announces_the_view_of_the_last_commit_and_counts_on() {
    let journal = Flaky::new();
    let first = one_life(&journal, running("a", "")).await;
    assert!(first.view.is_none());
    let events = told(&journal).await;
    let last = journal.inner.last_commit(&first.vm_id).await.unwrap().expect("it was polled");

    let again = one_life(&journal, running("a", "")).await;
    let view = again.view.expect("what the journal kept");
    assert_eq!((view.stage, again.after.seq), (Stage::Running, last.seq));
    let run = &view.progress[0];
    let completions = events.iter().filter(|event| event.kind == EventKind::TaskComplete);
    assert_eq!((completions.count() as u64, run.open), (run.completed, true));
    // The simulated VM went on a little between the two: what is new follows, nothing comes twice.
    let after = told(&journal).await;
    assert_eq!(after[..events.len()], events);
    let newest = journal.inner.last_commit(&first.vm_id).await.unwrap().expect("as before");
    assert_eq!(newest.commit.n - last.commit.n, newest.seq - last.seq);
}

#[tokio::test(start_paused = true)]
async fn a_removed_vm_that_comes_back_is_announced_without_its_last_view() {
    let journal = Flaky::new();
    let mut lab = Lab::new(&journal);
    lab.fleet.add(running("a", "")).expect("watched");
    while lab.next().await.poll_no < 1 {}
    lab.fleet.remove(&name("a")).await;
    lab.fleet.add(running("a", "")).expect("watched again");
    let report = loop {
        let report = lab.next().await;
        if report.poll_no == 0 {
            break report;
        }
    };
    assert!(report.view.is_none() && report.after > Position::START);
    assert_eq!(lab.next().await.view.expect("a report").stage, Stage::Running);
    lab.stop().await;
}

#[tokio::test(start_paused = true)]
async fn every_vm_is_announced_before_it_is_said_so_and_one_without_an_answer_holds_up_no_other() {
    let journal = Flaky::new();
    journal.mute(Some(name("vm-3")));
    let mut lab = Lab::new(&journal);
    for number in 0..8 {
        lab.fleet.add(running(&format!("vm-{number}"), "")).expect("watched");
    }
    let mut announced = JoinSet::new();
    announced.spawn(lab.fleet.announced());
    let mut seen = std::collections::HashSet::new();
    while seen.len() < 7 {
        seen.insert(lab.next().await.vm);
    }
    assert!(!seen.contains(&name("vm-3")) && announced.try_join_next().is_none());
    let why = lab.not_ready().into_iter().find(|(gate, _)| gate == "vm vm-3").expect("not ready");
    assert_eq!(why.1, "no report yet");
    tokio::time::sleep(Duration::from_secs(6)).await;
    let why = lab.not_ready().into_iter().find(|(gate, _)| gate == "vm vm-3").expect("not ready");
    assert!(why.1.contains("the journal does not say where to go on"), "{}", why.1);

    journal.mute(None);
    while lab.next().await.vm != name("vm-3") {}
    announced.join_next().await.expect("one task").expect("no panic");
    lab.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_vm_whose_state_cannot_be_read_is_announced_and_neither_polled_nor_written() {
    let journal = Flaky::new();
    let vm_id: VmId = journal.inner.vm_id(&name("a")).await.unwrap();
    let newer = "{\"v\":99,\"state\":{}}";
    let (cursors, events) = (Vec::new(), Vec::new());
    let commit = Commit { vm_id, lease_rev: 0, n: 7, follows: 0, cursors, tracker_state: newer.into(), events };
    journal.commit(commit).await.expect("taken");
    let mut lab = Lab::new(&journal);
    lab.fleet.add(running("a", "")).expect("watched");
    lab.fleet.add(running("b", "")).expect("watched");
    lab.fleet.announced().await;
    let mut of_a = 0;
    for _ in 0..10 {
        let report = lab.next().await;
        if report.vm == name("a") {
            of_a += 1;
            assert!(report.view.is_none() && report.poll_no == 0);
        }
    }
    assert_eq!(of_a, 1, "announced, and no more");
    let not_ready = lab.not_ready();
    let [(gate, why)] = &not_ready[..] else { panic!("{not_ready:?}") };
    assert!(gate == "vm a" && why.contains("version 99") && why.contains("start the gatewatch that wrote it"), "{why}");
    assert!(!told(&journal).await.iter().any(|event| event.vm == name("a")));
    lab.fleet.remove(&name("a")).await;
    assert_eq!(lab.not_ready(), []);
    assert!(!told(&journal).await.iter().any(|event| event.vm == name("a")), "not even its removal");
    lab.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_renamed_vm_goes_on_under_its_new_name_and_nobody_is_told_of_a_removal() {
    let journal = Flaky::new();
    let mut lab = Lab::new(&journal);
    assert!(lab.fleet.replace(vec![running("old", "")]).await.is_empty());
    let before = loop {
        let report = lab.next().await;
        if report.poll_no == 1 {
            break report;
        }
    };
    let events = told(&journal).await;
    assert!(lab.fleet.replace(vec![running("new", "renamed_from = \"old\"")]).await.is_empty());
    let after = loop {
        let report = lab.next().await;
        if report.vm == name("new") {
            break report;
        }
    };
    assert_eq!((after.poll_no, &after.vm_id, after.after), (0, &before.vm_id, before.after));
    let run = |report: &LiveReport| report.view.as_ref().unwrap().progress[0].run.clone();
    assert_eq!(run(&after), run(&before));
    lab.next().await;
    let all = told(&journal).await;
    for (before, after) in events.iter().zip(&all) {
        assert_eq!((&before.data, after.vm.as_str()), (&after.data, "new"), "who may see the name may see all of it");
    }
    assert!(!all.iter().any(|event| event.data.contains("\"removed\"")));
    assert_eq!(lab.fleet.names().collect::<Vec<_>>(), [&name("new")]);
    lab.stop().await;
    // The key may stay: at the next start it does nothing, and the old name is free for another VM.
    let again = one_life(&journal, running("new", "renamed_from = \"old\"")).await;
    assert_eq!(again.vm_id, before.vm_id);
    assert_ne!(journal.inner.vm_id(&name("old")).await.unwrap(), before.vm_id);
}

#[tokio::test(start_paused = true)]
async fn a_vm_renamed_while_gatewatch_was_down_goes_on_too() {
    let journal = Flaky::new();
    let first = one_life(&journal, running("old", "")).await;
    let again = one_life(&journal, running("new", "renamed_from = \"old\"")).await;
    assert_eq!(again.vm_id, first.vm_id);
    assert_eq!(again.view.expect("what the journal kept").stage, Stage::Running);
}

#[tokio::test(start_paused = true)]
async fn a_rename_to_a_name_that_is_known_already_is_a_removal() {
    let journal = Flaky::new();
    one_life(&journal, running("new", "")).await;
    let mut lab = Lab::new(&journal);
    assert!(lab.fleet.replace(vec![running("old", "")]).await.is_empty());
    while lab.next().await.poll_no < 1 {}
    assert!(lab.fleet.replace(vec![running("new", "renamed_from = \"old\"")]).await.is_empty());
    let removed: Vec<_> =
        told(&journal).await.into_iter().filter(|e| e.data.contains("\"stage\":\"removed\"")).collect();
    assert_eq!(removed.len(), 1);
    assert_eq!(removed[0].vm, name("old"));
    lab.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_rename_that_the_journal_could_not_make_at_once_is_made_when_it_answers() {
    let journal = Flaky::new();
    let mut lab = Lab::new(&journal);
    assert!(lab.fleet.replace(vec![running("old", "")]).await.is_empty());
    let first = lab.next().await;
    while lab.next().await.poll_no < 1 {}
    journal.set(Mood::Works, true);
    assert!(lab.fleet.replace(vec![running("new", "renamed_from = \"old\"")]).await.is_empty());
    tokio::time::sleep(Duration::from_secs(20)).await;
    journal.set(Mood::Works, false);
    let report = loop {
        let report = lab.next().await;
        if report.vm == name("new") {
            break report;
        }
    };
    assert_eq!(report.vm_id, first.vm_id);
    assert!(!told(&journal).await.iter().any(|event| event.data.contains("\"removed\"")));
    lab.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_old_name_that_another_vm_has_is_not_taken_from_it() {
    let journal = Flaky::new();
    let mut lab = Lab::new(&journal);
    assert!(lab.fleet.replace(vec![running("old", ""), running("new", "renamed_from = \"old\"")]).await.is_empty());
    lab.fleet.announced().await;
    let mut ids = std::collections::HashMap::new();
    while ids.len() < 2 {
        let report = lab.next().await;
        ids.insert(report.vm, report.vm_id);
    }
    assert_ne!(ids[&name("old")], ids[&name("new")]);
    lab.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_vm_that_went_while_no_gateway_ran_is_told_as_removed_once_and_its_run_is_over() {
    let journal = Flaky::new();
    one_life(&journal, running("a", "")).await;
    one_life(&journal, running("keeps", "")).await;
    let before = told(&journal).await.len();
    let mut lab = Lab::new(&journal);
    lab.fleet.add(running("b", "")).expect("watched");
    for _ in 0..2 {
        lab.fleet.remove_missing([name("keeps")].into(), Vec::new()).await;
    }
    let after = told(&journal).await;
    let of_a: Vec<_> = after[before..].iter().filter(|event| event.vm == name("a")).collect();
    let kinds: Vec<_> = of_a.iter().map(|event| event.kind).collect();
    assert_eq!(kinds.last(), Some(&EventKind::Status), "{of_a:?}");
    assert_eq!(kinds.iter().filter(|kind| **kind == EventKind::RunComplete).count(), 1, "{of_a:?}");
    assert!(of_a.last().is_some_and(|event| event.data.contains("\"stage\":\"removed\"")), "{of_a:?}");
    let removed = after.iter().filter(|event| event.data.contains("\"stage\":\"removed\""));
    assert_eq!(removed.count(), 1, "once, and no other VM");
    lab.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_vm_that_waits_for_its_new_name_is_not_told_as_removed() {
    let journal = Flaky::new();
    one_life(&journal, running("a", "")).await;
    let mut lab = Lab::new(&journal);
    journal.set(Mood::Works, true);
    lab.fleet.add(running("b", "renamed_from = \"a\"")).expect("watched");
    assert!(!lab.fleet.remove_missing(std::collections::HashSet::new(), Vec::new()).await, "it says nothing");
    journal.set(Mood::Works, false);
    assert!(lab.fleet.remove_missing(std::collections::HashSet::new(), Vec::new()).await);
    while lab.next().await.poll_no < 1 {}
    assert!(told(&journal).await.iter().all(|event| !event.data.contains("\"stage\":\"removed\"")));
    lab.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_vm_whose_new_name_was_known_already_while_no_gateway_ran_is_told_as_removed() {
    let journal = Flaky::new();
    one_life(&journal, running("a", "")).await;
    one_life(&journal, running("b", "")).await;
    let mut lab = Lab::new(&journal);
    lab.fleet.add(running("b", "renamed_from = \"a\"")).expect("watched");
    for _ in 0..2 {
        lab.fleet.remove_missing(std::collections::HashSet::new(), vec![(name("a"), name("b"))]).await;
    }
    let removed: Vec<_> =
        told(&journal).await.into_iter().filter(|e| e.data.contains("\"stage\":\"removed\"")).collect();
    assert_eq!(removed.iter().map(|event| &event.vm).collect::<Vec<_>>(), [&name("a")]);
    lab.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_logs_of_a_vm_that_went_while_no_gateway_ran_are_read_on_when_it_comes_back() {
    let journal = Flaky::new();
    let vm_id = one_life(&journal, running("a", "")).await.vm_id;
    let cursors = async || journal.inner.last_commit(&vm_id).await.unwrap().expect("a commit").commit.cursors.clone();
    let before = cursors().await;
    assert!(before.iter().any(|cursor| cursor.offset > 0), "{before:?}");
    let lab = Lab::new(&journal);
    lab.fleet.remove_missing(std::collections::HashSet::new(), Vec::new()).await;
    assert!(told(&journal).await.iter().any(|event| event.data.contains("\"stage\":\"removed\"")));
    assert_eq!(cursors().await, before);
    lab.stop().await;
}
