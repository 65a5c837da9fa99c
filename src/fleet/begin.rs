//! How a poller begins: who its VM is, and where the journal says to go on under the lease that it has.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tracing::{error, info, warn};

use super::commits::Identity;
use super::poller::Shared;
use super::recorder::{Fault, MAX_PAUSE, Recorder, ResumeError, Unreadable, in_time};
use crate::journal::JournalError;
use crate::lifecycle::{Backoff, Gate};
use crate::model::{VmFacts, VmId, VmName};
use crate::tracker::TrackerConfig;

/// What one poller is for.
pub(super) struct Target {
    /// Which VM.
    pub(super) vm: VmName,
    /// The name that it had before.
    pub(super) renamed_from: Option<VmName>,
    /// What the configuration says of it.
    pub(super) facts: Arc<VmFacts>,
    /// How the tracker reads it.
    pub(super) tracker: TrackerConfig,
    /// Said to be ready once its first report is through, so that a fresh process has something to tell.
    pub(super) first_report: Gate,
    /// Told, or dropped, once the hub's bus has its announcement.
    pub(super) announced: Option<oneshot::Sender<()>>,
    /// What the journal had when this poller was made: what is said later of the VM's removal is said by a replica that
    /// has read a newer configuration.
    pub(super) made_at: u64,
}

/// A VM that is not polled: what the journal keeps of it is for another program.
#[derive(Debug)]
pub(super) struct Unfit {
    /// Who it is, if that could be read.
    pub(super) who: Option<Identity>,
    pub(super) why: Unreadable,
}

/// How holding a VM begins.
pub(super) enum Held {
    /// From where to go on.
    From(Box<Recorder>),
    /// Another replica, with a newer configuration, has said that the VM is removed.
    Removed,
}

/// Finds out who the VM is; asks until the journal answers. Safe to cancel.
pub(super) async fn identity(target: &Target, shared: &Shared) -> Result<Identity, Unfit> {
    let mut waiting = Waiting::new(target);
    loop {
        match identify(target, shared).await {
            Ok(vm_id) => {
                return Ok(Identity { vm: target.vm.clone(), vm_id, facts: Arc::clone(&target.facts) });
            }
            Err(JournalError::Store(cause)) => waiting.pause(&cause).await,
            Err(error) => return Err(Unfit { who: None, why: Unreadable::Record(error) }),
        }
    }
}

/// Goes on where the last commit of `who` stopped, under the lease `rev`; asks until the journal answers. Safe to cancel.
pub(super) async fn hold(target: &Target, who: &Identity, rev: u64, shared: &Shared) -> Result<Held, Unfit> {
    let unfit = |why| Unfit { who: Some(who.clone()), why };
    let mut waiting = Waiting::new(target);
    loop {
        let (journal, metrics) = (Arc::clone(&shared.journal), shared.metrics.clone());
        let mut recorder = match Recorder::resume(who.clone(), target.tracker.clone(), rev, journal, metrics).await {
            Ok(recorder) => recorder,
            Err(ResumeError::Unreadable(why)) => return Err(unfit(why)),
            Err(ResumeError::Away(cause)) => {
                waiting.pause(&cause).await;
                continue;
            }
        };
        if rev == 0 {
            return Ok(Held::From(Box::new(recorder)));
        }
        if recorder.is_removed() && recorder.after().seq > target.made_at {
            return Ok(Held::Removed);
        }
        match recorder.take_over().await {
            Ok(true) => return Ok(Held::From(Box::new(recorder))),
            Ok(false) => waiting.pause("it does not take that this replica polls the VM now").await,
            // What the one before it had under way came in between.
            Err(Fault::Superseded) => waiting.pause("another replica committed just now").await,
            Err(Fault::Unreadable(why)) => return Err(unfit(why)),
        }
    }
}

/// Waits for a journal that does not answer, longer each time.
struct Waiting<'t> {
    target: &'t Target,
    backoff: Backoff,
}

impl<'t> Waiting<'t> {
    fn new(target: &'t Target) -> Self {
        Self { target, backoff: Backoff::new(Duration::from_millis(200), MAX_PAUSE) }
    }

    async fn pause(&mut self, cause: &str) {
        let Target { vm, first_report, .. } = self.target;
        warn!(%vm, cause, "the journal does not say where to go on; trying again");
        first_report.not_ready(format!("the journal does not say where to go on: {cause}"));
        tokio::time::sleep(self.backoff.next(rand::random())).await;
    }
}

/// The VM's identity: that of its old name, if it has none of its own yet.
async fn identify(target: &Target, shared: &Shared) -> Result<VmId, JournalError> {
    if let Some(old) = &target.renamed_from
        && in_time(shared.journal.rename_vm(old, &target.vm)).await?
    {
        info!(vm = %target.vm, %old, "renamed: its runs go on under the new name");
    }
    in_time(shared.journal.vm_id(&target.vm)).await
}

/// Says why the VM is not polled, and what to do.
pub(super) fn refuse(vm: &VmName, gate: &Gate, why: &Unreadable) {
    error!(%vm, %why, "what the journal keeps of this VM cannot be read: it is not polled, and nothing is written for it");
    gate.not_ready(format!(
        "not polled: what the journal keeps of it cannot be read ({why}); start the gatewatch that wrote it, or give the \
         VM another name to begin anew"
    ));
}
