//! Certificates: from files to what a client is shown for the name that it asks for.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::tls::TlsError;
use crate::config::CertificateFiles;

/// Certificates in one chain file, at most.
const MAX_CHAIN: usize = 16;
/// Certificates of client CAs in one file, at most.
const MAX_CLIENT_CAS: usize = 256;
/// How long before its end a certificate is worth a warning.
const WARN_BEFORE: Duration = Duration::from_secs(30 * 24 * 3600);

/// A pair that was read and found to belong together and to hold.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) files: CertificateFiles,
    pub(super) certified: Arc<CertifiedKey>,
    /// DNS names of the leaf, in lower case; a wildcard as `*.example.com`.
    pub(super) names: Vec<String>,
    /// When the leaf ends, in seconds since the Unix epoch.
    pub(super) ends: i64,
}

impl Pair {
    /// Reads a pair, at `now`.
    pub(super) fn load(files: &CertificateFiles, provider: &CryptoProvider, now: SystemTime) -> Result<Self, TlsError> {
        let CertificateFiles { cert, key } = files;
        let refused = |source| TlsError::Pair { cert: cert.clone(), key: key.clone(), source };
        let chain = read_chain(cert)?;
        let signing = provider.key_provider.load_private_key(read_key(key)?).map_err(refused)?;
        let Leaf { names, ends } = Leaf::parse(&chain[0]).map_err(|why| wrong_certificate(cert, why))?;
        let certified = CertifiedKey::new(chain, signing);
        certified.keys_match().map_err(refused)?;
        match Validity::of(ends, now) {
            Validity::Ended => return Err(wrong_certificate(cert, format!("it ended {}", rfc3339(ends)))),
            Validity::EndsSoon => {
                tracing::warn!(cert = %cert.display(), end = %rfc3339(ends), "a certificate ends within 30 days");
            }
            Validity::Holds => {}
        }
        Ok(Self { files: files.clone(), certified: Arc::new(certified), names, ends })
    }
}

/// What matters of a leaf.
struct Leaf {
    names: Vec<String>,
    ends: i64,
}

impl Leaf {
    fn parse(der: &[u8]) -> Result<Self, String> {
        let (_, leaf) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
        let ends = leaf.validity().not_after.timestamp();
        let san = leaf.subject_alternative_name().map_err(|error| error.to_string())?;
        let names = san.iter().flat_map(|san| &san.value.general_names).filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        });
        Ok(Self { names: names.collect(), ends })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Validity {
    Holds,
    EndsSoon,
    Ended,
}

impl Validity {
    /// Of a certificate that ends at `ends`, in seconds since the Unix epoch, at `now`.
    fn of(ends: i64, now: SystemTime) -> Self {
        match instant(ends).duration_since(now) {
            Err(_) => Self::Ended,
            Ok(left) if left < WARN_BEFORE => Self::EndsSoon,
            Ok(_) => Self::Holds,
        }
    }
}

/// `seconds` since the Unix epoch; what is before it is the epoch.
fn instant(seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// ASN.1 knows no year after 9999, so the text has one form.
fn rfc3339(seconds: i64) -> String {
    humantime::format_rfc3339_seconds(instant(seconds)).to_string()
}

/// Chooses the pair by the name that a client asks for: one that has the very name, else one whose wildcard covers it,
/// else the first. Of two that have a name the one that is configured first is shown.
///
/// All pairs are shown under one policy for client certificates, that of the listener, so it makes no difference to
/// trust whether `Host` names what the handshake named: there is nothing to refuse with 421 (G16).
#[derive(Debug)]
pub(super) struct ByName {
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By what stands behind `*.`.
    wildcards: HashMap<String, Arc<CertifiedKey>>,
    first: Arc<CertifiedKey>,
}

impl ByName {
    /// The pairs in the order of the configuration.
    pub(super) fn new(first: &Pair, others: &[Pair]) -> Self {
        let mut by_name =
            Self { exact: HashMap::new(), wildcards: HashMap::new(), first: Arc::clone(&first.certified) };
        for pair in std::iter::once(first).chain(others) {
            for name in &pair.names {
                let (map, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut by_name.wildcards, parent),
                    None => (&mut by_name.exact, name.as_str()),
                };
                map.entry(name.to_owned()).or_insert_with(|| Arc::clone(&pair.certified));
            }
        }
        by_name
    }

    /// The pair for `name`. A wildcard stands for one label (RFC 9525, section 6.3).
    pub(super) fn choose(&self, name: Option<&str>) -> &Arc<CertifiedKey> {
        let Some(name) = name.map(str::to_ascii_lowercase) else { return &self.first };
        let covering = || name.split_once('.').and_then(|(_, parent)| self.wildcards.get(parent));
        self.exact.get(&name).or_else(covering).unwrap_or(&self.first)
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(self.choose(hello.server_name())))
    }
}

/// The CAs that clients' certificates must come from. A file without one is an error: it must never mean that nobody is
/// asked (G15).
pub(super) fn read_client_cas(path: &Path) -> Result<RootCertStore, TlsError> {
    let wrong = |why: String| TlsError::File { what: "client CA", path: path.to_owned(), why };
    let cas = read_certificates(path, MAX_CLIENT_CAS).map_err(wrong)?;
    let mut roots = RootCertStore::empty();
    for ca in cas {
        roots.add(ca).map_err(|error| wrong(error.to_string()))?;
    }
    Ok(roots)
}

/// A PEM chain, leaf first; at least one certificate.
pub(super) fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    read_certificates(path, MAX_CHAIN).map_err(|why| wrong_certificate(path, why))
}

/// A PEM key: PKCS#8, PKCS#1 or SEC1.
pub(super) fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| TlsError::File {
        what: "key",
        path: path.to_owned(),
        why: error.to_string(),
    })
}

/// Between one and `most` certificates.
fn read_certificates(path: &Path, most: usize) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(|certificates| certificates.take(most + 1).collect())
        .map_err(|error| error.to_string())?;
    match certificates.len() {
        0 => Err("it holds no certificate".to_owned()),
        n if n > most => Err(format!("it holds more than {most} certificates")),
        _ => Ok(certificates),
    }
}

fn wrong_certificate(path: &Path, why: String) -> TlsError {
    TlsError::File { what: "certificate", path: PathBuf::from(path), why }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::{Validity, WARN_BEFORE};

    #[test]
    fn g20_a_certificate_is_refused_from_its_end_on_and_warned_of_30_days_before() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000);
        let soon = WARN_BEFORE.as_secs() as i64;
        for (ends, validity) in [
            (-1, Validity::Ended),
            (1_999_999_999, Validity::Ended),
            (2_000_000_001, Validity::EndsSoon),
            (2_000_000_000 + soon - 1, Validity::EndsSoon),
            (2_000_000_000 + soon, Validity::Holds),
            (i64::MAX / 1_000_000_000, Validity::Holds),
        ] {
            assert_eq!(Validity::of(ends, now), validity, "{ends}");
        }
    }
}
