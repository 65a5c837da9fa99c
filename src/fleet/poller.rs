//! One VM's poller: schedule, poll, track, commit, tell.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::begin::{Held, Target, Unfit, hold, identity, refuse};
use super::commits::Identity;
use super::pulse::{Polling, Pulse};
use super::recorder::{Fault, Recorder, ResumeError, Unreadable};
use super::schedule::Schedule;
use crate::event::Position;
use crate::journal::{Journal, LiveReport, LiveSender};
use crate::lifecycle::Gate;
use crate::model::{Demand, LogTails, Power, Report, Timestamp, VmName, VmView};
use crate::probe::Probe;
use crate::replicas::{Claim, Leases};
use crate::telemetry::{Held as HeldGauge, PollMetrics, PollOutcome, Traces};

/// How many times one poll reads on in logs before it looks at the whole VM again: 16 MiB per log.
const MAX_CONTINUATIONS: usize = 16;

/// How long the journal is given to take the word that a VM was removed.
pub(super) const REMOVAL_TIMEOUT: Duration = Duration::from_secs(5);

/// How often it is looked whether a VM is watched again that another replica removed.
const LOOK_WHETHER_BACK: Duration = Duration::from_secs(5);

/// What every poller shares.
#[derive(Clone)]
pub struct Shared {
    /// Where durable events go.
    pub journal: Arc<dyn Journal>,
    /// Where views go.
    pub live: LiveSender,
    /// Which VMs may be polled from here.
    pub leases: Leases,
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

/// Announces one VM, and polls it whenever its lease is this replica's, until `stop`; what `ending` then says decides
/// whether clients are told.
pub(super) async fn run(
    mut target: Target,
    mut probe: Probe,
    shared: Shared,
    stop: CancellationToken,
    ending: watch::Receiver<Ending>,
) {
    if let Err(Unfit { who, why }) = watch_vm(&mut target, &mut probe, &shared, &stop, &ending).await {
        if let Some(who) = who {
            let report = report_of(&who, 0, 0, Position::START, shared.idle_interval, None, LogTails::default());
            tell(&shared.live, report).await;
        }
        drop(target.announced.take());
        refuse(&target.vm, &target.first_report, &why);
        stop.cancelled().await;
    }
    probe.close().await;
    target.first_report.retire();
}

async fn watch_vm(
    target: &mut Target,
    probe: &mut Probe,
    shared: &Shared,
    stop: &CancellationToken,
    ending: &watch::Receiver<Ending>,
) -> Result<(), Unfit> {
    let Some(who) = stop.run_until_cancelled(identity(target, shared)).await.transpose()? else { return Ok(()) };
    let (mut claim, mut polls) = (shared.leases.claim(&who.vm_id), 0);
    loop {
        if claim.lease().is_none() {
            follow(target, &who, shared).await?;
        }
        let Some(lease) = stop.run_until_cancelled(claim.granted()).await else { return Ok(()) };
        let held = tokio::select! {
            held = hold(target, &who, lease.rev, shared) => held?,
            () = claim.lost(lease.rev) => continue,
            () = stop.cancelled() => return Ok(()),
        };
        let Held::From(recorder) = held else {
            drop(claim);
            info!(vm = %who.vm, "not polled: it was removed by a replica that has read a newer configuration");
            match stop.run_until_cancelled(comes_back(&who, target, shared)).await {
                Some(()) => claim = shared.leases.claim(&who.vm_id),
                None => return Ok(()),
            }
            continue;
        };
        let mut poller = Poller::new(*recorder, probe, shared, &mut claim, lease.rev, polls);
        poller.announce().await;
        // Nobody need wait for it.
        target.announced.take().map(|announced| announced.send(()));
        let ended = poller.poll_until(stop, &target.first_report).await;
        polls = poller.poll_no;
        match ended {
            Halt::Stopped => {
                if *ending.borrow() == Ending::Removed {
                    poller.remove().await;
                }
                return Ok(());
            }
            Halt::Unreadable(why) => return Err(Unfit { who: Some(who), why }),
            Halt::Lost => {
                warn!(vm = %who.vm, rev = lease.rev, "not polled from here any more: the lease is over");
                poller.probe.rest().await;
            }
        }
    }
}

/// Tells the hub what is known of a VM that another replica polls, or that nobody does yet. It is no reason to be not
/// ready.
async fn follow(target: &mut Target, who: &Identity, shared: &Shared) -> Result<(), Unfit> {
    target.first_report.ready();
    let Some(announced) = target.announced.take() else { return Ok(()) };
    let known = known(target, who, shared).await?;
    let (after, view) = known.map_or((Position::START, None), |known| (known.after(), known.restored_view()));
    tell(&shared.live, report_of(who, 0, 0, after, shared.idle_interval, view, LogTails::default())).await;
    // Nobody need wait for it.
    let _ = announced.send(());
    Ok(())
}

/// What the journal has here of `who`; `None`: it does not say now.
async fn known(target: &Target, who: &Identity, shared: &Shared) -> Result<Option<Recorder>, Unfit> {
    let (journal, metrics) = (Arc::clone(&shared.journal), shared.metrics.clone());
    match Recorder::known(who.clone(), target.tracker.clone(), journal, metrics).await {
        Ok(known) => Ok(Some(known)),
        Err(ResumeError::Unreadable(why)) => Err(Unfit { who: Some(who.clone()), why }),
        Err(ResumeError::Away(cause)) => {
            warn!(vm = %who.vm, %cause, "the journal does not say what it knows of this VM");
            Ok(None)
        }
    }
}

/// Waits until a VM that was removed is watched again by some replica.
async fn comes_back(who: &Identity, target: &Target, shared: &Shared) {
    loop {
        tokio::time::sleep(LOOK_WHETHER_BACK).await;
        if let Ok(Some(known)) = known(target, who, shared).await
            && !known.is_removed()
        {
            return;
        }
    }
}

struct Poller<'p> {
    recorder: Recorder,
    probe: &'p mut Probe,
    shared: &'p Shared,
    claim: &'p mut Claim,
    lease_rev: u64,
    schedule: Schedule,
    /// Counts the polls of this process's life, whatever leases it had.
    poll_no: u64,
    tails: LogTails,
    /// Logins counted so far.
    logins: u64,
    /// Its connection, as metrics have it; not when it is closed but when this poller has seen that.
    connection: Option<HeldGauge>,
}

