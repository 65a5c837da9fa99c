//! What the audit log holds of requests.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::routing::get;
use http::header::{COOKIE, SET_COOKIE};
use serde_json::{Value, json};
use tower::ServiceExt as _;
use tracing::instrument::WithSubscriber as _;

use super::super::auth::{KeySet, new_key};
use super::super::{Credentials, EdgeSettings, EdgeState, Keys, audit, layers, require, session_routes};
use crate::config::KeyEntry;
use crate::model::{Scope, Secret, Timestamp, VmGrant};
use crate::telemetry::Metrics;
use crate::telemetry::captured::Captured;

/// What the edge wrote, as JSON.
#[derive(Clone, Default)]
struct Lines(Captured);

impl Lines {
    fn subscriber(&self) -> impl tracing::Subscriber + Send + Sync + use<> {
        let writer = self.0.clone();
        tracing_subscriber::fmt().json().flatten_event(true).with_writer(move || writer.clone()).finish()
    }

    fn text(&self) -> String {
        self.0.text()
    }

    /// The audit lines.
    fn audit(&self) -> Vec<Value> {
        let lines: Vec<Value> = self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        lines.into_iter().filter(|line| line["target"] == "gatewatch::audit").collect()
    }
}

/// An edge with a key that may read events and one that is expired.
struct Audited {
    router: Router,
    edge: EdgeState,
    key: (Secret, KeyEntry),
    expired: (Secret, KeyEntry),
    log: Lines,
}

fn audited() -> Audited {
    let key = new_key("ci", [Scope::EventsRead], VmGrant::all(), None);
    let expired = new_key("old", [Scope::Admin], VmGrant::all(), Some(Timestamp(1.0)));
    let keys = Arc::new(Keys::new(KeySet::new([key.1.clone(), expired.1.clone()]).unwrap()));
    let metrics = Metrics::new();
    let credentials = Credentials::of_keys(keys, &metrics);
    let edge = EdgeState::new(EdgeSettings { tls: false, ..EdgeSettings::default() }, credentials, &metrics);
    let routes = Router::new()
        .route("/need", get(|| async {}).layer(require(Scope::EventsRead)))
        .route("/admin", get(|| async {}).layer(require(Scope::Admin)))
        .route("/open", get(|| async {}))
        .merge(session_routes(edge.clone()));
    Audited { router: layers(routes, edge.clone()), edge, key, expired, log: Lines::default() }
}

impl Audited {
    /// Status, request id and headers of the answer.
    async fn send(&self, request: http::request::Builder) -> (u16, String, http::HeaderMap) {
        let mut request: Request = request.header("host", "gate.example").body(Body::empty()).unwrap();
        let peer: SocketAddr = "192.0.2.7:4711".parse().unwrap();
        request.extensions_mut().insert(ConnectInfo(peer));
        let router = self.router.clone();
        let response =
            async move { router.oneshot(request).await.unwrap() }.with_subscriber(self.log.subscriber()).await;
        let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
        (response.status().as_u16(), id, response.headers().clone())
    }
}

