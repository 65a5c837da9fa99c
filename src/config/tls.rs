//! `[tls]`: which certificate, and whether clear text is allowed.

use std::net::SocketAddr;

use super::files;
use super::keys::{Default, Key};
use super::listed::{
    TLS_CERT, TLS_CERTIFICATE_CERT, TLS_CERTIFICATE_KEY, TLS_CLIENT_CA, TLS_HSTS, TLS_KEY, TLS_MIN_VERSION, TLS_MODE,
    TLS_MODES,
};
use super::rules::is_loopback;
use super::table::Table;
use super::{CertificateFiles, TlsConfig, TlsMode, TlsVersion};

/// How many certificates there may be beside the first.
const MAX_CERTIFICATES: usize = 64;

/// Reads `[tls]` for a server on `listen`.
pub(super) fn read(table: &Table<'_>, listen: Option<SocketAddr>) -> TlsConfig {
    let mode = mode(table, listen);
    let client_ca = table.path(&TLS_CLIENT_CA);
    // A CA that cannot be read must never mean that nobody is asked for a certificate (G15).
    if let Some(Err(message)) = client_ca.as_deref().map(files::filled) {
        table.refuse(&TLS_CLIENT_CA, message);
    }
    if client_ca.is_some() && mode == TlsMode::Off {
        table.refuse(&TLS_CLIENT_CA, "is for TLS, but mode is \"off\"");
    }
    let entries = table.entries("certificate");
    if let Some(entry) = entries.first().filter(|_| !matches!(mode, TlsMode::Files(_))) {
        entry.refuse_here("is for mode \"files\" only");
    }
    if let Some(first_too_many) = entries.get(MAX_CERTIFICATES) {
        first_too_many
            .refuse_here(format!("there are {} certificates, at most {MAX_CERTIFICATES} are allowed", entries.len()));
    }
    let pair = |entry: &Table<'_>| pair(entry, &TLS_CERTIFICATE_CERT, &TLS_CERTIFICATE_KEY);
    TlsConfig {
        certificates: entries.iter().take(MAX_CERTIFICATES).filter_map(pair).collect(),
        mode,
        min_version: table.word(&TLS_MIN_VERSION, TlsVersion::from_word, TlsVersion::V1_2),
        client_ca,
        hsts: table.bool(&TLS_HSTS),
    }
}

fn mode(table: &Table<'_>, listen: Option<SocketAddr>) -> TlsMode {
    let known = |word: &str| TLS_MODES.iter().find(|known| **known == word).copied();
    let written = table.look(&TLS_MODE).is_some();
    let word = table.word(&TLS_MODE, known, "");
    let loopback = listen.is_none_or(is_loopback);
    if written && word.is_empty() {
        return TlsMode::Dev;
    }
    match word {
        "off" => {
            without_files(table, word);
            let reach = if loopback { "on this machine" } else { "on the network" };
            table.warn(&TLS_MODE, format!("keys and events can be read {reach} in clear text"));
            TlsMode::Off
        }
        "dev" => {
            without_files(table, word);
            if !loopback {
                table
                    .warn(&TLS_MODE, "clients must be told to trust the development CA; use a certificate of your own");
            }
            TlsMode::Dev
        }
        "files" => certificate(table),
        _ if table.has(&TLS_CERT) || table.has(&TLS_KEY) => certificate(table),
        _ if loopback => TlsMode::Dev,
        _ => {
            let listen = listen.map(|listen| listen.to_string()).unwrap_or_default();
            table.refuse(
                &TLS_MODE,
                format!(
                    "is missing: {listen} can be reached from other machines; give tls.cert and tls.key, or write \
                     mode = \"dev\" or mode = \"off\" out"
                ),
            );
            TlsMode::Dev
        }
    }
}

fn without_files(table: &Table<'_>, word: &str) {
    for key in [&TLS_CERT, &TLS_KEY] {
        if table.has(key) {
            table.refuse(key, format!("is for mode \"files\", but mode is \"{word}\""));
        }
    }
}

fn certificate(table: &Table<'_>) -> TlsMode {
    // After a mistake, which is then reported, the value is never used.
    pair(table, &TLS_CERT, &TLS_KEY).map_or(TlsMode::Dev, TlsMode::Files)
}

/// The two files, both readable and not empty.
fn pair(table: &Table<'_>, cert: &'static Key, key: &'static Key) -> Option<CertificateFiles> {
    let file = |key: &'static Key| {
        if !table.has(key) && !matches!(key.default, Default::Required) {
            table.refuse(key, "is missing: mode \"files\" needs it");
        }
        let path = table.path(key)?;
        let metadata = files::filled(&path).map_err(|message| table.refuse(key, message)).ok()?;
        Some((path, metadata))
    };
    let (cert, private) = (file(cert), file(key));
    if let Some((path, metadata)) = &private
        && files::is_open_to_others(metadata)
    {
        table.warn(key, files::close(path, metadata));
    }
    Some(CertificateFiles { cert: cert?.0, key: private?.0 })
}
