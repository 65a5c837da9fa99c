//! A handler that panics costs its own request and nothing else.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::get;
use futures_util::{StreamExt, stream};

use crate::edge::auth::{KeySet, new_key};
use crate::edge::{Credentials, EdgeSettings, EdgeState, Keys, layers};
use crate::lifecycle::{Readiness, Tasks};
use crate::model::VmGrant;
use crate::server::{
    ConnectionCaps, ConnectionLimits, Listener, ProxySettings, ServerHandle, Serving, install_crypto, serve,
};
use crate::telemetry::{Metrics, encode};

/// More than the requests that may be in flight at once: were a permit lost with each panic, none would be left.
const PANICS: usize = 600;

fn client() -> reqwest::ClientBuilder {
    install_crypto();
    reqwest::Client::builder().no_proxy()
}

fn plain() -> reqwest::Client {
    client().build().unwrap()
}

/// The whole edge around handlers that panic.
struct Panicking {
    address: SocketAddr,
    metrics: Metrics,
    handle: ServerHandle,
    _tasks: Tasks,
}

impl Panicking {
    fn start() -> Self {
        let metrics = Metrics::new();
        let (_, entry) = new_key("test", [], VmGrant::all(), None);
        let keys = Arc::new(Keys::new(KeySet::new([entry]).expect("one key")));
        let edge = EdgeState::new(
            EdgeSettings { tls: false, ..EdgeSettings::default() },
            Credentials::of_keys(keys, &metrics),
            &metrics,
        );
        let breaks_off = || async {
            let first = stream::once(async { Ok::<_, Infallible>(Bytes::from_static(b"first")) });
            Body::from_stream(first.chain(stream::once(async { panic!("in the middle of a body") })))
        };
        let endless = || async {
            let first = stream::once(async { Ok::<_, Infallible>(Bytes::from_static(b"first")) });
            Body::from_stream(first.chain(stream::pending()))
        };
        let routes = Router::new()
            .route("/ok", get(async || "fine"))
            .route("/panic", get(async || -> &'static str { panic!("in a handler") }))
            .route("/breaks-off", get(breaks_off))
            .route("/endless", get(endless));
        let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a socket");
        let (address, handle) = (listener.local_addr(), ServerHandle::new());
        let serving = Serving {
            tls: None,
            limits: ConnectionLimits::default(),
            metrics: metrics.server.clone(),
            handle: handle.clone(),
            caps: ConnectionCaps::new(4096, 512, metrics.limits.clone()),
            proxy: ProxySettings::none(),
        };
        let tasks = Tasks::new(&Readiness::new());
        tasks.spawn("server", async move { serve(listener, layers(routes, edge), serving).await.expect("it serves") });
        Self { address, metrics, handle, _tasks: tasks }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Panicking {
    fn drop(&mut self) {
        self.handle.stop_now();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn g68_a_panic_is_a_500_and_takes_nothing_from_anybody_else() {
    let server = Panicking::start();
    // On one HTTP/2 connection: what shares the connection with the panics goes on as well.
    let shared = client().http2_prior_knowledge().build().expect("a client");
    let other = plain();
    let mut on_shared = shared.get(server.url("/endless")).send().await.expect("an answer");
    let mut on_other = other.get(server.url("/endless")).send().await.expect("an answer");
    for answer in [&mut on_shared, &mut on_other] {
        assert_eq!(answer.chunk().await.expect("a chunk").as_deref(), Some(&b"first"[..]));
    }
    for n in 0..PANICS {
        let answer = shared.get(server.url("/panic")).send().await.expect("an answer");
        // The rate limit may answer the later ones; that too is an answer of a server that lives.
        assert!(answer.status() == 500 || (n > 50 && answer.status() == 429), "{n}: {}", answer.status());
        let text = answer.text().await.expect("a body");
        assert!(!text.contains("in a handler"), "{text}");
    }
    assert_eq!(plain().get(server.url("/ok")).send().await.expect("an answer").status(), 200);
    for answer in [&mut on_shared, &mut on_other] {
        let more = tokio::time::timeout(Duration::from_millis(200), answer.chunk()).await;
        assert!(more.is_err(), "an open answer ended: {more:?}");
    }
    let page = encode(&server.metrics.registry);
    let counted = page.lines().find(|line| line.contains("code=\"500\"") && line.contains("route=\"/panic\""));
    assert!(counted.is_some(), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn g68_a_panic_in_the_middle_of_an_answer_ends_its_connection_and_gives_back_its_gauge() {
    let server = Panicking::start();
    let other = plain();
    let mut open = other.get(server.url("/endless")).send().await.expect("an answer");
    open.chunk().await.expect("a chunk").expect("the first");
    for _ in 0..20 {
        // A client of its own each: a connection that broke is not asked again.
        let whole = match plain().get(server.url("/breaks-off")).send().await {
            Ok(answer) => answer.bytes().await.is_ok(),
            // The head was still waiting to be written.
            Err(_) => false,
        };
        assert!(!whole, "an answer that broke off looks whole");
    }
    let since = Instant::now();
    while server.metrics.server.connections.get() != 1 {
        assert!(since.elapsed() < Duration::from_secs(10), "{} left", server.metrics.server.connections.get());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(tokio::time::timeout(Duration::from_millis(200), open.chunk()).await.is_err(), "an open answer ended");
}
