//! What the edge adds to a request: CPU time per request, bare and behind every layer, by how the caller is known.
//!
//! In process, on one thread, straight into the router: a request is built, then passed and its answer read to the end,
//! and only that is measured. Sockets and TLS are not in these figures. The ways take turns in every round, so that
//! whatever slows the machine slows all of them.

mod figures;

use std::fs::{self, File, OpenOptions};
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::routing::get;
use figures::{Figures, Result, Spread, cpu};
use gatewatch::config::{JwtConfig, JwtKeys};
use gatewatch::edge::auth::{KeySet, new_key};
use gatewatch::edge::{
    AuthMode, Credentials, EdgeSettings, EdgeState, Issuers, Keys, SessionSecrets, SessionStore, layers, require,
};
use gatewatch::model::{Peer, Scope, Secret, Timestamp, VmGrant};
use gatewatch::telemetry::{LogFormat, Metrics, logs};
use http::StatusCode;
use http::header::{ACCEPT, AUTHORIZATION, COOKIE, HOST, HeaderName, HeaderValue, USER_AGENT};
use http_body_util::BodyExt as _;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::KeyPair;
use serde_json::json;
use tempfile::TempDir;
use tower::ServiceExt as _;
use tracing::subscriber::NoSubscriber;

/// Rounds that are measured, after one that only warms up.
const ROUNDS: usize = 100;
/// Requests of each way in a round.
const REQUESTS: usize = 500;
/// Addresses that the requests come from, one after the other, so that none meets its limit.
const ADDRESSES: usize = 4096;
/// Goals, in microseconds.
const GOAL: f64 = 20.0;
const ES256_GOAL: f64 = 150.0;

const BEARS_KEY: &str = "API key";
const BARE: &str = "bare";
const OPEN: &str = "nobody is asked";
const ES256: &str = "JWT, ES256";
const LOGGED: &str = ", logged";

