//! The embedded journal against the promises of a journal, and against what can happen to its files.

mod cut;
mod damage;
mod keeping;
mod restored;
mod same;

use std::path::{Path, PathBuf};

use prometheus::Registry;
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::*;
use crate::event::{DurableEvent, EventKind};
use crate::journal::{MemoryJournal, MemoryJournalConfig};
use crate::model::{LogCursor, VmGrant};

/// A folder with a journal in it.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a folder") }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("journal.db")
    }

    fn open(&self) -> EmbeddedJournal {
        self.open_keeping(Retention::new(MONTH, 1_000_000))
    }

    fn open_counting(&self, retention: Retention, metrics: &JournalMetrics) -> EmbeddedJournal {
        let config = EmbeddedConfig { path: self.path(), retention };
        EmbeddedJournal::open(config, metrics.clone(), Timestamp(1e9)).expect("opens")
    }

    fn open_keeping(&self, retention: Retention) -> EmbeddedJournal {
        open(&self.path(), retention).expect("it opens")
    }
}

const MONTH: std::time::Duration = std::time::Duration::from_secs(30 * 86_400);

fn open(path: &Path, retention: Retention) -> Result<EmbeddedJournal, OpenError> {
    EmbeddedJournal::open(EmbeddedConfig { path: path.to_owned(), retention }, metrics(), Timestamp(1e9))
}

/// What stands at `path` is refused, and every byte of its folder is as before.
fn refused(path: &Path) -> OpenError {
    let before = std::fs::read(path).expect("a file");
    let retention = Retention::new(MONTH, 1_000_000);
    let error = open(path, retention).expect_err("it is refused");
    assert_eq!(std::fs::read(path).expect("a file"), before, "it was changed");
    let line = error.to_string();
    assert!(!line.contains('\n') && line.contains(&path.display().to_string()), "{line}");
    error
}

fn metrics() -> JournalMetrics {
    JournalMetrics::register(&Registry::new()).expect("a fresh registry")
}

fn event(vm: &str, kind: EventKind, run: Option<&str>, data: &str) -> DurableEvent {
    DurableEvent {
        kind,
        vm: VmName::new(vm).expect("a name"),
        vm_id: VmId::from_journal(vm),
        run: run.map(RunId::from_hash),
        data: data.into(),
    }
}

fn status(vm: &str) -> DurableEvent {
    event(vm, EventKind::Status, None, "{}")
}

fn started(vm: &str, run: &str, source: &str) -> DurableEvent {
    let data = format!("{{\"vm\":\"{vm}\",\"source\":\"{source}\",\"historic\":false,\"timestamp\":5.5}}");
    event(vm, EventKind::RunStarted, Some(run), &data)
}

fn done(vm: &str, run: &str) -> DurableEvent {
    event(vm, EventKind::TaskComplete, Some(run), "{\"task_id\":\"t\",\"success\":true,\"score\":0.5}")
}

fn ended(vm: &str, run: &str) -> DurableEvent {
    event(vm, EventKind::RunComplete, Some(run), "{\"reason\":\"process_ended\",\"timestamp\":9.5}")
}

fn commit(vm: &str, n: u64, events: Vec<DurableEvent>) -> Commit {
    Commit {
        vm_id: VmId::from_journal(vm),
        lease_rev: 0,
        n,
        follows: 0,
        cursors: vec![LogCursor::start("/l")],
        tracker_state: format!("{{\"n\":{n}}}").into(),
        events,
    }
}

async fn put(journal: &dyn Journal, vm: &str, events: Vec<DurableEvent>) -> Committed {
    journal.commit(commit(vm, 1, events)).await.expect("committed")
}

fn at(seq: u64, i: u32) -> Position {
    Position { seq, i }
}

const END: Position = Position { seq: u64::MAX, i: u32::MAX };

async fn positions(journal: &dyn Journal, after: Position) -> Vec<Position> {
    let page = journal.read(after, END, 100_000).await.expect("read");
    assert!(!page.more);
    page.events.iter().map(|stored| stored.position).collect()
}

async fn completions(journal: &dyn Journal, run: &str) -> Vec<Position> {
    let page = journal.read_runs(&[RunId::from_hash(run)], Position::START, END, 100_000).await.expect("read");
    page.events.iter().map(|stored| stored.position).collect()
}

