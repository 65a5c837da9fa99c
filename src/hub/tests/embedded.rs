//! Streams on a journal whose old events go: on the disk, in the time of the clock.

use super::*;
use crate::event::EventId;
use crate::journal::{EmbeddedConfig, EmbeddedJournal, Retention};
use crate::telemetry::JournalMetrics;

const BEGAN: f64 = 1e9;
const HEARTBEAT: Duration = Duration::from_millis(40);

/// A hub on a journal that keeps events for eight days, and the folder that it is in.
fn lab() -> (Lab, Arc<EmbeddedJournal>, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a folder");
    let retention = Retention::new(Duration::from_secs(8 * 86_400), 1_000_000);
    let config = EmbeddedConfig { path: dir.path().join("journal.db"), retention };
    let metrics = JournalMetrics::register(&Registry::new()).expect("fresh names");
    let journal = Arc::new(EmbeddedJournal::open(config, metrics, Timestamp(BEGAN)).expect("it opens"));
    let config = HubConfig { heartbeat: HEARTBEAT, ..HubConfig::default() };
    (Lab::on(Arc::clone(&journal) as Arc<dyn Journal>, config), journal, dir)
}

/// The journal's life so many days later.
async fn on_day(journal: &EmbeddedJournal, day: f64) {
    journal.maintain(Timestamp(BEGAN + day * 86_400.0)).await.expect("maintained");
}

/// Reads until a heartbeat carries `wanted`; no heartbeat before it goes back, and nothing else comes.
async fn heartbeats_until(client: &mut Client, wanted: Position) -> String {
    let mut before = Position::START;
    for _ in 0..500 {
        let got = client.within(Duration::from_secs(10)).await.expect("heartbeats go on");
        assert_eq!(got.event, "heartbeat", "{got:?}");
        let id = got.id.expect("a position");
        let at = EventId::parse(&id).expect("an id").position;
        assert!(before <= at && at <= wanted, "{before:?}, {at:?}, {wanted:?}");
        if at == wanted {
            return id;
        }
        before = at;
    }
    panic!("no heartbeat came to {wanted:?}");
}

async fn is_reset(lab: &Lab, id: &str) -> bool {
    let mut client = Client::new(lab.hub.open(request(&["quiet"], 5, Some(id))).expect("a stream"));
    // What begins a stream ends with the VM's status.
    let mut frames = Vec::new();
    while frames.last().is_none_or(|got: &Got| got.event != "status") {
        frames.push(client.within(Duration::from_secs(10)).await.expect("a beginning"));
    }
    frames.iter().any(|got| got.event == "reset")
}

#[tokio::test]
async fn a_quiet_stream_never_holds_a_pruned_id_while_the_events_of_others_come_and_go() {
    let (mut lab, journal, _dir) = lab();
    lab.report("quiet", view(Stage::Ready)).await;
    let mut client = Client::new(lab.hub.open(request(&["quiet"], 5, None)).expect("a stream"));
    let mut first = None;
    while first.is_none() {
        first = client.within(Duration::from_secs(10)).await.expect("a snapshot").id;
    }
    let first = first.expect("an id");
    for day in 0..24 {
        on_day(&journal, f64::from(day)).await;
        for _ in 0..3 {
            commit(
                &*lab.journal,
                "busy",
                vec![completed("busy", &format!("r{day}"), 1), reached("busy", Stage::Ready)],
            )
            .await;
        }
        let id = heartbeats_until(&mut client, journal.bounds().newest).await;
        assert!(!is_reset(&lab, &id).await, "day {day}: {id}");
    }
    assert!(journal.bounds().floor.seq > 40, "{:?}", journal.bounds());
    assert!(is_reset(&lab, &first).await, "who stayed there would hold a pruned id");
    // All of it is gone, and still the last id serves.
    on_day(&journal, 400.0).await;
    let bounds = journal.bounds();
    assert_eq!(bounds.floor, bounds.newest);
    let id = heartbeats_until(&mut client, bounds.newest).await;
    assert!(!is_reset(&lab, &id).await);
    assert_eq!(lab.reset("pruned"), 1);
}

#[tokio::test]
async fn a_reader_whose_next_events_are_gone_is_reset_as_lagged_and_one_that_keeps_up_is_not() {
    let (mut lab, journal, _dir) = lab();
    lab.report("a", view(Stage::Ready)).await;
    let (mut slow, mut fast) = (lab.open(5, None), lab.open(5, None));
    for client in [&mut slow, &mut fast] {
        while client.within(Duration::from_secs(10)).await.expect("a snapshot").id.is_none() {}
    }
    let mut seen = Vec::new();
    // More than the hub's ring holds.
    for batch in 0..15 {
        let events = (0..100).map(|n| completed("a", "r", batch * 100 + n)).collect();
        commit(&*lab.journal, "a", events).await;
        while seen.len() < (batch as usize + 1) * 100 {
            seen.extend(fast.within(Duration::from_secs(10)).await.expect("every event").key());
        }
    }
    assert_eq!(seen, (0..1500).map(|n| format!("a/r/{n}")).collect::<Vec<_>>());
    on_day(&journal, 9.0).await;
    assert_eq!(journal.bounds().floor, journal.bounds().newest);
    let got = loop {
        let got = slow.within(Duration::from_secs(10)).await.expect("a frame");
        if got.event != "heartbeat" {
            break got;
        }
    };
    assert_eq!((got.event.as_str(), got.data), ("reset", json!({ "reason": "lagged" })));
    assert_eq!(lab.reset("lagged"), 1);
}
