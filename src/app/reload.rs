//! Everything is read and checked again; then all of it comes in force, or nothing (G63). The API keys alone stand by
//! themselves: whoever revokes one must not have to mend another file first.

use std::mem::discriminant;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{error, info, warn};

use super::App;
use super::build::dev_certificate_dir;
use super::fleet_task::FleetCommand;
use super::key_commands::{RevokeKeyError, revoke_key};
use super::keys::load_set;
use super::once::warnings;
use super::watch::{Look, Patience, Watched, look, watched};
use crate::api::{LastReload, RevokeError};
use crate::config::{Access, AuthConfig, Config, ProcessEnv, TlsConfig};
use crate::edge::auth::{IssuerSet, KeySet};
use crate::edge::{EdgeState, SessionSecrets, audit};
use crate::model::Timestamp;
use crate::server::{ReadTls, TlsSettings};
use crate::telemetry::ReloadOutcome;

/// How long after a failure that is no file's fault it is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(3);
/// What stands for never.
const A_LONG_TIME: Duration = Duration::from_secs(86_400);
/// How long the files are waited for, and the fleet's owner.
const RELOAD_WITHIN: Duration = Duration::from_secs(5);

/// What a reload begins with, and what the one before it saw.
pub(super) struct Reloads {
    files: Watched,
    /// The files as they were when they were read last.
    read: Look,
    patience: Patience,
    changes: mpsc::Receiver<Look>,
    /// When to try again what failed through no fault of a file.
    again: Option<Instant>,
}

impl Reloads {
    /// Of `files`, which were as `read` says when the process was built; `changes` are those since.
    pub(super) fn new(files: Watched, read: Look, changes: mpsc::Receiver<Look>) -> Self {
        Self { files, read, patience: Patience::new(RELOAD_WITHIN), changes, again: None }
    }

    /// Waits for a change of a file that no reload has seen yet, or for the time to try again. Safe to cancel.
    pub(super) async fn changed(&mut self) {
        loop {
            let again = self.again.unwrap_or_else(|| Instant::now() + A_LONG_TIME);
            tokio::select! {
                change = self.changes.recv() => match change {
                    // One that SIGHUP was sent for has been read.
                    Some(look) if look == self.read => {}
                    Some(_) => return,
                    None => return std::future::pending().await,
                },
                () = sleep_until(again) => if self.again.take().is_some() { return },
            }
        }
    }
}

/// What was read and checked, and is not in force yet. Each part that can be refused has its place here, so that none comes in
/// force before all have been read.
struct Fresh {
    config: Config,
    /// What is watched from now on, and how it was before it was read.
    files: Vec<PathBuf>,
    seen: Look,
    /// `None`: TLS is off.
    tls: Option<ReadTls>,
    issuers: IssuerSet,
    /// `None`: the replicas of the fleet share them, and they stay.
    secrets: Option<SessionSecrets>,
}

/// The API keys, by themselves: a revocation must not wait until somebody has mended another file.
fn read_keys(runs: &Config) -> Result<Option<KeySet>, String> {
    match &runs.auth.access {
        Access::Keys(path) => load_set(path).map(Some).map_err(|error| error.to_string()),
        Access::Tokens | Access::Open => Ok(None),
    }
}

