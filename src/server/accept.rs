//! What stands between accept and hyper: socket options, the guard, TLS and the count of how handshakes end.

use std::future::{Future, Ready, ready};
use std::io;
use std::pin::Pin;
use std::time::Duration;

use axum::Extension;
use axum::middleware::AddExtension;
use axum_server::accept::Accept;
use axum_server::tls_rustls::RustlsAcceptor;
use tokio::net::TcpStream;
use tower::Layer as _;

use super::Connection;
use super::guard::Guarded;
use crate::telemetry::{HandshakeOutcome, ServerMetrics};

/// Sets `TCP_NODELAY` (a frame must not wait for the acknowledgement of the one before), adds the guard, and gives every
/// request its [`Connection`].
#[derive(Clone, Debug)]
pub(super) struct GuardAcceptor {
    pub(super) write_stall: Duration,
    pub(super) metrics: ServerMetrics,
}

impl<S> Accept<TcpStream, S> for GuardAcceptor {
    type Stream = Guarded<TcpStream>;
    type Service = AddExtension<S, Connection>;
    type Future = Ready<io::Result<(Self::Stream, Self::Service)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let peer = stream.set_nodelay(true).and_then(|()| stream.peer_addr());
        let guarded = peer.map(|peer| {
            let connection = Connection::default();
            let service = Extension(connection.clone()).layer(service);
            (Guarded::new(stream, peer, self.write_stall, connection, self.metrics.clone()), service)
        });
        ready(guarded)
    }
}

/// TLS, with every handshake counted by how it ended. One that the stop of the server cuts is not counted.
#[derive(Clone, Debug)]
pub(super) struct CountedTls {
    pub(super) inner: RustlsAcceptor<GuardAcceptor>,
    pub(super) metrics: ServerMetrics,
}

impl<S> Accept<TcpStream, S> for CountedTls
where
    RustlsAcceptor<GuardAcceptor>: Accept<TcpStream, S>,
    <RustlsAcceptor<GuardAcceptor> as Accept<TcpStream, S>>::Future: Send + 'static,
{
    type Stream = <RustlsAcceptor<GuardAcceptor> as Accept<TcpStream, S>>::Stream;
    type Service = <RustlsAcceptor<GuardAcceptor> as Accept<TcpStream, S>>::Service;
    type Future = Pin<Box<dyn Future<Output = io::Result<(Self::Stream, Self::Service)>> + Send>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let handshake = self.inner.accept(stream, service);
        let metrics = self.metrics.clone();
        Box::pin(async move {
            let done = handshake.await;
            let outcome = done.as_ref().err().map_or(HandshakeOutcome::Ok, outcome);
            metrics.handshakes.of(outcome).inc();
            done
        })
    }
}

/// How a handshake that failed with `error` ended.
fn outcome(error: &io::Error) -> HandshakeOutcome {
    match error.kind() {
        io::ErrorKind::TimedOut => return HandshakeOutcome::Timeout,
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            return HandshakeOutcome::Closed;
        }
        _ => {}
    }
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::AlertReceived(_)) => HandshakeOutcome::Alert,
        Some(rustls::Error::PeerIncompatible(_) | rustls::Error::NoApplicationProtocol) => {
            HandshakeOutcome::Incompatible
        }
        Some(rustls::Error::InvalidMessage(_)) => HandshakeOutcome::NotTls,
        _ => HandshakeOutcome::Failed,
    }
}
