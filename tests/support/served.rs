//! `gatewatch serve` as a process of its own, on a configuration of the test's own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::time::Duration;

use gatewatch::app;
use serde_json::Value;

use super::process::{free_port, program};
use super::{Sse, eventually, plain};

/// A gateway that is ended with the test.
pub struct Served {
    child: Child,
    /// Where its files are.
    pub dir: tempfile::TempDir,
    ports: [u16; 2],
    client: reqwest::Client,
    /// An administrator's key.
    pub key: String,
}

impl Served {
    /// One with the simulated VMs `one` and `two`, without TLS.
    pub async fn start() -> Self {
        Self::start_in(tempfile::tempdir().expect("a folder"), "mode = \"off\"", plain()).await
    }

    /// One with `tls` as its section `[tls]`, that `client` can talk to; what that names is in `dir`.
    pub async fn start_in(dir: tempfile::TempDir, tls: &str, client: reqwest::Client) -> Self {
        let key = new_key(&dir.path().join("keys.toml"));
        let ports = [free_port(), free_port()];
        fs::write(dir.path().join("tls.toml"), tls).expect("written");
        write_config(dir.path(), ports, &["one", "two"]);
        let log = File::create(dir.path().join("log")).expect("a file");
        let child = Command::new(program())
            .args(["serve", "--config"])
            .arg(dir.path().join("gatewatch.toml"))
            .stderr(log)
            .spawn()
            .expect("the binary runs");
        let served = Self { child, dir, ports, client, key };
        eventually(Duration::from_secs(20), || async { served.names().await == ["one", "two"] }).await;
        served
    }

    /// Writes a configuration with these VMs; the rest of it stays.
    pub fn write_config(&self, vms: &[&str]) {
        write_config(self.dir.path(), self.ports, vms);
    }

    /// Writes something else in the place of the configuration.
    pub fn write_rubbish(&self) {
        replace(&self.file("gatewatch.toml"), "[[vm]]\nname = \"A B\"\n");
    }

    /// The keys file.
    pub fn keys_file(&self) -> PathBuf {
        self.file("keys.toml")
    }

    /// A file of the gateway's.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.file("log")).expect("the log")
    }

    /// As the operator's `kill -HUP`.
    pub fn reload(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("the process is there");
    }

    /// A GET with the key; `None` if nobody answers.
    pub async fn get(&self, path: &str) -> Option<reqwest::Response> {
        self.get_as(path, &self.key).await
    }

    /// A GET with another key.
    pub async fn get_as(&self, path: &str, key: &str) -> Option<reqwest::Response> {
        let scheme = if self.tls() { "https" } else { "http" };
        let url = format!("{scheme}://localhost:{}{path}", self.ports[0]);
        self.client.get(url).bearer_auth(key).send().await.ok()
    }

    /// A POST without a body, with another key.
    pub async fn post_as(&self, path: &str, key: &str) -> reqwest::Response {
        let scheme = if self.tls() { "https" } else { "http" };
        let url = format!("{scheme}://localhost:{}{path}", self.ports[0]);
        self.client.post(url).bearer_auth(key).send().await.expect("an answer")
    }

    fn tls(&self) -> bool {
        !fs::read_to_string(self.file("tls.toml")).expect("the section").contains("off")
    }

    /// The names of its VMs; none if nobody answers.
    pub async fn names(&self) -> Vec<String> {
        let Some(answer) = self.get("/api/vms").await else { return Vec::new() };
        let vms: Value = answer.json().await.expect("JSON");
        vms.as_array().into_iter().flatten().filter_map(|vm| vm["name"].as_str().map(str::to_owned)).collect()
    }

    /// An open stream that has its snapshot.
    pub async fn stream(&self) -> Sse {
        self.stream_as(&self.key).await
    }

    /// As [`Served::stream`], with another key.
    pub async fn stream_as(&self, key: &str) -> Sse {
        let mut stream = Sse::new(self.get_as("/api/benchmark-sse?interval=1", key).await.expect("an answer"));
        stream.until(Duration::from_secs(10), |frame| frame.event == "status").await;
        stream
    }

    /// The page of metrics of the administration listener.
    pub async fn metrics(&self) -> String {
        let url = format!("http://127.0.0.1:{}/metrics", self.ports[1]);
        plain().get(url).send().await.expect("an answer").text().await.expect("a body")
    }

    /// The value of the series that is written exactly so.
    pub async fn metric(&self, series: &str) -> f64 {
        let text = self.metrics().await;
        let value = |line: &str| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok();
        text.lines().find_map(value).unwrap_or_else(|| panic!("no {series} in:\n{text}"))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A new administrator's key in `keys_file`.
pub fn new_key(keys_file: &Path) -> String {
    let key = app::new_key(keys_file, "test", &["admin".to_owned()], &["*".to_owned()], "never");
    key.expect("a key").expose().to_owned()
}

/// The public part of a key.
pub fn id_of(key: &str) -> &str {
    key.split('_').nth(1).expect("an id")
}

/// Puts a new file in the place of `path`, whole.
pub fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).expect("written");
    fs::rename(new, path).expect("renamed");
}

/// `gatewatch` with `args`, to its end.
pub fn gatewatch(args: &[&str]) -> Output {
    Command::new(program()).args(args).output().expect("the binary runs")
}

fn write_config(dir: &Path, ports: [u16; 2], vms: &[&str]) {
    let vms: String = vms.iter().map(|vm| format!("[[vm]]\nname = \"{vm}\"\ntransport = \"simulated\"\n")).collect();
    let [port, admin] = ports;
    let tls = fs::read_to_string(dir.join("tls.toml")).expect("the section");
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:{port}\"\n[admin]\nlisten = \"127.0.0.1:{admin}\"\n[tls]\n{tls}\n[auth]\nkeys_file = {:?}\n[data]\ndir = {:?}\n{vms}",
        dir.join("keys.toml").display().to_string(),
        dir.join("data").display().to_string(),
    );
    replace(&dir.join("gatewatch.toml"), &text);
}
