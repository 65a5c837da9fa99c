//! Who is calling: API keys, JWTs, browser sessions, tickets, and what a route needs.

mod codes;
mod hook;
mod judge;
mod jwt;
mod keys;
mod login;
mod presented;
mod require;
mod revoked;
mod routes;
mod session;
mod ticket;

pub use codes::LoginCodes;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_keys;

pub(super) use judge::authenticate;
pub use jwt::{IssuerSet, Issuers, IssuersError, TokenFault};
pub use keys::{KeyChanges, KeyFault, KeyInfo, KeySet, Keys, KeysError, new_key, new_secret};
pub use require::{Caller, Require, require};
pub use revoked::KeyNews;
pub use routes::session_routes;
pub use session::{BeginFault, LoggedOut, NewSession, SessionFault, SessionSecretError, SessionSecrets, SessionStore};
pub use ticket::{IssuedTicket, StoreAway, TicketFault, TicketHash, TicketStore, Tickets};
