//! Fetches a JWK set over https.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::StatusCode;
use reqwest::{Certificate, Client, redirect};

use super::read;
use super::ring::MAX_SET;
use crate::config::HttpUrl;

/// The largest file of CAs, in bytes.
pub(super) const MAX_CA_FILE: usize = 1024 * 1024;
/// How long a connection to the issuer is kept for the next fetch: no longer than one that follows at once.
const IDLE: Duration = Duration::from_secs(5);

/// Why a fetch brought nothing. For the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct FetchFault(pub(super) String);

/// Where a JWK set comes from. The caller bounds how long it waits.
pub(super) trait Fetch: fmt::Debug + Send + Sync {
    /// The bytes of the set, at most [`MAX_SET`].
    fn fetch(&self) -> BoxFuture<'_, Result<Vec<u8>, FetchFault>>;
}

/// An https URL.
#[derive(Debug)]
pub(super) struct Https {
    client: Client,
    url: String,
}

impl Https {
    /// A client for `url` alone. Its server is trusted by the CAs in `ca` (PEM), or by the system's.
    ///
    /// Neither a redirect nor a proxy out of the environment decides where keys come from (G40).
    pub(super) fn new(url: &HttpUrl, ca: Option<&Path>) -> Result<Self, String> {
        // An error says that a provider is chosen already; with none the client would panic.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut client = Client::builder()
            .https_only(true)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .pool_idle_timeout(IDLE)
            .user_agent(concat!("gatewatch/", env!("CARGO_PKG_VERSION")));
        if let Some(ca) = ca {
            let pem = read::file(ca, MAX_CA_FILE).map_err(|why| format!("{} {why}", ca.display()))?;
            let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| chain(&error))?;
            if certificates.is_empty() {
                return Err(format!("{} holds no certificate", ca.display()));
            }
            client = client.tls_certs_only(certificates);
        }
        let client = client.build().map_err(|error| chain(&error))?;
        Ok(Self { client, url: url.as_str().to_owned() })
    }

    async fn get(&self) -> Result<Vec<u8>, FetchFault> {
        let failed = |error: reqwest::Error| FetchFault(chain(&error.without_url()));
        let mut response = self.client.get(&self.url).send().await.map_err(failed)?;
        if response.status() != StatusCode::OK {
            return Err(FetchFault(format!("the answer is {}", response.status().as_u16())));
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if bytes.len() + chunk.len() > MAX_SET {
                return Err(FetchFault("the answer is larger than 256 KiB".to_owned()));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
}

impl Fetch for Https {
    fn fetch(&self) -> BoxFuture<'_, Result<Vec<u8>, FetchFault>> {
        self.get().boxed()
    }
}

/// The error with its causes: what reqwest says itself names none.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
