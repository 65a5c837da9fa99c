//! Tokens of an issuer that publishes its keys over https, through the whole gateway.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use gatewatch::server::{DevCertificate, dev_certificate, install_crypto};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::KeyPair;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::support::{Gateway, SIMULATED, Sse, eventually};

/// An issuer with one key at a time, on a port of its own.
struct Issuer {
    port: u16,
    certificate: DevCertificate,
    key: Mutex<(String, EncodingKey)>,
    published: Arc<Mutex<(StatusCode, String)>>,
    asked: Arc<AtomicUsize>,
    serving: Mutex<Option<(Handle<SocketAddr>, JoinHandle<()>)>>,
    _dir: tempfile::TempDir,
}

impl Issuer {
    /// One that does not answer yet.
    fn new() -> Self {
        install_crypto();
        let dir = tempfile::tempdir().expect("a folder");
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let issuer = Self {
            port: free.local_addr().expect("an address").port(),
            certificate: dev_certificate(dir.path()).expect("a certificate"),
            key: Mutex::new((String::new(), EncodingKey::from_secret(&[]))),
            published: Arc::new(Mutex::new((StatusCode::OK, String::new()))),
            asked: Arc::default(),
            serving: Mutex::new(None),
            _dir: dir,
        };
        issuer.rotate("one");
        issuer
    }

    /// Publishes a new key instead of the old one.
    fn rotate(&self, id: &str) {
        let pem = KeyPair::generate().expect("a key").serialize_pem();
        let key = EncodingKey::from_ec_pem(pem.as_bytes()).expect("a P-256 key");
        let mut jwk = Jwk::from_encoding_key(&key, Algorithm::ES256).expect("its public half");
        jwk.common.key_id = Some(id.to_owned());
        *self.key.lock().expect("no panic") = (id.to_owned(), key);
        self.publish(StatusCode::OK, json!({ "keys": [jwk] }).to_string());
    }

    fn publish(&self, status: StatusCode, text: String) {
        *self.published.lock().expect("no panic") = (status, text);
    }

    async fn serve(&self) {
        let (published, asked) = (Arc::clone(&self.published), Arc::clone(&self.asked));
        let port = self.port;
        let keys = move || {
            asked.fetch_add(1, Ordering::Relaxed);
            let (status, text) = published.lock().expect("no panic").clone();
            let elsewhere = format!("https://127.0.0.1:{port}/elsewhere");
            async move { (status, [(header::LOCATION, elsewhere)], text).into_response() }
        };
        let elsewhere = Arc::clone(&self.published);
        let elsewhere = move || async move { elsewhere.lock().expect("no panic").1.clone() };
        let router = Router::new().route("/jwks", get(keys)).route("/elsewhere", get(elsewhere));
        let tls = RustlsConfig::from_pem_file(&self.certificate.cert, &self.certificate.key).await.expect("TLS");
        let handle = Handle::new();
        let server = axum_server::bind_rustls(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)), tls)
            .handle(handle.clone())
            .serve(router.into_make_service());
        let task = tokio::spawn(async move { server.await.expect("it serves") });
        handle.listening().await.expect("it listens");
        *self.serving.lock().expect("no panic") = Some((handle, task));
    }

    async fn stop(&self) {
        let serving = self.serving.lock().expect("no panic").take();
        if let Some((handle, task)) = serving {
            handle.shutdown();
            task.await.expect("it ends");
        }
    }

    /// The section of the configuration that trusts it.
    fn section(&self) -> String {
        format!(
            "[[auth.jwt]]\nissuer = \"https://id.example\"\naudience = [\"gatewatch\"]\nalgorithms = [\"ES256\"]\n\
             jwks_url = \"https://localhost:{}/jwks\"\njwks_ca = {:?}\nvms = [\"*\"]\n",
            self.port,
            self.certificate.ca.display().to_string(),
        )
    }

    /// A token that ends in `seconds`.
    fn token(&self, seconds: f64) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();
        let (id, key) = self.key.lock().expect("no panic").clone();
        let header = Header { kid: Some(id), ..Header::new(Algorithm::ES256) };
        let claims = json!({
            "iss": "https://id.example", "aud": "gatewatch", "sub": "ada", "scope": "events:read", "iat": now,
            "exp": now + seconds,
        });
        encode(&header, &claims, &key).expect("a token")
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        // A test that failed has not stopped it.
        if let Ok(Some((_, task))) = self.serving.get_mut().map(Option::take) {
            task.abort();
        }
    }
}

