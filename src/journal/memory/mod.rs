//! A journal that lives and ends with the process: the same promises as a stored one, under one lock.
//!
//! The lock is never held across an await, and what the tail sends is sent under it, so the tail's order is the order of
//! sequences and whoever heard of a commit can read it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use rand::distr::{Alphanumeric, SampleString as _};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::sync::broadcast;

use super::{Bounds, Commit, Committed, Journal, JournalError, MAX_RECORD_BYTES, Page, StoredEvent};
use crate::event::{DurableEvent, Epoch, EventKind, Position};
use crate::model::{RunId, VmId, VmName};

#[cfg(test)]
mod tests;

/// How many commits a receiver of the tail may lag behind before it must read.
const TAIL_CAPACITY: usize = 1024;

/// Length of an epoch, in characters of `[0-9A-Za-z]`.
const EPOCH_CHARS: usize = 10;

/// How much a [`MemoryJournal`] keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryJournalConfig {
    /// Events that can be read and resumed from; the oldest go first.
    pub max_events: usize,
    /// Completions kept of the latest run of each log of each VM, however old; the oldest go first.
    pub max_run_completions: usize,
}

impl Default for MemoryJournalConfig {
    /// 50,000 events, as many as a stream may miss before it is reset, and 10,000 completions a run.
    fn default() -> Self {
        Self { max_events: 50_000, max_run_completions: 10_000 }
    }
}

/// A journal in memory. Its epoch is new at each start, so an id of an earlier process is answered with a reset.
///
/// Bounds: the events and completions of [`MemoryJournalConfig`], and one commit (at most [`MAX_RECORD_BYTES`]) per VM.
#[derive(Debug)]
pub struct MemoryJournal {
    epoch: Epoch,
    config: MemoryJournalConfig,
    tail: broadcast::Sender<Committed>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The last commit's sequence.
    seq: u64,
    floor: Position,
    /// What stands after `floor`, ascending.
    events: VecDeque<Arc<StoredEvent>>,
    /// Completions by run, ascending: those after `floor`, and all of a latest run.
    runs: HashMap<RunId, VecDeque<Arc<StoredEvent>>>,
    /// The latest run of each log.
    latest: HashMap<(VmId, Box<str>), RunId>,
    last: HashMap<VmId, Arc<Commit>>,
}

impl MemoryJournal {
    /// An empty journal with an epoch of its own.
    pub fn new(config: MemoryJournalConfig) -> Self {
        let epoch = Alphanumeric.sample_string(&mut rand::rng(), EPOCH_CHARS);
        Self {
            epoch: Epoch::new(&epoch).expect("letters and digits, fewer than 24, are an epoch"),
            config,
            tail: broadcast::Sender::new(TAIL_CAPACITY),
            state: Mutex::default(),
        }
    }

    /// Nothing under the lock can panic half way, so a poisoned one still guards a whole state.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, commit: Commit) -> Result<Committed, JournalError> {
        let size = encoded_size(&commit);
        if size > MAX_RECORD_BYTES {
            return Err(JournalError::TooLarge(size));
        }
        let mut state = self.state();
        state.seq += 1;
        let seq = state.seq;
        let events: Arc<[_]> = (0..)
            .zip(&commit.events)
            .map(|(i, event)| Arc::new(StoredEvent { position: Position { seq, i }, event: event.clone() }))
            .collect();
        let committed = Committed { seq, vm_id: commit.vm_id.clone(), events };
        for event in &*committed.events {
            state.push(event, self.config);
        }
        state.last.insert(commit.vm_id.clone(), Arc::new(commit));
        // With nobody on the tail there is nobody to miss it.
        let _ = self.tail.send(committed.clone());
        Ok(committed)
    }
}

impl State {
    fn newest(&self) -> Position {
        self.events.back().map_or(self.floor, |event| event.position)
    }

    fn push(&mut self, event: &Arc<StoredEvent>, config: MemoryJournalConfig) {
        self.events.push_back(Arc::clone(event));
        self.index(event, config);
        while self.events.len() > config.max_events {
            let Some(oldest) = self.events.pop_front() else { return };
            self.floor = oldest.position;
            if let Some(run) = oldest.event.run.as_ref().filter(|run| !self.is_latest(&oldest.event.vm_id, run)) {
                self.forget(run);
            }
        }
    }

    fn index(&mut self, event: &Arc<StoredEvent>, config: MemoryJournalConfig) {
        let Some(run) = &event.event.run else { return };
        if event.event.kind == EventKind::RunStarted {
            let log = (event.event.vm_id.clone(), source_of(&event.event));
            if let Some(before) = self.latest.insert(log, run.clone()) {
                self.forget(&before);
            }
        } else if event.event.kind == EventKind::TaskComplete {
            let completions = self.runs.entry(run.clone()).or_default();
            completions.push_back(Arc::clone(event));
            if completions.len() > config.max_run_completions {
                completions.pop_front();
            }
        }
    }

