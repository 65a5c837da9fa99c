//! Lanes: when the streams that asked for the same interval get a VM's live events (SEMANTICS 5, the lane rule).

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::slot::Slot;

/// Lanes 1 to 60; number 0 stays empty.
pub(super) const LANES: usize = 61;

/// One lane's dealings with every VM.
#[derive(Debug)]
pub(super) struct Lane {
    interval: Duration,
    /// Open streams of this lane; with none it rests.
    streams: usize,
    turns: Vec<Turn>,
    /// The earliest `due` of its turns.
    earliest: Option<Instant>,
}

/// One lane's dealings with one VM.
#[derive(Debug, Default)]
struct Turn {
    /// The slot's version that streams may have: those that have seen less are dirty.
    released: u32,
    sent_at: Option<Instant>,
    /// When the latest, which came too early, goes out.
    due: Option<Instant>,
    /// What most streams need next: made by the first that asks.
    bundle: Option<Bundle>,
}

/// The frames between two versions of a slot, as one piece.
#[derive(Clone, Debug)]
pub(super) struct Bundle {
    after: u32,
    upto: u32,
    pub(super) bytes: Bytes,
    pub(super) frames: u64,
}

impl Lane {
    /// `seconds`: 1 to 60.
    pub(super) fn new(seconds: u64) -> Self {
        Self { interval: Duration::from_secs(seconds), streams: 0, turns: Vec::new(), earliest: None }
    }

    pub(super) fn join(&mut self) {
        self.streams += 1;
    }

    /// A stream leaves. With the last one goes what the lane remembers.
    pub(super) fn leave(&mut self) {
        self.streams = self.streams.saturating_sub(1);
        if self.streams == 0 {
            self.turns.clear();
            self.earliest = None;
        }
    }

    /// Hears that `slot` has `version`; `true`: it is released now. Else it waits for the interval to pass.
    pub(super) fn offer(&mut self, slot: usize, version: u32, now: Instant) -> bool {
        if self.streams == 0 {
            return false;
        }
        let interval = self.interval;
        let turn = self.turn(slot);
        // A report may come a little early; without this it would wait for nearly a whole interval more.
        let free = turn.sent_at.is_none_or(|at| now.duration_since(at) >= interval.mul_f64(0.9));
        if free {
            *turn = Turn { released: version, sent_at: Some(now), due: None, bundle: turn.bundle.take() };
        } else if turn.due.is_none() {
            let due = turn.sent_at.map_or(now, |at| at + interval);
            turn.due = Some(due);
            self.earliest = Some(self.earliest.map_or(due, |earliest| earliest.min(due)));
        }
        free
    }

    /// Releases what is due, and says of which slots.
    pub(super) fn release(&mut self, slots: &[Option<Slot>], now: Instant) -> Vec<usize> {
        let mut released = Vec::new();
        if self.streams == 0 || self.earliest.is_none_or(|earliest| earliest > now) {
            return released;
        }
        for (index, turn) in self.turns.iter_mut().enumerate() {
            if turn.due.is_some_and(|due| due <= now) {
                turn.due = None;
                turn.sent_at = Some(now);
                if let Some(Some(slot)) = slots.get(index) {
                    turn.released = slot.version;
                    released.push(index);
                }
            }
        }
        self.earliest = self.turns.iter().filter_map(|turn| turn.due).min();
        released
    }

    /// When [`Lane::release`] has something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        self.earliest.filter(|_| self.streams > 0)
    }

    /// Another VM is, or none is, in `slot`.
    pub(super) fn forget(&mut self, slot: usize) {
        if let Some(turn) = self.turns.get_mut(slot) {
            *turn = Turn::default();
        }
    }

    pub(super) fn released(&self, slot: usize) -> u32 {
        self.turns.get(slot).map_or(0, |turn| turn.released)
    }

    /// The live frames of `slot`, whose index is `index`, that came after version `after`.
    pub(super) fn bundle(&mut self, index: usize, slot: &Slot, after: u32) -> Bundle {
        let turn = self.turn(index);
        if let Some(made) = turn.bundle.as_ref().filter(|made| made.after == after && made.upto == slot.version) {
            return made.clone();
        }
        let items: Vec<&Bytes> = slot.items_after(after).map(|item| &item.frame).collect();
        let bytes = match items[..] {
            [] => Bytes::new(),
            [one] => one.clone(),
            _ => {
                let mut bytes = BytesMut::with_capacity(items.iter().map(|frame| frame.len()).sum());
                items.iter().for_each(|frame| bytes.extend_from_slice(frame));
                bytes.freeze()
            }
        };
        let made = Bundle { after, upto: slot.version, bytes, frames: items.len() as u64 };
        turn.bundle = Some(made.clone());
        made
    }

    fn turn(&mut self, slot: usize) -> &mut Turn {
        if slot >= self.turns.len() {
            self.turns.resize_with(slot + 1, Turn::default);
        }
        &mut self.turns[slot]
    }
}
