//! Listeners: sockets, TLS, limits on connections. Knows no route and no principal.
//!
//! Imports `model`, `config`, `telemetry` and `lifecycle`. A connection passes, in this order: TCP accept, the caps on
//! connections, the PROXY header of a load balancer, the guard against peers that do not read or ask, TLS, hyper with its
//! own limits, the router.

mod accept;
mod admin;
mod caps;
mod certificates;
mod connection;
mod dev_cert;
mod guard;
mod listener;
mod proxy;
mod proxy_header;
mod request;
mod tls;

pub use admin::AdminThread;
pub use caps::ConnectionCaps;
pub use connection::Connection;
pub use dev_cert::{DevCertificate, dev_certificate};
pub use listener::{ConnectionLimits, Listener, ServerHandle, Serving, serve};
pub use proxy::ProxySettings;
pub use tls::{ReadTls, TlsError, TlsSettings, install_crypto};

#[cfg(test)]
mod tests;
