//! The listener as its peers see it: real sockets on port 0, short limits.

use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::get;
use futures_util::{StreamExt, stream};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{ServerName, UnixTime};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::tls::{provider, read_chain};
use super::*;
use crate::lifecycle::{Readiness, Tasks};
use crate::telemetry::{HandshakeOutcome, Metrics, ServerMetrics};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

struct Running {
    addr: SocketAddr,
    handle: ServerHandle,
    metrics: ServerMetrics,
    ended: oneshot::Receiver<()>,
    _tasks: Tasks,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.handle.stop_now();
    }
}

fn start(tls: Option<TlsSettings>, limits: ConnectionLimits) -> Running {
    let endless = || async {
        let chunks = stream::repeat_with(|| Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 4096])));
        Body::from_stream(chunks)
    };
    let quiet =
        || async { Body::from_stream(stream::once(async { Ok::<_, Infallible>("hi") }).chain(stream::pending())) };
    let router =
        Router::new().route("/", get(|| async { "hello" })).route("/endless", get(endless)).route("/quiet", get(quiet));
    let metrics = Metrics::new().server;
    let handle = ServerHandle::new();
    let serving = Serving { tls, limits, metrics: metrics.clone(), handle: handle.clone() };
    let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let addr = listener.local_addr();
    let tasks = Tasks::new(&Readiness::new());
    let (say_ended, ended) = oneshot::channel();
    tasks.spawn("server", async move {
        serve(listener, router, serving).await.unwrap();
        let _ = say_ended.send(());
    });
    Running { addr, handle, metrics, ended, _tasks: tasks }
}

fn short() -> ConnectionLimits {
    let limit = Duration::from_millis(300);
    ConnectionLimits {
        handshake: limit,
        first_request: limit,
        header_read: limit,
        write_stall: Duration::from_secs(1),
        ..ConnectionLimits::default()
    }
}

