//! Known signatures, verified once at start: a missing cryptography shows there, not at the first token.

use jsonwebtoken::crypto::{aws_lc, verify};
use jsonwebtoken::{Algorithm, DecodingKey};

use super::fault::IssuersError;

/// The claims of both examples, with their header in front (RFC 7515, A.1.1 and A.3.1).
const HS256: &str = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
const ES256: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
const HS256_SIGNATURE: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const ES256_SIGNATURE: &str = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
const HS256_KEY: &str = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ+EstJQLr/T+1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow==";
const ES256_KEY: (&str, &str) =
    ("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0");

/// Makes aws-lc-rs the cryptography of tokens, and sees that it takes the examples of RFC 7515 and no other signature.
pub(super) fn self_test() -> Result<(), IssuersError> {
    // An error says that one is chosen already. With two compiled in and none chosen the first token would panic.
    let _ = aws_lc::DEFAULT_PROVIDER.install_default();
    let known = || -> jsonwebtoken::errors::Result<bool> {
        let secret = DecodingKey::from_base64_secret(HS256_KEY)?;
        let public = DecodingKey::from_ec_components(ES256_KEY.0, ES256_KEY.1)?;
        Ok(verify(HS256_SIGNATURE, HS256.as_bytes(), &secret, Algorithm::HS256)?
            && verify(ES256_SIGNATURE, ES256.as_bytes(), &public, Algorithm::ES256)?
            && !verify(HS256_SIGNATURE, ES256.as_bytes(), &secret, Algorithm::HS256)?
            && !verify(ES256_SIGNATURE, HS256.as_bytes(), &public, Algorithm::ES256)?)
    };
    if known().unwrap_or(false) { Ok(()) } else { Err(IssuersError::SelfTest) }
}
