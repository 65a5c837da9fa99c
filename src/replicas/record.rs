//! What each replica tells the others of itself. Pure.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::{Demand, Timestamp, VmName};

/// One process of the fleet, told from every other one that is or was, also of the same name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaId(Arc<str>);

impl ReplicaId {
    /// An identity for the replica called `name`.
    pub fn random(name: &str) -> Self {
        // What a key of a bucket may hold.
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        let name: String = name.chars().map(plain).take(80).collect();
        Self(format!("{name}-{:016x}", rand::random::<u64>()).into())
    }

    /// The one that a bucket names.
    pub(super) fn from_key(key: &str) -> Self {
        Self(key.into())
    }

    /// The identity as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a replica tells of itself. Fields that a later version adds are passed over, and those that it leaves out are
/// empty, so that a fleet can be brought up to date one replica after the other.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReplicaRecord {
    /// Its name, as `connected` has it.
    pub replica: String,
    /// Its version.
    #[serde(default)]
    pub version: String,
    /// When it started.
    #[serde(default)]
    pub started_at: Timestamp,
    /// Whether it is about to stop: it takes no VM any more.
    #[serde(default)]
    pub draining: bool,
    /// Streams open there.
    #[serde(default)]
    pub streams: usize,
    /// The VMs that it polls.
    #[serde(default)]
    pub polls: Vec<VmName>,
    /// What its watchers want.
    #[serde(default)]
    pub demand: Demand,
    /// Its streams by principal; only the largest counts, so that a record stays small.
    #[serde(default)]
    pub principals: HashMap<Box<str>, usize>,
}

/// A replica that is up.
#[derive(Clone, Debug, PartialEq)]
pub struct Peer {
    /// Which.
    pub id: ReplicaId,
    /// What it told last.
    pub record: ReplicaRecord,
    /// When that came here.
    pub heard_at: Timestamp,
}

/// The replicas that are up, this one among them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Peers(Vec<Peer>);

impl Peers {
    /// One that is alone, and of which `record` tells.
    pub fn alone(id: ReplicaId, record: ReplicaRecord) -> Self {
        let heard_at = record.started_at;
        Self(vec![Peer { id, record, heard_at }])
    }

    /// Those of `peers`, by their ids.
    pub(super) fn new(mut peers: Vec<Peer>) -> Self {
        peers.sort_by(|a, b| a.id.cmp(&b.id));
        Self(peers)
    }

    /// Each.
    pub fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.0.iter()
    }

    /// Those that take VMs.
    pub(super) fn taking(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|peer| !peer.record.draining).map(|peer| peer.id.as_str())
    }

    /// What the watchers of all want together.
    pub fn demand(&self) -> Demand {
        self.0.iter().flat_map(|peer| peer.record.demand.iter()).map(|(vm, seconds)| (vm.clone(), seconds)).collect()
    }

    /// The streams of each principal at replicas other than `me`.
    pub fn elsewhere(&self, me: &ReplicaId) -> HashMap<Box<str>, usize> {
        let mut counts = HashMap::new();
        for peer in self.0.iter().filter(|peer| peer.id != *me) {
            for (principal, streams) in &peer.record.principals {
                let count: &mut usize = counts.entry(principal.clone()).or_default();
                *count = count.saturating_add(*streams);
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(json: &str) -> ReplicaRecord {
        serde_json::from_str(json).expect("a record")
    }

    fn peers() -> Peers {
        let one = record("{\"replica\":\"a\",\"demand\":{\"x\":5,\"y\":9},\"principals\":{\"k\":3}}");
        let other = record("{\"replica\":\"b\",\"demand\":{\"x\":2},\"principals\":{\"k\":4,\"l\":1},\"new\":[1]}");
        let leaving = ReplicaRecord { draining: true, ..record("{\"replica\":\"c\",\"principals\":{\"k\":10}}") };
        let peer = |key: &str, record| Peer { id: ReplicaId::from_key(key), record, heard_at: Timestamp(1.0) };
        Peers::new(vec![peer("c.1", leaving), peer("b.1", other), peer("a.1", one)])
    }

    #[test]
    fn the_smallest_wish_of_any_replica_counts() {
        let demand = peers().demand();
        let of = |vm: &str| demand.for_vm(&VmName::new(vm).expect("a name"));
        assert_eq!((of("x"), of("y"), of("z")), (Some(2), Some(9), None));
    }

    #[test]
    fn streams_elsewhere_are_those_of_all_others() {
        let elsewhere = peers().elsewhere(&ReplicaId::from_key("a.1"));
        assert_eq!((elsewhere.get("k"), elsewhere.get("l")), (Some(&14), Some(&1)));
    }

    #[test]
    fn one_that_leaves_takes_nothing() {
        assert_eq!(peers().taking().collect::<Vec<_>>(), ["a.1", "b.1"]);
    }

    #[test]
    fn an_identity_is_a_key_of_a_bucket_whatever_the_machine_is_called() {
        let (one, other) = (ReplicaId::random("haus ö.1*>"), ReplicaId::random("haus ö.1*>"));
        assert_ne!(one, other);
        assert!(one.as_str().bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)), "{one}");
    }
}
