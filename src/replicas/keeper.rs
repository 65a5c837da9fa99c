//! The task that takes, renews and gives back leases.
//!
//! An entry of the bucket `leases` is the lease of one VM; the sequence at which it was made is its `rev`. It is written
//! by compare-and-set alone. What goes wrong is not believed, since a write that failed may still land: the bucket's leader
//! says what the entry is.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::kv::Store;
use futures_util::StreamExt as _;
use futures_util::future::{BoxFuture, FutureExt as _};
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::decide::{self, AGAIN_AFTER, HOLD_FOR, MAX_AGE, RENEW_EVERY, SETTLED_AFTER, SETTLED_AT_LAST};
use super::entry::{Holder, Outcome, write};
use super::followed::{Followed, Note};
use super::lease::{Lease, Leases};
use super::record::{Peers, ReplicaId};
use crate::journal::{Engine, EngineError};
use crate::model::VmId;
use crate::telemetry::ReplicaMetrics;

/// How often it is looked what is due.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Writes under way at once.
const MAX_WRITES: usize = 256;

/// How long the end may take.
const RELEASED_WITHIN: Duration = Duration::from_secs(2);

/// Keeps this replica's leases; to be run by whoever made it.
pub struct Keeper {
    bucket: Store,
    notes: Followed,
    connected: watch::Receiver<bool>,
    me: ReplicaId,
    leases: Leases,
    peers: watch::Receiver<Arc<Peers>>,
    metrics: ReplicaMetrics,
    /// What the bucket said last of each key: as many as VMs were ever polled and not yet forgotten.
    seen: HashMap<VmId, Seen>,
    held: HashMap<VmId, Held>,
    /// With a write under way.
    busy: HashSet<VmId>,
    /// When a write about a VM that is not held last came to nothing.
    refused: HashMap<VmId, Instant>,
    /// Why leases cannot be had or renewed, and when that was last so.
    trouble: Option<Instant>,
    failing: watch::Sender<Option<Arc<str>>>,
    writes: Writes,
    /// When this replica began, or reached NATS again.
    origin: Instant,
    /// When a replica was last seen to join.
    joined: Instant,
    /// When it was known who is there: nothing is taken before.
    settled: Option<Instant>,
    /// The replicas that take VMs.
    taking: HashSet<String>,
    /// Counts writes.
    written: u64,
}

type Writes = FuturesUnordered<BoxFuture<'static, Written>>;

/// What the bucket said of one key.
#[derive(Debug)]
struct Seen {
    revision: u64,
    /// `None`: it was given back.
    holder: Option<Holder>,
    /// When that was heard first.
    at: Instant,
}

/// A lease of this replica.
#[derive(Debug)]
struct Held {
    rev: u64,
    /// The sequence of the last renewal.
    revision: u64,
    /// When the last renewal that was acknowledged was sent.
    sent: Instant,
    /// When one was tried last.
    tried: Instant,
}

/// A write that ended.
struct Written {
    vm_id: VmId,
    sent: Instant,
    wrote: Holder,
    outcome: Outcome,
}

impl Keeper {
    /// A keeper for the replica `me`, and what it grants.
    ///
    /// # Errors
    /// If the bucket cannot be reached, or is not as it is made.
    pub async fn open(
        engine: &Engine,
        me: ReplicaId,
        peers: watch::Receiver<Arc<Peers>>,
        metrics: ReplicaMetrics,
    ) -> Result<(Self, Leases), EngineError> {
        let bucket = engine.bucket("leases", MAX_AGE).await?;
        let (leases, now) = (Leases::kept(), Instant::now());
        let keeper = Self {
            notes: Followed::from_now(engine, bucket.clone()),
            bucket,
            connected: engine.connected(),
            me,
            leases: leases.clone(),
            peers,
            metrics,
            seen: HashMap::new(),
            held: HashMap::new(),
            busy: HashSet::new(),
            refused: HashMap::new(),
            trouble: None,
            failing: watch::Sender::default(),
            writes: FuturesUnordered::new(),
            origin: now,
            joined: now,
            settled: None,
            taking: HashSet::new(),
            written: 0,
        };
        Ok((keeper, leases))
    }

    /// Why leases can neither be had nor renewed now; `None` while they can.
    pub fn failing(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.failing.subscribe()
    }

    fn fails(&mut self, why: &Arc<str>) {
        self.trouble = Some(Instant::now());
        self.failing.send_if_modified(|failing| failing.replace(Arc::clone(why)).is_none());
    }

    fn works(&mut self) {
        self.trouble = None;
        self.failing.send_if_modified(|failing| failing.take().is_some());
    }

