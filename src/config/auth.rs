//! `[auth]`: who may call, and by which keys that is found out.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::Path;

use super::issue::Place;
use super::keys::Key;
use super::keys_file::{glob, scope};
use super::listed::*;
use super::rules::is_loopback;
use super::table::Table;
use super::types::{Access, AuthConfig, JwtConfig, JwtKeys};
use super::{HttpUrl, KeysFile, files, rules};
use crate::model::VmGrant;

/// How many issuers one configuration may have.
const MAX_ISSUERS: usize = 16;
/// The least bytes of a shared secret: those of the hash (RFC 7518, 3.2; G26).
const MIN_SECRET: usize = 32;
/// The largest file of a secret, bytes.
const MAX_SECRET_FILE: u64 = 64 * 1024;

/// Reads `[auth]` for a server on `listen`.
pub(super) fn read(table: &Table<'_>, listen: Option<SocketAddr>) -> AuthConfig {
    let jwt = jwt(table);
    let session = table.table("session");
    let session_secret_file = session.path(&SESSION_SECRET_FILE);
    if let Some(path) = &session_secret_file
        && let Some(text) = secret(&session, &SESSION_SECRET_FILE, path)
        && text.lines().any(|line| !line.is_empty() && line.len() < MIN_SECRET)
    {
        session.refuse(&SESSION_SECRET_FILE, format!("has a line of fewer than {MIN_SECRET} characters"));
    }
    AuthConfig { access: access(table, listen), jwt, session_ttl: session.duration(&SESSION_TTL), session_secret_file }
}

fn access(table: &Table<'_>, listen: Option<SocketAddr>) -> Access {
    let written = !table.entries("jwt").is_empty();
    let keys_file = table.path(&AUTH_KEYS_FILE);
    let none = table.bool(&AUTH_NONE);
    match (keys_file, none) {
        (Some(_), true) => {
            table.refuse(&AUTH_NONE, "true, but auth.keys_file is given too; choose one");
            Access::Open
        }
        (Some(file), false) => {
            keys(table, &file);
            Access::Keys(file)
        }
        (None, true) => {
            if written {
                table.refuse(&AUTH_NONE, "true, but an [[auth.jwt]] is given too; choose one");
            }
            if !listen.is_none_or(is_loopback) {
                table.refuse(
                    &AUTH_NONE,
                    "true lets everybody in; that is allowed only if server.listen is a loopback address",
                );
            }
            table.warn(&AUTH_NONE, "everybody on this machine may watch and register VMs");
            Access::Open
        }
        (None, false) if written => Access::Tokens,
        (None, false) => {
            if !table.has(&AUTH_KEYS_FILE) {
                let message = "is missing: give a file of keys (`gatewatch key new` makes one), or write auth.none = true \
                               out to let everybody on this machine in";
                table.refuse(&AUTH_KEYS_FILE, message);
            }
            Access::Open
        }
    }
}

/// Each mistake inside the keys file is reported with the file's own name and line.
fn keys(table: &Table<'_>, file: &Path) {
    if let Err(errors) = KeysFile::load(file) {
        for issue in errors.issues() {
            match &issue.place {
                Place::Whole(_) => table.refuse(&AUTH_KEYS_FILE, issue.message.clone()),
                place => table.reader.push(place.clone(), &issue.key, issue.message.clone()),
            }
        }
    }
}

fn jwt(table: &Table<'_>) -> Vec<JwtConfig> {
    let entries = table.entries("jwt");
    if let Some(first_too_many) = entries.get(MAX_ISSUERS) {
        first_too_many.refuse_here(format!("there are {} issuers, at most {MAX_ISSUERS} are allowed", entries.len()));
    }
    let mut seen = HashSet::new();
    let mut read = Vec::new();
    for entry in entries.iter().take(MAX_ISSUERS) {
        let Some(jwt) = issuer(entry) else { continue };
        // Which entry a token is judged by must not depend on their order.
        if !seen.insert(jwt.issuer.clone()) {
            entry.refuse(&JWT_ISSUER, "is the issuer of another entry too");
        }
        read.push(jwt);
    }
    read
}

