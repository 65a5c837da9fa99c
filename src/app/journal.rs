//! The journal that the configuration asks for, and what keeps it.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::away;
use crate::config::{Config, JournalConfig, JournalKind};
use crate::hub::Hub;
use crate::journal::{
    EmbeddedConfig, EmbeddedJournal, Engine, Follower, JetstreamConfig, JetstreamError, JetstreamJournal, Journal,
    MemoryJournal, MemoryJournalConfig, OpenError, Retention,
};
use crate::lifecycle::Gate;
use crate::model::Timestamp;
use crate::telemetry::JournalMetrics;

/// How often the journal is asked to do what has to be done from time to time.
const MAINTAIN_EVERY: Duration = Duration::from_secs(1);

/// An open journal.
pub(super) enum OpenJournal {
    Memory(Arc<MemoryJournal>),
    Embedded(Arc<EmbeddedJournal>),
    Jetstream(Box<Jetstream>),
}

/// A journal that several replicas write.
pub(super) struct Jetstream {
    journal: Arc<JetstreamJournal>,
    pub(super) engine: Engine,
    /// Until it is run.
    follower: Mutex<Option<Follower>>,
}

/// Why there is no journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalOpenError {
    /// The file.
    #[error(transparent)]
    File(#[from] OpenError),
    /// NATS, or the mirror of what is there.
    #[error(transparent)]
    Jetstream(#[from] JetstreamError),
}

/// Opens it, makes it if there is none; `replica` is how others call this process.
pub(super) async fn open(
    config: &Config,
    replica: &str,
    metrics: &JournalMetrics,
) -> Result<OpenJournal, JournalOpenError> {
    if config.journal.kind == JournalKind::Memory {
        return Ok(OpenJournal::Memory(Arc::new(MemoryJournal::new(MemoryJournalConfig::default()))));
    }
    let JournalConfig { path, keep_for, keep_events, nats, .. } = &config.journal;
    let retention = Retention::new(*keep_for, *keep_events);
    if let Some(nats) = nats {
        let engine = Engine::open(nats, replica).await.map_err(JetstreamError::from)?;
        let settings = JetstreamConfig { path: path.clone(), retention };
        let (journal, follower) = JetstreamJournal::open(engine.clone(), settings, metrics.clone()).await?;
        let follower = Mutex::new(Some(follower));
        return Ok(OpenJournal::Jetstream(Box::new(Jetstream { journal: Arc::new(journal), engine, follower })));
    }
    let settings = EmbeddedConfig { path: path.clone(), retention };
    let (path, metrics, now) = (path.clone(), metrics.clone(), Timestamp::from(SystemTime::now()));
    let opening = tokio::task::spawn_blocking(move || EmbeddedJournal::open(settings, metrics, now));
    let opened = opening.await.map_err(|gone| OpenError::Io(path, gone.to_string()))?;
    Ok(OpenJournal::Embedded(Arc::new(opened?)))
}

impl OpenJournal {
    /// As everybody but its owner sees it.
    pub(super) fn journal(&self) -> Arc<dyn Journal> {
        match self {
            Self::Memory(journal) => Arc::clone(journal) as Arc<dyn Journal>,
            Self::Embedded(journal) => Arc::clone(journal) as Arc<dyn Journal>,
            Self::Jetstream(open) => Arc::clone(&open.journal) as Arc<dyn Journal>,
        }
    }

    /// The connection to NATS, if there is one.
    pub(super) fn engine(&self) -> Option<&Engine> {
        if let Self::Jetstream(open) = self { Some(&open.engine) } else { None }
    }

    /// What has the local copy follow the journal until `stop`; there is one only once.
    pub(super) fn following(&self, stop: CancellationToken) -> Option<impl Future<Output = ()> + use<>> {
        let Self::Jetstream(open) = self else { return None };
        let follower = open.follower.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(follower.run(stop))
    }

    /// Says why this process cannot go on with the journal; `None`: it never has to.
    pub(super) fn lost(&self) -> Option<watch::Receiver<Option<Arc<str>>>> {
        if let Self::Jetstream(open) = self { Some(open.journal.lost()) } else { None }
    }

    /// What keeps it until `stop`, and says on `gate` whether it takes commits.
    pub(super) fn keep(&self, gate: Gate, hub: &Arc<Hub>, stop: CancellationToken) -> Option<BoxFuture<'static, ()>> {
        match self {
            Self::Memory(_) => {
                gate.retire();
                None
            }
            Self::Embedded(journal) => Some(keep(Arc::clone(journal), gate, stop).boxed()),
            Self::Jetstream(open) => {
                let hub = Arc::clone(hub);
                Some(
                    away::keep_gate("takes no commits", open.journal.failing(), gate, move || hub.all_stale(), stop)
                        .boxed(),
                )
            }
        }
    }

    /// Ends its writer; what waits is committed first.
    pub(super) async fn close(&self) {
        if let Self::Embedded(journal) = self
            && let Err(error) = journal.close().await
        {
            tracing::warn!(%error, "the journal was not closed in order; nothing that was committed is lost");
        }
    }
}

async fn keep(journal: Arc<EmbeddedJournal>, gate: Gate, stop: CancellationToken) {
    let mut failing = journal.failing();
    let mut ticks = interval(MAINTAIN_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        match &*failing.borrow_and_update() {
            None => gate.ready(),
            Some(why) => gate.not_ready(format!("takes no commits: {why}")),
        }
        tokio::select! {
            () = stop.cancelled() => return gate.retire(),
            changed = failing.changed() => {
                if changed.is_err() {
                    tracing::error!("the journal's writer is gone");
                    return;
                }
            }
            _ = ticks.tick() => {
                // What it could not do it has said itself, and tries again.
                let _ = journal.maintain(Timestamp::from(SystemTime::now())).await;
            }
        }
    }
}
