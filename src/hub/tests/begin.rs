//! How a stream begins: the order of its first bytes, and the snapshot.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_stream_begins_with_retry_then_connected_then_the_snapshot_whose_last_frame_has_the_id() {
    let mut lab = Lab::new();
    lab.announce("a").await;
    lab.announce("b").await;
    let at = lab.commit("a", vec![started("a", "r1"), completed("a", "r1", 1), completed("a", "r1", 2)]).await;
    lab.report("a", running("r1", 2)).await;
    lab.report("b", failing(&[ErrorCode::SshTimeout])).await;

    let frames = lab.open(5, None).so_far().await;
    let expected = ["retry", "connected", "task_complete", "task_complete", "status", "progress", "status", "error"];
    assert_eq!(names(&frames), expected);
    assert!((1000..=3000).contains(&frames[0].data.as_u64().unwrap()));
    assert_eq!(frames[1].data["interval"], 5);
    assert_eq!(frames[1].data["view"].as_str().unwrap().len(), 12);
    assert_eq!(keys(&frames), ["a/r1/1", "a/r1/2"]);
    assert_eq!(frames[2].id, Some(lab.id(Position { seq: 1, i: 1 })));
    assert_eq!(frames[3].id, Some(at.clone()));
    let ids: Vec<_> = frames[4..].iter().map(|got| got.id.clone()).collect();
    assert_eq!(ids, [None, None, None, Some(at)]);
}

