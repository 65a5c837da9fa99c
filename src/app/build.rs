//! From settings to an app: binds sockets, lays the channels between rooms, starts tasks.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::fleet_task::FleetOwner;
use super::journal::JournalOpenError;
use super::keys::{self, KeysError};
use super::local_files::watch_local_files;
use super::looks::{self, Looked};
use super::reload::Reloads;
use super::routes::{self, Doors};
use super::shared::{self, Common, Own};
use super::together::{self, Parts, Together};
use super::vitals::{POLLS, Vitals};
use super::watch::{Watched, look, watch as watch_files_of, watched};
use super::{App, Settings};
use crate::api::Office;
use crate::api::history::Exports;
use crate::config::Config;
use crate::edge::auth::IssuersError;
use crate::edge::{Credentials, EdgeSettings, EdgeState, Issuers, ProxyRules, SessionStore};
use crate::fleet::{Fleet, Pulse, RegisteredError, RegisteredFile, Shared, keep_polls_gate, polls_stale_after};
use crate::hub::{Hub, HubConfig};
use crate::journal::{EngineError, LiveSender, live_bus};
use crate::lifecycle::{Heart, Readiness, ServiceManager, Signals, Tasks, Turns};
use crate::model::Timestamp;
use crate::probe;
use crate::server::{
    AdminThread, ConnectionCaps, ConnectionLimits, Listener, ProxySettings, ServerHandle, Serving, TlsError,
    TlsSettings, install_crypto, serve,
};
use crate::telemetry::traces::TraceError;
use crate::telemetry::{Metrics, Traces};

/// Registrations that may wait for the fleet's owner.
const REGISTRATIONS: usize = 16;
/// Commands that may wait for the fleet's owner.
const COMMANDS: usize = 4;
/// How long the start waits for what the journal kept of the VMs.
const ANNOUNCED_WITHIN: Duration = Duration::from_secs(10);
/// Keys that may wait to be revoked.
const REVOCATIONS: usize = 4;
/// Changes of files that may wait for a reload: the one that goes on may have missed one.
const CHANGES: usize = 1;

