//! One VM's tracker, kept in step with the journal.
//!
//! What the journal does not take now is taken back: the tracker stands again where the last commit left it, so the next
//! poll reads the same lines and says the same of them. The VM's own log is the spool (SEMANTICS, section 8), and polls
//! and live events go on meanwhile.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, timeout};
use tracing::{error, info, warn};

use super::checkpoint::{bytes_read, is_due};
use super::commits::{Identity, Place, checkpoint_of, commit_of};
use crate::event::Position;
use crate::journal::{Commit, Journal, JournalError, LastCommit};
use crate::lifecycle::Backoff;
use crate::model::{ActiveError, ErrorCode, LogCursor, Report, Stage, Timestamp, VmView};
use crate::telemetry::{Committing, Gauge, PollMetrics};
use crate::tracker::{StateError, Step, Tracker, TrackerConfig};

/// How long the journal is given for one answer; a store that hangs is one that failed.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The longest pause between two tries at a journal that does not answer.
pub(super) const MAX_PAUSE: Duration = Duration::from_secs(5);

/// How often a journal that does not commit is warned of.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// What the journal keeps of the VM cannot be gone on from; no later try changes that.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    /// The tracker's state.
    #[error(transparent)]
    State(#[from] StateError),
    /// The record around it.
    #[error(transparent)]
    Record(JournalError),
}

/// Why a recorder cannot begin.
#[derive(Debug, thiserror::Error)]
pub(super) enum ResumeError {
    /// Not now; the same call may succeed later.
    #[error("{0}")]
    Away(Arc<str>),
    /// Not at all.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

impl From<JournalError> for ResumeError {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Store(cause) => Self::Away(cause),
            error => Unreadable::Record(error).into(),
        }
    }
}

/// Why a recorder does not go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// What the journal keeps of the VM cannot be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// Somebody else commits for this VM: what is known here is not the last word any more.
    #[error("another replica commits for this VM")]
    Superseded,
}

impl From<StateError> for Fault {
    fn from(error: StateError) -> Self {
        Self::Unreadable(error.into())
    }
}

/// What became of a report.
#[derive(Debug)]
pub(super) struct Taken {
    /// What is known of the VM now, whether or not it is committed.
    pub(super) view: Option<VmView>,
    /// Bytes of logs read.
    pub(super) bytes: u64,
    /// All that it brought is committed. Otherwise the next report has to bring the rest again.
    pub(super) committed: bool,
    /// What the journal was asked to take; `None`: nothing.
    pub(super) committing: Option<Committing>,
}

/// The tracker of one VM and its place in the journal.
pub(super) struct Recorder {
    who: Identity,
    config: TrackerConfig,
    journal: Arc<dyn Journal>,
    metrics: PollMetrics,
    tracker: Tracker,
    /// The lease under which it commits.
    lease_rev: u64,
    /// Counts this VM's commits, over restarts.
    n: u64,
    /// The place of the last commit.
    after: Position,
    /// The cursors of the last commit, and when it was made (or gone on from).
    saved: Vec<LogCursor>,
    saved_at: Instant,
    away: Option<Away>,
}

/// The journal does not commit.
struct Away {
    since: Instant,
    warned: Option<Instant>,
    /// Whether the commit that failed landed all the same is not known: until the journal has said so nothing is
    /// committed, since it might be told twice.
    doubt: bool,
    uncommitted: Gauge,
}

impl Away {
    fn new(since: Instant, uncommitted: Gauge) -> Self {
        uncommitted.inc();
        Self { since, warned: None, doubt: true, uncommitted }
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        self.uncommitted.dec();
    }
}

impl Recorder {
    /// Goes on under the lease `lease_rev` where the journal says that the last poll stopped.
    pub(super) async fn resume(
        who: Identity,
        config: TrackerConfig,
        lease_rev: u64,
        journal: Arc<dyn Journal>,
        metrics: PollMetrics,
    ) -> Result<Self, ResumeError> {
        let last = in_time(journal.last_commit(&who.vm_id)).await?;
        Self::from_last(last, who, config, lease_rev, journal, metrics)
    }

