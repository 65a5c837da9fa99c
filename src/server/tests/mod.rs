//! The listener as its peers see it: real sockets on port 0, short limits.

use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::routing::{get, post};
use axum::{Extension, Router};
use futures_util::{StreamExt, stream};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::config::{CertificateFiles, TlsConfig, TlsMode, TlsVersion};
use crate::lifecycle::{Readiness, Tasks};
use crate::model::Peer;
use crate::telemetry::{Metrics, ServerMetrics};

mod accept_errors;
mod binding;
mod by_hand;
mod certificates;
mod dev_certificate;
mod h2_floods;
mod issued;
mod limits;
mod proxy;
mod reload;
mod resumption;
mod slow;
mod tls;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

struct Running {
    addr: SocketAddr,
    handle: ServerHandle,
    metrics: Metrics,
    caps: ConnectionCaps,
    ended: oneshot::Receiver<()>,
    _tasks: Tasks,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.handle.stop_now();
    }
}

/// How a server of these tests differs from one with TLS off, every default and nobody in front.
struct Setup {
    tls: Option<TlsSettings>,
    limits: ConnectionLimits,
    connections: usize,
    per_ip: usize,
    proxy: ProxySettings,
}

impl Default for Setup {
    fn default() -> Self {
        let limits = ConnectionLimits::default();
        Self { tls: None, limits, connections: 1000, per_ip: 1000, proxy: ProxySettings::none() }
    }
}

fn router() -> Router {
    let endless = || async {
        let chunks = stream::repeat_with(|| Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 4096])));
        Body::from_stream(chunks)
    };
    let quiet =
        || async { Body::from_stream(stream::once(async { Ok::<_, Infallible>("hi") }).chain(stream::pending())) };
    let ticks = || async {
        let ticks = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Some((Ok::<_, Infallible>("tick"), ()))
        });
        Body::from_stream(ticks)
    };
    let peer = |ConnectInfo(socket): ConnectInfo<SocketAddr>, Extension(peer): Extension<Peer>| async move {
        assert_eq!(socket, peer.socket);
        format!("{} {:?}", peer.address(), peer.proxied)
    };
    Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/endless", get(endless))
        .route("/quiet", get(quiet))
        .route("/ticks", get(ticks))
        .route("/peer", get(peer))
        .route("/eat", post(|body: Bytes| async move { body.len().to_string() }))
}

fn serving(setup: Setup) -> Running {
    let Setup { tls, limits, connections, per_ip, proxy } = setup;
    let metrics = Metrics::new();
    let caps = ConnectionCaps::new(connections, per_ip, metrics.limits.clone());
    let handle = ServerHandle::new();
    let serving =
        Serving { tls, limits, caps: caps.clone(), proxy, metrics: metrics.server.clone(), handle: handle.clone() };
    let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let addr = listener.local_addr();
    let tasks = Tasks::new(&Readiness::new());
    let (say_ended, ended) = oneshot::channel();
    tasks.spawn("server", async move {
        serve(listener, router(), serving).await.unwrap();
        let _ = say_ended.send(());
    });
    Running { addr, handle, metrics, caps, ended, _tasks: tasks }
}

fn start(tls: Option<TlsSettings>, limits: ConnectionLimits) -> Running {
    serving(Setup { tls, limits, ..Setup::default() })
}

fn short() -> ConnectionLimits {
    let limit = Duration::from_millis(300);
    ConnectionLimits {
        proxy_header: limit,
        handshake: limit,
        first_request: limit,
        header_read: limit,
        write_stall: Duration::from_secs(1),
        h2_idle: limit,
        ..ConnectionLimits::default()
    }
}

fn dev() -> (TempDir, DevCertificate) {
    let dir = tempfile::tempdir().unwrap();
    let cert = dev_certificate(dir.path()).unwrap();
    (dir, cert)
}

fn pair(cert: &Path, key: &Path) -> CertificateFiles {
    CertificateFiles { cert: cert.to_owned(), key: key.to_owned() }
}

/// `[tls]` with the files of `cert`.
fn with_files(cert: &DevCertificate) -> TlsConfig {
    TlsConfig {
        mode: TlsMode::Files(pair(&cert.cert, &cert.key)),
        min_version: TlsVersion::V1_2,
        client_ca: None,
        hsts: false,
        certificates: Vec::new(),
    }
}

fn load(config: &TlsConfig, metrics: &ServerMetrics) -> Result<TlsSettings, TlsError> {
    TlsSettings::load(config, Path::new("/nonexistent"), metrics).map(|settings| settings.expect("TLS is on"))
}

fn tls(cert: &DevCertificate) -> TlsSettings {
    load(&with_files(cert), &Metrics::new().server).unwrap()
}

fn client(cert: &DevCertificate) -> reqwest::ClientBuilder {
    install_crypto();
    let ca = reqwest::Certificate::from_pem(&fs::read(&cert.ca).unwrap()).unwrap();
    reqwest::Client::builder().tls_certs_only([ca]).no_proxy()
}

/// Sends `bytes` and waits for the server to hang up; hands back how long that took and what came before.
async fn until_closed(addr: SocketAddr, bytes: &[u8]) -> (Duration, String) {
    let began = Instant::now();
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut got = Vec::new();
    // A reset is a way to hang up too.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut got)).await.expect("the server hangs up");
    (began.elapsed(), String::from_utf8_lossy(&got).into_owned())
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_stop_lets_nobody_in_and_cuts_endless_answers_at_the_deadline() {
    let mut server = start(None, short());
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    stream.write_all(b"GET /quiet HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut some = [0; 1024];
    assert!(stream.read(&mut some).await.unwrap() > 0);
    assert_eq!(server.handle.connections(), 1);

    let began = Instant::now();
    server.handle.stop(Duration::from_millis(500));
    timeout(PATIENCE, &mut server.ended).await.expect("the server ends").unwrap();
    assert!(began.elapsed() >= Duration::from_millis(450), "{:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(TcpStream::connect(server.addr).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn the_admin_thread_answers_and_ends_with_its_token() {
    let stop = CancellationToken::new();
    let router = Router::new().route("/healthz", get(|| async { "ok" }));
    let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let admin = AdminThread::start(listener, router, stop.clone()).unwrap();
    let taken = Listener::bind(admin.local_addr()).unwrap_err().to_string();
    assert!(taken.contains(&format!("cannot listen on {}", admin.local_addr())), "{taken}");

    let (_, answer) =
        until_closed(admin.local_addr(), b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(answer.ends_with("ok"), "{answer}");
    stop.cancel();
    timeout(PATIENCE, admin.ended()).await.expect("it ends");
    assert!(TcpStream::connect(admin.local_addr()).await.is_err());
}
