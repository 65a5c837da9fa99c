//! What happens to replicas.

use rustix::process::Signal;
use std::time::{Duration, Instant};

use super::polls::Span;
use super::watched::Were;
use super::world::Fleet;
use super::{AFTER_DEATH, AFTER_STOP, INTERVAL, LEASE};
use crate::faults::now;
use crate::support::Sse;

/// A replica that was told to stop has ended by then.
const ENDED_WITHIN: Duration = Duration::from_secs(30);
/// A replica that has just joined tells what is known within this, seconds; a second, and what a busy machine adds.
const SNAPSHOT_WITHIN: f64 = 3.0;

/// The poller of `vm` dies, and is started again once others have its VMs.
pub async fn kill_poller(fleet: &mut Fleet, vm: &str) {
    let i = fleet.poller(vm);
    let (held, were) = (fleet.held_by(i), fleet.watched.at(&fleet.replicas[i]));
    let takeover = fleet.takeover_begins();
    let died = now();
    fleet.replicas[i].process.signal(Signal::KILL);
    fleet.replicas[i].up = false;
    taken_over(fleet, i, &held, died, "kill -9").await;
    moved(fleet, &were, "kill -9").await;
    fleet.replicas[i].start();
    fleet.ready(i).await;
    fleet.takeover_ends(takeover);
}

/// A replica that was stopped by SIGSTOP.
pub struct Paused {
    i: usize,
    held: Vec<String>,
    were: Were,
    since: f64,
    takeover: usize,
}

/// The poller of `vm` stands still from now on.
pub fn pause_poller(fleet: &mut Fleet, vm: &str) -> Paused {
    let i = fleet.poller(vm);
    let (held, were) = (fleet.held_by(i), fleet.watched.at(&fleet.replicas[i]));
    let takeover = fleet.takeover_begins();
    fleet.replicas[i].process.signal(Signal::STOP);
    Paused { i, held, were, since: now(), takeover }
}

/// Three leases after it was paused it goes on, and finds that others have its VMs.
pub async fn resume(fleet: &mut Fleet, paused: Paused) {
    let Paused { i, held, were, since, takeover } = paused;
    taken_over(fleet, i, &held, since, "SIGSTOP").await;
    moved(fleet, &were, "SIGSTOP").await;
    fleet.pass((since + 3.0 * LEASE - now()).max(0.0)).await;
    fleet.replicas[i].process.signal(Signal::CONT);
    let resumed = now();
    fleet.pass(6.0 * INTERVAL).await;
    let (polls, span) = (fleet.polls(), Span { from: resumed, to: now() });
    for vm in &held {
        // One that had begun before may show now.
        let late = polls.handover(vm, &fleet.replicas[i].name, since).map_or(0, |handover| handover.late);
        if late > 1 {
            let pollers = polls.pollers(vm, span);
            fleet.record.broke(format!("SIGSTOP: {late} polls of {vm} by the one that was paused; now {pollers:?}"));
        }
    }
    fleet.ready(i).await;
    fleet.takeover_ends(takeover);
}

/// Each of the first three replicas is stopped in order and started again, one after the other.
pub async fn rolling_restart(fleet: &mut Fleet) {
    for i in 0..3 {
        stop(fleet, i, "SIGTERM").await;
        fleet.replicas[i].start();
        fleet.ready(i).await;
        // The load balancer believes it, and clients spread.
        fleet.pass(2.0).await;
    }
}

