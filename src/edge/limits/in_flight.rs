//! How many are at it at once. Nobody waits for a place: one is free, or it is not (G58).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Places taken.
#[derive(Clone, Debug, Default)]
pub(super) struct InFlight(Arc<AtomicUsize>);

/// One place; dropping it frees it.
#[derive(Debug)]
pub(super) struct Place(Arc<AtomicUsize>);

impl InFlight {
    /// A place, if fewer than `max` are taken.
    pub(super) fn enter(&self, max: usize) -> Option<Place> {
        let more = |taken: usize| (taken < max).then_some(taken + 1);
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        Some(Place(Arc::clone(&self.0)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::InFlight;

    #[test]
    fn g58_there_are_as_many_places_as_said_and_each_is_freed_by_its_end() {
        let places = InFlight::default();
        let (one, two) = (places.enter(2).expect("free"), places.enter(2).expect("free"));
        assert!(places.enter(2).is_none());
        drop(one);
        let three = places.enter(2).expect("freed");
        assert!(places.enter(2).is_none());
        assert!(places.enter(3).is_some(), "and more once more are allowed");
        drop((two, three));
        assert!(places.enter(1).is_some());
    }
}
