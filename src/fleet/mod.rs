//! One task per VM joins probe, tracker, event and journal: it asks, tracks, commits and tells the live bus.
//!
//! The only room that sees both ends of the flow's first half. The watchers' wish for an interval comes in through a
//! channel. May import `model`, `config`, `telemetry`, `lifecycle`, `probe`, `tracker`, `event`, `journal`, `replicas`.

mod begin;
mod checkpoint;
mod commits;
mod files;
mod missing;
mod poller;
mod pulse;
mod recorder;
mod registered;
mod schedule;

#[cfg(test)]
mod tests;

pub use files::{FilesContent, FilesWatch, watch_files};
pub use poller::Shared;
pub use pulse::{Polling, Pulse, keep_polls_gate, polls_stale_after};
pub use registered::{MAX_REGISTERED, RegisteredError, RegisteredFile};

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::begin::Target;
use self::commits::{Difference, difference};
use self::poller::Ending;
use self::recorder::in_time;
use crate::config::VmConfig;
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
    /// Resolves when the VM is announced, or its poller is over; taken by the one who waits for it.
    announced: Option<oneshot::Receiver<()>>,
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

    /// Begins to watch `config`'s VM. It goes on by itself until the journal says who the VM is and where its last poll
    /// stopped; [`Fleet::announced`] tells when.
    ///
    /// # Errors
    /// If the name is taken, there are too many, or the probe cannot be made.
    pub fn add(&mut self, config: VmConfig) -> Result<(), FleetError> {
        if self.pollers.contains_key(&config.name) {
            return Err(FleetError::Exists(config.name));
        }
        if self.pollers.len() >= MAX_VMS {
            return Err(FleetError::Full);
        }
        let probe = probe::Probe::build(&config, &self.runtime_dir)?;
        let (told, announced) = oneshot::channel();
        let target = Target {
            vm: config.name.clone(),
            renamed_from: config.renamed_from.clone(),
            facts: Arc::new(config.facts()),
            tracker: TrackerConfig {
                total_tasks: config.total_tasks,
                sources: config.benchmark_log.iter().map(|path| path.as_str().into()).collect(),
                has_power: config.power.is_some(),
            },
            first_report: self.readiness.gate(format!("vm {}", config.name), "no report yet"),
            announced: Some(told),
            made_at: self.shared.journal.bounds().announced,
        };
        let stop = self.stop.child_token();
        let (ending, ends) = watch::channel(Ending::Stop);
        let name = poller::task_name(&config.name);
        let (done, over) = oneshot::channel();
        let work = poller::run(target, probe, self.shared.clone(), stop.clone(), ends);
        self.tasks.spawn(name, async move {
            work.await;
            // The one who waits may have given up at its deadline.
            let _ = done.send(());
        });
        info!(vm = %config.name, "watching");
        let announced = Some(announced);
        self.pollers.insert(config.name.clone(), Watched { config, ending, stop, announced, over });
        Ok(())
    }

    /// Waits until every VM that was added so far is announced: from then on the hub knows of it what the journal kept.
    /// Who asks again waits for those alone that were added since. There is no deadline.
    pub fn announced(&mut self) -> impl Future<Output = ()> + Send + 'static {
        let waits: Vec<_> = self.pollers.values_mut().filter_map(|watched| watched.announced.take()).collect();
        async move {
            for announced in waits {
                // An error means that its poller is over: nothing of it will be announced.
                let _ = announced.await;
            }
        }
    }

    /// Stops watching `vm` and tells its clients that it is removed. Unknown names are ignored.
    pub async fn remove(&mut self, vm: &VmName) {
        self.end([(vm, Ending::Removed)]).await;
    }

    /// Makes the watched VMs those of `wanted`, and says which could not be.
    pub async fn replace(&mut self, mut wanted: Vec<VmConfig>) -> Vec<(VmName, FleetError)> {
        let names: HashSet<VmName> = wanted.iter().map(|config| config.name.clone()).collect();
        for config in &mut wanted {
            if let Some(old) = config.renamed_from.take_if(|old| names.contains(old)) {
                warn!(vm = %config.name, %old, "not renamed: another VM is watched under the old name");
            }
        }
        let old = self.pollers.iter().map(|(vm, watched)| (vm.clone(), watched.config.clone())).collect();
        let found = difference(&old, wanted.into_iter().map(|config| (config.name.clone(), config)));
        let renamed = self.renamed(&found).await;
        let silent = found.changed.iter().chain(&renamed).map(|vm| (vm, Ending::Stop));
        let told = found.removed.iter().filter(|vm| !renamed.contains(vm)).map(|vm| (vm, Ending::Removed));
        self.end(silent.chain(told)).await;
        let mut failed = Vec::new();
        for config in found.begin {
            let vm = config.name.clone();
            if let Err(error) = self.add(config) {
                warn!(%vm, %error, "not watched");
                failed.push((vm, error));
            }
        }
        failed
    }

    /// Tells clients that the VMs are removed that the journal knows as watched, and that neither are watched nor are in
    /// `kept`: those that went while no gateway ran. Under its old name the journal may still know one that is about to be
    /// renamed: `renames` are such names, old and new, of VMs that could not be watched.
    ///
    /// `false`: the journal does not take it now; to be asked again.
    pub async fn remove_missing(&self, mut kept: HashSet<VmName>, mut renames: Vec<(VmName, VmName)>) -> bool {
        for (vm, watched) in &self.pollers {
            renames.extend(watched.config.renamed_from.clone().map(|old| (old, vm.clone())));
            kept.insert(vm.clone());
        }
        missing::remove_missing(&self.shared, &kept, &renames).await
    }

    /// Stops every poller and closes every connection; the caller bounds the time.
    pub async fn stop(&mut self) {
        self.stop.cancel();
        for (_, watched) in self.pollers.drain() {
            let _ = watched.over.await;
        }
    }

    /// Those of the VMs that go which come back under another name: their identity has it from here on.
    async fn renamed(&self, found: &Difference<VmConfig>) -> Vec<VmName> {
        let (mut renamed, mut answers) = (Vec::new(), true);
        for config in &found.begin {
            let Some(old) = config.renamed_from.as_ref().filter(|old| found.removed.contains(old)) else { continue };
            if !answers {
                renamed.push(old.clone());
                continue;
            }
            match in_time(self.shared.journal.rename_vm(old, &config.name)).await {
                Ok(true) => info!(vm = %config.name, %old, "renamed: its runs go on under the new name"),
                Ok(false) => {
                    warn!(vm = %config.name, %old, "not renamed: the new name is known already; the old one is removed");
                    continue;
                }
                // Its poller asks again; told as removed its runs would be over.
                Err(error) => {
                    warn!(vm = %config.name, %old, %error, "not renamed yet");
                    answers = false;
                }
            }
            renamed.push(old.clone());
        }
        renamed
    }

    /// Ends pollers, all at once; unknown names are ignored.
    async fn end<'a>(&mut self, endings: impl IntoIterator<Item = (&'a VmName, Ending)>) {
        let mut ended = Vec::new();
        for (vm, ending) in endings {
            if let Some(watched) = self.pollers.remove(vm) {
                watched.ending.send_replace(ending);
                watched.stop.cancel();
                ended.push(watched.over);
            }
        }
        for over in ended {
            // An error means that the poller panicked: it is over as well, and its gate has said so.
            let _ = over.await;
        }
    }
}
