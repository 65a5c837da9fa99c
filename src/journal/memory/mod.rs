//! A journal that lives and ends with the process: the same promises as a stored one, under one lock.
//!
//! The lock is never held across an await, and what the tail sends is sent under it, so the tail's order is the order of
//! sequences and whoever heard of a commit can read it.

use std::cmp::Reverse;
use std::collections::vec_deque::Iter;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, VecDeque};
use std::iter::Peekable;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::sync::broadcast;

use super::{
    Bounds, Commit, Committed, Journal, JournalError, LastCommit, MAX_RUNS_PAGE, Page, RunPage, RunQuery, RunSummary,
    StoredEvent, TAIL_CAPACITY, record,
};
use crate::event::{DurableEvent, Epoch, EventKind, Position};
use crate::model::{RunId, VmId, VmName};

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_runs;

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
/// Bounds: the events and completions of [`MemoryJournalConfig`], one commit (at most [`MAX_RECORD_BYTES`](super::MAX_RECORD_BYTES)) per VM, and
/// one summary per run with an event among those.
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
    /// One entry per VM ever watched.
    names: HashMap<VmName, VmId>,
    last: HashMap<VmId, LastCommit>,
    /// The runs that can be read, in the order in which they opened: those with an event after `floor`, and the latest
    /// ones.
    summaries: BTreeMap<Position, RunSummary>,
    /// Where each run opened.
    opened: HashMap<RunId, Position>,
}

impl MemoryJournal {
    /// An empty journal with an epoch of its own.
    pub fn new(config: MemoryJournalConfig) -> Self {
        Self {
            epoch: record::new_epoch(),
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
        record::check_size(&commit)?;
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
        let last = LastCommit { seq, commit: Arc::new(commit) };
        state.last.insert(last.commit.vm_id.clone(), last);
        // With nobody on the tail there is nobody to miss it.
        let _ = self.tail.send(committed.clone());
        Ok(committed)
    }
}

impl State {
    /// Nothing is kept over a restart here, so the name at first sight is all there is to know a VM by: runs and keys stay
    /// the same, and a client that lived through the `reset` knows what it has. Only where a VM had this name before it
    /// was renamed, another identity is made.
    fn identify(&mut self, vm: &VmName) -> VmId {
        let nth = |n: usize| {
            let hash = Sha256::digest(format!("{vm}{}", "#".repeat(n)).as_bytes());
            VmId::from_journal(&hex::encode(&hash[..8]))
        };
        let taken = |vm_id: &VmId| self.names.values().any(|known| known == vm_id);
        let vm_id = (0..).map(nth).find(|vm_id| !taken(vm_id)).unwrap_or_else(|| nth(0));
        self.names.insert(vm.clone(), vm_id.clone());
        vm_id
    }

    fn rename(&mut self, from: &VmName, to: &VmName) -> bool {
        if self.names.contains_key(to) {
            return false;
        }
        let Some(vm_id) = self.names.remove(from) else { return false };
        let told = self.events.iter_mut().chain(self.runs.values_mut().flatten());
        for stored in told.filter(|stored| stored.event.vm_id == vm_id) {
            let mut renamed = StoredEvent::clone(stored);
            renamed.event.vm = to.clone();
            *stored = Arc::new(renamed);
        }
        for run in self.summaries.values_mut().filter(|run| run.vm_id == vm_id) {
            run.vm = to.clone();
        }
        self.names.insert(to.clone(), vm_id);
        true
    }

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
        if let Some(summary) = self.opened.get(run).and_then(|at| self.summaries.get_mut(at)) {
            summary.take(event);
        } else if let Some(summary) = RunSummary::opened(event) {
            self.opened.insert(run.clone(), summary.started);
            self.summaries.insert(summary.started, summary);
        }
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
        if let Some(at) = self.opened.get(run).copied()
            && self.summaries.get(&at).is_some_and(|summary| summary.newest <= self.floor)
        {
            self.opened.remove(run);
            self.summaries.remove(&at);
        }
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

    fn list_runs(&self, query: &RunQuery) -> RunPage {
        let before = query.before.unwrap_or(Position { seq: u64::MAX, i: u32::MAX });
        let limit = query.limit.clamp(1, MAX_RUNS_PAGE);
        let mut wanted = self.summaries.range(..before).rev().map(|(_, run)| run).filter(|run| query.wants(run));
        let runs: Vec<_> = wanted.by_ref().take(limit).cloned().collect();
        let next = runs.last().map(|last| last.started).filter(|_| wanted.next().is_some());
        RunPage { runs, next }
    }

    /// Merges the runs: however many and long they are, only what is given is looked at.
    fn read_runs(&self, runs: &[RunId], after: Position, upto: Position, limit: usize) -> Page {
        let runs: BTreeSet<&RunId> = runs.iter().collect();
        let completions = runs.into_iter().filter_map(|run| self.runs.get(run));
        let mut rest: Vec<_> = completions.map(|events| within(events, after, upto).peekable()).collect();
        let first = |at: usize, events: &mut Rest<'_>| events.peek().map(|event| Reverse((event.position, at)));
        let mut next: BinaryHeap<_> =
            rest.iter_mut().enumerate().filter_map(|(at, events)| first(at, events)).collect();
        let mut events = Vec::new();
        while let Some(Reverse((_, at))) = next.pop() {
            if events.len() == limit {
                return Page { events, more: true };
            }
            events.extend(rest[at].next().cloned());
            next.extend(first(at, &mut rest[at]));
        }
        Page { events, more: false }
    }
}

/// What is left of one run's completions.
type Rest<'a> = Peekable<Iter<'a, Arc<StoredEvent>>>;

/// Those of ascending `events` that stand after `after` and not after `upto`.
fn within(events: &VecDeque<Arc<StoredEvent>>, after: Position, upto: Position) -> Iter<'_, Arc<StoredEvent>> {
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

impl Journal for MemoryJournal {
    fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    fn vm_id<'a>(&'a self, vm: &'a VmName) -> BoxFuture<'a, Result<VmId, JournalError>> {
        let mut state = self.state();
        let known = state.names.get(vm).cloned();
        let vm_id = known.unwrap_or_else(|| state.identify(vm));
        drop(state);
        ready(Ok(vm_id)).boxed()
    }

    fn vms(&self) -> BoxFuture<'_, Result<Vec<(VmName, VmId)>, JournalError>> {
        let state = self.state();
        let mut vms: Vec<_> = state.names.iter().map(|(vm, vm_id)| (vm.clone(), vm_id.clone())).collect();
        drop(state);
        vms.sort_unstable();
        ready(Ok(vms)).boxed()
    }

    fn rename_vm<'a>(&'a self, from: &'a VmName, to: &'a VmName) -> BoxFuture<'a, Result<bool, JournalError>> {
        ready(Ok(self.state().rename(from, to))).boxed()
    }

    fn last_commit<'a>(&'a self, vm_id: &'a VmId) -> BoxFuture<'a, Result<Option<LastCommit>, JournalError>> {
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
        Bounds { floor: state.floor, newest: state.newest(), applied: state.seq, announced: state.newest().seq }
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

    fn runs<'a>(&'a self, query: &'a RunQuery) -> BoxFuture<'a, Result<RunPage, JournalError>> {
        ready(Ok(self.state().list_runs(query))).boxed()
    }

    fn run<'a>(&'a self, run: &'a RunId) -> BoxFuture<'a, Result<Option<RunSummary>, JournalError>> {
        let state = self.state();
        let found = state.opened.get(run).and_then(|at| state.summaries.get(at)).cloned();
        drop(state);
        ready(Ok(found)).boxed()
    }
}
