//! The edge: what every request passes before a handler sees it, and every answer after. Knows HTTP, knows no VM.
//!
//! Imports `model`, `config` and `telemetry`. `layers.rs` has all layers on one screen; `auth/` says who is calling;
//! `problem.rs` is the one place that turns an error into a response.

pub mod audit;
pub mod auth;
mod layers;
mod origin;
mod problem;
mod record;
mod state;

pub use auth::{Caller, Issuers, Keys, SessionSecrets, SessionStore, require, session_routes};
pub use layers::{RequestId, layers};
pub use problem::Problem;
pub use state::{AuthMode, Credentials, EdgeSettings, EdgeState};

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_audit;
