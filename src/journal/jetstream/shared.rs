//! What the journal and the task that follows its stream both see.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use super::mirror::Applied;
use crate::event::{Epoch, Position};
use crate::journal::store::{Head, Pruned, beside};
use crate::journal::{Bounds, Committed, JournalError, TAIL_CAPACITY};
use crate::model::Timestamp;
use crate::telemetry::JournalMetrics;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) epoch: Epoch,
    pub(super) tail: broadcast::Sender<Committed>,
    /// The last sequence of the stream that the mirror has.
    pub(super) applied: watch::Sender<u64>,
    /// Why the engine takes no commits.
    pub(super) failing: watch::Sender<Option<Arc<str>>>,
    /// Why the stream is not followed any more.
    pub(super) lost: watch::Sender<Option<Arc<str>>>,
    pub(super) metrics: JournalMetrics,
    bounds: Mutex<Bounds>,
    troubles: Mutex<Troubles>,
}

/// What does not work now.
#[derive(Debug, Default)]
struct Troubles {
    /// Following the stream.
    following: Option<Arc<str>>,
    /// Appending to it, and when that was tried last.
    appending: Option<(Arc<str>, Instant)>,
}

/// For how long an append that failed counts that nobody tried again: another replica has that VM by now.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

impl Shared {
    pub(super) fn new(epoch: Epoch, metrics: JournalMetrics) -> Self {
        let bounds = Bounds { floor: Position::START, newest: Position::START, applied: 0, announced: 0 };
        Self {
            epoch,
            tail: broadcast::Sender::new(TAIL_CAPACITY),
            applied: watch::Sender::new(0),
            failing: watch::Sender::new(None),
            lost: watch::Sender::new(None),
            metrics,
            bounds: Mutex::new(bounds),
            troubles: Mutex::default(),
        }
    }

    pub(super) fn bounds(&self) -> Bounds {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Bounds> {
        // Nothing is done under it that could leave it half changed.
        self.bounds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The mirror stands at `seq`, before it reads on.
    pub(super) fn stands(&self, seq: u64) {
        self.applied.send_replace(seq);
    }

    /// The mirror has what the stream has.
    pub(super) fn begin(&self, head: &Head) {
        *self.lock() = Bounds { floor: head.floor, newest: head.newest, applied: head.seq, announced: head.seq };
        self.stands(head.seq);
    }

    /// The mirror went on.
    pub(super) fn apply(&self, applied: &Applied) {
        {
            let mut bounds = self.lock();
            bounds.applied = applied.seq;
            bounds.announced = bounds.announced.max(applied.seq);
            bounds.floor = bounds.floor.max(applied.floor);
            let newest = applied.commits.iter().rev().find_map(|commit| commit.events.last());
            bounds.newest = newest.map_or(bounds.newest, |last| last.position).max(bounds.floor);
        }
        for commit in &applied.commits {
            // With nobody on the tail there is nobody to miss it.
            let _ = self.tail.send(commit.clone());
        }
        self.applied.send_replace(applied.seq);
    }

    /// The engine gave `seq`.
    pub(super) fn announce(&self, seq: u64) {
        let mut bounds = self.lock();
        bounds.announced = bounds.announced.max(seq);
    }

    /// A commit of this replica stands at `seq`.
    pub(super) fn committed(&self, seq: u64, events: usize) {
        self.announce(seq);
        self.metrics.commits.inc();
        self.metrics.events.inc_by(events as u64);
        self.metrics.last_commit.set(Timestamp::from(std::time::SystemTime::now()).0 as i64);
        self.trouble(|troubles| troubles.appending = None);
    }

    /// Something was removed from the mirror, of which `kept` events are left.
    pub(super) fn prune(&self, pruned: &Pruned, kept: i64, path: &Path) {
        {
            let mut bounds = self.lock();
            bounds.floor = bounds.floor.max(pruned.floor.into());
            bounds.newest = bounds.newest.max(bounds.floor);
        }
        self.metrics.pruned.inc_by(pruned.events);
        self.metrics.kept.set(kept);
        let bytes = |path: &Path| fs::metadata(path).map_or(0, |file| i64::try_from(file.len()).unwrap_or(i64::MAX));
        self.metrics.file_bytes.set(bytes(path));
        self.metrics.wal_bytes.set(bytes(&beside(path, "-wal")));
    }

    /// The stream cannot be followed now.
    pub(super) fn fails(&self, error: &JournalError) {
        let why: Arc<str> = error.to_string().into();
        self.trouble(|troubles| troubles.following = Some(why));
    }

    /// It is followed.
    pub(super) fn follows(&self) {
        self.trouble(|troubles| {
            troubles.following = None;
            troubles.appending.take_if(|(_, tried)| tried.elapsed() >= FORGOTTEN_AFTER);
        });
    }

    /// It takes no commits now.
    pub(super) fn append_fails(&self, error: &JournalError) {
        let why: Arc<str> = error.to_string().into();
        self.trouble(|troubles| troubles.appending = Some((why, Instant::now())));
    }

    fn trouble(&self, change: impl FnOnce(&mut Troubles)) {
        let why = {
            let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
            change(&mut troubles);
            troubles.following.clone().or_else(|| troubles.appending.as_ref().map(|(why, _)| Arc::clone(why)))
        };
        self.metrics.failing.set(i64::from(why.is_some()));
        self.failing.send_if_modified(|failing| {
            let news = failing.is_some() != why.is_some();
            match &why {
                Some(why) if news => {
                    tracing::error!(%why, "the journal in NATS is away: durable events wait in the VMs' own logs");
                }
                None if news => tracing::info!("the journal in NATS is back"),
                _ => {}
            }
            *failing = why;
            news
        });
    }

    pub(super) fn lose(&self, why: &str) {
        tracing::error!(why, "the journal in NATS cannot be followed any more: this process has to begin anew");
        self.lost.send_replace(Some(why.into()));
    }
}
