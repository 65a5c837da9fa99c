//! What is not counted as it happens, but looked at when metrics are read.

use std::sync::Arc;

use super::journal::OpenJournal;
use super::vitals::Vitals;
use crate::api::Health as _;
use crate::hub::Hub;
use crate::journal::{EmbeddedJournal, LiveSender};
use crate::lifecycle::Tasks;
use crate::telemetry::{HubMetrics, Metrics, ProcessMetrics, Queue, Scrape};

/// What is looked at.
pub(super) struct Looked<'a> {
    pub(super) health: &'a Arc<Vitals>,
    pub(super) tasks: &'a Tasks,
    pub(super) hub: &'a Arc<Hub>,
    pub(super) journal: &'a OpenJournal,
    pub(super) bus: &'a LiveSender,
}

/// A scrape of `metrics` that looks at these parts first.
pub(super) fn scrape(metrics: &Metrics, looked: &Looked<'_>) -> Scrape {
    let scrape = Scrape::new(metrics.registry.clone());
    let process = metrics.process.clone();
    let (health, tasks) = (Arc::clone(looked.health), looked.tasks.clone());
    scrape.before_each(move || {
        process.ready.set(i64::from(health.not_ready().is_empty()));
        process.tasks.set(whole(tasks.alive()));
        process.look();
    });
    let (hub, metrics_of_hub) = (Arc::clone(looked.hub), metrics.hub.clone());
    scrape.before_each(move || look_at_streams(&hub, &metrics_of_hub));
    let (hub, bus, process) = (Arc::clone(looked.hub), looked.bus.clone(), metrics.process.clone());
    let journal = match looked.journal {
        OpenJournal::Memory(_) | OpenJournal::Jetstream(_) => None,
        OpenJournal::Embedded(journal) => Some(Arc::clone(journal)),
    };
    scrape.before_each(move || look_at_queues(&process, &hub, &bus, journal.as_deref()));
    scrape
}

fn look_at_streams(hub: &Hub, metrics: &HubMetrics) {
    metrics.vms_stale.set(whole(hub.stale_vms()));
    let lag = hub.lag();
    metrics.streams_behind.set(whole(lag.behind));
    metrics.lag_commits.set(i64::try_from(lag.commits).unwrap_or(i64::MAX));
    metrics.lag_seconds.set(i64::try_from(lag.longest.as_secs()).unwrap_or(i64::MAX));
}

/// A journal in memory has no queue.
fn look_at_queues(process: &ProcessMetrics, hub: &Hub, bus: &LiveSender, journal: Option<&EmbeddedJournal>) {
    process.queues.of(Queue::LiveBus).set(whole(bus.waiting()));
    process.queues.of(Queue::Readers).set(whole(hub.waiting_reads()));
    process.queues.of(Queue::Journal).set(whole(journal.map_or(0, EmbeddedJournal::waiting)));
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
