//! The edge: what every request passes before a handler sees it, and every answer after. Knows HTTP, knows no VM.
//!
//! Imports `model`, `config` and `telemetry`. `layers.rs` has all layers on one screen; `auth/` says who is calling;
//! `client/` who is asking from where, `limits/` how much; `problem.rs` is the one place that turns an error into a response.

pub mod audit;
pub mod auth;
mod clean;
mod client;
mod layers;
mod limits;
mod origin;
mod problem;
mod record;
mod shared;
mod state;

pub use auth::{Caller, Issuers, Keys, SessionSecrets, SessionStore, require, session_routes};
pub use client::{AddressFault, Client, ProxyRules, resolve};
pub use layers::{RequestId, layers};
pub use limits::{AuthFailures, Limits, StreamSlot, StreamSlots};
pub use problem::Problem;
pub use record::{note_act, note_over};
pub use state::{AuthMode, Credentials, EdgeSettings, EdgeState};

#[cfg(test)]
mod tests;
