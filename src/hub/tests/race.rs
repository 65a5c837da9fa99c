//! A writer at full speed, on real threads: nothing is missed, nothing comes twice.

use super::*;

const EVENTS: u64 = 4000;

/// What one client should have at the end: every number once, in order.
fn whole(keys: &[String]) {
    let expected: Vec<_> = (0..EVENTS).map(|n| format!("a/r/{n}")).collect();
    assert_eq!(keys, expected);
}

/// Reads until the last number; now and then leaves and comes back with the id it has.
async fn follow(hub: Arc<Hub>, leaves_after: Option<usize>) -> (Vec<String>, usize) {
    let (mut seen, mut id, mut leaves) = (Vec::new(), None::<String>, 0);
    let last = format!("a/r/{}", EVENTS - 1);
    'again: loop {
        let mut client = Client::new(hub.open(request(&["a"], 1, id.as_deref())).unwrap());
        let mut here = 0;
        while let Some(got) = client.within(Duration::from_secs(20)).await {
            assert_ne!(got.event, "reset");
            if got.id.is_some() {
                id = got.id.clone();
            }
            seen.extend(got.key());
            here += 1;
            if seen.last() == Some(&last) {
                return (seen, leaves);
            }
            // A client has a use for an id only once the snapshot is whole.
            if leaves_after.is_some_and(|n| here > n) && got.event == "task_complete" && leaves > 0
                || leaves_after.is_some() && leaves == 0 && got.event == "progress" && got.id.is_some()
            {
                leaves += 1;
                continue 'again;
            }
        }
        panic!("the stream ended or stood still after {:?}", seen.last());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn no_event_is_missed_or_doubled_across_snapshot_tail_journal_and_resume() {
    let mut lab = Lab::new();
    lab.announce("a").await;
    lab.commit("a", vec![started("a", "r")]).await;
    lab.report("a", running("r", 0)).await;
    let mut followers = JoinSet::new();
    for n in 0..12 {
        let hub = Arc::clone(&lab.hub);
        followers.spawn(async move {
            sleep(Duration::from_millis(n * 7)).await;
            follow(hub, (n % 2 == 0).then_some(20 + 30 * n as usize)).await
        });
    }
    let bystanders: Vec<_> = (0..200).map(|_| lab.open(5, None)).collect();
    let mut next = 0;
    while next < EVENTS {
        let size = (1 + next % 7).min(EVENTS - next);
        let events = (next..next + size).map(|n| completed("a", "r", n)).collect();
        let committed = commit(&*lab.journal, "a", events).await;
        next += size;
        lab.polls.entry(name("a")).or_default().1 = committed.events.last().unwrap().position;
        let report = lab.poll("a", Some(running("r", next)));
        assert!(lab.bus.publish(report).await);
        if next % 64 < 7 {
            sleep(Duration::from_millis(1)).await;
        }
    }
    let mut resumes = 0;
    while let Some(followed) = followers.join_next().await {
        let (seen, leaves) = followed.unwrap();
        whole(&seen);
        resumes += leaves;
    }
    assert!(resumes > 0);
    drop(bystanders);
    assert_eq!(lab.hub.streams(), 0);
}
