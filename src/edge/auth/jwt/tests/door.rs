//! Tokens at the door: one answer to all that are refused, and no token where it does not belong.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::routing::get;
use http::StatusCode;
use serde_json::{Value, json};
use tower::ServiceExt;
use tracing::instrument::WithSubscriber;

use super::{Issuers, good, hostile, in_file, set_of, signers, two_keys, with};
use crate::edge::auth::{KeySet, new_key};
use crate::edge::{Credentials, EdgeSettings, EdgeState, Keys, layers, require, session_routes};
use crate::model::{Peer, Scope, Secret, Timestamp, VmGrant};
use crate::telemetry::captured::Captured;
use crate::telemetry::metrics::LabelSet;
use crate::telemetry::{AuthMethod, AuthOutcome, Metrics, encode};

struct Door {
    router: Router,
    edge: EdgeState,
    metrics: Metrics,
    log: Captured,
    addresses: AtomicU32,
}

/// Status, headers and body.
type Answer = (StatusCode, String, String);

impl Door {
    fn new(keys: Keys, issuers: Issuers) -> Self {
        let metrics = Metrics::new();
        let credentials = Credentials { issuers: Arc::new(issuers), ..Credentials::of_keys(Arc::new(keys), &metrics) };
        let edge = EdgeState::new(EdgeSettings::default(), credentials, &metrics);
        let routes = Router::new()
            .route("/events", get(|| async { "events" }).layer(require(Scope::EventsRead)))
            .route("/admin", get(|| async { "admin" }).layer(require(Scope::Admin)))
            .merge(session_routes(edge.clone()));
        Self {
            router: layers(routes, edge.clone()),
            edge,
            metrics,
            log: Captured::default(),
            addresses: AtomicU32::new(0),
        }
    }

    /// The answer, without what is new in each. Every request is of an address of its own, as nobody may be wrong often.
    async fn get(&self, uri: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::builder().uri(uri).header("host", "gate.example");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let address = Ipv4Addr::from(0x0a00_0000 + self.addresses.fetch_add(1, Ordering::Relaxed));
        let request = request.extension(Peer::direct((address, 4000).into()));
        let writer = self.log.clone();
        let log = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        let (router, request) = (self.router.clone(), request.body(Body::empty()).unwrap());
        let response = async move { router.oneshot(request).await.unwrap() }.with_subscriber(log).await;
        let (mut parts, body) = response.into_parts();
        let id = parts.headers.remove("x-request-id").unwrap();
        parts.headers.remove("ratelimit");
        let body = String::from_utf8(axum::body::to_bytes(body, 4096).await.unwrap().to_vec()).unwrap();
        (parts.status, format!("{:?}", parts.headers), body.replace(id.to_str().unwrap(), "ID"))
    }

    async fn bearing(&self, uri: &str, token: &str) -> Answer {
        self.get(uri, &[("authorization", &format!("Bearer {token}"))]).await
    }

    fn log(&self) -> String {
        self.log.text()
    }

    fn counted(&self, method: AuthMethod, outcome: AuthOutcome) -> u64 {
        self.metrics.auth.attempts.of(method, outcome).get()
    }
}

fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}

#[tokio::test]
async fn g33_g34_g35_g36_hostile_tokens_get_one_answer_and_the_log_knows_why() {
    let door = Door::new(Keys::none(), two_keys());
    let good = signers().1.token(&good(now()));
    assert_eq!(door.bearing("/events", &good).await.0, StatusCode::OK);
    let nobody = door.get("/events", &[]).await;
    assert_eq!(nobody.0, StatusCode::UNAUTHORIZED);
    for (name, token, outcome) in hostile::all(now()) {
        // Other tokens than those of three parts are judged as keys.
        let method = if token.split('.').count() == 3 { AuthMethod::Jwt } else { AuthMethod::Bearer };
        if !token.bytes().all(|b| b.is_ascii_graphic()) || token.is_empty() {
            continue;
        }
        let before = door.counted(method, outcome);
        let answer = door.bearing("/events", &token).await;
        assert_eq!(answer, nobody, "{name}");
        assert_eq!(door.counted(method, outcome), before + 1, "{name}: {outcome:?}");
        let told = format!("auth_outcome=\"{}\"", outcome.as_str());
        let log = door.log();
        let access = log.lines().rfind(|line| line.contains("gatewatch::access"));
        assert!(access.is_some_and(|line| line.contains(&told)), "{name}");
        assert!(token.len() < 20 || !door.log().contains(&token), "{name}: no token is written down");
    }
    let log = door.log();
    for reason in ["a JWT is refused", "its algorithm is not accepted", "its signature is wrong", "typ names another"] {
        assert!(log.contains(reason), "{reason}");
    }
    assert!(!log.contains(good.rsplit('.').next().unwrap()));
}