/// Reads everything else again: the configuration at `path`, if it came from a file, and what the one that `runs` names. Which
/// files these are only a restart changes.
fn read(path: Option<&Path>, runs: &Config, edge: &EdgeState, tls: Option<&TlsSettings>) -> Result<Fresh, String> {
    let config = match path {
        Some(path) => Config::load(Some(path), &ProcessEnv).map_err(|errors| {
            if errors.issues().iter().any(|issue| issue.key.starts_with("tls.")) {
                tls.inspect(|tls| tls.count_refusal());
            }
            errors.to_string()
        })?,
        None => runs.clone(),
    };
    // Of those that only a restart changes the old ones are in use.
    let mut files = watched(path, runs);
    files.extend(watched(path, &config));
    files.sort();
    files.dedup();
    let seen = look(&files);
    let tls = tls.map(|tls| tls.read_anew(&reloadable_tls(&runs.tls, &config.tls), &dev_certificate_dir(runs)));
    let tls = tls.transpose().map_err(|error| error.to_string())?;
    let issuers = edge.issuers().read(&config.auth.jwt).map_err(|error| error.to_string())?;
    let secrets = super::session::load(runs)?;
    Ok(Fresh { config, files, seen, tls, issuers, secrets })
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
        ("trace", old.trace != new.trace),
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
    /// Reads everything again. If something is bad all of it is refused and the old state stays, but for the keys.
    pub(super) async fn reload(&mut self) {
        let done = self.reload_all().await;
        let (outcome, word) = match &done {
            Ok(_) => (ReloadOutcome::Ok, "applied"),
            Err(why) => {
                error!(mistakes = %why, "what was read anew is refused; the old state stays");
                audit::reload_refused(why);
                (ReloadOutcome::Refused, "refused")
            }
        };
        self.last_reload.send_replace(Some(LastReload {
            at: Timestamp::from(SystemTime::now()),
            outcome: word,
            problems: done.as_ref().err().map_or_else(Vec::new, |why| why.lines().map(str::to_owned).collect()),
            needs_restart: done.unwrap_or_default(),
        }));
        self.process.reloads.of(outcome).inc();
        self.process.reload_ok.set(i64::from(outcome == ReloadOutcome::Ok));
    }

    /// Takes the key `id` out of the keys file, as `gatewatch key revoke` does. A reload puts that in force.
    pub(super) async fn revoke(&mut self, id: &str) -> Result<(), RevokeError> {
        let unknown = || RevokeError::Unknown(id.to_owned());
        let Access::Keys(path) = &self.config.auth.access else { return Err(unknown()) };
        let (path, key) = (path.clone(), id.to_owned());
        let done = self.reloads.patience.work(move || revoke_key(&path, &key, false)).await;
        match done {
            Ok(Ok(())) => Ok(()),
            Ok(Err(RevokeKeyError::Unknown(_))) => Err(unknown()),
            Ok(Err(RevokeKeyError::Last(_))) => Err(RevokeError::Last),
            Ok(Err(RevokeKeyError::File(why))) => {
                error!(%why, key = %id.escape_debug(), "the key is not revoked");
                Err(RevokeError::Unavailable)
            }
            Err(error) => {
                error!(%error, key = %id.escape_debug(), "whether the key is revoked is not known");
                Err(RevokeError::Unavailable)
            }
        }
    }

    /// Gives the sections that are in force only after a restart.
    async fn reload_all(&mut self) -> Result<Vec<&'static str>, String> {
        // Until this has gone well it is tried again, unless a file says why not.
        self.reloads.again = Some(Instant::now() + AGAIN_AFTER);
        let (files, path, runs) = (self.reloads.files.load_full(), self.config_path.clone(), self.config.clone());
        let (edge, tls) = (self.edge.clone(), self.tls.clone());
        // Looked at before it is read: what changes meanwhile is a change still to come.
        let work = move || {
            let seen = look(&files);
            (seen, read_keys(&runs), read(path.as_deref(), &runs, &edge, tls.as_ref()))
        };
        let (seen, keys, fresh) = self.reloads.patience.work(work).await.map_err(|error| error.to_string())?;
        if let Ok(Some(keys)) = &keys {
            audit::keys_changed(&self.edge.keys().replace(keys.clone()));
            self.reconsider();
        }
        let fresh = match keys.and(fresh) {
            Ok(fresh) => fresh,
            Err(why) => {
                (self.reloads.read, self.reloads.again) = (seen, None);
                return Err(why);
            }
        };
        let fleet = self.fleet.clone();
        let room = timeout(RELOAD_WITHIN, fleet.reserve()).await;
        let room = room.map_err(|_| "the fleet is busy")?.map_err(|_| "the fleet is gone")?;
        let waits = self.take_over(fresh, room);
        self.reloads.again = None;
        Ok(waits)
    }

    /// Asks of every open stream whether its principal still stands.
    fn reconsider(&self) {
        let now = Timestamp::from(SystemTime::now());
        self.hub.reconsider(|principal| self.edge.renewed(principal, now));
    }

    /// Puts everything in force. Nothing in here can fail.
    fn take_over(&mut self, fresh: Fresh, room: mpsc::Permit<'_, FleetCommand>) -> Vec<&'static str> {
        let Fresh { config: new, files, seen, tls, issuers, secrets } = fresh;
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
        self.edge.issuers().replace(issuers);
        if let Some(secrets) = secrets {
            self.edge.sessions().replace_secrets(secrets);
        }
        self.reconsider();
        self.reloads.files.store(Arc::new(files));
        self.reloads.read = seen;
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
        waits
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
