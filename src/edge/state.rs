//! What the layers share.

use std::sync::Arc;
use std::time::Duration;

use super::auth::{Keys, SessionStore, Standing};
use super::client::{Located, ProxyRules};
use super::limits::Limits;
use crate::config::LimitsConfig;
use crate::model::{Principal, Timestamp};
use crate::telemetry::{AuthMetrics, HttpMetrics, LimitMetrics, Metrics};

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
    /// Whose forwarding headers are believed. Default: nobody's.
    pub proxy: ProxyRules,
    /// The limits to begin with; [`Limits::replace`] puts others in force.
    pub limits: LimitsConfig,
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
            proxy: ProxyRules::default(),
            limits: default_limits(),
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

/// What the layers share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct EdgeState(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    settings: EdgeSettings,
    keys: Arc<Keys>,
    sessions: SessionStore,
    http: HttpMetrics,
    auth: AuthMetrics,
    limits: Arc<Limits>,
    limit_metrics: LimitMetrics,
    located: Located,
}

impl EdgeState {
    /// With the keys of the configuration, which may be replaced while it serves, and no session yet.
    pub fn new(settings: EdgeSettings, keys: Arc<Keys>, metrics: &Metrics) -> Self {
        Self(Arc::new(Shared {
            limits: Arc::new(Limits::new(settings.limits.clone(), metrics.limits.clone())),
            limit_metrics: metrics.limits.clone(),
            located: Located::default(),
            settings,
            keys,
            sessions: SessionStore::new(),
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

    /// The browser sessions and login codes.
    pub fn sessions(&self) -> &SessionStore {
        &self.0.sessions
    }

    /// Whether `principal`, let in earlier, still stands at `now`: a stream asks whenever [`Keys::changes`] says so,
    /// and when its principal's time is over (G49).
    pub fn standing(&self, principal: &Principal, now: Timestamp) -> Standing {
        match self.0.settings.auth {
            AuthMode::Open => Standing::Valid,
            AuthMode::Keys => self.0.keys.standing(principal, now),
        }
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
