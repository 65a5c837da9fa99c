//! What the layers share.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};

use super::audit::Audit;
use super::auth::{Issuers, Keys, LoginCodes, SessionStore, Tickets};
use super::client::{Located, ProxyRules};
use super::limits::Limits;
use crate::config::LimitsConfig;
use crate::model::{Principal, Timestamp};
use crate::telemetry::{AuthMetrics, HttpMetrics, LimitMetrics, Metrics, Traces};

/// Who is asked for a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMode {
    /// Nobody: every caller is an administrator. Requests must be addressed to this machine (`localhost`, 127.0.0.0/8,
    /// ::1) and must not come from a page of another origin, so that no web page can use a developer's browser.
    Open,
    /// Everybody.
    Keys,
}

/// How the edge behaves.
#[derive(Clone, Debug)]
pub struct EdgeSettings {
    /// Who is asked for a credential.
    pub auth: AuthMode,
    /// Clients come over TLS: cookies are `Secure` and named `__Host-`, origins must be `https`.
    pub tls: bool,
    /// Send `Strict-Transport-Security`. Not for the development certificate: browsers would then refuse every plain
    /// HTTP service on the same host name, whatever its port.
    pub hsts: bool,
    /// From the request to the head of its answer. Default 30 s.
    pub head_timeout: Duration,
    /// Bytes of a request body. Default 64 KiB.
    pub body_limit: usize,
    /// From the request head to the end of the body. Default 10 s.
    pub body_timeout: Duration,
    /// The routes that take a body from anybody: who signs in is not known yet. Everywhere else only that of a known caller
    /// is read (G58).
    pub open_bodies: &'static [&'static str],
    /// The one route where a ticket is a credential: it is for an `EventSource` and nothing else (G37).
    pub ticket_route: &'static str,
    /// Whose forwarding headers are believed. Default: nobody's.
    pub proxy: ProxyRules,
    /// The limits to begin with; [`Limits::replace`] puts others in force.
    pub limits: LimitsConfig,
    /// What makes a span of each request. Default: none.
    pub traces: Traces,
}

impl Default for EdgeSettings {
    fn default() -> Self {
        Self {
            auth: AuthMode::Keys,
            tls: true,
            hsts: false,
            head_timeout: Duration::from_secs(30),
            body_limit: 64 * 1024,
            body_timeout: Duration::from_secs(10),
            open_bodies: &["/auth/session"],
            ticket_route: "/api/benchmark-sse",
            proxy: ProxyRules::default(),
            limits: default_limits(),
            traces: Traces::default(),
        }
    }
}

/// The defaults of `[limits]`, as docs/CONFIG.md has them.
fn default_limits() -> LimitsConfig {
    LimitsConfig {
        connections: 4096,
        connections_per_ip: 512,
        streams_per_ip: 500,
        streams_per_principal: 500,
        requests_in_flight: 512,
        requests_per_second: 100,
        burst: 1000,
        principal_requests_per_second: 200,
        principal_burst: 2000,
        rate_limit_headers: true,
        auth_failures_per_minute: 10,
    }
}

/// By what a caller is known.
#[derive(Debug)]
pub struct Credentials {
    /// The API keys.
    pub keys: Arc<Keys>,
    /// The issuers of JWTs.
    pub issuers: Arc<Issuers>,
    /// The browser sessions.
    pub sessions: SessionStore,
}

#[cfg(test)]
impl Credentials {
    /// `keys`, no issuer, and sessions of an hour.
    pub(crate) fn of_keys(keys: Arc<Keys>, metrics: &Metrics) -> Self {
        let secrets = super::auth::SessionSecrets::random().0;
        let sessions = SessionStore::new(secrets, Duration::from_secs(3600));
        Self { keys, issuers: Arc::new(Issuers::none(&metrics.auth)), sessions }
    }
}

/// What the layers share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct EdgeState(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    settings: EdgeSettings,
    keys: Arc<Keys>,
    issuers: Arc<Issuers>,
    sessions: SessionStore,
    login_codes: LoginCodes,
    tickets: Tickets,
    origins: ArcSwap<Vec<String>>,
    audit: Audit,
    http: HttpMetrics,
    auth: AuthMetrics,
    limits: Arc<Limits>,
    limit_metrics: LimitMetrics,
    located: Located,
}

impl EdgeState {
    /// With the credentials of the configuration, which may be replaced while it serves, and no ticket yet.
    pub fn new(settings: EdgeSettings, credentials: Credentials, metrics: &Metrics) -> Self {
        let Credentials { keys, issuers, sessions } = credentials;
        Self(Arc::new(Shared {
            limits: Arc::new(Limits::new(settings.limits.clone(), metrics.limits.clone())),
            limit_metrics: metrics.limits.clone(),
            located: Located::default(),
            settings,
            keys,
            issuers,
            sessions,
            login_codes: LoginCodes::default(),
            tickets: Tickets::default(),
            origins: ArcSwap::default(),
            audit: Audit::default(),
            http: metrics.http.clone(),
            auth: metrics.auth.clone(),
        }))
    }

    /// How it behaves.
    pub fn settings(&self) -> &EdgeSettings {
        &self.0.settings
    }

    /// The API keys.
    pub fn keys(&self) -> &Keys {
        &self.0.keys
    }

    /// The issuers of JWTs.
    pub fn issuers(&self) -> &Issuers {
        &self.0.issuers
    }

    /// The browser sessions.
    pub fn sessions(&self) -> &SessionStore {
        &self.0.sessions
    }

    /// The codes of login links.
    pub fn login_codes(&self) -> &LoginCodes {
        &self.0.login_codes
    }

    /// The unused tickets.
    pub fn tickets(&self) -> &Tickets {
        &self.0.tickets
    }

    /// The origins whose pages may read what they show a credential for.
    pub fn origins(&self) -> Guard<Arc<Vec<String>>> {
        self.0.origins.load()
    }

    /// Puts other such origins in force.
    pub fn replace_origins(&self, origins: Vec<String>) {
        self.0.origins.store(Arc::new(origins));
    }

    /// What `principal`, let in earlier, is at `now`: with the rights that what stands behind it has by then, and never
    /// longer than it; `None` if it is no more (G44, G49).
    pub fn renewed(&self, principal: &Principal, now: Timestamp) -> Option<Arc<Principal>> {
        if principal.basis.session.as_deref().is_some_and(|sid| !self.0.sessions.stands(sid)) {
            return None;
        }
        match self.0.settings.auth {
            AuthMode::Open => Some(Arc::new(principal.clone())),
            AuthMode::Keys if principal.issuer.is_some() => self.0.issuers.renewed(principal, now),
            AuthMode::Keys => self.0.keys.renewed(principal, now),
        }
    }

    pub(super) fn audit(&self) -> &Audit {
        &self.0.audit
    }

    /// The limits and what is counted for them.
    pub fn limits(&self) -> &Arc<Limits> {
        &self.0.limits
    }

    pub(super) fn limit_metrics(&self) -> &LimitMetrics {
        &self.0.limit_metrics
    }

    pub(super) fn located(&self) -> &Located {
        &self.0.located
    }

    pub(super) fn http_metrics(&self) -> &HttpMetrics {
        &self.0.http
    }

    pub(super) fn auth_metrics(&self) -> &AuthMetrics {
        &self.0.auth
    }
}
