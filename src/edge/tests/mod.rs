//! The layers together: what every answer carries and what is told of every request, however it ends.

mod audit;
mod browsers;
mod client;
mod limits;
mod strangers;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::Response;
use axum::routing::{get, post};
use http::StatusCode;
use http::header::{CACHE_CONTROL, HeaderValue, LOCATION, SET_COOKIE};
use serde_json::{Value, json};
use tower::ServiceExt;
use tracing::instrument::WithSubscriber;

use super::auth::{KeySet, new_key};
use super::*;
use crate::config::KeyEntry;
use crate::model::{Peer, Scope, Secret, Timestamp, VmGrant};
use crate::telemetry::captured::Captured;
use crate::telemetry::{Metrics, encode};

/// Where requests of these tests come from.
const HERE: &str = "192.0.2.1";

fn from(address: &str) -> Peer {
    Peer::direct((address.parse::<std::net::IpAddr>().unwrap(), 4711).into())
}

/// The edge around a few routes, with one key that may read events and one that is expired.
struct Fixture {
    router: Router,
    edge: EdgeState,
    metrics: Metrics,
    key: Secret,
    entry: KeyEntry,
    expired: Secret,
    log: Captured,
}

fn fixture_with(settings: EdgeSettings) -> Fixture {
    let (key, entry) = new_key("ci", [Scope::EventsRead], VmGrant::all(), None);
    let (expired, old) = new_key("old", [Scope::Admin], VmGrant::all(), Some(Timestamp(1.0)));
    let keys = Arc::new(Keys::new(KeySet::new([entry.clone(), old]).unwrap()));
    let metrics = Metrics::new();
    // `/echo` stands for all routes that read what strangers send.
    let settings = EdgeSettings { open_bodies: &["/auth/session", "/echo"], ..settings };
    let edge = EdgeState::new(settings, Credentials::of_keys(keys, &metrics), &metrics);
    let panics = || async {
        assert!(Bytes::new().len() == 1, "a secret of the house");
    };
    let routes = Router::new()
        .route("/open", get(|| async { "open" }))
        .route(
            "/need/{vm}",
            get(|Caller(who): Caller| async move { who.name.to_string() }).layer(require(Scope::EventsRead)),
        )
        .route("/write", post(|| async { "written" }).layer(require(Scope::EventsRead)))
        .route("/admin", get(|| async { "admin" }).layer(require(Scope::Admin)))
        .route("/panic", get(panics))
        .route("/slow", get(std::future::pending::<()>))
        .route("/whoami", get(who_am_i))
        .route("/echo", post(|body: Bytes| async move { body }))
        .route("/stream", get(|| async { ([(CACHE_CONTROL, HeaderValue::from_static("no-cache"))], "x") }))
        .merge(session_routes(edge.clone()));
    let router = layers(routes, edge.clone());
    Fixture { router, edge, metrics, key, entry, expired, log: Captured::default() }
}

/// The client's address and the names of the headers that came through.
async fn who_am_i(client: Client, headers: http::HeaderMap) -> String {
    headers.keys().fold(client.ip.to_string(), |text, name| format!("{text} {name}"))
}

fn fixture() -> Fixture {
    fixture_with(EdgeSettings { head_timeout: Duration::from_millis(50), ..EdgeSettings::default() })
}

impl Fixture {
    /// The answer to `request`, which comes from [`HERE`] unless it says otherwise.
    async fn send(&self, request: http::request::Builder, body: impl Into<Body>) -> Response {
        let mut request: Request = request.body(body.into()).unwrap();
        request.extensions_mut().get_or_insert_with(|| from(HERE));
        self.pass(request).await
    }

    async fn pass(&self, request: Request) -> Response {
        let writer = self.log.clone();
        let log = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        let router = self.router.clone();
        async move { router.oneshot(request).await.unwrap() }.with_subscriber(log).await
    }

    async fn get(&self, uri: &str, headers: &[(&str, &str)]) -> Response {
        let mut request = Request::builder().uri(uri).header("host", "gate.example");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request, Body::empty()).await
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.key.expose())
    }

    fn log(&self) -> String {
        self.log.text()
    }

    fn counted(&self, line: &str) -> bool {
        encode(&self.metrics.registry).lines().any(|l| l == line)
    }
}

async fn json_of(response: Response) -> Value {
    serde_json::from_slice(&axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap()).unwrap()
}

