//! One connection, as a request of it can end it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
    waker: AtomicWaker,
}

impl Connection {
    /// Ends the connection at once, with everything that goes over it.
    pub fn cut(&self) {
        self.0.cut.store(true, Ordering::Release);
        self.0.waker.wake();
    }

    /// Whether it is to end; if not, the task of `context` is woken when it is.
    pub(super) fn is_cut(&self, context: &Context<'_>) -> bool {
        self.0.waker.register(context.waker());
        self.0.cut.load(Ordering::Acquire)
    }
}
