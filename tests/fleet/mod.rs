//! What the test of a fleet and `make chaos` share: replicas of gatewatch behind HAProxy, three servers of NATS, VMs whose
//! benchmarks play and that count their own polls, clients that come back, and what happens to them.
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "shared by the tests and the chaos; neither uses all of it"
)]

mod acts;
mod engine_acts;
mod link;
mod players;
mod polls;
mod record;
mod replica;
mod watched;
mod world;

pub use acts::{fourth, kill_poller, pause_poller, resume, rolling_restart};
pub use engine_acts::{Cut, Node, cut, kill_all_nodes, kill_node};
pub use world::Fleet;

/// Between two polls of a VM, as every configuration here says and every client asks for; seconds.
pub const INTERVAL: f64 = 1.0;
/// How long a lease lives that nobody renews, seconds.
pub const LEASE: f64 = 15.0;
/// How long a holder that hears nothing of NATS polls on, seconds.
pub const HOLD: f64 = 10.0;
/// How long the VMs of a replica that died may be without a poll, seconds: two leases.
pub const AFTER_DEATH: f64 = 2.0 * LEASE;
/// The same of one that was stopped in order: a second, beside the interval and what a busy machine adds to a poll. Far
/// below a lease: what was not given back takes longer.
pub const AFTER_STOP: f64 = 1.0 + INTERVAL + 2.0;
/// How long polls and completions may stand still when a server of NATS dies, seconds.
pub const AFTER_NODE: f64 = 10.0;
