//! Which replicas are up, as the API tells it.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::watch;

use crate::api::{ReplicaUp, Replicas};
use crate::model::Timestamp;
use crate::replicas::{Peer, Peers, ReplicaId, Told};

/// What this process heard of the others, and knows of itself.
pub(super) struct Up<T> {
    me: ReplicaId,
    peers: watch::Receiver<Arc<Peers>>,
    told: T,
}

impl<T: Fn() -> Told> Up<T> {
    /// `me` among `peers`, who would tell the others what `told` says.
    pub(super) fn new(me: ReplicaId, peers: watch::Receiver<Arc<Peers>>, told: T) -> Self {
        Self { me, peers, told }
    }

    fn row(&self, peer: &Peer) -> ReplicaUp {
        let record = &peer.record;
        let row = ReplicaUp {
            replica: record.replica.clone(),
            version: record.version.clone(),
            started_at: record.started_at,
            heard_at: peer.heard_at,
            draining: record.draining,
            streams: record.streams,
            polls: record.polls.clone(),
            is_self: peer.id == self.me,
        };
        if !row.is_self {
            return row;
        }
        // What was told of it last is older than what is known.
        let Told { draining, streams, polls, .. } = (self.told)();
        ReplicaUp { heard_at: Timestamp::from(SystemTime::now()), draining, streams, polls, ..row }
    }
}

impl<T: Fn() -> Told + Send + Sync> Replicas for Up<T> {
    fn up(&self) -> Vec<ReplicaUp> {
        let peers = Arc::clone(&self.peers.borrow());
        peers.iter().map(|peer| self.row(peer)).collect()
    }
}
