//! VMs that were taken out of the configuration while no gateway ran, or whose removal the journal did not take then.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::time::timeout;
use tracing::{debug, info, warn};

use super::commits::Identity;
use super::poller::{REMOVAL_TIMEOUT, Shared};
use super::recorder::{Fault, Recorder, ResumeError, in_time};
use crate::journal::JournalError;
use crate::model::{LOCAL_VM, VmFacts, VmId, VmName};
use crate::tracker::TrackerConfig;

/// How long the lease of a VM that went is waited for: free, it is granted sooner.
const GRANTED_WITHIN: std::time::Duration = std::time::Duration::from_millis(1500);

/// Tells clients that each VM is removed which the journal knows as watched, and `kept` does not name.
///
/// `renames` are old names, each with the one that is to take its place: the old one is kept until then. A new name that
/// has an identity of its own never takes it.
///
/// `false`: the journal does not answer or take it now, and some are still to be told.
pub(super) async fn remove_missing(shared: &Shared, kept: &HashSet<VmName>, renames: &[(VmName, VmName)]) -> bool {
    let known = match in_time(shared.journal.vms()).await {
        Ok(known) => known,
        Err(error) => {
            warn!(%error, "the journal does not say which VMs it knows: none is told as removed yet");
            return false;
        }
    };
    let names: HashSet<VmName> = known.iter().map(|(vm, _)| vm.clone()).collect();
    let waiting: HashSet<&VmName> =
        renames.iter().filter(|(_, new)| !names.contains(new)).map(|(old, _)| old).collect();
    for (vm, vm_id) in known {
        // `local` is not polled, and has nothing that could be over.
        if kept.contains(&vm) || waiting.contains(&vm) || vm.as_str() == LOCAL_VM {
            continue;
        }
        if let Err(error) = remove(shared, &vm, vm_id).await {
            match error {
                JournalError::Superseded => {
                    debug!(%vm, "not told as removed yet: another replica polls it, with an older configuration");
                }
                error => warn!(%vm, %error, "the journal does not take that this VM is removed yet"),
            }
            return false;
        }
    }
    true
}

async fn remove(shared: &Shared, vm: &VmName, vm_id: VmId) -> Result<(), JournalError> {
    let who = Identity { vm: vm.clone(), vm_id, facts: Arc::new(VmFacts::default()) };
    let (journal, metrics) = (Arc::clone(&shared.journal), shared.metrics.clone());
    // With the logs that it had: if it comes back they are read on, not anew.
    let last = in_time(journal.last_commit(&who.vm_id)).await?;
    let sources = last.iter().flat_map(|last| &last.commit.cursors).map(|cursor| cursor.path.as_str().into()).collect();
    let config = TrackerConfig { sources, ..TrackerConfig::default() };
    let known = Recorder::known(who.clone(), config.clone(), Arc::clone(&journal), metrics.clone()).await;
    if known.is_ok_and(|known| known.restored_view().is_none()) {
        return Ok(());
    }
    // As long as somebody else polls it, it is not gone: that one has not read the configuration yet.
    let mut claim = shared.leases.claim(&who.vm_id);
    let Ok(lease) = timeout(GRANTED_WITHIN, claim.granted()).await else {
        return Err(JournalError::Superseded);
    };
    let mut recorder = match Recorder::resume(who, config, lease.rev, journal, metrics).await {
        Ok(recorder) => recorder,
        Err(ResumeError::Away(cause)) => return Err(JournalError::Store(cause)),
        Err(ResumeError::Unreadable(why)) => {
            warn!(%vm, %why, "no longer configured, and not told as removed: what the journal keeps of it cannot be read");
            return Ok(());
        }
    };
    if recorder.restored_view().is_none() {
        return Ok(());
    }
    match timeout(REMOVAL_TIMEOUT, recorder.remove()).await {
        Ok(Ok(())) => info!(%vm, "no longer watched: taken out of the configuration since the last start"),
        Ok(Err(Fault::Superseded)) => return Err(JournalError::Superseded),
        Ok(Err(Fault::Unreadable(why))) => {
            warn!(%vm, %why, "not told as removed: what the journal keeps of it cannot be read");
        }
        Err(_) => return Err(JournalError::Store("no answer in time".into())),
    }
    Ok(())
}
