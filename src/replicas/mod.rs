//! What the replicas of a fleet share over NATS beside the journal: who may poll which VM, who is up and what its watchers
//! want, the latest report of each VM, and what must count everywhere at once.
//!
//! One replica alone shares nothing, and everything here is then granted at once. Nothing of consensus or replication is
//! written here: each decision is one compare-and-set on a bucket of JetStream. May import `model`, `config`, `telemetry`,
//! `lifecycle`, `event` and `journal`.
