//! What happens to NATS, and to the way there.

use std::time::Duration;

use rustix::process::Signal;

use super::acts::taken_over;
use super::link::Way;
use super::polls::{Span, longest_pause};
use super::world::Fleet;
use super::{AFTER_NODE, INTERVAL};
use crate::faults::now;
use crate::support::eventually;

/// How long a server is away.
const AWAY: f64 = 13.0;
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
    // Some clients are at each replica: each has to go on.
    let told = most(&mut fleet.vms.iter().flat_map(|vm| fleet.watched.pauses(vm, span)));
    fleet.record.took(&format!("{act}: a VM without a poll"), of_polls, AFTER_NODE);
    fleet.record.took(&format!("{act}: a client without a VM's completions"), told, AFTER_NODE + 2.0 * INTERVAL);
    fleet.nats.restart(i);
    fleet.pass(3.0).await;
    fleet.takeover_ends(takeover);
}

/// The poller of `vm` cannot reach NATS: others take its VMs, and it says that it is not ready. Then it can again.
pub async fn cut(fleet: &mut Fleet, vm: &str, how: Cut) {
    let act = format!("cut from NATS, {how:?}");
    let i = fleet.poller(vm);
    let held = fleet.held_by(i);
    let takeover = fleet.takeover_begins();
    let since = now();
    fleet.replicas[i].links(if how == Cut::Refused { Way::Broken } else { Way::Silent });
    taken_over(fleet, i, &held, since, &act).await;
    eventually(TOLD_WITHIN, async || !fleet.replicas[i].ready().await).await;
    fleet.replicas[i].links(Way::Open);
    eventually(TOLD_WITHIN, async || fleet.replicas[i].ready().await).await;
    // Its VMs stay where they are now.
    fleet.pass(3.0 * INTERVAL).await;
    fleet.takeover_ends(takeover);
}
