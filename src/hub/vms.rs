//! The VMs as the polling routes and the metrics see them.

use std::sync::Arc;

use tokio::time::Instant;

use super::Hub;
use crate::model::{LogTails, VmFacts, VmGrant, VmId, VmName, VmView};

/// One VM as the hub knows it.
#[derive(Clone, Debug)]
pub struct VmEntry {
    /// Its name.
    pub vm: VmName,
    /// Its identity.
    pub vm_id: VmId,
    /// What the configuration says of it.
    pub facts: Arc<VmFacts>,
    /// What the polls say; `None` before the first report.
    pub view: Option<Arc<VmView>>,
    /// The newest lines of its logs.
    pub logs: LogTails,
    /// The poll interval in force, seconds.
    pub interval: f64,
    /// No report came for three intervals, and for 15 s, or none since this process started.
    pub stale: bool,
}

impl Hub {
    /// The VMs that `grant` allows, by name.
    pub fn vms(&self, grant: &VmGrant) -> Vec<VmEntry> {
        let now = Instant::now();
        let state = self.state();
        let seen = state.vms().filter(|slot| grant.allows(&slot.vm));
        let mut entries: Vec<_> = seen
            .map(|slot| VmEntry {
                vm: slot.vm.clone(),
                vm_id: slot.vm_id.clone(),
                facts: Arc::clone(&slot.facts),
                view: slot.view.clone(),
                logs: slot.logs.clone(),
                interval: slot.interval,
                stale: slot.is_stale(now),
            })
            .collect();
        drop(state);
        entries.sort_by(|a, b| a.vm.cmp(&b.vm));
        entries
    }

    /// Marks every VM as stale until something is heard of it: for whoever knows that nobody is polled now.
    pub fn all_stale(&self) {
        let effects = self.state().all_stale(Instant::now());
        self.wake(&effects);
    }

    /// How many VMs are stale.
    pub fn stale_vms(&self) -> usize {
        let now = Instant::now();
        self.state().vms().filter(|slot| slot.is_stale(now)).count()
    }

    /// Whether `vm` is known and `grant` allows it.
    pub fn has_vm(&self, grant: &VmGrant, vm: &VmName) -> bool {
        grant.allows(vm) && self.state().vms().any(|slot| slot.vm == *vm)
    }
}