async fn status(gateway: &Gateway, token: &str) -> u16 {
    let request = gateway.anonymous().get(gateway.url("/api/vms")).bearer_auth(token);
    request.send().await.expect("an answer").status().as_u16()
}

async fn becomes(gateway: &Gateway, token: &str, wanted: u16) {
    eventually(Duration::from_secs(20), || async { status(gateway, token).await == wanted }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g38_g39_keys_are_fetched_over_https_rotate_and_outlive_their_issuer() {
    let issuer = Issuer::new();
    issuer.serve().await;
    let gateway = Gateway::start(&format!("{}{SIMULATED}", issuer.section())).await;
    let first = issuer.token(600.0);
    becomes(&gateway, &first, 200).await;
    assert_eq!(status(&gateway, gateway.key()).await, 200, "API keys work beside tokens");

    issuer.rotate("two");
    let second = issuer.token(600.0);
    becomes(&gateway, &second, 200).await;
    assert_eq!(status(&gateway, &first).await, 401, "its key is published no more");

    issuer.stop().await;
    assert_eq!(status(&gateway, &second).await, 200);
    assert!(gateway.metric("gatewatch_jwks_fetches_total{outcome=\"ok\"}").await >= 2.0);
    assert_eq!(gateway.stop().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn g39_an_issuer_that_is_down_at_the_start_is_waited_for() {
    let issuer = Issuer::new();
    let gateway = Gateway::start(&issuer.section()).await;
    let token = issuer.token(600.0);
    assert_eq!(status(&gateway, &token).await, 401);
    assert_eq!(status(&gateway, gateway.key()).await, 200);
    issuer.serve().await;
    becomes(&gateway, &token, 200).await;
    assert!(gateway.metric("gatewatch_jwks_fetches_total{outcome=\"failed\"}").await >= 1.0);
    issuer.stop().await;
    assert_eq!(gateway.stop().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn g40_redirects_errors_and_floods_bring_no_keys() {
    let issuer = Issuer::new();
    let keys = issuer.published.lock().expect("no panic").1.clone();
    let flood = format!("{keys}{}", " ".repeat(256 * 1024));
    for (code, text) in
        [(302, keys.clone()), (307, keys.clone()), (500, keys.clone()), (204, String::new()), (200, flood)]
    {
        issuer.publish(StatusCode::from_u16(code).expect("a status"), text);
        issuer.serve().await;
        let before = issuer.asked.load(Ordering::Relaxed);
        let gateway = Gateway::start(&issuer.section()).await;
        assert_eq!(status(&gateway, &issuer.token(600.0)).await, 401, "{code}");
        assert!(issuer.asked.load(Ordering::Relaxed) > before, "{code}");
        assert_eq!(gateway.metric("gatewatch_jwks_fetches_total{outcome=\"ok\"}").await, 0.0, "{code}");
        assert_eq!(gateway.stop().await, "");
        issuer.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn g40_a_server_of_another_ca_is_not_believed() {
    let (issuer, other) = (Issuer::new(), Issuer::new());
    issuer.serve().await;
    let section = issuer
        .section()
        .replace(&issuer.certificate.ca.display().to_string(), &other.certificate.ca.display().to_string());
    let gateway = Gateway::start(&section).await;
    assert_eq!(status(&gateway, &issuer.token(600.0)).await, 401);
    assert!(gateway.metric("gatewatch_jwks_fetches_total{outcome=\"failed\"}").await >= 1.0);
    assert_eq!(issuer.asked.load(Ordering::Relaxed), 0);
    issuer.stop().await;
    assert_eq!(gateway.stop().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn g49_a_stream_ends_with_a_word_when_its_token_does() {
    let issuer = Issuer::new();
    issuer.serve().await;
    let gateway = Gateway::start(&format!("{}{SIMULATED}", issuer.section())).await;
    becomes(&gateway, &issuer.token(600.0), 200).await;

    let began = SystemTime::now();
    let request = gateway.anonymous().get(gateway.url("/api/benchmark-sse?interval=1"));
    let answer = request.bearer_auth(issuer.token(3.0)).send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let mut stream = Sse::new(answer);
    let frames = stream.until(Duration::from_secs(20), |frame| frame.event == "error").await;
    let lasted = began.elapsed().expect("a clock that goes on");
    assert!(frames.iter().any(|frame| frame.event == "status"), "{frames:#?}");
    assert_eq!(frames.last().map(|frame| frame.text("code")), Some("expired"));
    assert_eq!(stream.next().await, None, "and it is over");
    assert!(lasted >= Duration::from_millis(2900), "not before its time: {lasted:?}");
    issuer.stop().await;
    assert_eq!(gateway.stop().await, "");
}
