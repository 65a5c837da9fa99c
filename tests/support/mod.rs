//! A gateway of a test's own, in this process and on free ports, and clients for it.

mod archive;
mod browser;
mod code;
mod haproxy;
mod image;
mod nats;
mod process;
mod prometheus;
mod served;
mod site;
mod sse;
mod stack;
mod unit;

pub use archive::{Archive, Reading};
pub use browser::{Browser, ENTER};
pub use code::{functions, problem_codes, quoted, sources, tests_of, walk};
pub use haproxy::{HaProxy, bundle};
pub use image::{Container, Image};
pub use nats::{Nats, nats_program};
pub use process::{Process, Scheme, free_port, program};
pub use prometheus::{Prometheus, SHIPPED, beside_rules, promtool};
pub use served::{Served, gatewatch, id_of, new_key, replace};
pub use site::Site;
pub use sse::{Frame, Sse};
pub use stack::Stack;
pub use unit::seccomp_profile;

use std::future::Future;
use std::time::{Duration, Instant};

use gatewatch::app::{self, App, RunError, Settings};
use gatewatch::config::{Config, MapEnv};
use gatewatch::model::Secret;
use serde_json::Value;
use tokio::task::JoinHandle;

/// One simulated VM that runs its benchmark from the first poll on, five times as fast as the clock.
pub const SIMULATED: &str = "
[[vm]]
name = \"demo-a\"
transport = \"simulated\"
[vm.simulated]
speed = \"5\"
start_at = \"21s\"
once = true
";

/// A gateway that runs in this process.
pub struct Gateway {
    base: String,
    admin: String,
    key: Secret,
    login_code: Secret,
    client: reqwest::Client,
    signals: gatewatch::lifecycle::SignalFeed,
    running: Option<JoinHandle<Result<(), RunError>>>,
    /// Its data folder.
    pub dir: tempfile::TempDir,
}

impl Gateway {
    /// Starts one with the VMs (and other sections) of `config`, without TLS.
    pub async fn start(config: &str) -> Self {
        Self::start_with(config, "mode = \"off\"").await
    }

    /// Starts one with `tls` as its section `[tls]`.
    pub async fn start_with(config: &str, tls: &str) -> Self {
        Self::start_in(tempfile::tempdir().expect("a folder"), config, tls).await
    }