/// `None` after a mistake, which is then reported.
fn issuer(entry: &Table<'_>) -> Option<JwtConfig> {
    let algorithm = |text: &str| match ALGORITHMS.contains(&text) {
        true => Ok(text.to_owned()),
        false => Err(format!("is not one of {}", ALGORITHMS.join(", "))),
    };
    let keys = jwt_keys(entry);
    let algorithms: Vec<String> = entry.list(&JWT_ALGORITHMS, algorithm);
    for key in [&JWT_AUDIENCE, &JWT_ALGORITHMS] {
        if entry.look(key).is_some_and(super::vm::is_empty_list) {
            entry.refuse(key, "is empty; no token would be taken");
        }
    }
    // A public key is no secret: whoever has it could sign with HS (G33).
    let shared = matches!(keys, Some(JwtKeys::Secret(_)));
    if let Some(odd) = algorithms.iter().find(|name| keys.is_some() && name.starts_with("HS") != shared) {
        let message = if shared { "does not work with a secret_file" } else { "needs a secret_file" };
        entry.refuse(&JWT_ALGORITHMS, format!("{odd} {message}"));
    }
    let name = entry.parsed(&JWT_ISSUER, rules::line);
    let audience = entry.list(&JWT_AUDIENCE, rules::line);
    let scope_claim = entry.parsed(&JWT_SCOPE_CLAIM, rules::line);
    let vms_claim = entry.parsed(&JWT_VMS_CLAIM, rules::line).unwrap_or_default();
    let scopes = entry.list(&JWT_SCOPES, scope).into_iter().collect();
    let vms = VmGrant::from_globs(entry.list(&JWT_VMS, glob));
    let max_lifetime = entry.duration(&JWT_MAX_LIFETIME);
    // Every key has been read by here, so no mistake goes unseen.
    let (issuer, keys) = (name?, keys?);
    Some(JwtConfig { issuer, audience, algorithms, keys, scope_claim, vms_claim, scopes, vms, max_lifetime })
}

/// `None` after a mistake, which is then reported.
fn jwt_keys(entry: &Table<'_>) -> Option<JwtKeys> {
    let url = entry.parsed(&JWT_JWKS_URL, |text| match HttpUrl::parse(text) {
        // Keys that came in clear text could be anybody's (G40).
        Ok(url) if !url.is_https() => Err("is not https".to_owned()),
        read => read,
    });
    let ca = entry.path(&JWT_JWKS_CA);
    let file = entry.path(&JWT_JWKS_FILE);
    let secret_file = entry.path(&JWT_SECRET_FILE);
    let readable = |key: &'static Key, path: &Path| files::filled(path).map_err(|why| entry.refuse(key, why)).is_ok();
    if ca.as_deref().is_some_and(|path| readable(&JWT_JWKS_CA, path)) && !entry.has(&JWT_JWKS_URL) {
        entry.refuse(&JWT_JWKS_CA, "is for jwks_url, which is not given");
    }
    match [&JWT_JWKS_URL, &JWT_JWKS_FILE, &JWT_SECRET_FILE].iter().filter(|key| entry.has(key)).count() {
        0 => {
            entry.refuse_here("one of jwks_url, jwks_file and secret_file is needed");
            return None;
        }
        1 => {}
        _ => {
            entry.refuse_here("jwks_url, jwks_file and secret_file are given together; choose one");
            return None;
        }
    }
    if let Some(url) = url {
        return Some(JwtKeys::Url { url, ca });
    }
    if let Some(file) = file {
        return readable(&JWT_JWKS_FILE, &file).then_some(JwtKeys::File(file));
    }
    let path = secret_file?;
    let text = secret(entry, &JWT_SECRET_FILE, &path)?;
    if text.trim_end_matches(['\r', '\n']).len() < MIN_SECRET {
        entry.refuse(&JWT_SECRET_FILE, format!("holds fewer than {MIN_SECRET} bytes: it could be guessed"));
        return None;
    }
    Some(JwtKeys::Secret(path))
}

/// What a file of a secret holds, if nobody else may read it and there is something in it.
fn secret(table: &Table<'_>, key: &'static Key, path: &Path) -> Option<String> {
    let read = files::filled(path).and_then(|metadata| {
        if files::is_open_to_others(&metadata) {
            return Err(files::close(path, &metadata));
        }
        let text = files::text(path, MAX_SECRET_FILE)?;
        if text.trim().is_empty() { Err("holds nothing".to_owned()) } else { Ok(text) }
    });
    read.map_err(|why| table.refuse(key, why)).ok()
}