    /// Keeps leases until `stop`, then gives back what is left.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let leases = self.leases.clone();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                notes = self.notes.next() => notes.into_iter().for_each(|note| self.see(note)),
                Some(written) = self.writes.next() => self.take(written),
                _ = ticks.tick() => self.act(),
                () = leases.changed() => self.act(),
            }
        }
        self.release_all().await;
    }

    /// Takes in what the bucket says.
    fn see(&mut self, note: Note) {
        let vm_id = VmId::from_journal(&note.key);
        let holder = note.value.as_deref().and_then(|value| serde_json::from_slice(value).ok());
        self.note(&vm_id, note.revision, holder);
    }

    fn note(&mut self, vm_id: &VmId, revision: u64, holder: Option<Holder>) {
        if self.seen.get(vm_id).is_none_or(|seen| seen.revision < revision) {
            self.seen.insert(vm_id.clone(), Seen { revision, holder, at: Instant::now() });
        }
    }

    /// Begins what is due.
    fn act(&mut self) {
        let now = Instant::now();
        self.look_at_peers(now);
        let abandoned: Vec<VmId> = self.held.keys().filter(|vm| !self.leases.wants(vm)).cloned().collect();
        for vm_id in abandoned {
            self.release(&vm_id);
        }
        let connected = *self.connected.borrow();
        self.metrics.connected.set(i64::from(connected));
        if !connected {
            // What is written now would wait, and land when it is no longer meant.
            (self.origin, self.settled) = (now, None);
            return self.end_overdue(now);
        }
        // Nobody tries any more: others have what was wanted here.
        if self.trouble.is_some_and(|at| now.duration_since(at) >= RENEW_EVERY) {
            self.works();
        }
        self.settle(now);
        let wanted = self.leases.wanted();
        self.forget(wanted.len());
        let share = decide::share(wanted.len(), self.taking.len());
        let mut having = self.held.len() + self.busy.iter().filter(|vm| !self.held.contains_key(vm)).count();
        for vm_id in wanted {
            if self.writes.len() >= MAX_WRITES {
                break;
            }
            if self.busy.contains(&vm_id) {
                continue;
            }
            match self.held.get_mut(&vm_id) {
                Some(held) => {
                    let due = now.duration_since(held.sent) >= RENEW_EVERY;
                    if due && now.duration_since(held.tried) >= AGAIN_AFTER {
                        held.tried = now;
                        let revision = held.revision;
                        self.write(vm_id, revision);
                    }
                }
                None => having += usize::from(self.try_to_take(vm_id, having >= share, now)),
            }
        }
        self.end_overdue(now);
    }

    /// Tells pollers of leases that were not renewed in time. Whether they are lost only the bucket knows.
    fn end_overdue(&self, now: Instant) {
        let overdue = |held: &Held| now.duration_since(held.sent) >= HOLD_FOR;
        for (vm_id, _) in self.held.iter().filter(|(_, held)| overdue(held)) {
            self.leases.grant(vm_id, None);
        }
        let good = self.held.values().filter(|held| !overdue(held)).count();
        self.metrics.leases_held.set(i64::try_from(good).unwrap_or(i64::MAX));
    }

    fn look_at_peers(&mut self, now: Instant) {
        if !self.peers.has_changed().unwrap_or(false) && !self.taking.is_empty() {
            return;
        }
        let taking: HashSet<String> = self.peers.borrow_and_update().taking().map(str::to_owned).collect();
        if !taking.is_subset(&self.taking) {
            self.joined = now;
        }
        self.taking = taking;
    }

    /// Begins to take `vm_id`, if it is free and it is this replica's turn; `over`: it has its share already.
    fn try_to_take(&mut self, vm_id: VmId, over: bool, now: Instant) -> bool {
        let me = self.me.as_str();
        // One that stops takes nothing; one that starts waits for those that start with it.
        let Some(settled) = self.settled.filter(|_| self.taking.contains(me)) else { return false };
        if self.refused.get(&vm_id).is_some_and(|at| now.duration_since(*at) < AGAIN_AFTER) {
            return false;
        }
        let free = match self.seen.get(&vm_id) {
            // Nothing is known of it, as at every start of a fleet.
            None => Some((0, settled)),
            Some(Seen { revision, holder: None, at }) => Some((*revision, *at)),
            // A write of ours landed that was given up.
            Some(Seen { revision, holder: Some(holder), at }) if holder.id == me => Some((*revision, *at)),
            // Nobody renews it. The engine's clock is another: it says whether it is over.
            Some(Seen { at, .. }) if now.duration_since(*at) >= MAX_AGE => Some((0, *at + MAX_AGE)),
            Some(_) => None,
        };
        let Some((revision, since)) = free else { return false };
        let place = decide::place(&vm_id, me, self.taking.iter().map(String::as_str));
        let due = now.saturating_duration_since(since.max(settled)) >= decide::patience(place, over);
        if due {
            self.write(vm_id, revision);
        }
        due
    }

    fn settle(&mut self, now: Instant) {
        let quiet = now.duration_since(self.joined.max(self.origin)) >= SETTLED_AFTER;
        if self.settled.is_none() && (quiet || now.duration_since(self.origin) >= SETTLED_AT_LAST) {
            self.settled = Some(now);
        }
    }

    /// Forgets what the bucket has forgotten too, of VMs that nobody here wants.
    fn forget(&mut self, wanted: usize) {
        if self.seen.len() > 2 * wanted + 1024 {
            let leases = &self.leases;
            self.seen.retain(|vm_id, seen| leases.wants(vm_id) || seen.at.elapsed() < MAX_AGE);
            self.refused.retain(|vm_id, _| leases.wants(vm_id));
        }
    }

    /// Writes that this replica holds `vm_id`, behind `revision` of the entry (0: there is none).
    fn write(&mut self, vm_id: VmId, revision: u64) {
        self.written += 1;
        let wrote = Holder { id: self.me.as_str().to_owned(), n: self.written };
        let Ok(value) = serde_json::to_vec(&wrote) else { return };
        self.busy.insert(vm_id.clone());
        let (bucket, sent) = (self.bucket.clone(), Instant::now());
        self.writes.push(
            async move {
                let outcome = write(&bucket, vm_id.as_str(), value.into(), &wrote, revision).await;
                Written { vm_id, sent, wrote, outcome }
            }
            .boxed(),
        );
    }

    /// Takes in how a write ended.
    fn take(&mut self, written: Written) {
        let Written { vm_id, sent, wrote, outcome } = written;
        self.busy.remove(&vm_id);
        match outcome {
            Outcome::Done(revision) => {
                self.refused.remove(&vm_id);
                self.works();
                self.note(&vm_id, revision, Some(wrote));
                let began = !self.held.contains_key(&vm_id);
                let held =
                    self.held.entry(vm_id.clone()).or_insert(Held { rev: revision, revision, sent, tried: sent });
                (held.revision, held.sent) = (revision, sent);
                let rev = held.rev;
                if began {
                    self.metrics.leases_taken.inc();
                    info!(vm_id = vm_id.as_str(), rev, "this replica polls the VM from here on");
                }
                self.leases.grant(&vm_id, Some(Lease::new(rev, sent + HOLD_FOR)));
            }
            Outcome::Other(found) => self.take_other(&vm_id, found),
            Outcome::Failed(why) => {
                self.refused.insert(vm_id, Instant::now());
                self.fails(&why);
            }
            Outcome::Released => {}
        }
    }

    /// The entry is not what was written.
    fn take_other(&mut self, vm_id: &VmId, found: Option<(u64, Option<Holder>)>) {
        let ours = |holder: &Option<Holder>| holder.as_ref().is_some_and(|holder| holder.id == self.me.as_str());
        if let (Some(held), Some((revision, holder))) = (self.held.get_mut(vm_id), &found)
            && ours(holder)
        {
            // An earlier renewal landed late: the next one goes behind it.
            held.revision = *revision;
            return self.note(vm_id, *revision, holder.clone());
        }
        match found {
            Some((revision, holder)) => self.note(vm_id, revision, holder),
            None => drop(self.seen.remove(vm_id)),
        }
        if self.held.remove(vm_id).is_some() {
            self.metrics.leases_lost.inc();
            warn!(vm_id = vm_id.as_str(), "the lease is lost: another replica polls the VM, or nobody does");
            self.leases.grant(vm_id, None);
        }
    }

    /// Gives the lease of `vm_id` back.
    fn release(&mut self, vm_id: &VmId) {
        // A renewal under way is awaited first: it would land behind.
        if self.busy.contains(vm_id) {
            return;
        }
        let Some(held) = self.held.remove(vm_id) else { return };
        let (bucket, key, sent) = (self.bucket.clone(), vm_id.clone(), Instant::now());
        self.busy.insert(key.clone());
        let wrote = Holder { id: self.me.as_str().to_owned(), n: 0 };
        self.writes.push(
            async move {
                if let Err(error) = bucket.delete_expect_revision(key.as_str(), Some(held.revision)).await {
                    info!(vm_id = key.as_str(), %error, "a lease is not given back: it ends by itself");
                }
                Written { vm_id: key, sent, wrote, outcome: Outcome::Released }
            }
            .boxed(),
        );
    }

    async fn release_all(&mut self) {
        let all = async {
            loop {
                let held: Vec<VmId> = self.held.keys().cloned().collect();
                held.iter().for_each(|vm_id| self.release(vm_id));
                match self.writes.next().await {
                    Some(written) => self.take(written),
                    None => break,
                }
            }
        };
        if timeout(RELEASED_WITHIN, all).await.is_err() {
            warn!("leases are left to end by themselves: NATS does not answer");
        }
    }
}
