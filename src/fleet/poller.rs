//! One VM's poller: schedule, poll, track, commit, tell.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::commits::{Identity, commit_of};
use super::schedule::Schedule;
use crate::event::Position;
use crate::journal::{Journal, JournalError, LiveReport, LiveSender};
use crate::lifecycle::{Backoff, Gate};
use crate::model::{Demand, LogCursor, Power, Report, Timestamp, VmName, VmView};
use crate::probe::Probe;
use crate::telemetry::{PollMetrics, PollOutcome};
use crate::tracker::{Step, Tracker, TrackerConfig};

/// How many times one poll reads on in logs before it looks at the whole VM again: 16 MiB per log.
const MAX_CONTINUATIONS: usize = 16;

/// The longest pause between two tries at a journal that does not commit.
const MAX_COMMIT_PAUSE: Duration = Duration::from_secs(5);

/// How long the journal is given to take the word that a VM was removed.
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(5);

/// What every poller shares.
#[derive(Clone)]
pub struct Shared {
    /// Where durable events go.
    pub journal: Arc<dyn Journal>,
    /// Where views go.
    pub live: LiveSender,
    /// What the watchers want.
    pub demand: watch::Receiver<Arc<Demand>>,
    /// Counters.
    pub metrics: PollMetrics,
    /// The interval while nobody watches.
    pub idle_interval: Duration,
    /// The time that one poll may take.
    pub timeout: Duration,
}

/// What one poller is for.
pub(super) struct Target {
    /// Who.
    pub(super) who: Identity,
    /// How the tracker reads it.
    pub(super) tracker: TrackerConfig,
    /// How it is asked.
    pub(super) probe: Probe,
    /// Said to be ready once its first report is through, so that a fresh process has something to tell.
    pub(super) first_report: Gate,
}

/// Why a poller is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The process stops, or the poller is made anew: clients are told nothing.
    Stop,
    /// The VM left the configuration: clients are told.
    Removed,
}

/// Polls one VM until `stop`; what `ending` then says decides whether clients are told.
pub(super) async fn run(target: Target, shared: Shared, stop: CancellationToken, ending: watch::Receiver<Ending>) {
    let Target { who, tracker: config, probe, first_report } = target;
    let mut demand = shared.demand.clone();
    let tracker = tokio::select! {
        tracker = resume(&who, config, &shared) => tracker,
        () = stop.cancelled() => return probe.close().await,
    };
    let mut poller = Poller {
        schedule: Schedule::new(shared.idle_interval, Instant::now()),
        who,
        tracker,
        probe,
        shared,
        n: 0,
        poll_no: 0,
        logins: 0,
        after: Position::START,
    };
    poller.heed(&mut demand);
    // With what the last commit knew: a client that comes before the first poll is over gets the current runs too.
    let known = poller.tracker.view();
    poller.publish(known).await;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            changed = demand.changed() => {
                // The sender lives as long as the hub; without it nobody watches any more.
                if changed.is_err() { break; }
                poller.heed(&mut demand);
                continue;
            }
            () = tokio::time::sleep_until(poller.schedule.next()) => {}
        }
        if poller.poll(&stop).await.is_err() {
            break;
        }
        first_report.ready();
    }
    if *ending.borrow() == Ending::Removed {
        poller.remove().await;
    }
    poller.probe.close().await;
    first_report.retire();
}

/// Goes on where the journal says that the last poll stopped; retries until the journal answers.
async fn resume(who: &Identity, config: TrackerConfig, shared: &Shared) -> Tracker {
    let mut backoff = Backoff::new(Duration::from_millis(200), MAX_COMMIT_PAUSE);
    loop {
        match shared.journal.last_commit(&who.vm_id).await {
            Ok(None) => return Tracker::new(who.vm_id.clone(), config),
            Ok(Some(last)) => match Tracker::restore(who.vm_id.clone(), config.clone(), &last.commit.tracker_state) {
                Ok(tracker) => return tracker,
                Err(error) => {
                    warn!(vm = %who.vm, %error, "the tracker state in the journal cannot be read; the log is read from its start");
                    return Tracker::new(who.vm_id.clone(), config);
                }
            },
            Err(error) => {
                warn!(vm = %who.vm, %error, "the journal does not say where to go on; trying again");
                tokio::time::sleep(backoff.next(rand::random())).await;
            }
        }
    }
}

struct Poller {
    who: Identity,
    tracker: Tracker,
    probe: Probe,
    shared: Shared,
    schedule: Schedule,
    /// Counts commits.
    n: u64,
    poll_no: u64,
    /// Logins counted so far.
    logins: u64,
    /// The last commit's last event.
    after: Position,
}

impl Poller {
    fn heed(&mut self, demand: &mut watch::Receiver<Arc<Demand>>) {
        let wish = demand.borrow_and_update().for_vm(&self.who.vm);
        self.schedule.wish(wish, Instant::now());
    }

    /// One poll, and what is left of its logs.
    async fn poll(&mut self, stop: &CancellationToken) -> Result<(), Stopped> {
        self.schedule.started(Instant::now());
        let answered = self.step(false, stop).await?;
        let mut more = answered.unread;
        for _ in 0..MAX_CONTINUATIONS {
            if !more {
                break;
            }
            more = self.step(true, stop).await?.unread;
        }
        self.schedule.finished(answered.expected, Instant::now(), rand::random());
        if more {
            // A backlog of many megabytes: the next poll is due at once, so that stage and log stay in step.
            self.schedule.catch_up(Instant::now());
        }
        Ok(())
    }

