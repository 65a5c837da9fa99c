//! Open streams of one address and of one principal. HTTP/2 carries many over one socket: streams are counted, not
//! sockets (G47, G48).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use super::told::{self, Policy};
use crate::config::LimitsConfig;
use crate::edge::Problem;
use crate::model::ClientKey;
use crate::telemetry::{Limit, LimitMetrics};

/// Principals whose streams here others are told of: those with the most.
const MAX_TOLD: usize = 1000;

/// Seconds until it may help to ask again; a random part keeps clients from coming back as one.
const RETRY_AFTER: RangeInclusive<u64> = 3..=10;

/// How many streams are open, by address and by principal. A name is in the table for as long as a stream of it is open,
/// so the table is never larger than the number of streams.
#[derive(Debug)]
pub struct StreamSlots {
    counts: Mutex<Counts>,
    /// Streams of each principal at other replicas, as they last told.
    elsewhere: ArcSwap<HashMap<Box<str>, usize>>,
    metrics: LimitMetrics,
}

#[derive(Debug)]
struct Counts {
    by_address: HashMap<ClientKey, usize>,
    by_principal: HashMap<Arc<str>, usize>,
    per_address: usize,
    per_principal: usize,
    headers: bool,
}

/// The place of one open stream. It belongs into the body of the answer: a layer's place would be free again as soon as
/// the head is sent (G47).
#[derive(Debug)]
pub struct StreamSlot {
    slots: Arc<StreamSlots>,
    key: ClientKey,
    principal: Arc<str>,
}

impl StreamSlots {
    pub(super) fn new(config: &LimitsConfig, metrics: LimitMetrics) -> Self {
        let counts = Counts {
            by_address: HashMap::new(),
            by_principal: HashMap::new(),
            per_address: config.streams_per_ip,
            per_principal: config.streams_per_principal,
            headers: config.rate_limit_headers,
        };
        Self { counts: Mutex::new(counts), elsewhere: ArcSwap::default(), metrics }
    }

    /// Counts from now on that principals have these streams at other replicas. They told some seconds ago: when several
    /// replicas take streams of one principal at the same time, it may get more than it may have.
    pub fn count_elsewhere(&self, streams: HashMap<Box<str>, usize>) {
        self.elsewhere.store(Arc::new(streams));
    }

    /// The streams here of each principal, for other replicas to count; of more than a thousand principals those with the
    /// most.
    pub fn by_principal(&self) -> HashMap<Box<str>, usize> {
        let all: Vec<(Arc<str>, usize)> =
            self.counts().by_principal.iter().map(|(name, count)| (Arc::clone(name), *count)).collect();
        most(all, MAX_TOLD)
    }

    pub(super) fn replace(&self, config: &LimitsConfig) {
        let mut counts = self.counts();
        counts.per_address = config.streams_per_ip;
        counts.per_principal = config.streams_per_principal;
        counts.headers = config.rate_limit_headers;
    }

    /// Takes a place for one more stream of the address `key` and the principal `principal`.
    ///
    /// # Errors
    /// 429 if either has as many as it may.
    pub fn enter(self: &Arc<Self>, key: ClientKey, principal: &Arc<str>) -> Result<StreamSlot, Problem> {
        let mut counts = self.counts();
        let of_address = counts.by_address.get(&key).copied().unwrap_or(0);
        if of_address >= counts.per_address {
            return Err(self.refused(Limit::StreamsPerIp, "streams-per-address", counts.per_address, counts.headers));
        }
        let of_principal = counts.by_principal.get(principal).copied().unwrap_or(0);
        let elsewhere = self.elsewhere.load().get(&**principal).copied().unwrap_or(0);
        if of_principal.saturating_add(elsewhere) >= counts.per_principal {
            let (limit, name) = (Limit::StreamsPerPrincipal, "streams-per-principal");
            return Err(self.refused(limit, name, counts.per_principal, counts.headers));
        }
        counts.by_address.insert(key, of_address + 1);
        counts.by_principal.insert(Arc::clone(principal), of_principal + 1);
        Ok(StreamSlot { slots: Arc::clone(self), key, principal: Arc::clone(principal) })
    }

    fn refused(&self, limit: Limit, name: &'static str, quota: usize, headers: bool) -> Problem {
        self.metrics.hits.of(limit).inc();
        told::too_many_streams(&Policy::at_once(name, quota), rand::random_range(RETRY_AFTER), headers)
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // No panic can happen between the two counts of one stream: there is nothing there but arithmetic on them.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        let mut counts = self.slots.counts();
        leave(&mut counts.by_address, self.key);
        leave(&mut counts.by_principal, Arc::clone(&self.principal));
    }
}

