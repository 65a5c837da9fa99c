//! Everything is read and checked again; then all of it comes in force, or nothing (G63).

use std::mem::discriminant;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::{error, info, warn};

use super::App;
use super::build::dev_certificate_dir;
use super::fleet_task::FleetCommand;
use super::keys::load_set;
use super::once::warnings;
use super::watch::{Look, Patience, look};
use crate::config::{Access, AuthConfig, Config, ProcessEnv, TlsConfig};
use crate::edge::auth::{IssuerSet, KeySet};
use crate::edge::{EdgeState, SessionSecrets, audit};
use crate::model::Timestamp;
use crate::server::{ReadTls, TlsSettings};
use crate::telemetry::ReloadOutcome;

/// How long the files are waited for, and the fleet's owner.
const RELOAD_WITHIN: Duration = Duration::from_secs(5);

/// What a reload begins with, and what the one before it saw.
pub(super) struct Reloads {
    files: Arc<[PathBuf]>,
    /// The files as they were when they were read last.
    read: Look,
    patience: Patience,
    changes: mpsc::Receiver<Look>,
}

impl Reloads {
    /// Of `files`, which were as `read` says when the process was built; `changes` are those since.
    pub(super) fn new(files: Arc<[PathBuf]>, read: Look, changes: mpsc::Receiver<Look>) -> Self {
        Self { files, read, patience: Patience::new(RELOAD_WITHIN), changes }
    }

    /// Waits for a change of a file that no reload has seen yet. Safe to cancel.
    pub(super) async fn changed(&mut self) {
        loop {
            match self.changes.recv().await {
                // One that SIGHUP was sent for has been read.
                Some(look) if look == self.read => {}
                Some(_) => return,
                None => return std::future::pending().await,
            }
        }
    }
}

/// What was read and checked, and is not in force yet. Each part that can be refused has its place here, so that none comes in
/// force before all have been read.
struct Fresh {
    config: Config,
    /// `None`: there is no keys file.
    keys: Option<KeySet>,
    /// `None`: TLS is off.
    tls: Option<ReadTls>,
    issuers: IssuerSet,
    secrets: SessionSecrets,
}

/// Reads everything again: the configuration at `path`, if it came from a file, and what the one that `runs` names. Which
/// files these are only a restart changes.
fn read(path: Option<&Path>, runs: &Config, edge: &EdgeState, tls: Option<&TlsSettings>) -> Result<Fresh, String> {
    let config = match path {
        Some(path) => Config::load(Some(path), &ProcessEnv).map_err(|errors| errors.to_string())?,
        None => runs.clone(),
    };
    let keys = match &runs.auth.access {
        Access::Keys(path) => Some(load_set(path).map_err(|error| error.to_string())?),
        Access::Tokens | Access::Open => None,
    };
    let tls = tls.map(|tls| tls.read_anew(&reloadable_tls(&runs.tls, &config.tls), &dev_certificate_dir(runs)));
    let tls = tls.transpose().map_err(|error| error.to_string())?;
    let issuers = edge.issuers().read(&config.auth.jwt).map_err(|error| error.to_string())?;
    let secrets = super::session::load(runs)?;
    Ok(Fresh { config, keys, tls, issuers, secrets })
}

/// The sections that differ and that only a restart brings in force.
fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let session = |auth: &AuthConfig| (auth.session_ttl, auth.session_secret_file.clone());
    let changed = [
        ("server", old.server != new.server),
        ("admin", old.admin != new.admin),
        ("tls", reloadable_tls(&old.tls, &new.tls) != new.tls),
        ("proxy", old.proxy != new.proxy),
        ("auth", old.auth.access != new.auth.access),
        ("auth.session", session(&old.auth) != session(&new.auth)),
        ("poll", old.poll != new.poll),
        ("log", old.log != new.log),
        ("files", old.files != new.files),
        ("data", old.data != new.data),
    ];
    changed.into_iter().filter_map(|(section, changed)| changed.then_some(section)).collect()
}

/// What of `new` a reload puts in force: certificates, client CAs and versions, but neither whether there is TLS and
/// whose the certificate is, nor HSTS, which the edge adds.
fn reloadable_tls(old: &TlsConfig, new: &TlsConfig) -> TlsConfig {
    if discriminant(&old.mode) == discriminant(&new.mode) {
        TlsConfig { hsts: old.hsts, ..new.clone() }
    } else {
        old.clone()
    }
}

