//! The journal of several replicas: a stream of NATS JetStream, and a mirror of it in SQLite that reads answer from.
//!
//! An entry's sequence in the stream is the sequence of its ids. Commits, the names of VMs and the epoch are entries of
//! one stream, so every mirror comes to the same by applying it in order. Appends are fenced: each says which entry of its
//! subject it follows, and the engine refuses it if another one came between (SEMANTICS, sections 4 and 8).

mod append;
mod bucket;
mod credentials;
mod engine;
mod entry;
mod follow;
mod import;
mod mirror;
mod names;
mod settle;
mod shared;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::{Mutex, broadcast, watch};
use tokio::time::{Instant, timeout};

pub use self::engine::{Engine, EngineError};
use self::entry::{Entry, Unreadable};
pub use self::follow::Follower;
use self::follow::Halt;
pub use self::import::{ImportError, Imported, import};
use self::mirror::Mirror;
pub use self::names::Names;
use self::names::Topic;
use self::shared::Shared;
use super::store::{self, OpenError, Pool, Retention};
use super::{
    Bounds, Commit, Committed, Journal, JournalError, LastCommit, Page, RunPage, RunQuery, RunSummary, StoredEvent,
    record,
};
use crate::event::{Epoch, Position};
use crate::model::{RunId, VmId, VmName};
use crate::telemetry::JournalMetrics;

/// How long a question that the mirror answers waits for it to have what the stream has.
const APPLIED_WITHIN: Duration = Duration::from_secs(2);

/// How often a name is tried to be given an identity while others try the same.
const TRIES: usize = 8;

/// Where the mirror is, and how much is kept.
#[derive(Clone, Debug)]
pub struct JetstreamConfig {
    /// The SQLite file. Beside it stand its `-wal` and `-shm`, and `.lock`.
    pub path: PathBuf,
    /// What is kept, in the mirror and in the stream.
    pub retention: Retention,
}

