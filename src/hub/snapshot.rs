//! Snapshots: what a stream must know to begin at one position (SEMANTICS 5).

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::slot::{Item, Slot};
use super::state::State;
use super::view::View;
use crate::event::{EventKind, Position, frame, heartbeat};
use crate::model::{RunId, Timestamp};

/// The most bytes that a stream is handed at once, unless one frame alone is larger.
pub(super) const CHUNK: usize = 64 * 1024;

/// How many captures are kept for streams that begin between the same two changes.
const CAPTURES: usize = 4;

/// What one stream knows of one slot.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// The slot's generation that this is about; 0: none.
    pub(super) generation: u32,
    /// The slot's version whose live frames it has.
    pub(super) version: u32,
    pub(super) visible: bool,
}

/// All that streams of one view need to begin at `at`.
#[derive(Debug)]
pub(super) struct Capture {
    /// Where the stream goes on.
    pub(super) at: Position,
    /// The runs whose completions come first.
    pub(super) runs: Arc<[RunId]>,
    /// The live frames in pieces of at most [`CHUNK`]; the last frame carries `at` as its id.
    pub(super) pieces: Box<[Bytes]>,
    /// How many they are.
    pub(super) frames: u64,
    /// What a stream that got them has seen.
    pub(super) seen: Box<[Seen]>,
}

/// The latest captures: when thousands of streams begin at once, they share them.
#[derive(Debug, Default)]
pub(super) struct Captures {
    changes: u64,
    kept: VecDeque<(u64, bool, Arc<Capture>)>,
}

/// Brings `seen` up to date with who is in which slot.
pub(super) fn look_round(seen: &mut Vec<Seen>, slots: &[Option<Slot>], view: &View) {
    if seen.len() < slots.len() {
        seen.resize(slots.len(), Seen::default());
    }
    for (seen, slot) in seen.iter_mut().zip(slots) {
        if let Some(slot) = slot.as_ref().filter(|slot| slot.generation != seen.generation) {
            *seen = Seen { generation: slot.generation, version: 0, visible: view.sees(&slot.vm) };
        }
    }
}

/// The slots that a stream sees.
pub(super) fn visible<'a>(seen: &'a [Seen], slots: &'a [Option<Slot>]) -> impl Iterator<Item = &'a Slot> {
    slots.iter().zip(seen).filter(|(_, seen)| seen.visible).filter_map(|(slot, _)| slot.as_ref())
}

impl State {
    /// What `view` shows now. With `resumed`, for a client that has the past: it also hears of errors that are over.
    pub(super) fn capture(&mut self, view: &View, resumed: bool, now: Timestamp) -> Arc<Capture> {
        if self.captures.changes != self.changes {
            self.captures = Captures { changes: self.changes, kept: VecDeque::new() };
        }
        let same = |(key, kind, _): &&(u64, bool, Arc<Capture>)| *key == view.key() && *kind == resumed;
        if let Some((_, _, capture)) = self.captures.kept.iter().find(same) {
            return Arc::clone(capture);
        }
        let capture = Arc::new(self.make_capture(view, resumed, now));
        if capture.frames > 0 {
            self.captures.kept.truncate(CAPTURES - 1);
            self.captures.kept.push_front((view.key(), resumed, Arc::clone(&capture)));
        }
        capture
    }

    fn make_capture(&self, view: &View, resumed: bool, now: Timestamp) -> Capture {
        let mut seen = Vec::new();
        look_round(&mut seen, &self.slots, view);
        for (seen, slot) in seen.iter_mut().zip(&self.slots) {
            seen.version = slot.as_ref().map_or(0, |slot| slot.version);
        }
        let runs = visible(&seen, &self.slots).flat_map(Slot::runs).cloned().collect();
        let items: Vec<&Item> = visible(&seen, &self.slots).flat_map(|slot| slot.items_now(resumed)).collect();
        let id = self.id(self.tail);
        let mut pieces = Pieces::default();
        if let Some((last, rest)) = items.split_last() {
            rest.iter().for_each(|item| pieces.push(&item.frame));
            pieces.push(&frame(last.kind, Some(&id), &last.data));
        } else {
            let stale = visible(&seen, &self.slots).any(|slot| slot.stale);
            pieces.push(&frame(EventKind::Heartbeat, Some(&id), &heartbeat(now, stale)));
        }
        let frames = items.len() as u64;
        Capture { at: self.tail, runs, pieces: pieces.finish(), frames, seen: seen.into() }
    }
}

/// Gathers frames into pieces of at most [`CHUNK`].
#[derive(Default)]
struct Pieces {
    done: Vec<Bytes>,
    open: BytesMut,
}

impl Pieces {
    fn push(&mut self, frame: &Bytes) {
        if !self.open.is_empty() && self.open.len() + frame.len() > CHUNK {
            self.done.push(self.open.split().freeze());
        }
        self.open.extend_from_slice(frame);
    }

    fn finish(mut self) -> Box<[Bytes]> {
        if !self.open.is_empty() {
            self.done.push(self.open.freeze());
        }
        self.done.into()
    }
}
