//! Where registrations are kept: in a file, or where all replicas of the fleet see them.

use tokio::sync::watch;
use tracing::error;

use crate::api::RegisterError;
use crate::fleet::RegisteredFile;
use crate::model::RegisteredVm;
use crate::replicas::{Known, RegistrationFault, Registrations};

/// Where registrations are kept.
pub(super) enum Registry {
    /// In the data folder of a gateway that is alone.
    File(RegisteredFile),
    /// With the fleet.
    Shared(Box<Registrations>),
}

impl Registry {
    /// What all replicas register, if that is not only what is kept here.
    pub(super) fn shared(&self) -> Option<watch::Receiver<Known>> {
        match self {
            Self::File(_) => None,
            Self::Shared(registrations) => Some(registrations.list()),
        }
    }

    /// Keeps `vm`, the last of `all`.
    pub(super) async fn keep(&self, vm: &RegisteredVm, all: &[RegisteredVm]) -> Result<(), RegisterError> {
        match self {
            Self::File(file) => store(file, all).await,
            Self::Shared(registrations) => registrations.register(vm).await.map_err(refusal),
        }
    }

    /// Takes `vm` back, so that `all` is left.
    pub(super) async fn take_back(&self, vm: &RegisteredVm, all: &[RegisteredVm]) -> Result<(), RegisterError> {
        match self {
            Self::File(file) => store(file, all).await,
            Self::Shared(registrations) => registrations.take_back(vm).await.map_err(refusal),
        }
    }
}

fn refusal(fault: RegistrationFault) -> RegisterError {
    match fault {
        RegistrationFault::NameTaken => RegisterError::NameTaken,
        RegistrationFault::Away(why) => {
            error!(%why, "whether the registration is kept is not known");
            RegisterError::Unavailable(
                "it is not known whether the registration is kept; look whether the VM is listed".to_owned(),
            )
        }
    }
}

/// Writes `all` to the file.
async fn store(file: &RegisteredFile, all: &[RegisteredVm]) -> Result<(), RegisterError> {
    let (file, all) = (file.clone(), all.to_vec());
    let stored = tokio::task::spawn_blocking(move || file.store(&all)).await;
    stored.map_err(|error| RegisterError::Unavailable(error.to_string()))?.map_err(|error| {
        error!(%error, "the registrations cannot be kept");
        RegisterError::Unavailable("the registration cannot be kept now".to_owned())
    })
}
