//! What a route needs of its caller.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::extract::{FromRequestParts, Request};
use axum::response::{IntoResponse, Response};
use futures_util::future::Either;
use http::request::Parts;
use http::{Extensions, StatusCode};
use tower::{Layer, Service};

use crate::edge::Problem;
use crate::edge::record::AuthNotes;
use crate::model::{Principal, Scope};
use crate::telemetry::AuthOutcome;

/// A layer for one route: 401 without a principal, 403 without `scope`.
pub fn require(scope: Scope) -> Require {
    Require(scope)
}

/// The layer of [`require`].
#[derive(Clone, Copy, Debug)]
pub struct Require(Scope);

impl<S> Layer<S> for Require {
    type Service = Required<S>;

    fn layer(&self, inner: S) -> Required<S> {
        Required { inner, scope: self.0 }
    }
}

/// The service of [`Require`].
#[derive(Clone, Debug)]
pub struct Required<S> {
    inner: S,
    scope: Scope,
}

impl<S> Service<Request> for Required<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<Ready<Result<Response, Infallible>>, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        match allowed(request.extensions(), self.scope) {
            Ok(()) => Either::Right(self.inner.call(request)),
            Err(problem) => Either::Left(ready(Ok(problem.into_response()))),
        }
    }
}

fn allowed(extensions: &Extensions, scope: Scope) -> Result<(), Problem> {
    let principal = caller(extensions)?;
    if principal.scopes.allow(scope) {
        return Ok(());
    }
    note(extensions, AuthOutcome::Forbidden);
    Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", "This is not allowed")
        .detail(format!("The credential lacks the scope {scope}.")))
}

fn caller(extensions: &Extensions) -> Result<&Arc<Principal>, Problem> {
    extensions.get::<Arc<Principal>>().ok_or_else(|| {
        note(extensions, AuthOutcome::Missing);
        Problem::unauthorized()
    })
}

fn note(extensions: &Extensions, outcome: AuthOutcome) {
    if let Some(notes) = extensions.get::<AuthNotes>() {
        // A cookie that is no session was noted as that already, and says more.
        notes.change(|note| {
            if outcome == AuthOutcome::Forbidden || note.outcome.is_none() {
                note.outcome = Some(outcome);
            }
        });
    }
}

/// The principal of the request, as an argument of a handler; 401 if there is none.
#[derive(Clone, Debug)]
pub struct Caller(pub Arc<Principal>);

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        caller(&parts.extensions).map(|principal| Self(Arc::clone(principal)))
    }
}
