//! Going on from an id, every reason why that cannot be, and readers that fall behind.

use super::*;

/// Three VMs' completions in commits of one to three events.
async fn filled(lab: &mut Lab, commits: u64) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for n in 0..commits {
        let vm = ["a", "b", "c"][(n % 3) as usize];
        let events: Vec<_> = (0..=n % 3).map(|i| completed(vm, "r", n * 10 + i)).collect();
        let committed = commit(&*lab.journal, vm, events).await;
        lab.polls.entry(name(vm)).or_default().1 = committed.events.last().unwrap().position;
        for stored in &*committed.events {
            let data: Value = serde_json::from_str(&stored.event.data).unwrap();
            all.push((lab.id(stored.position), data["key"].as_str().unwrap().to_owned()));
        }
    }
    settle().await;
    all
}

#[tokio::test(start_paused = true)]
async fn from_any_position_exactly_the_rest_comes_then_what_is_so_now() {
    let mut lab = Lab::new();
    for vm in ["a", "b", "c"] {
        lab.announce(vm).await;
    }
    let all = filled(&mut lab, 40).await;
    lab.report("a", running("r", 1)).await;
    for at in 0..all.len() {
        let frames = lab.open(5, Some(&all[at].0)).so_far().await;
        let rest: Vec<_> = all[at + 1..].iter().map(|(_, key)| key.clone()).collect();
        assert_eq!(keys(&frames), rest);
        assert_eq!(names(&frames[2 + rest.len()..]), ["status", "progress"]);
        assert_eq!(frames.last().unwrap().id.as_ref(), Some(&all.last().unwrap().0));
    }
    assert_eq!(lab.metrics.streams_resumed.get(), all.len() as u64);
}

#[tokio::test(start_paused = true)]
async fn what_the_ring_has_no_more_comes_from_the_journal() {
    let mut lab = Lab::new();
    lab.announce("a").await;
    let all = filled(&mut lab, 2000).await;
    let mut client = Client::new(lab.hub.open(request(&["a", "c"], 5, Some(&all[0].0))).unwrap());
    let wanted: Vec<_> = all[1..].iter().filter(|(_, key)| !key.starts_with('b')).map(|(_, key)| key.clone()).collect();
    let frames = client.so_far_with_heartbeats().await;
    assert_eq!(keys(&frames), wanted);
    assert_eq!(frames.last().unwrap().id.as_ref(), Some(&all.last().unwrap().0));
    // A restarted hub has an empty ring and knows the same journal.
    let again = Lab::on(Arc::clone(&lab.journal), HubConfig::default());
    let frames = again.open(5, Some(&all[10].0)).so_far().await;
    assert_eq!(keys(&frames).len(), all.len() - 11);
}

#[tokio::test(start_paused = true)]
async fn g50_an_id_of_no_use_is_answered_with_its_reason_and_a_snapshot() {
    let config = MemoryJournalConfig { max_events: 60, ..MemoryJournalConfig::default() };
    let mut lab = Lab::with(HubConfig::default(), config);
    lab.announce("a").await;
    let all = filled(&mut lab, 60).await;
    lab.report("a", running("r", 1)).await;
    let newest = &all.last().unwrap().0;
    let long = "9".repeat(300);
    for (id, reason) in [
        ("garbage", "invalid_id"),
        ("", "invalid_id"),
        (long.as_str(), "invalid_id"),
        ("k\r\nevent: status\ndata: {}\n\n", "invalid_id"),
        ("k-1.0\u{0}", "invalid_id"),
        ("other-1.0", "unknown_epoch"),
        (all[3].0.as_str(), "pruned"),
        (&format!("{}99.0", newest.split_once('.').unwrap().0), "ahead"),
    ] {
        // The VM is heard of again, so that it does not go stale in between.
        lab.report("a", running("r", 1)).await;
        let mut client = lab.open(5, Some(id));
        let frames = client.during(Duration::from_secs(2)).await;
        assert_eq!(names(&frames[..3]), ["retry", "connected", "reset"], "{id}");
        assert_eq!(frames[2].data, json!({ "reason": reason }));
        assert_eq!(frames.last().unwrap().id.as_ref(), Some(newest));
        assert_eq!(names(&frames[frames.len() - 2..]), ["status", "progress"]);
    }
    assert_eq!(lab.reset("invalid_id"), 5);
    assert_eq!(lab.reset("ahead"), 1);
    assert_eq!(lab.metrics.streams_resumed.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn more_than_fifty_thousand_missed_events_are_not_replayed() {
    let config = MemoryJournalConfig { max_events: 60_000, ..MemoryJournalConfig::default() };
    let mut lab = Lab::with(HubConfig::default(), config);
    lab.announce("a").await;
    let first = lab.commit("a", vec![completed("a", "r", 0)]).await;
    for batch in 0..100 {
        commit(&*lab.journal, "a", (0..500).map(|n| completed("a", "r", 1 + batch * 500 + n)).collect()).await;
    }
    settle().await;
    let last = lab.id(lab.journal.bounds().newest);
    let frames = lab.open(5, Some(&first)).so_far().await;
    assert_eq!(keys(&frames).len(), 50_000);
    commit(&*lab.journal, "a", vec![completed("a", "r", 70_000)]).await;
    settle().await;
    let frames = lab.open(5, Some(&first)).so_far().await;
    assert_eq!(frames[2].data, json!({ "reason": "too_many_missed" }));
    assert_eq!(keys(&lab.open(5, Some(&last)).so_far().await), ["a/r/70000"]);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_fell_behind_goes_on_where_it_stopped() {
    let mut lab = Lab::new();
    lab.announce("a").await;
    let mut client = lab.watch(5).await;
    let all = filled(&mut lab, 3000).await;
    assert_eq!(keys(&client.so_far().await), all.into_iter().map(|(_, key)| key).collect::<Vec<_>>());
    assert_eq!(lab.reset("lagged"), 0);
}

#[tokio::test(start_paused = true)]
async fn g51_a_reader_that_fell_behind_the_journal_is_reset() {
    let config = MemoryJournalConfig { max_events: 1500, ..MemoryJournalConfig::default() };
    let mut lab = Lab::with(HubConfig::default(), config);
    lab.announce("a").await;
    lab.report("a", running("r", 1)).await;
    let mut client = lab.watch(5).await;
    let all = filled(&mut lab, 3000).await;
    let frames = client.so_far().await;
    assert_eq!(frames[0].data, json!({ "reason": "lagged" }));
    assert_eq!(frames.last().unwrap().id.as_ref(), Some(&all.last().unwrap().0));
    assert_eq!(lab.reset("lagged"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_resumes_hears_that_an_error_is_over() {
    let mut lab = Lab::new();
    lab.report("a", failing(&[ErrorCode::SshTimeout])).await;
    let id = lab.open(5, None).so_far().await.pop().unwrap().id.unwrap();
    lab.report("a", failing(&[])).await;
    let frames = lab.open(5, Some(&id)).so_far().await;
    assert_eq!(names(&frames[2..]), ["status", "error"]);
    assert_eq!(frames[3].data["resolved"], true);
    assert_eq!(names(&lab.open(5, None).so_far().await[2..]), ["status"]);
}