fn main() -> Result<()> {
    let Some(mut figures) = Figures::begin("edge") else { return Ok(()) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(measure(&mut figures))?;
    figures.end()
}

/// One way to ask: a router, and a request that it lets in.
struct Way {
    name: String,
    router: Router,
    path: &'static str,
    credential: Option<(HeaderName, HeaderValue)>,
    /// Whether log lines are made, at the level that is the default.
    logged: bool,
    micros: Vec<f64>,
}

impl Way {
    fn new(name: &str, router: &Router, path: &'static str, credential: Option<(HeaderName, String)>) -> Result<Self> {
        let credential = credential.map(|(name, value)| Ok((name, HeaderValue::try_from(value)?)));
        let credential = credential.transpose().map_err(|error: http::header::InvalidHeaderValue| error)?;
        Ok(Self { name: name.to_owned(), router: router.clone(), path, credential, logged: false, micros: Vec::new() })
    }

    /// The same with log lines.
    fn logged(&self) -> Self {
        let credential = self.credential.clone();
        let name = format!("{}{LOGGED}", self.name);
        Self { name, router: self.router.clone(), path: self.path, credential, logged: true, micros: Vec::new() }
    }

    fn request(&self, number: usize) -> Result<Request> {
        let mut request = Request::get(self.path)
            .header(HOST, "localhost:8765")
            .header(USER_AGENT, "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0")
            .header(ACCEPT, "application/json")
            .body(Body::empty())?;
        if let Some((name, value)) = &self.credential {
            request.headers_mut().insert(name, value.clone());
        }
        let address = Ipv4Addr::from(0x0a00_0001 + (number % ADDRESSES) as u32);
        request.extensions_mut().insert(Peer::direct((IpAddr::V4(address), 4711).into()));
        Ok(request)
    }

    /// What one request costs, in microseconds, over the `count` that begin with `first`.
    async fn cost(&self, first: usize, count: usize) -> Result<f64> {
        let requests = (first..first + count).map(|number| self.request(number)).collect::<Result<Vec<_>>>()?;
        let before = cpu();
        for request in requests {
            let answer = self.router.clone().oneshot(request).await?;
            let status = answer.status();
            let body = answer.into_body().collect().await?.to_bytes();
            assert_eq!((status, body.len()), (StatusCode::OK, ANSWER.len()), "{}", self.name);
        }
        Ok((cpu() - before).as_secs_f64() * 1e6 / count as f64)
    }
}

/// What the handler says.
const ANSWER: &str = "{\"vms\":[]}";

async fn measure(figures: &mut Figures) -> Result<()> {
    let house = House::new()?;
    let mut ways = house.ways()?;
    // To no terminal and no disk, but with the system call that writing a line is.
    let nowhere = Arc::new(File::create("/dev/null")?);
    let lines = tracing::Dispatch::new(logs::subscriber(LogFormat::Text, "info", nowhere)?);
    let silence = tracing::Dispatch::new(NoSubscriber::new());
    if let Ok(only) = std::env::var("ONLY") {
        ways.retain(|w| w.name == only);
    }
    for round in 0..=ROUNDS {
        for way in &mut ways {
            let _subscriber = tracing::dispatcher::set_default(if way.logged { &lines } else { &silence });
            // What another subscriber wants is looked up at the first event of each kind.
            way.cost(0, 1).await?;
            let micros = way.cost(round * REQUESTS, REQUESTS).await?;
            if round > 0 {
                way.micros.push(micros);
            }
        }
    }
    let of = |name: &str| ways.iter().find(|way| way.name == name).map_or(&[][..], |way| &way.micros);
    let over = |name: &str, base: &str| Spread::of(of(name).iter().zip(of(base)).map(|(more, less)| more - less));

    let bare = Spread::of(of(BARE).iter().copied());
    figures.row("a request to the same router without the edge, CPU", bare.shown("us", 2), None);
    figures.spread("bare_us", &bare);
    for way in ways.iter().filter(|way| way.name != BARE) {
        let added = over(&way.name, BARE);
        let goal = match way.name.as_str() {
            BEARS_KEY => Some((GOAL, "p50 under 20 us")),
            ES256 => Some((ES256_GOAL, "p50 under 150 us")),
            _ => None,
        };
        let goal = goal.map(|(limit, text)| (text, added.median() < limit));
        let name = &way.name;
        figures.row(format!("what the whole edge adds to it: {name}"), added.shown("us", 2), goal);
        figures.spread(&format!("added_us, {name}"), &added);
    }
    let key = over(BEARS_KEY, OPEN);
    figures.row("an API key instead of nobody being asked", key.shown("us", 2), None);
    figures.spread("key_over_open_us", &key);
    if std::env::var_os("ONLY").is_some() {
        return Ok(());
    }
    house.alone(figures).await
}

/// Everybody who may come in, and the routers that they come to.
struct House {
    open: EdgeState,
    edge: EdgeState,
    key: Secret,
    cookie: Secret,
    hs256: String,
    es256: String,
    _dir: TempDir,
}

impl House {
    fn new() -> Result<Self> {
        let (dir, now) = (TempDir::new()?, now());
        let (key, entry) = new_key("ci", [Scope::EventsRead], VmGrant::all(), None);
        let id = entry.id.clone();
        let metrics = Metrics::new();
        let (hs, hs256) = shared_secret(dir.path(), now)?;
        let (es, es256) = elliptic_curve(dir.path(), now)?;
        let credentials = Credentials {
            keys: Arc::new(Keys::new(KeySet::new([entry])?)),
            issuers: Arc::new(Issuers::load(&[hs, es], &metrics.auth)?),
            sessions: SessionStore::new(SessionSecrets::random().0, Duration::from_secs(3600)),
        };
        let who = credentials.keys.principal(&id, now).ok_or("the key is not in force")?;
        let cookie = credentials.sessions.begin(&who, now).map_err(|_| "no session began")?.cookie;
        let edge = EdgeState::new(settings(AuthMode::Keys), credentials, &metrics);
        let metrics = Metrics::new();
        let nobody = Credentials {
            keys: Arc::new(Keys::none()),
            issuers: Arc::new(Issuers::none(&metrics.auth)),
            sessions: SessionStore::new(SessionSecrets::random().0, Duration::from_secs(3600)),
        };
        let open = EdgeState::new(settings(AuthMode::Open), nobody, &metrics);
        Ok(Self { open, edge, key, cookie, hs256, es256, _dir: dir })
    }

    fn ways(&self) -> Result<Vec<Way>> {
        let answer = || async { ANSWER };
        let bare = Router::new().route("/open", get(answer)).route("/api/vms", get(answer));
        let routes =
            Router::new().route("/open", get(answer)).route("/api/vms", get(answer).layer(require(Scope::EventsRead)));
        // As a server does before it serves, so that no layer is applied while a request waits.
        let bare = bare.with_state(());
        let open = layers(routes.clone(), self.open.clone()).with_state(());
        let edge = layers(routes, self.edge.clone()).with_state(());
        let bears = |text: &str| Some((AUTHORIZATION, format!("Bearer {text}")));
        let cookie = Some((COOKIE, format!("__Host-gatewatch={}", self.cookie.expose())));
        let mut ways = vec![
            Way::new(BARE, &bare, "/api/vms", bears(self.key.expose()))?,
            Way::new(OPEN, &open, "/api/vms", None)?,
            Way::new("no credential, a public route", &edge, "/open", None)?,
            Way::new(BEARS_KEY, &edge, "/api/vms", bears(self.key.expose()))?,
            Way::new("session cookie", &edge, "/api/vms", cookie)?,
            Way::new("JWT, HS256", &edge, "/api/vms", bears(&self.hs256))?,
            Way::new(ES256, &edge, "/api/vms", bears(&self.es256))?,
        ];
        let logged: Vec<Way> =
            ways.iter().filter(|way| [BEARS_KEY, ES256].contains(&way.name.as_str())).map(Way::logged).collect();
        ways.extend(logged);
        Ok(ways)
    }

    /// What the check of a credential costs by itself.
    async fn alone(&self, figures: &mut Figures) -> Result<()> {
        let (mut key, mut session, mut token) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let [mut keys, mut sessions, mut tokens] = [Duration::ZERO; 3];
            let now = now();
            let began = cpu();
            for _ in 0..REQUESTS {
                black_box(self.edge.keys().verify(self.key.expose(), now)).map_err(|fault| format!("{fault:?}"))?;
            }
            keys += cpu() - began;
            let began = cpu();
            for _ in 0..REQUESTS {
                let named = self.edge.sessions().principal(self.cookie.expose(), now);
                black_box(named).map_err(|fault| format!("{fault:?}"))?;
            }
            sessions += cpu() - began;
            let began = cpu();
            for _ in 0..REQUESTS {
                black_box(self.edge.issuers().verify(&self.es256, now).await).map_err(|fault| fault.to_string())?;
            }
            tokens += cpu() - began;
            for (all, spent) in [(&mut key, keys), (&mut session, sessions), (&mut token, tokens)] {
                all.push(spent.as_secs_f64() * 1e6 / REQUESTS as f64);
            }
        }
        for (what, name, micros) in [
            ("to check an API key", "key_alone_us", key),
            ("to read a session cookie", "session_alone_us", session),
            ("to verify an ES256 token", "es256_alone_us", token),
        ] {
            let micros = Spread::of(micros);
            figures.row(format!("of that, {what}"), micros.shown("us", 2), None);
            figures.spread(name, &micros);
        }
        Ok(())
    }
}

fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}

/// As by default, but that one principal may ask as often as this bench does.
fn settings(auth: AuthMode) -> EdgeSettings {
    let mut settings = EdgeSettings { auth, ..EdgeSettings::default() };
    settings.limits.principal_requests_per_second = 10_000;
    settings.limits.principal_burst = 1_000_000;
    settings
}

const SHARED: &str = "https://hs.example";
const CURVE: &str = "https://es.example";

/// An issuer with a shared secret, and a token of it.
fn shared_secret(dir: &Path, now: Timestamp) -> Result<(JwtConfig, String)> {
    let (path, secret) = (dir.join("secret"), "0123456789abcdef0123456789abcdef");
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    std::io::Write::write_all(&mut &file, secret.as_bytes())?;
    let token = token(SHARED, Header::new(Algorithm::HS256), &EncodingKey::from_secret(secret.as_bytes()), now)?;
    Ok((issuer(SHARED, JwtKeys::Secret(path), "HS256"), token))
}

/// An issuer with a P-256 key in a JWK set, and a token of it.
fn elliptic_curve(dir: &Path, now: Timestamp) -> Result<(JwtConfig, String)> {
    let path = dir.join("jwks.json");
    let key = EncodingKey::from_ec_pem(KeyPair::generate()?.serialize_pem().as_bytes())?;
    let mut jwk = Jwk::from_encoding_key(&key, Algorithm::ES256)?;
    jwk.common.key_id = Some("one".to_owned());
    fs::write(&path, json!({ "keys": [jwk] }).to_string())?;
    let header = Header { kid: Some("one".to_owned()), ..Header::new(Algorithm::ES256) };
    let token = token(CURVE, header, &key, now)?;
    Ok((issuer(CURVE, JwtKeys::File(path), "ES256"), token))
}

fn token(issuer: &str, header: Header, key: &EncodingKey, now: Timestamp) -> Result<String> {
    let at = now.0 as u64;
    let claims = json!({
        "iss": issuer, "aud": "gatewatch", "sub": "ada", "iat": at, "exp": at + 3600, "scope": "openid events:read",
    });
    Ok(encode(&header, &claims, key)?)
}

fn issuer(name: &str, keys: JwtKeys, algorithm: &str) -> JwtConfig {
    JwtConfig {
        issuer: name.to_owned(),
        audience: vec!["gatewatch".to_owned()],
        algorithms: vec![algorithm.to_owned()],
        keys,
        scope_claim: None,
        vms_claim: "vms".to_owned(),
        scopes: [].into_iter().collect(),
        vms: VmGrant::all(),
        max_lifetime: Duration::from_secs(86_400),
    }
}
