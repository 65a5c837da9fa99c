//! What every request of a connection is given, and how long it counts as under way.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use http::{Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use tower::Service;

use super::Connection;
use super::connection::{InFlight, Owed};
use crate::model::Peer;

/// Gives each request its [`Connection`] and [`Peer`], and counts it until its answer's body is dropped.
#[derive(Clone, Debug)]
pub(super) struct Lend<S> {
    pub(super) inner: S,
    pub(super) connection: Connection,
    pub(super) peer: Peer,
}

impl<S, B> Service<Request<B>> for Lend<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<UnderWay>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let in_flight = self.connection.begin();
        request.extensions_mut().insert(self.connection.clone());
        request.extensions_mut().insert(self.peer);
        let answer = self.inner.call(request);
        Box::pin(async move { Ok(answer.await?.map(|body| UnderWay::new(body, in_flight))) })
    }
}

/// A body that holds its request in the count.
#[derive(Debug)]
pub(super) struct UnderWay {
    body: Body,
    /// For a body of known size, which is all there. One of another kind is a stream of events, which may rest and which
    /// the hub ends, or an export, which ends by itself.
    owed: Option<Owed>,
    _in_flight: InFlight,
}

impl UnderWay {
    fn new(body: Body, in_flight: InFlight) -> Self {
        let whole = !body.is_end_stream() && body.size_hint().exact().is_some();
        Self { body, owed: whole.then(|| in_flight.owe()), _in_flight: in_flight }
    }
}

impl http_body::Body for UnderWay {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Some(owed) = &self.owed {
            owed.step();
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
