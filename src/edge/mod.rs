//! The edge: what every request passes before a handler sees it, and every answer after. Knows HTTP, knows no VM.
//!
//! Imports `model`, `config` and `telemetry`. `layers.rs` has all layers on one screen; `auth/` says who is calling;
//! `problem.rs` is the one place that turns an error into a response.

pub mod auth;
mod layers;
mod origin;
mod problem;
mod record;
mod state;

pub use auth::{Caller, Issuers, Keys, SessionStore, Standing, require, session_routes};
pub use layers::{RequestId, layers};
pub use problem::Problem;
pub use state::{AuthMode, EdgeSettings, EdgeState};

#[cfg(test)]
mod tests;
