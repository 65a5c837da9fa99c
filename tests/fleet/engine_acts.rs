//! What happens to NATS, and to the way there.

use std::time::Duration;

use rustix::process::Signal;

use super::acts::taken_over;
use super::link::Way;
use super::polls::{Polls, Span, longest_pause};
use super::world::Fleet;
use super::{AFTER_DEATH, AFTER_NODE, HOLD, INTERVAL};
use crate::faults::now;
use crate::support::eventually;

/// How long a server is away.
const AWAY: f64 = AFTER_NODE + FOLLOWED + 1.0;
/// How much longer a replica may take to notice that nothing of the journal comes to it, seconds: two looks at it, and a
/// new beginning.
const FOLLOWED: f64 = 6.0;
/// How long all of NATS is away, seconds: longer than a lease lives.
const ALL_AWAY: f64 = 25.0;
/// Without an answer of NATS nobody polls after this, seconds: when the holder of a lease stops, and what a busy machine adds.
const POLLS_END: f64 = HOLD + 2.0 * INTERVAL;
/// A replica that was cut off says so by then, and that it is back.
const TOLD_WITHIN: Duration = Duration::from_secs(40);

/// Which server of NATS dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// The one that leads the journal.
    Leader,
    /// The one that leads the leases.
    LeaderOfLeases,
    /// One that leads neither, if there is such a one; else one that does not lead the journal.
    Follower,
}

/// How a replica is cut from NATS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Connections break and are refused.
    Refused,
    /// Nothing passes any more.
    Silent,
}

/// A server of NATS dies, and comes back after a while. Polls and completions go on.
pub async fn kill_node(fleet: &mut Fleet, node: Node) {
    let act = format!("NATS: {node:?}");
    let journal = fleet.nats.leader(&fleet.engine, &fleet.engine.names().stream()).await;
    let leases = format!("KV_{}", fleet.engine.names().bucket("leases"));
    let leases = fleet.nats.leader(&fleet.engine, &leases).await;
    let i = match node {
        Node::Leader => journal,
        Node::LeaderOfLeases => leases,
        Node::Follower => (0..3).find(|i| *i != journal && *i != leases).unwrap_or((journal + 1) % 3),
    };
    let takeover = fleet.takeover_begins();
    let died = now();
    fleet.nats.signal(i, Signal::KILL);
    fleet.pass(AWAY).await;
    let span = Span { from: died, to: now() };
    let polls = fleet.polls();
    let most = |pauses: &mut dyn Iterator<Item = f64>| pauses.fold(0.0, f64::max);
    let of_polls = most(&mut fleet.vms.iter().map(|vm| longest_pause(&polls.times(vm), span)));
    // What is appended reaches the first client at once; each of the others has to go on, too, whatever replica it is at.
    let told: Vec<Vec<f64>> = fleet.vms.iter().map(|vm| fleet.watched.pauses(vm, span)).collect();
    let first = most(&mut told.iter().map(|pauses| pauses.iter().copied().fold(f64::INFINITY, f64::min)));
    let last = most(&mut told.iter().flatten().copied());
    fleet.record.took(&format!("{act}: a VM without a poll"), of_polls, AFTER_NODE);
    fleet.record.took(&format!("{act}: a VM without a completion"), first, AFTER_NODE + 2.0 * INTERVAL);
    fleet.record.took(&format!("{act}: a client without a VM's completions"), last, AFTER_NODE + FOLLOWED);
    fleet.nats.restart(i);
    fleet.pass(3.0).await;
    fleet.takeover_ends(takeover);
}

/// Every server of NATS dies: nobody polls without a lease. They come back, and polls go on.
pub async fn kill_all_nodes(fleet: &mut Fleet) {
    let takeover = fleet.takeover_begins();
    let died = now();
    (0..3).for_each(|i| fleet.nats.signal(i, Signal::KILL));
    fleet.pass(ALL_AWAY).await;
    let (polls, span) = (fleet.polls(), Span { from: died + POLLS_END, to: now() });
    for vm in fleet.vms.clone() {
        let pollers = polls.pollers(&vm, span);
        if !pollers.is_empty() {
            fleet.record.broke(format!("NATS: all: {pollers:?} polled {vm} without a lease"));
        }
    }
    for i in fleet.up() {
        let fresh = fleet.replicas[i].fresh().await;
        if !fresh.is_empty() {
            fleet.record.broke(format!("NATS: all: {} calls {fresh:?} fresh", fleet.replicas[i].name));
        }
    }
    let back = now();
    (0..3).for_each(|i| fleet.nats.restart(i));
    let polled = |polls: &Polls, vm: &String| polls.times(vm).last().is_some_and(|at| *at > back);
    let is_over = || now() > back + AFTER_DEATH + INTERVAL;
    while !fleet.vms.iter().all(|vm| polled(&fleet.polls(), vm)) && !is_over() {
        fleet.pass(0.1).await;
    }
    fleet.record.took("NATS: all: until every VM is polled again", now() - back, AFTER_DEATH);
    for i in fleet.up() {
        fleet.ready(i).await;
    }
    fleet.takeover_ends(takeover);
}

/// The poller of `vm` cannot reach NATS: others take its VMs, and it says that it is not ready and that
/// what it knows is stale. Then it can again.
pub async fn cut(fleet: &mut Fleet, vm: &str, how: Cut) {
    let act = format!("cut from NATS, {how:?}");
    let i = fleet.poller(vm);
    let held = fleet.held_by(i);
    let takeover = fleet.takeover_begins();
    let since = now();
    fleet.replicas[i].links(if how == Cut::Refused { Way::Broken } else { Way::Silent });
    taken_over(fleet, i, &held, since, &act).await;
    eventually(TOLD_WITHIN, async || !fleet.replicas[i].ready().await).await;
    eventually(TOLD_WITHIN, async || fleet.replicas[i].fresh().await.is_empty()).await;
    fleet.replicas[i].links(Way::Open);
    eventually(TOLD_WITHIN, async || fleet.replicas[i].ready().await).await;
    // Its VMs stay where they are now.
    fleet.pass(3.0 * INTERVAL).await;
    fleet.takeover_ends(takeover);
}
