//! Refused credentials of one address: ten guesses a minute, whatever they cost to look at (G32).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::Extensions;
use tokio::time::Instant;

use super::MAX_KEYS;
use crate::edge::client::Client;
use crate::edge::{EdgeState, Problem};
use crate::model::ClientKey;

/// The time that the quota is for.
pub(super) const WINDOW: Duration = Duration::from_secs(60);
/// A full table is swept at most this often.
const SWEEP_AT_MOST: Duration = Duration::from_secs(1);

/// Refused credentials by address. Each costs a token; tokens come back evenly over a minute. A credential that is good
/// costs none and gives none back.
#[derive(Debug)]
pub struct AuthFailures {
    per_minute: AtomicU32,
    table: Mutex<Table>,
}

impl AuthFailures {
    pub(super) fn new(per_minute: u32) -> Self {
        Self { per_minute: AtomicU32::new(per_minute), table: Mutex::new(Table::new(MAX_KEYS)) }
    }

    pub(super) fn replace(&self, per_minute: u32) {
        self.per_minute.store(per_minute, Ordering::Relaxed);
    }

    /// Whether a credential of `key` may be looked at; to be asked before any work on it.
    ///
    /// # Errors
    /// How long to wait, if too many were refused.
    pub fn allow(&self, key: ClientKey, now: Instant) -> Result<(), Duration> {
        self.table().wait(key, self.period(), now).map_or(Ok(()), Err)
    }

    /// A credential of `key` was refused.
    pub fn failed(&self, key: ClientKey, now: Instant) {
        let period = self.period();
        self.table().take(key, period, now);
    }

    pub(super) fn sweep(&self, now: Instant) {
        self.table().sweep(now);
    }

    /// Until one token comes back.
    fn period(&self) -> Duration {
        WINDOW / self.per_minute.load(Ordering::Relaxed).max(1)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Every change is one insert: a panic cannot leave it half done.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When each address has all its tokens back; one that has them is as one that was never seen.
#[derive(Debug)]
struct Table {
    whole_at: HashMap<ClientKey, Instant>,
    max_keys: usize,
    swept: Option<Instant>,
}

impl Table {
    fn new(max_keys: usize) -> Self {
        Self { whole_at: HashMap::new(), max_keys, swept: None }
    }

    /// How long until `key` has a token; `None`: it has one.
    fn wait(&self, key: ClientKey, period: Duration, now: Instant) -> Option<Duration> {
        let missing = self.whole_at.get(&key)?.saturating_duration_since(now);
        let wait = missing.saturating_sub(WINDOW.saturating_sub(period));
        (!wait.is_zero()).then_some(wait)
    }

    /// Takes a token of `key`. An address that a full table does not know is not counted: its bad credentials are refused
    /// all the same, one by one, and its good ones must not suffer for those of others (G55).
    fn take(&mut self, key: ClientKey, period: Duration, now: Instant) {
        if !self.whole_at.contains_key(&key) && !self.has_room(now) {
            return;
        }
        let at = self.whole_at.entry(key).or_insert(now);
        // Never below no token: requests that were let in side by side make nobody wait longer than one period.
        *at = ((*at).max(now) + period).min(now + WINDOW);
    }

    fn has_room(&mut self, now: Instant) -> bool {
        let full = self.whole_at.len() >= self.max_keys;
        if full && self.swept.is_none_or(|last| now.saturating_duration_since(last) >= SWEEP_AT_MOST) {
            self.sweep(now);
        }
        self.whole_at.len() < self.max_keys
    }

    fn sweep(&mut self, now: Instant) {
        self.swept = Some(now);
        self.whole_at.retain(|_, at| *at > now);
        if self.whole_at.len() < self.whole_at.capacity() / 4 {
            self.whole_at.shrink_to_fit();
        }
    }
}

/// Whether a credential of the client in `extensions` may be looked at.
pub(in crate::edge) fn may_try(edge: &EdgeState, extensions: &Extensions) -> Result<(), Problem> {
    let Some(client) = extensions.get::<Client>() else { return Ok(()) };
    let limits = edge.limits();
    limits.auth_failures().allow(client.key, Instant::now()).map_err(|wait| limits.too_many_failures(wait))
}

/// A credential of the client in `extensions` was refused.
pub(in crate::edge) fn note_failure(edge: &EdgeState, extensions: &Extensions) {
    if let Some(client) = extensions.get::<Client>() {
        edge.limits().auth_failures().failed(client.key, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{AuthFailures, Table, WINDOW};
    use crate::model::ClientKey;

    fn key(n: u32) -> ClientKey {
        ClientKey::of(IpAddr::V4(Ipv4Addr::from(n)))
    }

    #[test]
    fn g32_ten_refusals_a_minute_and_then_one_more_each_time_a_token_is_back() {
        let (failures, now) = (AuthFailures::new(10), Instant::now());
        for _ in 0..10 {
            assert_eq!(failures.allow(key(1), now), Ok(()));
            failures.failed(key(1), now);
        }
        let wait = failures.allow(key(1), now).expect_err("used up");
        assert_eq!(wait, Duration::from_secs(6));
        assert_eq!(failures.allow(key(2), now), Ok(()), "another address is not affected");
        assert!(failures.allow(key(1), now + wait - Duration::from_millis(1)).is_err());
        let later = now + wait;
        assert_eq!(failures.allow(key(1), later), Ok(()), "who waits that long gets through");
        failures.failed(key(1), later);
        assert_eq!(failures.allow(key(1), later), Err(wait));
        assert_eq!(failures.allow(key(1), later + WINDOW), Ok(()));
    }

    #[test]
    fn g32_looking_costs_nothing_and_gives_nothing_back() {
        let (failures, now) = (AuthFailures::new(2), Instant::now());
        for _ in 0..100 {
            assert_eq!(failures.allow(key(1), now), Ok(()));
        }
        failures.failed(key(1), now);
        failures.failed(key(1), now);
        for _ in 0..100 {
            assert!(failures.allow(key(1), now).is_err());
        }
    }

    #[test]
    fn g32_refusals_side_by_side_lock_nobody_out_for_longer() {
        let (failures, now) = (AuthFailures::new(10), Instant::now());
        for _ in 0..1000 {
            failures.failed(key(1), now);
        }
        assert_eq!(failures.allow(key(1), now), Err(Duration::from_secs(6)));
    }

    #[test]
    fn g63_other_numbers_keep_what_was_counted() {
        let (failures, now) = (AuthFailures::new(2), Instant::now());
        failures.failed(key(1), now);
        failures.failed(key(1), now);
        failures.replace(4);
        assert!(failures.allow(key(1), now).is_err(), "a reload is no amnesty");
        assert_eq!(failures.allow(key(1), now + Duration::from_secs(15)), Ok(()));
    }

    #[test]
    fn g55_the_table_is_bounded_and_a_full_one_keeps_those_it_knows() {
        let (mut table, now, period) = (Table::new(100), Instant::now(), WINDOW / 2);
        for n in 0..1000 {
            table.take(key(n), period, now);
            table.take(key(n), period, now);
        }
        assert_eq!(table.whole_at.len(), 100);
        assert!(table.wait(key(0), period, now).is_some(), "known");
        assert!(table.wait(key(999), period, now).is_none(), "not known, and not locked out by others");
        let later = now + WINDOW;
        table.take(key(5000), period, later);
        assert_eq!(table.whole_at.len(), 1, "those whose time is over make room");
        table.sweep(later + WINDOW);
        assert!(table.whole_at.is_empty() && table.whole_at.capacity() < 100);
    }
}
