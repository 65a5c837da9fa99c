//! The open streams: who they are, what they see, and whom to wake.
//!
//! It has a lock of its own, so that waking thousands of streams does not stop those that already look.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::cell::{Cell, DURABLE, HEARTBEAT, LIVE, Order};
use super::lane::LANES;
use super::state::Effects;
use super::view::View;
use super::who::Via;
use crate::model::Demand;
use crate::model::VmName;

/// One open stream.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) cell: Arc<Cell>,
    pub(super) view: Arc<View>,
    pub(super) client: Arc<str>,
    pub(super) via: Via,
    /// Its slot on the heartbeat's wheel.
    pub(super) wheel: u32,
    /// When a drain ends it, and the `retry` in milliseconds that it gets then.
    pub(super) end: Option<(Instant, u32)>,
    /// One bit per VM slot.
    sees: Box<[u64]>,
}

impl Entry {
    /// A stream on the slot `wheel` of the heartbeat's wheel.
    pub(super) fn new(cell: Arc<Cell>, view: Arc<View>, client: Arc<str>, via: Via, wheel: u32) -> Self {
        Self { cell, view, client, via, wheel, end: None, sees: Box::default() }
    }

    fn sees(&self, slot: usize) -> bool {
        self.sees.get(slot / 64).is_some_and(|word| word & (1 << (slot % 64)) != 0)
    }

    fn set(&mut self, slot: usize, sees: bool) {
        if slot / 64 >= self.sees.len() {
            let mut wider = vec![0; slot / 64 + 1];
            wider[..self.sees.len()].copy_from_slice(&self.sees);
            self.sees = wider.into();
        }
        let bit = 1 << (slot % 64);
        if sees {
            self.sees[slot / 64] |= bit;
        } else {
            self.sees[slot / 64] &= !bit;
        }
    }
}

/// All open streams, by lane.
#[derive(Debug)]
pub(super) struct Registry {
    lanes: Vec<Vec<Entry>>,
    /// The VM in each slot, as the effects applied so far left it.
    names: Vec<Option<VmName>>,
    total: usize,
}

impl Registry {
    pub(super) fn new() -> Self {
        Self { lanes: (0..LANES).map(|_| Vec::new()).collect(), names: Vec::new(), total: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.total
    }

    /// Takes in `entry`, which sees nothing yet.
    pub(super) fn insert(&mut self, lane: u8, mut entry: Entry) {
        look_again(&self.names, &mut entry);
        let lane = &mut self.lanes[usize::from(lane)];
        entry.cell.place.store(lane.len(), Ordering::Relaxed);
        lane.push(entry);
        self.total += 1;
    }

    pub(super) fn remove(&mut self, lane: u8, cell: &Arc<Cell>) {
        let lane = &mut self.lanes[usize::from(lane)];
        let place = cell.place.load(Ordering::Relaxed);
        if !lane.get(place).is_some_and(|entry| Arc::ptr_eq(&entry.cell, cell)) {
            return;
        }
        lane.swap_remove(place);
        if let Some(moved) = lane.get(place) {
            moved.cell.place.store(place, Ordering::Relaxed);
        }
        self.total -= 1;
    }

    pub(super) fn each(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.lanes.iter_mut().flatten()
    }

    /// Each entry with its lane and its place there.
    pub(super) fn all(&self) -> impl Iterator<Item = (u8, usize, &Entry)> {
        let lanes = (0_u8..).zip(&self.lanes);
        lanes.flat_map(|(lane, entries)| entries.iter().enumerate().map(move |(place, entry)| (lane, place, entry)))
    }

    pub(super) fn at(&self, lane: u8, place: usize) -> Option<&Entry> {
        self.lanes.get(usize::from(lane))?.get(place)
    }

    /// Gives `entry` another view.
    pub(super) fn review(names: &[Option<VmName>], entry: &mut Entry, view: Arc<View>) {
        entry.view = view;
        look_again(names, entry);
    }

    /// Each entry, with the names that [`Registry::review`] needs.
    pub(super) fn each_with_names(&mut self) -> (&[Option<VmName>], impl Iterator<Item = &mut Entry>) {
        (&self.names, self.lanes.iter_mut().flatten())
    }

    /// Wakes whom `effects` concern. New names come before the wakes and gone ones after, so that nobody is left out.
    pub(super) fn apply(&mut self, effects: &Effects, now: u64) {
        for (slot, name) in effects.names.iter().filter(|(_, name)| name.is_some()) {
            self.rename(*slot, name.clone(), now);
        }
        if effects.everyone {
            self.each().for_each(|entry| entry.cell.notify(DURABLE, now));
        }
        for slot in &effects.durable {
            self.each().filter(|entry| entry.sees(*slot)).for_each(|entry| entry.cell.notify(DURABLE, now));
        }
        for (slot, lanes) in &effects.live {
            for lane in (0..LANES).filter(|lane| lanes & (1 << lane) != 0) {
                self.lanes[lane].iter().filter(|entry| entry.sees(*slot)).for_each(|e| e.cell.notify(LIVE, now));
            }
        }
        for (slot, _) in effects.names.iter().filter(|(_, name)| name.is_none()) {
            self.rename(*slot, None, now);
        }
    }

    /// Gives those at `slot` of the wheel their heartbeat.
    pub(super) fn beat(&mut self, slot: u32, now: u64) {
        self.each().filter(|entry| entry.wheel == slot).for_each(|entry| entry.cell.notify(HEARTBEAT, now));
    }

    fn rename(&mut self, slot: usize, name: Option<VmName>, now: u64) {
        if slot >= self.names.len() {
            self.names.resize(slot + 1, None);
        }
        let renamed = self.names[slot].is_some() && name.is_some();
        for entry in self.lanes.iter_mut().flatten() {
            let saw = entry.sees(slot);
            let sees = name.as_ref().is_some_and(|name| entry.view.sees(name));
            entry.set(slot, sees);
            if renamed && (saw || sees) {
                // Its grants stand, but what they show is another set of VMs: only a snapshot tells it whole.
                entry.cell.order(Order::Grants(Arc::clone(&entry.view)), now);
            }
        }
        self.names[slot] = name;
    }

    /// The smallest interval that any stream wants of each VM.
    pub(super) fn demand(&self) -> Demand {
        let mut wanted = vec![0_u8; self.names.len()];
        for (lane, entries) in (0_u8..).zip(&self.lanes) {
            for entry in entries {
                for (slot, wanted) in wanted.iter_mut().enumerate().filter(|(_, wanted)| **wanted == 0) {
                    if entry.sees(slot) {
                        *wanted = lane;
                    }
                }
            }
        }
        let named = self.names.iter().zip(wanted).filter(|(_, wanted)| *wanted != 0);
        named.filter_map(|(name, wanted)| Some((name.clone()?, wanted))).collect()
    }
}

fn look_again(names: &[Option<VmName>], entry: &mut Entry) {
    for (slot, name) in names.iter().enumerate() {
        let sees = name.as_ref().is_some_and(|name| entry.view.sees(name));
        entry.set(slot, sees);
    }
}
