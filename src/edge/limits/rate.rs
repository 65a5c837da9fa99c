//! Requests per second of one key: tower_governor with a bound on its memory.

use std::convert::Infallible;
use std::fmt;
use std::hash::Hash;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::middleware::StateInformationMiddleware;
use http::header::{HeaderName, RETRY_AFTER};
use tokio::time::Instant;
use tower::{Layer, ServiceExt};
use tower_governor::governor::{GovernorConfig, GovernorConfigBuilder};
use tower_governor::key_extractor::KeyExtractor;
use tower_governor::{GovernorError, GovernorLayer};

use super::told::{self, Policy};
use crate::config::LimitsConfig;
use crate::edge::Problem;
use crate::edge::client::{AddressFault, Client};
use crate::model::{ClientKey, Principal};

/// Headers that tower_governor tells in; they are read here and never sent.
const LEFT: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const BURST: HeaderName = HeaderName::from_static("x-ratelimit-limit");

/// A full table is swept at most this often: a sweep looks at every key.
const SWEEP_AT_MOST: Duration = Duration::from_secs(1);

/// How much a key may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quota {
    /// In the long run; at least 1.
    pub(super) per_second: u32,
    /// At once; at least 1.
    pub(super) burst: u32,
}

impl Quota {
    pub(super) fn of_address(config: &LimitsConfig) -> Self {
        Self { per_second: config.requests_per_second, burst: config.burst }
    }

    pub(super) fn of_principal(config: &LimitsConfig) -> Self {
        Self { per_second: config.principal_requests_per_second, burst: config.principal_burst }
    }

    fn per_second(self) -> u32 {
        self.per_second.max(1)
    }

    fn burst(self) -> u32 {
        self.burst.max(1)
    }

    /// Until one more is free.
    fn period(self) -> Duration {
        Duration::from_secs(1) / self.per_second()
    }

    /// Until `used` are free again.
    fn refill(self, used: u32) -> Duration {
        self.period() * used
    }
}

/// Counts a request for its client's address.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ByAddress;

impl KeyExtractor for ByAddress {
    type Key = ClientKey;

    fn extract<T>(&self, request: &http::Request<T>) -> Result<ClientKey, GovernorError> {
        request.extensions().get::<Client>().map(|client| client.key).ok_or(GovernorError::UnableToExtractKey)
    }
}

/// Counts a request for its principal.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ByPrincipal;

impl KeyExtractor for ByPrincipal {
    type Key = Arc<str>;

    fn extract<T>(&self, request: &http::Request<T>) -> Result<Arc<str>, GovernorError> {
        let principal = request.extensions().get::<Arc<Principal>>();
        principal.map(|principal| Arc::clone(&principal.name)).ok_or(GovernorError::UnableToExtractKey)
    }
}

/// Whether [`Rate::pass`] let a request through.
pub(super) enum Passed {
    /// It did; this is the answer, with `RateLimit` headers if they are wanted.
    Yes(Response),
    /// It did not: seconds until it may come again.
    No(u64),
    /// The request has no key.
    NoKey,
}

/// A rate limit per key.
pub(super) struct Rate<X: KeyExtractor> {
    name: &'static str,
    extractor: X,
    max_keys: usize,
    table: ArcSwap<Table<X>>,
}

impl<X: KeyExtractor> fmt::Debug for Rate<X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rate")
            .field("name", &self.name)
            .field("quota", &self.table.load().quota)
            .finish_non_exhaustive()
    }
}

/// The counts under one quota.
pub(super) struct Table<X: KeyExtractor> {
    quota: Quota,
    max_keys: usize,
    pub(super) policy: Policy,
    config: Arc<GovernorConfig<X, StateInformationMiddleware>>,
    layer: GovernorLayer<X, StateInformationMiddleware, Body>,
    /// Requests that surely find room for a new key, before the keys must be counted again: counting them each time would
    /// lock every shard of the store.
    room: AtomicUsize,
    swept: Mutex<Option<Instant>>,
}