    /// Starts one on the data folder of an earlier one.
    pub async fn start_in(dir: tempfile::TempDir, config: &str, tls: &str) -> Self {
        let keys = dir.path().join("keys.toml");
        let key_file = dir.path().join("key");
        let key = match std::fs::read_to_string(&key_file) {
            Ok(key) => Secret::new(key),
            Err(_) => {
                let key =
                    app::new_key(&keys, "test", &["admin".to_owned()], &["*".to_owned()], "never").expect("a key");
                std::fs::write(&key_file, key.expose()).expect("written");
                key
            }
        };
        let text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[tls]\n{tls}\n[auth]\nkeys_file = {:?}\n[data]\ndir = {:?}\n{config}",
            keys.display().to_string(),
            dir.path().display().to_string(),
        );
        let config = Config::parse(&text, "test", &MapEnv::default()).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let (feed, signals) = app::fed_signals();
        let login_code = Secret::new("a-login-code-of-a-test-0123456789");
        let settings = Settings {
            login_code: Some(login_code.clone()),
            signals: Some(signals),
            drain_delay: Duration::ZERO,
            ..Settings::new(config, None)
        };
        let app = App::build(settings).await.unwrap_or_else(|e| panic!("{e}"));
        let base = app.url();
        let admin = app.admin_url().expect("an admin listener");
        let client = match app.ca() {
            Some(ca) => trusting(&std::fs::read(ca).expect("the CA")),
            None => plain(),
        };
        let running = Some(tokio::spawn(app.run()));
        Self { base, admin, key, login_code, client, signals: feed, running, dir }
    }

    /// The URL of `path`.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// The link that signs a browser in.
    pub fn login_url(&self) -> String {
        self.url(&format!("/auth/login?code={}", self.login_code.expose()))
    }

    /// A client without a key.
    pub fn anonymous(&self) -> &reqwest::Client {
        &self.client
    }

    /// The administrator's key.
    pub fn key(&self) -> &str {
        self.key.expose()
    }

    /// The answer to a GET with the key.
    pub async fn get(&self, path: &str) -> reqwest::Response {
        self.client.get(self.url(path)).bearer_auth(self.key()).send().await.expect("an answer")
    }

    /// The status of a GET with the key; `None` if nobody answers.
    pub async fn try_get(&self, path: &str) -> Option<u16> {
        let answer = self.client.get(self.url(path)).bearer_auth(self.key()).send().await;
        answer.ok().map(|answer| answer.status().as_u16())
    }

    /// The JSON answer to a GET with the key.
    pub async fn json(&self, path: &str) -> Value {
        self.get(path).await.json().await.expect("JSON")
    }

    /// An open stream.
    pub async fn stream(&self, query: &str) -> Sse {
        let response = self.get(&format!("/api/benchmark-sse?{query}")).await;
        assert_eq!(response.status(), 200);
        Sse::new(response)
    }

    /// A stream of a client that comes back with `last_id`.
    pub async fn resume(&self, query: &str, last_id: &str) -> Sse {
        let request = self.client.get(self.url(&format!("/api/benchmark-sse?{query}"))).bearer_auth(self.key());
        Sse::new(request.header("Last-Event-ID", last_id).send().await.expect("an answer"))
    }

    /// The URL of `path` on the administration listener.
    pub fn admin_url(&self, path: &str) -> String {
        format!("{}{path}", self.admin)
    }

    /// Status and body of a GET on the administration listener.
    pub async fn admin(&self, path: &str) -> (u16, String) {
        let answer = plain().get(self.admin_url(path)).send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a body"))
    }

    /// The sum of the series that begin with `series` (a name, with labels or without).
    pub async fn metric(&self, series: &str) -> f64 {
        let (_, text) = self.admin("/metrics").await;
        let same = |line: &&str| {
            line.strip_prefix(series)
                .is_some_and(|rest| rest.starts_with(' ') || (!series.contains('{') && rest.starts_with('{')))
        };
        text.lines().filter(same).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Waits until the VM is in `stage`.
    pub async fn wait_for_stage(&self, vm: &str, stage: &str) {
        eventually(Duration::from_secs(30), || async {
            let vms = self.json("/api/vms").await;
            vms.as_array().is_some_and(|vms| vms.iter().any(|v| v["name"] == vm && v["stage"] == stage))
        })
        .await;
    }

    /// As SIGTERM; does not wait.
    pub async fn signal_stop(&self) {
        self.signals.stop().await;
    }

    /// Stops it in order and says what was left over.
    pub async fn stop(mut self) -> String {
        self.signals.stop().await;
        let running = self.running.take().expect("it runs");
        match tokio::time::timeout(Duration::from_secs(15), running).await {
            Err(_) => panic!("it does not stop"),
            Ok(ended) => ended.expect("it does not panic").err().map(|error| error.to_string()).unwrap_or_default(),
        }
    }

    /// Stops it and hands its data folder on.
    pub async fn stop_keeping_data(mut self) -> tempfile::TempDir {
        let dir = std::mem::replace(&mut self.dir, tempfile::tempdir().expect("a folder"));
        assert_eq!(self.stop().await, "");
        dir
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // A test that failed has not stopped it.
        if let Some(running) = self.running.take() {
            running.abort();
        }
    }
}

/// A client that trusts `ca` alone.
pub fn trusting(ca: &[u8]) -> reqwest::Client {
    trusting_builder(ca).build().expect("a client")
}

/// A client that trusts `ca` alone, to be described further.
pub fn trusting_builder(ca: &[u8]) -> reqwest::ClientBuilder {
    let ca = reqwest::Certificate::from_pem(ca).expect("a PEM certificate");
    builder().tls_certs_only([ca])
}

/// A client for plain HTTP.
pub fn plain() -> reqwest::Client {
    builder().build().expect("a client")
}

/// A client to be described further. It follows no redirect: a test wants to see it.
pub fn builder() -> reqwest::ClientBuilder {
    crypto();
    reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none())
}

fn crypto() {
    // An error says that another test did it before.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// Waits until `true`.
///
/// # Panics
/// If that takes longer than `within`.
pub async fn eventually<F: Future<Output = bool>>(within: Duration, mut is: impl FnMut() -> F) {
    let began = Instant::now();
    while !is().await {
        assert!(began.elapsed() < within, "not within {within:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
