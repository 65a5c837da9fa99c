//! The one thread that writes.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::mark::Mark;
use crate::event::Epoch;
use crate::journal::store::{self, Lock, Pruned, Retention};
use crate::journal::{Bounds, Commit, Committed, JournalError, LastCommit, MAX_RECORD_BYTES};
use crate::model::{Timestamp, VmId, VmName};
use crate::telemetry::JournalMetrics;

/// Requests taken up together. Commits among them share a transaction, and so one wait for the disk.
const TOGETHER: usize = 64;

/// Bytes of commits after which the write-ahead log is copied into the file, between two commits. It does not grow far
/// beyond this, so a small disk is not filled by it.
const CHECKPOINT_BYTES: usize = 4 * 1024 * 1024;

/// What a commit is reckoned with beside its texts: pages are written whole.
const COMMIT_OVERHEAD: usize = 16 * 1024;

type Reply<T> = oneshot::Sender<Result<T, JournalError>>;

/// What is asked of the writer. An answer that nobody waits for any more is dropped; what was asked is done.
pub(super) enum Request {
    Commit {
        commit: Box<Commit>,
        reply: Reply<Committed>,
    },
    VmId {
        vm: VmName,
        fresh: VmId,
        reply: Reply<VmId>,
    },
    Rename {
        from: VmName,
        to: VmName,
        reply: Reply<bool>,
    },
    LastCommit {
        vm_id: VmId,
        reply: Reply<Option<LastCommit>>,
    },
    Maintain {
        now: Timestamp,
        reply: Reply<bool>,
    },
    Close {
        reply: Reply<()>,
    },
    /// The file may grow to so many pages more; `None`: to any size.
    #[cfg(test)]
    Room {
        pages: Option<i64>,
        reply: Reply<()>,
    },
}

#[cfg(test)]
impl Request {
    /// Stands for a disk with room for so many pages.
    pub(super) async fn limit_pages(journal: &super::EmbeddedJournal, pages: Option<i64>) {
        journal.ask(|reply| Self::Room { pages, reply }).await.expect("set");
    }
}

/// Seconds between two looks at what need not be kept any more.
const PRUNE_EVERY: f64 = 60.0;

pub(super) struct Writer {
    pub(super) path: PathBuf,
    pub(super) epoch: Epoch,
    pub(super) connection: Connection,
    pub(super) mark: Mark,
    pub(super) retention: Retention,
    /// The wall clock, as last told.
    pub(super) now: Timestamp,
    pub(super) tail: broadcast::Sender<Committed>,
    pub(super) bounds: Arc<Mutex<Bounds>>,
    pub(super) failing: watch::Sender<Option<Arc<str>>>,
    pub(super) metrics: JournalMetrics,
    /// When it was last seen that everything kept is to be kept.
    pub(super) pruned: Option<Timestamp>,
    /// About how many bytes the write-ahead log holds.
    pub(super) unsaved: usize,
    pub(super) _lock: Lock,
}