/// Why the journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum JetstreamError {
    /// NATS.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The mirror.
    #[error(transparent)]
    Mirror(#[from] OpenError),
    /// The stream was reached, and then did not answer; a later start may succeed.
    #[error("the journal in NATS cannot be read: {0}")]
    Journal(#[from] JournalError),
    /// It cannot be followed by this program.
    #[error("the journal in NATS cannot be followed: {0}")]
    Lost(String),
}

/// A journal in a stream that other processes append to as well.
#[derive(Debug)]
pub struct JetstreamJournal {
    engine: Engine,
    pool: Pool,
    shared: Arc<Shared>,
    /// When the engine was last asked where it stands; one question answers all who wait.
    asked: Mutex<Option<Instant>>,
}

impl JetstreamJournal {
    /// Opens the mirror, or makes one, and reads what it lacks; what then keeps it up to date is to be run.
    ///
    /// # Errors
    /// If the stream does not answer or cannot be read by this program, or the mirror cannot be used.
    pub async fn open(
        engine: Engine,
        config: JetstreamConfig,
        metrics: JournalMetrics,
    ) -> Result<(Self, Follower), JetstreamError> {
        let end = Instant::now() + engine::REACHED_WITHIN;
        loop {
            match Self::try_open(engine.clone(), config.clone(), metrics.clone()).await {
                // A cluster that elects another leader does not answer meanwhile.
                Err(JetstreamError::Journal(JournalError::Store(why))) if Instant::now() < end => {
                    tracing::info!(%why, "the journal in NATS does not answer yet; trying again");
                    tokio::time::sleep(engine::AGAIN_AFTER).await;
                }
                opened => return opened,
            }
        }
    }

    async fn try_open(
        engine: Engine,
        config: JetstreamConfig,
        metrics: JournalMetrics,
    ) -> Result<(Self, Follower), JetstreamError> {
        let JetstreamConfig { path, retention } = config;
        let opened = tokio::task::spawn_blocking(move || Mirror::open(&path)).await;
        let mirror = opened.map_err(|gone| JournalError::Store(gone.to_string().into()))??;
        let path = mirror.path().to_owned();
        let Some((mirror, epoch, epoch_at)) = settle::settle(&engine, mirror).await? else {
            return Err(EngineError::Unfinished(engine.names().stream()).into());
        };
        let shared = Arc::new(Shared::new(epoch, metrics));
        let mut follower = Follower {
            engine: engine.clone(),
            mirror: Some(mirror),
            shared: Arc::clone(&shared),
            retention,
            epoch_at,
            pruned: None,
            purged_at: Some(Instant::now()),
            purged: HashMap::new(),
            looked: None,
        };
        match follower.catch_up().await {
            Ok(()) => {}
            Err(Halt::Away(error)) => return Err(error.into()),
            Err(Halt::Lost(why)) => return Err(JetstreamError::Lost(why)),
            Err(Halt::Gap) => return Err(JetstreamError::Lost("a part of it was removed just now".to_owned())),
        }
        tracing::info!(path = %path.display(), epoch = shared.epoch.as_str(), "the journal in NATS is open");
        let pool = Pool::open(path)?;
        Ok((Self { engine, pool, shared, asked: Mutex::new(None) }, follower))
    }

    /// Why the engine takes no commits now; `None` while it does.
    pub fn failing(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.shared.failing.subscribe()
    }

    /// Why the stream is not followed any more; the process has to begin anew. `None` while it is.
    pub fn lost(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.shared.lost.subscribe()
    }

    /// Waits until the mirror has everything up to `seq`.
    async fn applied(&self, seq: u64) -> Result<(), JournalError> {
        let mut applied = self.shared.applied.subscribe();
        match timeout(APPLIED_WITHIN, applied.wait_for(|applied| *applied >= seq)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(JournalError::Store("the mirror is behind the stream".into())),
        }
    }

    async fn known(&self, vm: &VmName) -> Result<Option<VmId>, JournalError> {
        let vm = vm.clone();
        self.pool.run(move |connection| Ok(store::known_vm(connection, &vm)?)).await
    }

    /// Where the last entry about `vm` stands (0: there is none), once the mirror has it.
    async fn last_of_name(&self, vm: &VmName) -> Result<u64, JournalError> {
        let last = self.engine.last(&Topic::Vm(vm.clone())).await?.map_or(0, |last| last.sequence);
        self.applied(last).await?;
        Ok(last)
    }

    async fn identify(&self, vm: &VmName) -> Result<VmId, JournalError> {
        for _ in 0..TRIES {
            if let Some(known) = self.known(vm).await? {
                return Ok(known);
            }
            let follows = self.last_of_name(vm).await?;
            if let Some(known) = self.known(vm).await? {
                return Ok(known);
            }
            let payload = entry::of_vm(&record::new_vm_id(), None)?;
            match append::append(&self.engine, &Topic::Vm(vm.clone()), payload, follows).await {
                Ok(seq) => self.applied(seq).await?,
                // Another replica was faster: its identity counts.
                Err(JournalError::Superseded) => {}
                Err(error) => return Err(error),
            }
        }
        Err(JournalError::Store("others change what this VM is called".into()))
    }

    async fn rename(&self, from: &VmName, to: &VmName) -> Result<bool, JournalError> {
        self.last_of_name(from).await?;
        let follows = self.last_of_name(to).await?;
        let Some(vm_id) = self.known(from).await? else { return Ok(false) };
        if self.known(to).await?.is_some() {
            return Ok(false);
        }
        let payload = entry::of_vm(&vm_id, Some(from))?;
        match append::append(&self.engine, &Topic::Vm(to.clone()), payload, follows).await {
            Ok(seq) => self.applied(seq).await?,
            Err(JournalError::Superseded) => return Err(JournalError::Store("others rename this VM".into())),
            Err(error) => return Err(error),
        }
        Ok(self.known(to).await? == Some(vm_id))
    }

    async fn append(&self, commit: Commit) -> Result<Committed, JournalError> {
        record::check_size(&commit)?;
        let began = Instant::now();
        let payload = entry::of_commit(&commit, None)?;
        let appended =
            append::append(&self.engine, &Topic::Commit(commit.vm_id.clone()), payload, commit.follows).await;
        let seq = match appended {
            Ok(seq) => seq,
            Err(error @ JournalError::Store(_)) => {
                self.shared.append_fails(&error);
                return Err(error);
            }
            Err(error) => return Err(error),
        };
        self.shared.metrics.commit_duration.observe(began.elapsed().as_secs_f64());
        self.shared.committed(seq, commit.events.len());
        let event = |(i, event)| Arc::new(StoredEvent { position: Position { seq, i }, event });
        Ok(Committed { seq, vm_id: commit.vm_id, events: (0..).zip(commit.events).map(event).collect() })
    }

    async fn last(&self, vm_id: &VmId) -> Result<Option<LastCommit>, JournalError> {
        let topic = Topic::Commit(vm_id.clone());
        let found = self.engine.last(&topic).await?;
        // What was announced here is never gone on from as if it had not been: whoever follows the stream finds out why.
        let known = self.pool.last_commit(vm_id).await?.map_or(0, |known| known.seq);
        if found.as_ref().map_or(0, |last| last.sequence) < known {
            return Err(JournalError::Store("the stream does not have what it had of this VM".into()));
        }
        let Some(last) = found else { return Ok(None) };
        match entry::read(&topic, &last.payload) {
            Ok(Entry::Commit { commit, .. }) => Ok(Some(LastCommit { seq: last.sequence, commit: Arc::from(commit) })),
            Err(Unreadable::Newer(v)) => Err(JournalError::Version(v)),
            Ok(_) | Err(Unreadable::Foreign(_)) => {
                Err(JournalError::Store(format!("entry {} of the stream is no commit", last.sequence).into()))
            }
        }
    }

    /// The last sequence given. Who asks while a question is under way that began later than this one is answered by it.
    async fn engine_stands(&self) -> u64 {
        let began = Instant::now();
        let mut asked = self.asked.lock().await;
        if asked.is_none_or(|asked| asked < began) {
            let at = Instant::now();
            if let Ok(state) = self.engine.state().await {
                self.shared.announce(state.last_sequence);
                *asked = Some(at);
            }
        }
        self.shared.bounds().announced
    }
}

/// Runs `work` on a thread that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, JournalError> + Send + 'static,
) -> Result<T, JournalError> {
    tokio::task::spawn_blocking(work).await.map_err(|gone| JournalError::Store(gone.to_string().into()))?
}

