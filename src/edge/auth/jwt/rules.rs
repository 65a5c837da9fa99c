//! What one issuer's tokens must be like, read from the configuration once.

use std::str::FromStr;
use std::sync::Arc;

use jsonwebtoken::{Algorithm, AlgorithmFamily, Validation};

use super::fault::IssuersError;
use crate::config::{JwtConfig, JwtKeys};

/// Claims without which no token is taken (G34).
const REQUIRED: [&str; 4] = ["exp", "aud", "iss", "sub"];

/// What one issuer's tokens must be like.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) issuer: Arc<str>,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) config: JwtConfig,
}

impl Rules {
    /// Reads `config`. HS goes with a shared secret and nothing else does: whoever has a public key could sign with it
    /// otherwise (G33).
    pub(super) fn new(config: &JwtConfig) -> Result<Self, IssuersError> {
        let shared = matches!(config.keys, JwtKeys::Secret(_));
        let read = |name: &String| {
            let fits = |algorithm: &Algorithm| (algorithm.family() == AlgorithmFamily::Hmac) == shared;
            Algorithm::from_str(name)
                .ok()
                .filter(fits)
                .ok_or_else(|| IssuersError::Algorithm { issuer: config.issuer.clone(), name: name.clone() })
        };
        let algorithms = config.algorithms.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Self { issuer: config.issuer.as_str().into(), algorithms, config: config.clone() })
    }

    /// What jsonwebtoken checks of a token of a key that works with `algorithms`, all of one family. It reads times from
    /// the system's clock, so those are checked in [`super::claims`].
    pub(super) fn validation(&self, algorithms: Vec<Algorithm>) -> Validation {
        let mut validation = Validation::new(algorithms.first().copied().unwrap_or_default());
        validation.algorithms = algorithms;
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.set_required_spec_claims(&REQUIRED);
        validation.set_audience(&self.config.audience);
        validation.set_issuer(&[&self.config.issuer]);
        validation
    }
}
