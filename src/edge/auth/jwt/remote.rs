//! The keys of an issuer that publishes them: fetched in the background, kept while it is down.
//!
//! One task per issuer fetches, and nothing else does. A request only says that it wants news and waits for the end of one
//! fetch: it may leave at any time without ending the fetch of others.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::https::{Fetch, FetchFault};
use super::ring::Ring;
use super::rules::Rules;
use crate::telemetry::{AuthMetrics, FetchOutcome};

/// How often keys are fetched anew; a tenth more or less.
pub(super) const PERIOD: Duration = Duration::from_secs(600);
/// The longest that one fetch may take.
pub(super) const FETCH_WITHIN: Duration = Duration::from_secs(3);
/// How long a request waits for news: one fetch, and the time to read what it brought.
const WAIT: Duration = Duration::from_millis(3500);
/// Fetches that unknown keys may cause: one in this time (G38).
pub(super) const NEWS_EVERY: Duration = Duration::from_secs(30);
/// How long keys are used of which the issuer said nothing new (G39).
pub(super) const STALE_MAX: Duration = Duration::from_secs(24 * 3600);
/// The longest wait after the first failure; it doubles with each.
const RETRY: Duration = Duration::from_secs(2);
/// The longest wait between two attempts while the issuer is down.
const RETRY_MAX: Duration = Duration::from_secs(300);

/// The keys of one issuer.
#[derive(Debug)]
pub(super) struct Remote {
    rules: Arc<Rules>,
    source: Box<dyn Fetch>,
    /// Since when keys are wanted.
    since: Instant,
    kept: ArcSwapOption<Kept>,
    plan: Mutex<Plan>,
    wanted: Notify,
    /// Counts the fetches that ended.
    ended: watch::Sender<u64>,
}

#[derive(Debug)]
struct Kept {
    ring: Arc<Ring>,
    at: Instant,
}

#[derive(Debug)]
struct Plan {
    /// When the next fetch begins.
    due: Instant,
    /// A fetch runs, or begins at once.
    busy: bool,
    /// When an unknown key last caused a fetch.
    caused: Option<Instant>,
    failures: u32,
}

impl Remote {
    /// Without keys yet; with those of `before`, if it was for the same rules.
    pub(super) fn new(rules: Arc<Rules>, source: Box<dyn Fetch>, before: Option<&Self>) -> Self {
        let caused = before.and_then(|before| before.plan().caused);
        Self {
            rules,
            source,
            since: before.map_or_else(Instant::now, |before| before.since),
            kept: ArcSwapOption::new(before.and_then(|before| before.kept.load_full())),
            plan: Mutex::new(Plan { due: Instant::now(), busy: true, caused, failures: 0 }),
            wanted: Notify::new(),
            ended: watch::Sender::new(0),
        }
    }

    /// The keys, unless there are none or they are too old.
    pub(super) fn ring(&self) -> Option<Arc<Ring>> {
        self.kept.load().as_ref().filter(|kept| kept.at.elapsed() < STALE_MAX).map(|kept| Arc::clone(&kept.ring))
    }

    /// How old the keys are, used or not; without any, how long they have been waited for. It must not fall while the
    /// issuer is down (G39).
    pub(super) fn age(&self) -> Duration {
        self.kept.load().as_ref().map_or(self.since, |kept| kept.at).elapsed()
    }

    /// For a token whose key is unknown: waits for the fetch that runs, or causes one if that is allowed now, and returns
    /// when it is worth looking again. Never waits for more than one fetch (G38).
    pub(super) async fn news(&self) {
        // Before the plan is read: a fetch that ends in between is news too.
        let mut ended = self.ended.subscribe();
        if !self.claim(Instant::now()) {
            return;
        }
        // Late or not, what is there now is what there is.
        let _ = timeout(WAIT, ended.changed()).await;
    }

