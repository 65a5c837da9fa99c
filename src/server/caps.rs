//! How many connections there may be, counted before any work is done for one (G57).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::ClientKey;
use crate::telemetry::{Limit, LimitMetrics};

/// Of all connections, one in so many may wait for its PROXY header...
const UNIDENTIFIED_SHARE: usize = 8;
/// ...but so many always may, if there may be as many connections.
const UNIDENTIFIED_LEAST: usize = 64;

/// The caps on open connections. Clones share them, and their numbers can be changed while a listener serves.
#[derive(Clone, Debug)]
pub struct ConnectionCaps {
    shared: Arc<Mutex<Counts>>,
    metrics: LimitMetrics,
}

/// One per open connection at most, so no larger than the cap on these.
#[derive(Debug)]
struct Counts {
    most: usize,
    most_per_key: usize,
    total: usize,
    unidentified: usize,
    per_key: HashMap<ClientKey, usize>,
}

impl ConnectionCaps {
    /// At most `connections` in all and `per_ip` of one address (IPv6: of one /64).
    pub fn new(connections: usize, per_ip: usize, metrics: LimitMetrics) -> Self {
        let counts =
            Counts { most: connections, most_per_key: per_ip, total: 0, unidentified: 0, per_key: HashMap::new() };
        Self { shared: Arc::new(Mutex::new(counts)), metrics }
    }

    /// Changes the numbers. Connections over a lower cap stay; new ones come in once there is room.
    pub fn set(&self, connections: usize, per_ip: usize) {
        let mut counts = self.lock();
        (counts.most, counts.most_per_key) = (connections, per_ip);
    }

    /// The place of a connection from a peer that is about to say whose it is.
    pub(super) fn enter_unidentified(&self) -> Result<Slot, Limit> {
        let mut counts = self.lock();
        counts.room().and_then(|()| counts.room_unidentified()).map_err(|limit| self.over(limit))?;
        counts.total += 1;
        counts.unidentified += 1;
        drop(counts);
        Ok(Slot { caps: self.clone(), of: Of::Unidentified })
    }

    /// The place of a connection of `key`.
    pub(super) fn enter(&self, key: ClientKey) -> Result<Slot, Limit> {
        let mut counts = self.lock();
        counts.room().and_then(|()| counts.room_of(key)).map_err(|limit| self.over(limit))?;
        counts.total += 1;
        counts.add(key);
        drop(counts);
        Ok(Slot { caps: self.clone(), of: Of::Key(key) })
    }

    /// The place of a connection that many clients share.
    pub(super) fn enter_shared(&self) -> Result<Slot, Limit> {
        let mut counts = self.lock();
        counts.room().map_err(|limit| self.over(limit))?;
        counts.total += 1;
        drop(counts);
        Ok(Slot { caps: self.clone(), of: Of::Many })
    }

    fn over(&self, limit: Limit) -> Limit {
        self.metrics.hits.of(limit).inc();
        limit
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // Counts are changed by one statement each, so one that panicked left them right.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn room(&self) -> Result<(), Limit> {
        if self.total < self.most { Ok(()) } else { Err(Limit::Connections) }
    }

    fn room_unidentified(&self) -> Result<(), Limit> {
        let most = (self.most / UNIDENTIFIED_SHARE).max(UNIDENTIFIED_LEAST);
        if self.unidentified < most { Ok(()) } else { Err(Limit::Unidentified) }
    }

    fn room_of(&self, key: ClientKey) -> Result<(), Limit> {
        let open = self.per_key.get(&key).copied().unwrap_or(0);
        if open < self.most_per_key { Ok(()) } else { Err(Limit::ConnectionsPerIp) }
    }

    fn add(&mut self, key: ClientKey) {
        *self.per_key.entry(key).or_insert(0) += 1;
    }

    fn remove(&mut self, key: ClientKey) {
        if let Some(open) = self.per_key.get_mut(&key) {
            *open -= 1;
            if *open == 0 {
                self.per_key.remove(&key);
            }
        }
    }
}

/// The place of one open connection; free again once this is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    caps: ConnectionCaps,
    of: Of,
}

#[derive(Clone, Copy, Debug)]
enum Of {
    Unidentified,
    Key(ClientKey),
    Many,
}

