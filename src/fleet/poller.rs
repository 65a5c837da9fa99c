//! One VM's poller: schedule, poll, track, commit, tell.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::begin::{Target, Unfit, begin, refuse};
use super::commits::Identity;
use super::pulse::{Polling, Pulse};
use super::recorder::{Recorder, Unreadable};
use super::schedule::Schedule;
use crate::event::Position;
use crate::journal::{Journal, LiveReport, LiveSender};
use crate::lifecycle::Gate;
use crate::model::{Demand, LogTails, Power, Report, Timestamp, VmName, VmView};
use crate::probe::Probe;
use crate::telemetry::{Held, PollMetrics, PollOutcome, Traces};

/// How many times one poll reads on in logs before it looks at the whole VM again: 16 MiB per log.
const MAX_CONTINUATIONS: usize = 16;

/// How long the journal is given to take the word that a VM was removed.
pub(super) const REMOVAL_TIMEOUT: Duration = Duration::from_secs(5);

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
    /// What makes a span of each poll.
    pub traces: Traces,
    /// The interval while nobody watches.
    pub idle_interval: Duration,
    /// The time that one poll may take.
    pub timeout: Duration,
    /// Told whenever a poll ended.
    pub pulse: Pulse,
}

/// Why a poller is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The process stops, or the poller is made anew: clients are told nothing.
    Stop,
    /// The VM left the configuration: clients are told.
    Removed,
}

/// Announces one VM and polls it until `stop`; what `ending` then says decides whether clients are told.
pub(super) async fn run(
    target: Target,
    probe: Probe,
    shared: Shared,
    stop: CancellationToken,
    ending: watch::Receiver<Ending>,
) {
    let begun = tokio::select! {
        begun = begin(&target, &shared) => Some(begun),
        () = stop.cancelled() => None,
    };
    let Target { vm, first_report, announced, .. } = target;
    let mut poller = match begun {
        Some(Ok(recorder)) => Poller::new(recorder, probe, shared),
        Some(Err(Unfit { who, why })) => {
            if let Some(who) = who {
                let report = report_of(&who, 0, Position::START, shared.idle_interval, None, LogTails::default());
                tell(&shared.live, report).await;
            }
            drop(announced);
            refuse(&vm, &first_report, &why);
            stop.cancelled().await;
            probe.close().await;
            return first_report.retire();
        }
        None => {
            probe.close().await;
            return first_report.retire();
        }
    };
    poller.announce().await;
    // Nobody need wait for it.
    let _ = announced.send(());
    if let Err(why) = poller.poll_until(&stop, &first_report).await {
        refuse(&vm, &first_report, &why);
        stop.cancelled().await;
    } else if *ending.borrow() == Ending::Removed {
        poller.remove().await;
    }
    poller.probe.close().await;
    first_report.retire();
}

struct Poller {
    recorder: Recorder,
    probe: Probe,
    shared: Shared,
    schedule: Schedule,
    poll_no: u64,
    tails: LogTails,
    /// Logins counted so far.
    logins: u64,
    /// Its connection, as metrics have it; not when it is closed but when this poller has seen that.
    connection: Option<Held>,
}

impl Poller {
    fn new(recorder: Recorder, probe: Probe, shared: Shared) -> Self {
        let mut schedule = Schedule::new(shared.idle_interval, Instant::now());
        schedule.wish(shared.demand.borrow().for_vm(&recorder.who().vm), Instant::now());
        Self { recorder, probe, shared, schedule, poll_no: 0, tails: LogTails::default(), logins: 0, connection: None }
    }

    /// Tells the hub of the VM, with what the journal kept of it, before anything of it is news.
    async fn announce(&mut self) {
        self.publish(self.recorder.restored_view()).await;
    }