    /// One request to the VM and everything that follows from its answer. Only the request is dropped when `stop`
    /// comes: a commit that has begun is awaited, since its outcome decides where the next poller goes on.
    async fn step(&mut self, continuation: bool, stop: &CancellationToken) -> Result<Answered, Stopped> {
        self.poll_no += 1;
        let cursors = self.tracker.cursors();
        let report = tokio::select! {
            biased;
            () = stop.cancelled() => return Err(Stopped),
            report = self.probe.poll(self.poll_no, &cursors, continuation, self.shared.timeout) => report,
        };
        self.count(&report);
        let now = Timestamp::from(SystemTime::now());
        for step in self.tracker.apply(&report, now) {
            self.commit(step, now, stop).await?;
        }
        self.shared.metrics.log_bytes.inc_by(bytes_read(&cursors, &self.tracker.cursors()));
        let view = self.tracker.view();
        self.publish(view).await;
        let off = report.power.is_some_and(|power| power != Power::On);
        Ok(Answered { expected: report.outcome.is_ok() || off, unread: report.unread() })
    }

    fn count(&mut self, report: &Report) {
        let failure = report.outcome.as_ref().err();
        let metrics = &self.shared.metrics;
        metrics.polls.of(failure.map_or(PollOutcome::Ok, |failure| failure.code.whose().into())).inc();
        metrics.duration.observe(report.took.as_secs_f64());
        metrics.ssh_logins.inc_by(self.probe.logins() - self.logins);
        self.logins = self.probe.logins();
        match failure {
            None => {
                debug!(vm = %self.who.vm, poll = report.poll_no, took_ms = report.took.as_millis() as u64, "polled")
            }
            Some(failure) => {
                info!(vm = %self.who.vm, poll = report.poll_no, code = %failure.code, whose = ?failure.code.whose(),
                retryable = failure.code.retryable(), cause = %failure.message, "poll failed")
            }
        }
    }

    /// Commits one step; a store that fails is asked again until it takes it, since nothing may be lost or doubled.
    async fn commit(&mut self, step: Step, now: Timestamp, stop: &CancellationToken) -> Result<(), Stopped> {
        self.n += 1;
        let commit = commit_of(&self.who, step, self.n, now);
        let mut backoff = Backoff::new(Duration::from_millis(200), MAX_COMMIT_PAUSE);
        loop {
            match self.shared.journal.commit(commit.clone()).await {
                Ok(committed) => {
                    if let Some(last) = committed.events.last() {
                        self.after = last.position;
                    }
                    return Ok(());
                }
                Err(JournalError::Store(cause)) => {
                    warn!(vm = %self.who.vm, %cause, "the journal did not commit; trying again, the VM's own log keeps what follows");
                    tokio::select! {
                        () = stop.cancelled() => return Err(Stopped),
                        () = tokio::time::sleep(backoff.next(rand::random())) => {}
                    }
                }
                Err(error) => {
                    tracing::error!(vm = %self.who.vm, %error, events = commit.events.len(), "the journal refused a commit for good");
                    return Ok(());
                }
            }
        }
    }

    async fn publish(&mut self, view: Option<VmView>) {
        let report = LiveReport {
            vm: self.who.vm.clone(),
            vm_id: self.who.vm_id.clone(),
            lease_rev: 0,
            poll_no: self.poll_no,
            after: self.after,
            interval: self.schedule.interval().as_secs_f64(),
            facts: Arc::clone(&self.who.facts),
            view: view.map(Arc::new),
        };
        if !self.shared.live.publish(report).await {
            debug!(vm = %self.who.vm, "nobody takes live events any more");
        }
    }

    async fn remove(&mut self) {
        let now = Timestamp::from(SystemTime::now());
        let goes_on = CancellationToken::new();
        for step in self.tracker.remove(now) {
            if tokio::time::timeout(REMOVAL_TIMEOUT, self.commit(step, now, &goes_on)).await.is_err() {
                warn!(vm = %self.who.vm, "the journal did not take the removal in time; clients are not told of it");
                return;
            }
        }
        info!(vm = %self.who.vm, "no longer watched");
    }
}

/// The poller is to end; what it was about to do was not done.
struct Stopped;

struct Answered {
    /// The VM answered, or is said to be off or about to start: no failure to back off from.
    expected: bool,
    unread: bool,
}

/// How many bytes of logs lie between two states of their cursors. Of a file that another one replaced, only what was
/// read of its successor is known.
fn bytes_read(before: &[LogCursor], after: &[LogCursor]) -> u64 {
    let of = |cursor: &LogCursor| {
        let same = before.iter().find(|was| was.path == cursor.path && was.generation == cursor.generation);
        cursor.offset.saturating_sub(same.map_or(0, |was| was.offset))
    };
    after.iter().map(of).sum()
}

/// Names the task that polls `vm`.
pub(super) fn task_name(vm: &VmName) -> String {
    format!("poll {vm}")
}