    /// What is known here of the VM without asking anybody, for a replica that does not poll it.
    pub(super) async fn known(
        who: Identity,
        config: TrackerConfig,
        journal: Arc<dyn Journal>,
        metrics: PollMetrics,
    ) -> Result<Self, ResumeError> {
        let last = in_time(journal.last_known(&who.vm_id)).await?;
        Self::from_last(last, who, config, 0, journal, metrics)
    }

    fn from_last(
        last: Option<LastCommit>,
        who: Identity,
        config: TrackerConfig,
        lease_rev: u64,
        journal: Arc<dyn Journal>,
        metrics: PollMetrics,
    ) -> Result<Self, ResumeError> {
        let tracker = Tracker::new(who.vm_id.clone(), config.clone());
        let (saved, saved_at) = (tracker.cursors(), Instant::now());
        let after = Position::START;
        let mut recorder =
            Self { who, config, journal, metrics, tracker, lease_rev, n: 0, after, saved, saved_at, away: None };
        if let Some(last) = last {
            recorder.go_on_from(&last)?;
        }
        Ok(recorder)
    }

    fn go_on_from(&mut self, last: &LastCommit) -> Result<(), Unreadable> {
        let LastCommit { seq, commit } = last;
        self.tracker = Tracker::restore(self.who.vm_id.clone(), self.config.clone(), &commit.tracker_state)?;
        let i = u32::try_from(commit.events.len().saturating_sub(1)).unwrap_or(u32::MAX);
        self.after = Position { seq: *seq, i };
        self.n = commit.n;
        self.saved.clone_from(&commit.cursors);
        self.saved_at = Instant::now();
        Ok(())
    }

    /// Who it is about.
    pub(super) fn who(&self) -> &Identity {
        &self.who
    }

    /// The place of the last commit.
    pub(super) fn after(&self) -> Position {
        self.after
    }

    /// How far each log is read.
    pub(super) fn cursors(&self) -> Vec<LogCursor> {
        self.tracker.cursors()
    }

    /// What the journal kept of the VM; `None` for one never seen, or taken out of the configuration since.
    pub(super) fn restored_view(&self) -> Option<VmView> {
        self.tracker.view().filter(|view| view.stage != Stage::Removed)
    }

    /// Whether the last commit says that the VM was taken out of the configuration.
    pub(super) fn is_removed(&self) -> bool {
        self.tracker.view().is_some_and(|view| view.stage == Stage::Removed)
    }

    /// Commits that this replica polls the VM from here on, so that whatever the one before it still commits is refused.
    /// `false`: the journal does not take it now.
    pub(super) async fn take_over(&mut self) -> Result<bool, Fault> {
        let commit = checkpoint_of(&self.who, &self.tracker, self.next());
        self.commit(commit).await
    }

    /// Finds out whether the commit that failed last landed all the same, if that is in doubt. `true`: it did, and the
    /// tracker stands behind it. Safe to cancel.
    pub(super) async fn settle(&mut self) -> Result<bool, Fault> {
        if !self.in_doubt() {
            return Ok(false);
        }
        match in_time(self.journal.last_commit(&self.who.vm_id)).await {
            Ok(Some(last)) if last.seq > self.after.seq => {
                if last.commit.lease_rev != self.lease_rev {
                    return Err(Fault::Superseded);
                }
                self.go_on_from(&last)?;
                self.back();
                Ok(true)
            }
            Ok(_) => {
                if let Some(away) = &mut self.away {
                    away.doubt = false;
                }
                Ok(false)
            }
            Err(JournalError::Store(cause)) => {
                self.fails(&cause);
                Ok(false)
            }
            Err(error) => Err(Unreadable::Record(error).into()),
        }
    }

    /// The place of the next commit.
    fn next(&self) -> Place {
        Place { lease_rev: self.lease_rev, n: self.n + 1, follows: self.after.seq }
    }

    fn in_doubt(&self) -> bool {
        self.away.as_ref().is_some_and(|away| away.doubt)
    }

