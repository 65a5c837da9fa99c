//! Administrators see who watches.

use super::*;

#[tokio::test(start_paused = true)]
async fn open_streams_are_listed_with_what_they_cost_and_whoever_takes_nothing_comes_first() {
    let mut lab = Lab::new();
    lab.report("waa-1", view(Stage::Booting)).await;
    let mut reads = lab.watch(5).await;
    let one = StreamRequest { vms: Some(vec![name("waa-1")]), ..request(&["waa-*"], 1, None) };
    let mut silent = Client::new(lab.hub.open(one).expect("room"));
    silent.so_far().await;
    let (streams, total) = lab.hub.open_streams(10);
    assert_eq!((streams.len(), total), (2, 2));
    let of = |interval: u8| streams.iter().find(|stream| stream.interval == interval).expect("it is listed");
    assert!(of(5).delivered > 0, "a snapshot is delivered: {streams:?}");
    assert_eq!((of(5).via.protocol, &*of(5).principal.name, &of(5).vms), ("HTTP/1.1", "watcher", &None));
    assert_eq!(of(1).vms.as_deref(), Some(&[name("waa-1")][..]));
    assert!(of(1).id != of(5).id && of(5).opened_at <= of(1).opened_at);

    for _ in 0..3 {
        lab.commit("waa-1", vec![reached("waa-1", Stage::Ready)]).await;
    }
    reads.so_far().await;
    let (streams, total) = lab.hub.open_streams(1);
    assert_eq!((streams.len(), total), (1, 2));
    assert_eq!((streams[0].interval, streams[0].behind), (1, 3));
    let sent = streams[0].delivered;
    silent.so_far().await;
    let (streams, _) = lab.hub.open_streams(10);
    assert!(streams.iter().all(|stream| stream.behind == 0), "{streams:?}");
    assert!(streams.iter().any(|stream| stream.interval == 1 && stream.delivered >= sent + 3), "{streams:?}");
    drop((reads, silent));
    assert_eq!(lab.hub.open_streams(10).1, 0);
}

#[tokio::test(start_paused = true)]
async fn a_live_event_whose_place_a_newer_one_took_is_counted_for_its_stream() {
    let mut lab = Lab::new();
    lab.report("a", view(Stage::Booting)).await;
    let mut client = lab.watch(1).await;
    for percent in 1..=5 {
        lab.report("a", VmView { boot_percent: f64::from(percent), ..view(Stage::Booting) }).await;
    }
    sleep(Duration::from_secs(2)).await;
    client.so_far().await;
    let (streams, _) = lab.hub.open_streams(1);
    assert!(streams[0].coalesced > 0, "{streams:?}");
}
