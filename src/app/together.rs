//! What this process has in common with the other replicas of its fleet, if there are any.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::away;
use super::journal::OpenJournal;
use super::up::Up;
use crate::api::Replicas;
use crate::edge::StreamSlots;
use crate::fleet::Pulse;
use crate::hub::Hub;
use crate::journal::{EngineError, LiveSender, live_bus};
use crate::lifecycle::{Readiness, Tasks};
use crate::model::{Demand, Timestamp};
use crate::replicas::{Keeper, Leases, Peers, Presence, Relay, ReplicaId, ReplicaRecord, Told};
use crate::telemetry::ReplicaMetrics;

/// What pollers need of it.
pub(super) struct Together {
    /// Which VMs may be polled from here.
    pub(super) leases: Leases,
    /// Where pollers report to.
    pub(super) live: LiveSender,
    /// What the watchers of all replicas want.
    pub(super) demand: watch::Receiver<Arc<Demand>>,
    /// Who is up.
    pub(super) replicas: Arc<dyn Replicas>,
}

/// What it is made of.
pub(super) struct Parts<'a> {
    pub(super) journal: &'a OpenJournal,
    /// How others call this process.
    pub(super) replica: String,
    pub(super) hub: &'a Arc<Hub>,
    pub(super) slots: &'a Arc<StreamSlots>,
    /// The hub's bus.
    pub(super) bus: LiveSender,
    pub(super) pulse: Pulse,
    /// Cancelled once this process is about to stop.
    pub(super) leaving: CancellationToken,
    /// Cancelled when nothing is polled any more.
    pub(super) stop: CancellationToken,
    pub(super) readiness: &'a Readiness,
    pub(super) metrics: ReplicaMetrics,
}

/// Begins to share, where there is somebody to share with.
pub(super) async fn begin(parts: Parts<'_>, tasks: &Tasks) -> Result<Together, EngineError> {
    let Parts { journal, replica, hub, slots, bus, pulse, leaving, stop, readiness, metrics } = parts;
    let record = ReplicaRecord {
        replica: replica.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: Timestamp::from(SystemTime::now()),
        ..ReplicaRecord::default()
    };
    let (wishes, streams, own) = (hub.demand(), Arc::clone(hub), Arc::clone(slots));
    let told = move || Told {
        draining: leaving.is_cancelled(),
        streams: streams.streams(),
        polls: pulse.polled(),
        principals: own.by_principal(),
    };
    let me = ReplicaId::random(&replica);
    let Some(engine) = journal.engine() else {
        // Of whom there is no news but what it knows of itself.
        let (_, peers) = watch::channel(Arc::new(Peers::alone(me.clone(), record)));
        let replicas = Arc::new(Up::new(me, peers, told));
        return Ok(Together { leases: Leases::alone(), live: bus, demand: wishes, replicas });
    };
    let presence = Presence::open(engine, me.clone(), record, metrics.clone()).await?;
    let demand = presence.demand();
    let replicas = Arc::new(Up::new(me.clone(), presence.peers(), told.clone()));
    let (keeper, leases) = Keeper::open(engine, me.clone(), presence.peers(), metrics.clone()).await?;
    let (live, reports) = live_bus();
    let relay = Relay::new(engine, reports, bus, metrics);
    let counting = count_elsewhere(Arc::clone(slots), me, presence.peers(), stop.clone());
    tasks.spawn_essential("streams at other replicas", counting);
    for (name, what, failing) in [
        ("leases", "no lease can be had or renewed", keeper.failing()),
        ("replicas", "the other replicas are told nothing", presence.failing()),
    ] {
        let (gate, hub) = (readiness.gate(name, "opening"), Arc::clone(hub));
        let watching = away::keep_gate(what, failing, gate, move || hub.all_stale(), tasks.stopping());
        tasks.spawn_essential(format!("watch {name}"), watching);
    }
    tasks.spawn_essential("replicas", presence.run(told, wishes, stop.clone()));
    tasks.spawn_essential("leases", keeper.run(stop.clone()));
    tasks.spawn_essential("live reports of replicas", relay.run(stop));
    Ok(Together { leases, live, demand, replicas })
}

/// Lets the streams that principals have at other replicas count here, until `stop`.
async fn count_elsewhere(
    slots: Arc<StreamSlots>,
    me: ReplicaId,
    mut peers: watch::Receiver<Arc<Peers>>,
    stop: CancellationToken,
) {
    // An error means that nobody tells any more: the process stops.
    while let Some(Ok(())) = stop.run_until_cancelled(peers.changed()).await {
        slots.count_elsewhere(peers.borrow_and_update().elsewhere(&me));
    }
    stop.cancelled().await;
}
