//! TLS: which certificate, which versions, which protocols.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum_server::tls_rustls::RustlsConfig;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

/// Certificates in one chain file, at most.
const MAX_CHAIN: usize = 16;

/// The lowest TLS version spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MinTls {
    /// TLS 1.2 (RFC 5246) and 1.3.
    #[default]
    V12,
    /// TLS 1.3 (RFC 8446) alone.
    V13,
}

/// Why TLS cannot be set up. Each says which file, none says what a key file holds.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read, or is not PEM of the kind expected.
    #[error("{what} {}: {why}", path.display())]
    File {
        /// What was expected in it.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Certificate and key do not belong together, or rustls refuses them.
    #[error("the certificate {} and the key {} cannot be used: {source}", cert.display(), key.display())]
    Pair {
        /// The certificate file.
        cert: PathBuf,
        /// The key file.
        key: PathBuf,
        /// What rustls says.
        source: rustls::Error,
    },
    /// rustls refuses the configuration.
    #[error("TLS cannot be set up: {0}")]
    Config(#[from] rustls::Error),
    /// The development certificate could not be made.
    #[error("the development certificate could not be made in {}: {why}", dir.display())]
    Dev {
        /// Where.
        dir: PathBuf,
        /// Why.
        why: String,
    },
}

/// How a listener speaks TLS. Clones share it: [`TlsSettings::reload_files`] reaches a listener that serves.
#[derive(Clone)]
pub struct TlsSettings(RustlsConfig);

impl std::fmt::Debug for TlsSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsSettings")
    }
}

impl TlsSettings {
    /// With the PEM chain (leaf first) in `cert` and the PEM key (PKCS#8, PKCS#1 or SEC1) in `key`.
    pub fn from_files(cert: &Path, key: &Path, min: MinTls) -> Result<Self, TlsError> {
        Ok(Self(RustlsConfig::from_config(Arc::new(server_config(cert, key, min)?))))
    }

    /// Reads the files again. If they are bad the old ones stay. Open connections keep theirs.
    pub fn reload_files(&self, cert: &Path, key: &Path, min: MinTls) -> Result<(), TlsError> {
        self.0.reload_from_config(Arc::new(server_config(cert, key, min)?));
        Ok(())
    }

    /// Serves new connections with what `fresh` was made of. Open connections keep theirs.
    pub fn replace_with(&self, fresh: &Self) {
        self.0.reload_from_config(fresh.0.get_inner());
    }

    pub(super) fn config(&self) -> RustlsConfig {
        self.0.clone()
    }
}

/// Makes aws-lc-rs the provider of the whole process, for what asks for a default (clients in tests, rcgen). With two
/// providers linked and none chosen rustls panics at first use.
pub fn install_crypto() {
    // An error says that one is installed already, which is what is wanted.
    let _ = aws_lc_rs::default_provider().install_default();
}

pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn server_config(cert: &Path, key: &Path, min: MinTls) -> Result<ServerConfig, TlsError> {
    let chain = read_chain(cert)?;
    let provider = provider();
    let pair = |source| TlsError::Pair { cert: cert.to_owned(), key: key.to_owned(), source };
    let signing = provider.key_provider.load_private_key(read_key(key)?).map_err(pair)?;
    let certified = CertifiedKey::new(chain, signing);
    certified.keys_match().map_err(pair)?;

    let versions: &[_] = match min {
        MinTls::V12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        MinTls::V13 => &[&rustls::version::TLS13],
    };
    let resolver = rustls::sign::SingleCertAndKey::from(certified);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    // axum-server does not set it for a configuration of our own.
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // All suites are strong; a client that asks for the slower one first does not get it.
    config.ignore_client_order = true;
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    Ok(config)
}

pub(super) fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |why: String| TlsError::File { what: "certificate", path: path.to_owned(), why };
    let chain: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(|certs| certs.take(MAX_CHAIN).collect())
        .map_err(|error| wrong(error.to_string()))?;
    if chain.is_empty() { Err(wrong("it holds no certificate".to_owned())) } else { Ok(chain) }
}

pub(super) fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| TlsError::File {
        what: "key",
        path: path.to_owned(),
        why: error.to_string(),
    })
}
