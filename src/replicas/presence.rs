//! The task that tells the other replicas of this one, and hears of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_nats::jetstream::kv::Store;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::followed::{Followed, Note};
use super::record::{Peer, Peers, ReplicaId, ReplicaRecord};
use crate::journal::{Engine, EngineError};
use crate::model::{Demand, Timestamp, VmName};
use crate::telemetry::ReplicaMetrics;

/// How long a replica is held to be up that tells nothing more.
const MAX_AGE: Duration = Duration::from_secs(15);

/// Between two words of a replica of which there is nothing new.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// How often it is looked whether there is something new, and who has gone.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Replicas that are listened to; of one more nothing is kept.
const MAX_PEERS: usize = 256;

/// The largest record that is told, bytes; what NATS takes by default is 1 MiB.
const MAX_RECORD: usize = 512 * 1024;

/// How long the goodbye may take.
const GOODBYE_WITHIN: Duration = Duration::from_secs(1);

/// What changes of a replica.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// Whether it is about to stop.
    pub draining: bool,
    /// Streams open.
    pub streams: usize,
    /// The VMs that it polls.
    pub polls: Vec<VmName>,
    /// Its streams by principal.
    pub principals: HashMap<Box<str>, usize>,
}

/// Tells and hears; to be run by whoever made it.
pub struct Presence {
    bucket: Store,
    notes: Followed,
    connected: watch::Receiver<bool>,
    me: ReplicaId,
    first: ReplicaRecord,
    heard: HashMap<ReplicaId, (Peer, Instant)>,
    peers: watch::Sender<Arc<Peers>>,
    failing: watch::Sender<Option<Arc<str>>>,
    demand: watch::Sender<Arc<Demand>>,
    metrics: ReplicaMetrics,
}

impl Presence {
    /// Of the replica `me`, whose name, version and start `record` says.
    ///
    /// # Errors
    /// If the bucket cannot be reached, or is not as it is made.
    pub async fn open(
        engine: &Engine,
        me: ReplicaId,
        record: ReplicaRecord,
        metrics: ReplicaMetrics,
    ) -> Result<Self, EngineError> {
        let bucket = engine.bucket("replicas", MAX_AGE).await?;
        Ok(Self {
            notes: Followed::from_now(engine, bucket.clone()),
            bucket,
            connected: engine.connected(),
            me,
            first: record,
            heard: HashMap::new(),
            peers: watch::Sender::default(),
            failing: watch::Sender::default(),
            demand: watch::Sender::default(),
            metrics,
        })
    }

    /// Who is up, this replica among them once it runs.
    pub fn peers(&self) -> watch::Receiver<Arc<Peers>> {
        self.peers.subscribe()
    }

    /// Why the others are told nothing now; `None` while they are.
    pub fn failing(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.failing.subscribe()
    }

    /// What the watchers of all replicas want together.
    pub fn demand(&self) -> watch::Receiver<Arc<Demand>> {
        self.demand.subscribe()
    }