/// A fourth replica joins: it tells what is known at once and takes no VM from others; a restart of another one gives it
/// some; then it is taken away in order.
pub async fn fourth(fleet: &mut Fleet) {
    let i = fleet.replicas.len() - 1;
    fleet.replicas[i].start();
    fleet.ready(i).await;
    let began = Instant::now();
    snapshot(fleet, i).await;
    fleet.record.took("the snapshot of one that has just joined", began.elapsed().as_secs_f64(), SNAPSHOT_WITHIN);
    let before: Vec<usize> = fleet.vms.iter().map(|vm| fleet.poller(vm)).collect();
    fleet.calm(4.0 * INTERVAL, false).await;
    let after: Vec<usize> = fleet.vms.iter().map(|vm| fleet.poller(vm)).collect();
    if before != after {
        fleet.record.broke(format!("a fourth replica joined, and VMs went from {before:?} to {after:?}"));
    }
    let leaves = after[0];
    stop(fleet, leaves, "SIGTERM beside a fourth").await;
    fleet.replicas[leaves].start();
    fleet.ready(leaves).await;
    stop(fleet, i, "SIGTERM of the fourth").await;
}

/// Replica `i` is stopped in order; others have its VMs at once.
async fn stop(fleet: &mut Fleet, i: usize, act: &str) {
    let (held, were) = (fleet.held_by(i), fleet.watched.at(&fleet.replicas[i]));
    let takeover = fleet.takeover_begins();
    let since = now();
    fleet.replicas[i].process.signal(Signal::TERM);
    let ended = fleet.replicas[i].process.ended(ENDED_WITHIN).await;
    fleet.replicas[i].up = false;
    if !ended.success() {
        fleet.record.broke(format!("{act}: {} ended with {ended}", fleet.replicas[i].name));
    }
    wait_for_pollers(fleet, i, &held, since).await;
    let polls = fleet.polls();
    for vm in &held {
        match polls.handover(vm, &fleet.replicas[i].name, since) {
            Some(handover) => fleet.record.took(&format!("{act}: without a poll"), handover.pause, AFTER_STOP),
            None => fleet.record.broke(format!("{act}: nobody polls {vm}")),
        }
    }
    moved(fleet, &were, act).await;
    fleet.takeover_ends(takeover);
}

/// Waits until every VM of `held`, those of replica `i`, was polled by another one.
pub async fn wait_for_pollers(fleet: &Fleet, i: usize, held: &[String], since: f64) {
    let name = &fleet.replicas[i].name;
    while now() < since + AFTER_DEATH + 3.0 * INTERVAL {
        let polls = fleet.polls();
        if held.iter().all(|vm| polls.handover(vm, name, since).is_some()) {
            return;
        }
        fleet.pass(0.1).await;
    }
}

/// Others poll the VMs of replica `i` in time after it died at `since`.
pub async fn taken_over(fleet: &mut Fleet, i: usize, held: &[String], since: f64, act: &str) {
    wait_for_pollers(fleet, i, held, since).await;
    let polls = fleet.polls();
    for vm in held {
        match polls.handover(vm, &fleet.replicas[i].name, since) {
            Some(handover) => {
                fleet.record.took(&format!("{act}: until another one polls"), handover.first - since, AFTER_DEATH);
                if handover.late > 1 {
                    fleet.record.broke(format!("{act}: {vm} has two pollers: {handover:?}"));
                }
            }
            None => fleet.record.broke(format!("{act}: nobody polls {vm}")),
        }
    }
}

/// Every stream that was at the replica is at another one.
async fn moved(fleet: &mut Fleet, were: &Were, act: &str) {
    for name in fleet.watched.moved(were).await {
        fleet.record.broke(format!("{act}: the client {name:?} was not resumed by another replica"));
    }
}

/// Waits until replica `i` itself told the status of every VM.
async fn snapshot(fleet: &Fleet, i: usize) {
    let mut stream: Sse = fleet.replicas[i].process.stream().await;
    let mut told = std::collections::BTreeSet::new();
    let whole = |told: &std::collections::BTreeSet<String>| fleet.vms.iter().all(|vm| told.contains(vm));
    stream
        .until(Duration::from_secs(20), |frame| {
            if frame.event == "status" {
                told.insert(frame.text("vm").to_owned());
            }
            whole(&told)
        })
        .await;
}
