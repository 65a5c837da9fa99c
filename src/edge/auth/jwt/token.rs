//! A token before anybody believes it: its size, its form and its header (RFC 7515, 4; G36).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;

use super::fault::TokenFault;

/// Longest token that is looked at, in bytes (G36).
pub(super) const MAX_TOKEN: usize = 8 * 1024;

/// What a token is for, in its `typ` (RFC 7519, 5.1; RFC 9068, 2.1).
const TYPES: [&str; 3] = ["JWT", "at+jwt", "application/at+jwt"];

/// Whether `text` has the three parts of a signed token.
pub(in crate::edge::auth) fn looks_like_token(text: &str) -> bool {
    text.bytes().filter(|b| *b == b'.').count() == 2
}

/// Whether what could be a token, signed or encrypted, stands anywhere in `text`: behind `Bearer`, in quotes, in an
/// address. It must not stand in one (G42).
pub(in crate::edge::auth) fn holds_token(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    text.split(|c| !inner(c)).any(|run| {
        let parts: Vec<&str> = run.split('.').collect();
        parts.windows(3).any(|three| may_be_header(three[0]))
    })
}

/// Whether `part` decodes to what begins as a JSON object with a member. The brace alone is not enough: `exam` of
/// `example.co.uk` has it.
fn may_be_header(part: &str) -> bool {
    // Filled up, because how it begins is all that counts.
    let whole = format!("{part:A<0$}", part.len().next_multiple_of(4));
    let Ok(bytes) = URL_SAFE_NO_PAD.decode(whole) else { return false };
    let member = bytes.trim_ascii_start().strip_prefix(b"{").map(<[u8]>::trim_ascii_start);
    member.is_some_and(|member| member.starts_with(b"\""))
}

/// A token that was read but not verified. What it claims comes out of it with its signature alone ([`super::ring`]).
pub(super) struct Unverified<'a> {
    pub(super) text: &'a str,
    pub(super) algorithm: Algorithm,
    /// The key that it names. Compared with names of keys, and used for nothing else.
    pub(super) key: Option<String>,
    /// The issuer that it names: picks the keys to verify it with, and proves nothing.
    pub(super) issuer: String,
    pub(super) claims: Object,
}

impl<'a> Unverified<'a> {
    /// Reads `text`: at most 8 KiB, three parts, header and payload one JSON object each in which no member is there twice.
    /// `jku`, `jwk`, `x5u` and `x5c` are not looked at: keys come from the configuration alone.
    pub(super) fn read(text: &'a str) -> Result<Self, TokenFault> {
        if text.len() > MAX_TOKEN {
            return Err(TokenFault::Malformed("it is larger than 8 KiB"));
        }
        let mut parts = text.split('.');
        let (Some(header), Some(payload), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenFault::Malformed("it has not three parts"));
        };
        let mut header = object(header).ok_or(TokenFault::Malformed("its header is no JSON object"))?;
        // An extension that must be understood, whatever it is (RFC 7515, 4.1.11).
        if header.0.contains_key("crit") {
            return Err(TokenFault::Malformed("it has a critical header"));
        }
        match header.0.get("typ") {
            None => {}
            Some(Value::String(kind)) if TYPES.iter().any(|known| known.eq_ignore_ascii_case(kind)) => {}
            Some(Value::String(_)) => return Err(TokenFault::Claims("typ names another purpose")),
            Some(_) => return Err(TokenFault::Malformed("typ is no text")),
        }
        let algorithm = match header.0.get("alg") {
            Some(Value::String(name)) => Algorithm::from_str(name).map_err(|_| TokenFault::Algorithm)?,
            _ => return Err(TokenFault::Malformed("alg is no text")),
        };
        let key = match header.0.remove("kid") {
            None => None,
            Some(Value::String(name)) => Some(name),
            Some(_) => return Err(TokenFault::Malformed("kid is no text")),
        };
        let claims = object(payload).ok_or(TokenFault::Malformed("its payload is no JSON object"))?;
        let issuer = match claims.0.get("iss") {
            Some(Value::String(name)) => name.clone(),
            _ => return Err(TokenFault::Claims("iss is not one text")),
        };
        Ok(Self { text, algorithm, key, issuer, claims })
    }
}

fn object(part: &str) -> Option<Object> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

/// A JSON object in which no member is there twice: two readers of one that is may see two different tokens
/// (RFC 7519, 4).
#[derive(Clone, Debug, Default)]
pub(super) struct Object(pub(super) BTreeMap<String, Value>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = map.next_entry()? {
                    if members.insert(name, value).is_some() {
                        return Err(Error::custom("a member is there twice"));
                    }
                }
                Ok(Object(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}
