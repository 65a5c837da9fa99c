//! Several replicas over NATS behind a load balancer: whatever happens to one of them, every completion reaches every
//! client exactly once, and each VM has one poller.

use crate::faults::{say, seed};
use crate::fleet::{Fleet, INTERVAL, Node, kill_node, kill_poller, pause_poller, resume, rolling_restart};
use crate::lab::Lab;

/// One stands still while another one dies: the third has all VMs for a while. If only one polls, that happens to it in turn.
async fn stop_one_and_kill_another(fleet: &mut Fleet) {
    let (one, poller) = ("two", fleet.poller("two"));
    let another = fleet.vms.iter().find(|vm| fleet.poller(vm) != poller).cloned();
    if another.is_none() {
        kill_poller(fleet, one).await;
    }
    let paused = pause_poller(fleet, one);
    if let Some(another) = another {
        kill_poller(fleet, &another).await;
    }
    resume(fleet, paused).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_loses_and_doubles_nothing_whatever_happens_to_a_replica() {
    let lab = Lab::for_test().await;
    let Some(mut fleet) = Fleet::start(seed("a fleet"), lab).await else { return };
    fleet.calm(4.0 * INTERVAL, false).await;
    // What one gives back the others share, so that several poll afterwards, however far apart they started.
    rolling_restart(&mut fleet).await;
    stop_one_and_kill_another(&mut fleet).await;
    kill_node(&mut fleet, Node::Leader).await;
    fleet.calm(4.0 * INTERVAL, false).await;
    fleet.every_replica_has_all().await;
    let standing = fleet.standing();
    say(&format!("{} completions, {} connections", standing.events, standing.connections));
    fleet.record.lines().iter().for_each(|line| say(line));
    assert!(fleet.record.broken.is_empty(), "{}\n{}", fleet.record.broken.join("\n"), fleet.logs());
}
