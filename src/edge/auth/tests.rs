//! Sessions, tickets and pages of other origins, through the whole edge.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::routing::{get, post};
use http::header::{LOCATION, SET_COOKIE};
use http::{Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{KeySet, SessionSecrets, new_key, require, session_routes};
use crate::config::KeyEntry;
use crate::edge::{Caller, Credentials, EdgeSettings, EdgeState, Keys, ProxyRules, layers};
use crate::model::{Scope, Secret, Timestamp, VmGrant, VmName};
use crate::telemetry::{Metrics, encode};

const DASH: &str = "https://dash.example";
const OURS: &str = "https://gate.example";

struct Gate {
    router: Router,
    edge: EdgeState,
    metrics: Metrics,
    key: Secret,
    entry: KeyEntry,
}

fn gate() -> Gate {
    gate_with(EdgeSettings::default())
}

fn gate_with(settings: EdgeSettings) -> Gate {
    let (key, entry) = new_key("people", [Scope::EventsRead], VmGrant::from_globs(["waa-*"]), None);
    let keys = Arc::new(Keys::new(KeySet::new([entry.clone()]).unwrap()));
    let metrics = Metrics::new();
    let edge = EdgeState::new(settings, Credentials::of_keys(keys, &metrics), &metrics);
    edge.replace_origins(vec![DASH.to_owned()]);
    let whose = |Caller(who): Caller| async move {
        let vms: Vec<&str> =
            ["waa-1", "waa-2", "lab"].into_iter().filter(|vm| who.vms.allows(&VmName::new(vm).unwrap())).collect();
        format!("{:?} {}", who.kind, vms.join(","))
    };
    let routes = Router::new()
        .route("/api/benchmark-sse", get(whose).layer(require(Scope::EventsRead)))
        .route("/api/vms", get(whose).layer(require(Scope::EventsRead)))
        .route("/write", post(whose).layer(require(Scope::EventsRead)))
        .merge(session_routes(edge.clone()));
    Gate { router: layers(routes, edge.clone()), edge, metrics, key, entry }
}

impl Gate {
    async fn send(&self, method: &str, uri: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Response {
        let mut request = Request::builder().method(method).uri(uri).header("host", "gate.example");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let peer = crate::model::Peer::direct(([192, 0, 2, 7], 4000).into());
        self.router.clone().oneshot(request.extension(peer).body(body.into()).unwrap()).await.unwrap()
    }

    async fn get(&self, uri: &str, headers: &[(&str, &str)]) -> Response {
        self.send("GET", uri, headers, Body::empty()).await
    }

    async fn log_in(&self, headers: &[(&str, &str)], kind: &str, body: String) -> Response {
        self.send("POST", "/auth/session", &[headers, &[("content-type", kind)]].concat(), body).await
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.key.expose())
    }

    async fn ticket(&self, body: Value) -> Response {
        let bearer = self.bearer();
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        self.send("POST", "/auth/ticket", &[("authorization", &bearer), ("origin", DASH)], body).await
    }

    fn counted(&self, method: &str, outcome: &str, times: u32) {
        let line = format!("gatewatch_auth_total{{method=\"{method}\",outcome=\"{outcome}\"}} {times}");
        let text = encode(&self.metrics.registry);
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
}

fn cookie(response: &Response) -> String {
    let set = response.headers()[SET_COOKIE].to_str().unwrap();
    set.split(';').next().unwrap().to_owned()
}

async fn text(response: Response) -> String {
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

async fn json_of(response: Response) -> Value {
    serde_json::from_str(&text(response).await).unwrap()
}

const FORM: &str = "application/x-www-form-urlencoded";

#[tokio::test]
async fn a_person_signs_in_with_the_form_and_is_led_back() {
    let gate = gate();
    let page = gate.get("/login?next=/vm/waa-1%3Fa%3Db%26c", &[]).await;
    assert_eq!(page.status(), StatusCode::OK);
    assert_eq!(page.headers()["referrer-policy"], "same-origin");
    let csp = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(csp.contains("form-action 'self'") && csp.contains("frame-ancestors 'none'"), "{csp}");
    let page = text(page).await;
    assert!(page.contains("value=\"/vm/waa-1?a=b&amp;c\""), "{page}");
    assert!(!page.contains("<script") && !page.contains(" style="), "it works without JavaScript and under the policy");
    assert!(text(gate.get("/login?next=//evil.example", &[]).await).await.contains("name=\"next\" value=\"/\""));
    assert!(text(gate.get("/login?next=a&next=b", &[]).await).await.contains("name=\"next\" value=\"/\""));

    let body = format!("key={}&next=%2Fvm%2Fwaa-1%3Fa%3Db", gate.key.expose());
    let signed_in = gate.log_in(&[("origin", OURS), ("sec-fetch-site", "same-origin")], FORM, body).await;
    assert_eq!(signed_in.status(), StatusCode::SEE_OTHER);
    assert_eq!(signed_in.headers()[LOCATION], "/vm/waa-1?a=b");
    assert_eq!(signed_in.headers()["cache-control"], "no-store");
    let set = signed_in.headers()[SET_COOKIE].to_str().unwrap();
    assert!(set.starts_with("__Host-gatewatch=") && !set.contains("Domain"), "{set}");
    assert!(set.ends_with("; Max-Age=3600; Path=/; HttpOnly; SameSite=Lax; Secure"), "{set}");
    let cookie = cookie(&signed_in);
    assert_eq!(text(gate.get("/api/vms", &[("cookie", &cookie)]).await).await, "Session waa-1,waa-2");
    gate.counted("login", "ok", 1);

    let refused = gate.log_in(&[("origin", OURS)], FORM, "key=gw_a_b&next=/x".to_owned()).await;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert!(!refused.headers().contains_key(SET_COOKIE));
    let again = text(refused).await;
    assert!(again.contains("role=\"alert\"") && again.contains("value=\"/x\"") && !again.contains("gw_a_b"), "{again}");
    gate.counted("login", "unknown", 1);
}

#[tokio::test]
async fn a_program_signs_in_with_json_or_a_header_and_signs_out_again() {
    let gate = gate();
    let bearer = gate.bearer();
    let by_header = gate.log_in(&[("authorization", &bearer)], "text/plain", String::new()).await;
    let by_body = gate.log_in(&[], "application/json", json!({"key": gate.key.expose()}).to_string()).await;
    for response in [by_header, by_body] {
        assert_eq!(response.status(), StatusCode::OK);
        let cookie = cookie(&response);
        let said = json_of(response).await;
        assert_eq!((&said["name"], &said["kind"]), (&json!(gate.entry.id), &json!("session")));
        let who = json_of(gate.get("/auth/session", &[("cookie", &cookie)]).await).await;
        assert_eq!(who["expires_at"], said["expires_at"]);
        assert_eq!(
            (&who["scopes"], &who["vms"], &who["kind"]),
            (&json!(["events:read"]), &json!(["waa-*"]), &json!("session"))
        );

        let unproven = gate.send("DELETE", "/auth/session", &[("cookie", &cookie)], Body::empty()).await;
        assert_eq!(unproven.status(), StatusCode::FORBIDDEN);
        let proof = [("cookie", cookie.as_str()), ("sec-fetch-site", "same-origin")];
        let gone = gate.send("DELETE", "/auth/session", &proof, Body::empty()).await;
        assert_eq!(gone.status(), StatusCode::NO_CONTENT);
        assert!(gone.headers()[SET_COOKIE].to_str().unwrap().contains("Max-Age=0"));
        assert_eq!(gate.get("/api/vms", &[("cookie", &cookie)]).await.status(), StatusCode::UNAUTHORIZED);
    }
    for (kind, body) in [("application/json", "{"), ("application/json", "[1]"), (FORM, "key=a&key=b")] {
        let refused = gate.log_in(&[], kind, body.to_owned()).await;
        assert!(matches!(refused.status().as_u16(), 400 | 422), "{kind} {body} {}", refused.status());
    }
    assert_eq!(gate.log_in(&[], "text/plain", String::new()).await.status(), StatusCode::UNAUTHORIZED);
    let both =
        gate.log_in(&[("authorization", &bearer)], "application/json", json!({"key": "gw_a_b"}).to_string()).await;
    assert_eq!(both.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn g30_no_other_site_signs_a_browser_in_or_uses_its_session() {
    let gate = gate();
    let body = || format!("key={}", gate.key.expose());
    for foreign in [
        &[("origin", "https://evil.example")][..],
        &[("origin", "null")],
        &[("sec-fetch-site", "cross-site"), ("origin", OURS)],
        &[("origin", DASH)],
    ] {
        let refused = gate.log_in(foreign, FORM, body()).await;
        assert_eq!(refused.status(), StatusCode::FORBIDDEN, "{foreign:?}");
        assert!(!refused.headers().contains_key(SET_COOKIE));
    }
    gate.counted("login", "cross_site", 4);
    let cookie = cookie(&gate.log_in(&[], FORM, body()).await);
    let send = |method, headers: &[(&'static str, &'static str)]| {
        let headers: Vec<_> = headers.iter().copied().chain([("cookie", cookie.as_str())]).collect();
        let uri = if method == "GET" { "/api/vms" } else { "/write" };
        let gate = &gate;
        async move { gate.send(method, uri, &headers, Body::empty()).await.status().as_u16() }
    };
    // A link from a chat, which shows its answer to the person alone.
    assert_eq!(send("GET", &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")]).await, 200);
    assert_eq!(send("GET", &[("sec-fetch-site", "cross-site")]).await, 403);
    assert_eq!(send("GET", &[("sec-fetch-site", "same-site"), ("origin", DASH)]).await, 200, "a listed origin reads");
    assert_eq!(send("POST", &[("sec-fetch-site", "same-site"), ("origin", DASH)]).await, 403, "and changes nothing");
    assert_eq!(send("POST", &[]).await, 403);
    assert_eq!(send("POST", &[("origin", OURS)]).await, 200);
}

#[tokio::test]
async fn a_session_of_a_key_that_is_taken_out_is_over() {
    let gate = gate();
    let cookie = cookie(&gate.log_in(&[], FORM, format!("key={}", gate.key.expose())).await);
    let (_, other) = new_key("other", [], VmGrant::all(), None);
    gate.edge.keys().replace(KeySet::new([other]).unwrap());
    assert_eq!(gate.get("/api/vms", &[("cookie", &cookie)]).await.status(), StatusCode::UNAUTHORIZED);
    gate.counted("session", "revoked", 1);
    assert_eq!(
        gate.get("/login", &[("cookie", &cookie)]).await.status(),
        StatusCode::OK,
        "the way to the login is open"
    );
}

#[tokio::test]
async fn g41_g42_a_ticket_opens_one_stream_of_a_listed_origin_for_what_it_was_asked_for() {
    let gate = gate();
    let response = gate.ticket(json!({"vms": ["waa-1", "lab"]})).await;
    assert_eq!(response.status(), StatusCode::CREATED);
    assert_eq!(response.headers()["access-control-allow-origin"], DASH);
    assert_eq!(response.headers()["cache-control"], "no-store");
    let said = json_of(response).await;
    assert_eq!(said["expires_in"], 30.0);
    let uri = format!("/api/benchmark-sse?interval=1&ticket={}", said["ticket"].as_str().unwrap());
    assert_eq!(text(gate.get(&uri, &[("origin", DASH)]).await).await, "Ticket waa-1");
    assert_eq!(gate.get(&uri, &[("origin", DASH)]).await.status(), StatusCode::UNAUTHORIZED, "it worked once");

    let ticket = json_of(gate.ticket(Value::Null).await).await["ticket"].as_str().unwrap().to_owned();
    let uri = format!("/api/benchmark-sse?ticket={ticket}");
    for foreign in ["https://evil.example", "null"] {
        assert_eq!(gate.get(&uri, &[("origin", foreign)]).await.status(), StatusCode::FORBIDDEN);
    }
    assert_eq!(text(gate.get(&uri, &[]).await).await, "Ticket waa-1,waa-2", "a foreign page did not use it up");

    for (bad, status) in [
        (json!({"scopes": ["root"]}), 422),
        (json!({"vms": ["A B"]}), 422),
        (json!({"vm": []}), 422),
        (json!("waa-1"), 422),
    ] {
        assert_eq!(gate.ticket(bad.clone()).await.status().as_u16(), status, "{bad}");
    }
    let nothing = json_of(gate.ticket(json!({"scopes": ["vms:write"]})).await).await;
    let uri = format!("/api/benchmark-sse?ticket={}", nothing["ticket"].as_str().unwrap());
    assert_eq!(gate.get(&uri, &[]).await.status(), StatusCode::FORBIDDEN, "a scope that its maker lacks is not in it");
    assert_eq!(gate.send("POST", "/auth/ticket", &[], Body::empty()).await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn g37_a_ticket_is_no_credential_anywhere_else_and_nothing_else_is_a_ticket() {
    let gate = gate();
    let ticket = json_of(gate.ticket(Value::Null).await).await["ticket"].as_str().unwrap().to_owned();
    let bearer = format!("Bearer {ticket}");
    for (uri, header) in [
        (format!("/api/vms?ticket={ticket}"), None),
        (format!("/auth/session?ticket={ticket}"), None),
        ("/api/benchmark-sse".to_owned(), Some(("authorization", bearer.as_str()))),
        ("/api/benchmark-sse".to_owned(), Some(("x-api-key", ticket.as_str()))),
    ] {
        let headers: Vec<_> = header.into_iter().collect();
        assert_eq!(gate.get(&uri, &headers).await.status(), StatusCode::UNAUTHORIZED, "{uri} {header:?}");
    }
    let made = gate.send("POST", &format!("/auth/ticket?ticket={ticket}"), &[], Body::empty()).await;
    assert_eq!(made.status(), StatusCode::UNAUTHORIZED, "a ticket makes no ticket");
    let login = gate.log_in(&[], FORM, format!("key={ticket}")).await;
    assert_eq!(login.status(), StatusCode::UNAUTHORIZED, "and no session");
    let session = cookie(&gate.log_in(&[], FORM, format!("key={}", gate.key.expose())).await);
    let session = session.split_once('=').unwrap().1;
    for uri in
        [format!("/api/benchmark-sse?ticket={session}"), format!("/api/benchmark-sse?ticket={}", gate.key.expose())]
    {
        assert!(matches!(gate.get(&uri, &[]).await.status().as_u16(), 400 | 401), "{uri}");
    }
    let session = format!("Bearer {session}");
    assert_eq!(gate.get("/api/vms", &[("authorization", &session)]).await.status(), StatusCode::UNAUTHORIZED);
    let uri = format!("/api/benchmark-sse?ticket={ticket}");
    assert_eq!(gate.get(&uri, &[]).await.status(), StatusCode::OK, "none of these used it up");
}

#[tokio::test]
async fn g44_a_ticket_of_a_key_that_was_revoked_meanwhile_opens_nothing() {
    let gate = gate();
    let ticket = json_of(gate.ticket(Value::Null).await).await["ticket"].as_str().unwrap().to_owned();
    let (_, other) = new_key("other", [], VmGrant::all(), None);
    gate.edge.keys().replace(KeySet::new([other]).unwrap());
    let refused = gate.get(&format!("/api/benchmark-sse?ticket={ticket}"), &[]).await;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    gate.counted("ticket", "revoked", 1);
}

#[tokio::test]
async fn g69_g45_only_listed_origins_read_answers_errors_too_and_never_by_a_wildcard() {
    let gate = gate();
    let bearer = gate.bearer();
    let preflight = [
        ("origin", DASH),
        ("access-control-request-method", "GET"),
        ("access-control-request-headers", "authorization,last-event-id"),
    ];
    let allowed = gate.send("OPTIONS", "/api/vms", &preflight, Body::empty()).await;
    assert!(allowed.status().is_success());
    let headers = allowed.headers();
    assert_eq!(headers["access-control-allow-origin"], DASH);
    assert_eq!(headers["access-control-allow-credentials"], "true");
    assert!(headers["access-control-allow-headers"].to_str().unwrap().contains("last-event-id"));

    for (origin, listed) in
        [(DASH, true), ("https://evil.example", false), ("null", false), ("http://dash.example", false)]
    {
        for (uri, credential) in
            [("/api/vms", bearer.as_str()), ("/api/vms", "Bearer gw_a_b"), ("/nowhere", bearer.as_str())]
        {
            let response = gate.get(uri, &[("origin", origin), ("authorization", credential)]).await;
            let said = response.headers().get("access-control-allow-origin").map(|value| value.to_str().unwrap());
            assert_eq!(said, listed.then_some(origin), "{origin} {uri}");
            let vary: Vec<_> =
                response.headers().get_all("vary").iter().map(|v| v.to_str().unwrap().to_ascii_lowercase()).collect();
            assert!(vary.iter().any(|vary| vary.contains("origin")), "{vary:?}");
            assert_eq!(response.headers()["cache-control"], "no-store");
        }
    }
    gate.edge.replace_origins(Vec::new());
    let response = gate.get("/api/vms", &[("origin", DASH), ("authorization", &bearer)]).await;
    assert!(!response.headers().contains_key("access-control-allow-origin"), "the list may change while it serves");
}

#[tokio::test]
async fn what_a_session_may_do_follows_its_key() {
    let gate = gate();
    let cookie = cookie(&gate.log_in(&[], FORM, format!("key={}", gate.key.expose())).await);
    let narrower = KeyEntry { vms: VmGrant::from_globs(["waa-2"]), ..gate.entry.clone() };
    gate.edge.keys().replace(KeySet::new([narrower]).unwrap());
    assert_eq!(text(gate.get("/api/vms", &[("cookie", &cookie)]).await).await, "Session waa-2");
    let named = gate.edge.sessions().principal(cookie.split_once('=').unwrap().1, Timestamp::from(SystemTime::now()));
    let renewed = gate.edge.renewed(&named.unwrap(), Timestamp::from(SystemTime::now())).unwrap();
    assert_eq!(renewed.vms.globs(), [Box::from("waa-2")]);
}

#[tokio::test]
async fn behind_a_trusted_load_balancer_that_ends_tls_cookies_are_as_over_tls_of_our_own() {
    let trusting = |range: &str| {
        let proxy = ProxyRules { trusted: vec![range.parse().unwrap()], ..ProxyRules::default() };
        gate_with(EdgeSettings { tls: false, proxy, ..EdgeSettings::default() })
    };
    let gate = trusting("192.0.2.7");
    let body = format!("key={}", gate.key.expose());
    let https = ("x-forwarded-proto", "https");
    let over_tls = gate.log_in(&[https, ("origin", OURS)], FORM, body.clone()).await;
    let set = over_tls.headers()[SET_COOKIE].to_str().unwrap();
    assert!(set.starts_with("__Host-gatewatch=") && set.ends_with("; Secure"), "{set}");
    let cookie = cookie(&over_tls);
    assert_eq!(gate.get("/api/vms", &[https, ("cookie", &cookie)]).await.status(), StatusCode::OK);
    let clear = gate.log_in(&[("origin", OURS)], FORM, body.clone()).await;
    assert!(clear.headers()[SET_COOKIE].to_str().unwrap().starts_with("gatewatch="));

    let stranger = trusting("192.0.2.8");
    let body = format!("key={}", stranger.key.expose());
    let claimed = stranger.log_in(&[https], FORM, body).await;
    assert!(claimed.headers()[SET_COOKIE].to_str().unwrap().starts_with("gatewatch="), "nobody else's word counts");
}

#[tokio::test]
async fn g32_a_login_that_is_tried_too_often_is_not_looked_at_and_a_session_stays() {
    let gate = gate();
    let right = || format!("key={}", gate.key.expose());
    let cookie = cookie(&gate.log_in(&[], FORM, right()).await);
    for _ in 0..10 {
        assert_eq!(gate.log_in(&[], FORM, "key=gw_a_b".to_owned()).await.status(), StatusCode::UNAUTHORIZED);
    }
    let throttled = gate.log_in(&[], FORM, right()).await;
    assert_eq!(throttled.status(), StatusCode::TOO_MANY_REQUESTS, "the right key is not looked at either");
    assert!(throttled.headers()["retry-after"].to_str().unwrap().parse::<u32>().unwrap() >= 1);
    assert_eq!(gate.get("/auth/login?code=guess", &[]).await.status(), StatusCode::TOO_MANY_REQUESTS);
    gate.counted("login", "throttled", 1);
    let kept = gate.get("/api/vms", &[("cookie", &cookie)]).await;
    assert_eq!(kept.status(), StatusCode::OK, "a neighbour's wrong key keeps nobody out who is in");
}

#[tokio::test]
async fn g44_g49_what_a_session_was_made_into_ends_with_its_logout_and_with_its_secret() {
    for by_logout in [true, false] {
        let gate = gate();
        let cookie = cookie(&gate.log_in(&[], FORM, format!("key={}", gate.key.expose())).await);
        let own = [("cookie", cookie.as_str()), ("sec-fetch-site", "same-origin")];
        let made = json_of(gate.send("POST", "/auth/ticket", &own, Body::empty()).await).await;
        let now = Timestamp::from(SystemTime::now());
        let named = gate.edge.sessions().principal(cookie.split_once('=').unwrap().1, now).unwrap();
        let stream = gate.edge.renewed(&named, now).expect("a stream of the session stands");
        let told = gate.edge.sessions().changes();
        if by_logout {
            assert_eq!(
                gate.send("DELETE", "/auth/session", &own, Body::empty()).await.status(),
                StatusCode::NO_CONTENT
            );
            assert!(told.has_changed().unwrap(), "whoever owns streams is told");
        } else {
            gate.edge.sessions().replace_secrets(SessionSecrets::random().0);
        }
        assert_eq!(gate.edge.renewed(&stream, now), None, "logout: {by_logout}");
        let uri = format!("/api/benchmark-sse?ticket={}", made["ticket"].as_str().unwrap());
        assert_eq!(gate.get(&uri, &[]).await.status(), StatusCode::UNAUTHORIZED, "logout: {by_logout}");
    }
}

#[tokio::test]
async fn g25_g49_a_session_ends_with_the_secret_of_the_key_that_opened_it() {
    let gate = gate();
    let cookie = cookie(&gate.log_in(&[], FORM, format!("key={}", gate.key.expose())).await);
    let status = async || gate.get("/api/vms", &[("cookie", &cookie)]).await.status().as_u16();
    let replace = |sha256| {
        let entry = KeyEntry { sha256, ..gate.entry.clone() };
        gate.edge.keys().replace(KeySet::new([entry]).unwrap());
    };
    replace(vec![[7; 32], gate.entry.sha256[0]]);
    assert_eq!(status().await, 200, "while the key is rotated both open");
    replace(vec![[7; 32]]);
    assert_eq!(status().await, 401, "the old secret is no more, under whatever id");
}

#[tokio::test]
async fn a_list_is_no_wish_for_a_ticket_and_two_credentials_of_a_login_are_told_of() {
    let gate = gate();
    assert_eq!(gate.ticket(json!([])).await.status().as_u16(), 422);
    let bearer = gate.bearer();
    let body = json!({"key": gate.key.expose()}).to_string();
    let both = gate.log_in(&[("authorization", &bearer)], "application/json", body).await;
    assert_eq!(both.status(), StatusCode::BAD_REQUEST);
    gate.counted("several", "refused", 1);
}
