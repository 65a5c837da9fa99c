//! What the layers share.

use std::sync::Arc;
use std::time::Duration;

use super::auth::{Issuers, Keys, SessionStore, Standing};
use crate::model::{Principal, Timestamp};
use crate::telemetry::{AuthMetrics, HttpMetrics, Metrics};

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
        }
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
    http: HttpMetrics,
    auth: AuthMetrics,
}

impl EdgeState {
    /// With the keys and issuers of the configuration, which may be replaced while it serves, and no session yet.
    pub fn new(settings: EdgeSettings, keys: Arc<Keys>, issuers: Arc<Issuers>, metrics: &Metrics) -> Self {
        let sessions = SessionStore::new();
        let (http, auth) = (metrics.http.clone(), metrics.auth.clone());
        Self(Arc::new(Shared { settings, keys, issuers, sessions, http, auth }))
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

    /// The browser sessions and login codes.
    pub fn sessions(&self) -> &SessionStore {
        &self.0.sessions
    }

    /// Whether `principal`, let in earlier, still stands at `now`: a stream asks whenever [`Keys::changes`] says so,
    /// and when its principal's time is over (G49).
    pub fn standing(&self, principal: &Principal, now: Timestamp) -> Standing {
        match self.0.settings.auth {
            AuthMode::Open => Standing::Valid,
            AuthMode::Keys if principal.issuer.is_some() => self.0.issuers.standing(principal, now),
            AuthMode::Keys => self.0.keys.standing(principal, now),
        }
    }

    /// What `principal`, let in earlier, is at `now`, asked of the key or the issuer that stands behind it; `None` if it is
    /// no more. Waits for nothing.
    pub fn renewed(&self, principal: &Principal, now: Timestamp) -> Option<Arc<Principal>> {
        match self.0.settings.auth {
            AuthMode::Open => Some(Arc::new(principal.clone())),
            AuthMode::Keys if principal.issuer.is_some() => self.0.issuers.renewed(principal, now),
            AuthMode::Keys => self.0.keys.renewed(principal, now),
        }
    }

    pub(super) fn http_metrics(&self) -> &HttpMetrics {
        &self.0.http
    }

    pub(super) fn auth_metrics(&self) -> &AuthMetrics {
        &self.0.auth
    }
}
