//! One task per VM joins probe, tracker, event and journal: it asks, tracks, commits and tells the live bus.
//!
//! The only room that sees both ends of the flow's first half. The watchers' wish for an interval comes in through a
//! channel. May import `model`, `config`, `telemetry`, `lifecycle`, `probe`, `tracker`, `event`, `journal`.

mod commits;
mod files;
mod poller;
mod registered;
mod schedule;

pub use commits::Identity;
pub use files::{FilesContent, FilesWatch, watch_files};
pub use poller::Shared;
pub use registered::{MAX_REGISTERED, RegisteredError, RegisteredFile};

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::commits::difference;
use self::poller::{Ending, Target};
use crate::config::VmConfig;
use crate::journal::JournalError;
use crate::lifecycle::{Readiness, Tasks};
use crate::model::VmName;
use crate::probe;
use crate::tracker::TrackerConfig;

/// The most VMs that one process watches.
pub const MAX_VMS: usize = 10_000;

/// Every VM's poller.
pub struct Fleet {
    shared: Shared,
    tasks: Tasks,
    readiness: Readiness,
    runtime_dir: PathBuf,
    pollers: HashMap<VmName, Watched>,
    stop: CancellationToken,
}

struct Watched {
    config: VmConfig,
    ending: watch::Sender<Ending>,
    stop: CancellationToken,
    /// Resolves when the poller is over, in whatever way.
    over: oneshot::Receiver<()>,
}

/// Why a VM is not watched.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// The name is taken.
    #[error("a VM named {0} is watched already")]
    Exists(VmName),
    /// There are [`MAX_VMS`] already.
    #[error("{MAX_VMS} VMs are watched already")]
    Full,
    /// The journal gave no identity.
    #[error("the journal gave no identity: {0}")]
    Journal(#[from] JournalError),
    /// The probe could not be made.
    #[error("the probe cannot be made: {0}")]
    Probe(#[from] probe::BuildError),
}

impl Fleet {
    /// A fleet without VMs. Control sockets and ssh's own files go below `runtime_dir`, which must be private.
    pub fn new(shared: Shared, tasks: Tasks, readiness: Readiness, runtime_dir: PathBuf) -> Self {
        Self { shared, tasks, readiness, runtime_dir, pollers: HashMap::new(), stop: CancellationToken::new() }
    }

    /// The names of the VMs that are watched.
    pub fn names(&self) -> impl Iterator<Item = &VmName> {
        self.pollers.keys()
    }

    /// Begins to watch `config`'s VM.
    pub async fn add(&mut self, config: VmConfig) -> Result<(), FleetError> {
        if self.pollers.contains_key(&config.name) {
            return Err(FleetError::Exists(config.name));
        }
        if self.pollers.len() >= MAX_VMS {
            return Err(FleetError::Full);
        }
        let vm_id = self.shared.journal.vm_id(&config.name).await?;
        let who = Identity { vm: config.name.clone(), vm_id, facts: Arc::new(config.facts()) };
        let tracker = TrackerConfig {
            total_tasks: config.total_tasks,
            sources: config.benchmark_log.iter().map(|path| path.as_str().into()).collect(),
            has_power: config.power.is_some(),
        };
        let probe = probe::Probe::build(&config, &self.runtime_dir)?;
        let first_report = self.readiness.gate(format!("vm {}", config.name), "no report yet");
        let target = Target { who, tracker, probe, first_report };
        let stop = self.stop.child_token();
        let (ending, ends) = watch::channel(Ending::Stop);
        let name = poller::task_name(&config.name);
        let (done, over) = oneshot::channel();
        let work = poller::run(target, self.shared.clone(), stop.clone(), ends);
        self.tasks.spawn(name, async move {
            work.await;
            // The one who waits may have given up at its deadline.
            let _ = done.send(());
        });
        info!(vm = %config.name, "watching");
        self.pollers.insert(config.name.clone(), Watched { config, ending, stop, over });
        Ok(())
    }

    /// Stops watching `vm` and tells its clients that it is removed. Unknown names are ignored.
    pub async fn remove(&mut self, vm: &VmName) {
        self.end(vm, Ending::Removed).await;
    }

    /// Makes the watched VMs those of `wanted`, and says which could not be.
    pub async fn replace(&mut self, wanted: Vec<VmConfig>) -> Vec<(VmName, FleetError)> {
        let old = self.pollers.iter().map(|(vm, watched)| (vm.clone(), watched.config.clone())).collect();
        let found = difference(&old, wanted.into_iter().map(|config| (config.name.clone(), config)));
        for vm in &found.removed {
            self.end(vm, Ending::Removed).await;
        }
        for vm in &found.changed {
            self.end(vm, Ending::Stop).await;
        }
        let mut failed = Vec::new();
        for config in found.begin {
            let vm = config.name.clone();
            if let Err(error) = self.add(config).await {
                warn!(%vm, %error, "not watched");
                failed.push((vm, error));
            }
        }
        failed
    }

    /// Stops every poller and closes every connection; the caller bounds the time.
    pub async fn stop(&mut self) {
        self.stop.cancel();
        for (_, watched) in self.pollers.drain() {
            let _ = watched.over.await;
        }
    }

    async fn end(&mut self, vm: &VmName, ending: Ending) {
        if let Some(watched) = self.pollers.remove(vm) {
            watched.ending.send_replace(ending);
            watched.stop.cancel();
            // An error means that the poller panicked: it is over as well, and its gate has said so.
            let _ = watched.over.await;
        }
    }
}