    fn is_latest(&self, vm_id: &VmId, run: &RunId) -> bool {
        // One entry per log of the fleet, and asked only when an event is pruned.
        self.latest.iter().any(|((of, _), latest)| of == vm_id && latest == run)
    }

    /// Drops what only a latest run may keep.
    fn forget(&mut self, run: &RunId) {
        let Some(completions) = self.runs.get_mut(run) else { return };
        while completions.front().is_some_and(|event| event.position <= self.floor) {
            completions.pop_front();
        }
        if completions.is_empty() {
            self.runs.remove(run);
        }
    }

    fn read(&self, after: Position, upto: Position, limit: usize) -> Result<Page, JournalError> {
        if after < self.floor {
            return Err(JournalError::Pruned);
        }
        let found = within(&self.events, after, upto);
        let more = found.len() > limit;
        Ok(Page { events: found.take(limit).cloned().collect(), more })
    }

    fn read_runs(&self, runs: &[RunId], after: Position, upto: Position, limit: usize) -> Page {
        let mut events: Vec<_> = runs
            .iter()
            .filter_map(|run| self.runs.get(run))
            // One more than asked for tells whether there is more.
            .flat_map(|completions| within(completions, after, upto).take(limit.saturating_add(1)).cloned())
            .collect();
        events.sort_unstable_by_key(|event| event.position);
        events.dedup_by_key(|event| event.position);
        let more = events.len() > limit;
        events.truncate(limit);
        Page { events, more }
    }
}

/// Those of ascending `events` that stand after `after` and not after `upto`.
fn within(
    events: &VecDeque<Arc<StoredEvent>>,
    after: Position,
    upto: Position,
) -> std::collections::vec_deque::Iter<'_, Arc<StoredEvent>> {
    let from = events.partition_point(|event| event.position <= after);
    let to = events.partition_point(|event| event.position <= upto);
    events.range(from..to.max(from))
}

/// The log that a `run_started` names.
fn source_of(event: &DurableEvent) -> Box<str> {
    #[derive(Deserialize)]
    struct Source {
        source: Box<str>,
    }
    serde_json::from_str::<Source>(&event.data).map(|found| found.source).unwrap_or_default()
}

/// How many bytes the record of `commit` takes, with state and events as the JSON that they are.
fn encoded_size(commit: &Commit) -> usize {
    /// Names, numbers and punctuation of one event beside its texts.
    const EVENT_OVERHEAD: usize = 128;
    let cursors = serde_json::to_string(&commit.cursors).map_or(usize::MAX, |text| text.len());
    let of = |event: &DurableEvent| {
        let names = event.vm.as_str().len() + event.vm_id.as_str().len();
        EVENT_OVERHEAD + names + event.run.as_ref().map_or(0, |run| run.as_str().len()) + event.data.len()
    };
    commit.events.iter().map(of).sum::<usize>().saturating_add(cursors).saturating_add(commit.tracker_state.len())
}

impl Journal for MemoryJournal {
    fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    fn vm_id<'a>(&'a self, vm: &'a VmName) -> BoxFuture<'a, Result<VmId, JournalError>> {
        // Nothing is kept over a restart here, so the name is all there is to know a VM by: runs and keys stay the same,
        // and a client that lived through the `reset` knows what it has.
        let hash = Sha256::digest(vm.as_str().as_bytes());
        ready(Ok(VmId::from_journal(&hex::encode(&hash[..8])))).boxed()
    }

    fn last_commit<'a>(&'a self, vm_id: &'a VmId) -> BoxFuture<'a, Result<Option<Arc<Commit>>, JournalError>> {
        ready(Ok(self.state().last.get(vm_id).cloned())).boxed()
    }

    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Committed, JournalError>> {
        // Done when polled, like a store that must be waited for: a caller that drops the future commits nothing.
        async move { self.append(commit) }.boxed()
    }

    fn tail(&self) -> broadcast::Receiver<Committed> {
        self.tail.subscribe()
    }

    fn bounds(&self) -> Bounds {
        let state = self.state();
        Bounds { floor: state.floor, newest: state.newest(), announced: state.newest().seq }
    }

    fn count_after(&self, after: Position, cap: usize) -> BoxFuture<'_, Result<usize, JournalError>> {
        let state = self.state();
        let counted = if after < state.floor {
            Err(JournalError::Pruned)
        } else {
            let from = state.events.partition_point(|event| event.position <= after);
            Ok((state.events.len() - from).min(cap))
        };
        ready(counted).boxed()
    }

    fn read(&self, after: Position, upto: Position, limit: usize) -> BoxFuture<'_, Result<Page, JournalError>> {
        ready(self.state().read(after, upto, limit)).boxed()
    }

    fn read_runs<'a>(
        &'a self,
        runs: &'a [RunId],
        after: Position,
        upto: Position,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page, JournalError>> {
        ready(Ok(self.state().read_runs(runs, after, upto, limit))).boxed()
    }
}