impl App {
    /// Reads configuration, keys and certificate again. If one of them is bad all are refused and the old state stays.
    pub(super) async fn reload(&mut self) {
        let outcome = match self.reload_all().await {
            Ok(()) => ReloadOutcome::Ok,
            Err(why) => {
                error!(mistakes = %why, "what was read anew is refused; the old state stays");
                audit::reload_refused(&why);
                ReloadOutcome::Refused
            }
        };
        self.process.reloads.of(outcome).inc();
        self.process.reload_ok.set(i64::from(outcome == ReloadOutcome::Ok));
    }

    async fn reload_all(&mut self) -> Result<(), String> {
        let (files, path, runs) = (Arc::clone(&self.reloads.files), self.config_path.clone(), self.config.clone());
        // Looked at before it is read: what changes meanwhile is a change still to come.
        let (edge, tls) = (self.edge.clone(), self.tls.clone());
        let work = move || (look(&files), read(path.as_deref(), &runs, &edge, tls.as_ref()));
        let (seen, fresh) = self.reloads.patience.work(work).await.map_err(|error| error.to_string())?;
        self.reloads.read = seen;
        let fresh = fresh?;
        let fleet = self.fleet.clone();
        let room = timeout(RELOAD_WITHIN, fleet.reserve()).await;
        let room = room.map_err(|_| "the fleet is busy")?.map_err(|_| "the fleet is gone")?;
        self.take_over(fresh, room);
        Ok(())
    }

    /// Puts everything in force. Nothing in here can fail.
    fn take_over(&mut self, fresh: Fresh, room: mpsc::Permit<'_, FleetCommand>) {
        let Fresh { config: new, keys, tls, issuers, secrets } = fresh;
        let waits = needs_restart(&self.config, &new);
        if !waits.is_empty() {
            warn!(sections = %waits.join(", "), "changed, and in force only after a restart");
        }
        for warning in warnings(&new) {
            warn!("{warning}");
        }
        if let (Some(serving), Some(fresh)) = (&self.tls, tls) {
            serving.replace(fresh);
        }
        if let Some(keys) = keys {
            audit::keys_changed(&self.edge.keys().replace(keys));
        }
        self.edge.issuers().replace(issuers);
        self.edge.sessions().replace_secrets(secrets);
        let now = Timestamp::from(SystemTime::now());
        self.hub.reconsider(|principal| self.edge.renewed(principal, now));
        self.apply(&new, room);
        info!(vms = new.vms.len(), "reloaded");
        audit::reloaded(&waits);
        // What waits for a restart is compared with what runs, however often the file is read.
        self.config.vms = new.vms;
        self.config.register = new.register;
        self.config.tls = reloadable_tls(&self.config.tls, &new.tls);
        self.config.cors = new.cors;
        self.config.limits = new.limits;
        self.config.auth.jwt = new.auth.jwt;
    }

    /// Puts in force what of the configuration itself needs no restart. What is applied here is no row of
    /// [`needs_restart`].
    fn apply(&self, new: &Config, room: mpsc::Permit<'_, FleetCommand>) {
        self.edge.limits().replace(new.limits.clone());
        self.caps.set(new.limits.connections, new.limits.connections_per_ip);
        self.edge.replace_origins(new.cors.origins.clone());
        room.send(FleetCommand::Replace { vms: new.vms.clone(), register: Box::new(new.register.clone()) });
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::reloadable_tls;
    use crate::config::{CertificateFiles, TlsConfig, TlsMode, TlsVersion};

    #[test]
    fn g63_a_reload_takes_new_certificates_but_neither_switches_tls_nor_hsts() {
        let pair = |name: &str| CertificateFiles { cert: PathBuf::from(name), key: PathBuf::from(name) };
        let old = TlsConfig {
            mode: TlsMode::Files(pair("old")),
            min_version: TlsVersion::V1_2,
            client_ca: None,
            hsts: true,
            certificates: Vec::new(),
        };
        let new = TlsConfig {
            mode: TlsMode::Files(pair("new")),
            min_version: TlsVersion::V1_3,
            client_ca: Some(PathBuf::from("ca")),
            hsts: true,
            certificates: vec![pair("other")],
        };
        assert_eq!(reloadable_tls(&old, &new), new);
        assert_eq!(reloadable_tls(&old, &TlsConfig { hsts: false, ..new.clone() }), new);
        for mode in [TlsMode::Off, TlsMode::Dev] {
            assert_eq!(reloadable_tls(&old, &TlsConfig { mode, ..new.clone() }), old);
        }
    }
}
