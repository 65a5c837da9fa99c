//! How a poller begins: who its VM is, and where the journal says to go on.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tracing::{error, info, warn};

use super::commits::Identity;
use super::poller::Shared;
use super::recorder::{MAX_PAUSE, Recorder, ResumeError, Unreadable, in_time};
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
    pub(super) announced: oneshot::Sender<()>,
}

/// A VM that is not polled: what the journal keeps of it is for another program.
#[derive(Debug)]
pub(super) struct Unfit {
    /// Who it is, if that could be read.
    pub(super) who: Option<Identity>,
    pub(super) why: Unreadable,
}

/// Finds out who the VM is and goes on where its last commit stopped; asks until the journal answers. Safe to cancel.
pub(super) async fn begin(target: &Target, shared: &Shared) -> Result<Recorder, Unfit> {
    let mut backoff = Backoff::new(Duration::from_millis(200), MAX_PAUSE);
    loop {
        let cause = match identify(target, shared).await {
            Ok(vm_id) => {
                let who = Identity { vm: target.vm.clone(), vm_id, facts: Arc::clone(&target.facts) };
                let (journal, metrics) = (Arc::clone(&shared.journal), shared.metrics.clone());
                match Recorder::resume(who.clone(), target.tracker.clone(), journal, metrics).await {
                    Ok(recorder) => return Ok(recorder),
                    Err(ResumeError::Unreadable(why)) => return Err(Unfit { who: Some(who), why }),
                    Err(ResumeError::Away(cause)) => cause,
                }
            }
            Err(JournalError::Store(cause)) => cause,
            Err(error) => return Err(Unfit { who: None, why: Unreadable::Record(error) }),
        };
        warn!(vm = %target.vm, %cause, "the journal does not say where to go on; trying again");
        target.first_report.not_ready(format!("the journal does not say where to go on: {cause}"));
        tokio::time::sleep(backoff.next(rand::random())).await;
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