#[tokio::test]
async fn g68_every_failure_is_logged_and_counted_and_carries_id_and_headers() {
    let mut settings = EdgeSettings {
        head_timeout: Duration::from_millis(200),
        body_timeout: Duration::from_millis(50),
        ..EdgeSettings::default()
    };
    (settings.limits.requests_per_second, settings.limits.burst) = (1, 20);
    let edge = fixture_with(settings);
    let bytes = |n: usize| Body::from(vec![b'x'; n]);
    let stalled = Body::from_stream(futures_util::stream::pending::<Result<Bytes, io::Error>>());
    let long = format!("/open?{}", "x".repeat(5000));
    let cases = [
        (Request::get("/panic"), bytes(0), 500, "internal", "/panic"),
        (Request::get("/slow"), bytes(0), 503, "timeout", "/slow"),
        (Request::get("/need/a"), bytes(0), 401, "unauthorized", "/need/{vm}"),
        (Request::get("/nowhere"), bytes(0), 404, "not_found", "unmatched"),
        (Request::delete("/open"), bytes(0), 405, "method_not_allowed", "/open"),
        (Request::post("/echo"), bytes(64 * 1024 + 1), 413, "body_too_large", "/echo"),
        (Request::post("/echo"), stalled, 408, "request_timeout", "/echo"),
        (Request::get("/open?token=x"), bytes(0), 400, "credential_in_query", "/open"),
        (Request::get("/a//nowhere"), bytes(0), 400, "ambiguous_path", "unmatched"),
        (Request::put("/open").header("x_api_key", "x"), bytes(0), 400, "ambiguous_header", "/open"),
        (Request::get(&long), bytes(0), 414, "uri_too_long", "/open"),
        (Request::get("/admin"), bytes(0), 429, "too_many_requests", "/admin"),
    ];
    for (request, body, status, code, route) in cases {
        let method = request.method_ref().unwrap().clone();
        let response = match status {
            429 => edge.until_refused("/admin", from("192.0.2.9")).await,
            _ => edge.send(request, body).await,
        };
        assert_eq!(response.status(), status, "{code}");
        let headers = response.headers().clone();
        let id = headers["x-request-id"].to_str().unwrap().to_owned();
        assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
        assert_eq!(headers["content-type"], "application/problem+json", "{code}");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["referrer-policy"], "no-referrer");
        assert_eq!(headers["x-frame-options"], "DENY");
        assert_eq!(
            headers["content-security-policy"],
            "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self'; frame-ancestors 'none'"
        );
        assert_eq!(headers["cache-control"], "no-store");
        assert!(!headers.contains_key("strict-transport-security"));
        assert_eq!(headers.contains_key("www-authenticate"), status == 401);
        assert_eq!(headers.contains_key("retry-after"), matches!(status, 429 | 503), "{code}");

        let problem = json_of(response).await;
        assert_eq!(problem["type"], format!("/problems/{code}"));
        assert_eq!(
            (&problem["status"], &problem["code"], &problem["request_id"]),
            (&json!(status), &json!(code), &json!(id))
        );
        assert!(!problem.to_string().contains("secret"), "{problem}");

        let line =
            format!("gatewatch_http_requests_total{{code=\"{status}\",method=\"{method}\",route=\"{route}\"}} 1");
        assert!(edge.counted(&line), "{line}");
        let log = edge.log();
        let logged =
            |l: &&str| l.contains("gatewatch::access") && l.contains(&id) && l.contains(&format!("status={status}"));
        assert_eq!(log.lines().filter(logged).count(), 1, "{code}: {log}");
    }
    let log = edge.log();
    assert!(log.contains("a secret of the house"), "the text of a panic is in the log");
    assert!(!log.contains("nowhere") && !log.contains("token=x"), "paths and queries are not: {log}");
}

