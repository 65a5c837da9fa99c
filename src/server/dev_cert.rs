//! The development certificate: a local CA and one leaf, made once and kept while they last.

use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CidrSubnet, DnType, ExtendedKeyUsagePurpose, GeneralSubtree,
    IsCa, KeyPair, KeyUsagePurpose, NameConstraints, SanType,
};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{DnsName, ServerName, UnixTime};
use rustls::sign::CertifiedKey;

use super::certificates::{read_chain, read_key};
use super::tls::{TlsError, provider};

/// How long CA and leaf last. Browsers refuse leaves of more than 398 days.
const VALIDITY: time::Duration = time::Duration::days(397);
/// Clocks of clients may be behind.
const BACKDATED: time::Duration = time::Duration::hours(1);
/// What must be left for a kept certificate to be used again.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 24 * 3600);
/// The key's mode.
const KEY_MODE: u32 = 0o600;
/// The bits of a mode that let others at a file.
const OTHERS: u32 = 0o077;

/// Where the development certificate lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevCertificate {
    /// The CA's certificate, for clients to trust (`curl --cacert`).
    pub ca: PathBuf,
    /// The leaf.
    pub cert: PathBuf,
    /// The leaf's key, readable by its owner alone.
    pub key: PathBuf,
}

/// The development certificate in `dir`, made if there is none that is good for the next 30 days, or if others
/// could read its key.
///
/// The leaf is for `localhost`, 127.0.0.1, ::1 and the name of this machine. The CA may sign for these alone and for no
/// other CA, and its key is never written: nobody can sign a second leaf with a CA that somebody came to trust.
pub fn dev_certificate(dir: &Path) -> Result<DevCertificate, TlsError> {
    let files =
        DevCertificate { ca: dir.join("dev-ca.pem"), cert: dir.join("dev-cert.pem"), key: dir.join("dev-key.pem") };
    let names = names();
    if let Err(why) = still_good(&files, &names) {
        tracing::info!(dir = %dir.display(), %why, "making a development certificate");
        make(dir, &files, &names).map_err(|why| TlsError::Dev { dir: dir.to_owned(), why })?;
    }
    Ok(files)
}

fn names() -> Vec<ServerName<'static>> {
    let mut names = vec![
        ServerName::DnsName(DnsName::try_from("localhost").expect("a DNS name")),
        ServerName::from(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        ServerName::from(IpAddr::V6(Ipv6Addr::LOCALHOST)),
    ];
    // Linux alone has the file; elsewhere the leaf does without the machine's name.
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if let Ok(host) = DnsName::try_from(host.trim().to_ascii_lowercase())
        && host.as_ref() != "localhost"
    {
        names.push(ServerName::DnsName(host));
    }
    names
}

/// Whether the files are there, the key is its owner's alone, and they belong together and hold for every name 30 days from now, as a client would see it.
fn still_good(files: &DevCertificate, names: &[ServerName<'_>]) -> Result<(), String> {
    let text = |error: TlsError| error.to_string();
    let mode = fs::metadata(&files.key).map_err(|error| error.to_string())?.permissions().mode();
    if mode & OTHERS != 0 {
        // Whoever read it has it: a narrower mode would not take it back.
        return Err(format!("others can read the key: it has mode {:04o}", mode & 0o7777));
    }
    let ca = read_chain(&files.ca).map_err(text)?;
    let chain = read_chain(&files.cert).map_err(text)?;
    let key = read_key(&files.key).map_err(text)?;
    let provider = provider();
    let refused = |error: rustls::Error| error.to_string();
    let signing = provider.key_provider.load_private_key(key).map_err(refused)?;
    CertifiedKey::new(chain.clone(), signing).keys_match().map_err(refused)?;

    let mut roots = RootCertStore::empty();
    roots.add(ca[0].clone()).map_err(refused)?;
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider);
    let verifier = verifier.build().map_err(|error| error.to_string())?;
    let later = UnixTime::since_unix_epoch(Duration::from_secs(UnixTime::now().as_secs()) + RENEW_BEFORE);
    for name in names {
        verifier.verify_server_cert(&chain[0], &chain[1..], name, &[], later).map_err(refused)?;
    }
    Ok(())
}

fn make(dir: &Path, files: &DevCertificate, names: &[ServerName<'_>]) -> Result<(), String> {
    let refused = |error: rcgen::Error| error.to_string();
    let ca_key = KeyPair::generate().map_err(refused)?;
    let ca = CertifiedIssuer::self_signed(ca_params(names), ca_key).map_err(refused)?;
    let key = KeyPair::generate().map_err(refused)?;
    let leaf = leaf_params(names)?.signed_by(&key, &ca).map_err(refused)?;

    let failed = |error: std::io::Error| error.to_string();
    fs::create_dir_all(dir).map_err(failed)?;
    // A crash between two of these leaves a pair that does not match, and the next start makes it anew.
    write(&files.key, &key.serialize_pem(), KEY_MODE).map_err(failed)?;
    write(&files.cert, &leaf.pem(), 0o644).map_err(failed)?;
    write(&files.ca, &ca.pem(), 0o644).map_err(failed)
}

fn lasting(mut params: CertificateParams, common_name: &str) -> CertificateParams {
    let now = time::OffsetDateTime::now_utc();
    params.not_before = now - BACKDATED;
    params.not_after = now - BACKDATED + VALIDITY;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

fn ca_params(names: &[ServerName<'_>]) -> CertificateParams {
    // Each CA has a name of its own, so that a store that trusts two of them does not mix them up.
    let mut params = lasting(CertificateParams::default(), &format!("gatewatch dev CA {:08x}", rand::random::<u32>()));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let permitted_subtrees = names.iter().filter_map(|name| match name {
        ServerName::DnsName(name) => Some(GeneralSubtree::DnsName(name.as_ref().to_owned())),
        ServerName::IpAddress(ip) => {
            let ip = IpAddr::from(*ip);
            Some(GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(ip, if ip.is_ipv4() { 32 } else { 128 })))
        }
        _ => None,
    });
    params.name_constraints =
        Some(NameConstraints { permitted_subtrees: permitted_subtrees.collect(), excluded_subtrees: Vec::new() });
    params
}

fn leaf_params(names: &[ServerName<'_>]) -> Result<CertificateParams, String> {
    let mut params = lasting(CertificateParams::default(), "gatewatch dev");
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    for name in names {
        params.subject_alt_names.push(match name {
            ServerName::DnsName(name) => {
                SanType::DnsName(name.as_ref().try_into().map_err(|error: rcgen::Error| error.to_string())?)
            }
            ServerName::IpAddress(ip) => SanType::IpAddress(IpAddr::from(*ip)),
            _ => continue,
        });
    }
    Ok(params)
}

/// Writes `text` whole or not at all, with its final mode from the first byte on.
fn write(path: &Path, text: &str, mode: u32) -> std::io::Result<()> {
    let temporary = path.with_extension(format!("{:08x}.tmp", rand::random::<u32>()));
    let written =
        fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
    let renamed = written.and_then(|()| fs::rename(&temporary, path));
    if renamed.is_err() {
        // Best effort: what matters is the error that is handed back.
        let _ = fs::remove_file(&temporary);
    }
    renamed
}
