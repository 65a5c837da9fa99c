//! VMs that were registered at any replica: every one watches the bucket, and has the same list.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream::kv::{CreateErrorKind, Store};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::followed::{Followed, Note};
use crate::journal::{Engine, EngineError};
use crate::model::{RegisteredVm, VmName};

/// How long a registration waits for the engine.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Names in the bucket that are remembered, also of VMs that were taken out: a few more than can be registered, as
/// replicas may register their last ones at the same time.
const MAX_NAMES: usize = 10_000;

/// Why a VM is not registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistrationFault {
    /// Another VM has the name.
    #[error("the name is taken")]
    NameTaken,
    /// The engine did not answer in time; whether it is registered the list will tell.
    #[error("NATS does not answer: {0}")]
    Away(String),
}

/// The registered VMs of the fleet. Clones share one state.
#[derive(Clone, Debug)]
pub struct Registrations {
    bucket: Store,
    known: watch::Sender<Known>,
}

/// Follows the bucket for [`Registrations`].
pub struct RegistrationsFollower {
    followed: Followed,
    known: watch::Sender<Known>,
}

/// What is known of the bucket. Pure.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// By name: the revision of the last note, and the VM if it is registered.
    names: BTreeMap<VmName, (u64, Option<RegisteredVm>)>,
}

impl Known {
    /// The registered VMs, by name.
    pub fn vms(&self) -> Vec<RegisteredVm> {
        self.names.values().filter_map(|(_, vm)| vm.clone()).collect()
    }

    /// Takes `notes`; whether the list is another one by them. Older ones than are known make no difference.
    fn take(&mut self, notes: Vec<Note>) -> bool {
        let mut changed = false;
        for note in notes {
            let Ok(name) = VmName::new(&note.key) else {
                tracing::error!(key = %note.key.escape_debug(), "what is registered there is no VM: it is not watched");
                continue;
            };
            changed |= self.set(name, note.revision, note.value.as_deref());
        }
        changed
    }

    /// Takes what was just registered at `revision`; whether the list is another one by it.
    fn put(&mut self, vm: &RegisteredVm, revision: u64) -> bool {
        let known = self.names.get(&vm.name);
        if known.is_some_and(|(known, _)| *known >= revision) {
            return false;
        }
        self.names.insert(vm.name.clone(), (revision, Some(vm.clone())));
        true
    }

    fn set(&mut self, name: VmName, revision: u64, value: Option<&[u8]>) -> bool {
        let before = self.names.get(&name);
        if before.is_some_and(|(known, _)| *known >= revision) {
            return false;
        }
        if before.is_none() && self.names.len() >= MAX_NAMES {
            tracing::error!(vm = %name, most = MAX_NAMES, "too many names are registered: this VM is not watched");
            return false;
        }
        let vm = value.and_then(|value| match serde_json::from_slice::<RegisteredVm>(value) {
            Ok(vm) if vm.name == name => Some(vm),
            Ok(_) => {
                tracing::error!(vm = %name, "what is registered under this name has another one: it is not watched");
                None
            }
            Err(error) => {
                tracing::error!(vm = %name, %error, "what is registered is not understood: it is not watched");
                None
            }
        });
        let changed = before.and_then(|(_, vm)| vm.as_ref()) != vm.as_ref();
        self.names.insert(name, (revision, vm));
        changed
    }
}

impl Registrations {
    /// Those of the fleet of `engine`, with all that are registered by now, and what follows them.
    ///
    /// # Errors
    /// If they cannot be read.
    pub async fn open(engine: &Engine) -> Result<(Self, RegistrationsFollower), EngineError> {
        let known = watch::Sender::new(Known::default());
        let take = |notes| {
            known.send_if_modified(|known| known.take(notes));
        };
        // Zero: an entry stays.
        let bucket = engine.bucket("vms", Duration::ZERO).await?;
        let followed = Followed::new(engine, bucket, take).await?;
        let this = Self { bucket: followed.bucket().clone(), known: known.clone() };
        Ok((this, RegistrationsFollower { followed, known }))
    }

    /// What is registered, and what changes.
    pub fn list(&self) -> watch::Receiver<Known> {
        self.known.subscribe()
    }

    /// Registers `vm`: of all who try a name one gets it. The list has it when this is done.
    ///
    /// # Errors
    /// If the name is taken, or the engine does not answer.
    pub async fn register(&self, vm: &RegisteredVm) -> Result<(), RegistrationFault> {
        let value = serde_json::to_vec(vm).map_err(|error| RegistrationFault::Away(error.to_string()))?;
        let creating = self.bucket.create(vm.name.as_str(), value.into());
        match timeout(ANSWER_WITHIN, creating).await {
            Ok(Ok(revision)) => {
                self.known.send_if_modified(|known| known.put(vm, revision));
                Ok(())
            }
            Ok(Err(error)) if error.kind() == CreateErrorKind::AlreadyExists => Err(RegistrationFault::NameTaken),
            Ok(Err(error)) => Err(RegistrationFault::Away(error.to_string())),
            Err(_) => Err(RegistrationFault::Away("no answer in time".to_owned())),
        }
    }

    /// Takes `vm` out again, if it is still what was registered last under its name.
    ///
    /// # Errors
    /// If the engine does not answer.
    pub async fn take_back(&self, vm: &RegisteredVm) -> Result<(), RegistrationFault> {
        let known = self.known.borrow().names.get(&vm.name).cloned();
        let Some((revision, Some(_))) = known.filter(|(_, known)| known.as_ref() == Some(vm)) else { return Ok(()) };
        let deleting = self.bucket.delete_expect_revision(vm.name.as_str(), Some(revision));
        let deleted = timeout(ANSWER_WITHIN, deleting).await;
        let deleted = deleted.map_err(|_| RegistrationFault::Away("no answer in time".to_owned()))?;
        deleted.map_err(|error| RegistrationFault::Away(error.to_string()))
    }
}

impl RegistrationsFollower {
    /// Follows until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        while let Some(notes) = stop.run_until_cancelled(self.followed.next()).await {
            self.known.send_if_modified(|known| known.take(notes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Known, Note};

    fn note(key: &str, revision: u64, value: Option<&str>) -> Note {
        Note { key: key.to_owned(), value: value.map(|value| value.to_owned().into()), revision }
    }

    #[test]
    fn the_list_is_what_the_last_note_of_each_name_says() {
        const A: &str = r#"{"name":"a","ssh_host":"192.0.2.1"}"#;
        const OTHER: &str = r#"{"name":"a","ssh_host":"192.0.2.2"}"#;
        let mut known = Known::default();
        for (what, notes, changes, hosts) in [
            ("nothing", vec![], false, &[][..]),
            ("a VM", vec![note("a", 3, Some(A))], true, &["192.0.2.1"]),
            ("the same again, as after a break", vec![note("a", 3, Some(A))], false, &["192.0.2.1"]),
            ("an older word", vec![note("a", 2, None)], false, &["192.0.2.1"]),
            ("other names", vec![note("A b", 4, Some(A)), note("b", 5, Some(A))], false, &["192.0.2.1"]),
            ("no JSON", vec![note("c", 6, Some("x"))], false, &["192.0.2.1"]),
            ("another VM by this name", vec![note("a", 7, None), note("a", 8, Some(OTHER))], true, &["192.0.2.2"]),
            ("taken out", vec![note("a", 9, None)], true, &[]),
        ] {
            assert_eq!(known.take(notes), changes, "{what}");
            let found: Vec<String> = known.vms().into_iter().map(|vm| vm.ssh_host).collect();
            assert_eq!(found, hosts, "{what}");
        }
    }
}
