//! A real Prometheus: Debian's, on loopback.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::Url;
use serde_json::Value;

use super::{free_port, plain};
use crate::lab::command::{command, find, finish_within};
use crate::lab::{Result, skip};

/// How long promtool may take: a test of rules writes a database for each case, which a busy disk makes slow.
const PROMTOOL_WITHIN: Duration = Duration::from_secs(240);
/// What is shipped for Prometheus.
pub const SHIPPED: &str = "docker/prometheus";

/// A running Prometheus; it ends with the value.
pub struct Prometheus {
    child: Child,
    dir: tempfile::TempDir,
    port: u16,
}

impl Prometheus {
    /// Whether Prometheus and promtool are here. Says that the test is skipped, and why, where they are not.
    pub fn for_test() -> bool {
        let missing = ["prometheus", "promtool"].iter().any(|program| find(program).is_none());
        if missing {
            skip("no Prometheus: install the Debian package prometheus");
        }
        !missing
    }

    /// Starts one with `config`, which lies beside the shipped rules.
    pub async fn start(config: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        beside_rules(dir.path(), config);
        let port = free_port();
        let log = fs::File::create(dir.path().join("log")).expect("a log file");
        let path = |name: &str| dir.path().join(name).display().to_string();
        let child = Command::new(find("prometheus").expect("asked for before"))
            .arg(format!("--config.file={}", path("prometheus.yml")))
            .arg(format!("--storage.tsdb.path={}", path("data")))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("Prometheus runs");
        let mut this = Self { child, dir, port };
        let began = Instant::now();
        while !this.ready().await {
            let ended = this.child.try_wait().expect("our own child");
            assert!(ended.is_none() && began.elapsed() < Duration::from_secs(30), "{ended:?}:\n{}", this.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        this
    }

    async fn ready(&self) -> bool {
        let answer = plain().get(format!("http://127.0.0.1:{}/-/ready", self.port)).send().await;
        answer.is_ok_and(|answer| answer.status() == 200)
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).expect("the log")
    }

    /// `data` of the answer of its API at `path`; what it says is wrong with the request.
    pub async fn api(&self, path: &str, params: &[(&str, &str)]) -> Result<Value, String> {
        let base = format!("http://127.0.0.1:{}/api/v1/{path}", self.port);
        let url = Url::parse_with_params(&base, params).expect("a URL");
        let answer = plain().get(url).send().await.unwrap_or_else(|error| panic!("{error}:\n{}", self.log()));
        let mut answer: Value = answer.json().await.expect("JSON");
        match answer["status"].as_str() {
            Some("success") => Ok(answer["data"].take()),
            _ => Err(answer["error"].to_string()),
        }
    }

    /// How many series `expr` gives now.
    pub async fn count(&self, expr: &str) -> Result<usize, String> {
        let data = self.api("query", &[("query", expr)]).await?;
        Ok(data["result"].as_array().map_or(0, Vec::len))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes `config` and the shipped rules into `dir`; the path of the configuration.
pub fn beside_rules(dir: &Path, config: &str) -> PathBuf {
    fs::copy(Path::new(SHIPPED).join("rules.yml"), dir.join("rules.yml")).expect("copied");
    let path = dir.join("prometheus.yml");
    fs::write(&path, config).expect("written");
    path
}

/// Runs promtool with `args` and `input`; what it said if it is not content.
pub async fn promtool(args: &[&str], input: &[u8]) -> Result<String> {
    let mut promtool = command("promtool");
    promtool.args(args);
    finish_within(PROMTOOL_WITHIN, promtool, input).await
}
