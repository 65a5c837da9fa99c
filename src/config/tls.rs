//! `[tls]`: which certificate, and whether clear text is allowed.

use std::net::SocketAddr;

use super::files;
use super::keys::Key;
use super::listed::{TLS_CERT, TLS_CLIENT_CA, TLS_KEY, TLS_MIN_VERSION, TLS_MODE, TLS_MODES};
use super::rules::is_loopback;
use super::table::Table;
use super::{TlsConfig, TlsMode, TlsVersion};

/// Reads `[tls]` for a server on `listen`.
pub(super) fn read(table: &Table<'_>, listen: Option<SocketAddr>) -> TlsConfig {
    TlsConfig {
        mode: mode(table, listen),
        min_version: table.word(&TLS_MIN_VERSION, TlsVersion::from_word, TlsVersion::V1_2),
        client_ca: table.path(&TLS_CLIENT_CA),
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
    let file = |key: &'static Key| {
        if !table.has(key) {
            table.refuse(key, "is missing: mode \"files\" needs it");
        }
        let path = table.path(key)?;
        let metadata = files::filled(&path).map_err(|message| table.refuse(key, message)).ok()?;
        Some((path, metadata))
    };
    let (cert, key) = (file(&TLS_CERT), file(&TLS_KEY));
    if let Some((path, metadata)) = &key
        && files::is_open_to_others(metadata)
    {
        table.warn(&TLS_KEY, files::close(path, metadata));
    }
    match (cert, key) {
        (Some((cert, _)), Some((key, _))) => TlsMode::Files { cert, key },
        // Reported above; the value is never used.
        _ => TlsMode::Dev,
    }
}