impl<'p> Poller<'p> {
    fn new(
        recorder: Recorder,
        probe: &'p mut Probe,
        shared: &'p Shared,
        claim: &'p mut Claim,
        lease_rev: u64,
        poll_no: u64,
    ) -> Self {
        let mut schedule = Schedule::new(shared.idle_interval, Instant::now());
        schedule.wish(shared.demand.borrow().for_vm(&recorder.who().vm), Instant::now());
        let (tails, logins) = (LogTails::default(), probe.logins());
        Self { recorder, probe, shared, claim, lease_rev, schedule, poll_no, tails, logins, connection: None }
    }

    /// Tells the hub of the VM, with what the journal kept of it, before anything of it is news.
    async fn announce(&mut self) {
        self.publish(0, self.recorder.restored_view()).await;
    }

    /// Polls until it has to end.
    async fn poll_until(&mut self, stop: &CancellationToken, first_report: &Gate) -> Halt {
        let mut demand = self.shared.demand.clone();
        self.heed(&mut demand);
        let polling = self.shared.pulse.begin(&self.recorder.who().vm, Instant::now());
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Halt::Stopped,
                () = self.claim.lost(self.lease_rev) => return Halt::Lost,
                changed = demand.changed() => {
                    // The sender lives as long as the hub; without it nobody watches any more.
                    if changed.is_err() { return Halt::Stopped; }
                    self.heed(&mut demand);
                    continue;
                }
                () = tokio::time::sleep_until(self.schedule.next()) => {}
            }
            match self.poll(stop, &polling).await {
                Ok(()) => first_report.ready(),
                Err(halt) => return halt,
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
        self.check_lease()?;
        let cursors = self.recorder.cursors();
        let trace = self.shared.traces.poll();
        let report = tokio::select! {
            biased;
            () = stop.cancelled() => return Err(Halt::Stopped),
            report = self.probe.poll(self.poll_no, &cursors, continuation, self.shared.timeout) => report,
        };
        self.count(&report);
        // However long this process was stopped meanwhile: who holds the VM now has seen more than this.
        self.check_lease().inspect_err(|_| self.shared.metrics.discarded.inc())?;
        let taken = self.recorder.take(&report, Timestamp::from(SystemTime::now())).await?;
        self.shared.metrics.log_bytes.inc_by(taken.bytes);
        if let Some(trace) = trace {
            trace.end(&self.recorder.who().vm, &report, taken.bytes, taken.committing);
        }
        if !taken.committed {
            self.probe.look_anew();
        }
        self.keep_lines(&report);
        self.publish(self.poll_no, taken.view).await;
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
            .then(|| self.connection.take().unwrap_or_else(|| HeldGauge::on(&metrics.ssh_connections)));
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

    /// Whether the VM may be asked, and what it answered may be used (SEMANTICS, section 8).
    fn check_lease(&self) -> Result<(), Halt> {
        if self.claim.holds(self.lease_rev) { Ok(()) } else { Err(Halt::Lost) }
    }

    async fn publish(&mut self, poll_no: u64, view: Option<VmView>) {
        let (interval, after, who) = (self.schedule.interval(), self.recorder.after(), self.recorder.who());
        let report = report_of(who, self.lease_rev, poll_no, after, interval, view, self.tails.clone());
        tell(&self.shared.live, report).await;
    }

    async fn remove(&mut self) {
        let vm = self.recorder.who().vm.clone();
        match tokio::time::timeout(REMOVAL_TIMEOUT, self.recorder.remove()).await {
            Ok(Ok(())) => info!(%vm, "no longer watched"),
            Ok(Err(error)) => warn!(%vm, %error, "clients are not told of the removal"),
            Err(_) => warn!(%vm, "the journal did not take the removal in time; clients are not told of it"),
        }
    }
}

fn report_of(
    who: &Identity,
    lease_rev: u64,
    poll_no: u64,
    after: Position,
    interval: Duration,
    view: Option<VmView>,
    logs: LogTails,
) -> LiveReport {
    LiveReport {
        vm: who.vm.clone(),
        vm_id: who.vm_id.clone(),
        lease_rev,
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

/// Why polling, or one poll, does not go on.
enum Halt {
    /// The poller is to end; what it was about to do was not done.
    Stopped,
    /// The VM is another replica's, or nobody's.
    Lost,
    /// What the journal keeps of the VM cannot be gone on from.
    Unreadable(Unreadable),
}

impl From<Fault> for Halt {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Superseded => Self::Lost,
            Fault::Unreadable(why) => Self::Unreadable(why),
        }
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
