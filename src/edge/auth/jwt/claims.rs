//! What a verified token must say, and whom it makes (RFC 7519, 4.1; G34, G35). Pure: the time is an argument.

use std::sync::Arc;

use serde_json::Value;

use super::fault::TokenFault;
use super::rules::Rules;
use super::token::Object;
use crate::model::{Basis, Principal, PrincipalKind, Scope, Timestamp, VmGrant};

/// How far clocks of issuers may be off, in seconds (G35).
const LEEWAY: f64 = 30.0;
/// Longest subject, in characters.
const MAX_SUBJECT: usize = 255;
/// Globs over VMs in one token, as many as one API key may have.
const MAX_GLOBS: usize = 256;
/// Claims of scopes where none is configured, the first that is there (RFC 9068, 2.2.3.1, and what Azure and Okta send).
const SCOPE_CLAIMS: [&str; 2] = ["scope", "scp"];

/// Whom `claims`, signed by the issuer of `rules`, stand for at `now`.
pub(super) fn principal(claims: &Object, rules: &Rules, now: Timestamp) -> Result<Principal, TokenFault> {
    if text(claims, "iss") != Some(&rules.issuer) {
        return Err(TokenFault::Claims("iss is not the one text that it must be"));
    }
    audience(claims, rules)?;
    let subject = text(claims, "sub").filter(|subject| is_subject(subject));
    let subject = subject.ok_or(TokenFault::Claims("sub is not 1 to 255 printable characters"))?;
    let expires_at = times(claims, rules.config.max_lifetime.as_secs_f64(), now)?;
    let scopes = match scope_words(claims, rules)? {
        Some(words) => words.into_iter().filter_map(Scope::parse).collect(),
        None => rules.config.scopes,
    };
    let vms = match words(claims, &rules.config.vms_claim)? {
        Some(globs) if globs.len() > MAX_GLOBS => return Err(TokenFault::Claims("it names more than 256 VMs")),
        Some(globs) => VmGrant::from_globs(globs.into_iter().filter(|text| VmGrant::is_glob(text))),
        None => rules.config.vms.clone(),
    };
    Ok(Principal {
        kind: PrincipalKind::Jwt,
        name: format!("{subject}@{}", rules.issuer).into(),
        issuer: Some(Arc::clone(&rules.issuer)),
        scopes,
        vms,
        basis: Basis::default(),
        expires_at: Some(expires_at),
    })
}

fn audience(claims: &Object, rules: &Rules) -> Result<(), TokenFault> {
    let ours = |name: &str| rules.config.audience.iter().any(|ours| ours == name);
    let found = match claims.0.get("aud") {
        Some(Value::String(name)) => Some(ours(name)),
        Some(Value::Array(names)) => {
            names.iter().map(Value::as_str).collect::<Option<Vec<_>>>().map(|names| names.into_iter().any(ours))
        }
        _ => None,
    };
    match found {
        Some(true) => Ok(()),
        Some(false) => Err(TokenFault::Claims("aud is another")),
        None => Err(TokenFault::Claims("aud is neither a text nor a list of texts")),
    }
}

/// A name that can stand in a log line and in the page.
fn is_subject(subject: &str) -> bool {
    !subject.is_empty() && subject.chars().count() <= MAX_SUBJECT && !subject.chars().any(char::is_control)
}

/// Checks `exp`, `nbf` and `iat`; gives `exp`.
fn times(claims: &Object, max_lifetime: f64, now: Timestamp) -> Result<Timestamp, TokenFault> {
    let exp = time(claims, "exp")?.ok_or(TokenFault::Claims("exp is missing"))?;
    let (nbf, iat) = (time(claims, "nbf")?, time(claims, "iat")?);
    if exp + LEEWAY <= now.0 {
        return Err(TokenFault::Expired);
    }
    if [nbf, iat].into_iter().flatten().any(|at| at > now.0 + LEEWAY) {
        return Err(TokenFault::TooEarly);
    }
    if exp - iat.unwrap_or(now.0) > max_lifetime {
        return Err(TokenFault::Claims("it lasts longer than max_lifetime"));
    }
    Ok(Timestamp(exp))
}

/// A NumericDate (RFC 7519, 2), in seconds since the epoch.
fn time(claims: &Object, name: &str) -> Result<Option<f64>, TokenFault> {
    match claims.0.get(name) {
        None => Ok(None),
        Some(value) => match value.as_f64().filter(|at| at.is_finite()) {
            Some(at) => Ok(Some(at)),
            None => Err(TokenFault::Claims("exp, nbf or iat is no number")),
        },
    }
}

fn scope_words<'c>(claims: &'c Object, rules: &Rules) -> Result<Option<Vec<&'c str>>, TokenFault> {
    let claim = match &rules.config.scope_claim {
        Some(configured) => Some(configured.as_str()),
        None => SCOPE_CLAIMS.into_iter().find(|name| claims.0.contains_key(*name)),
    };
    claim.map_or(Ok(None), |claim| words(claims, claim))
}

/// The words of a claim that is a text with spaces between them or a list of texts; `None` if it is not there. One that
/// is there and is neither is a mistake of the issuer's, and must not grant what a token without it is granted.
fn words<'c>(claims: &'c Object, name: &str) -> Result<Option<Vec<&'c str>>, TokenFault> {
    match claims.0.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.split_ascii_whitespace().collect())),
        Some(Value::Array(list)) => match list.iter().map(Value::as_str).collect() {
            Some(words) => Ok(Some(words)),
            None => Err(TokenFault::Claims("a list of scopes or VMs holds something else than texts")),
        },
        Some(_) => Err(TokenFault::Claims("scopes or VMs are neither a text nor a list")),
    }
}

fn text<'c>(claims: &'c Object, name: &str) -> Option<&'c str> {
    claims.0.get(name).and_then(Value::as_str)
}