impl Journal for JetstreamJournal {
    fn epoch(&self) -> &Epoch {
        &self.shared.epoch
    }

    fn vm_id<'a>(&'a self, vm: &'a VmName) -> BoxFuture<'a, Result<VmId, JournalError>> {
        self.identify(vm).boxed()
    }

    fn vms(&self) -> BoxFuture<'_, Result<Vec<(VmName, VmId)>, JournalError>> {
        self.pool.vms()
    }

    fn rename_vm<'a>(&'a self, from: &'a VmName, to: &'a VmName) -> BoxFuture<'a, Result<bool, JournalError>> {
        self.rename(from, to).boxed()
    }

    fn last_commit<'a>(&'a self, vm_id: &'a VmId) -> BoxFuture<'a, Result<Option<LastCommit>, JournalError>> {
        self.last(vm_id).boxed()
    }

    fn last_known<'a>(&'a self, vm_id: &'a VmId) -> BoxFuture<'a, Result<Option<LastCommit>, JournalError>> {
        self.pool.last_commit(vm_id)
    }

    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Committed, JournalError>> {
        self.append(commit).boxed()
    }

    fn tail(&self) -> broadcast::Receiver<Committed> {
        self.shared.tail.subscribe()
    }

    fn bounds(&self) -> Bounds {
        self.shared.bounds()
    }

    fn announced(&self) -> BoxFuture<'_, u64> {
        self.engine_stands().boxed()
    }

    fn count_after(&self, after: Position, cap: usize) -> BoxFuture<'_, Result<usize, JournalError>> {
        self.pool.count_after(after, cap)
    }

    fn read(&self, after: Position, upto: Position, limit: usize) -> BoxFuture<'_, Result<Page, JournalError>> {
        self.pool.read(after, upto, limit)
    }

    fn read_runs<'a>(
        &'a self,
        runs: &'a [RunId],
        after: Position,
        upto: Position,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page, JournalError>> {
        self.pool.read_runs(runs, after, upto, limit)
    }

    fn runs<'a>(&'a self, query: &'a RunQuery) -> BoxFuture<'a, Result<RunPage, JournalError>> {
        self.pool.runs(query)
    }

    fn run<'a>(&'a self, run: &'a RunId) -> BoxFuture<'a, Result<Option<RunSummary>, JournalError>> {
        self.pool.run_of(run)
    }
}
