//! The composition root: the only room that sees every other. It builds (and may fail), then runs (and may not).
//!
//! Build order is the flow's; stop order is refuse, end streams, stop polls, close connections, report.

mod aligned;
mod away;
mod build;
mod demo;
mod fleet_task;
#[cfg(test)]
mod health_tests;
mod journal;
mod key_commands;
mod keys;
mod local_files;
mod locked_file;
mod looks;
mod once;
#[cfg(test)]
mod panic_tests;
mod registry;
mod reload;
mod routes;
mod run;
mod runs;
mod session;
mod shared;
mod together;
mod traces;
mod up;
mod vitals;
mod watch;

pub use aligned::aligned;
pub use build::StartError;
pub use demo::{Demo, DemoOptions, prepare_demo};
pub use journal::JournalOpenError;
pub use key_commands::{KeyRow, finish_rotation, list_keys, new_key, revoke_key, rotate_key};
pub use keys::KeyState;
pub use once::{
    health_address, healthcheck, import_journal, make_dev_certificate, missing_parts, probe_once, warnings,
};
pub use run::RunError;
pub use runs::{RunsError, RunsFormat, RunsWanted, open_history, print_runs};

pub use crate::api::history::ExportFormat;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::fleet_task::FleetCommand;
use self::journal::OpenJournal;
use self::reload::Reloads;
use crate::api::{LastReload, RevokeKey};
use crate::config::{Config, LogConfig};
use crate::edge::EdgeState;
use crate::hub::Hub;
use crate::lifecycle::{Readiness, ServiceManager, SignalFeed, Signals, Tasks, Turns};
use crate::model::Secret;
use crate::server::{AdminThread, ConnectionCaps, ServerHandle, TlsSettings};
use crate::telemetry::{LogFormat, ProcessMetrics, logs};

/// What an app is built from.
pub struct Settings {
    /// The configuration.
    pub config: Config,
    /// Where it came from: SIGHUP, or a change of it, has it read again.
    pub config_path: Option<PathBuf>,
    /// A code that signs a browser in as the administrator, any number of times; for `demo`.
    pub login_code: Option<Secret>,
    /// Whose signals stop and reload it; `None`: the process's.
    pub signals: Option<Signals>,
    /// How long a stop goes on as if nothing were, except that readiness says 503: load balancers need that long to send
    /// their requests elsewhere (G64). Zero where nobody checks readiness.
    pub drain_delay: Duration,
    /// Whom to tell how the process lives; `None`: nobody.
    pub manager: Option<ServiceManager>,
}

/// For load balancers that check every second and believe the second failure.
const DRAIN_DELAY: Duration = Duration::from_secs(3);

impl Settings {
    /// Settings that run `config` as the process's own.
    pub fn new(config: Config, config_path: Option<PathBuf>) -> Self {
        Self { config, config_path, login_code: None, signals: None, drain_delay: DRAIN_DELAY, manager: None }
    }
}

/// A gateway whose sockets are bound and whose tasks are about to run.
pub struct App {
    config: Config,
    config_path: Option<PathBuf>,
    reloads: Reloads,
    /// Keys to be revoked.
    revocations: mpsc::Receiver<RevokeKey>,
    /// How the last reload went.
    last_reload: tokio::sync::watch::Sender<Option<LastReload>>,
    edge: EdgeState,
    tls: Option<TlsSettings>,
    caps: ConnectionCaps,
    process: ProcessMetrics,
    ca: Option<PathBuf>,
    address: SocketAddr,
    admin: Option<AdminThread>,
    admin_stop: CancellationToken,
    hub: Arc<Hub>,
    journal: OpenJournal,
    fleet: mpsc::Sender<FleetCommand>,
    tasks: Tasks,
    readiness: Readiness,
    server: ServerHandle,
    /// Ends what works until the last request and poll are over.
    work_stop: CancellationToken,
    /// Tells the other replicas that this one is about to stop.
    leaving: CancellationToken,
    /// Told by when the last spans must be sent.
    traces_stop: tokio::sync::watch::Sender<Option<Instant>>,
    signals: Signals,
    drain_delay: Duration,
    turns: Turns,
}

impl App {
    /// The URL at which clients connect.
    ///
    /// An address that stands for every one of this machine is named `localhost`, as the development certificate is.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        match self.address {
            any if any.ip().is_unspecified() => format!("{scheme}://localhost:{}", any.port()),
            address => format!("{scheme}://{address}"),
        }
    }

    /// The URL of the administration listener, if there is one.
    pub fn admin_url(&self) -> Option<String> {
        self.admin.as_ref().map(|admin| format!("http://{}", admin.local_addr()))
    }

    /// The CA of a development certificate.
    pub fn ca(&self) -> Option<&Path> {
        self.ca.as_deref()
    }
}

/// A feed of signals for tests, and the end that an app listens to.
pub fn fed_signals() -> (SignalFeed, Signals) {
    Signals::fed()
}

/// The service manager that the environment of this process tells of, if there is one.
///
/// # Errors
/// One readable line, if the environment tells of one that cannot be.
pub fn service_manager() -> Result<Option<ServiceManager>, String> {
    ServiceManager::from_variables(|name| std::env::var_os(name)).map_err(|error| error.to_string())
}

/// Starts logging as the configuration says.
///
/// # Errors
/// One readable line.
pub fn init_logs(config: &LogConfig) -> Result<(), String> {
    let format = match config.format {
        crate::config::LogFormat::Text => LogFormat::Text,
        crate::config::LogFormat::Json => LogFormat::Json,
    };
    // Who came in and who may is told at every level. What happens to the connection to NATS is told by who holds it.
    let level = format!("{},gatewatch::audit=info,async_nats=off", config.level.as_str());
    logs::init(format, &level).map_err(|error| error.to_string())
}
