//! A journal that fails or takes its time.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::{Semaphore, broadcast};

use super::*;
use crate::event::Epoch;
use crate::journal::{Bounds, JournalError, LastCommit, Page, RunPage, RunQuery, RunSummary};

/// A journal whose reads fail, or wait at a gate.
struct Faulty {
    inner: Arc<MemoryJournal>,
    fails: AtomicBool,
    gate: Semaphore,
    at_work: AtomicUsize,
    most: AtomicUsize,
    reads: AtomicUsize,
    /// The most events asked for at once.
    largest: AtomicUsize,
    /// How many commits the engine has given that are not read here yet.
    ahead: AtomicUsize,
}

impl Faulty {
    fn new(open: bool) -> (Arc<Self>, Arc<MemoryJournal>) {
        let inner = Arc::new(MemoryJournal::new(MemoryJournalConfig::default()));
        let faulty = Self {
            inner: Arc::clone(&inner),
            fails: AtomicBool::new(false),
            gate: Semaphore::new(if open { Semaphore::MAX_PERMITS } else { 0 }),
            at_work: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            reads: AtomicUsize::new(0),
            largest: AtomicUsize::new(0),
            ahead: AtomicUsize::new(0),
        };
        (Arc::new(faulty), inner)
    }

    async fn pass<T>(&self, read: BoxFuture<'_, Result<T, JournalError>>) -> Result<T, JournalError> {
        let now = self.at_work.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(now, Ordering::Relaxed);
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.gate.acquire().await.expect("never closed").forget();
        self.at_work.fetch_sub(1, Ordering::Relaxed);
        if self.fails.load(Ordering::Relaxed) { Err(JournalError::Store("as told".into())) } else { read.await }
    }
}

impl Journal for Faulty {
    fn epoch(&self) -> &Epoch {
        self.inner.epoch()
    }
    fn vm_id<'a>(&'a self, vm: &'a VmName) -> BoxFuture<'a, Result<VmId, JournalError>> {
        self.inner.vm_id(vm)
    }
    fn vms(&self) -> BoxFuture<'_, Result<Vec<(VmName, VmId)>, JournalError>> {
        self.inner.vms()
    }
    fn rename_vm<'a>(&'a self, from: &'a VmName, to: &'a VmName) -> BoxFuture<'a, Result<bool, JournalError>> {
        self.inner.rename_vm(from, to)
    }
    fn last_commit<'a>(&'a self, vm_id: &'a VmId) -> BoxFuture<'a, Result<Option<LastCommit>, JournalError>> {
        self.inner.last_commit(vm_id)
    }
    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Committed, JournalError>> {
        self.inner.commit(commit)
    }
    fn tail(&self) -> broadcast::Receiver<Committed> {
        self.inner.tail()
    }
    fn bounds(&self) -> Bounds {
        let bounds = self.inner.bounds();
        Bounds { announced: bounds.announced + self.ahead.load(Ordering::Relaxed) as u64, ..bounds }
    }
    fn count_after(&self, after: Position, cap: usize) -> BoxFuture<'_, Result<usize, JournalError>> {
        self.pass(self.inner.count_after(after, cap)).boxed()
    }
    fn read(&self, after: Position, upto: Position, limit: usize) -> BoxFuture<'_, Result<Page, JournalError>> {
        self.largest.fetch_max(limit, Ordering::Relaxed);
        self.pass(self.inner.read(after, upto, limit)).boxed()
    }
    fn read_runs<'a>(
        &'a self,
        runs: &'a [RunId],
        after: Position,
        upto: Position,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page, JournalError>> {
        self.largest.fetch_max(limit, Ordering::Relaxed);
        self.pass(self.inner.read_runs(runs, after, upto, limit)).boxed()
    }
    fn runs<'a>(&'a self, query: &'a RunQuery) -> BoxFuture<'a, Result<RunPage, JournalError>> {
        self.pass(self.inner.runs(query)).boxed()
    }
    fn run<'a>(&'a self, run: &'a RunId) -> BoxFuture<'a, Result<Option<RunSummary>, JournalError>> {
        self.pass(self.inner.run(run)).boxed()
    }
}

