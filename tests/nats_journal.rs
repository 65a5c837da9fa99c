//! The journal in NATS JetStream, on real servers: what is appended is appended once or not at all, every mirror comes to
//! the same, and what is not as it was is said.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream::stream::Config as StreamConfig;
use gatewatch::event::{DurableEvent, EventKind, Position};
use gatewatch::journal::{
    Commit, EmbeddedConfig, EmbeddedJournal, Engine, EngineError, ImportError, JetstreamConfig, JetstreamError,
    JetstreamJournal, Journal, JournalError, Retention, RunQuery, StoredEvent, import,
};
use gatewatch::model::{LogCursor, RunId, Timestamp, VmGrant, VmId, VmName};
use gatewatch::telemetry::Metrics;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::Nats;

/// How long something that happens by itself may take.
const SOON: Duration = Duration::from_secs(20);
/// After everything that can be.
const END: Position = Position { seq: u64::MAX, i: u32::MAX };

fn retention() -> Retention {
    Retention::new(Duration::from_secs(30 * 86_400), 1_000_000)
}

fn vm(name: &str) -> VmName {
    VmName::new(name).expect("a name")
}

/// One replica's journal.
struct Replica {
    journal: Arc<JetstreamJournal>,
    stop: CancellationToken,
    following: JoinHandle<()>,
}

impl Replica {
    async fn open(engine: Engine, dir: &Path) -> Result<Self, JetstreamError> {
        Self::open_keeping(engine, dir, retention()).await
    }

    async fn open_keeping(engine: Engine, dir: &Path, retention: Retention) -> Result<Self, JetstreamError> {
        let config = JetstreamConfig { path: dir.join("mirror.db"), retention };
        let (journal, follower) = JetstreamJournal::open(engine, config, Metrics::new().journal).await?;
        let stop = CancellationToken::new();
        let following = tokio::spawn(follower.run(stop.clone()));
        Ok(Self { journal: Arc::new(journal), stop, following })
    }

    async fn close(self) {
        self.stop.cancel();
        self.following.await.expect("it ends in order");
    }