/// The `n` largest of `counts`; of equal ones those whose names come first.
fn most(mut counts: Vec<(Arc<str>, usize)>, n: usize) -> HashMap<Box<str>, usize> {
    counts.sort_unstable_by(|(a, of_a), (b, of_b)| of_b.cmp(of_a).then_with(|| a.cmp(b)));
    counts.into_iter().take(n).map(|(name, count)| (Box::from(&*name), count)).collect()
}

/// One less; none left, none kept.
fn leave<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: K) {
    if let Entry::Occupied(mut entry) = counts.entry(key) {
        if *entry.get() <= 1 {
            entry.remove();
        } else {
            *entry.get_mut() -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{StreamSlots, most};
    use crate::edge::EdgeSettings;
    use crate::model::ClientKey;
    use crate::telemetry::{Limit, Metrics};

    fn slots(per_address: usize, per_principal: usize) -> (Arc<StreamSlots>, Metrics) {
        let mut config = EdgeSettings::default().limits;
        (config.streams_per_ip, config.streams_per_principal) = (per_address, per_principal);
        let metrics = Metrics::new();
        (Arc::new(StreamSlots::new(&config, metrics.limits.clone())), metrics)
    }

    fn key(text: &str) -> ClientKey {
        ClientKey::of(text.parse().expect("an address"))
    }

    #[test]
    fn g47_g48_each_address_and_each_principal_has_its_number_and_frees_it_by_dropping() {
        let (slots, metrics) = slots(2, 3);
        let (ann, bob): (Arc<str>, Arc<str>) = ("ann".into(), "bob".into());
        let (here, there) = (key("192.0.2.1"), key("192.0.2.2"));
        let first = slots.enter(here, &ann).expect("free");
        let _second = slots.enter(here, &bob).expect("free");
        let refused = slots.enter(here, &bob).expect_err("the address is full");
        assert_eq!((refused.status().as_u16(), refused.code()), (429, "stream_limit"));
        let _third = slots.enter(there, &ann).expect("free");
        let _fourth = slots.enter(there, &ann).expect("free");
        assert!(slots.enter(key("192.0.2.3"), &ann).is_err(), "the principal is full");
        drop(first);
        let _fifth = slots.enter(here, &ann).expect("freed");
        for (limit, hits) in [(Limit::StreamsPerIp, 1), (Limit::StreamsPerPrincipal, 1)] {
            assert_eq!(metrics.limits.hits.of(limit).get(), hits, "{limit:?}");
        }
    }

    #[test]
    fn g48_streams_at_other_replicas_count_for_a_principal_as_they_last_told() {
        let (slots, _) = slots(100, 3);
        let ann: Arc<str> = "ann".into();
        let here = key("192.0.2.1");
        let _first = slots.enter(here, &ann).expect("free");
        slots.count_elsewhere([("ann".into(), 2), ("bob".into(), usize::MAX)].into());
        assert!(slots.enter(here, &ann).is_err(), "one here and two elsewhere");
        assert!(slots.enter(here, &"bob".into()).is_err());
        let _other = slots.enter(here, &"eve".into()).expect("free");
        slots.count_elsewhere([("ann".into(), 1)].into());
        let _second = slots.enter(here, &ann).expect("free");
        assert_eq!(slots.by_principal(), [("ann".into(), 2), ("eve".into(), 1)].into());
    }

    #[test]
    fn others_are_told_of_the_principals_with_the_most_streams() {
        let counts = || [("a", 1), ("b", 3), ("c", 1), ("d", 2)].map(|(name, n)| (name.into(), n)).to_vec();
        for (n, names) in [(0, ""), (1, "b"), (3, "abd"), (9, "abcd")] {
            let told = most(counts(), n);
            assert_eq!(told.len(), names.len());
            assert!(names.chars().all(|name| told.contains_key(name.to_string().as_str())), "{told:?}");
        }
    }

    #[test]
    fn g47_a_refusal_takes_nothing_and_the_last_stream_leaves_nothing() {
        let (slots, _) = slots(1, 1);
        let held = slots.enter(key("2001:db8::1"), &"ann".into()).expect("free");
        // The same host by another address of its /64, and another host of the same principal.
        assert!(slots.enter(key("2001:db8::2"), &"bob".into()).is_err());
        assert!(slots.enter(key("192.0.2.2"), &"ann".into()).is_err());
        drop(held);
        let counts = slots.counts();
        assert!(counts.by_address.is_empty() && counts.by_principal.is_empty(), "{counts:?}");
    }
}