#[tokio::test]
async fn a_body_without_a_length_is_bounded_too() {
    let edge = fixture();
    let chunks = futures_util::stream::iter((0..100).map(|_| Ok::<_, io::Error>(vec![b'x'; 1024])));
    let response = edge.send(Request::post("/echo"), Body::from_stream(chunks)).await;
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(json_of(response).await["code"], "body_too_large");
    let response = edge.send(Request::post("/echo"), vec![b'x'; 64 * 1024]).await;
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_client_that_leaves_early_is_logged_and_counted() {
    let edge = fixture_with(EdgeSettings::default());
    let left = tokio::time::timeout(Duration::from_millis(20), edge.get("/slow", &[])).await;
    assert!(left.is_err());
    assert!(edge.counted("gatewatch_http_requests_total{code=\"499\",method=\"GET\",route=\"/slow\"} 1"));
}

#[tokio::test]
async fn a_handler_may_set_its_own_caching_and_a_client_not_our_id() {
    let edge = fixture_with(EdgeSettings { hsts: true, ..EdgeSettings::default() });
    let response = edge.get("/stream", &[("x-request-id", "forged")]).await;
    assert_eq!(response.headers()["cache-control"], "no-cache");
    assert_eq!(response.headers()["strict-transport-security"], "max-age=31536000");
    assert_eq!(response.headers().get_all("x-request-id").iter().count(), 1);
    assert_ne!(response.headers()["x-request-id"], "forged");
}

#[tokio::test]
async fn a_method_out_of_the_blue_makes_no_series() {
    let edge = fixture();
    edge.send(Request::builder().method("BREW").uri("/open"), Body::empty()).await;
    assert!(edge.counted("gatewatch_http_requests_total{code=\"405\",method=\"OTHER\",route=\"/open\"} 1"));
}

#[tokio::test]
async fn g25_a_valid_key_opens_what_its_scopes_allow() {
    let edge = fixture();
    let bearer = edge.bearer();
    for header in [("authorization", bearer.as_str()), ("x-api-key", edge.key.expose())] {
        let response = edge.get("/need/a", &[header]).await;
        assert_eq!(response.status(), StatusCode::OK);
        let name = axum::body::to_bytes(response.into_body(), 1024).await.unwrap();
        assert_eq!(name, edge.entry.id.as_bytes());
        let refused = edge.get("/admin", &[header]).await;
        assert_eq!(refused.status(), StatusCode::FORBIDDEN);
        assert_eq!(json_of(refused).await["detail"], "The credential lacks the scope admin.");
    }
    assert_eq!(edge.get("/open", &[]).await.status(), StatusCode::OK);
    for line in [
        "gatewatch_auth_total{method=\"bearer\",outcome=\"ok\"} 1",
        "gatewatch_auth_total{method=\"x_api_key\",outcome=\"ok\"} 1",
        "gatewatch_auth_total{method=\"bearer\",outcome=\"forbidden\"} 1",
    ] {
        assert!(edge.counted(line), "{line}");
    }
    assert!(edge.log().contains(&format!("principal=\"{}\"", edge.entry.id)), "{}", edge.log());
    assert!(!edge.log().contains(edge.key.expose()));
}

#[tokio::test]
async fn g24_a_refusal_says_nothing_about_why() {
    let edge = fixture();
    let (stranger, _) = new_key("stranger", [], VmGrant::all(), None);
    let wrong = format!("gw_{}_{}", edge.entry.id, "x".repeat(43));
    let mut answers = Vec::new();
    for key in ["", stranger.expose(), &wrong, edge.expired.expose(), "no key at all"] {
        let shown = [("x-api-key", key)];
        let response = edge.get("/need/a", if key.is_empty() { &[] } else { &shown }).await;
        let (mut parts, body) = response.into_parts();
        let id = parts.headers.remove("x-request-id").unwrap();
        // One less with each request, whatever is wrong with it.
        parts.headers.remove("ratelimit").unwrap();
        let body = axum::body::to_bytes(body, 4096).await.unwrap();
        let body = String::from_utf8(body.to_vec()).unwrap().replace(id.to_str().unwrap(), "ID");
        answers.push((parts.status, format!("{:?}", parts.headers), body));
        assert!(!edge.log().contains(key) || key.is_empty(), "{}", edge.log());
    }
    assert_eq!(answers[0].0, StatusCode::UNAUTHORIZED);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
    for outcome in ["missing", "unknown", "wrong", "expired", "malformed"] {
        let method = if outcome == "missing" { "none" } else { "x_api_key" };
        let line = format!("gatewatch_auth_total{{method=\"{method}\",outcome=\"{outcome}\"}} 1");
        assert!(edge.counted(&line), "{line}");
        assert!(edge.log().contains(&format!("auth_outcome=\"{outcome}\"")), "the log says why");
    }
    assert_eq!(edge.get("/open", &[("x-api-key", &wrong)]).await.status(), 401, "even where no key is needed");
}

#[tokio::test]
async fn g31_g42_two_credentials_or_one_in_the_address_are_refused_and_never_logged() {
    let edge = fixture();
    let key = edge.key.expose();
    let several = edge.get("/need/a", &[("x-api-key", key), ("authorization", "Bearer gw_other_key")]).await;
    assert_eq!(
        (several.status().as_u16(), json_of(several).await["code"].clone()),
        (400, json!("several_credentials"))
    );
    for query in
        [format!("api_key={key}"), format!("vm={key}"), format!("key={key}"), format!("x={}", key.replace('_', "%5F"))]
    {
        let response = edge.get(&format!("/need/a?{query}"), &[("x-api-key", key)]).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{query}");
        let problem = json_of(response).await.to_string();
        assert!(problem.contains("credential_in_query") && !problem.contains(key), "{problem}");
    }
    let secret = key.rsplit('_').next().unwrap();
    assert!(!edge.log().contains(secret) && !encode(&edge.metrics.registry).contains(secret));
}

#[tokio::test]
async fn a_browser_logs_in_by_link_watches_and_logs_out() {
    for tls in [true, false] {
        let edge = fixture_with(EdgeSettings { tls, ..EdgeSettings::default() });
        let code = Secret::new("a login code of this test");
        edge.edge.login_codes().keep(&code, &edge.entry.id);
        let link = format!("/auth/login?code={}", code.expose().replace(' ', "%20"));
        let looked = edge.send(Request::head(&link), Body::empty()).await;
        assert_eq!(looked.status(), StatusCode::METHOD_NOT_ALLOWED, "a preview signs nobody in");

        let response = edge.get(&link, &[]).await;
        assert_eq!(response.status(), StatusCode::SEE_OTHER);
        assert_eq!(response.headers()[LOCATION], "/");
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(response.headers()["referrer-policy"], "no-referrer");
        let set = response.headers()[SET_COOKIE].to_str().unwrap().to_owned();
        let rest = if tls {
            "; Max-Age=3600; Path=/; HttpOnly; SameSite=Lax; Secure"
        } else {
            "; Max-Age=3600; Path=/; HttpOnly; SameSite=Lax"
        };
        assert!(set.starts_with(if tls { "__Host-gatewatch=" } else { "gatewatch=" }) && set.ends_with(rest), "{set}");
        let cookie = ("cookie", set.split(';').next().unwrap());
        assert_eq!(edge.get("/auth/login?code=guess", &[]).await.status(), StatusCode::UNAUTHORIZED);

        assert_eq!(edge.get("/need/a", &[cookie, ("sec-fetch-site", "same-origin")]).await.status(), StatusCode::OK);
        assert_eq!(edge.get("/need/a", &[cookie]).await.status(), StatusCode::OK);
        for foreign in [("sec-fetch-site", "cross-site"), ("origin", "null"), ("origin", "https://evil.example")] {
            let refused = edge.get("/need/a", &[cookie, foreign]).await;
            assert_eq!((refused.status().as_u16(), json_of(refused).await["code"].clone()), (403, json!("cross_site")));
        }
        let write = || Request::post("/write").header("host", "gate.example").header(cookie.0, cookie.1);
        assert_eq!(edge.send(write(), Body::empty()).await.status(), StatusCode::FORBIDDEN);
        let ours = write().header("origin", "https://gate.example");
        assert_eq!(edge.send(ours, Body::empty()).await.status(), StatusCode::OK);

        let who = json_of(edge.get("/auth/session", &[cookie]).await).await;
        assert_eq!(
            (&who["name"], &who["kind"], &who["scopes"]),
            (&json!(edge.entry.id), &json!("session"), &json!(["events:read"]))
        );

        let leave = Request::delete("/auth/session").header("host", "gate.example").header(cookie.0, cookie.1);
        let gone = edge.send(leave.header("sec-fetch-site", "same-origin"), Body::empty()).await;
        assert_eq!(gone.status(), StatusCode::NO_CONTENT);
        assert!(gone.headers()[SET_COOKIE].to_str().unwrap().contains("Max-Age=0"));
        assert_eq!(edge.get("/need/a", &[cookie]).await.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(edge.get("/open", &[cookie]).await.status(), StatusCode::OK, "a stale cookie is no credential");

        let value = set.split(['=', ';']).nth(1).unwrap().to_owned();
        assert!(!edge.log().contains(&value) && !edge.log().contains(code.expose()));
    }
}

#[tokio::test]
async fn open_mode_lets_this_machine_in_and_no_foreign_page() {
    let edge = fixture_with(EdgeSettings { auth: AuthMode::Open, tls: false, ..EdgeSettings::default() });
    let send = |method: &'static str, headers: &[(&'static str, &'static str)]| {
        let mut request = Request::builder().method(method).uri(if method == "GET" { "/admin" } else { "/write" });
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        edge.send(request, Body::empty())
    };
    let here = ("host", "localhost:8765");
    assert_eq!(send("GET", &[here]).await.status(), StatusCode::OK);
    assert_eq!(send("POST", &[here]).await.status(), StatusCode::OK, "curl");
    assert_eq!(send("POST", &[here, ("origin", "http://localhost:8765")]).await.status(), StatusCode::OK);
    assert_eq!(send("POST", &[here, ("origin", "http://evil.example")]).await.status(), StatusCode::FORBIDDEN);
    assert_eq!(send("GET", &[here, ("sec-fetch-site", "cross-site")]).await.status(), StatusCode::FORBIDDEN);
    assert_eq!(send("GET", &[("host", "rebound.example:8765")]).await.status(), StatusCode::FORBIDDEN);
    assert_eq!(send("GET", &[]).await.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn an_extractors_text_becomes_a_problem() {
    let edge = fixture();
    let response = edge.get("/auth/login?code=a&code=b", &[]).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let problem = json_of(response).await;
    assert_eq!(problem["code"], "bad_request");
    assert!(problem["detail"].as_str().unwrap().contains("code"), "{problem}");
}
