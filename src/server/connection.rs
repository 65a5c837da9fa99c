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
    /// Of these, the whole answers that are not taken yet.
    owed: AtomicUsize,
    /// Another number after each step of an answer, and after the end of each.
    steps: AtomicUsize,
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

    /// Why nothing goes on here, if so.
    pub(super) fn pause(&self) -> Option<Pause> {
        let after = self.0.steps.load(Ordering::Acquire);
        if self.0.owed.load(Ordering::Acquire) > 0 {
            Some(Pause { why: Why::Untaken, after })
        } else if after > 0 && self.0.in_flight.load(Ordering::Acquire) == 0 {
            Some(Pause { why: Why::Idle, after })
        } else {
            None
        }
    }
}

/// A time in which nothing goes on; it is another one, and another value, after each step of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pause {
    pub(super) why: Why,
    after: usize,
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// Its peer, to take a whole answer.
    Untaken,
    /// The next request.
    Idle,
}

/// One request, from its head to the last of its answer.
#[derive(Debug)]
pub(super) struct InFlight(Connection);

impl InFlight {
    /// Its answer is whole and waits for nothing but the peer, until what this gives is dropped.
    pub(super) fn owe(&self) -> Owed {
        if self.0.0.owed.fetch_add(1, Ordering::AcqRel) == 0 {
            // The timer is set by the task that reads.
            self.0.0.waker.wake();
        }
        Owed(self.0.clone())
    }
}

/// A whole answer that the peer has yet to take.
#[derive(Debug)]
pub(super) struct Owed(Connection);

impl Owed {
    /// Some of it goes to the peer.
    pub(super) fn step(&self) {
        self.0.0.steps.fetch_add(1, Ordering::AcqRel);
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        self.step();
        self.0.0.owed.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let shared = &self.0.0;
        shared.steps.fetch_add(1, Ordering::AcqRel);
        if shared.in_flight.fetch_sub(1, Ordering::AcqRel) == 1 {
            // The timer of idle connections is set by the task that reads.
            shared.waker.wake();
        }
    }
}
