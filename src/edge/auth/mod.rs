//! Who is calling: API keys, browser sessions, tickets, and what a route needs.

mod codes;
mod judge;
mod keys;
mod login;
mod presented;
mod require;
mod routes;
mod session;
mod ticket;

pub use codes::LoginCodes;
#[cfg(test)]
mod tests;

pub(super) use judge::authenticate;
pub use keys::{KeyFault, KeySet, Keys, KeysError, Standing, new_key};
pub use require::{Caller, Require, require};
pub use routes::session_routes;
pub use session::{NewSession, SessionFault, SessionSecretError, SessionSecrets, SessionStore};
pub use ticket::{Tickets, TooManyTickets};