impl Writer {
    /// Works until it is closed, or nobody can ask any more.
    pub(super) fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut taken = Vec::with_capacity(TOGETHER);
        let mut commits = Vec::new();
        while requests.blocking_recv_many(&mut taken, TOGETHER) > 0 {
            for request in taken.drain(..) {
                // In the order of asking: only neighbours share a transaction.
                if let Request::Commit { commit, reply } = request {
                    commits.push((commit, reply));
                    continue;
                }
                self.commit_all(&mut commits);
                match request {
                    Request::Close { reply } => {
                        requests.close();
                        // Whoever waits may have given up at its deadline.
                        let _ = reply.send(self.close());
                        return;
                    }
                    other => self.answer(other),
                }
            }
            self.commit_all(&mut commits);
            if self.unsaved > CHECKPOINT_BYTES {
                self.checkpoint();
            }
        }
    }

    fn answer(&mut self, request: Request) {
        let connection = &mut self.connection;
        // Of each: whoever asked may have gone.
        match request {
            Request::VmId { vm, fresh, reply } => {
                let _ = reply.send(store::vm_id(connection, &vm, &fresh).map_err(JournalError::from));
            }
            Request::Rename { from, to, reply } => {
                let _ = reply.send(rename(connection, &from, &to).map_err(JournalError::from));
            }
            Request::LastCommit { vm_id, reply } => {
                let _ = reply.send(store::last_commit(connection, &vm_id));
            }
            Request::Maintain { now, reply } => {
                let _ = reply.send(self.maintain(now));
            }
            #[cfg(test)]
            Request::Room { pages, reply } => {
                let now: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0)).expect("a count");
                let most = pages.map_or(i64::from(u32::MAX - 1), |pages| now + pages);
                connection.pragma_update(None, "max_page_count", most).expect("set");
                let _ = reply.send(Ok(()));
            }
            Request::Commit { .. } | Request::Close { .. } => {}
        }
    }

    /// Commits what waits, together if that goes.
    fn commit_all(&mut self, commits: &mut Vec<(Box<Commit>, Reply<Committed>)>) {
        if commits.is_empty() {
            return;
        }
        let together: Vec<&Commit> = commits.iter().map(|(commit, _)| &**commit).collect();
        match self.append(&together) {
            Ok(committed) => self.announce(committed, commits.drain(..).map(|(_, reply)| reply)),
            Err(error) if commits.len() == 1 => self.refuse(&error, commits.drain(..).map(|(_, reply)| reply)),
            // One that cannot be written must not hold up the others.
            Err(_) => {
                for (commit, reply) in commits.drain(..) {
                    match self.append(&[&commit]) {
                        Ok(committed) => self.announce(committed, [reply]),
                        Err(error) => self.refuse(&error, [reply]),
                    }
                }
            }
        }
    }

    /// Puts `commits` on the disk, all of them or none.
    fn append(&mut self, commits: &[&Commit]) -> rusqlite::Result<Vec<Committed>> {
        let began = Instant::now();
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let now = self.now;
        let committed =
            commits.iter().map(|commit| store::append(&transaction, commit, now)).collect::<Result<Vec<_>, _>>()?;
        transaction.commit()?;
        self.metrics.commit_duration.observe(began.elapsed().as_secs_f64());
        self.unsaved += commits.iter().map(|commit| COMMIT_OVERHEAD + commit.tracker_state.len()).sum::<usize>();
        self.unsaved +=
            committed.iter().flat_map(|commit| &*commit.events).map(|stored| stored.event.data.len()).sum::<usize>();
        Ok(committed)
    }

    fn announce(&mut self, committed: Vec<Committed>, replies: impl IntoIterator<Item = Reply<Committed>>) {
        if let Some(last) = committed.last() {
            self.mark.announce(last.seq);
            self.metrics.last_commit.set(Timestamp::from(SystemTime::now()).0 as i64);
        }
        {
            let mut bounds = self.bounds.lock().unwrap_or_else(PoisonError::into_inner);
            for commit in &committed {
                bounds.applied = commit.seq;
                if let Some(last) = commit.events.last() {
                    bounds.newest = last.position;
                    bounds.announced = last.position.seq;
                }
            }
        }
        self.works();
        for (commit, reply) in committed.into_iter().zip(replies) {
            self.metrics.commits.inc();
            self.metrics.events.inc_by(commit.events.len() as u64);
            // With nobody on the tail there is nobody to miss it; whoever asked may have gone.
            let _ = self.tail.send(commit.clone());
            let _ = reply.send(Ok(commit));
        }
    }

    fn refuse(&mut self, error: &rusqlite::Error, replies: impl IntoIterator<Item = Reply<Committed>>) {
        self.fails(error);
        for reply in replies {
            let _ = reply.send(Err(JournalError::Store(error.to_string().into())));
        }
    }

    fn fails(&self, error: &rusqlite::Error) {
        let why = error.to_string();
        self.metrics.failing.set(1);
        self.failing.send_if_modified(|failing| {
            let news = failing.as_deref() != Some(&*why);
            if news {
                tracing::error!(
                    %error,
                    "the journal takes no commits: durable events wait in the VMs' own logs; make room on its disk"
                );
                *failing = Some(why.into());
            }
            news
        });
    }

    fn works(&self) {
        self.metrics.failing.set(0);
        self.failing.send_if_modified(|failing| {
            let news = failing.is_some();
            if news {
                tracing::info!("the journal takes commits again");
                *failing = None;
            }
            news
        });
    }

    /// One step of what has to be done from time to time; `true`: there is more of it to do now.
    fn maintain(&mut self, now: Timestamp) -> Result<bool, JournalError> {
        self.now = now;
        self.measure();
        if self.failing.borrow().is_some() {
            self.make_room(now);
            return Ok(false);
        }
        if self.pruned.is_some_and(|at| (0.0..PRUNE_EVERY).contains(&now.since(at))) {
            return Ok(false);
        }
        match self.prune(now) {
            Ok(true) => Ok(true),
            Ok(false) => {
                self.pruned = Some(now);
                Ok(false)
            }
            Err(error) => {
                self.fails(&error);
                Err(error.into())
            }
        }
    }

    fn prune(&mut self, now: Timestamp) -> rusqlite::Result<bool> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let Pruned { floor, more, events } = store::prune(&transaction, &self.retention, now)?;
        transaction.commit()?;
        self.metrics.pruned.inc_by(events);
        let floor = floor.into();
        let mut bounds = self.bounds.lock().unwrap_or_else(PoisonError::into_inner);
        bounds.floor = bounds.floor.max(floor);
        bounds.newest = bounds.newest.max(floor);
        drop(bounds);
        if more {
            self.unsaved += COMMIT_OVERHEAD;
        }
        Ok(more)
    }

    /// Brings up to now what metrics say of the file. Only here does anybody wait for its disk.
    fn measure(&self) {
        let bytes = |path: PathBuf| fs::metadata(path).map_or(0, |file| i64::try_from(file.len()).unwrap_or(i64::MAX));
        let mut wal = self.path.clone().into_os_string();
        wal.push("-wal");
        self.metrics.file_bytes.set(bytes(self.path.clone()));
        self.metrics.wal_bytes.set(bytes(wal.into()));
        match store::kept(&self.connection) {
            Ok(kept) => self.metrics.kept.set(kept),
            Err(error) => tracing::debug!(%error, "how many events the journal keeps is not known"),
        }
    }

    /// Frees what can be freed without anybody's help, and finds out whether there is room for the largest record again.
    /// Polls try with what they have; this is for when they have nothing.
    fn make_room(&mut self, now: Timestamp) {
        // Once it is in the file the log begins anew, in the room that it has.
        self.checkpoint();
        if let Err(error) = self.prune(now) {
            tracing::debug!(%error, "nothing could be removed from the journal");
        }
        // Two transactions: what one makes and takes away again needs no room.
        let room = || -> rusqlite::Result<()> {
            self.connection.execute("INSERT INTO room VALUES (zeroblob(?1))", [MAX_RECORD_BYTES as i64])?;
            self.connection.execute_batch("DELETE FROM room")
        };
        match room() {
            Ok(()) => self.works(),
            Err(error) => self.fails(&error),
        }
    }

    /// Copies the write-ahead log into the file as far as no reader needs it.
    fn checkpoint(&mut self) {
        self.unsaved = 0;
        if let Err(error) = self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())) {
            tracing::warn!(%error, "the journal's write-ahead log could not be copied into its file");
        }
    }

    fn close(self) -> Result<(), JournalError> {
        let seq = self.bounds.lock().unwrap_or_else(PoisonError::into_inner).applied;
        let closed = self.mark.close(&self.connection, &self.epoch, seq);
        // Whoever copies the file has everything: a reader that is open keeps SQLite from doing that by itself.
        let copied = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        self.connection.close().map_err(|(_, error)| error)?;
        copied?;
        closed.map_err(|error| JournalError::Store(error.to_string().into()))
    }
}

/// Renames a VM and all that was told of it, or nothing.
fn rename(connection: &mut Connection, from: &VmName, to: &VmName) -> rusqlite::Result<bool> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let renamed = store::rename_vm(&transaction, from, to)?;
    transaction.commit()?;
    Ok(renamed)
}
