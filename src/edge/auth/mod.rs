//! Who is calling: API keys, JWTs, browser sessions, and what a route needs.

mod judge;
mod jwt;
mod keys;
mod presented;
mod require;
mod routes;
mod session;

pub(super) use judge::authenticate;
pub use jwt::{Issuers, IssuersError, TokenFault};
pub use keys::{KeyFault, KeySet, Keys, KeysError, Standing, new_key};
pub use require::{Caller, Require, require};
pub use routes::session_routes;
pub use session::{CodeFault, SessionStore};
