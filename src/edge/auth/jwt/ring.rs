//! The keys of one issuer, and which of them a token is verified with (RFC 7517).

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, Validation, decode};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::fault::TokenFault;
use super::rules::Rules;
use super::token::{Object, Unverified};

/// Keys in one set, at most.
pub(super) const MAX_KEYS: usize = 64;
/// Bytes of a set, at most (G40).
pub(super) const MAX_SET: usize = 256 * 1024;
/// Bits of an RSA modulus: fewer can be factored (G33), and more than the verifier takes.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Keys that verify tokens, ready to use: nothing of them is parsed while a request waits.
#[derive(Debug)]
pub(super) struct Ring {
    keys: Vec<Key>,
    /// A shared secret is the only key there is, whatever a token calls it.
    only: bool,
}

#[derive(Debug)]
struct Key {
    id: Option<String>,
    decoding: DecodingKey,
    /// Its algorithms are all of the family of the key, and all accepted of the issuer (G33).
    validation: Validation,
}

/// Why a JWK set is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SetFault {
    #[error("is larger than 256 KiB")]
    TooLarge,
    #[error("is no JWK set")]
    NotASet,
    #[error("has more than 64 keys")]
    TooMany,
    #[error("has no key that can be used")]
    NoKey,
}

#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<Value>,
}

impl Ring {
    /// The shared secret of the HS algorithms.
    pub(super) fn of_secret(secret: &[u8], rules: &Rules) -> Self {
        let validation = rules.validation(rules.algorithms.clone());
        Self { keys: vec![Key { id: None, decoding: DecodingKey::from_secret(secret), validation }], only: true }
    }

    /// The public keys of a JWK set. Keys that cannot be used are left out, for an issuer may publish others for others;
    /// a set without any is refused (G40).
    pub(super) fn of_set(bytes: &[u8], rules: &Rules) -> Result<Self, SetFault> {
        if bytes.len() > MAX_SET {
            return Err(SetFault::TooLarge);
        }
        let set: JwkSet = serde_json::from_slice(bytes).map_err(|_| SetFault::NotASet)?;
        if set.keys.len() > MAX_KEYS {
            return Err(SetFault::TooMany);
        }
        let keys: Vec<_> = set.keys.into_iter().filter_map(|key| usable(key, rules)).collect();
        if keys.is_empty() { Err(SetFault::NoKey) } else { Ok(Self { keys, only: false }) }
    }

    /// What `token` claims, if one of the keys signed it for this issuer and one of its audiences. Times are not looked at.
    pub(super) fn verify<'t>(&self, token: &'t Unverified<'_>) -> Result<&'t Object, TokenFault> {
        let key = self.fitting(token)?;
        decode::<IgnoredAny>(token.text, &key.decoding, &key.validation).map_err(|error| match error.kind() {
            ErrorKind::InvalidSignature => TokenFault::Signature,
            ErrorKind::InvalidAlgorithm => TokenFault::Algorithm,
            ErrorKind::MissingRequiredClaim(_) => TokenFault::Claims("exp, aud, iss or sub is missing"),
            ErrorKind::InvalidIssuer => TokenFault::Claims("iss is another"),
            ErrorKind::InvalidAudience => TokenFault::Claims("aud is another"),
            _ => TokenFault::Malformed("it cannot be read"),
        })?;
        Ok(&token.claims)
    }

    /// The one key that `token` names and that works with its algorithm; where two do, or none is named and two could,
    /// which of them counts would be a guess (G40).
    fn fitting(&self, token: &Unverified<'_>) -> Result<&Key, TokenFault> {
        let named = |key: &&Key| self.only || token.key.is_none() || key.id == token.key;
        let fits = |key: &&Key| key.validation.algorithms.contains(&token.algorithm);
        let mut fitting = self.keys.iter().filter(named).filter(fits);
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Ok(key),
            (None, _) if token.key.is_some() && self.keys.iter().any(|key| named(&key)) => Err(TokenFault::Algorithm),
            _ => Err(TokenFault::UnknownKey),
        }
    }
}

/// `key`, if it is a public key for signatures that fits the rules of its issuer.
fn usable(key: Value, rules: &Rules) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(key).ok()?;
    let common = &jwk.common;
    let for_signatures = common.public_key_use.as_ref().is_none_or(|what| *what == PublicKeyUse::Signature)
        && common.key_operations.as_ref().is_none_or(|list| list.contains(&KeyOperations::Verify));
    if !for_signatures {
        return None;
    }
    let decoding = DecodingKey::from_jwk(&jwk).ok()?;
    let own = algorithms(&jwk, &decoding)?;
    let meant = |algorithm: &Algorithm| common.key_algorithm.is_none_or(|only| only == (*algorithm).into());
    let accepted = rules.algorithms.iter().filter(|accepted| own.contains(accepted)).copied().filter(meant);
    let accepted: Vec<_> = accepted.collect();
    if accepted.is_empty() {
        return None;
    }
    Some(Key { id: jwk.common.key_id, validation: rules.validation(accepted), decoding })
}

/// What a key of this type and size can verify; `None` if that is nothing. A shared secret that is published is none
/// (G33).
fn algorithms(jwk: &Jwk, key: &DecodingKey) -> Option<&'static [Algorithm]> {
    match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => rsa_fits(key).then_some(RSA),
        AlgorithmParameters::EllipticCurve(point) => match point.curve {
            EllipticCurve::P256 => is_point(key, 32).then_some(&[Algorithm::ES256]),
            EllipticCurve::P384 => is_point(key, 48).then_some(&[Algorithm::ES384]),
            _ => None,
        },
        AlgorithmParameters::OctetKeyPair(pair) => {
            let fits = pair.curve == EllipticCurve::Ed25519 && key.try_get_as_bytes().is_ok_and(|x| x.len() == 32);
            (fits && key.family() == AlgorithmFamily::Ed).then_some(&[Algorithm::EdDSA])
        }
        _ => None,
    }
}

static RSA: &[Algorithm] =
    &[Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::PS256, Algorithm::PS384, Algorithm::PS512];

/// Whether the modulus has a length that is safe, and the exponent is odd and above 1.
fn rsa_fits(key: &DecodingKey) -> bool {
    let DecodingKeyKind::RsaModulusExponent { n, e } = key.kind() else { return false };
    let n: Vec<_> = n.iter().skip_while(|byte| **byte == 0).collect();
    let bits = n.first().map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
    let e: Vec<_> = e.iter().skip_while(|byte| **byte == 0).collect();
    RSA_BITS.contains(&bits) && e.last().is_some_and(|last| *last % 2 == 1) && e != [&1]
}

/// Whether it is the uncompressed form of a point with coordinates of `bytes` bytes (SEC 1, 2.3.3).
fn is_point(key: &DecodingKey, bytes: usize) -> bool {
    key.try_get_as_bytes().is_ok_and(|point| point.len() == 1 + 2 * bytes)
}
