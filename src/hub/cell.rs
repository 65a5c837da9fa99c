//! What the hub and one stream share: flags to set, a waker to wake, and the orders that end or restart it.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::time::Duration;

use futures_util::task::AtomicWaker;

use super::lag::Lag;
use super::view::View;
use crate::event::Position;

/// A commit with events that the stream may see.
pub(super) const DURABLE: u32 = 1;
/// A lane released live events that the stream may see.
pub(super) const LIVE: u32 = 1 << 1;
/// Its turn on the heartbeat's wheel.
pub(super) const HEARTBEAT: u32 = 1 << 2;
/// An [`Order`] waits.
pub(super) const ORDER: u32 = 1 << 3;

/// What the hub tells one stream alone.
#[derive(Debug)]
pub(super) enum Order {
    /// Its grants are now these: begin anew.
    Grants(Arc<View>),
    /// Say so and end.
    End(EndReason, Option<u32>),
}

/// Why a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The client left.
    ClientGone,
    /// The client took nothing for too long.
    Slow,
    /// This replica stops.
    Drained,
    /// The credential expired.
    Expired,
    /// The credential was revoked.
    Revoked,
    /// The journal could not be read.
    JournalFailed,
}

impl EndReason {
    /// Every reason.
    pub const ALL: [Self; 6] =
        [Self::ClientGone, Self::Slow, Self::Drained, Self::Expired, Self::Revoked, Self::JournalFailed];

    /// As metrics and logs have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientGone => "client_gone",
            Self::Slow => "slow",
            Self::Drained => "drained",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::JournalFailed => "journal_failed",
        }
    }
}

/// Ends the connection of a stream from outside: for a body that the protocol does not ask for any more.
#[derive(Clone)]
pub struct Cut(Arc<dyn Fn() + Send + Sync>);

impl Cut {
    /// `cut` ends the connection at once; it must not block.
    pub fn new(cut: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(cut))
    }

    /// Ends it.
    pub fn cut(&self) {
        (self.0)();
    }
}

impl fmt::Debug for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cut")
    }
}

/// The shared part of a stream: all that an open stream costs the hub beside its entry in the registry.
#[derive(Debug, Default)]
pub(super) struct Cell {
    /// Tells the stream from every other one of this hub.
    pub(super) id: u64,
    /// Hub milliseconds at which it opened.
    pub(super) opened: u64,
    delivered: AtomicU64,
    coalesced: AtomicU64,
    waker: AtomicWaker,
    flags: AtomicU32,
    /// Hub milliseconds since when something waits to be taken; 0: nothing does.
    busy_since: AtomicU64,
    /// The commit that it stood at when it last took something, or opened.
    at: AtomicU64,
    slow: AtomicBool,
    /// Hub milliseconds at which it was told to end; 0: it was not.
    end_ordered: AtomicU64,
    cut: Option<Cut>,
    /// Its index in its lane's registry; only the registry writes it, under its lock.
    pub(super) place: AtomicUsize,
    order: Mutex<Option<Order>>,
}

impl Cell {
    /// Of the stream `id`, which opens at `opened` when the tail stands at `tail`.
    pub(super) fn new(id: u64, opened: u64, cut: Option<Cut>, tail: Position) -> Self {
        Self { id, opened, cut, at: AtomicU64::new(tail.seq), ..Self::default() }
    }

    /// Stream side: so many events went out, in place of so many more.
    pub(super) fn count(&self, delivered: u64, coalesced: u64) {
        self.delivered.fetch_add(delivered, Ordering::Relaxed);
        self.coalesced.fetch_add(coalesced, Ordering::Relaxed);
    }

    /// Events delivered and coalesced.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.delivered.load(Ordering::Relaxed), self.coalesced.load(Ordering::Relaxed))
    }

    /// Hub side: ends the connection, if there is a way to.
    pub(super) fn cut(&self) {
        if let Some(cut) = &self.cut {
            cut.cut();
        }
    }

    /// Hub side: whether the stream was told to end `limit` milliseconds ago and is still there.
    pub(super) fn stays(&self, now: u64, limit: u64) -> bool {
        let ordered = self.end_ordered.load(Ordering::Relaxed);
        ordered != 0 && now.saturating_sub(ordered) >= limit
    }

    /// Hub side: sets `flag` at `now` and wakes the stream, unless it was already told and has not looked yet.
    pub(super) fn notify(&self, flag: u32, now: u64) {
        let before = self.flags.fetch_or(flag, Ordering::AcqRel);
        if self.busy_since.load(Ordering::Relaxed) == 0 {
            self.busy_since.store(now, Ordering::Relaxed);
        }
        if before & flag == 0 {
            self.waker.wake();
        }
    }

    /// Hub side: leaves an order. An end stands; nothing replaces it.
    pub(super) fn order(&self, order: Order, now: u64) {
        {
            let mut slot = self.order.lock().unwrap_or_else(PoisonError::into_inner);
            if matches!(order, Order::End(..)) && self.end_ordered.load(Ordering::Relaxed) == 0 {
                self.end_ordered.store(now, Ordering::Relaxed);
            }
            if !matches!(*slot, Some(Order::End(..))) {
                *slot = Some(order);
            }
        }
        self.notify(ORDER, now);
    }

    /// Hub side: whether the stream took nothing for `limit` milliseconds; `true` once per stall.
    pub(super) fn stalls(&self, now: u64, limit: u64) -> bool {
        let since = self.busy_since.load(Ordering::Relaxed);
        since != 0 && now.saturating_sub(since) >= limit && !self.slow.swap(true, Ordering::Relaxed)
    }

    /// Stream side: takes the flags set since the last look.
    pub(super) fn look(&self, waker: &Waker) -> u32 {
        self.waker.register(waker);
        self.flags.swap(0, Ordering::AcqRel)
    }

    /// Stream side: takes the order.
    pub(super) fn take_order(&self) -> Option<Order> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Hub side: how far it is behind `tail`; `None` if nothing waits for it.
    pub(super) fn lag(&self, now: u64, tail: Position) -> Option<Lag> {
        let since = self.busy_since.load(Ordering::Relaxed);
        let commits = tail.seq.saturating_sub(self.at.load(Ordering::Relaxed));
        (since != 0).then(|| Lag::of_one(commits, Duration::from_millis(now.saturating_sub(since))))
    }

    /// Stream side: it took bytes at `now` and is to come back for more, or (`None`) there is nothing to take; it stands
    /// at `position`, unless that is the start: then it has not found its place yet.
    pub(super) fn taken(&self, now: Option<u64>, position: Position) {
        if position != Position::START {
            self.at.store(position.seq, Ordering::Relaxed);
        }
        self.busy_since.store(now.unwrap_or(0), Ordering::Relaxed);
        self.slow.store(false, Ordering::Relaxed);
    }

    pub(super) fn is_slow(&self) -> bool {
        self.slow.load(Ordering::Relaxed)
    }
}
