//! What replicas share over a real NATS server: leases are spread, stay put, are handed over at once and never held twice;
//! a report of one is at every other; who joins knows what they know.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gatewatch::event::Position;
use gatewatch::journal::{Engine, LiveReceiver, LiveReport, LiveSender, live_bus};
use gatewatch::model::{Demand, LogTails, VmFacts, VmId, VmName};
use gatewatch::replicas::{Claim, Keeper, Leases, Presence, Relay, ReplicaId, ReplicaRecord, Told};
use gatewatch::telemetry::Metrics;
use rustix::process::Signal;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::support::Nats;

/// How long something that happens by itself may take.
const SOON: Duration = Duration::from_secs(10);

/// One replica without its journal and its hub.
struct Replica {
    leases: Leases,
    claims: BTreeMap<VmId, Claim>,
    wishes: watch::Sender<Arc<Demand>>,
    demand: watch::Receiver<Arc<Demand>>,
    poller: LiveSender,
    hub: LiveReceiver,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Replica {
    async fn start(engine: &Engine, name: &str, vms: &[VmId]) -> Self {
        let (me, stop, metrics) = (ReplicaId::random(name), CancellationToken::new(), Metrics::new().replicas);
        let record = ReplicaRecord { replica: name.to_owned(), ..ReplicaRecord::default() };
        let presence = Presence::open(engine, me.clone(), record, metrics.clone()).await.expect("a bucket");
        let demand = presence.demand();
        let (keeper, leases) = Keeper::open(engine, me, presence.peers(), metrics.clone()).await.expect("a bucket");
        let ((poller, own), (bus, hub)) = (live_bus(), live_bus());
        let relay = Relay::new(engine, own, bus, metrics);
        let (wishes, wished) = watch::channel(Arc::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(presence.run(Told::default, wished, stop.clone()));
        tasks.spawn(keeper.run(stop.clone()));
        tasks.spawn(relay.run(stop.clone()));
        let claims = vms.iter().map(|vm| (vm.clone(), leases.claim(vm))).collect();
        Self { leases, claims, wishes, demand, poller, hub, stop, tasks }
    }

    /// The VMs that it may poll now, each with the lease's `rev`.
    fn holds(&self) -> BTreeMap<VmId, u64> {
        self.claims.iter().filter_map(|(vm, claim)| Some((vm.clone(), claim.lease()?.rev))).collect()
    }

    /// Stops in order.
    async fn stop(mut self) {
        self.claims.clear();
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

fn vms(count: usize) -> Vec<VmId> {
    (0..count).map(|n| VmId::from_journal(&format!("{n:016x}"))).collect()
}

/// Waits until `replicas` hold `count` VMs together.
async fn all_held(replicas: &[&Replica], count: usize) -> Duration {
    let began = Instant::now();
    while replicas.iter().map(|replica| replica.holds().len()).sum::<usize>() < count {
        assert!(began.elapsed() < SOON, "{:?}", replicas.iter().map(|r| r.holds().len()).collect::<Vec<_>>());
        sleep(Duration::from_millis(10)).await;
    }
    began.elapsed()
}

/// No VM is held twice.
fn assert_apart(replicas: &[&Replica]) {
    let held: Vec<VmId> = replicas.iter().flat_map(|replica| replica.holds().into_keys()).collect();
    assert_eq!(held.iter().collect::<BTreeSet<_>>().len(), held.len(), "held twice");
}

#[tokio::test]
async fn vms_are_spread_evenly_stay_where_they_are_and_are_handed_over_at_once() {
    let Some(nats) = Nats::start(1) else { return };
    let (engine, vms) = (nats.engine("leases").await, vms(30));
    let (a, b, c) = tokio::join!(
        Replica::start(&engine, "a", &vms),
        Replica::start(&engine, "b", &vms),
        Replica::start(&engine, "c", &vms)
    );
    all_held(&[&a, &b, &c], 30).await;
    assert_apart(&[&a, &b, &c]);
    let spread: Vec<usize> = [&a, &b, &c].iter().map(|replica| replica.holds().len()).collect();
    assert!(spread.iter().all(|count| (9..=11).contains(count)), "{spread:?}");

    let before: Vec<_> = [&a, &b, &c].iter().map(|replica| replica.holds()).collect();
    let d = Replica::start(&engine, "d", &vms).await;
    // Longer than a lease lives: each was renewed.
    sleep(Duration::from_secs(16)).await;
    let after: Vec<_> = [&a, &b, &c].iter().map(|replica| replica.holds()).collect();
    assert_eq!((after, d.holds().len()), (before, 0), "they stay where they are");

    let revs = a.holds();
    a.stop().await;
    let took = all_held(&[&b, &c, &d], 30).await;
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_apart(&[&b, &c, &d]);
    let now: BTreeMap<VmId, u64> = [&b, &c, &d].iter().flat_map(|replica| replica.holds()).collect();
    assert!(revs.iter().all(|(vm, rev)| now[vm] > *rev), "a later lease is a greater one");
    assert!(d.holds().len() >= revs.len() - 2, "who has room takes them: {}", d.holds().len());

    // What one of them alone wants no more, nobody need have.
    let gone = d.holds().into_keys().next().expect("it holds some");
    let mut d = d;
    d.claims.remove(&gone);
    all_held(&[&b, &c, &d], 30).await;
    assert!(!d.leases.claim(&vms[0]).holds(u64::MAX));
    for replica in [b, c, d] {
        replica.stop().await;
    }
}

#[tokio::test]
async fn nobody_holds_a_vm_while_nats_is_away_and_then_one_does() {
    let Some(mut nats) = Nats::start(1) else { return };
    let vms = vms(8);
    // A connection each, as processes have.
    let (one, other) = (nats.engine("away").await, nats.engine("away").await);
    let (a, b) = tokio::join!(Replica::start(&one, "a", &vms), Replica::start(&other, "b", &vms));
    all_held(&[&a, &b], 8).await;
    nats.signal(0, Signal::STOP);
    let began = Instant::now();
    while !(a.holds().is_empty() && b.holds().is_empty()) {
        assert!(began.elapsed() < Duration::from_secs(11), "who cannot renew stops after 10 s");
        assert_apart(&[&a, &b]);
        sleep(Duration::from_millis(20)).await;
    }
    nats.signal(0, Signal::CONT);
    all_held(&[&a, &b], 8).await;
    for _ in 0..100 {
        assert_apart(&[&a, &b]);
        sleep(Duration::from_millis(20)).await;
    }
    a.stop().await;
    b.stop().await;
}

fn report(vm: &str, lease_rev: u64, poll_no: u64) -> LiveReport {
    LiveReport {
        vm: VmName::new(vm).expect("a name"),
        vm_id: VmId::from_journal(vm),
        lease_rev,
        poll_no,
        after: Position::START,
        interval: 5.0,
        facts: Arc::new(VmFacts::default()),
        view: None,
        logs: LogTails::default(),
    }
}

async fn heard(replica: &mut Replica) -> Option<(String, u64, u64)> {
    let heard = timeout(Duration::from_secs(1), replica.hub.next()).await.ok()??;
    Some((heard.vm.to_string(), heard.lease_rev, heard.poll_no))
}

#[tokio::test]
async fn a_report_is_at_every_replica_and_who_joins_is_told_the_latest_within_a_second() {
    let Some(nats) = Nats::start(1) else { return };
    let engines = (nats.engine("live").await, nats.engine("live").await, nats.engine("live").await);
    let mut a = Replica::start(&engines.0, "a", &[]).await;
    let mut b = Replica::start(&engines.1, "b", &[]).await;
    // Both listen once one of them is heard.
    while heard(&mut b).await.is_none() {
        a.poller.publish(report("first", 1, 1)).await;
    }
    while heard(&mut b).await.is_some() {}
    while heard(&mut a).await.is_some() {}
    for poll_no in 0..3 {
        a.poller.publish(report("x", 7, poll_no)).await;
        assert_eq!(heard(&mut a).await, Some(("x".to_owned(), 7, poll_no)), "its own hub hears it once");
        assert_eq!(heard(&mut b).await, Some(("x".to_owned(), 7, poll_no)));
    }
    a.poller.publish(report("own", 0, 0)).await;
    assert_eq!(heard(&mut a).await, Some(("own".to_owned(), 0, 0)));
    assert_eq!(heard(&mut b).await, None, "what no lease stands behind goes nowhere");

    let mut c = Replica::start(&engines.2, "c", &[]).await;
    let known = [heard(&mut c).await, heard(&mut c).await];
    assert!(known.contains(&Some(("x".to_owned(), 7, 2))), "{known:?}");

    b.wishes.send_replace(Arc::new([(VmName::new("x").expect("a name"), 2)].into_iter().collect()));
    let wished = a.demand.wait_for(|demand| demand.for_vm(&VmName::new("x").expect("a name")) == Some(2));
    assert!(timeout(SOON, wished).await.is_ok(), "the watchers of every replica count");
    for replica in [a, b, c] {
        replica.stop().await;
    }
}
