//! Bodies that are being read, all together and of one address: who trickles his in holds up himself (G53, G58).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::ClientKey;

/// One address gets this part of all places ...
const PART: usize = 8;
/// ... and never fewer than this.
const LEAST: usize = 4;

/// Places taken. An address is in the table for as long as a body of it is read, so the table is never larger than the
/// number of places.
#[derive(Clone, Debug, Default)]
pub(super) struct Bodies(Arc<Mutex<Taken>>);

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_address: HashMap<ClientKey, usize>,
}

/// The place of one body; dropping it frees it.
#[derive(Debug)]
pub(super) struct BodyPlace {
    bodies: Bodies,
    key: ClientKey,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// The address has as many as it may, which is so many.
    Address(usize),
    /// All are taken.
    All,
}

impl Bodies {
    /// A place for a body from `key`, if fewer than `max` are taken, and not too many of them by `key`.
    pub(super) fn enter(&self, key: ClientKey, max: usize) -> Result<BodyPlace, Full> {
        let share = (max / PART).max(LEAST);
        let mut taken = self.taken();
        let of_address = taken.by_address.get(&key).copied().unwrap_or(0);
        if of_address >= share {
            return Err(Full::Address(share));
        }
        if taken.all >= max {
            return Err(Full::All);
        }
        taken.all += 1;
        taken.by_address.insert(key, of_address + 1);
        Ok(BodyPlace { bodies: self.clone(), key })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // No panic can happen between the two counts of one body: there is nothing there but arithmetic on them.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for BodyPlace {
    fn drop(&mut self) {
        let mut taken = self.bodies.taken();
        taken.all = taken.all.saturating_sub(1);
        if let Entry::Occupied(mut entry) = taken.by_address.entry(self.key) {
            if *entry.get() <= 1 {
                entry.remove();
            } else {
                *entry.get_mut() -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Bodies, Full};
    use crate::model::ClientKey;

    fn key(text: &str) -> ClientKey {
        ClientKey::of(text.parse().expect("an address"))
    }

    #[test]
    fn g58_an_address_has_an_eighth_of_the_places_and_never_fewer_than_four() {
        for (max, share) in [(512, 64), (40, 5), (8, 4), (4, 4)] {
            let bodies = Bodies::default();
            let held: Vec<_> = (0..share).map(|_| bodies.enter(key("192.0.2.1"), max).expect("free")).collect();
            assert_eq!(bodies.enter(key("192.0.2.1"), max).err(), Some(Full::Address(share)), "of {max}");
            assert_eq!(bodies.enter(key("192.0.2.2"), max).is_ok(), share < max);
            drop(held);
            assert!(bodies.enter(key("192.0.2.1"), max).is_ok());
        }
    }

    #[test]
    fn g58_all_addresses_together_have_no_more_than_all_places_and_the_last_body_leaves_nothing() {
        let bodies = Bodies::default();
        let hosts: Vec<_> = (0..10).map(|n| key(&format!("192.0.2.{n}"))).collect();
        let held: Vec<_> = hosts.iter().filter_map(|host| bodies.enter(*host, 8).ok()).collect();
        assert_eq!(held.len(), 8);
        assert_eq!(bodies.enter(key("192.0.2.99"), 8).err(), Some(Full::All));
        drop(held);
        let taken = bodies.taken();
        assert!(taken.all == 0 && taken.by_address.is_empty(), "{taken:?}");
    }
}