    /// Waits until it has what stands at `seq`.
    async fn has(&self, seq: u64) {
        let began = Instant::now();
        while self.journal.bounds().applied < seq {
            assert!(began.elapsed() < SOON, "{:?}, not {seq}", self.journal.bounds());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Every event that it can be read from.
    async fn events(&self) -> Vec<StoredEvent> {
        let page = self.journal.read(self.journal.bounds().floor, END, 100_000).await.expect("read");
        assert!(!page.more);
        page.events.iter().map(|event| StoredEvent::clone(event)).collect()
    }
}

/// A commit of `vm` with one event that says `text`.
fn commit(name: &str, vm_id: &VmId, n: u64, follows: u64, text: &str) -> Commit {
    let event = DurableEvent {
        kind: EventKind::Status,
        vm: vm(name),
        vm_id: vm_id.clone(),
        run: None,
        data: format!("{{\"text\":\"{text}\"}}").into(),
    };
    Commit {
        vm_id: vm_id.clone(),
        lease_rev: 0,
        n,
        follows,
        cursors: vec![LogCursor { offset: n, ..LogCursor::start("/log") }],
        tracker_state: format!("{{\"n\":{n}}}").into(),
        events: vec![event],
    }
}

fn texts(events: &[StoredEvent]) -> Vec<&str> {
    events.iter().map(|stored| &*stored.event.data).collect()
}

#[tokio::test]
async fn replicas_that_start_together_agree_on_the_epoch_the_names_and_every_id() {
    let Some(nats) = Nats::start(1) else { return };
    let dirs: Vec<TempDir> = (0..3).map(|_| tempfile::tempdir().expect("a folder")).collect();
    let engines = futures_util::future::join_all((0..3).map(|_| nats.engine("f"))).await;
    let opening = engines.into_iter().zip(&dirs).map(|(engine, dir)| Replica::open(engine, dir.path()));
    let replicas = futures_util::future::try_join_all(opening).await.expect("they open");
    let epochs: Vec<_> = replicas.iter().map(|replica| replica.journal.epoch().clone()).collect();
    assert!(epochs.iter().all(|epoch| *epoch == epochs[0]), "{epochs:?}");
    let (a, b) = (vm("a"), vm("b"));
    let ids = replicas.iter().map(|replica| replica.journal.vm_id(&a));
    let ids = futures_util::future::try_join_all(ids).await.expect("identities");
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let other = replicas[1].journal.vm_id(&b).await.expect("an identity");
    assert_ne!(other, ids[0]);
    let mut follows = [0, 0];
    for n in 1..=20_u64 {
        for (at, (name, vm_id)) in [("a", &ids[0]), ("b", &other)].into_iter().enumerate() {
            let replica = &replicas[(n as usize + at) % 3];
            let committed = replica.journal.commit(commit(name, vm_id, n, follows[at], &format!("{n}"))).await;
            follows[at] = committed.expect("committed").seq;
        }
    }
    let last = follows[0].max(follows[1]);
    let mut seen = Vec::new();
    for replica in &replicas {
        replica.has(last).await;
        seen.push(replica.events().await);
    }
    assert_eq!(seen[0].len(), 40);
    assert!(seen.iter().all(|events| *events == seen[0]), "mirrors differ");
    let known = replicas[2].journal.last_commit(&ids[0]).await.expect("read").expect("there is one");
    assert_eq!((known.seq, known.commit.n, known.commit.cursors[0].offset), (follows[0], 20, 20));
    for replica in replicas {
        replica.close().await;
    }
}

#[tokio::test]
async fn a_commit_behind_another_ones_back_is_refused_and_one_that_is_there_already_is_known() {
    let Some(nats) = Nats::start(1) else { return };
    let dirs: Vec<TempDir> = (0..2).map(|_| tempfile::tempdir().expect("a folder")).collect();
    let old = Replica::open(nats.engine("f").await, dirs[0].path()).await.expect("it opens");
    let new = Replica::open(nats.engine("f").await, dirs[1].path()).await.expect("it opens");
    let a = old.journal.vm_id(&vm("a")).await.expect("an identity");
    let first = old.journal.commit(commit("a", &a, 1, 0, "first")).await.expect("committed").seq;
    // The new holder's empty commit: from here on nothing of the old one is taken.
    let takes = Commit { lease_rev: 9, events: Vec::new(), ..commit("a", &a, 2, first, "") };
    let taken = new.journal.commit(takes.clone()).await.expect("committed").seq;
    let late = old.journal.commit(commit("a", &a, 2, first, "late")).await;
    assert_eq!(late.expect_err("refused"), JournalError::Superseded);
    // An answer that was lost: the same bytes are the same commit, not another one.
    let again = new.journal.commit(takes).await.expect("it is there").seq;
    assert_eq!(again, taken);
    let next = new.journal.commit(commit("a", &a, 3, taken, "next")).await.expect("committed").seq;
    old.has(next).await;
    assert_eq!(texts(&old.events().await), ["{\"text\":\"first\"}", "{\"text\":\"next\"}"]);
    old.close().await;
    new.close().await;
}

#[tokio::test]
async fn a_mirror_reads_on_where_it_stood_and_one_that_is_damaged_or_gone_is_made_anew() {
    let Some(nats) = Nats::start(1) else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let replica = Replica::open(nats.engine("f").await, dir.path()).await.expect("it opens");
    let epoch = replica.journal.epoch().clone();
    let a = replica.journal.vm_id(&vm("a")).await.expect("an identity");
    let mut follows = 0;
    for n in 1..=5 {
        let committed = replica.journal.commit(commit("a", &a, n, follows, &n.to_string())).await;
        follows = committed.expect("committed").seq;
    }
    replica.has(follows).await;
    let before = replica.events().await;
    replica.close().await;
    let path = dir.path().join("mirror.db");
    for damage in ["nothing", "damage", "removal"] {
        match damage {
            "damage" => {
                let length = std::fs::metadata(&path).expect("a file").len();
                std::fs::OpenOptions::new()
                    .write(true)
                    .open(&path)
                    .expect("opened")
                    .set_len(length / 2 + 7)
                    .expect("cut");
            }
            "removal" => std::fs::remove_file(&path).expect("removed"),
            _ => {}
        }
        let again = Replica::open(nats.engine("f").await, dir.path()).await.expect("it opens");
        assert_eq!(*again.journal.epoch(), epoch, "{damage}");
        assert_eq!(again.events().await, before, "{damage}");
        assert_eq!(again.journal.vm_id(&vm("a")).await.expect("an identity"), a, "{damage}");
        again.close().await;
    }
}

#[tokio::test]
async fn a_rename_reaches_every_mirror_and_the_old_name_is_free() {
    let Some(nats) = Nats::start(1) else { return };
    let dirs: Vec<TempDir> = (0..2).map(|_| tempfile::tempdir().expect("a folder")).collect();
    let one = Replica::open(nats.engine("f").await, dirs[0].path()).await.expect("it opens");
    let two = Replica::open(nats.engine("f").await, dirs[1].path()).await.expect("it opens");
    let a = one.journal.vm_id(&vm("a")).await.expect("an identity");
    one.journal.commit(commit("a", &a, 1, 0, "x")).await.expect("committed");
    // Both are told by their configuration, at the same time: one does it, and for the other it is done.
    let (from, to) = (vm("a"), vm("b"));
    let done = futures_util::future::join(one.journal.rename_vm(&from, &to), two.journal.rename_vm(&from, &to)).await;
    let done = [done.0, done.1];
    assert!(done.contains(&Ok(true)), "{done:?}");
    let late = two.journal.rename_vm(&from, &to).await.expect("answered");
    assert!(!late, "the old name is nobody's");
    for replica in [&one, &two] {
        assert_eq!(replica.journal.vm_id(&to).await.expect("an identity"), a);
        replica.has(replica.journal.announced().await).await;
        assert_eq!(replica.events().await[0].event.vm, to);
    }
    let fresh = two.journal.vm_id(&from).await.expect("an identity");
    assert_ne!(fresh, a);
    assert_eq!(one.journal.vm_id(&from).await.expect("an identity"), fresh);
    one.close().await;
    two.close().await;
}

#[tokio::test]
async fn a_stream_that_differs_is_left_as_it_is_and_what_differs_is_said() {
    let Some(nats) = Nats::start(1) else { return };
    let engine = nats.engine("f").await;
    let stream = engine.names().stream();
    let made = engine.context().get_stream(&stream).await.expect("a stream").cached_info().config.clone();
    let changed = StreamConfig { max_age: Duration::from_secs(3600), ..made };
    engine.context().update_stream(changed.clone()).await.expect("changed");
    let refused = Engine::open(&nats.config("f"), "a test").await.expect_err("it differs");
    let said = refused.to_string();
    assert!(matches!(refused, EngineError::Differs { .. }), "{said}");
    assert!(said.contains("max_age is 3600s instead of 0ns") && said.contains(&stream), "{said}");
    let after = engine.context().get_stream(&stream).await.expect("a stream").cached_info().config.clone();
    assert_eq!(after.max_age, changed.max_age);
}

#[tokio::test]
async fn a_stream_that_was_restored_or_lost_begins_a_new_epoch() {
    let Some(mut nats) = Nats::start(1) else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let backup = tempfile::tempdir().expect("a folder");
    let replica = Replica::open(nats.engine("f").await, dir.path()).await.expect("it opens");
    let first = replica.journal.epoch().clone();
    let a = replica.journal.vm_id(&vm("a")).await.expect("an identity");
    let kept = replica.journal.commit(commit("a", &a, 1, 0, "kept")).await.expect("committed").seq;
    replica.has(kept).await;
    nats.signal(0, Signal::TERM);
    copy(&nats.data(0), backup.path());
    nats.restart(0);
    // It comes back to a server that stood still.
    let lost = committed(&replica, &commit("a", &a, 2, kept, "lost")).await;
    replica.has(lost).await;
    nats.signal(0, Signal::TERM);
    std::fs::remove_dir_all(nats.data(0)).expect("removed");
    copy(backup.path(), &nats.data(0));
    nats.restart(0);
    // The one that runs sees it and says that it has to begin anew ...
    let mut told = replica.journal.lost();
    let why = tokio::time::timeout(SOON, told.wait_for(Option::is_some)).await.expect("it says so").expect("it runs");
    assert!(why.is_some());
    drop(why);
    replica.close().await;
    // ... in an epoch of which nobody has heard anything yet.
    let again = Replica::open(nats.engine("f").await, dir.path()).await.expect("it opens");
    let second = again.journal.epoch().clone();
    assert_ne!(second, first);
    assert_eq!(texts(&again.events().await), ["{\"text\":\"kept\"}"]);
    again.close().await;
    nats.forget();
    nats.restart(0);
    let third = Replica::open(nats.engine("f").await, dir.path()).await.expect("it opens");
    assert!(![&first, &second].contains(&third.journal.epoch()));
    assert_eq!(third.events().await, []);
    third.close().await;
}

#[tokio::test]
async fn a_stream_that_lost_what_it_had_acknowledged_and_went_on_is_not_taken_for_the_one_it_was() {
    let Some(mut nats) = Nats::start(1) else { return };
    let (dir, other_dir) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let backup = tempfile::tempdir().expect("a folder");
    let replica = Replica::open(nats.engine("f").await, dir.path()).await.expect("it opens");
    let first = replica.journal.epoch().clone();
    let (a, b) = (replica.journal.vm_id(&vm("a")).await, replica.journal.vm_id(&vm("b")).await);
    let (a, b) = (a.expect("an identity"), b.expect("an identity"));
    let kept = replica.journal.commit(commit("a", &a, 1, 0, "kept")).await.expect("committed").seq;
    replica.has(kept).await;
    nats.signal(0, Signal::TERM);
    copy(&nats.data(0), backup.path());
    nats.restart(0);
    let lost = committed(&replica, &commit("a", &a, 2, kept, "lost")).await;
    replica.has(lost).await;
    nats.signal(0, Signal::KILL);
    std::fs::remove_dir_all(nats.data(0)).expect("removed");
    copy(backup.path(), &nats.data(0));
    nats.restart(0);
    // One that knows nothing of it goes on at once, with another VM, under the same sequences.
    let other = Replica::open(nats.engine("f").await, other_dir.path()).await.expect("it opens");
    let mut follows = 0;
    for n in 1..=5 {
        follows = other.journal.commit(commit("b", &b, n, follows, "went on")).await.expect("committed").seq;
    }
    assert!(follows > lost, "the stream is longer than it was");
    let mut told = replica.journal.lost();
    let why = tokio::time::timeout(SOON, told.wait_for(Option::is_some)).await.expect("it says so").expect("it runs");
    assert!(why.is_some());
    drop(why);
    assert_eq!(texts(&replica.events().await), ["{\"text\":\"kept\"}", "{\"text\":\"lost\"}"]);
    replica.close().await;
    let again = Replica::open(nats.engine("f").await, dir.path()).await.expect("it opens");
    assert_ne!(*again.journal.epoch(), first, "what stood under its ids is something else now");
    // Who runs hears of it, and begins anew as well.
    let mut told = other.journal.lost();
    let heard = tokio::time::timeout(SOON, told.wait_for(Option::is_some)).await;
    assert!(heard.is_ok_and(|heard| heard.is_ok()));
    again.close().await;
    other.close().await;
}

#[tokio::test]
async fn of_a_stream_that_somebody_emptied_nothing_is_told_anew_and_a_start_begins_another_epoch() {
    let Some(nats) = Nats::start(1) else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let engine = nats.engine("f").await;
    let replica = Replica::open(engine.clone(), dir.path()).await.expect("it opens");
    let first = replica.journal.epoch().clone();
    let a = replica.journal.vm_id(&vm("a")).await.expect("an identity");
    let seq = replica.journal.commit(commit("a", &a, 1, 0, "told")).await.expect("committed").seq;
    replica.has(seq).await;
    let stream = engine.context().get_stream(engine.names().stream()).await.expect("a stream");
    stream.purge().await.expect("emptied");
    let refused = replica.journal.commit(commit("a", &a, 2, seq, "more")).await.expect_err("what it follows is gone");
    assert!(matches!(refused, JournalError::Store(_)), "{refused}");
    let asked = replica.journal.last_commit(&a).await.expect_err("nobody goes on from nothing");
    assert!(matches!(asked, JournalError::Store(_)), "{asked}");
    let mut told = replica.journal.lost();
    let heard = tokio::time::timeout(SOON, told.wait_for(Option::is_some)).await;
    assert!(heard.is_ok_and(|heard| heard.is_ok()));
    replica.close().await;
    let again = Replica::open(engine, dir.path()).await.expect("it opens");
    assert_ne!(*again.journal.epoch(), first);
    again.close().await;
}

/// Where `commit` stands, once a server that starts has taken it.
async fn committed(replica: &Replica, commit: &Commit) -> u64 {
    let began = Instant::now();
    loop {
        match replica.journal.commit(commit.clone()).await {
            Ok(done) => return done.seq,
            Err(error) => assert!(began.elapsed() < SOON, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn copy(from: &Path, to: &Path) {
    let done = std::process::Command::new("cp").arg("-aT").args([from, to]).status().expect("cp runs");
    assert!(done.success());
}

#[tokio::test]
async fn what_is_no_longer_kept_leaves_mirror_and_stream_and_a_new_mirror_knows_where_it_begins() {
    let Some(nats) = Nats::start(1) else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let replica = Replica::open(nats.engine("f").await, dir.path()).await.expect("it opens");
    let (a, b) = (replica.journal.vm_id(&vm("a")).await, replica.journal.vm_id(&vm("b")).await);
    let (a, b) = (a.expect("an identity"), b.expect("an identity"));
    let mut places = Vec::new();
    let (mut last_a, mut last_b) = (0, 0);
    for n in 1..=10 {
        last_a = replica.journal.commit(commit("a", &a, n, last_a, &format!("a{n}"))).await.expect("committed").seq;
        places.push(last_a);
        if n == 2 {
            last_b = replica.journal.commit(commit("b", &b, 1, 0, "b1")).await.expect("committed").seq;
        }
    }
    // As the purge does it: all of A's before its fifth commit.
    let stream = nats.engine("f").await.context().get_stream("gatewatch-f").await.expect("a stream");
    let subject = format!("gatewatch.f.journal.commit.{}", a.as_str());
    stream.purge().filter(subject).sequence(places[4]).await.expect("purged");
    replica.close().await;
    let fresh = tempfile::tempdir().expect("a folder");
    let fresh_one = Replica::open(nats.engine("f").await, fresh.path()).await.expect("it opens");
    let bounds = fresh_one.journal.bounds();
    assert_eq!((bounds.floor.seq, bounds.applied), (places[4] - 1, places[9]));
    assert_eq!(fresh_one.events().await.len(), 6);
    let before = Position { seq: last_b, i: 0 };
    assert_eq!(fresh_one.journal.read(before, END, 10).await.expect_err("not whole"), JournalError::Pruned);
    let last = fresh_one.journal.last_known(&b).await.expect("read").expect("the last commit of a VM is always kept");
    assert_eq!((last.seq, last.commit.n), (last_b, 1));
    fresh_one.close().await;
    // The mirror that was there all the time lacks nothing.
    let again = Replica::open(nats.engine("f").await, dir.path()).await.expect("it opens");
    assert_eq!(again.events().await.len(), 11);
    again.close().await;
}

#[tokio::test]
async fn an_import_brings_runs_and_places_into_an_empty_stream_and_into_no_other() {
    let Some(nats) = Nats::start(1) else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("journal.db");
    let config = EmbeddedConfig { path: path.clone(), retention: retention() };
    let now = Timestamp::from(std::time::SystemTime::now());
    let embedded = EmbeddedJournal::open(config, Metrics::new().journal, now).expect("it opens");
    let a = embedded.vm_id(&vm("a")).await.expect("an identity");
    let run = |kind, data: &str| DurableEvent {
        kind,
        vm: vm("a"),
        vm_id: a.clone(),
        run: Some(RunId::from_hash("r1")),
        data: data.into(),
    };
    let events = vec![
        run(EventKind::RunStarted, "{\"source\":\"/log\",\"timestamp\":5.5}"),
        run(EventKind::TaskComplete, "{\"task_id\":\"t\",\"success\":true,\"score\":0.5}"),
    ];
    embedded.commit(Commit { events, ..commit("a", &a, 1, 0, "") }).await.expect("committed");
    for n in 2..=1500 {
        embedded.commit(commit("a", &a, n, 0, &n.to_string())).await.expect("committed");
    }
    let epoch = embedded.epoch().clone();
    let engine = nats.engine("f").await;
    let busy = import(&engine, &path).await.expect_err("a gateway has it");
    assert!(matches!(busy, ImportError::File(_)), "{busy}");
    embedded.close().await.expect("closed");
    drop(embedded);
    let done = import(&engine, &path).await.expect("imported");
    assert_eq!((done.vms, done.commits, done.events), (1, 1500, 1501));
    let again = import(&engine, &path).await.expect_err("it is not empty any more");
    assert!(matches!(again, ImportError::NotEmpty(_)), "{again}");
    let replica = Replica::open(engine, dir.path()).await.expect("it opens");
    assert_ne!(*replica.journal.epoch(), epoch);
    assert_eq!(replica.journal.vm_id(&vm("a")).await.expect("an identity"), a);
    let last = replica.journal.last_commit(&a).await.expect("read").expect("there is one");
    assert_eq!(
        (last.commit.n, last.commit.cursors[0].offset, &*last.commit.tracker_state),
        (1500, 1500, "{\"n\":1500}")
    );
    let query =
        RunQuery { grant: VmGrant::all(), vm: None, open: None, since: None, until: None, before: None, limit: 10 };
    let runs = replica.journal.runs(&query).await.expect("read").runs;
    assert_eq!((runs.len(), runs[0].completed, runs[0].passed), (1, 1, 1));
    assert_eq!(replica.events().await.len(), 1501);
    // An embedded journal is never taken for a mirror, nor the other way round.
    let config = JetstreamConfig { path: path.clone(), retention: retention() };
    let refused = JetstreamJournal::open(nats.engine("f").await, config, Metrics::new().journal).await.map(|_| ());
    assert!(matches!(refused, Err(JetstreamError::Mirror(_))));
    replica.close().await;
}

#[tokio::test]
async fn when_the_leader_dies_appends_go_on_within_ten_seconds_and_none_is_lost_or_doubled() {
    let Some(mut nats) = Nats::start(3) else { return };
    let dirs: Vec<TempDir> = (0..2).map(|_| tempfile::tempdir().expect("a folder")).collect();
    let engine = nats.engine("f").await;
    let writer = Replica::open(engine.clone(), dirs[0].path()).await.expect("it opens");
    let reader = Replica::open(nats.engine("f").await, dirs[1].path()).await.expect("it opens");
    let a = writer.journal.vm_id(&vm("a")).await.expect("an identity");
    let (mut n, mut follows, mut longest) = (0_u64, 0, Duration::ZERO);
    for round in 0..2 {
        let leader = nats.leader(&engine, "gatewatch-f").await;
        for step in 0..40 {
            if step == 10 {
                nats.signal(leader, Signal::KILL);
            }
            n += 1;
            let began = Instant::now();
            // As a poller does: the same bytes, until it is there.
            let seq = loop {
                match writer.journal.commit(commit("a", &a, n, follows, &n.to_string())).await {
                    Ok(done) => break done.seq,
                    Err(JournalError::Store(_)) => {}
                    Err(error) => panic!("round {round}, {n}: {error}"),
                }
            };
            longest = longest.max(began.elapsed());
            follows = seq;
        }
        nats.restart(leader);
    }
    // Two seconds more than is promised: the machine may have others to serve.
    assert!(longest < Duration::from_secs(12), "{longest:?}");
    let expected: Vec<String> = (1..=n).map(|n| format!("{{\"text\":\"{n}\"}}")).collect();
    for replica in [&writer, &reader] {
        replica.has(follows).await;
        assert_eq!(texts(&replica.events().await), expected);
    }
    writer.close().await;
    reader.close().await;
}
