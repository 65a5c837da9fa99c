//! A journal that fails as told.

use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use tokio::sync::broadcast;

use crate::event::{Epoch, Position};
use crate::journal::{
    Bounds, Commit, Committed, Journal, JournalError, LastCommit, MemoryJournal, MemoryJournalConfig, Page, RunPage,
    RunQuery, RunSummary,
};
use crate::model::{RunId, VmId, VmName};

/// What becomes of commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    /// They are taken.
    Works,
    /// So many are taken, those behind them are not.
    Refuses { after: usize },
    /// So many are taken, those behind them too, but the answer is lost.
    Mumbles { after: usize },
    /// So many are taken, the next one is refused since another replica committed, and those behind it are taken.
    Supersedes { after: usize },
    /// No answer ever comes.
    Hangs,
}

/// A [`MemoryJournal`] behind a store that fails.
pub(super) struct Flaky {
    pub(super) inner: MemoryJournal,
    state: Mutex<State>,
}

struct State {
    mood: Mood,
    /// Whether the last commit is not told either.
    silent: bool,
    /// The VM about which nothing is told at all.
    mute: Option<VmName>,
}

impl Flaky {
    pub(super) fn new() -> Arc<Self> {
        let inner = MemoryJournal::new(MemoryJournalConfig::default());
        let state = Mutex::new(State { mood: Mood::Works, silent: false, mute: None });
        Arc::new(Self { inner, state })
    }

    pub(super) fn set(&self, mood: Mood, silent: bool) {
        let mut state = self.lock();
        (state.mood, state.silent) = (mood, silent);
    }

    pub(super) fn mute(&self, vm: Option<VmName>) {
        self.lock().mute = vm;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_mute(&self, vm: &VmName) -> bool {
        self.lock().mute.as_ref() == Some(vm)
    }

    /// Whether the next commit is taken, and whether that is told.
    fn next(&self) -> (bool, bool) {
        let mut state = self.lock();
        match &mut state.mood {
            Mood::Works => (true, true),
            Mood::Refuses { after: 0 } | Mood::Hangs => (false, false),
            Mood::Mumbles { after: 0 } => (true, false),
            Mood::Refuses { after } | Mood::Mumbles { after } | Mood::Supersedes { after } => {
                *after -= 1;
                (true, true)
            }
        }
    }
}

fn failed<T>() -> Result<T, JournalError> {
    Err(JournalError::Store("as told".into()))
}

impl Journal for Flaky {
    fn epoch(&self) -> &Epoch {
        self.inner.epoch()
    }
    fn vm_id<'a>(&'a self, vm: &'a VmName) -> BoxFuture<'a, Result<VmId, JournalError>> {
        if self.is_mute(vm) { pending().boxed() } else { self.inner.vm_id(vm) }
    }
    fn vms(&self) -> BoxFuture<'_, Result<Vec<(VmName, VmId)>, JournalError>> {
        if self.lock().silent { ready(failed()).boxed() } else { self.inner.vms() }
    }
    fn rename_vm<'a>(&'a self, from: &'a VmName, to: &'a VmName) -> BoxFuture<'a, Result<bool, JournalError>> {
        if self.lock().silent { ready(failed()).boxed() } else { self.inner.rename_vm(from, to) }
    }
    fn last_commit<'a>(&'a self, vm_id: &'a VmId) -> BoxFuture<'a, Result<Option<LastCommit>, JournalError>> {
        if self.lock().silent { ready(failed()).boxed() } else { self.inner.last_commit(vm_id) }
    }
    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Committed, JournalError>> {
        if self.lock().mood == Mood::Hangs {
            return pending().boxed();
        }
        if self.lock().mood == (Mood::Supersedes { after: 0 }) {
            self.lock().mood = Mood::Works;
            return ready(Err(JournalError::Superseded)).boxed();
        }
        let (taken, told) = self.next();
        async move {
            let committed = if taken { self.inner.commit(commit).await } else { failed() };
            if told { committed } else { failed() }
        }
        .boxed()
    }
    fn tail(&self) -> broadcast::Receiver<Committed> {
        self.inner.tail()
    }
    fn bounds(&self) -> Bounds {
        self.inner.bounds()
    }
    fn count_after(&self, after: Position, cap: usize) -> BoxFuture<'_, Result<usize, JournalError>> {
        self.inner.count_after(after, cap)
    }
    fn read(&self, after: Position, upto: Position, limit: usize) -> BoxFuture<'_, Result<Page, JournalError>> {
        self.inner.read(after, upto, limit)
    }
    fn read_runs<'a>(
        &'a self,
        runs: &'a [RunId],
        after: Position,
        upto: Position,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page, JournalError>> {
        self.inner.read_runs(runs, after, upto, limit)
    }
    fn runs<'a>(&'a self, query: &'a RunQuery) -> BoxFuture<'a, Result<RunPage, JournalError>> {
        self.inner.runs(query)
    }
    fn run<'a>(&'a self, run: &'a RunId) -> BoxFuture<'a, Result<Option<RunSummary>, JournalError>> {
        self.inner.run(run)
    }
}
