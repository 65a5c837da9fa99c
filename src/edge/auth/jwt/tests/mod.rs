//! Tokens from the outside: what is taken, what is refused and under which name, and what becomes of keys over time.

mod accepted;
mod door;
mod hostile;
mod keys;
mod over_time;

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize};
use serde_json::{Value, json};

use super::*;
use crate::config::{JwtConfig, JwtKeys};
use crate::model::{Scope, Timestamp, VmGrant};
use crate::telemetry::{AuthMetrics, Metrics};

/// An hour of the year 2027.
const NOW: Timestamp = Timestamp(1_800_000_000.0);
const ISSUER: &str = "https://id.example";
const AUDIENCE: &str = "gatewatch";
/// What stands before the seed in the short form of an Ed25519 key.
const ED_PREFIX: &[u8] = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";

fn encoded(text: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// A private key of an issuer, and its name.
struct Signer {
    id: &'static str,
    algorithm: Algorithm,
    key: EncodingKey,
}

impl Signer {
    fn new(id: &'static str, algorithm: Algorithm) -> Self {
        let pair = match algorithm {
            Algorithm::ES256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
            Algorithm::ES384 => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384),
            Algorithm::EdDSA => KeyPair::generate_for(&PKCS_ED25519),
            _ => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
        };
        let pair = pair.unwrap();
        let pem = pair.serialize_pem();
        let key = match algorithm {
            Algorithm::ES256 | Algorithm::ES384 => EncodingKey::from_ec_pem(pem.as_bytes()).unwrap(),
            // The public half is made out of the short form alone (RFC 8410, 7), and this is the long one.
            Algorithm::EdDSA => EncodingKey::from_ed_der(&[ED_PREFIX, &pair.serialize_der()[16..48]].concat()),
            _ => EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap(),
        };
        Self { id, algorithm, key }
    }

    fn as_algorithm(&self, algorithm: Algorithm) -> Self {
        Self { id: self.id, algorithm, key: self.key.clone() }
    }

    /// Its public half, as a member of a JWK set.
    fn jwk(&self) -> Value {
        let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&self.key, self.algorithm).unwrap()).unwrap();
        jwk["kid"] = json!(self.id);
        jwk["use"] = json!("sig");
        jwk
    }

    fn header(&self) -> Value {
        json!({"alg": self.algorithm, "typ": "JWT", "kid": self.id})
    }

    /// A token with any header and payload, whatever they say.
    fn sign(&self, header: &str, payload: &str) -> String {
        let message = format!("{}.{}", encoded(header), encoded(payload));
        let signature = crypto::sign(message.as_bytes(), &self.key, self.algorithm).unwrap();
        format!("{message}.{signature}")
    }

    fn token(&self, claims: &Value) -> String {
        self.sign(&self.header().to_string(), &claims.to_string())
    }
}

/// One RSA key and one EC key for all tests: making the first takes a while.
fn signers() -> &'static (Signer, Signer) {
    static SIGNERS: OnceLock<(Signer, Signer)> = OnceLock::new();
    SIGNERS.get_or_init(|| (Signer::new("r1", Algorithm::RS256), Signer::new("e1", Algorithm::ES256)))
}

/// Claims that nothing is wrong with at `now`.
fn good(now: Timestamp) -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "iat": now.0 as u64, "exp": now.0 as u64 + 600,
        "scope": "openid events:read", "vms": ["waa-*"],
    })
}

/// `claims` with `changes` over them; `null` takes a claim out.
fn with(mut claims: Value, changes: Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    claims
}

fn config(keys: JwtKeys, algorithms: &[&str]) -> JwtConfig {
    JwtConfig {
        issuer: ISSUER.to_owned(),
        audience: vec![AUDIENCE.to_owned(), "other".to_owned()],
        algorithms: algorithms.iter().map(|name| (*name).to_owned()).collect(),
        keys,
        scope_claim: None,
        vms_claim: "vms".to_owned(),
        scopes: [Scope::MetricsRead].into_iter().collect(),
        vms: VmGrant::from_globs(["lab"]),
        max_lifetime: Duration::from_secs(86_400),
    }
}

fn set_of(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

/// The configuration of an issuer whose keys are in a file of `dir`.
fn in_file(dir: &Path, set: &str, algorithms: &[&str]) -> JwtConfig {
    let path = dir.join("jwks.json");
    std::fs::write(&path, set).unwrap();
    config(JwtKeys::File(path), algorithms)
}

fn metrics() -> AuthMetrics {
    Metrics::new().auth
}

/// An issuer with both keys of [`signers`], for RS256 and ES256.
fn two_keys() -> Issuers {
    let dir = tempfile::tempdir().unwrap();
    let (rsa, ec) = signers();
    let config = in_file(dir.path(), &set_of(&[rsa.jwk(), ec.jwk()]), &["RS256", "ES256"]);
    Issuers::load(&[config], &metrics()).unwrap()
}
