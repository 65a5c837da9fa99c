//! How streams live and end: heartbeats, grants, expiry, drain, slow readers, demand.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

use super::*;
use crate::hub::{Cut, EndReason, Lag};
use crate::telemetry::captured::Captured;

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[tokio::test(start_paused = true)]
async fn g52_heartbeats_come_every_fifteen_seconds_with_the_position_and_not_all_at_once() {
    let mut lab = Lab::new();
    lab.announce("a").await;
    lab.announce("hidden").await;
    let mut firsts = HashSet::new();
    for _ in 0..20 {
        let mut client = Client::new(lab.hub.open(request(&["a"], 5, None)).unwrap());
        client.so_far().await;
        let opened = Instant::now();
        client.next().await;
        firsts.insert((Instant::now() - opened).as_secs());
        let before = Instant::now();
        // The position goes on over what the stream may not see.
        let at = lab.commit("hidden", vec![completed("hidden", "r", 1)]).await;
        let got = client.next().await;
        assert_eq!((got.event.as_str(), got.id), ("heartbeat", Some(at)));
        assert_eq!((Instant::now() - before).as_secs_f64().round() as u64, 15);
    }
    assert!(firsts.len() > 3, "{firsts:?}");
    assert!(firsts.iter().all(|first| *first <= 15));
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_never_names_an_event_that_was_not_sent() {
    let mut lab = Lab::new();
    lab.announce("a").await;
    let mut client = lab.watch(5).await;
    sleep(seconds(40)).await;
    for n in 0..3000 {
        commit(&*lab.journal, "a", vec![completed("a", "r", n)]).await;
    }
    settle().await;
    let mut last = Position::START;
    for got in client.so_far_with_heartbeats().await {
        let at = event::EventId::parse(&got.id.unwrap()).unwrap().position;
        match got.event.as_str() {
            "heartbeat" => assert_eq!(at, last),
            _ => assert_eq!(at.seq, last.seq + 1),
        }
        last = at;
    }
    assert_eq!(last.seq, 3000);
}

#[tokio::test(start_paused = true)]
async fn g51_a_stream_that_never_reads_holds_nothing_and_delays_nobody() {
    let mut lab = Lab::new();
    lab.report("a", view(Stage::Ready)).await;
    let mut stuck: Vec<_> = (0..50).map(|_| lab.open(1, None)).collect();
    for client in &mut stuck {
        client.next().await;
    }
    let mut reader = lab.watch(1).await;
    for n in 0..3000 {
        let committed = commit(&*lab.journal, "a", vec![completed("a", "r", n)]).await;
        if n % 50 == 0 {
            lab.polls.entry(name("a")).or_default().1 = committed.events[0].position;
            sleep(seconds(2)).await;
            lab.report("a", view(Stage::Ready)).await;
            let frames = reader.so_far().await;
            assert_eq!(frames.iter().filter(|got| got.event == "status").count(), 1);
        }
    }
    let held: usize = stuck.iter().map(|client| size_of::<StreamBody>() + client.body.seen.capacity() * 12).sum();
    assert!(held / stuck.len() < 1024, "{held}");
    // They are named as slow, and counted so when their connections are closed.
    drop(stuck);
    assert_eq!(lab.ended(EndReason::Slow.as_str()), 50);
    assert_eq!(lab.metrics.streams_open.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_lag_is_that_of_streams_for_which_something_waits_and_of_no_idle_one() {
    let mut lab = Lab::new();
    lab.report("a", view(Stage::Ready)).await;
    let mut reader = lab.watch(1).await;
    let mut stuck: Vec<_> = (0..3).map(|_| lab.open(1, None)).collect();
    for client in &mut stuck {
        client.so_far().await;
    }
    assert_eq!(lab.hub.lag(), Lag::default(), "nothing waits for anybody");
    for n in 0..40 {
        lab.commit("a", vec![completed("a", "r", n)]).await;
    }
    reader.so_far().await;
    sleep(seconds(9)).await;
    reader.so_far().await;
    let lag = lab.hub.lag();
    assert_eq!((lag.behind, lag.commits, lag.longest.as_secs()), (3, 40, 9));
    stuck[0].so_far().await;
    assert_eq!(lab.hub.lag().behind, 2, "who reads again is not behind");
    drop(stuck);
    assert_eq!(lab.hub.lag(), Lag::default());
}

#[tokio::test(start_paused = true)]
async fn an_idle_stream_is_not_slow_and_one_that_reads_again_is_not_either() {
    let mut lab = Lab::new();
    lab.report("a", view(Stage::Ready)).await;
    let mut client = lab.watch(1).await;
    assert_eq!(client.during(seconds(10)).await, []);
    sleep(seconds(120)).await;
    client.so_far().await;
    drop(client);
    assert_eq!((lab.ended("slow"), lab.ended("client_gone")), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn g46_g64_a_drain_ends_every_stream_within_its_window_each_with_its_own_retry() {
    let mut lab = Lab::new();
    lab.announce("a").await;
    let mut clients: Vec<_> = (0..40).map(|_| lab.open(5, None)).collect();
    for client in &mut clients {
        client.so_far().await;
    }
    let mut waiting = JoinSet::new();
    let began = Instant::now();
    lab.hub.drain(seconds(10));
    assert_eq!(lab.hub.open(request(&["*"], 5, None)).err(), Some(OpenError::Stopping));
    for mut client in clients {
        waiting.spawn(async move {
            let frames = client.during(seconds(11)).await;
            assert!(client.ended);
            assert_eq!(names(&frames), ["retry"]);
            assert_eq!(client.body.end, EndReason::Drained);
            frames[0].data.as_u64().unwrap()
        });
    }
    let (mut ends, mut retries) = (HashSet::new(), HashSet::new());
    while let Some(retry) = waiting.join_next().await {
        let retry = retry.unwrap();
        assert!((2000..=12_000).contains(&retry), "{retry}");
        retries.insert(retry);
        ends.insert((Instant::now() - began).as_millis() / 100);
    }
    assert!(Instant::now() - began < seconds(6));
    assert!(ends.len() > 5 && retries.len() > 20, "{ends:?} {retries:?}");
    assert_eq!((lab.hub.streams(), lab.ended("drained")), (0, 40));
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_stops_ends_its_streams_and_its_task() {
    let mut lab = Lab::new();
    lab.announce("a").await;
    let mut client = lab.watch(5).await;
    lab.stop.cancel();
    assert_eq!(names(&client.so_far().await), ["retry"]);
    assert!(client.ended);
    lab.tasks.join_next().await.unwrap().unwrap();
    assert_eq!(lab.hub.open(request(&["*"], 5, None)).err(), Some(OpenError::Stopping));
}

#[tokio::test(start_paused = true)]
async fn g49_a_stream_ends_when_its_credential_does() {
    let clock = Arc::new(AtomicU64::new(1000));
    let hand = Arc::clone(&clock);
    let config =
        HubConfig { clock: Arc::new(move || Timestamp(hand.load(Ordering::Relaxed) as f64)), ..HubConfig::default() };
    let lab = Lab::with(config, MemoryJournalConfig::default());
    let expiring = Principal { expires_at: Some(Timestamp(1100.0)), ..(*principal("k", &["*"])).clone() };
    let request = StreamRequest { principal: Arc::new(expiring), ..request(&["*"], 5, None) };
    let mut client = Client::new(lab.hub.open(request).unwrap());
    client.so_far().await;
    assert_eq!(client.during(seconds(20)).await, []);
    clock.store(1100, Ordering::Relaxed);
    let frames = client.during(seconds(1)).await;
    assert_eq!((names(&frames), frames[0].data["code"].as_str()), (vec!["error"], Some("expired")));
    assert!(client.ended);
    drop(client);
    assert_eq!(lab.ended("expired"), 1);
}

#[tokio::test(start_paused = true)]
async fn g49_a_revoked_credential_ends_its_streams_and_no_other() {
    let lab = Lab::new();
    let mut other = lab.watch(5).await;
    let other_request = StreamRequest { principal: principal("k1", &["*"]), ..request(&["*"], 5, None) };
    let mut client = Client::new(lab.hub.open(other_request).unwrap());
    client.so_far().await;
    lab.hub.reconsider(|who| (&*who.name != "k1").then(|| Arc::new(who.clone())));
    let frames = client.so_far().await;
    assert_eq!((names(&frames), frames[0].data["code"].as_str()), (vec!["error"], Some("revoked")));
    assert!(client.ended);
    assert_eq!(other.so_far().await, []);
    drop(client);
    assert_eq!(lab.ended("revoked"), 1);
}

#[tokio::test(start_paused = true)]
async fn other_grants_mean_a_reset_and_a_snapshot_of_what_is_visible_now() {
    let mut lab = Lab::new();
    for vm in ["a", "b"] {
        lab.report(vm, view(Stage::Ready)).await;
    }
    let mut client = Client::new(lab.hub.open(request(&["a"], 1, None)).unwrap());
    client.so_far().await;
    lab.hub.reconsider(|_| Some(principal("watcher", &["a"])));
    assert_eq!(client.so_far().await, []);
    lab.hub.reconsider(|_| Some(principal("watcher", &["b"])));
    let frames = client.so_far().await;
    assert_eq!(names(&frames), ["reset", "status"]);
    assert_eq!(frames[0].data, json!({ "reason": "grants_changed" }));
    assert_eq!(frames[1].data["vm"], "b");
    sleep(seconds(2)).await;
    lab.report("a", view(Stage::Ready)).await;
    lab.report("b", view(Stage::Ready)).await;
    let frames = client.so_far().await;
    assert_eq!(frames.len(), 1);
    assert_eq!(frames[0].data["vm"], "b");
    assert_eq!(lab.hub.demand().borrow().for_vm(&name("a")), None);
}

#[tokio::test(start_paused = true)]
async fn demand_is_the_smallest_interval_of_those_who_see_the_vm() {
    let mut lab = Lab::new();
    let mut demand = lab.hub.demand();
    let mut wanted = async || {
        sleep(Duration::from_millis(60)).await;
        let now = demand.borrow_and_update().clone();
        (now.for_vm(&name("a")), now.for_vm(&name("b")))
    };
    let open = |lab: &Lab, globs: &[&str], interval| lab.hub.open(request(globs, interval, None)).unwrap();
    let early = open(&lab, &["*"], 60);
    lab.announce("a").await;
    lab.announce("b").await;
    assert_eq!(wanted().await, (Some(60), Some(60)));
    let two = open(&lab, &["a"], 2);
    let zero = open(&lab, &["b"], 0);
    assert_eq!(wanted().await, (Some(2), Some(1)));
    drop(zero);
    assert_eq!(wanted().await, (Some(2), Some(60)));
    drop(two);
    drop(early);
    assert_eq!(wanted().await, (None, None));
    assert_eq!((lab.hub.streams(), lab.metrics.streams_open.get(), lab.ended("client_gone")), (0, 0, 3));
}

#[tokio::test(start_paused = true)]
async fn one_stream_too_many_is_refused() {
    let lab = Lab::with(HubConfig { max_streams: 2, ..HubConfig::default() }, MemoryJournalConfig::default());
    let first = lab.open(5, None);
    let _second = lab.open(5, None);
    assert_eq!(lab.hub.open(request(&["*"], 5, None)).err(), Some(OpenError::TooManyStreams));
    drop(first);
    assert!(lab.hub.open(request(&["*"], 5, None)).is_ok());
}

#[tokio::test(start_paused = true)]
async fn g51_a_stream_that_is_not_read_has_its_connection_cut_and_so_has_one_that_does_not_end_as_told() {
    let mut lab = Lab::new();
    lab.announce("a").await;
    let cuts = Arc::new(AtomicU64::new(0));
    let counted = |cuts: &Arc<AtomicU64>| {
        let cuts = Arc::clone(cuts);
        Some(Cut::new(move || {
            cuts.fetch_add(1, Ordering::Relaxed);
        }))
    };
    let log = Captured::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let logging = tracing::subscriber::set_default(subscriber);
    let silent = lab.hub.open(StreamRequest { cut: counted(&cuts), ..request(&["*"], 1, None) }).expect("a stream");
    lab.report("a", running("r", 1)).await;
    sleep(Duration::from_secs(50)).await;
    assert_eq!((cuts.load(Ordering::Relaxed), log.text()), (0, String::new()));
    sleep(Duration::from_secs(25)).await;
    assert_eq!(cuts.load(Ordering::Relaxed), 1, "once");
    drop(logging);
    assert!(log.text().contains("takes nothing") && log.text().contains("client=\"test\""), "{}", log.text());
    drop(silent);
    assert_eq!(lab.ended("slow"), 1);

    let deaf = lab.hub.open(StreamRequest { cut: counted(&cuts), ..request(&["*"], 1, None) }).expect("a stream");
    lab.hub.reconsider(|_| None);
    sleep(Duration::from_secs(3)).await;
    assert_eq!(cuts.load(Ordering::Relaxed), 1);
    sleep(Duration::from_secs(3)).await;
    assert!(cuts.load(Ordering::Relaxed) > 1);
    drop(deaf);
}