impl<X> Rate<X>
where
    X: KeyExtractor + Copy + Send + Sync + 'static,
    X::Key: Hash + Send + Sync + 'static,
{
    pub(super) fn new(name: &'static str, quota: Quota, max_keys: usize) -> Self
    where
        X: Default,
    {
        let extractor = X::default();
        let table = ArcSwap::from_pointee(Table::new(name, extractor, quota, max_keys));
        Self { name, extractor, max_keys, table }
    }

    /// Puts `quota` in force; the counts stay if it is the same.
    pub(super) fn replace(&self, quota: Quota) {
        if self.table.load().quota != quota {
            self.table.store(Arc::new(Table::new(self.name, self.extractor, quota, self.max_keys)));
        }
    }

    /// The counts in force.
    pub(super) fn table(&self) -> Arc<Table<X>> {
        self.table.load_full()
    }

    /// Forgets the keys that are as fresh ones, and says how many are left.
    pub(super) fn sweep(&self) -> usize {
        self.table.load().sweep()
    }
}

impl<X> Table<X>
where
    X: KeyExtractor + Send + Sync + 'static,
    X::Key: Hash + Send + Sync + 'static,
{
    fn new(name: &'static str, extractor: X, quota: Quota, max_keys: usize) -> Self {
        let mut builder = GovernorConfigBuilder::default().key_extractor(extractor).use_headers();
        // The crate's per_second(n) is one in n seconds.
        let config = builder.period(quota.period()).burst_size(quota.burst()).finish();
        let config = Arc::new(config.expect("a second by at most 10,000, and at least 1, are not 0"));
        let layer = GovernorLayer::new(Arc::clone(&config)).error_handler(|error| match error {
            // The crate rounds down. What it gives plus one is right but for a wait of whole seconds to the nanosecond.
            GovernorError::TooManyRequests { wait_time, .. } => {
                let mut response = Response::default();
                response.headers_mut().insert(RETRY_AFTER, (wait_time + 1).into());
                response
            }
            GovernorError::UnableToExtractKey | GovernorError::Other { .. } => Response::default(),
        });
        let policy = Policy::new(name, quota.burst(), quota.refill(quota.burst()));
        let room = AtomicUsize::new(max_keys);
        Self { quota, max_keys, policy, config, layer, room, swept: Mutex::default() }
    }

    /// Whether there is room for the key of a request at `now`, should it be a new one (G55).
    pub(super) fn admits(&self, now: Instant) -> bool {
        if self.take_room() {
            return true;
        }
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        // Another request may have counted in the meantime.
        if self.take_room() {
            return true;
        }
        let limiter = self.config.limiter();
        let mut free = self.max_keys.saturating_sub(limiter.len());
        if free == 0 && swept.is_none_or(|last| now.saturating_duration_since(last) >= SWEEP_AT_MOST) {
            *swept = Some(now);
            free = self.max_keys.saturating_sub(self.sweep());
        }
        let admitted = free > 0;
        self.room.store(free.saturating_sub(1), Ordering::Relaxed);
        admitted
    }

    fn take_room(&self) -> bool {
        self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |room| room.checked_sub(1)).is_ok()
    }

    fn sweep(&self) -> usize {
        let limiter = self.config.limiter();
        limiter.retain_recent();
        limiter.shrink_to_fit();
        limiter.len()
    }

    /// Passes `request` on to `next` if its key has not used its quota up; tells what is left if `told`.
    pub(super) async fn pass(&self, request: Request, next: Next, told: bool) -> Passed {
        let answer: Result<Response, Infallible> = self.layer.layer(next).oneshot(request).await;
        let Ok(mut response) = answer;
        let headers = response.headers_mut();
        headers.remove(BURST);
        // Each answer that was let through has it, and none that the layer made itself.
        let Some(left) = headers.remove(LEFT) else {
            return match number(headers.get(RETRY_AFTER)) {
                Some(wait) => Passed::No(wait),
                None => Passed::NoKey,
            };
        };
        if told {
            let left = number(Some(&left)).and_then(|left| u32::try_from(left).ok()).unwrap_or(0);
            let used = self.quota.burst().saturating_sub(left);
            self.policy.tell(headers, left, Some(told::seconds(self.quota.refill(used))));
        }
        Passed::Yes(response)
    }

    /// Takes the whole quota of `key`, so that it is remembered until that is free again.
    #[cfg(test)]
    pub(super) fn use_up(&self, key: &X::Key) {
        let burst = std::num::NonZeroU32::new(self.quota.burst()).unwrap();
        assert!(self.config.limiter().check_key_n(key, burst).unwrap().is_ok());
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.config.limiter().len()
    }
}

fn number(value: Option<&http::HeaderValue>) -> Option<u64> {
    value?.to_str().ok()?.parse().ok()
}

/// 400: a request without an address counts for nobody (G9).
pub(super) fn no_key() -> Response {
    Problem::from(AddressFault::NoPeer).into_response()
}
