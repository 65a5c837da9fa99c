//! What one address, one principal and all of them together may use up.
//!
//! `rate.rs` counts requests, `failures.rs` refused credentials, `streams.rs` open streams, `bodies.rs` bodies that are
//! read, `in_flight.rs` what is being worked on; `layer.rs` has the layers, `told.rs` what clients are told. Every table is bounded and swept.

mod bodies;
mod failures;
mod in_flight;
mod layer;
mod rate;
mod streams;
#[cfg(test)]
mod tests;
mod told;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::{Instant, MissedTickBehavior};

use self::bodies::Bodies;
use self::in_flight::InFlight;
use self::rate::{ByAddress, ByPrincipal, Quota, Rate};
use self::told::Policy;
use super::Problem;
use crate::config::LimitsConfig;
use crate::telemetry::{Limit, LimitMetrics};

pub use self::failures::AuthFailures;
pub(super) use self::failures::{may_try, note_failure};
pub(super) use self::layer::{per_address, per_principal, while_in_flight};
pub use self::streams::{StreamSlot, StreamSlots};

/// Addresses, and principals, that each table remembers at once (G55).
const MAX_KEYS: usize = 100_000;
/// Between two sweeps of the tables.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// Every limit and what is counted for it. Numbers may be replaced while it serves; what was counted stays (G63).
#[derive(Debug)]
pub struct Limits {
    config: ArcSwap<LimitsConfig>,
    address: Rate<ByAddress>,
    principal: Rate<ByPrincipal>,
    failures: AuthFailures,
    streams: Arc<StreamSlots>,
    in_flight: InFlight,
    bodies: Bodies,
    metrics: LimitMetrics,
}

impl Limits {
    /// With nothing counted yet.
    pub fn new(config: LimitsConfig, metrics: LimitMetrics) -> Self {
        Self {
            address: Rate::new("address", Quota::of_address(&config), MAX_KEYS),
            principal: Rate::new("principal", Quota::of_principal(&config), MAX_KEYS),
            failures: AuthFailures::new(config.auth_failures_per_minute),
            streams: Arc::new(StreamSlots::new(&config, metrics.clone())),
            in_flight: InFlight::default(),
            bodies: Bodies::default(),
            config: ArcSwap::from_pointee(config),
            metrics,
        }
    }

    /// Puts other numbers in force. A rate whose numbers are the same keeps what it counted; one whose numbers changed
    /// begins anew. Open streams stay, even if they are more than are allowed now.
    pub fn replace(&self, config: LimitsConfig) {
        self.address.replace(Quota::of_address(&config));
        self.principal.replace(Quota::of_principal(&config));
        self.failures.replace(config.auth_failures_per_minute);
        self.streams.replace(&config);
        self.config.store(Arc::new(config));
    }

    /// Refused credentials, by address.
    pub fn auth_failures(&self) -> &AuthFailures {
        &self.failures
    }

    /// Open streams.
    pub fn streams(&self) -> &Arc<StreamSlots> {
        &self.streams
    }

    /// Forgets, every 60 s and for ever, what makes no difference any more. To be spawned once.
    pub fn sweep(self: &Arc<Self>) -> impl Future<Output = ()> + Send + 'static {
        let limits = Arc::clone(self);
        async move {
            let mut ticks = tokio::time::interval(SWEEP_EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                limits.sweep_once(Instant::now());
            }
        }
    }

    fn sweep_once(&self, now: Instant) {
        self.principal.sweep();
        self.failures.sweep(now);
        self.metrics.rate_keys.set(i64::try_from(self.address.sweep()).unwrap_or(i64::MAX));
    }

    /// 429 for an address of which too many credentials were refused; `wait`: until the next one is looked at.
    pub fn too_many_failures(&self, wait: Duration) -> Problem {
        let quota = self.config.load().auth_failures_per_minute;
        let policy = Policy::new("auth-failures", quota, failures::WINDOW);
        self.refused(Limit::AuthFailures, &policy, told::seconds(wait))
    }

    /// Counts a hit and says no; `wait` in seconds.
    fn refused(&self, limit: Limit, policy: &Policy, wait: u64) -> Problem {
        self.metrics.hits.of(limit).inc();
        told::too_many(policy, wait, self.config.load().rate_limit_headers)
    }
}
