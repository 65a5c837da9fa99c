//! What the replicas of a fleet share over NATS beside the journal: who may poll which VM, who is up and what its watchers
//! want, the latest report of each VM, and what must count everywhere at once.
//!
//! One replica alone shares nothing, and everything here is then granted at once. Nothing of consensus or replication is
//! written here: each decision is one compare-and-set on a bucket of JetStream. May import `model`, `config`, `telemetry`,
//! `lifecycle`, `event` and `journal`.

mod decide;
mod keeper;
mod lease;
mod presence;
mod record;
mod relay;
mod watching;

pub use keeper::Keeper;
pub use lease::{Claim, Lease, Leases};
pub use presence::{Presence, Told};
pub use record::{Peer, Peers, ReplicaId, ReplicaRecord};
pub use relay::Relay;
