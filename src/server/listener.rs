//! Binding and serving one listener.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum_server::tls_rustls::RustlsAcceptor;
use tokio::time::Instant;

use super::accept::{CountedTls, Gate};
use super::caps::ConnectionCaps;
use super::guard::GuardLimits;
use super::proxy::ProxySettings;
use super::tls::TlsSettings;
use crate::telemetry::ServerMetrics;

/// Connections that may wait in the kernel to be accepted. A restarted load balancer brings them all at once.
const BACKLOG: i32 = 1024;

/// Answers of HTTP/2 that may wait per stream, in bytes. What a stalled reader holds is at most this.
const H2_SEND_BUFFER: usize = 64 * 1024;

/// Requests of one HTTP/2 connection that a client may take back before they were looked at (rapid reset, G54); one more
/// ends the connection.
const H2_TAKEN_BACK: usize = 20;

/// Requests that gatewatch itself must reset because a client broke the protocol with them (G54); one more ends the
/// connection.
const H2_BROKEN: usize = 128;

/// How long an address that is in use is waited for, and how often it is tried.
const FREE_WITHIN: Duration = Duration::from_secs(2);
const AGAIN_AFTER: Duration = Duration::from_millis(20);

/// A bound socket that does not serve yet.
#[derive(Debug)]
pub struct Listener {
    socket: std::net::TcpListener,
    local: SocketAddr,
}

impl Listener {
    /// Binds `addr`; port 0 takes a free one. Fails with a line that names the address.
    pub fn bind(addr: SocketAddr) -> io::Result<Self> {
        let bind = || {
            // The standard library sets SO_REUSEADDR, so a restart need not wait for the connections before it.
            let socket = std::net::TcpListener::bind(addr)?;
            // It also fixes a queue of 128; listening again changes that.
            rustix::net::listen(&socket, BACKLOG)?;
            let local = socket.local_addr()?;
            Ok(Self { socket, local })
        };
        bind().map_err(|error: io::Error| io::Error::new(error.kind(), format!("cannot listen on {addr}: {error}")))
    }

    /// As [`Listener::bind`], but waits up to two seconds for an address that is in use: after a kill a child that was just
    /// being started may hold the old listener for the moment until its own program begins.
    ///
    /// # Errors
    /// If the address cannot be bound, or is still in use by then.
    pub async fn bind_soon(addr: SocketAddr) -> io::Result<Self> {
        let until = Instant::now() + FREE_WITHIN;
        loop {
            match Self::bind(addr) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < until => {
                    tokio::time::sleep(AGAIN_AFTER).await;
                }
                bound => return bound,
            }
        }
    }

    /// The address bound, with its real port.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

/// What a connection may take before it is closed (G53).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// From accept to the end of the PROXY header, where one is due. Default 3 s (G11).
    pub proxy_header: Duration,
    /// From the PROXY header, or accept, to the end of the TLS handshake. Default 10 s.
    pub handshake: Duration,
    /// From the end of the handshake to the first whole request head. Default 10 s.
    pub first_request: Duration,
    /// For one HTTP/1 request head, and for an idle HTTP/1 connection. Default 10 s.
    pub header_read: Duration,
    /// For a write of which the peer takes no byte. Default 70 s: a stalled event stream is ended by the hub, which knows
    /// whose it is, after 60 s; this is for everything else.
    pub write_stall: Duration,
    /// For an HTTP/2 connection without a request under way, from the end of the last. Default 60 s.
    pub h2_idle: Duration,
    /// Between pings on an HTTP/2 connection. Default 20 s.
    pub h2_ping: Duration,
    /// For the answer to such a ping. Default 10 s.
    pub h2_ping_answer: Duration,
    /// Requests at once on one HTTP/2 connection. Default 100.
    pub h2_streams: u32,
    /// Bytes of one request head. Default 16 KiB, at least 8 KiB.
    pub head_bytes: u32,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            proxy_header: Duration::from_secs(3),
            handshake: Duration::from_secs(10),
            first_request: Duration::from_secs(10),
            header_read: Duration::from_secs(10),
            write_stall: Duration::from_secs(70),
            h2_idle: Duration::from_secs(60),
            h2_ping: Duration::from_secs(20),
            h2_ping_answer: Duration::from_secs(10),
            h2_streams: 100,
            head_bytes: 16 * 1024,
        }
    }
}