#[tokio::test]
async fn g37_a_token_is_no_key_and_no_session_and_one_for_others_opens_nothing() {
    let door = Door::new(Keys::none(), two_keys());
    let token = signers().1.token(&good(now()));
    assert_eq!(door.get("/events", &[("x-api-key", &token)]).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(door.counted(AuthMethod::ApiKey, AuthOutcome::Malformed), 1);
    let cookie = format!("__Host-gatewatch={token}");
    assert_eq!(door.get("/events", &[("cookie", &cookie)]).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(door.counted(AuthMethod::Session, AuthOutcome::Unknown), 1);
    let login = door.get("/auth/login?code=x", &[("authorization", &format!("Basic {token}"))]).await;
    assert_eq!(login.0, StatusCode::UNAUTHORIZED);
    for aud in ["gatewatch-admin", "gatewatch/ticket", "https://id.example"] {
        let other = signers().1.token(&with(good(now()), json!({"aud": aud})));
        assert_eq!(door.bearing("/events", &other).await.0, StatusCode::UNAUTHORIZED, "{aud}");
    }
    assert_eq!(door.counted(AuthMethod::Jwt, AuthOutcome::Claims), 3);
}

#[tokio::test]
async fn g42_a_token_in_the_address_is_refused_and_never_written_down() {
    let door = Door::new(Keys::none(), two_keys());
    let token = signers().1.token(&good(now()));
    for uri in [format!("/events?vm={token}"), format!("/events?{token}"), format!("/events?access_token={token}")] {
        let (status, _, body) = door.bearing(&uri, &token).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{uri}");
        assert!(body.contains("credential_in_query") && !body.contains(&token), "{body}");
    }
    let signature = token.rsplit('.').next().unwrap();
    assert!(!door.log().contains(signature) && !encode(&door.metrics.registry).contains(signature));
}

#[tokio::test]
async fn keys_and_tokens_stand_beside_each_other() {
    let (key, entry) = new_key("ci", [Scope::EventsRead], VmGrant::all(), None);
    let keys = || Keys::new(KeySet::new([entry.clone()]).unwrap());
    let door = Door::new(keys(), two_keys());
    let token = signers().1.token(&good(now()));
    for (text, method) in [(key.expose(), AuthMethod::Bearer), (&token, AuthMethod::Jwt)] {
        assert_eq!(door.bearing("/events", text).await.0, StatusCode::OK);
        assert_eq!(door.bearing("/admin", text).await.0, StatusCode::FORBIDDEN);
        assert_eq!((door.counted(method, AuthOutcome::Ok), door.counted(method, AuthOutcome::Forbidden)), (1, 1));
    }
    let dotted = Secret::new(format!("{}.a.b", key.expose()));
    assert_eq!(door.bearing("/events", dotted.expose()).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(door.counted(AuthMethod::Bearer, AuthOutcome::Malformed), 1, "it says of itself that it is a key");

    let (_, _, who) = door.bearing("/auth/session", &token).await;
    let who: Value = serde_json::from_str(&who).unwrap();
    assert_eq!((&who["name"], &who["kind"]), (&json!("ada@https://id.example"), &json!("jwt")));
    assert!(door.log().contains("principal=\"ada@https://id.example\""));

    let without = Door::new(keys(), Issuers::none(&Metrics::new().auth));
    assert_eq!(without.bearing("/events", &token).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(without.counted(AuthMethod::Bearer, AuthOutcome::Malformed), 1, "no issuer, no tokens");
}

#[tokio::test]
async fn a_token_that_grants_nothing_verifies_and_may_do_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = in_file(dir.path(), &set_of(&[signers().1.jwk()]), &["ES256"]);
    config.scopes = [].into_iter().collect();
    let door = Door::new(Keys::none(), Issuers::load(&[config], &Metrics::new().auth).unwrap());
    let token = signers().1.token(&with(good(now()), json!({"scope": null})));
    assert_eq!(door.bearing("/events", &token).await.0, StatusCode::FORBIDDEN);
    assert_eq!(door.counted(AuthMethod::Jwt, AuthOutcome::Forbidden), 1);
}

#[tokio::test]
async fn g49_the_edge_asks_key_or_issuer_who_still_stands() {
    let (_, entry) = new_key("ci", [Scope::EventsRead], VmGrant::all(), None);
    let door = Door::new(Keys::new(KeySet::new([entry.clone()]).unwrap()), two_keys());
    let token = door.edge.issuers().verify(&signers().1.token(&good(now())), now()).await.unwrap();
    let key = door.edge.keys().principal(&entry.id, now()).unwrap();
    assert_eq!(door.edge.renewed(&token, now()).as_ref(), Some(&token));
    assert_eq!(door.edge.renewed(&key, now()).as_ref(), Some(&key));
    let (_, other) = new_key("other", [], VmGrant::all(), None);
    door.edge.keys().replace(KeySet::new([other]).unwrap());
    assert_eq!(door.edge.renewed(&key, now()), None);
    assert_eq!(door.edge.renewed(&token, now()).as_ref(), Some(&token));
    door.edge.issuers().reload(&[]).unwrap();
    assert_eq!(door.edge.renewed(&token, now()), None);
}
