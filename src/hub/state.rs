//! All that the hub knows, under one short lock: values in, effects out; time is an argument.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::lane::{LANES, Lane};
use super::ring::{Encoded, Ring};
use super::slot::{Slot, Verdict};
use super::snapshot::Captures;
use crate::event::{Epoch, EventId, EventKind, Position, frame, heartbeat};
use crate::journal::{Bounds, LiveReport, StoredEvent};
use crate::model::{Timestamp, VmId, VmName};

/// How long a report waits for the tail at most: a hub that cannot read the journal now still shows what is so.
const HOLD: Duration = Duration::from_secs(2);

/// How long a removed VM's late reports are known as such.
const GONE_KEPT: Duration = Duration::from_secs(10);

/// Whom a change of state concerns.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// Slots that got another name, or none.
    pub(super) names: Vec<(usize, Option<VmName>)>,
    /// Slots with a new durable event.
    pub(super) durable: Vec<usize>,
    /// A durable event of a VM without a slot: every stream has to look.
    pub(super) everyone: bool,
    /// Slots whose live events were released, with one bit per lane.
    pub(super) live: Vec<(usize, u64)>,
}

impl Effects {
    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty() && self.durable.is_empty() && !self.everyone && self.live.is_empty()
    }
}

/// What the hub knows.
#[derive(Debug)]
pub(super) struct State {
    pub(super) epoch: Epoch,
    pub(super) slots: Vec<Option<Slot>>,
    pub(super) lanes: Vec<Lane>,
    pub(super) ring: Ring,
    /// The newest durable event applied.
    pub(super) tail: Position,
    /// No stream is opened any more.
    pub(super) stopping: bool,
    /// Counts changes, so that what was made of the state can be known as still true.
    pub(super) changes: u64,
    pub(super) captures: Captures,
    ids: HashMap<VmId, usize>,
    /// The newest commit applied, with events or without.
    applied: u64,
    generations: u32,
    /// A stream that stands before it reads every event: not every event up to here is of a VM in a slot.
    moved_at: Position,
    gone: HashMap<VmId, (u64, Instant)>,
    /// The heartbeat of fresh and of stale streams at a position.
    beats: [Option<(Position, Bytes)>; 2],
}

impl State {
    /// Knows nothing of what stands within `bounds`, and need not hear of it.
    pub(super) fn new(epoch: Epoch, bounds: Bounds) -> Self {
        let tail = bounds.newest;
        Self {
            epoch,
            slots: Vec::new(),
            lanes: (0..LANES as u64).map(Lane::new).collect(),
            ring: Ring::new(tail),
            tail,
            stopping: false,
            changes: 0,
            captures: Captures::default(),
            ids: HashMap::new(),
            applied: bounds.applied,
            generations: 0,
            moved_at: tail,
            gone: HashMap::new(),
            beats: [None, None],
        }
    }

    pub(super) fn id(&self, position: Position) -> EventId {
        EventId { epoch: self.epoch.clone(), position }
    }

    /// Whether commit `seq` does not follow what is known: something may lie between.
    pub(super) fn skips(&self, seq: u64) -> bool {
        seq > self.applied.saturating_add(1)
    }

    /// Gives up on what lies between the tail and `newest`: streams that stand before it must read the journal.
    pub(super) fn jump(&mut self, newest: Position) {
        if newest > self.tail {
            self.tail = newest;
            self.applied = self.applied.max(newest.seq);
            self.moved_at = newest;
            self.ring = Ring::new(newest);
            self.changes += 1;
        }
    }

    /// Takes over commit `seq`, whose events not yet known are `events` and, as frames, `encoded`.
    pub(super) fn commit(
        &mut self,
        seq: u64,
        events: &[&StoredEvent],
        encoded: Option<Encoded>,
        now: Instant,
    ) -> Effects {
        let mut effects = Effects::default();
        self.applied = self.applied.max(seq);
        if let Some(mut encoded) = encoded {
            self.changes += 1;
            self.tail = encoded.last;
            let index = events.first().and_then(|stored| self.ids.get(&stored.event.vm_id).copied());
            encoded.slot = index.and_then(|index| Some((index, self.slots[index].as_ref()?.generation)));
            self.ring.push(encoded);
            match index {
                Some(index) => self.tell_slot(index, events, now, &mut effects),
                None => {
                    effects.everyone = true;
                    self.moved_at = self.tail;
                }
            }
        }
        self.free_held(now, &mut effects);
        effects
    }

    fn tell_slot(&mut self, index: usize, events: &[&StoredEvent], now: Instant, effects: &mut Effects) {
        effects.durable.push(index);
        let Some(slot) = self.slots[index].as_mut() else { return };
        let mut removed = false;
        for stored in events {
            removed = slot.durable(&stored.event, stored.position) || removed && stored.event.kind != EventKind::Status;
        }
        if removed {
            let seq = self.tail.seq;
            self.gone.insert(slot.vm_id.clone(), (seq, now));
            self.ids.remove(&slot.vm_id);
            self.slots[index] = None;
            self.lanes.iter_mut().for_each(|lane| lane.forget(index));
            self.moved_at = self.tail;
            effects.names.push((index, None));
        }
    }

