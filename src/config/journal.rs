//! `[journal]`: where durable events are kept.

use std::net::IpAddr;
use std::path::Path;

use super::files;
use super::keys::Key;
use super::listed::{
    JOURNAL_CA, JOURNAL_CERT, JOURNAL_CREDENTIALS, JOURNAL_FLEET, JOURNAL_KEEP_EVENTS, JOURNAL_KEEP_FOR, JOURNAL_KEY,
    JOURNAL_KIND, JOURNAL_NKEY, JOURNAL_PATH, JOURNAL_REPLICAS, JOURNAL_SERVERS, JOURNAL_TOKEN,
};
use super::rules;
use super::table::Table;
use super::types::{CertificateFiles, JournalConfig, JournalKind, NatsConfig, NatsCredentials};
use crate::model::Secret;

/// The longest name of a fleet: it is a part of names that NATS bounds.
const MAX_FLEET: usize = 32;

/// Reads `[journal]`.
pub(super) fn read(table: &Table<'_>, data_dir: &Path) -> JournalConfig {
    let kind = table.word(&JOURNAL_KIND, JournalKind::from_word, JournalKind::Embedded);
    let file = if kind == JournalKind::Jetstream { "mirror.db" } else { "journal.db" };
    JournalConfig {
        kind,
        path: table.path(&JOURNAL_PATH).unwrap_or_else(|| data_dir.join(file)),
        keep_for: table.duration(&JOURNAL_KEEP_FOR),
        keep_events: table.integer(&JOURNAL_KEEP_EVENTS),
        nats: nats(table, kind),
    }
}

/// `None` after a mistake, which is then reported, and for every other kind.
fn nats(table: &Table<'_>, kind: JournalKind) -> Option<NatsConfig> {
    // Read in any case, so that a mistake in one of them is told whatever the kind is.
    let servers = table.list(&JOURNAL_SERVERS, server);
    let fleet = table.parsed(&JOURNAL_FLEET, fleet);
    let replicas = table.integer::<usize>(&JOURNAL_REPLICAS);
    let ca = file(table, &JOURNAL_CA);
    let (cert, key) = (file(table, &JOURNAL_CERT), private_file(table, &JOURNAL_KEY));
    let credentials = credentials(table);
    if kind != JournalKind::Jetstream {
        let texts = [
            &JOURNAL_FLEET,
            &JOURNAL_CA,
            &JOURNAL_CERT,
            &JOURNAL_KEY,
            &JOURNAL_CREDENTIALS,
            &JOURNAL_NKEY,
            &JOURNAL_TOKEN,
        ];
        let written = texts.into_iter().filter(|key| table.has(key));
        for key in written.chain((!servers.is_empty()).then_some(&JOURNAL_SERVERS)) {
            table.refuse(key, format!("is for kind \"jetstream\", but kind is \"{}\"", kind.as_str()));
        }
        return None;
    }
    if servers.is_empty() {
        table.refuse(&JOURNAL_SERVERS, "is missing: kind \"jetstream\" needs at least one");
    }
    if !table.has(&JOURNAL_FLEET) {
        table.refuse(&JOURNAL_FLEET, "is missing: kind \"jetstream\" needs it");
    }
    for (one, other) in [(&JOURNAL_CERT, &JOURNAL_KEY), (&JOURNAL_KEY, &JOURNAL_CERT)] {
        if table.has(one) && !table.has(other) {
            table.refuse(other, format!("is missing: {} needs it", one.leaf()));
        }
    }
    if servers.iter().any(|server| in_clear_text(server.expose())) {
        table.warn(&JOURNAL_SERVERS, "events and credentials go over the network in clear text: make it tls://");
    }
    let certificate = cert.zip(key).map(|(cert, key)| CertificateFiles { cert, key });
    Some(NatsConfig { servers, fleet: fleet?, replicas, ca, certificate, credentials })
}

fn credentials(table: &Table<'_>) -> Option<NatsCredentials> {
    let secret = |key| table.parsed(key, |text| rules::line(text).map(Secret::new));
    let file = private_file(table, &JOURNAL_CREDENTIALS).map(NatsCredentials::File);
    let nkey = table.parsed(&JOURNAL_NKEY, nkey).map(NatsCredentials::Nkey);
    let token = secret(&JOURNAL_TOKEN).map(NatsCredentials::Token);
    let written = [&JOURNAL_CREDENTIALS, &JOURNAL_NKEY, &JOURNAL_TOKEN].into_iter().filter(|key| table.has(key));
    if let Some(second) = written.skip(1).last() {
        table.refuse(second, "is one credential too many: one of credentials, nkey and token is used");
    }
    file.or(nkey).or(token)
}

/// A file that is there and not empty.
fn file(table: &Table<'_>, key: &'static Key) -> Option<std::path::PathBuf> {
    let path = table.path(key)?;
    files::filled(&path).map_err(|message| table.refuse(key, message)).ok()?;
    Some(path)
}

/// The same, for its owner only.
fn private_file(table: &Table<'_>, key: &'static Key) -> Option<std::path::PathBuf> {
    let path = table.path(key)?;
    let metadata = files::filled(&path).map_err(|message| table.refuse(key, message)).ok()?;
    if files::is_open_to_others(&metadata) {
        table.warn(key, files::close(&path, &metadata));
    }
    Some(path)
}

/// The error does not repeat `text`.
fn server(text: &str) -> Result<Secret, String> {
    const NOT: &str = "is not a URL such as nats://nats-1:4222 or tls://nats-1:4222";
    let text = rules::line(text)?;
    let (scheme, rest) = text.split_once("://").ok_or(NOT)?;
    let authority: http::uri::Authority = rest.trim_end_matches('/').parse().map_err(|_| NOT)?;
    if !matches!(scheme, "nats" | "tls") || authority.host().is_empty() {
        return Err(NOT.to_owned());
    }
    Ok(Secret::new(text))
}

/// Whether `server` is reached over a network without TLS.
fn in_clear_text(server: &str) -> bool {
    let Some(rest) = server.strip_prefix("nats://") else { return false };
    let host = rest.rsplit('@').next().unwrap_or(rest);
    let host = host.parse::<http::uri::Authority>().map(|authority| authority.host().to_owned()).unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host != "localhost" && !host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// The error does not repeat `text`.
fn nkey(text: &str) -> Result<Secret, String> {
    let text = rules::line(text)?;
    let user = nkeys::KeyPair::from_seed(&text).is_ok_and(|pair| pair.key_pair_type() == nkeys::KeyPairType::User);
    if user { Ok(Secret::new(text)) } else { Err("is not the seed of a user's nkey, which begins with SU".to_owned()) }
}

fn fleet(text: &str) -> Result<String, String> {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b"_-".contains(&b);
    if (1..=MAX_FLEET).contains(&text.len()) && text.bytes().all(inner) {
        return Ok(text.to_owned());
    }
    Err(format!("is not 1 to {MAX_FLEET} characters of A-Z, a-z, 0-9, _ and -"))
}