/// Why the process cannot start: one readable line each.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A socket, a folder or a signal handler.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The file of registered VMs.
    #[error(transparent)]
    Registered(#[from] RegisteredError),
    /// The keys file.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// What session cookies are signed with.
    #[error("the session secret cannot be used: {0}")]
    Session(String),
    /// The issuers of JWTs.
    #[error(transparent)]
    Issuers(#[from] IssuersError),
    /// The trace endpoint.
    #[error(transparent)]
    Traces(#[from] TraceError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalOpenError),
    /// What replicas share.
    #[error(transparent)]
    Together(#[from] EngineError),
}

impl App {
    /// Binds the sockets and starts the tasks.
    ///
    /// # Errors
    /// One readable line that says what is in the way.
    pub async fn build(settings: Settings) -> Result<Self, StartError> {
        let Settings { config, config_path, login_code, signals, drain_delay, manager } = settings;
        install_crypto();
        let signals = signals.map_or_else(Signals::install, Ok)?;
        let metrics = Metrics::new();
        // Whatever can be in the way is tried before the first task runs, so that a failed start says one thing.
        // Looked at before they are read: what changes meanwhile is a change still to come.
        // First, as it may have to be made: that is no change.
        let secrets = super::session::load(&config).map_err(StartError::Session)?;
        let files = watched(config_path.as_deref(), &config);
        let begun = look(&files);
        let files: Watched = Arc::new(ArcSwap::from_pointee(files));
        let tls = TlsSettings::load(&config.tls, &dev_certificate_dir(&config), &metrics.server)?;
        let ca = tls.as_ref().and_then(TlsSettings::ca);
        let (auth, keys, admin_key) = keys::load(&config.auth)?;
        let issuers = Arc::new(Issuers::load(&config.auth.jwt, &metrics.auth)?);
        let file = RegisteredFile::in_dir(&config.data.dir);
        let registered = file.load()?;
        let runtime_dir = probe::runtime_dir()?;
        let replica = replica_name();
        let (traces, export) = super::traces::open(&config.trace, &replica, &metrics.traces)?.unzip();
        let listener = Listener::bind_soon(config.server.listen).await?;
        let admin_listener = match config.admin.listen {
            Some(address) => Some(Listener::bind_soon(address).await?),
            None => None,
        };

        let readiness = Readiness::new();
        let tasks = Tasks::new(&readiness);
        // Everything below may wait for a disk or a VM; a start that does so lives.
        let (heart, work_stop) = (Heart::new(Instant::now()), CancellationToken::new());
        let (traces_stop, stopping) = watch::channel(None);
        if let Some(export) = export {
            tasks.spawn("traces", export.run(stopping));
        }
        let traces: Traces = traces.unwrap_or_default();
        let turns = tell(manager, &readiness, &tasks);
        let opened = super::journal::open(&config, &replica, &metrics.journal).await?;
        let journal = opened.journal();
        let common = shared::open(opened.engine(), &replica, Own { secrets, file, registered }).await?;
        let Common { secrets, registry, registered, sharing } = common;
        // From here on what is in the way is rare.
        tasks.spawn_essential("heart", heart.clone().beat(work_stop.clone()));
        let leaving = CancellationToken::new();
        if let Some(following) = opened.following(work_stop.clone()) {
            tasks.spawn_essential("journal mirror", following);
        }
        let hub_config = HubConfig { replica: replica.clone(), ..HubConfig::default() };
        let hub = Hub::new(Arc::clone(&journal), hub_config, metrics.hub.clone());
        if let Some(keeping) = opened.keep(readiness.gate("journal", "opening"), &hub, tasks.stopping()) {
            tasks.spawn_essential("journal", keeping);
        }
        let (bus, live_receiver) = live_bus();
        tasks.spawn_essential("hub", Arc::clone(&hub).run(live_receiver, work_stop.clone()));

        let (changed, changes) = mpsc::channel(CHANGES);
        let watching = watch_files_of(Arc::clone(&files), begun.clone(), changed, tasks.stopping());
        tasks.spawn_essential("changes of files", watching);
        let reloads = Reloads::new(files, begun, changes);

        let (has_tls, own_ca) = (tls.is_some(), ca.is_some());
        // Not with a certificate of our own: browsers would then refuse every plain service on the same host name.
        let hsts = has_tls && !own_ca && config.tls.hsts;
        let settings = EdgeSettings {
            auth,
            tls: has_tls,
            hsts,
            proxy: ProxyRules::from(&config.proxy),
            limits: config.limits.clone(),
            traces: traces.clone(),
            ..EdgeSettings::default()
        };
        let sessions = SessionStore::new(secrets, config.auth.session_ttl);
        let credentials = Credentials { keys, issuers: Arc::clone(&issuers), sessions };
        let edge = EdgeState::new(settings, credentials, &metrics);
        edge.replace_origins(config.cors.origins.clone());

        let pulse = Pulse::default();
        let parts = Parts {
            journal: &opened,
            replica,
            hub: &hub,
            slots: edge.limits().streams(),
            bus: bus.clone(),
            pulse: pulse.clone(),
            leaving: leaving.clone(),
            stop: work_stop.clone(),
            readiness: &readiness,
            metrics: metrics.replicas.clone(),
        };
        let Together { leases, live, demand, replicas } = together::begin(parts, &tasks).await?;
        let files = watch_local_files(&config, &journal, &live, &leases, &tasks);
        let shared = Shared {
            journal: Arc::clone(&journal),
            live: live.clone(),
            leases,
            demand,
            metrics: metrics.polls.clone(),
            traces,
            idle_interval: config.poll.idle_interval,
            timeout: config.poll.timeout,
            pulse: pulse.clone(),
        };
        let gate = readiness.gate(POLLS, "not looked at yet");
        let polls_stale_after = polls_stale_after(shared.idle_interval, shared.timeout);
        let polls = keep_polls_gate(pulse.clone(), gate, polls_stale_after, tasks.stopping());
        tasks.spawn_essential("watch polls", polls);
        let health = Arc::new(Vitals { said: readiness.watch(), heart, pulse, polls_stale_after });
        let mut owner = FleetOwner {
            fleet: Fleet::new(shared, tasks.clone(), readiness.clone(), runtime_dir),
            configured: config.vms.clone(),
            registered,
            rules: config.register.clone(),
            registry,
            missing_at: None,
        };
        let (fleet, commands) = mpsc::channel(COMMANDS);
        let (register, registrations) = mpsc::channel(REGISTRATIONS);
        owner.watch_all().await;
        let announced = owner.fleet.announced();
        tasks.spawn_essential("fleet", owner.run(registrations, commands));

        sharing.wire(&edge, &hub, &tasks, &work_stop).await?;
        tasks.spawn_essential("keys of JWT issuers", issuers.refresh(tasks.stopping()));
        let (sweep, stopping) = (edge.limits().sweep(), tasks.stopping());
        let logouts = reconsider_after_logouts(Arc::clone(&hub), edge.clone(), tasks.stopping());
        tasks.spawn_essential("streams of logged-out sessions", logouts);
        tasks.spawn_essential(
            "sweep limits",
            async move { stopping.run_until_cancelled(sweep).await.unwrap_or_default() },
        );
        if let (Some(code), Some(key_id)) = (login_code, admin_key) {
            edge.login_codes().keep(&code, &key_id);
        }
        let default_interval = u8::try_from(config.poll.interval.as_secs()).unwrap_or(60).clamp(1, 60);
        let (exports, runner) = Exports::new(metrics.exports.clone());
        tasks.spawn_essential("exports", runner.run(tasks.stopping()));
        let looked = Looked { health: &health, tasks: &tasks, hub: &hub, journal: &opened, bus: &bus };
        let scrape = Arc::new(looks::scrape(&metrics, &looked));
        let (revoke, revocations) = mpsc::channel(REVOCATIONS);
        let (last_reload, reload) = watch::channel(None);
        let office = Office {
            revoke,
            reload,
            started_at: Timestamp::from(SystemTime::now()),
            limits: metrics.limits.clone(),
            certificate_end: metrics.server.certificate_end.clone(),
        };
        let doors = Doors {
            edge: edge.clone(),
            hub: Arc::clone(&hub),
            journal,
            exports,
            register,
            office,
            files,
            metrics: scrape,
            health,
            replicas,
            default_interval,
        };
        let public = routes::public(doors.clone());
        let (address, server) = (listener.local_addr(), ServerHandle::new());
        let limits = &config.limits;
        let caps = ConnectionCaps::new(limits.connections, limits.connections_per_ip, metrics.limits.clone());
        let serving = Serving {
            tls: tls.clone(),
            limits: ConnectionLimits::default(),
            caps: caps.clone(),
            proxy: ProxySettings::from(&config.proxy),
            metrics: metrics.server.clone(),
            handle: server.clone(),
        };
        let admin_stop = CancellationToken::new();
        let admin = admin_listener
            .map(|listener| AdminThread::start(listener, routes::admin(doors), admin_stop.clone()))
            .transpose()?;
        if let Some(admin) = &admin {
            let (ended, stopping) = (admin.ended(), tasks.stopping());
            // Nobody else asks it anything where its port is only scraped; the public listener says that it is gone.
            let watching = async move { stopping.run_until_cancelled(ended).await.unwrap_or_default() };
            tasks.spawn_essential("administration listener", watching);
        }
        wait_for_fleet(announced, [&live, &bus]).await;
        tasks.spawn_essential("serve", async move {
            if let Err(error) = serve(listener, public, serving).await {
                tracing::error!(%error, "the listener failed");
            }
        });
        Ok(Self {
            config,
            config_path,
            reloads,
            revocations,
            last_reload,
            edge,
            tls,
            caps,
            process: metrics.process,
            ca,
            address,
            admin,
            admin_stop,
            hub,
            journal: opened,
            fleet,
            tasks,
            readiness,
            server,
            work_stop,
            leaving,
            traces_stop,
            signals,
            drain_delay,
            turns,
        })
    }
}

/// Waits until the hub knows of every VM what the journal kept: a stream opened before would miss what its current run has
/// completed. Connections wait at the listener meanwhile.
async fn wait_for_fleet(announced: impl Future<Output = ()>, buses: [&LiveSender; 2]) {
    let taken = async {
        announced.await;
        // From the pollers on, the hub's own last.
        buses[0].settled().await && buses[1].settled().await
    };
    if timeout(ANNOUNCED_WITHIN, taken).await.is_err() {
        tracing::warn!(
            seconds = ANNOUNCED_WITHIN.as_secs(),
            "the journal has not told of every VM: those it told of are served, the others when it does"
        );
    }
}

/// Tells `manager`, if there is one, how the process lives.
fn tell(manager: Option<ServiceManager>, readiness: &Readiness, tasks: &Tasks) -> Turns {
    let Some(manager) = manager else { return Turns::default() };
    let (turns, telling) = manager.telling(readiness.watch());
    tasks.spawn_essential("service manager", telling);
    turns
}

/// How clients and operators tell this process from another: the machine's name and the process id.
fn replica_name() -> String {
    let uname = rustix::system::uname();
    format!("{}-{}", uname.nodename().to_string_lossy(), std::process::id())
}

/// Where the development certificate is kept.
pub(super) fn dev_certificate_dir(config: &Config) -> PathBuf {
    config.data.dir.join("tls")
}

/// Ends the streams of sessions that were logged out, and of their tickets, until `stop`.
async fn reconsider_after_logouts(hub: Arc<Hub>, edge: EdgeState, stop: CancellationToken) {
    let mut changes = edge.sessions().changes();
    // The sender lives as long as the edge, which is held here.
    while let Some(Ok(())) = stop.run_until_cancelled(changes.changed()).await {
        let now = Timestamp::from(SystemTime::now());
        hub.reconsider(|principal| edge.renewed(principal, now));
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::time::Duration;

    use tokio::time::{Instant, advance, timeout};

    use super::{ANNOUNCED_WITHIN, wait_for_fleet};
    use crate::journal::live_bus;

    #[tokio::test(start_paused = true)]
    async fn the_start_waits_until_the_hub_has_taken_every_announcement() {
        let (bus, mut hub) = live_bus();
        let mut wait = Box::pin(wait_for_fleet(ready(()), [&bus, &bus]));
        assert!(timeout(Duration::from_secs(5), &mut wait).await.is_err(), "the hub has not looked yet");
        tokio::select! {
            () = &mut wait => {}
            report = hub.next() => panic!("{report:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_journal_that_does_not_answer_delays_the_start_and_no_more() {
        let (bus, _hub) = live_bus();
        let begun = Instant::now();
        advance(Duration::from_millis(1)).await;
        wait_for_fleet(pending(), [&bus, &bus]).await;
        assert!(begun.elapsed() < ANNOUNCED_WITHIN + Duration::from_secs(1));
    }
}