    /// Takes over `report`, or drops it, or holds it back until its durable events are here.
    pub(super) fn report(&mut self, report: LiveReport, now: Instant) -> Effects {
        let mut effects = Effects::default();
        if let Some((seq, _)) = self.gone.get(&report.vm_id) {
            if report.poll_no > 0 && report.after.seq < *seq {
                return effects;
            }
            self.gone.remove(&report.vm_id);
        }
        let index = match self.ids.get(&report.vm_id) {
            Some(index) => *index,
            None => self.place(&report, now, &mut effects),
        };
        let applied = self.applied;
        let Some(slot) = self.slots[index].as_mut() else { return effects };
        match slot.judge(&report, applied) {
            Verdict::Drop => {}
            Verdict::Hold => slot.hold(report, now),
            Verdict::Apply => self.accept(index, report, now, &mut effects),
        }
        effects
    }

    fn place(&mut self, report: &LiveReport, now: Instant, effects: &mut Effects) -> usize {
        let index = self.slots.iter().position(Option::is_none).unwrap_or(self.slots.len());
        if index == self.slots.len() {
            self.slots.push(None);
        }
        self.generations += 1;
        self.changes += 1;
        self.slots[index] = Some(Slot::new(report, self.generations, self.tail, now));
        self.ids.insert(report.vm_id.clone(), index);
        self.lanes.iter_mut().for_each(|lane| lane.forget(index));
        effects.names.push((index, Some(report.vm.clone())));
        index
    }

    fn accept(&mut self, index: usize, report: LiveReport, now: Instant, effects: &mut Effects) {
        let Some(slot) = self.slots[index].as_mut() else { return };
        self.changes += 1;
        if slot.vm != report.vm {
            self.generations += 1;
            slot.generation = self.generations;
            self.moved_at = self.tail;
            // The journal tells what was before under the new name; what is encoded has the old one.
            self.ring = Ring::new(self.tail);
            self.lanes.iter_mut().for_each(|lane| lane.forget(index));
            effects.names.push((index, Some(report.vm.clone())));
        }
        if slot.apply(report, now) {
            self.offer(index, now, effects);
        }
    }

    fn offer(&mut self, index: usize, now: Instant, effects: &mut Effects) {
        let Some(slot) = &self.slots[index] else { return };
        let mut released = 0;
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            if lane.offer(index, slot.version, now) {
                released |= 1 << number;
            }
        }
        if released != 0 {
            effects.live.push((index, released));
        }
    }

    fn free_held(&mut self, now: Instant, effects: &mut Effects) {
        for index in 0..self.slots.len() {
            let Some(slot) = self.slots[index].as_mut() else { continue };
            let overdue = slot.held_for(HOLD, now);
            let Some((report, _)) = slot.held.take_if(|(held, _)| overdue || held.after.seq <= self.applied) else {
                continue;
            };
            if slot.judge(&report, u64::MAX) == Verdict::Apply {
                self.accept(index, report, now, effects);
            }
        }
    }

    /// Releases what lanes have due.
    pub(super) fn release(&mut self, now: Instant) -> Effects {
        let mut effects = Effects::default();
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            effects.live.extend(lane.release(&self.slots, now).into_iter().map(|index| (index, 1 << number)));
        }
        effects
    }

    /// When [`State::release`] has something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        self.lanes.iter().filter_map(Lane::due).min()
    }

    /// What time alone changes: VMs go stale, reports are held back long enough, the removed are forgotten.
    pub(super) fn tick(&mut self, now: Instant) -> Effects {
        let mut effects = Effects::default();
        self.beats = [None, None];
        self.gone.retain(|_, (_, since)| now.duration_since(*since) < GONE_KEPT);
        self.free_held(now, &mut effects);
        self.mark_stale(now, |slot| slot.overdue(now), &mut effects);
        effects
    }

    /// Nothing that is known is known to be so still.
    pub(super) fn all_stale(&mut self, now: Instant) -> Effects {
        let mut effects = Effects::default();
        self.mark_stale(now, |_| true, &mut effects);
        effects
    }

    fn mark_stale(&mut self, now: Instant, which: impl Fn(&Slot) -> bool, effects: &mut Effects) {
        for index in 0..self.slots.len() {
            let Some(slot) = self.slots[index].as_mut().filter(|slot| !slot.stale && which(slot)) else {
                continue;
            };
            self.changes += 1;
            if slot.mark_stale() {
                self.offer(index, now, effects);
            }
        }
    }

    /// The heartbeat of a stream at `position`: the same bytes for all that stand there.
    pub(super) fn beat(&mut self, position: Position, stale: bool, now: Timestamp) -> Bytes {
        let id = self.id(position);
        let kept = &mut self.beats[usize::from(stale)];
        match kept {
            Some((at, bytes)) if *at == position => bytes.clone(),
            _ => {
                let bytes = frame(EventKind::Heartbeat, Some(&id), &heartbeat(now, stale));
                *kept = Some((position, bytes.clone()));
                bytes
            }
        }
    }

    /// Whether a stream at `position` that sees `visible` has nothing to read up to the tail.
    pub(super) fn nothing_since<'a>(&self, position: Position, mut visible: impl Iterator<Item = &'a Slot>) -> bool {
        position >= self.moved_at && visible.all(|slot| slot.last_durable <= position)
    }

    /// The VMs, in the order of their slots.
    pub(super) fn vms(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().flatten()
    }
}