    /// Polls until `stop`.
    async fn poll_until(&mut self, stop: &CancellationToken, first_report: &Gate) -> Result<(), Unreadable> {
        let mut demand = self.shared.demand.clone();
        self.heed(&mut demand);
        let polling = self.shared.pulse.begin(Instant::now());
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                changed = demand.changed() => {
                    // The sender lives as long as the hub; without it nobody watches any more.
                    if changed.is_err() { return Ok(()); }
                    self.heed(&mut demand);
                    continue;
                }
                () = tokio::time::sleep_until(self.schedule.next()) => {}
            }
            match self.poll(stop, &polling).await {
                Ok(()) => first_report.ready(),
                Err(Halt::Stopped) => return Ok(()),
                Err(Halt::Unreadable(why)) => return Err(why),
            }
        }
    }

    fn heed(&mut self, demand: &mut watch::Receiver<Arc<Demand>>) {
        let wish = demand.borrow_and_update().for_vm(&self.recorder.who().vm);
        self.schedule.wish(wish, Instant::now());
    }

    /// One poll, and what is left of its logs.
    async fn poll(&mut self, stop: &CancellationToken, polling: &Polling) -> Result<(), Halt> {
        self.schedule.started(Instant::now());
        let answered = self.step(false, stop).await?;
        polling.beat(Instant::now());
        let mut more = answered.unread;
        for _ in 0..MAX_CONTINUATIONS {
            if !more {
                break;
            }
            more = self.step(true, stop).await?.unread;
            polling.beat(Instant::now());
        }
        self.schedule.finished(answered.expected, Instant::now(), rand::random());
        if more {
            // A backlog of many megabytes: the next poll is due at once, so that stage and log stay in step.
            self.schedule.catch_up(Instant::now());
        }
        Ok(())
    }

    /// One request to the VM and everything that follows from its answer. Only questions are dropped when `stop` comes: a
    /// commit that has begun is awaited, since its outcome decides where the next poller goes on.
    async fn step(&mut self, continuation: bool, stop: &CancellationToken) -> Result<Answered, Halt> {
        self.poll_no += 1;
        let moved = tokio::select! {
            biased;
            () = stop.cancelled() => return Err(Halt::Stopped),
            moved = self.recorder.settle() => moved?,
        };
        if moved {
            self.probe.look_anew();
        }
        let cursors = self.recorder.cursors();
        let trace = self.shared.traces.poll();
        let report = tokio::select! {
            biased;
            () = stop.cancelled() => return Err(Halt::Stopped),
            report = self.probe.poll(self.poll_no, &cursors, continuation, self.shared.timeout) => report,
        };
        self.count(&report);
        let taken = self.recorder.take(&report, Timestamp::from(SystemTime::now())).await?;
        self.shared.metrics.log_bytes.inc_by(taken.bytes);
        if let Some(trace) = trace {
            trace.end(&self.recorder.who().vm, &report, taken.bytes, taken.committing);
        }
        if !taken.committed {
            self.probe.look_anew();
        }
        self.keep_lines(&report);
        self.publish(taken.view).await;
        let off = report.power.is_some_and(|power| power != Power::On);
        // What was not committed is read again at the next poll, not at once.
        Ok(Answered { expected: report.outcome.is_ok() || off, unread: report.unread() && taken.committed })
    }

    fn count(&mut self, report: &Report) {
        let failure = report.outcome.as_ref().err();
        let metrics = &self.shared.metrics;
        metrics.polls.of(failure.map_or(PollOutcome::Ok, |failure| failure.code.whose().into())).inc();
        metrics.duration.observe(report.took.as_secs_f64());
        metrics.ssh_logins.inc_by(self.probe.logins() - self.logins);
        self.logins = self.probe.logins();
        self.connection = self
            .probe
            .connected()
            .then(|| self.connection.take().unwrap_or_else(|| Held::on(&metrics.ssh_connections)));
        match failure {
            None => {
                debug!(vm = %self.recorder.who().vm, poll = report.poll_no, took_ms = report.took.as_millis() as u64, "polled")
            }
            Some(failure) => {
                info!(vm = %self.recorder.who().vm, poll = report.poll_no, code = %failure.code, whose = %failure.code.whose(),
                retryable = failure.code.retryable(), cause = %failure.message, "poll failed")
            }
        }
    }

    fn keep_lines(&mut self, report: &Report) {
        let logs = report.outcome.iter().flat_map(|seen| &seen.logs);
        for (log, text) in logs.filter_map(|log| Some((log, log.text.as_ref()?))) {
            self.tails.take(&log.source, text);
        }
    }

    async fn publish(&mut self, view: Option<VmView>) {
        let (interval, after) = (self.schedule.interval(), self.recorder.after());
        tell(
            &self.shared.live,
            report_of(self.recorder.who(), self.poll_no, after, interval, view, self.tails.clone()),
        )
        .await;
    }

    async fn remove(&mut self) {
        let vm = self.recorder.who().vm.clone();
        match tokio::time::timeout(REMOVAL_TIMEOUT, self.recorder.remove()).await {
            Ok(Ok(())) => info!(%vm, "no longer watched"),
            Ok(Err(error)) => warn!(%vm, %error, "clients are not told of the removal: the journal cannot be read"),
            Err(_) => warn!(%vm, "the journal did not take the removal in time; clients are not told of it"),
        }
    }
}

fn report_of(
    who: &Identity,
    poll_no: u64,
    after: Position,
    interval: Duration,
    view: Option<VmView>,
    logs: LogTails,
) -> LiveReport {
    LiveReport {
        vm: who.vm.clone(),
        vm_id: who.vm_id.clone(),
        lease_rev: 0,
        poll_no,
        after,
        interval: interval.as_secs_f64(),
        facts: Arc::clone(&who.facts),
        view: view.map(Arc::new),
        logs,
    }
}

async fn tell(live: &LiveSender, report: LiveReport) {
    let vm = report.vm.clone();
    if !live.publish(report).await {
        debug!(%vm, "nobody takes live events any more");
    }
}

/// Why a poll did not come to its end.
enum Halt {
    /// The poller is to end; what it was about to do was not done.
    Stopped,
    /// What the journal keeps of the VM cannot be gone on from.
    Unreadable(Unreadable),
}

impl From<Unreadable> for Halt {
    fn from(why: Unreadable) -> Self {
        Self::Unreadable(why)
    }
}

struct Answered {
    /// The VM answered, or is said to be off or about to start: no failure to back off from.
    expected: bool,
    unread: bool,
}

/// Names the task that polls `vm`.
pub(super) fn task_name(vm: &VmName) -> String {
    format!("poll {vm}")
}