    /// Tells what `told` says and what `wishes` are here, until `stop`; then says goodbye.
    pub async fn run(
        mut self,
        told: impl Fn() -> Told + Send,
        wishes: watch::Receiver<Arc<Demand>>,
        stop: CancellationToken,
    ) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last: Option<(ReplicaRecord, Instant)> = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                notes = self.notes.next() => notes.into_iter().for_each(|note| self.hear(note)),
                _ = ticks.tick() => {}
            }
            let record = self.record(told(), &wishes.borrow());
            let due = last.as_ref().is_none_or(|(last, at)| is_due(last, &record, at.elapsed()));
            if due && self.tell(&record).await {
                last = Some((record.clone(), Instant::now()));
            }
            self.publish(record);
        }
        let goodbye = timeout(GOODBYE_WITHIN, self.bucket.delete(self.me.as_str())).await;
        if !matches!(goodbye, Ok(Ok(()))) {
            info!("the other replicas are not told of the end: they notice it within {} s", MAX_AGE.as_secs());
        }
    }

    fn record(&self, told: Told, wishes: &Demand) -> ReplicaRecord {
        let Told { draining, streams, polls, principals } = told;
        ReplicaRecord { draining, streams, polls, principals, demand: wishes.clone(), ..self.first.clone() }
    }

    /// Whether the bucket has it.
    async fn tell(&mut self, record: &ReplicaRecord) -> bool {
        let mut record = record.clone();
        let value = loop {
            let Ok(value) = serde_json::to_vec(&record) else { return false };
            if value.len() <= MAX_RECORD {
                break value;
            }
            // Who polls what can be asked of the VMs; what watchers want cannot.
            if record.polls.is_empty() && record.principals.is_empty() {
                warn!(bytes = value.len(), "the other replicas are not told what is wanted here: it is too much");
                return false;
            }
            (record.polls, record.principals) = (Vec::new(), HashMap::new());
        };
        // Written while there is no connection it would wait, and tell what is no longer so.
        if !*self.connected.borrow() {
            return false;
        }
        match self.bucket.put(self.me.as_str(), value.into()).await {
            Ok(_) => {
                self.failing.send_if_modified(|failing| failing.take().is_some());
                true
            }
            Err(error) => {
                debug!(%error, "the other replicas are not told of this one now");
                let why = error.to_string().into();
                self.failing.send_if_modified(|failing| failing.replace(why).is_none());
                false
            }
        }
    }

    fn hear(&mut self, note: Note) {
        let id = ReplicaId::from_key(&note.key);
        if id == self.me {
            return;
        }
        let Some(value) = note.value else {
            self.heard.remove(&id);
            return;
        };
        let Ok(record) = serde_json::from_slice::<ReplicaRecord>(&value) else {
            warn!(replica = %id, "a replica tells of itself what this version cannot read");
            return;
        };
        if self.heard.len() < MAX_PEERS || self.heard.contains_key(&id) {
            let heard_at = Timestamp::from(SystemTime::now());
            self.heard.insert(id.clone(), (Peer { id, record, heard_at }, Instant::now()));
        }
    }

    /// Hands on who is up and what is wanted. This replica's own part does not go by way of the engine.
    fn publish(&mut self, record: ReplicaRecord) {
        self.heard.retain(|_, (_, at)| at.elapsed() < MAX_AGE);
        let me = Peer { id: self.me.clone(), record, heard_at: Timestamp::from(SystemTime::now()) };
        let peers = Peers::new(self.heard.values().map(|(peer, _)| peer.clone()).chain([me]).collect());
        let demand = peers.demand();
        self.metrics.replicas_up.set(i64::try_from(self.heard.len() + 1).unwrap_or(i64::MAX));
        self.demand.send_if_modified(|known| {
            let news = **known != demand;
            if news {
                *known = Arc::new(demand);
            }
            news
        });
        self.peers.send_replace(Arc::new(peers));
    }
}

/// Whether `record` is to be told, the last one having been told `since`. Streams come and go all the time: their number
/// waits.
fn is_due(last: &ReplicaRecord, record: &ReplicaRecord, since: Duration) -> bool {
    let changed = (last.draining, &last.demand, &last.polls) != (record.draining, &record.demand, &record.polls);
    changed || since >= TELL_EVERY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_act_on_is_told_at_once_and_the_rest_now_and_then() {
        let last: ReplicaRecord = serde_json::from_str("{\"replica\":\"a\"}").expect("a record");
        let now = Duration::ZERO;
        assert!(!is_due(&last, &ReplicaRecord { streams: 9, ..last.clone() }, now));
        assert!(is_due(&last, &last, TELL_EVERY));
        assert!(is_due(&last, &ReplicaRecord { draining: true, ..last.clone() }, now));
        let demand = [(VmName::new("x").expect("a name"), 1)].into_iter().collect();
        assert!(is_due(&last, &ReplicaRecord { demand, ..last.clone() }, now));
    }
}
