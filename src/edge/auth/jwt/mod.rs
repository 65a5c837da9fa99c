//! JWTs of configured issuers: what a token says is believed only after its key, its algorithm and its claims are those
//! that the configuration asks for (RFC 7519, RFC 8725).
//!
//! `token.rs` looks at the text before anybody believes it, `ring.rs` has the keys and the signature, `claims.rs` what
//! must be said; all three are pure. `remote.rs` keeps the keys of an issuer that publishes them, `https.rs` fetches them,
//! and `issuers.rs` is what the edge asks.

mod claims;
mod fault;
mod https;
mod issuers;
mod read;
mod remote;
mod ring;
mod rules;
mod self_test;
mod token;

pub use fault::{IssuersError, TokenFault};
pub use issuers::{IssuerSet, Issuers};
pub(super) use token::{holds_token, looks_like_token};

#[cfg(test)]
mod tests;
