//! TLS: which certificates, which clients, which versions, which protocols; read anew without a restart.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use axum_server::tls_rustls::RustlsConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, TrustAnchor};
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};

use super::certificates::{ByName, Pair, read_client_cas};
use super::dev_cert::dev_certificate;
use crate::config::{CertificateFiles, TlsConfig, TlsMode, TlsVersion};
use crate::telemetry::{ReloadOutcome, ServerMetrics};

/// Why TLS cannot be set up. Each says which file, none says what a key file holds.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read, is not PEM of the kind expected, or holds what is not valid any more.
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
    /// The client CAs are refused.
    #[error("client CA {}: {source}", path.display())]
    ClientCa {
        /// Which.
        path: PathBuf,
        /// What rustls says.
        source: VerifierBuilderError,
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
    /// A listener that speaks TLS cannot be told to stop doing so.
    #[error("TLS cannot be switched off without a restart")]
    Off,
}

/// How a listener speaks TLS. Clones share it: [`TlsSettings::replace`] reaches a listener that serves.
#[derive(Clone)]
pub struct TlsSettings {
    serving: RustlsConfig,
    read: Arc<ArcSwap<Read>>,
    metrics: ServerMetrics,
}

/// TLS as it was read and checked, to be put in force.
pub struct ReadTls {
    server: ServerConfig,
    read: Read,
    ends: i64,
}

/// The files that are in use.
struct Read {
    files: Vec<PathBuf>,
    ca: Option<PathBuf>,
    held: Held,
}

/// What the files held. A key of its own has none in here: it belongs to its certificate.
#[derive(PartialEq)]
struct Held {
    chains: Vec<Vec<CertificateDer<'static>>>,
    client_cas: Vec<TrustAnchor<'static>>,
}

impl std::fmt::Debug for TlsSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsSettings").field("files", &self.read.load().files).finish_non_exhaustive()
    }
}

impl TlsSettings {
    /// Reads everything that `config` names, or makes a development certificate in `dev_dir`; `None` if TLS is off.
    ///
    /// # Errors
    /// A file that cannot be used, a key of another certificate, a certificate that ended, a client CA that is missing or
    /// empty (G15).
    pub fn load(config: &TlsConfig, dev_dir: &Path, metrics: &ServerMetrics) -> Result<Option<Self>, TlsError> {
        let Some(files) = server_files(config, dev_dir)? else { return Ok(None) };
        let (server, read, ends) = build(config, files, SystemTime::now())?;
        metrics.certificate_end.set(ends);
        Ok(Some(Self {
            serving: RustlsConfig::from_config(Arc::new(server)),
            read: Arc::new(ArcSwap::from_pointee(read)),
            metrics: metrics.clone(),
        }))
    }

    /// Reads everything that `config` names anew; nothing of it is in force yet. Counts a refusal.
    ///
    /// # Errors
    /// As [`TlsSettings::load`].
    pub fn read_anew(&self, config: &TlsConfig, dev_dir: &Path) -> Result<ReadTls, TlsError> {
        let files = server_files(config, dev_dir).and_then(|files| files.ok_or(TlsError::Off));
        let built = files.and_then(|files| build(config, files, SystemTime::now()));
        if built.is_err() {
            self.count_refusal();
        }
        built.map(|(server, read, ends)| ReadTls { server, read, ends })
    }

    /// Counts new certificates that were refused before they were read.
    pub fn count_refusal(&self) {
        self.metrics.certificate_reloads.of(ReloadOutcome::Refused).inc();
    }

    /// Puts what was read in force for connections to come; those that are open keep what they have.
    ///
    /// The whole rustls configuration is replaced, so no session from before is resumed (G19).
    pub fn replace(&self, ReadTls { server, read, ends }: ReadTls) {
        self.serving.reload_from_config(Arc::new(server));
        let before = self.read.swap(Arc::new(read));
        self.metrics.certificate_end.set(ends);
        // Every reload reads them; most are of something else.
        if before.held != self.read.load().held {
            self.metrics.certificate_reloads.of(ReloadOutcome::Ok).inc();
        }
    }

    /// Both in one.
    #[cfg(test)]
    pub(super) fn reload(&self, config: &TlsConfig, dev_dir: &Path) -> Result<(), TlsError> {
        self.replace(self.read_anew(config, dev_dir)?);
        Ok(())
    }

