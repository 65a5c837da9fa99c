//! One connection, as its requests see it: who is at the other end, how many there are, and how to end it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Context;

use futures_util::task::AtomicWaker;

/// The connection that a request came over; an extension of every request. Clones are the same connection.
///
/// A response whose body the protocol does not ask for (an HTTP/2 client that grants no window) can be ended by nothing
/// but this.
#[derive(Clone, Debug, Default)]
pub struct Connection(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    cut: AtomicBool,
    in_flight: AtomicUsize,
    ended: AtomicUsize,
    waker: AtomicWaker,
}

impl Connection {
    /// Ends the connection at once, with everything that goes over it.
    pub fn cut(&self) {
        self.0.cut.store(true, Ordering::Release);
        self.0.waker.wake();
    }

    /// Whether it is to end; if not, the task of `context` is woken when it is, and when its last request ended.
    pub(super) fn is_cut(&self, context: &Context<'_>) -> bool {
        self.0.waker.register(context.waker());
        self.0.cut.load(Ordering::Acquire)
    }

    /// A request that is under way until what this gives is dropped.
    pub(super) fn begin(&self) -> InFlight {
        self.0.in_flight.fetch_add(1, Ordering::AcqRel);
        InFlight(self.clone())
    }

    /// If no request is under way now and there was one: how many have ended, which is another number after each.
    pub(super) fn idle(&self) -> Option<usize> {
        let ended = self.0.ended.load(Ordering::Acquire);
        (ended > 0 && self.0.in_flight.load(Ordering::Acquire) == 0).then_some(ended)
    }
}

/// One request, from its head to the last of its answer.
#[derive(Debug)]
pub(super) struct InFlight(Connection);

impl Drop for InFlight {
    fn drop(&mut self) {
        let shared = &self.0.0;
        shared.ended.fetch_add(1, Ordering::AcqRel);
        if shared.in_flight.fetch_sub(1, Ordering::AcqRel) == 1 {
            // The timer of idle connections is set by the task that reads.
            shared.waker.wake();
        }
    }
}
