//! Proxies that cut idle connections: heartbeats keep a quiet stream open, and where they come too late nothing is lost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gatewatch::hub::HubConfig;
use gatewatch::journal::{MemoryJournal, MemoryJournalConfig};
use tokio::time::sleep;

use crate::faults::{BareHub, Follower, Pause, Place, Target, task_id};
use crate::support::{HaProxy, eventually, plain};

/// The real ones are 15 times as long: heartbeats every 15 s, a proxy that cuts after 60 s.
const HEARTBEAT: Duration = Duration::from_secs(1);
const CUT_AFTER: &str = "4s";
/// More than twice as long as the proxy waits.
const QUIET: Duration = Duration::from_secs(9);
/// What clients are told to wait before they come back; each gets up to 50 % more or less.
const RETRY: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(20);

async fn hub(heartbeat: Duration) -> BareHub {
    let journal = Arc::new(MemoryJournal::new(MemoryJournalConfig::default()));
    BareHub::start(journal, HubConfig { heartbeat, retry: RETRY, ..HubConfig::default() }).await
}

/// A proxy in front of `hub` that cuts what is silent for `cut_after`, and who connects through it.
async fn proxy(hub: &BareHub, mode: &str, cut_after: &str) -> (HaProxy, Target) {
    let proxy = HaProxy::start(&format!(
        "    {{bind}}\n    mode {mode}\n    timeout client {cut_after}\n    timeout server {cut_after}\n    \
         timeout tunnel {cut_after}\n    server one 127.0.0.1:{}\n",
        hub.port
    ))
    .await;
    let target = Target { url: format!("http://127.0.0.1:{}", proxy.port), key: String::new(), client: plain() };
    (proxy, target)
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_keep_a_quiet_stream_open_through_a_proxy_that_cuts_idle_connections() {
    let hub = hub(HEARTBEAT).await;
    let mut through = Vec::new();
    for mode in ["http", "tcp"] {
        let (proxy, target) = proxy(&hub, mode, CUT_AFTER).await;
        let follower = Follower::start(mode, target, "", Place::Header, Pause::AsTold);
        eventually(PATIENCE, || async { follower.ledger().last_id.is_some() }).await;
        through.push((proxy, follower));
    }
    sleep(QUIET).await;
    hub.commit(1..2).await;
    for (_proxy, follower) in &through {
        let verdict = follower.settled(&[task_id(1)], PATIENCE).await;
        assert!(verdict.is_clean() && verdict.events == 1, "{}: {verdict:#?}", follower.name);
        assert_eq!(follower.ledger().connections, 1, "{}: it was never cut", follower.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_cuts_before_the_heartbeat_costs_reconnects_and_no_event() {
    const EVENTS: u64 = 16;
    const CUTS: usize = 4;
    let hub = hub(Duration::from_secs(15)).await;
    let began = Instant::now();
    let mut through = Vec::new();
    for (mode, place) in [("http", Place::Header), ("tcp", Place::Parameter)] {
        let (proxy, target) = proxy(&hub, mode, "400ms").await;
        let follower = Follower::start(mode, target, "", place, Pause::AsTold);
        eventually(PATIENCE, || async { follower.ledger().last_id.is_some() }).await;
        through.push((proxy, follower));
    }
    for number in 1..=EVENTS {
        hub.commit(number..number + 1).await;
        // Now within the proxy's patience, now beyond it.
        sleep(Duration::from_millis(97 * (number % 8))).await;
    }
    let cut_often = || async { through.iter().all(|(_, follower)| follower.ledger().connections > CUTS) };
    eventually(PATIENCE, cut_often).await;
    let written: Vec<String> = (1..=EVENTS).map(task_id).collect();
    for (_proxy, follower) in &through {
        let verdict = follower.settled(&written, PATIENCE).await;
        assert!(verdict.is_clean() && verdict.events == written.len(), "{}: {verdict:#?}", follower.name);
        // Each connection lived for the proxy's patience at least, and was followed by at least half of `RETRY`.
        let most = began.elapsed().as_millis() / 500 + 2;
        assert!(follower.ledger().connections as u128 <= most, "{} came back too soon", follower.name);
    }
}
