//! Certificates of a CA that these tests trust.

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::*;

/// A CA; its files go with it.
pub(super) struct Ca {
    pub(super) dir: TempDir,
    pub(super) cert: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Ca {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, format!("test CA {:08x}", rand::random::<u32>()));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let cert = dir.path().join("ca.pem");
        fs::write(&cert, issuer.pem()).unwrap();
        Self { dir, cert, issuer }
    }

    /// A leaf for `names`, good for servers and clients, that ends in `days`; in the files `file`.pem and `file`.key.
    pub(super) fn issue(&self, file: &str, names: &[&str], days: i64) -> CertificateFiles {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        let now = time::OffsetDateTime::now_utc();
        params.not_before = now - time::Duration::days(60);
        params.not_after = now + time::Duration::days(days);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        let files = pair(&self.dir.path().join(format!("{file}.pem")), &self.dir.path().join(format!("{file}.key")));
        fs::write(&files.cert, leaf.pem()).unwrap();
        fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }

    /// `[tls]` with `first`.
    pub(super) fn config(&self, first: &CertificateFiles) -> TlsConfig {
        TlsConfig {
            mode: TlsMode::Files(first.clone()),
            min_version: TlsVersion::V1_2,
            client_ca: None,
            hsts: false,
            certificates: Vec::new(),
        }
    }

    /// A rustls client that trusts this CA, and shows `own` if there is one.
    pub(super) fn client(&self, own: Option<&CertificateFiles>) -> rustls::ClientConfig {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.cert).unwrap()).unwrap();
        let builder = rustls::ClientConfig::builder_with_provider(crate::server::tls::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let chain = vec![CertificateDer::from_pem_file(&own.cert).unwrap()];
                builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(&own.key).unwrap()).unwrap()
            }
        }
    }
}

/// The bytes of the certificate in `files`.
pub(super) fn der(files: &CertificateFiles) -> Vec<u8> {
    CertificateDer::from_pem_file(&files.cert).unwrap().to_vec()
}