#[tokio::test]
async fn what_was_committed_is_there_after_a_stop_and_after_a_crash() {
    let place = Place::new();
    let journal = place.open();
    let epoch = journal.epoch().clone();
    let name = VmName::new("a").expect("a name");
    let vm_id = journal.vm_id(&name).await.expect("an id");
    assert_eq!(journal.vm_id(&name).await, Ok(vm_id.clone()));
    assert_eq!(put(&journal, "x", vec![]).await.seq, 1);
    journal
        .commit(Commit { vm_id: vm_id.clone(), ..commit("x", 7, vec![status("a"), done("a", "r")]) })
        .await
        .expect("ok");
    put(&journal, "x", vec![]).await;
    assert_eq!(journal.bounds(), Bounds { floor: Position::START, newest: at(2, 1), applied: 3, announced: 2 });
    journal.close().await.expect("closed");
    assert!(journal.commit(commit("x", 1, vec![])).await.is_err(), "it is closed");
    drop(journal);
    for crash in [false, true, false] {
        let journal = place.open();
        assert_eq!(*journal.epoch(), epoch, "crash: {crash}");
        assert_eq!(journal.vm_id(&name).await, Ok(vm_id.clone()));
        let bounds = journal.bounds();
        assert_eq!((bounds.newest, bounds.applied, bounds.announced), (at(2, 1), 3, 2));
        assert_eq!(positions(&journal, Position::START).await, [at(2, 0), at(2, 1)]);
        let last = journal.last_commit(&vm_id).await.expect("read").expect("there is one");
        assert_eq!((last.seq, last.commit.n, &*last.commit.tracker_state), (2, 7, "{\"n\":7}"));
        assert_eq!(last.commit.cursors, [LogCursor::start("/l")]);
        if !crash {
            journal.close().await.expect("closed");
        }
        drop(journal);
        wait_unlocked(&place.path()).await;
    }
}

