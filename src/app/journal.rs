//! The journal that the configuration asks for, and what keeps it.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, JournalConfig, JournalKind};
use crate::journal::{
    EmbeddedConfig, EmbeddedJournal, Journal, MemoryJournal, MemoryJournalConfig, OpenError, Retention,
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
}

/// Opens it, makes it if there is none.
pub(super) async fn open(config: &Config, metrics: &JournalMetrics) -> Result<OpenJournal, OpenError> {
    if config.journal.kind == JournalKind::Memory {
        return Ok(OpenJournal::Memory(Arc::new(MemoryJournal::new(MemoryJournalConfig::default()))));
    }
    let JournalConfig { path, keep_for, keep_events, .. } = &config.journal;
    let settings = EmbeddedConfig { path: path.clone(), retention: Retention::new(*keep_for, *keep_events) };
    let (path, metrics, now) = (path.clone(), metrics.clone(), Timestamp::from(SystemTime::now()));
    let opening = tokio::task::spawn_blocking(move || EmbeddedJournal::open(settings, metrics, now));
    let opened = opening.await.map_err(|gone| OpenError::Io(path, gone.to_string()))?;
    opened.map(|journal| OpenJournal::Embedded(Arc::new(journal)))
}

impl OpenJournal {
    /// As everybody but its owner sees it.
    pub(super) fn journal(&self) -> Arc<dyn Journal> {
        match self {
            Self::Memory(journal) => Arc::clone(journal) as Arc<dyn Journal>,
            Self::Embedded(journal) => Arc::clone(journal) as Arc<dyn Journal>,
        }
    }

    /// What keeps it until `stop`, and says on `gate` whether it takes commits.
    pub(super) fn keep(&self, gate: Gate, stop: CancellationToken) -> Option<impl Future<Output = ()> + use<>> {
        match self {
            Self::Memory(_) => {
                gate.retire();
                None
            }
            Self::Embedded(journal) => Some(keep(Arc::clone(journal), gate, stop)),
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
