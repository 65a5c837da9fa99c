//! A web site of somebody else: one page without a policy of its own, so that a test may do there what an attacker would.

use std::net::Ipv4Addr;

use axum::Router;
use axum::response::Html;
use axum_server::tls_rustls::RustlsConfig;

use super::crypto;

/// A running site; it ends with the value.
pub struct Site {
    /// What browsers call it: scheme, host and port.
    pub origin: String,
    handle: axum_server::Handle<std::net::SocketAddr>,
}

impl Site {
    /// One that shows `html` at every path, under the name `localhost`: for a browser this is another site than the
    /// address 127.0.0.1.
    pub async fn elsewhere(html: &str) -> Self {
        let handle = axum_server::Handle::new();
        let server = axum_server::bind((Ipv4Addr::LOCALHOST, 0).into()).handle(handle.clone());
        tokio::spawn(server.serve(page(html)));
        Self::named("http://localhost", handle).await
    }

    /// One at 127.0.0.1 over TLS: for a browser this is the same site as a gateway there, in another origin.
    pub async fn neighbour(html: &str) -> Self {
        crypto();
        let pair = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
        let (cert, key) = (pair.cert.pem().into_bytes(), pair.signing_key.serialize_pem().into_bytes());
        let config = RustlsConfig::from_pem(cert, key).await.expect("a usable pair");
        let handle = axum_server::Handle::new();
        let server = axum_server::bind_rustls((Ipv4Addr::LOCALHOST, 0).into(), config).handle(handle.clone());
        tokio::spawn(server.serve(page(html)));
        Self::named("https://127.0.0.1", handle).await
    }

    async fn named(name: &str, handle: axum_server::Handle<std::net::SocketAddr>) -> Self {
        let address = handle.listening().await.expect("it listens");
        Self { origin: format!("{name}:{}", address.port()), handle }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.handle.shutdown();
    }
}

fn page(html: &str) -> axum::routing::IntoMakeService<Router> {
    let html = html.to_owned();
    Router::new().fallback(move || std::future::ready(Html(html.clone()))).into_make_service()
}