/// A journal dropped without a word lets go of its file once its writer's thread has seen it.
async fn wait_unlocked(path: &Path) {
    while matches!(Lock::take(path), Err(OpenError::InUse(..))) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_second_process_is_kept_out_and_told_who_is_in() {
    let place = Place::new();
    let first = place.open();
    match refused(&place.path()) {
        OpenError::InUse(_, holder) => assert_eq!(holder, format!("process {}", std::process::id())),
        other => panic!("{other}"),
    }
    put(&first, "a", vec![status("a")]).await;
    first.close().await.expect("closed");
    drop(first);
    wait_unlocked(&place.path()).await;
    assert_eq!(place.open().bounds().applied, 1);
}

#[tokio::test]
async fn a_second_process_is_kept_out_whatever_link_it_comes_by() {
    let place = Place::new();
    let link = place.dir.path().join("link.db");
    std::os::unix::fs::symlink("journal.db", &link).expect("a link to nothing yet");
    let retention = Retention::new(MONTH, 1_000_000);
    let first = open(&link, retention).expect("it makes what the link leads to");
    assert!(matches!(open(&place.path(), retention), Err(OpenError::InUse(..))));
    put(&first, "a", vec![status("a")]).await;
    let epoch = first.epoch().clone();
    first.close().await.expect("closed");
    drop(first);
    wait_unlocked(&place.path()).await;
    let second = place.open();
    assert_eq!((second.bounds().applied, second.epoch()), (1, &epoch), "the mark is beside the file too");
    assert!(matches!(open(&link, retention), Err(OpenError::InUse(..))));
}

#[tokio::test]
async fn a_record_over_the_limit_is_refused_whole() {
    let place = Place::new();
    let journal = place.open();
    let large = "x".repeat(crate::journal::MAX_RECORD_BYTES);
    let refused = journal.commit(Commit { tracker_state: large.into(), ..commit("a", 1, vec![status("a")]) }).await;
    assert!(matches!(refused, Err(JournalError::TooLarge(_))));
    assert_eq!(put(&journal, "a", vec![status("a")]).await.seq, 1, "it took no sequence");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_pollers_at_once_give_one_order_for_tail_and_readers() {
    const VMS: usize = 8;
    const COMMITS: usize = 60;
    let place = Place::new();
    let journal = Arc::new(place.open());
    let mut tail = journal.tail();
    let mut pollers = JoinSet::new();
    for vm in 0..VMS {
        let (journal, vm) = (Arc::clone(&journal), format!("vm-{vm}"));
        pollers.spawn(async move {
            for n in 0..COMMITS {
                put(&*journal, &vm, vec![status(&vm); n % 4]).await;
            }
        });
    }
    pollers.join_all().await;
    let mut heard = Vec::new();
    for seq in 1..=(VMS * COMMITS) as u64 {
        let committed = tail.recv().await.expect("each commit is on the tail");
        assert_eq!(committed.seq, seq);
        assert!(committed.events.iter().all(|stored| stored.event.vm_id == committed.vm_id));
        heard.extend(committed.events.iter().cloned());
    }
    let read = journal.read(Position::START, journal.bounds().newest, usize::MAX).await.expect("read");
    assert_eq!(read.events, heard);
}

#[tokio::test]
async fn a_commit_whose_caller_left_is_seen_by_who_asks_next() {
    let place = Place::new();
    let journal = place.open();
    for n in 1..50 {
        let commit = journal.commit(commit("a", n, vec![status("a")]));
        // Polled once: it is under way, and nobody waits for it.
        let _ = futures_util::FutureExt::now_or_never(commit);
        let last = journal.last_commit(&VmId::from_journal("a")).await.expect("read").expect("there is one");
        assert_eq!(last.commit.n, n);
    }
}

#[tokio::test]
async fn a_rename_keeps_the_identity_and_takes_no_other() {
    let place = Place::new();
    let journal = place.open();
    let [old, new, other] = ["old", "new", "other"].map(|name| VmName::new(name).expect("a name"));
    let (id, others) = (journal.vm_id(&old).await.expect("an id"), journal.vm_id(&other).await.expect("an id"));
    assert_eq!(journal.rename_vm(&old, &other).await, Ok(false), "it has an identity");
    assert_eq!(journal.rename_vm(&new, &other).await, Ok(false), "nobody knows it");
    assert_eq!(journal.rename_vm(&old, &new).await, Ok(true));
    assert_eq!(journal.vm_id(&new).await, Ok(id.clone()));
    assert_eq!(journal.vm_id(&other).await, Ok(others));
    assert_ne!(journal.vm_id(&old).await, Ok(id), "the name is another VM's now");
    let known = journal.vms().await.expect("read");
    assert_eq!(known.iter().map(|(vm, _)| vm.as_str()).collect::<Vec<_>>(), ["new", "old", "other"]);
}

#[tokio::test]
async fn after_a_rename_all_that_was_told_is_of_the_new_name() {
    let place = Place::new();
    let [old, new] = ["old", "new"].map(|name| VmName::new(name).expect("a name"));
    let memory = MemoryJournal::new(MemoryJournalConfig::default());
    for journal in [&place.open() as &dyn Journal, &memory] {
        let vm_id = journal.vm_id(&old).await.expect("an id");
        let told = |event: DurableEvent| DurableEvent { vm_id: vm_id.clone(), ..event };
        let events = vec![told(started("old", "r", "/1")), told(done("old", "r")), done("other", "s")];
        put(journal, "old", events).await;
        assert_eq!(journal.rename_vm(&old, &new).await, Ok(true));
        put(journal, "old", vec![told(done("new", "r"))]).await;
        let page = journal.read(Position::START, END, 9).await.expect("read");
        let names: Vec<_> = page.events.iter().map(|stored| stored.event.vm.as_str()).collect();
        assert_eq!(names, ["new", "new", "other", "new"]);
        let run = journal.run(&RunId::from_hash("r")).await.expect("read").expect("it is there");
        assert_eq!((run.vm.as_str(), run.completed), ("new", 2));
        for (grant, runs) in [("old", 0), ("new", 1)] {
            let query = RunQuery { grant: VmGrant::from_globs([grant]), ..every_run() };
            assert_eq!(journal.runs(&query).await.expect("read").runs.len(), runs, "{grant}");
            let query = RunQuery { vm: Some(VmName::new(grant).expect("a name")), ..every_run() };
            assert_eq!(journal.runs(&query).await.expect("read").runs.len(), runs, "{grant}");
        }
        let page = journal.read_runs(&[RunId::from_hash("r")], Position::START, END, 9).await.expect("read");
        assert!(page.events.iter().all(|stored| stored.event.vm == new));
    }
}

fn every_run() -> RunQuery {
    RunQuery { grant: VmGrant::all(), vm: None, open: None, since: None, until: None, before: None, limit: 9 }
}

#[tokio::test]
async fn another_name_of_the_file_and_a_removed_note_let_nobody_else_in() {
    let place = Place::new();
    let journal = place.open();
    put(&journal, "a", vec![status("a")]).await;
    let (hard, note) = (place.dir.path().join("hard.db"), place.dir.path().join("journal.db.lock"));
    std::fs::hard_link(place.path(), &hard).expect("linked");
    std::fs::remove_file(note).expect("removed");
    // In a process of its own: opening a file twice in one takes SQLite's locks away.
    for path in [&hard, &place.path()] {
        let mut flock = std::process::Command::new("flock");
        let tried = flock.args(["--nonblock", "--exclusive"]).arg(path).arg("true").status();
        assert!(!tried.expect("flock runs").success(), "{path:?}");
    }
    assert_eq!(put(&journal, "a", vec![status("a")]).await.seq, 2);
}
