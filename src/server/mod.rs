//! Listeners: sockets, TLS, limits on connections. Knows no route and no principal.
//!
//! Imports `model`, `config`, `telemetry` and `lifecycle`. A connection passes, in this order: TCP accept with
//! `TCP_NODELAY`, the guard against peers that do not read, TLS, hyper with its own limits, the router.

mod accept;
mod admin;
mod connection;
mod dev_cert;
mod guard;
mod listener;
mod tls;

pub use admin::AdminThread;
pub use connection::Connection;
pub use dev_cert::{DevCertificate, dev_certificate};
pub use listener::{ConnectionLimits, Listener, ServerHandle, Serving, serve};
pub use tls::{MinTls, TlsError, TlsSettings, install_crypto};

#[cfg(test)]
mod tests;