    /// Whether [`TlsSettings::load`] would succeed; makes no development certificate.
    ///
    /// # Errors
    /// As [`TlsSettings::load`].
    pub fn check(config: &TlsConfig) -> Result<(), TlsError> {
        match (&config.mode, &config.client_ca) {
            (TlsMode::Files(files), _) => {
                let files = Files { first: files.clone(), ca: None };
                build(config, files, SystemTime::now()).map(drop)
            }
            (TlsMode::Dev, Some(client_ca)) => {
                client_verifier(client_ca, read_client_cas(client_ca)?, provider()).map(drop)
            }
            (TlsMode::Dev | TlsMode::Off, _) => Ok(()),
        }
    }

    /// The files in use: what changes when a certificate, a key or a client CA is replaced.
    pub fn files(&self) -> Vec<PathBuf> {
        self.read.load().files.clone()
    }

    /// The CA of the development certificate, if that is in use.
    pub fn ca(&self) -> Option<PathBuf> {
        self.read.load().ca.clone()
    }

    pub(super) fn config(&self) -> RustlsConfig {
        self.serving.clone()
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

/// The first pair, and the CA of a development certificate.
struct Files {
    first: CertificateFiles,
    ca: Option<PathBuf>,
}

fn server_files(config: &TlsConfig, dev_dir: &Path) -> Result<Option<Files>, TlsError> {
    Ok(match &config.mode {
        TlsMode::Off => None,
        TlsMode::Files(files) => Some(Files { first: files.clone(), ca: None }),
        TlsMode::Dev => {
            let made = dev_certificate(dev_dir)?;
            Some(Files { first: CertificateFiles { cert: made.cert, key: made.key }, ca: Some(made.ca) })
        }
    })
}

/// Everything that `config` names, at `now`: how to serve, what was read, and when the first certificate ends.
fn build(config: &TlsConfig, files: Files, now: SystemTime) -> Result<(ServerConfig, Read, i64), TlsError> {
    let provider = provider();
    let first = Pair::load(&files.first, &provider, now)?;
    let others = config.certificates.iter().map(|files| Pair::load(files, &provider, now));
    let others = others.collect::<Result<Vec<_>, _>>()?;
    let client_cas = config.client_ca.as_deref().map(read_client_cas).transpose()?;
    let held = Held {
        chains: std::iter::once(&first).chain(&others).map(|pair| pair.certified.cert.clone()).collect(),
        client_cas: client_cas.iter().flat_map(|store| store.roots.iter().cloned()).collect(),
    };
    let server = server_config(config, &first, &others, client_cas, provider)?;
    let pairs = || std::iter::once(&first).chain(&others);
    let ends = pairs().map(|pair| pair.ends).min().unwrap_or_default();
    let used = pairs().flat_map(|pair| [pair.files.cert.clone(), pair.files.key.clone()]);
    let files = Read { files: used.chain(config.client_ca.clone()).collect(), ca: files.ca, held };
    Ok((server, files, ends))
}

fn server_config(
    config: &TlsConfig,
    first: &Pair,
    others: &[Pair],
    client_cas: Option<RootCertStore>,
    provider: Arc<CryptoProvider>,
) -> Result<ServerConfig, TlsError> {
    let versions: &[_] = match config.min_version {
        TlsVersion::V1_2 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        TlsVersion::V1_3 => &[&rustls::version::TLS13],
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(versions)?;
    let builder = match config.client_ca.as_deref().zip(client_cas) {
        Some((path, roots)) => builder.with_client_cert_verifier(client_verifier(path, roots, provider)?),
        None => builder.with_no_client_auth(),
    };
    let mut server = builder.with_cert_resolver(Arc::new(ByName::new(first, others)));
    // axum-server does not set it for a configuration of our own.
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // All suites are strong; a client that asks for the slower one first does not get it.
    server.ignore_client_order = true;
    // What is sent before the handshake ends can be sent again by anybody (G21).
    server.max_early_data_size = 0;
    if config.client_ca.is_some() {
        // rustls does not verify the client's certificate again when a session is resumed, so none is (G18).
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
    } else {
        // Its secret is in memory alone and new with each configuration (G19).
        server.ticketer = aws_lc_rs::Ticketer::new()?;
    }
    Ok(server)
}

fn client_verifier(
    path: &Path,
    roots: RootCertStore,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, TlsError> {
    WebPkiClientVerifier::builder_with_provider(roots.into(), provider)
        .build()
        .map_err(|source| TlsError::ClientCa { path: path.to_owned(), source })
}