#[tokio::test]
async fn g24_g61_g62_each_refusal_is_one_line_with_the_true_reason_and_no_secret() {
    let edge = audited();
    let (stranger, unknown) = new_key("stranger", [], VmGrant::all(), None);
    let (id, secret) = (edge.key.1.id.as_str(), edge.key.0.expose());
    let wrong = format!("gw_{id}_{}", "x".repeat(43));
    let bearer = format!("Bearer {secret}");
    let key = |uri: &str, key: &str| Request::get(uri).header("x-api-key", key);
    let cases = [
        (Request::get("/need"), 401, "missing", "none", json!(null), json!(null)),
        (key("/need", stranger.expose()), 401, "unknown", "x_api_key", json!(null), json!(unknown.id)),
        (key("/need", &wrong), 401, "wrong", "x_api_key", json!(null), json!(id)),
        (key("/open", edge.expired.0.expose()), 401, "expired", "x_api_key", json!(null), json!(edge.expired.1.id)),
        (key("/need", "rubbish"), 401, "malformed", "x_api_key", json!(null), json!(null)),
        (Request::get("/admin").header("authorization", &bearer), 403, "forbidden", "bearer", json!(id), json!(null)),
        (Request::get(format!("/need?token={secret}")), 400, "refused", "query", json!(null), json!(null)),
        (Request::get("/auth/login?code=guess"), 401, "unknown", "login_code", json!(null), json!(null)),
    ];
    for (n, (request, status, reason, method, principal, claimed)) in cases.into_iter().enumerate() {
        let (answered, request_id, _) = edge.send(request).await;
        assert_eq!(answered, status, "{reason}");
        let lines = edge.log.audit();
        assert_eq!(lines.len(), n + 1, "{lines:#?}");
        let line = &lines[n];
        assert_eq!((&line["event"], &line["level"]), (&json!("refused"), &json!("WARN")));
        assert_eq!((&line["reason"], &line["method"]), (&json!(reason), &json!(method)));
        assert_eq!((&line["principal"], &line["claimed"]), (&principal, &claimed), "{line}");
        assert_eq!((&line["client"], &line["request_id"]), (&json!("192.0.2.7"), &json!(request_id)));
    }
    edge.send(Request::get("/need").header("authorization", &bearer)).await;
    edge.send(Request::get("/open").header(COOKIE, "gatewatch=of-long-ago")).await;
    edge.send(Request::get("/nowhere")).await;
    assert_eq!(edge.log.audit().len(), 8, "what auth did not refuse is no refusal");
    for shown in [secret, stranger.expose(), edge.expired.0.expose()] {
        let secret = shown.rsplit('_').next().unwrap();
        assert!(!edge.log.text().contains(secret));
    }
}

#[tokio::test]
async fn g62_a_login_and_a_logout_are_told_with_the_key_behind_them() {
    let edge = audited();
    let code = Secret::new("a-login-code-of-this-test");
    edge.edge.login_codes().keep(&code, &edge.key.1.id);
    let (status, login_id, headers) = edge.send(Request::get(format!("/auth/login?code={}", code.expose()))).await;
    assert_eq!(status, 303);
    let cookie = headers[SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
    let leave = Request::delete("/auth/session").header(COOKIE, &cookie).header("sec-fetch-site", "same-origin");
    let (status, logout_id, _) = edge.send(leave).await;
    assert_eq!(status, 204);

    let lines = edge.log.audit();
    assert_eq!(lines.len(), 2, "{lines:#?}");
    for (line, event, method, id) in
        [(&lines[0], "login", "login_code", login_id), (&lines[1], "logout", "session", logout_id)]
    {
        assert_eq!((&line["event"], &line["level"]), (&json!(event), &json!("INFO")));
        assert_eq!((&line["method"], &line["principal"]), (&json!(method), &json!(edge.key.1.id)));
        assert_eq!((&line["client"], &line["request_id"]), (&json!("192.0.2.7"), &json!(id)));
    }
    let value = cookie.split('=').nth(1).unwrap();
    assert!(!edge.log.text().contains(value) && !edge.log.text().contains(code.expose()));
}

#[test]
fn changed_keys_and_reloads_are_told() {
    let log = Lines::default();
    tracing::subscriber::with_default(log.subscriber(), || {
        let (_, first) = new_key("a", [], VmGrant::all(), None);
        let keys = Keys::new(KeySet::new([first.clone()]).unwrap());
        audit::keys_changed(&keys.replace(KeySet::new([first.clone()]).unwrap()));
        let (_, second) = new_key("b", [], VmGrant::all(), None);
        audit::keys_changed(&keys.replace(KeySet::new([second.clone()]).unwrap()));
        audit::reloaded(&["server", "log"]);
        audit::reload_refused("two\nlines");
        let lines = log.audit();
        assert_eq!(lines.len(), 3, "keys that stayed as they were are no news: {lines:#?}");
        assert_eq!((&lines[0]["added"], &lines[0]["removed"]), (&json!(second.id), &json!(first.id)));
        assert_eq!((&lines[1]["event"], &lines[1]["needs_restart"]), (&json!("reload"), &json!("server log")));
        assert_eq!((&lines[2]["event"], &lines[2]["level"]), (&json!("reload_refused"), &json!("WARN")));
    });
}