impl Slot {
    /// The same place, now counted for `key`.
    pub(super) fn identified(mut self, key: ClientKey) -> Result<Self, Limit> {
        let mut counts = self.caps.lock();
        counts.room_of(key).map_err(|limit| self.caps.over(limit))?;
        if matches!(self.of, Of::Unidentified) {
            counts.unidentified -= 1;
        }
        counts.add(key);
        drop(counts);
        self.of = Of::Key(key);
        Ok(self)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut counts = self.caps.lock();
        counts.total -= 1;
        match self.of {
            Of::Unidentified => counts.unidentified -= 1,
            Of::Key(key) => counts.remove(key),
            Of::Many => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::{ClientKey, ConnectionCaps, Slot, UNIDENTIFIED_LEAST};
    use crate::telemetry::{Limit, LimitMetrics, Metrics};

    fn caps(connections: usize, per_ip: usize) -> (ConnectionCaps, LimitMetrics) {
        let metrics = Metrics::new().limits;
        (ConnectionCaps::new(connections, per_ip, metrics.clone()), metrics)
    }

    fn key(address: &str) -> ClientKey {
        ClientKey::of(address.parse().unwrap())
    }

    #[test]
    fn g57_one_over_a_cap_is_refused_counted_and_let_in_once_another_left() {
        let (caps, metrics) = caps(3, 2);
        let first = caps.enter(key("192.0.2.1")).unwrap();
        let _second = caps.enter(key("::ffff:192.0.2.1")).unwrap();
        assert_eq!(caps.enter(key("192.0.2.1")).unwrap_err(), Limit::ConnectionsPerIp);
        let _other = caps.enter(key("192.0.2.2")).unwrap();
        assert_eq!(caps.enter(key("192.0.2.3")).unwrap_err(), Limit::Connections);
        assert_eq!(caps.enter_shared().unwrap_err(), Limit::Connections);
        assert_eq!(metrics.hits.of(Limit::ConnectionsPerIp).get(), 1);
        assert_eq!(metrics.hits.of(Limit::Connections).get(), 2);
        drop(first);
        caps.enter(key("192.0.2.1")).unwrap();
    }

    #[test]
    fn g9_g57_one_ipv6_host_cannot_open_more_by_changing_its_address() {
        let (caps, _) = caps(100, 1);
        let _first = caps.enter(key("2001:db8::1")).unwrap();
        assert_eq!(caps.enter(key("2001:db8::2")).unwrap_err(), Limit::ConnectionsPerIp);
        caps.enter(key("2001:db8:0:1::1")).unwrap();
    }

    #[test]
    fn g11_g57_those_that_do_not_say_whose_they_are_leave_room_for_those_that_do() {
        let (caps, metrics) = caps(1000, 1);
        let mut waiting: Vec<Slot> = std::iter::from_fn(|| caps.enter_unidentified().ok()).collect();
        assert_eq!(waiting.len(), 1000 / 8);
        assert_eq!(metrics.hits.of(Limit::Unidentified).get(), 1);
        let client = waiting.pop().unwrap().identified(key("192.0.2.1")).unwrap();
        let second = caps.enter_unidentified().expect("one said whose it is").identified(key("192.0.2.1"));
        assert_eq!(second.unwrap_err(), Limit::ConnectionsPerIp);
        let again = caps.enter_unidentified().expect("the refused one left").identified(key("192.0.2.2")).unwrap();
        drop((waiting, client, again));
        assert!(caps.lock().per_key.is_empty() && caps.lock().total == 0 && caps.lock().unidentified == 0);
    }

    #[test]
    fn g57_few_connections_in_all_are_not_fewer_for_load_balancers() {
        let (caps, _) = caps(UNIDENTIFIED_LEAST, 1);
        let waiting: Vec<Slot> = std::iter::from_fn(|| caps.enter_unidentified().ok()).collect();
        assert_eq!(waiting.len(), UNIDENTIFIED_LEAST);
    }

    #[test]
    fn g63_the_numbers_change_while_connections_are_open() {
        let (caps, _) = caps(1, 1);
        let _first = caps.enter(key("192.0.2.1")).unwrap();
        assert!(caps.enter(key("192.0.2.1")).is_err());
        caps.set(2, 2);
        let second = caps.enter(key("192.0.2.1")).unwrap();
        caps.set(1, 1);
        drop(second);
        assert!(caps.enter(key("192.0.2.1")).is_err(), "one is left, and one is all there may be");
    }

    proptest! {
        #[test]
        fn g57_every_place_is_given_back_whatever_comes_and_goes(
            moves in proptest::collection::vec((0_u8..4, 0_u8..3, any::<prop::sample::Index>()), 0..200),
        ) {
            let (caps, _) = caps(20, 4);
            let mut open: Vec<Slot> = Vec::new();
            for (what, who, which) in moves {
                let key = ClientKey::of(IpAddr::from([192, 0, 2, who]));
                let entered = match what {
                    0 => caps.enter(key),
                    1 => caps.enter_unidentified().and_then(|slot| slot.identified(key)),
                    2 => caps.enter_unidentified(),
                    _ if open.is_empty() => continue,
                    _ => { open.swap_remove(which.index(open.len())); continue }
                };
                open.extend(entered);
                prop_assert!(open.len() <= 20 && caps.lock().total == open.len());
                prop_assert!(caps.lock().per_key.values().all(|n| (1..=4).contains(n)));
            }
            drop(open);
            let counts = caps.lock();
            prop_assert!(counts.total == 0 && counts.unidentified == 0 && counts.per_key.is_empty());
        }
    }
}
