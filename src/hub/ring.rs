//! The journal's recent tail, encoded once: where streams that keep up read their durable events.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use crate::event::{Epoch, EventId, EventKind, Position, frame};
use crate::journal::StoredEvent;
use crate::model::VmName;

/// How many events the ring holds at most. A stream further behind reads the journal.
const RING_EVENTS: usize = 1024;

/// How many bytes of frames the ring holds at most (but always the latest commit).
const RING_BYTES: usize = 8 * 1024 * 1024;

/// One commit's events, encoded as one piece.
#[derive(Debug)]
pub(super) struct Encoded {
    /// Whom it is about.
    pub(super) vm: VmName,
    /// The slot that this VM had, and the slot's generation.
    pub(super) slot: Option<(usize, u32)>,
    /// The last event's position.
    pub(super) last: Position,
    bytes: Bytes,
    /// Where each event stands, and where its frame ends in `bytes`.
    ends: Box<[(Position, usize)]>,
}

impl Encoded {
    /// Encodes the events of one commit; `None` if there are none.
    pub(super) fn new<'a>(epoch: &Epoch, events: impl IntoIterator<Item = &'a StoredEvent>) -> Option<Self> {
        let mut bytes = BytesMut::new();
        let mut ends = Vec::new();
        let mut vm = None;
        for stored in events {
            bytes.extend_from_slice(&encode(epoch, stored));
            ends.push((stored.position, bytes.len()));
            vm = Some(&stored.event.vm);
        }
        let last = ends.last()?.0;
        Some(Self { vm: vm?.clone(), slot: None, last, bytes: bytes.freeze(), ends: ends.into() })
    }

    /// As many frames after `after` as `room` bytes hold (the first in any case if `force`): the frames, how many, and
    /// the position of the last.
    pub(super) fn take(&self, after: Position, room: usize, force: bool) -> Option<(Bytes, u64, Position)> {
        let first = self.ends.partition_point(|(at, _)| *at <= after);
        let start = first.checked_sub(1).map_or(0, |before| self.ends[before].1);
        let rest = &self.ends[first..];
        let fit = rest.partition_point(|(_, end)| end - start <= room).max(usize::from(force)).min(rest.len());
        let (upto, end) = *rest.get(fit.checked_sub(1)?)?;
        Some((self.bytes.slice(start..end), fit as u64, upto))
    }
}

/// A durable event's frame with its id.
pub(super) fn encode(epoch: &Epoch, stored: &StoredEvent) -> Bytes {
    let id = EventId { epoch: epoch.clone(), position: stored.position };
    debug_assert!(!matches!(stored.event.kind, EventKind::Heartbeat | EventKind::Reset | EventKind::Connected));
    frame(stored.event.kind, Some(&id), &stored.event.data)
}

/// The latest commits.
#[derive(Debug)]
pub(super) struct Ring {
    commits: VecDeque<Encoded>,
    events: usize,
    bytes: usize,
    floor: Position,
}

impl Ring {
    /// An empty ring behind `floor`.
    pub(super) fn new(floor: Position) -> Self {
        Self { commits: VecDeque::new(), events: 0, bytes: 0, floor }
    }

    /// Everything after it is in the ring.
    pub(super) fn floor(&self) -> Position {
        self.floor
    }

    pub(super) fn push(&mut self, commit: Encoded) {
        self.events += commit.ends.len();
        self.bytes += commit.bytes.len();
        self.commits.push_back(commit);
        while self.commits.len() > 1 && (self.events > RING_EVENTS || self.bytes > RING_BYTES) {
            let Some(oldest) = self.commits.pop_front() else { return };
            self.events -= oldest.ends.len();
            self.bytes -= oldest.bytes.len();
            self.floor = oldest.last;
        }
    }

    /// The commits with events after `position`, in order.
    pub(super) fn after(&self, position: Position) -> impl Iterator<Item = &Encoded> {
        let from = self.commits.partition_point(|commit| commit.last <= position);
        self.commits.range(from..)
    }
}