    /// Whether a fetch runs or was caused by this. The slot is taken before the fetch begins and whatever becomes of it,
    /// so that an issuer that is down is not asked more often than one that is up.
    fn claim(&self, now: Instant) -> bool {
        let mut plan = self.plan();
        if plan.busy {
            return true;
        }
        if plan.caused.is_some_and(|at| now.duration_since(at) < NEWS_EVERY) {
            return false;
        }
        (plan.caused, plan.due, plan.busy) = (Some(now), now, true);
        drop(plan);
        self.wanted.notify_one();
        true
    }

    /// Fetches, again and again, for as long as it is polled. If it is dropped in the middle the next call goes on.
    pub(super) async fn keep(&self, metrics: &AuthMetrics) {
        loop {
            let due = self.plan().due;
            if Instant::now() < due {
                tokio::select! {
                    () = sleep_until(due) => {}
                    () = self.wanted.notified() => {}
                }
                continue;
            }
            self.plan().busy = true;
            let fetched = match timeout(FETCH_WITHIN, self.source.fetch()).await {
                Ok(fetched) => fetched,
                Err(_) => Err(FetchFault(format!("no whole answer within {FETCH_WITHIN:?}"))),
            };
            let ring = fetched.and_then(|bytes| {
                Ring::of_set(&bytes, &self.rules).map_err(|fault| FetchFault(format!("the answer {fault}")))
            });
            let outcome = if ring.is_ok() { FetchOutcome::Ok } else { FetchOutcome::Failed };
            metrics.jwks_fetches.of(outcome).inc();
            self.take(ring);
        }
    }

    /// Puts new keys in force. A failure changes nothing but the time of the next attempt (G40).
    fn take(&self, ring: Result<Ring, FetchFault>) {
        let now = Instant::now();
        let before = self.plan().failures;
        let failures = match ring {
            Ok(ring) => {
                let first = self.kept.swap(Some(Arc::new(Kept { ring: Arc::new(ring), at: now }))).is_none();
                if first || before > 0 {
                    tracing::info!(issuer = %self.rules.issuer, "the keys of a JWT issuer are here");
                }
                0
            }
            Err(fault) => {
                let age = self.age();
                tracing::warn!(issuer = %self.rules.issuer, %fault, ?age, "the keys of a JWT issuer could not be fetched");
                before.saturating_add(1)
            }
        };
        let mut plan = self.plan();
        (plan.busy, plan.failures, plan.due) = (false, failures, now + pause(failures, rand::random()));
        drop(plan);
        self.ended.send_modify(|ended| *ended += 1);
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        // Plain values, each whole by itself: a panic leaves nothing half done.
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long to wait after `failures` failures in a row. `random` is drawn evenly from 0 to 1: replicas that started
/// together must not ask together.
fn pause(failures: u32, random: f64) -> Duration {
    match failures.checked_sub(1) {
        None => PERIOD.mul_f64(0.9 + 0.2 * random),
        Some(before) => {
            let longest = RETRY.saturating_mul(1_u32.checked_shl(before).unwrap_or(u32::MAX)).min(RETRY_MAX);
            longest.mul_f64(0.5 + 0.5 * random)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{PERIOD, RETRY, RETRY_MAX, pause};

    #[test]
    fn g38_pauses_grow_with_failures_and_are_bounded() {
        assert_eq!(pause(0, 0.0), PERIOD.mul_f64(0.9));
        assert_eq!(pause(0, 1.0).as_secs_f64().round(), 660.0);
        let longest: Vec<Duration> = (1..=9).map(|failures| pause(failures, 1.0)).collect();
        assert_eq!(longest[0], RETRY);
        assert!(longest.windows(2).all(|two| two[0] <= two[1]), "{longest:?}");
        for failures in [9, 31, 32, 33, u32::MAX] {
            assert_eq!(pause(failures, 1.0), RETRY_MAX);
            assert_eq!(pause(failures, 0.0), RETRY_MAX / 2);
        }
    }
}