/// Stops a listener that serves. Clones stop the same one.
#[derive(Clone, Debug, Default)]
pub struct ServerHandle(axum_server::Handle<SocketAddr>);

impl ServerHandle {
    /// A handle for one listener to come.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stops accepting, lets requests finish, and cuts what is left after `deadline`. There is always a deadline:
    /// without one an open event stream would hold the process for ever.
    pub fn stop(&self, deadline: Duration) {
        self.0.graceful_shutdown(Some(deadline));
    }

    /// Cuts everything now.
    pub fn stop_now(&self) {
        self.0.shutdown();
    }

    /// Connections open now.
    pub fn connections(&self) -> usize {
        self.0.connection_count()
    }
}

/// How to serve a listener.
#[derive(Clone, Debug)]
pub struct Serving {
    /// Plain HTTP without.
    pub tls: Option<TlsSettings>,
    /// Per connection.
    pub limits: ConnectionLimits,
    /// How many connections there may be.
    pub caps: ConnectionCaps,
    /// Load balancers in front.
    pub proxy: ProxySettings,
    /// Where connections are counted.
    pub metrics: ServerMetrics,
    /// What stops it.
    pub handle: ServerHandle,
}

/// Serves `router` until the handle says stop and the last connection is gone or cut. Requests carry their
/// [`super::Connection`] and [`crate::model::Peer`] as extensions, and the socket's peer as `ConnectInfo<SocketAddr>`.
pub async fn serve(listener: Listener, router: Router, serving: Serving) -> io::Result<()> {
    let Serving { tls, limits, caps, proxy, metrics, handle } = serving;
    let guard = GuardLimits { write_stall: limits.write_stall, idle: limits.h2_idle };
    let gate = Gate { caps, proxy, proxy_header: limits.proxy_header, guard, metrics: metrics.clone() };
    let mut server = axum_server::from_tcp(listener.socket)?
        .handle(handle.0)
        .first_request_timeout(limits.first_request)
        .accept_error_handler(accept_errors(metrics));

    let http = server.http_builder();
    http.http1().header_read_timeout(limits.header_read).max_buf_size(limits.head_bytes.max(8192) as usize);
    http.http2()
        .max_concurrent_streams(limits.h2_streams)
        .max_header_list_size(limits.head_bytes)
        .max_send_buf_size(H2_SEND_BUFFER)
        .max_pending_accept_reset_streams(H2_TAKEN_BACK)
        .max_local_error_reset_streams(H2_BROKEN)
        .keep_alive_interval(limits.h2_ping)
        .keep_alive_timeout(limits.h2_ping_answer);

    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    match tls {
        None => server.acceptor(gate).serve(service).await,
        Some(tls) => {
            let tls = RustlsAcceptor::new(tls.config()).handshake_timeout(limits.handshake);
            server.acceptor(CountedTls { gate, tls }).serve(service).await
        }
    }
}

/// Tells failures of accept itself (no file descriptors) as errors, and those of one peer at debug level only: anybody
/// can cause them. axum-server waits 50 ms after the former, so this is not called in a busy loop.
fn accept_errors(metrics: ServerMetrics) -> impl Fn(Option<&SocketAddr>, &io::Error) + Send + Sync + 'static {
    move |peer, error| match peer {
        Some(peer) => tracing::debug!(%peer, %error, "connection failed before its first request"),
        None => {
            metrics.accept_errors.inc();
            tracing::error!(%error, "connections cannot be accepted");
        }
    }
}
