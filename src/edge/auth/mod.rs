//! Who is calling: API keys, browser sessions, and what a route needs.

mod judge;
mod keys;
mod presented;
mod require;
mod routes;
mod session;
#[cfg(test)]
mod tests_keys;

pub(super) use judge::authenticate;
pub use keys::{KeyChanges, KeyFault, KeyInfo, KeySet, Keys, KeysError, Standing, new_key, new_secret};
pub use require::{Caller, Require, require};
pub use routes::session_routes;
pub use session::{CodeFault, SessionStore};
