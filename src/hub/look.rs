//! A stream at the tail looks at the hub: durable events first, then live ones, then the heartbeat.

use bytes::{Bytes, BytesMut};

use super::cell::{DURABLE, HEARTBEAT, LIVE};
use super::snapshot::{CHUNK, Seen, look_round, visible};
use super::state::State;
use super::stream::{Phase, Step, StreamBody};
use super::view::View;
use crate::event::Position;

/// No heartbeat is longer, in bytes.
const BEAT: usize = 256;

/// The frames of one chunk. A single piece is shared, not copied.
#[derive(Default)]
struct Chunk {
    first: Option<Bytes>,
    rest: Vec<Bytes>,
    bytes: usize,
    durable: u64,
    live: u64,
    coalesced: u64,
}

impl Chunk {
    fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    fn room(&self) -> usize {
        CHUNK.saturating_sub(self.bytes)
    }

    fn fits(&self, bytes: usize) -> bool {
        self.is_empty() || bytes <= self.room()
    }

    fn push(&mut self, piece: Bytes) {
        self.bytes += piece.len();
        if self.first.is_none() {
            self.first = Some(piece);
        } else {
            self.rest.push(piece);
        }
    }

    fn finish(self) -> Option<Bytes> {
        let first = self.first?;
        if self.rest.is_empty() {
            return Some(first);
        }
        let mut bytes = BytesMut::with_capacity(self.bytes);
        bytes.extend_from_slice(&first);
        self.rest.iter().for_each(|piece| bytes.extend_from_slice(piece));
        Some(bytes.freeze())
    }
}

/// How far the durable events went.
#[derive(PartialEq, Eq)]
enum Reach {
    /// To the tail.
    Tail,
    /// The chunk is full.
    Full,
    /// The ring does not go back that far.
    Journal,
}

impl StreamBody {
    /// Gathers what there is to send. `resuming`: once at the tail, what is so now is told whole.
    pub(super) fn look(&mut self, resuming: bool) -> Step {
        let mut chunk = Chunk::default();
        let mut state = self.hub.state();
        look_round(&mut self.seen, &state.slots, &self.view);
        let reach = durable(&state, &self.view, &self.seen, &mut self.position, &mut chunk);
        let tail = state.tail;
        let mut capture = None;
        if reach == Reach::Tail && resuming {
            capture = Some(state.capture(&self.view, true, self.hub.now()));
        } else if reach == Reach::Tail && live(&mut state, self.lane, &mut self.seen, &mut chunk) {
            self.flags &= !(DURABLE | LIVE);
            if self.flags & HEARTBEAT != 0 && chunk.fits(BEAT) {
                self.flags &= !HEARTBEAT;
                let stale = visible(&self.seen, &state.slots).any(|slot| slot.stale);
                chunk.push(state.beat(self.position, stale, self.hub.now()));
            }
        }
        drop(state);
        if let Some(capture) = capture {
            self.settle(&capture);
            self.phase = Phase::Pieces { capture, next: 0 };
        } else if reach == Reach::Journal && chunk.is_empty() {
            self.read_on(resuming, tail);
            return Step::Again;
        }
        self.send(chunk)
    }

    fn send(&self, chunk: Chunk) -> Step {
        for (count, counter) in [
            (chunk.durable, &self.hub.delivered_durable),
            (chunk.live, &self.hub.delivered_live),
            (chunk.coalesced, &self.hub.metrics.events_coalesced),
        ] {
            if count > 0 {
                counter.inc_by(count);
            }
        }
        self.cell.count(chunk.durable + chunk.live, chunk.coalesced);
        match chunk.finish() {
            Some(bytes) => Step::Send(bytes),
            None if matches!(self.phase, Phase::Live { .. }) => Step::Wait,
            None => Step::Again,
        }
    }
}

fn durable(state: &State, view: &View, seen: &[Seen], position: &mut Position, chunk: &mut Chunk) -> Reach {
    if *position >= state.tail {
        return Reach::Tail;
    }
    if state.nothing_since(*position, visible(seen, &state.slots)) {
        *position = state.tail;
        return Reach::Tail;
    }
    if *position < state.ring.floor() {
        return Reach::Journal;
    }
    for commit in state.ring.after(*position) {
        let known = commit.slot.and_then(|(slot, generation)| {
            seen.get(slot).filter(|seen| seen.generation == generation).map(|seen| seen.visible)
        });
        if !known.unwrap_or_else(|| view.sees(&commit.vm)) {
            *position = commit.last;
            continue;
        }
        let Some((bytes, frames, last)) = commit.take(*position, chunk.room(), chunk.is_empty()) else {
            return Reach::Full;
        };
        chunk.push(bytes);
        chunk.durable += frames;
        *position = last;
        if last < commit.last {
            return Reach::Full;
        }
    }
    *position = state.tail;
    Reach::Tail
}

/// `false`: the chunk is full, and there is more.
fn live(state: &mut State, lane: u8, seen: &mut [Seen], chunk: &mut Chunk) -> bool {
    let State { slots, lanes, .. } = state;
    let lane = &mut lanes[usize::from(lane)];
    for (index, (seen, slot)) in seen.iter_mut().zip(&*slots).enumerate() {
        let Some(slot) = slot.as_ref().filter(|_| seen.visible && lane.released(index) > seen.version) else {
            continue;
        };
        let bundle = lane.bundle(index, slot, seen.version);
        if !chunk.fits(bundle.bytes.len()) {
            return false;
        }
        if seen.version > 0 {
            chunk.coalesced += u64::from(slot.version - seen.version - 1);
        }
        seen.version = slot.version;
        if bundle.frames > 0 {
            chunk.live += bundle.frames;
            chunk.push(bundle.bytes);
        }
    }
    true
}
