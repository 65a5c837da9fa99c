//! Live events: lanes, the fence, staleness, errors, removal.

use super::*;

fn seconds(n: f64) -> Duration {
    Duration::from_secs_f64(n)
}

#[tokio::test(start_paused = true)]
async fn a_lane_sends_the_latest_at_most_once_an_interval_and_durable_events_at_once() {
    let mut lab = Lab::new();
    lab.report("a", view(Stage::Ready)).await;
    let (mut slow, mut fast) = (lab.watch(5).await, lab.watch(1).await);
    for poll in 0..100 {
        let boot_percent = f64::from(poll);
        lab.report("a", VmView { boot_percent, ..view(Stage::Ready) }).await;
        sleep(Duration::from_millis(499)).await;
        if poll == 50 {
            lab.commit("a", vec![completed("a", "r", 1)]).await;
            let now = slow.so_far().await;
            assert_eq!(keys(&now), ["a/r/1"]);
        }
    }
    let mut last = None;
    let mut statuses = slow.so_far().await;
    statuses.retain(|got| got.event == "status");
    // Nobody read meanwhile: the latest is all that is left.
    assert_eq!(statuses.len(), 1);
    assert_eq!(fast.so_far().await.iter().filter(|got| got.event == "status").count(), 1);
    assert!(lab.metrics.events_coalesced.get() > 100);

    for poll in 0..60 {
        let boot_percent = f64::from(poll);
        lab.report("a", VmView { boot_percent, ..view(Stage::Ready) }).await;
        let until = tokio::time::Instant::now() + seconds(0.499);
        while let Some(got) = slow.within(until - tokio::time::Instant::now()).await {
            if got.event == "status" {
                let now = tokio::time::Instant::now();
                if let Some(before) = last.replace(now) {
                    assert!(now - before >= seconds(4.5), "{:?}", now - before);
                    assert!(now - before <= seconds(5.1), "{:?}", now - before);
                }
                assert_eq!(got.data["percent"], boot_percent);
            }
        }
    }
    assert!(last.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_report_after_a_quiet_interval_is_sent_at_once() {
    let mut lab = Lab::new();
    lab.report("a", view(Stage::Ready)).await;
    let mut client = lab.watch(5).await;
    for _ in 0..4 {
        sleep(seconds(4.6)).await;
        lab.report("a", running("r", 1)).await;
        let frames = client.so_far().await;
        assert_eq!(frames.iter().filter(|got| got.event == "status").count(), 1);
        assert_eq!(frames.iter().filter(|got| got.event == "progress").count(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_over_is_told_once() {
    let mut lab = Lab::new();
    lab.report("a", running("r", 1)).await;
    let mut client = lab.watch(1).await;
    let mut over = running("r", 2);
    over.progress[0].open = false;
    let mut told = 0;
    for _ in 0..3 {
        sleep(seconds(1.0)).await;
        lab.report("a", over.clone()).await;
        told += client.so_far().await.iter().filter(|got| got.event == "progress").count();
    }
    assert_eq!(told, 1);
    assert_eq!(names(&lab.open(1, None).so_far().await[2..]), ["status", "progress"]);
}

#[tokio::test(start_paused = true)]
async fn a_report_that_is_not_newer_is_dropped() {
    let mut lab = Lab::new();
    lab.report("a", view(Stage::Booting)).await;
    let old = lab.poll("a", Some(view(Stage::Oobe)));
    lab.report("a", view(Stage::Ready)).await;
    lab.publish(old.clone()).await;
    let stage = |lab: &Lab| lab.hub.vms(&VmGrant::all())[0].view.as_ref().unwrap().stage;
    assert_eq!(stage(&lab), Stage::Ready);
    // Another holder's lease is newer whatever its count.
    lab.publish(LiveReport { lease_rev: 7, poll_no: 1, ..old.clone() }).await;
    assert_eq!(stage(&lab), Stage::Oobe);
    lab.report("a", view(Stage::Ready)).await;
    assert_eq!(stage(&lab), Stage::Oobe);
    // A poller that begins anew under its lease announces itself first.
    lab.publish(LiveReport { lease_rev: 7, poll_no: 0, view: None, ..old.clone() }).await;
    lab.publish(LiveReport { lease_rev: 7, poll_no: 1, ..old }).await;
    assert_eq!(stage(&lab), Stage::Oobe);
}

#[tokio::test(start_paused = true)]
async fn a_report_waits_for_its_durable_events_and_not_for_ever() {
    let mut lab = Lab::new();
    lab.report("a", view(Stage::Booting)).await;
    let mut client = lab.watch(1).await;
    sleep(seconds(2.0)).await;
    let early = lab.poll("a", Some(view(Stage::Ready)));
    lab.publish(LiveReport { after: Position { seq: 1, i: 0 }, ..early }).await;
    assert_eq!(client.during(seconds(0.5)).await, []);
    lab.commit("a", vec![completed("a", "r", 1)]).await;
    assert_eq!(names(&client.so_far().await), ["task_complete", "status"]);

    let lost = lab.poll("a", Some(view(Stage::Running)));
    lab.publish(LiveReport { after: Position { seq: 9, i: 0 }, ..lost }).await;
    let frames = client.during(seconds(4.0)).await;
    assert_eq!(names(&frames), ["status"]);
    assert_eq!(frames[0].data["stage"], "running");
}

#[tokio::test(start_paused = true)]
async fn a_durable_status_clears_an_older_one_that_waits() {
    let mut lab = Lab::new();
    lab.report("a", view(Stage::Booting)).await;
    let mut client = lab.watch(5).await;
    lab.report("a", view(Stage::Booting)).await;
    assert_eq!(names(&client.so_far().await), ["status"]);
    let waits = lab.poll("a", Some(running("r", 1)));
    lab.publish(waits).await;
    let late = lab.poll("a", Some(view(Stage::Booting)));
    lab.commit("a", vec![reached("a", Stage::Ready)]).await;
    lab.publish(late).await;
    let frames = client.during(seconds(10.0)).await;
    assert_eq!(names(&frames), ["status", "progress"]);
    assert_eq!(frames[0].data["stage"], "ready");
    assert!(frames[0].id.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_vm_nobody_reports_on_goes_stale_and_comes_back() {
    let mut lab = Lab::new();
    lab.report("a", view(Stage::Ready)).await;
    let mut client = lab.watch(1).await;
    assert_eq!(client.during(seconds(15.0)).await, []);
    let frames = client.during(seconds(2.5)).await;
    assert_eq!(names(&frames), ["status"]);
    assert_eq!(frames[0].data["stale"], true);
    assert!(lab.hub.vms(&VmGrant::all())[0].stale);
    let heartbeat = loop {
        let got = client.next().await;
        if got.event == "heartbeat" {
            break got;
        }
    };
    assert_eq!(heartbeat.data["stale"], true);
    lab.report("a", view(Stage::Ready)).await;
    let frames = client.during(seconds(1.0)).await;
    assert_eq!(frames[0].data["stale"], false);
    assert_eq!(frames.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_vm_goes_stale_by_the_interval_in_force() {
    let mut lab = Lab::new();
    // Three intervals, and never less than 15 s.
    for (interval, fresh, stale) in [(1.0, 14.0, 17.0), (20.0, 59.0, 62.0), (60.0, 179.0, 182.0)] {
        let report = lab.poll("a", Some(view(Stage::Ready)));
        lab.publish(LiveReport { interval, ..report }).await;
        let is_stale = || lab.hub.vms(&VmGrant::all())[0].stale;
        assert!(!is_stale(), "{interval}");
        sleep(seconds(fresh)).await;
        assert!(!is_stale() && lab.hub.stale_vms() == 0, "{interval}");
        sleep(seconds(stale - fresh)).await;
        assert!(is_stale() && lab.hub.stale_vms() == 1, "{interval}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_is_raised_once_and_resolved_once() {
    let mut lab = Lab::new();
    lab.report("a", failing(&[])).await;
    let mut client = lab.watch(1).await;
    let mut errors = Vec::new();
    for codes in [
        &[ErrorCode::SshTimeout][..],
        &[ErrorCode::SshTimeout],
        &[ErrorCode::SshTimeout, ErrorCode::LogGap],
        &[ErrorCode::LogGap],
        &[],
        &[],
    ] {
        sleep(seconds(1.0)).await;
        lab.report("a", failing(codes)).await;
        let mut frames = client.so_far().await;
        frames.retain(|got| got.event == "error");
        errors.extend(frames.iter().map(|got| format!("{} {}", got.data["code"], got.data["resolved"])));
    }
    let expected = ["\"ssh_timeout\" false", "\"log_gap\" false", "\"ssh_timeout\" true", "\"log_gap\" true"];
    assert_eq!(errors, expected);
    assert_eq!(names(&lab.open(1, None).so_far().await[2..]), ["status"]);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_has_the_latest_error_of_each_vm_and_code_that_is_in_force() {
    let mut lab = Lab::new();
    let saying = |message: &str| {
        let errors =
            [ErrorCode::SshTimeout, ErrorCode::LogGap].map(|code| ActiveError { code, message: message.to_owned() });
        VmView { errors: errors.into(), ..view(Stage::Ready) }
    };
    lab.report("a", saying("first")).await;
    lab.report("b", saying("other")).await;
    lab.report("a", saying("then")).await;
    let errors = async |lab: &Lab| -> Vec<String> {
        let frames = lab.open(1, None).so_far().await;
        let errors = frames.iter().filter(|got| got.event == "error");
        errors.map(|got| format!("{} {} {}", got.data["vm"], got.data["code"], got.data["message"])).collect()
    };
    let of_b = [r#""b" "ssh_timeout" "other""#, r#""b" "log_gap" "other""#];
    let of_a = [r#""a" "ssh_timeout" "then""#, r#""a" "log_gap" "then""#];
    assert_eq!(errors(&lab).await, [&of_a[..], &of_b].concat());
    lab.report("a", failing(&[])).await;
    assert_eq!(errors(&lab).await, of_b);
}

#[tokio::test(start_paused = true)]
async fn a_removed_vm_is_told_of_and_gone_and_may_come_back() {
    let mut lab = Lab::new();
    lab.report("a", view(Stage::Ready)).await;
    lab.report("b", view(Stage::Ready)).await;
    let mut client = lab.watch(1).await;
    let mut lazy = lab.watch(1).await;
    let late = lab.poll("a", Some(view(Stage::Ready)));
    let at = lab.commit("a", vec![reached("a", Stage::Removed)]).await;
    let frames = client.so_far().await;
    assert_eq!(names(&frames), ["status"]);
    assert_eq!((frames[0].data["stage"].as_str(), &frames[0].id), (Some("removed"), &Some(at)));
    lab.publish(late).await;
    assert!(!lab.hub.has_vm(&VmGrant::all(), &name("a")));
    assert_eq!(lab.hub.vms(&VmGrant::all()).len(), 1);
    assert_eq!(names(&lab.open(1, None).so_far().await[2..]), ["status"]);

    // Another VM takes the slot; whoever did not look yet still hears of both.
    lab.report("c", view(Stage::Ready)).await;
    let frames = lazy.so_far().await;
    let told: Vec<_> = frames.iter().map(|got| (got.data["vm"].as_str(), got.data["stage"].as_str())).collect();
    assert_eq!(told, [(Some("a"), Some("removed")), (Some("c"), Some("ready"))]);

    lab.polls.remove(&name("a"));
    lab.announce("a").await;
    lab.report("a", view(Stage::Booting)).await;
    assert_eq!(lab.hub.vms(&VmGrant::all()).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_renamed_vm_is_seen_by_those_who_may_see_its_new_name() {
    let mut lab = Lab::new();
    lab.report("old", view(Stage::Ready)).await;
    let mut both = Client::new(lab.hub.open(request(&["old", "new"], 1, None)).unwrap());
    let mut before = Client::new(lab.hub.open(request(&["old"], 1, None)).unwrap());
    let mut after = Client::new(lab.hub.open(request(&["new"], 1, None)).unwrap());
    let mut other = Client::new(lab.hub.open(request(&["else"], 1, None)).unwrap());
    for client in [&mut both, &mut before, &mut after, &mut other] {
        client.so_far().await;
    }
    sleep(seconds(2.0)).await;
    let report = lab.poll("old", Some(view(Stage::Ready)));
    lab.publish(LiveReport { vm: name("new"), ..report }).await;
    for client in [&mut both, &mut after] {
        let frames = client.so_far().await;
        assert_eq!(names(&frames), ["reset", "status"]);
        assert_eq!((&frames[0].data["reason"], &frames[1].data["vm"]), (&json!("grants_changed"), &json!("new")));
    }
    assert_eq!(names(&before.during(seconds(1.0)).await), ["reset"], "and nothing of the VM");
    assert_eq!(other.during(seconds(1.0)).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_vm_that_is_renamed_before_its_first_report_under_the_new_name_keeps_view_and_completions() {
    let mut lab = Lab::new();
    lab.commit("old", vec![started("old", "r"), completed("old", "r", 1)]).await;
    lab.report("old", running("r", 1)).await;
    let mut client = lab.watch(1).await;
    let restored = LiveReport { vm: name("new"), poll_no: 0, ..lab.poll("old", Some(view(Stage::Booting))) };
    lab.publish(restored).await;
    let frames = client.so_far().await;
    assert_eq!(names(&frames), ["reset", "task_complete", "status", "progress"]);
    assert_eq!((&frames[2].data["vm"], &frames[2].data["stage"]), (&json!("new"), &json!("running")));
    assert_eq!(lab.hub.vms(&VmGrant::all()).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_restored_view_is_shown_stale_with_its_completions_until_the_first_report() {
    let journal = Arc::new(MemoryJournal::new(MemoryJournalConfig::default()));
    commit(&*journal, "a", vec![started("a", "r"), completed("a", "r", 1), completed("a", "r", 2)]).await;
    // A checkpoint: the restored view stands behind a commit that no read of events brings.
    let checkpoint = commit(&*journal, "a", Vec::new()).await;
    let mut lab = Lab::on(journal, HubConfig::default());
    let after = Position { seq: checkpoint.seq, i: 0 };
    lab.polls.insert(name("a"), (0, after));
    let announcement = LiveReport { poll_no: 0, ..lab.poll("a", Some(running("r", 2))) };
    lab.publish(LiveReport { after, ..announcement }).await;
    let mut client = lab.open(1, None);
    let frames = client.so_far().await;
    assert_eq!(names(&frames[2..]), ["task_complete", "task_complete", "status", "progress"]);
    assert_eq!(keys(&frames), ["a/r/1", "a/r/2"]);
    assert_eq!(frames[4].data["stale"], true);
    assert!(lab.hub.vms(&VmGrant::all())[0].stale);

    lab.polls.insert(name("a"), (0, after));
    lab.report("a", running("r", 2)).await;
    assert_eq!(client.during(seconds(1.0)).await[0].data["stale"], false, "at once: nothing holds it back");
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_missed_a_checkpoint_does_not_wait_for_it() {
    let mut lab = Lab::new();
    lab.report("a", view(Stage::Booting)).await;
    // More than the tail holds, before the hub looks.
    for number in 0..2000 {
        commit(&*lab.journal, "a", vec![completed("a", "r", number)]).await;
    }
    let checkpoint = commit(&*lab.journal, "a", Vec::new()).await;
    for _ in 0..2000 {
        commit(&*lab.journal, "b", Vec::new()).await;
    }
    settle().await;
    let report = lab.poll("a", Some(view(Stage::Ready)));
    lab.publish(LiveReport { after: Position { seq: checkpoint.seq, i: 0 }, ..report }).await;
    assert_eq!(lab.hub.vms(&VmGrant::all())[0].view.as_ref().unwrap().stage, Stage::Ready);
}

#[tokio::test(start_paused = true)]
async fn a_poller_made_anew_does_not_put_its_older_view_before_the_newer_one_and_is_heard_from_its_first_poll() {
    let mut lab = Lab::new();
    lab.report("a", view(Stage::Ready)).await;
    lab.report("a", view(Stage::Ready)).await;
    // What the old poller left waiting for its commit is no obstacle either.
    let waits = lab.poll("a", Some(view(Stage::Complete)));
    lab.publish(LiveReport { after: Position { seq: 9, i: 0 }, ..waits }).await;
    lab.polls.remove(&name("a"));
    let announcement = LiveReport { poll_no: 0, ..lab.poll("a", Some(view(Stage::Booting))) };
    lab.publish(announcement).await;
    let entry = |lab: &Lab| lab.hub.vms(&VmGrant::all()).remove(0);
    assert_eq!((entry(&lab).view.unwrap().stage, entry(&lab).stale), (Stage::Ready, false));
    lab.polls.remove(&name("a"));
    lab.report("a", view(Stage::Running)).await;
    sleep(seconds(3.0)).await;
    assert_eq!(entry(&lab).view.unwrap().stage, Stage::Running);
}

#[tokio::test(start_paused = true)]
async fn the_bus_is_settled_once_the_hub_has_taken_what_was_published_before() {
    let mut lab = Lab::new();
    for number in 0..50 {
        let report = lab.poll(&format!("vm-{number}"), None);
        assert!(lab.bus.publish(report).await);
    }
    assert!(lab.bus.settled().await);
    assert_eq!(lab.hub.vms(&VmGrant::all()).len(), 50);
    lab.stop.cancel();
    while lab.tasks.join_next().await.is_some() {}
    assert!(!lab.bus.settled().await, "the hub is gone");
}

#[tokio::test(start_paused = true)]
async fn a_poller_that_begins_anew_is_heard_although_it_has_committed_nothing() {
    let mut lab = Lab::new();
    lab.announce("a").await;
    lab.commit("a", vec![started("a", "r"), completed("a", "r", 1)]).await;
    lab.report("a", running("r", 1)).await;
    let mut client = lab.watch(1).await;
    let announcement = LiveReport { poll_no: 0, after: Position::START, ..lab.poll("a", None) };
    lab.publish(announcement).await;
    let report = LiveReport { poll_no: 1, after: Position::START, ..lab.poll("a", Some(running("r", 2))) };
    lab.publish(report).await;
    assert!(names(&client.during(Duration::from_secs(3)).await).contains(&"status"));
}
