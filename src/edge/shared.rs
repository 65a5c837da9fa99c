//! axum's `from_fn` for a deep stack.
//!
//! A layer of axum's clones all that is inside it for each request, so a stack of n layers clones n²/2 of them, and the one
//! for CORS holds a dozen lists. Here each holds what is inside it behind one `Arc`, and is itself cloned once.

use std::sync::Arc;
use std::task::{Context, Poll};

use axum::extract::Request;
use axum::middleware::{self, FromFnLayer};
use tower::Service;
use tower::layer::util::Stack;
use tower::layer::{LayerFn, layer_fn};

type Share<I> = LayerFn<fn(I) -> Shared<I>>;

/// [`middleware::from_fn`] around what is shared.
pub(super) fn from_fn<I, F, T>(f: F) -> Stack<Share<I>, FromFnLayer<F, (), T>> {
    Stack::new(layer_fn(Shared::new), middleware::from_fn(f))
}

/// [`middleware::from_fn_with_state`] around what is shared.
pub(super) fn from_fn_with_state<I, F, S, T>(state: S, f: F) -> Stack<Share<I>, FromFnLayer<F, S, T>> {
    Stack::new(layer_fn(Shared::new), middleware::from_fn_with_state(state, f))
}

/// A service of which a clone is as cheap as a count. It is always ready, as every service in a router must be.
#[derive(Debug)]
pub(super) struct Shared<S>(Arc<S>);

impl<S> Shared<S> {
    fn new(service: S) -> Self {
        Self(Arc::new(service))
    }
}

impl<S> Clone for Shared<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: Service<Request> + Clone> Service<Request> for Shared<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> S::Future {
        S::clone(&self.0).call(request)
    }
}
