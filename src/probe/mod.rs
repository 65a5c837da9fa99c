//! The probe: one poll of one VM, from the request to the typed report.
//!
//! A poll is one script ([`script`]) over one kept connection ([`transport`]); its reply is read strictly ([`reply`]) into
//! an observation, and its logs by the log reader ([`log`]) from where the last poll stopped. [`Probe`] joins these and
//! asks the power source ([`power`]) about a VM that does not answer. Imports `model`, `config` and `telemetry` only.

pub mod boot;
mod build;
mod describe;
mod family;
pub mod log;
mod poller;
pub mod power;
pub mod reply;
pub mod scenario;
pub mod script;
pub mod transport;

pub use build::BuildError;
pub use describe::describe;
pub use poller::{DEFAULT_PROCESS_PATTERN, LogSource, Probe, ProbeConfig};
pub use power::PowerSource;
pub use reply::ReplyWriter;
pub use script::{Nonce, PollRequest, Script};
pub use transport::{Transport, runtime_dir};