async fn lab(open: bool) -> (Lab, Arc<Faulty>) {
    let (faulty, inner) = Faulty::new(open);
    let mut lab = Lab::through(Arc::clone(&faulty) as Arc<dyn Journal>, inner, HubConfig::default());
    lab.commit("a", vec![started("a", "r"), completed("a", "r", 1)]).await;
    lab.report("a", running("r", 1)).await;
    (lab, faulty)
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_cannot_be_read_ends_the_stream_with_its_code() {
    let (lab, faulty) = lab(true).await;
    let mut reader = lab.watch(5).await;
    faulty.fails.store(true, Ordering::Relaxed);
    let mut client = lab.open(5, None);
    let frames = client.so_far().await;
    assert_eq!(names(&frames), ["retry", "connected", "error"]);
    assert_eq!(frames[2].data["code"], "journal_failed");
    assert!(client.ended);
    drop(client);
    assert_eq!(lab.ended("journal_failed"), 1);
    assert_eq!(reader.so_far().await, []);
}

#[tokio::test(start_paused = true)]
async fn eight_readers_work_at_once_and_streams_that_ask_the_same_share_an_answer() {
    let (mut lab, faulty) = lab(false).await;
    let mut alike: Vec<_> = (0..50).map(|_| lab.open(5, None)).collect();
    for client in &mut alike {
        assert_eq!(names(&client.so_far().await), ["retry", "connected"]);
    }
    assert!(faulty.reads.load(Ordering::Relaxed) <= 8, "{faulty:?}", faulty = faulty.reads);
    let mut others = Vec::new();
    for n in 2..30 {
        lab.commit("a", vec![completed("a", "r", n)]).await;
        let mut client = lab.open(5, None);
        client.so_far().await;
        others.push(client);
    }
    assert_eq!(faulty.at_work.load(Ordering::Relaxed), 8);
    faulty.gate.add_permits(1000);
    settle().await;
    assert!(faulty.reads.load(Ordering::Relaxed) < 60);
    assert_eq!(faulty.most.load(Ordering::Relaxed), 8);
    for (client, first) in alike.iter_mut().zip(0..) {
        let keys = keys(&client.so_far().await);
        assert_eq!(keys, (1..30).map(|n| format!("a/r/{n}")).collect::<Vec<_>>(), "{first}");
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_is_missed_a_stream_reads_at_most_256_events_at_once() {
    let (lab, faulty) = lab(true).await;
    let mut behind = lab.watch(5).await;
    for n in 2..3000 {
        commit(&*lab.journal, "a", vec![completed("a", "r", n)]).await;
    }
    settle().await;
    // What the hub itself missed meanwhile it read in pages of its own.
    faulty.largest.store(0, Ordering::Relaxed);
    let all: Vec<_> = (1..3000).map(|n| format!("a/r/{n}")).collect();
    assert_eq!(keys(&behind.so_far().await), all[1..]);
    assert_eq!(keys(&lab.open(5, Some(&lab.id(Position { seq: 1, i: 1 }))).so_far().await), all[1..]);
    assert_eq!(keys(&lab.open(5, None).so_far().await), all);
    assert_eq!(faulty.largest.load(Ordering::Relaxed), 256);
}

#[tokio::test(start_paused = true)]
async fn streams_that_wait_for_the_journal_still_get_heartbeats_without_an_id() {
    let (lab, _faulty) = lab(false).await;
    let mut client = lab.open(5, None);
    client.so_far().await;
    // The read is given up after 10 s; a heartbeat may come before.
    loop {
        let got = client.next().await;
        if got.event == "error" {
            assert_eq!(got.data["code"], "journal_failed");
            break;
        }
        assert_eq!((got.event.as_str(), got.id), ("heartbeat", None));
    }
}

#[tokio::test(start_paused = true)]
async fn readers_serve_on_while_those_who_asked_do_not_look() {
    let (lab, faulty) = lab(false).await;
    let mut idle: Vec<_> = (0..20).map(|_| lab.open(5, None)).collect();
    for client in &mut idle {
        client.so_far().await;
    }
    faulty.gate.add_permits(1000);
    settle().await;
    // None of them is polled again, and none holds a reader.
    assert_eq!(faulty.at_work.load(Ordering::Relaxed), 0);
    assert_eq!(keys(&lab.open(5, None).so_far().await), ["a/r/1"]);
}

#[tokio::test(start_paused = true)]
async fn an_id_that_the_engine_gave_waits_for_the_tail_and_one_beyond_it_does_not() {
    let (mut lab, faulty) = lab(true).await;
    faulty.ahead.store(1, Ordering::Relaxed);
    let mut client = lab.open(5, Some(&lab.id(Position { seq: 2, i: 0 })));
    assert_eq!(names(&client.so_far().await), ["retry", "connected"]);
    let beyond = lab.open(5, Some(&lab.id(Position { seq: 3, i: 0 }))).so_far().await;
    assert_eq!(
        (names(&beyond[..3]), &beyond[2].data),
        (vec!["retry", "connected", "reset"], &json!({ "reason": "ahead" }))
    );
    sleep(Duration::from_secs(1)).await;
    lab.commit("a", vec![completed("a", "r", 2), completed("a", "r", 3)]).await;
    assert_eq!(keys(&client.so_far().await), ["a/r/3"]);
    assert_eq!(lab.metrics.streams_resumed.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_id_that_the_engine_gave_and_the_tail_does_not_reach_is_reset_after_two_seconds() {
    let (mut lab, faulty) = lab(true).await;
    faulty.ahead.store(1, Ordering::Relaxed);
    let mut client = lab.open(5, Some(&lab.id(Position { seq: 2, i: 0 })));
    let mut frames = client.during(Duration::from_millis(1900)).await;
    assert_eq!(names(&frames), ["retry", "connected"]);
    frames = client.during(Duration::from_millis(200)).await;
    assert_eq!(names(&frames[..2]), ["reset", "task_complete"]);
    assert_eq!(frames[0].data, json!({ "reason": "ahead" }));
    // Once it does come, it is news.
    lab.commit("a", vec![completed("a", "r", 2)]).await;
    assert_eq!(keys(&client.so_far().await), ["a/r/2"]);
    assert_eq!(lab.metrics.streams_resumed.get(), 0);
}