#[tokio::test(start_paused = true)]
async fn with_no_vm_at_all_a_heartbeat_carries_the_id() {
    let mut lab = Lab::new();
    let frames = lab.open(5, None).so_far_with_heartbeats().await;
    assert_eq!(names(&frames), ["retry", "connected", "heartbeat"]);
    assert_eq!(frames[2].id, Some(lab.id(Position::START)));
    lab.announce("a").await;
    assert_eq!(names(&lab.open(5, None).so_far_with_heartbeats().await), ["retry", "connected", "heartbeat"]);
    assert_eq!(lab.hub.vms(&VmGrant::all()).len(), 1);
    assert!(lab.hub.vms(&VmGrant::all())[0].view.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_holds_the_status_and_the_run_of_a_commit_whose_report_is_still_on_its_way() {
    let mut lab = Lab::new();
    lab.commit("a", vec![started("a", "r1"), completed("a", "r1", 1)]).await;
    lab.report("a", running("r1", 1)).await;
    let at = lab.commit("a", vec![started("a", "r2"), completed("a", "r2", 1), reached("a", Stage::Complete)]).await;
    let frames = lab.open(5, None).so_far().await;
    assert_eq!(keys(&frames), ["a/r2/1"]);
    assert_eq!(frames[3].data["stage"], "complete");
    assert_eq!(frames.last().unwrap().id, Some(at));
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_of_many_completions_comes_in_chunks_and_in_order() {
    let mut lab = Lab::new();
    lab.announce("a").await;
    lab.commit("a", vec![started("a", "r1")]).await;
    for batch in 0..4 {
        lab.commit("a", (0..400).map(|n| completed("a", "r1", batch * 400 + n)).collect()).await;
    }
    lab.report("a", running("r1", 1600)).await;
    let mut client = lab.open(5, None);
    let mut text = String::new();
    while let Ok(Some(chunk)) = timeout(Duration::from_millis(2), client.chunk()).await {
        assert!(chunk.len() <= 64 * 1024);
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    let frames: Vec<_> = text.split_terminator("\n\n").map(Got::parse).collect();
    assert_eq!(keys(&frames), (0..1600).map(|n| format!("a/r1/{n}")).collect::<Vec<_>>());
    assert_eq!(frames.last().unwrap().event, "progress");
}

#[tokio::test(start_paused = true)]
async fn grants_and_filter_decide_what_a_stream_gets() {
    let mut lab = Lab::new();
    for vm in ["waa-1", "waa-2", "lab"] {
        lab.announce(vm).await;
        lab.commit(vm, vec![started(vm, vm), completed(vm, vm, 1)]).await;
        lab.report(vm, running(vm, 1)).await;
    }
    let mut client = Client::new(lab.hub.open(request(&["waa-*"], 5, None)).unwrap());
    assert_eq!(keys(&client.so_far().await), ["waa-1/waa-1/1", "waa-2/waa-2/1"]);
    let one = StreamRequest { vms: Some(vec![name("waa-2")]), ..request(&["waa-*"], 5, None) };
    let mut filtered = Client::new(lab.hub.open(one).unwrap());
    assert_eq!(keys(&filtered.so_far().await), ["waa-2/waa-2/1"]);

    let hidden = lab.commit("lab", vec![completed("lab", "lab", 2)]).await;
    lab.report("lab", running("lab", 2)).await;
    lab.commit("waa-1", vec![completed("waa-1", "waa-1", 2)]).await;
    assert_eq!(keys(&client.so_far().await), ["waa-1/waa-1/2"]);
    assert_eq!(filtered.so_far().await, []);

    // Only what is visible is replayed.
    let mut resumed = Client::new(lab.hub.open(request(&["lab"], 5, Some(&hidden))).unwrap());
    let frames = resumed.so_far().await;
    assert_eq!(names(&frames), ["retry", "connected", "status", "progress"]);

    for vm in ["lab", "nowhere"] {
        let refused = StreamRequest { vms: Some(vec![name(vm)]), ..request(&["waa-*"], 5, None) };
        assert_eq!(lab.hub.open(refused).err(), Some(OpenError::UnknownVm(name(vm))));
    }
}

#[tokio::test(start_paused = true)]
async fn the_view_is_a_hash_of_grants_and_filter_whatever_their_order() {
    let mut lab = Lab::new();
    lab.announce("a").await;
    lab.announce("b").await;
    let mut hashes = Vec::new();
    for (globs, vms) in [
        (&["a", "b"][..], None),
        (&["b", "a"], None),
        (&["a"], None),
        (&["a", "b"], Some(vec![name("a"), name("b")])),
        (&["a", "b"], Some(vec![name("b"), name("a")])),
    ] {
        let opened = lab.hub.open(StreamRequest { vms, ..request(globs, 5, None) }).unwrap();
        hashes.push(Client::new(opened).so_far().await[1].data["view"].clone());
    }
    assert_eq!(hashes[0], hashes[1]);
    assert_eq!(hashes[3], hashes[4]);
    assert!(hashes[0] != hashes[2] && hashes[0] != hashes[3] && hashes[2] != hashes[3]);
}

#[tokio::test(start_paused = true)]
async fn a_poller_that_begins_anew_announces_what_it_knows_so_that_new_clients_get_the_current_run() {
    let mut lab = Lab::new();
    commit(&*lab.journal, "a", vec![started("a", "r"), completed("a", "r", 1)]).await;
    // The process is new: nothing but the announcement tells of the run.
    let lab_anew = Lab::on(Arc::clone(&lab.journal), HubConfig::default());
    let announcement = LiveReport { view: Some(Arc::new(running("r", 1))), ..lab.poll("a", None) };
    lab_anew.publish(announcement).await;
    assert_eq!(keys(&lab_anew.open(1, None).so_far().await), ["a/r/1"]);
    // The first poll is news beside it; and so is that of a poller that was made anew meanwhile.
    for done in [2, 3] {
        let first = LiveReport { poll_no: 1, ..lab.poll("a", Some(running("r", done))) };
        lab_anew.publish(first).await;
        let snapshot = lab_anew.open(1, None).so_far().await;
        assert!(snapshot.iter().any(|got| got.event == "progress" && got.data["completed"] == done), "{snapshot:?}");
        let announcement = LiveReport { view: Some(Arc::new(running("r", done))), ..lab.poll("a", None) };
        lab_anew.publish(LiveReport { poll_no: 0, ..announcement }).await;
    }
}
