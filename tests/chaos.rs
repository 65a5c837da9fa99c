//! Several replicas over NATS behind a load balancer: whatever happens to one of them, every completion reaches every
//! client exactly once, and each VM has one poller.

use crate::faults::{say, seed};
use crate::fleet::{Fleet, INTERVAL, Node, kill_node, kill_poller, pause_poller, resume, rolling_restart};
use crate::lab::Lab;

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_loses_and_doubles_nothing_whatever_happens_to_a_replica() {
    let lab = Lab::for_test().await;
    let Some(mut fleet) = Fleet::start(seed("a fleet"), lab).await else { return };
    fleet.calm(5.0 * INTERVAL, true).await;
    // One stands still while another one dies: the third has all VMs for a while.
    let paused = pause_poller(&mut fleet, "two");
    let other = fleet.vms.iter().find(|vm| fleet.poller(vm) != fleet.poller("two")).cloned();
    kill_poller(&mut fleet, &other.expect("VMs are spread")).await;
    resume(&mut fleet, paused).await;
    kill_node(&mut fleet, Node::Leader).await;
    rolling_restart(&mut fleet).await;
    fleet.calm(3.0 * INTERVAL, false).await;
    fleet.every_replica_has_all().await;
    let standing = fleet.standing();
    say(&format!("{} completions, {} connections", standing.events, standing.connections));
    fleet.record.lines().iter().for_each(|line| say(line));
    assert!(fleet.record.broken.is_empty(), "{}\n{}", fleet.record.broken.join("\n"), fleet.logs());
}