fn dev() -> (TempDir, DevCertificate) {
    let dir = tempfile::tempdir().unwrap();
    let cert = dev_certificate(dir.path()).unwrap();
    (dir, cert)
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
async fn a_browser_gets_http2_and_an_old_client_http1_over_tls() {
    let (_dir, cert) = dev();
    let server = start(Some(cert.tls(MinTls::V12).unwrap()), ConnectionLimits::default());
    let port = server.addr.port();
    for (builder, host, version) in [
        (client(&cert), "localhost", http::Version::HTTP_2),
        (client(&cert).http1_only(), "127.0.0.1", http::Version::HTTP_11),
        (client(&cert).tls_version_max(reqwest::tls::Version::TLS_1_2), "localhost", http::Version::HTTP_2),
    ] {
        let answer = builder.build().unwrap().get(format!("https://{host}:{port}/")).send().await.unwrap();
        assert_eq!(answer.version(), version);
        assert_eq!(answer.text().await.unwrap(), "hello");
    }
    assert_eq!(server.metrics.handshakes.of(HandshakeOutcome::Ok).get(), 3);
    eventually("the gauge falls with the connections", || server.metrics.connections.get() == 0).await;
}

#[tokio::test]
async fn handshakes_are_counted_by_how_they_end() {
    let (_dir, cert) = dev();
    let (_other_dir, other) = dev();
    let server = start(Some(cert.tls(MinTls::V13).unwrap()), short());
    let url = format!("https://localhost:{}/", server.addr.port());
    let count = |outcome| server.metrics.handshakes.of(outcome).get();

    assert!(client(&other).build().unwrap().get(&url).send().await.is_err());
    eventually("a client that does not trust us says so", || count(HandshakeOutcome::Alert) == 1).await;

    let old = client(&cert).tls_version_max(reqwest::tls::Version::TLS_1_2).build().unwrap();
    assert!(old.get(&url).send().await.is_err());
    eventually("TLS 1.2 is refused", || count(HandshakeOutcome::Incompatible) == 1).await;

    until_closed(server.addr, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    eventually("plain HTTP is not TLS", || count(HandshakeOutcome::NotTls) == 1).await;

    // The first bytes of a ClientHello, and then nothing.
    let (took, _) = until_closed(server.addr, &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).await;
    assert!(took >= Duration::from_millis(250), "{took:?}");
    eventually("a half handshake times out", || count(HandshakeOutcome::Timeout) == 1).await;

    drop(TcpStream::connect(server.addr).await.unwrap());
    eventually("a peer may hang up", || count(HandshakeOutcome::Closed) == 1).await;
}

#[tokio::test]
async fn clients_that_say_nothing_or_half_a_thing_are_closed() {
    let server = start(None, short());
    for said in [&b""[..], b"P", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let (took, _) = until_closed(server.addr, said).await;
        assert!(took >= Duration::from_millis(250), "{:?} after {took:?}", String::from_utf8_lossy(said));
        assert!(took < Duration::from_secs(5), "{:?} after {took:?}", String::from_utf8_lossy(said));
    }
    // Kept alive after a request, and then silent.
    let (took, answer) = until_closed(server.addr, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(answer.ends_with("hello"), "{answer}");
    assert!(took >= Duration::from_millis(250), "{took:?}");
}

#[tokio::test]
async fn a_request_head_beyond_the_limit_is_refused() {
    let server = start(None, short());
    let head = format!("GET / HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "x".repeat(20_000));
    let (_, answer) = until_closed(server.addr, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn a_client_that_never_reads_is_closed_and_counted() {
    let (_dir, cert) = dev();
    for tls in [None, Some(cert.tls(MinTls::V12).unwrap())] {
        let encrypted = tls.is_some();
        let server = start(tls, short());
        let url = format!("{}://localhost:{}/endless", if encrypted { "https" } else { "http" }, server.addr.port());
        // The client's own buffers fill, nobody reads them, and then the kernel's fill.
        let answer = client(&cert).http1_only().build().unwrap().get(&url).send().await.unwrap();
        assert_eq!(server.metrics.write_stalls.get(), 0);
        eventually("the stalled connection is closed", || server.metrics.write_stalls.get() == 1).await;
        eventually("and frees its place", || server.handle.connections() == 0).await;
        assert_eq!(server.metrics.connections.get(), 0);
        drop(answer);
    }
}

#[tokio::test]
async fn a_client_that_has_nothing_to_read_is_not_stalled() {
    let limits = ConnectionLimits { write_stall: Duration::from_millis(200), ..short() };
    let server = start(None, limits);
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    stream.write_all(b"GET /quiet HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut some = [0; 1024];
    while !String::from_utf8_lossy(&some).contains("hi") {
        assert!(stream.read(&mut some).await.unwrap() > 0);
    }
    let closed = timeout(Duration::from_millis(700), stream.read(&mut some)).await;
    assert!(closed.is_err(), "the quiet stream stays open");
    assert_eq!(server.metrics.write_stalls.get(), 0);
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

#[test]
fn the_development_certificate_is_kept_while_it_is_good_and_replaced_when_it_is_not() {
    let (dir, cert) = dev();
    let read = || [&cert.ca, &cert.cert, &cert.key].map(|path| fs::read_to_string(path).unwrap());
    let first = read();
    assert_eq!(fs::metadata(&cert.key).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "nothing but the three files: no key of the CA");
    assert_eq!(dev_certificate(dir.path()).unwrap(), cert);
    assert_eq!(read(), first, "kept");

    let damages: [(&str, &dyn Fn()); 3] = [
        ("a key that is gone", &|| fs::remove_file(&cert.key).unwrap()),
        ("a leaf of another CA", &|| {
            fs::write(&cert.ca, {
                let (_dir, other) = dev();
                fs::read(other.ca).unwrap()
            })
            .unwrap()
        }),
        ("a file cut short", &|| fs::write(&cert.cert, "-----BEGIN CERT").unwrap()),
    ];
    for (what, damage) in damages {
        damage();
        let before = fs::read_to_string(&cert.ca).unwrap();
        dev_certificate(dir.path()).unwrap();
        assert_ne!(fs::read_to_string(&cert.ca).unwrap(), before, "{what}");
        cert.tls(MinTls::V12).unwrap();
    }
}

#[test]
fn the_development_leaf_lasts_397_days_and_for_its_names_alone() {
    let (_dir, cert) = dev();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(read_chain(&cert.ca).unwrap()[0].clone()).unwrap();
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider()).build().unwrap();
    let leaf = read_chain(&cert.cert).unwrap();
    let holds = |name: &str, days: u64| {
        let at = UnixTime::since_unix_epoch(Duration::from_secs(UnixTime::now().as_secs() + days * 86_400));
        verifier.verify_server_cert(&leaf[0], &[], &ServerName::try_from(name.to_owned()).unwrap(), &[], at).is_ok()
    };
    for name in ["localhost", "127.0.0.1", "::1"] {
        assert!(holds(name, 0) && holds(name, 396), "{name}");
        assert!(!holds(name, 397), "{name}");
    }
    assert!(!holds("example.com", 0) && !holds("127.0.0.2", 0));
}

#[test]
fn a_certificate_that_cannot_be_used_is_refused_with_its_file_named() {
    let (_one, one) = dev();
    let (_two, two) = dev();
    let refused = |cert: &Path, key: &Path| TlsSettings::from_files(cert, key, MinTls::V12).unwrap_err().to_string();
    assert!(refused(&one.cert, &two.key).contains("dev-key.pem"));
    assert!(refused(Path::new("/nonexistent/cert.pem"), &one.key).contains("certificate /nonexistent/cert.pem"));
    assert!(refused(&one.key, &one.key).contains("no certificate"));
    assert!(refused(&one.cert, &one.cert).contains("key "));

    let settings = one.tls(MinTls::V12).unwrap();
    assert!(settings.reload_files(&one.cert, &two.key, MinTls::V12).is_err());
    settings.reload_files(&two.cert, &two.key, MinTls::V12).unwrap();
}

#[tokio::test]
async fn the_admin_thread_answers_and_ends_with_its_token() {
    let stop = CancellationToken::new();
    let router = Router::new().route("/healthz", get(|| async { "ok" }));
    let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let mut admin = AdminThread::start(listener, router, stop.clone()).unwrap();
    let taken = Listener::bind(admin.local_addr()).unwrap_err().to_string();
    assert!(taken.contains(&format!("cannot listen on {}", admin.local_addr())), "{taken}");

    let (_, answer) =
        until_closed(admin.local_addr(), b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(answer.ends_with("ok"), "{answer}");
    stop.cancel();
    timeout(PATIENCE, admin.ended()).await.expect("it ends");
    assert!(TcpStream::connect(admin.local_addr()).await.is_err());
}