    /// Takes `report` in and commits what it brought.
    ///
    /// # Errors
    /// If the tracker's own state cannot be read back, or another replica commits for the VM.
    pub(super) async fn take(&mut self, report: &Report, now: Timestamp) -> Result<Taken, Fault> {
        let before = self.tracker.clone();
        let steps = self.tracker.apply(report, now);
        let bytes = bytes_read(&before.cursors(), &self.tracker.cursors());
        let mut view = self.tracker.view();
        let (began, clock) = (SystemTime::now(), Instant::now());
        let mut commits = !steps.is_empty();
        let committed = self.commit_all(before, steps, now).await?;
        if committed && is_due(&self.saved, &self.tracker.cursors(), self.saved_at.elapsed()) {
            let checkpoint = checkpoint_of(&self.who, &self.tracker, self.next());
            self.commit(checkpoint).await?;
            commits = true;
        }
        let committing = commits.then(|| Committing { began, took: clock.elapsed(), taken: committed });
        if let Some(view) = view.as_mut().filter(|_| !committed) {
            view.errors.push(uncommitted());
        }
        Ok(Taken { view, bytes, committed, committing })
    }

    /// Ends the VM's runs and says that it is removed; tries until the journal takes it.
    pub(super) async fn remove(&mut self) -> Result<(), Fault> {
        let mut backoff = Backoff::new(Duration::from_millis(200), MAX_PAUSE);
        loop {
            self.settle().await?;
            let now = Timestamp::from(std::time::SystemTime::now());
            let before = self.tracker.clone();
            let steps = self.tracker.remove(now);
            if self.commit_all(before, steps, now).await? {
                return Ok(());
            }
            tokio::time::sleep(backoff.next(rand::random())).await;
        }
    }

    /// Commits `steps` in order. `false`: not all of them, and the tracker stands where the last one left it that was
    /// (`before`, if none was).
    async fn commit_all(&mut self, before: Tracker, steps: Vec<Step>, now: Timestamp) -> Result<bool, Fault> {
        let mut reached: Option<Box<str>> = None;
        for step in steps {
            let commit = commit_of(&self.who, step, self.next(), now);
            let state = commit.tracker_state.clone();
            if !self.commit(commit).await? {
                self.tracker = match reached {
                    Some(state) => Tracker::restore(self.who.vm_id.clone(), self.config.clone(), &state)?,
                    None => before,
                };
                return Ok(false);
            }
            reached = Some(state);
        }
        Ok(true)
    }

    /// `false`: the journal did not take it now. What it refuses for good is passed over.
    async fn commit(&mut self, commit: Commit) -> Result<bool, Fault> {
        if self.in_doubt() {
            return Ok(false);
        }
        let (n, events, cursors) = (commit.n, commit.events.len(), commit.cursors.clone());
        match in_time(self.journal.commit(commit)).await {
            Ok(committed) => {
                let place = Position { seq: committed.seq, i: 0 };
                self.after = committed.events.last().map_or(place, |last| last.position);
                self.n = n;
                self.back();
            }
            Err(JournalError::Store(cause)) => {
                self.fails(&cause);
                return Ok(false);
            }
            Err(JournalError::Superseded) => return Err(Fault::Superseded),
            Err(error) => error!(vm = %self.who.vm, %error, events, "the journal refused a commit for good"),
        }
        (self.saved, self.saved_at) = (cursors, Instant::now());
        Ok(true)
    }

    fn fails(&mut self, cause: &str) {
        self.metrics.journal_failures.inc();
        let now = Instant::now();
        let away = self.away.get_or_insert_with(|| Away::new(now, self.metrics.uncommitted.clone()));
        away.doubt = true;
        if away.warned.is_none_or(|warned| now.duration_since(warned) >= WARN_EVERY) {
            away.warned = Some(now);
            warn!(vm = %self.who.vm, cause, "the journal does not commit; polls and live events go on, and the VM's own log keeps what is to be told");
        }
    }

    fn back(&mut self) {
        if let Some(away) = self.away.take() {
            info!(vm = %self.who.vm, seconds = away.since.elapsed().as_secs(), "the journal commits again");
        }
    }
}

/// What clients are shown beside a view that the journal has not taken.
fn uncommitted() -> ActiveError {
    let message = "what changed is shown, and told as events once the journal takes it".to_owned();
    ActiveError { code: ErrorCode::JournalFailed, message }
}

/// What `work` answers, within [`ANSWER_WITHIN`].
pub(super) async fn in_time<T>(work: impl Future<Output = Result<T, JournalError>>) -> Result<T, JournalError> {
    let late = || JournalError::Store(format!("no answer within {} s", ANSWER_WITHIN.as_secs()).into());
    timeout(ANSWER_WITHIN, work).await.unwrap_or_else(|_| Err(late()))
}
