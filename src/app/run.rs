//! From ready to exit: signals, reload, the staged stop.

use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;
use tracing::{error, info, warn};

use super::App;
use super::build::min_tls;
use super::fleet_task::FleetCommand;
use crate::config::{Access, Config, ProcessEnv, TlsMode};
use crate::lifecycle::{Shutdown, Signal, Signals};
use crate::model::Timestamp;
use crate::telemetry::ReloadOutcome;

/// The one deadline of a stop.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// Within which streams are ended, one after the other, so that their clients do not come back all at once.
const DRAIN_WINDOW: Duration = Duration::from_secs(3);

/// How long requests that are no streams get to finish once nothing new is accepted.
const REQUESTS_WITHIN: Duration = Duration::from_secs(2);

/// Why a run ended otherwise than in order.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A second signal came during the stop.
    #[error("stopped at once by a second signal")]
    Forced,
    /// The deadline passed with work left.
    #[error("stopped at the deadline; left over: {0}")]
    Left(String),
}

/// The sections that differ and that only a restart brings in force.
fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let changed = [
        ("server", old.server != new.server),
        ("admin", old.admin != new.admin),
        ("tls", old.tls != new.tls),
        ("auth", old.auth != new.auth),
        ("poll", old.poll != new.poll),
        ("log", old.log != new.log),
        ("files", old.files != new.files),
        ("data", old.data != new.data),
    ];
    changed.into_iter().filter_map(|(section, changed)| changed.then_some(section)).collect()
}

impl App {
    /// Serves until a signal says stop, then stops within its deadline.
    ///
    /// # Errors
    /// If the stop was not in order.
    pub async fn run(mut self) -> Result<(), RunError> {
        self.readiness.started();
        info!(url = %self.url(), admin = self.admin_url(), "serving");
        let mut signals = std::mem::replace(&mut self.signals, Signals::fed().1);
        while signals.next().await == Signal::Reload {
            self.reload().await;
        }
        tokio::select! {
            outcome = self.stop() => outcome,
            () = async { while signals.next().await != Signal::StopNow {} } => Err(RunError::Forced),
        }
    }

    /// Reads configuration, keys and certificate again. A bad file is refused whole and the old state stays.
    async fn reload(&mut self) {
        let Some(path) = self.config_path.clone() else {
            warn!("there is no configuration file to read again");
            return;
        };
        let outcome = match Config::load(Some(&path), &ProcessEnv) {
            Ok(new) => self.take_over(new).await,
            Err(errors) => {
                error!(config = %path.display(), mistakes = %errors, "the new configuration is refused; the old one stays");
                ReloadOutcome::Refused
            }
        };
        self.process.reloads.of(outcome).inc();
    }

    async fn take_over(&mut self, new: Config) -> ReloadOutcome {
        let waits = needs_restart(&self.config, &new);
        if !waits.is_empty() {
            warn!(sections = %waits.join(", "), "changed, and in force only after a restart");
        }
        for warning in new.warnings() {
            warn!("{warning}");
        }
        let outcome = match self.reload_secrets() {
            Ok(()) => ReloadOutcome::Ok,
            Err(error) => {
                error!(%error, "keys or certificate are refused; the old ones stay");
                ReloadOutcome::Refused
            }
        };
        let command = FleetCommand::Replace { vms: new.vms.clone(), register: Box::new(new.register.clone()) };
        if self.fleet.send(command).await.is_err() {
            error!("the fleet is gone; its new list is not used");
            return ReloadOutcome::Refused;
        }
        info!(vms = new.vms.len(), "reloaded");
        // What waits for a restart is compared with what runs, however often the file is read.
        self.config.vms = new.vms;
        self.config.register = new.register;
        outcome
    }

    /// Puts keys and certificate of the files in use in force; streams of keys that went or changed are told. The
    /// files themselves are those that the process started with.
    fn reload_secrets(&self) -> Result<(), String> {
        if let (TlsMode::Files(files), Some(tls)) = (&self.config.tls.mode, &self.tls) {
            tls.reload_files(&files.cert, &files.key, min_tls(&self.config)).map_err(|error| error.to_string())?;
        }
        let Access::Keys(path) = &self.config.auth.access else { return Ok(()) };
        self.keys.replace(super::keys::load_set(path).map_err(|error| error.to_string())?);
        let now = Timestamp::from(SystemTime::now());
        self.hub.reconsider(|principal| self.keys.renewed(principal, now));
        Ok(())
    }

    async fn stop(mut self) -> Result<(), RunError> {
        info!(streams = self.hub.streams(), "stopping");
        let mut shutdown = Shutdown::new(STOP_WITHIN);
        self.readiness.stopping();
        // Before anything ends: a load balancer that has not seen the 503 yet still sends requests and streams here.
        if !self.drain_delay.is_zero() {
            shutdown.stage("let load balancers notice", tokio::time::sleep(self.drain_delay)).await;
        }
        self.tasks.begin_stop();
        self.hub.drain(DRAIN_WINDOW);
        let hub = &self.hub;
        let emptied = async {
            while hub.streams() > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        shutdown.stage("end streams", tokio::time::timeout(DRAIN_WINDOW + Duration::from_secs(1), emptied)).await;
        let server = &self.server;
        server.stop(REQUESTS_WITHIN.min(shutdown.left()));
        let (done, stopped) = oneshot::channel();
        let fleet = &self.fleet;
        shutdown
            .stage("stop polls and close connections", async {
                if fleet.send(FleetCommand::Stop { done }).await.is_ok() {
                    // An error means that the fleet's owner is gone, and its connections with it.
                    let _ = stopped.await;
                }
            })
            .await;
        self.hub_stop.cancel();
        let left_time = shutdown.left().saturating_sub(Duration::from_millis(500));
        let tasks = &self.tasks;
        let left = shutdown.stage("end tasks", tasks.shutdown(left_time)).await.unwrap_or_default();
        // Last, so that health and metrics answer for as long as there is something to tell.
        self.admin_stop.cancel();
        if let Some(admin) = &mut self.admin {
            shutdown.stage("end the administration listener", admin.ended()).await;
        }
        shutdown.finish();
        if left.is_empty() { Ok(()) } else { Err(RunError::Left(left.join(", "))) }
    }
}
