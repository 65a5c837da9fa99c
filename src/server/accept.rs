//! What stands between accept and hyper: caps, the PROXY header, the guard, TLS and the count of how handshakes end.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use axum_server::accept::Accept;
use axum_server::tls_rustls::RustlsAcceptor;
use tokio::net::TcpStream;

use super::Connection;
use super::caps::{ConnectionCaps, Slot};
use super::guard::{GuardLimits, Guarded};
use super::proxy::{ProxySettings, Treatment, read_header};
use super::request::Lend;
use crate::model::{ClientKey, Peer};
use crate::telemetry::{HandshakeOutcome, HandshakeVersion, Limit, ProxyOutcome, ServerMetrics};

/// For how long a peer may acknowledge nothing that was sent to it. Without this the kernel tries for about 15 minutes,
/// and a peer whose network is gone holds its place for as long (G47). The kernel also counts while a peer's window is
/// closed, so it is longer than the 60 s after which the hub cuts a reader that takes nothing: only the hub names it.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_secs(75);

type Accepted<T, S> = Pin<Box<dyn Future<Output = io::Result<(T, S)>> + Send>>;

/// Lets a connection in or closes it, before anything else is done for it; and gives its requests what they need.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    pub(super) caps: ConnectionCaps,
    pub(super) proxy: ProxySettings,
    /// For the whole PROXY header.
    pub(super) proxy_header: Duration,
    pub(super) guard: GuardLimits,
    pub(super) metrics: ServerMetrics,
}

/// Why a connection was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Refused {
    #[error("over the limit: {0:?}")]
    Over(Limit),
    #[error("no PROXY header: {0:?}")]
    Header(ProxyOutcome),
}

impl<S: Send + 'static> Accept<TcpStream, S> for Gate {
    type Stream = Guarded<TcpStream>;
    type Service = Lend<S>;
    type Future = Accepted<Self::Stream, Self::Service>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let gate = self.clone();
        Box::pin(async move { gate.let_in(stream, service).await })
    }
}

impl Gate {
    async fn let_in<S>(self, mut stream: TcpStream, inner: S) -> io::Result<(Guarded<TcpStream>, Lend<S>)> {
        let socket = stream.peer_addr()?;
        let (peer, slot) = match self.admit(&mut stream, socket).await {
            Ok(admitted) => admitted,
            Err(refused) => {
                // A reset: no state of it stays here, and a client does not take it for an empty answer. A socket that
                // cannot be told so is closed as any other.
                let _ = stream.set_zero_linger();
                return Err(io::Error::new(io::ErrorKind::ConnectionRefused, refused));
            }
        };
        // A frame must not wait for the acknowledgement of the one before.
        stream.set_nodelay(true)?;
        #[cfg(target_os = "linux")]
        rustix::net::sockopt::set_tcp_user_timeout(&stream, UNACKNOWLEDGED.as_millis().try_into().unwrap_or(u32::MAX))?;
        let connection = Connection::default();
        let guarded = Guarded::new(stream, peer, self.guard, connection.clone(), slot, self.metrics);
        Ok((guarded, Lend { inner, connection, peer }))
    }

    /// Who is there, and a place for it.
    async fn admit(&self, stream: &mut TcpStream, socket: SocketAddr) -> Result<(Peer, Slot), Refused> {
        let direct = Peer::direct(socket);
        let key = |peer: Peer| ClientKey::of(peer.address());
        match self.proxy.treatment(socket.ip()) {
            Treatment::Direct => Ok((direct, self.caps.enter(key(direct)).map_err(Refused::Over)?)),
            Treatment::Shared => Ok((direct, self.caps.enter_shared().map_err(Refused::Over)?)),
            Treatment::Close => Err(self.no_header(ProxyOutcome::Untrusted)),
            Treatment::Header => {
                let slot = self.caps.enter_unidentified().map_err(Refused::Over)?;
                let named = read_header(stream, self.proxy_header).await;
                let proxied = named.map_err(|outcome| self.no_header(outcome))?;
                let outcome = if proxied.is_some() { ProxyOutcome::Ok } else { ProxyOutcome::Local };
                self.metrics.proxy_headers.of(outcome).inc();
                let peer = Peer { socket, proxied };
                Ok((peer, slot.identified(key(peer)).map_err(Refused::Over)?))
            }
        }
    }

    fn no_header(&self, outcome: ProxyOutcome) -> Refused {
        self.metrics.proxy_headers.of(outcome).inc();
        Refused::Header(outcome)
    }
}

/// TLS behind the gate, with every handshake counted by how it ended. One that the stop of the server cuts is not
/// counted, nor is a connection that was not let in.
#[derive(Clone, Debug)]
pub(super) struct CountedTls {
    pub(super) gate: Gate,
    pub(super) tls: RustlsAcceptor,
}

impl<S> Accept<TcpStream, S> for CountedTls
where
    S: Send + 'static,
{
    type Stream = <RustlsAcceptor as Accept<Guarded<TcpStream>, Lend<S>>>::Stream;
    type Service = <RustlsAcceptor as Accept<Guarded<TcpStream>, Lend<S>>>::Service;
    type Future = Accepted<Self::Stream, Self::Service>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let Self { gate, tls } = self.clone();
        Box::pin(async move {
            let metrics = gate.metrics.clone();
            let (stream, service) = gate.let_in(stream, service).await?;
            let done = tls.accept(stream, service).await;
            let outcome = done.as_ref().err().map_or(HandshakeOutcome::Ok, outcome);
            metrics.handshakes.of(outcome).inc();
            let agreed = done.as_ref().ok().and_then(|(stream, _)| version(stream.get_ref().1.protocol_version()?));
            if let Some(version) = agreed {
                metrics.versions.of(version).inc();
            }
            done
        })
    }
}

/// Those that [`TlsSettings`](super::TlsSettings) lets be spoken.
fn version(agreed: rustls::ProtocolVersion) -> Option<HandshakeVersion> {
    match agreed {
        rustls::ProtocolVersion::TLSv1_2 => Some(HandshakeVersion::Tls12),
        rustls::ProtocolVersion::TLSv1_3 => Some(HandshakeVersion::Tls13),
        _ => None,
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::telemetry::Metrics;

    #[tokio::test]
    async fn g47_the_kernel_gives_up_a_peer_that_acknowledges_nothing_but_not_before_the_hub_names_a_reader() {
        let Metrics { server: metrics, limits, .. } = Metrics::new();
        let minute = Duration::from_secs(60);
        let gate = Gate {
            caps: ConnectionCaps::new(1, 1, limits),
            proxy: ProxySettings::none(),
            proxy_header: minute,
            guard: GuardLimits { write_stall: minute, idle: minute },
            metrics,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let (guarded, _) = gate.let_in(stream, ()).await.unwrap();
        let given = rustix::net::sockopt::tcp_user_timeout(guarded.get_ref()).unwrap();
        assert_eq!(given, 75_000, "in milliseconds");
        // The 60 s after which the hub names a reader that takes nothing.
        assert!(Duration::from_millis(given.into()) > Duration::from_secs(60));
    }
}
