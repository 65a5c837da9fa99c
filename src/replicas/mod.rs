//! What the replicas of a fleet share over NATS beside the journal: who may poll which VM, who is up and what its watchers
//! want, the latest report of each VM, and what must count everywhere at once.
//!
//! One replica alone shares nothing, and everything here is then granted at once. Nothing of consensus or replication is
//! written here: each decision is one compare-and-set on a bucket of JetStream. May import `model`, `config`, `telemetry`,
//! `lifecycle`, `event` and `journal`.

mod decide;
mod entry;
mod followed;
mod keeper;
mod lease;
mod notices;
mod outbox;
mod presence;
mod record;
mod registered;
mod relay;
mod secrets;
mod tickets;

pub use keeper::Keeper;
pub use lease::{Claim, Lease, Leases};
pub use notices::{Logout, Logouts, Notices, Revocation, Revocations};
pub use presence::{Presence, Told};
pub use record::{Peer, Peers, ReplicaId, ReplicaRecord};
pub use registered::{Known, RegistrationFault, Registrations, RegistrationsFollower};
pub use relay::Relay;
pub use secrets::session_secret;
pub use tickets::{Tickets, TicketsAway};
