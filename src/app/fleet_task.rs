//! The one task that owns the fleet: it takes registrations, reloads and the stop, one after the other.

use std::collections::HashSet;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};

use super::registry::Registry;
use crate::api::{RegisterError, RegisterVm};
use crate::config::{Register, VmConfig};
use crate::fleet::{Fleet, MAX_REGISTERED, RegisteredError};
use crate::model::{LOCAL_VM, RegisteredVm, VmName};
use crate::replicas::Known;

/// How long the answer to a registration waits for the journal, so that whoever got it can ask for the VM.
const ANNOUNCED_WITHIN: Duration = Duration::from_secs(2);

/// What the fleet's owner is told from within the process.
pub(super) enum FleetCommand {
    /// The configuration was read anew.
    Replace {
        /// Its VMs.
        vms: Vec<VmConfig>,
        /// Its rules for registered ones.
        register: Box<Register>,
    },
    /// The process stops.
    Stop {
        /// Told when every connection is closed.
        done: oneshot::Sender<()>,
    },
}

/// The fleet and what stands behind it.
pub(super) struct FleetOwner {
    pub(super) fleet: Fleet,
    pub(super) configured: Vec<VmConfig>,
    pub(super) registered: Vec<RegisteredVm>,
    pub(super) rules: Register,
    pub(super) registry: Registry,
    /// VMs that went while no gateway ran are still to be told as removed, at this time.
    pub(super) missing_at: Option<Instant>,
}

/// How long the journal is left alone that does not take what is to be told.
const MISSING_AGAIN: Duration = Duration::from_secs(5);

impl FleetOwner {
    /// Serves commands until the stop.
    pub(super) async fn run(
        mut self,
        mut registrations: mpsc::Receiver<RegisterVm>,
        mut commands: mpsc::Receiver<FleetCommand>,
    ) {
        let mut shared = self.registry.shared();
        loop {
            let missing_at = self.missing_at;
            tokio::select! {
                () = sleep_until(missing_at.unwrap_or_else(Instant::now)), if missing_at.is_some() => {
                    self.remove_missing().await;
                }
                command = commands.recv() => match command {
                    Some(FleetCommand::Replace { vms, register }) => {
                        self.configured = vms;
                        self.rules = *register;
                        self.watch_all().await;
                    }
                    Some(FleetCommand::Stop { done }) => {
                        self.fleet.stop().await;
                        // The one who waits may have given up at its deadline.
                        let _ = done.send(());
                        return;
                    }
                    None => return self.fleet.stop().await,
                },
                list = changed(&mut shared) => {
                    self.registered = list;
                    self.watch_all().await;
                }
                // Without the API nobody registers any more; commands go on.
                Some(RegisterVm { vm, reply }) = registrations.recv() => {
                    let _ = reply.send(self.register(vm).await);
                }
            }
        }
    }

    /// Makes the fleet what configuration and registrations say; the configuration wins a name.
    pub(super) async fn watch_all(&mut self) {
        let mut wanted = self.configured.clone();
        let names: HashSet<&VmName> = self.configured.iter().map(|vm| &vm.name).collect();
        for vm in &self.registered {
            if names.contains(&vm.name) {
                warn!(vm = %vm.name, "registered and configured: the configuration holds");
                continue;
            }
            match VmConfig::from_registered(vm, &self.rules) {
                Ok(config) => wanted.push(config),
                Err(issues) => {
                    let issues: Vec<String> = issues.iter().map(ToString::to_string).collect();
                    error!(vm = %vm.name, mistakes = %issues.join("; "), "a registered VM is not watched");
                }
            }
        }
        for (vm, error) in self.fleet.replace(wanted).await {
            error!(%vm, %error, "not watched");
        }
        self.remove_missing().await;
    }

    /// Tells as removed what went while no gateway ran. What is wanted and cannot be watched now is not gone.
    async fn remove_missing(&mut self) {
        let wanted = self.configured.iter().map(|vm| &vm.name).chain(self.registered.iter().map(|vm| &vm.name));
        let kept = wanted.cloned().collect();
        let renames =
            self.configured.iter().filter_map(|vm| Some((vm.renamed_from.clone()?, vm.name.clone()))).collect();
        let done = self.fleet.remove_missing(kept, renames).await;
        self.missing_at = (!done).then(|| Instant::now() + MISSING_AGAIN);
    }

    async fn register(&mut self, mut vm: RegisteredVm) -> Result<RegisteredVm, RegisterError> {
        if !self.rules.enabled {
            return Err(RegisterError::Invalid("registration is off in this configuration".to_owned()));
        }
        // `local` stands for the files of `[files]`, whether or not they are configured now.
        let registered = self.registered.iter().any(|known| known.name == vm.name);
        let was = self.configured.iter().any(|known| known.renamed_from.as_ref() == Some(&vm.name));
        if registered || was || vm.name.as_str() == LOCAL_VM || self.fleet.names().any(|name| *name == vm.name) {
            return Err(RegisterError::NameTaken);
        }
        let config = VmConfig::from_registered(&vm, &self.rules).map_err(|issues| {
            let issues: Vec<String> = issues.iter().map(ToString::to_string).collect();
            RegisterError::Invalid(issues.join("; "))
        })?;
        if vm.ssh_user.is_empty() {
            vm.ssh_user = self.rules.user.to_string();
        }
        if self.registered.len() >= MAX_REGISTERED {
            return Err(RegisterError::Invalid(RegisteredError::Full.to_string()));
        }
        let before = self.registered.clone();
        self.registered.push(vm.clone());
        // Kept first: a VM that is watched but forgotten by a restart would be a lie to the caller.
        if let Err(refusal) = self.registry.keep(&vm, &self.registered).await {
            self.registered = before;
            return Err(refusal);
        }
        if let Err(error) = self.fleet.add(config) {
            error!(vm = %vm.name, %error, "registered, but not watched: the registration is taken back");
            self.registered = before;
            self.registry.take_back(&vm, &self.registered).await?;
            return Err(RegisterError::Unavailable(error.to_string()));
        }
        if timeout(ANNOUNCED_WITHIN, self.fleet.announced()).await.is_err() {
            warn!(vm = %vm.name, "registered, and watched once the journal answers");
        }
        info!(vm = %vm.name, host = %vm.ssh_host, "registered");
        Ok(vm)
    }
}

/// Waits until replicas register other VMs than they did. Safe to cancel.
async fn changed(shared: &mut Option<watch::Receiver<Known>>) -> Vec<RegisteredVm> {
    if let Some(list) = shared
        && list.changed().await.is_ok()
    {
        return list.borrow_and_update().vms();
    }
    std::future::pending().await
}
