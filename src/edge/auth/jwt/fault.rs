//! Why a token is not taken, and why a set of issuers is refused.

use std::path::PathBuf;

use crate::telemetry::AuthOutcome;

/// Why a token is not taken. For the log and the metrics alone: the client sees one answer (G24).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    /// Not of the form of a token that is read here.
    #[error("not a token: {0}")]
    Malformed(&'static str),
    /// No such issuer is configured.
    #[error("its issuer is not configured")]
    UnknownIssuer,
    /// None of the issuer's keys is the one that it names, or fits it alone.
    #[error("no key of its issuer fits it alone")]
    UnknownKey,
    /// The algorithm is not one that its issuer and its key are used with (G33).
    #[error("its algorithm is not accepted")]
    Algorithm,
    /// Signed with another key, or changed since.
    #[error("its signature is wrong")]
    Signature,
    /// A claim is missing or says something else than it must (G34).
    #[error("its claims: {0}")]
    Claims(&'static str),
    /// `exp` is past.
    #[error("it has expired")]
    Expired,
    /// `nbf` or `iat` is yet to come.
    #[error("it is for later")]
    TooEarly,
}

impl TokenFault {
    /// The label under which it is counted.
    pub fn outcome(self) -> AuthOutcome {
        match self {
            Self::Malformed(_) => AuthOutcome::Malformed,
            Self::UnknownIssuer | Self::UnknownKey => AuthOutcome::Unknown,
            Self::Algorithm => AuthOutcome::Algorithm,
            Self::Signature => AuthOutcome::Wrong,
            Self::Claims(_) => AuthOutcome::Claims,
            Self::Expired => AuthOutcome::Expired,
            Self::TooEarly => AuthOutcome::TooEarly,
        }
    }
}

/// Why a set of issuers is refused: one readable line without what a secret file holds.
#[derive(Debug, thiserror::Error)]
pub enum IssuersError {
    /// A file of an issuer.
    #[error("the JWT issuer {issuer}: {} {why}", path.display())]
    File {
        /// Whose.
        issuer: String,
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The name of an algorithm that is none.
    #[error("the JWT issuer {issuer}: {name} is no algorithm of its keys")]
    Algorithm {
        /// Whose.
        issuer: String,
        /// Which.
        name: String,
    },
    /// The client that fetches its keys cannot be made.
    #[error("the JWT issuer {issuer}: its keys cannot be fetched: {why}")]
    Client {
        /// Whose.
        issuer: String,
        /// Why.
        why: String,
    },
    /// Known signatures are not verified as they must be: the cryptography is not what the code was built for.
    #[error("the self-test of JWT signatures failed")]
    SelfTest,
}
