//! SIGHUP: the list of VMs and the keys are read anew, streams stay; a bad new file is refused whole.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use gatewatch::app;
use serde_json::Value;

use crate::support::{Sse, eventually, plain};

/// `gatewatch serve` on a configuration of the test's own.
struct Served {
    child: Child,
    dir: tempfile::TempDir,
    url: String,
    client: reqwest::Client,
    key: String,
}

impl Served {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let key = new_key(dir.path());
        let port =
            std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
        let served = |child, dir| Self { child, dir, url: format!("http://127.0.0.1:{port}"), client: plain(), key };
        write_config(dir.path(), port, &["one", "two"]);
        let child = Command::new(env!("CARGO_BIN_EXE_gatewatch"))
            .args(["serve", "--config"])
            .arg(dir.path().join("gatewatch.toml"))
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary runs");
        let served = served(child, dir);
        eventually(Duration::from_secs(10), || async { served.names().await == ["one", "two"] }).await;
        served
    }

    fn port(&self) -> u16 {
        self.url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
    }

    fn reload(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("the process is there");
    }

    async fn names(&self) -> Vec<String> {
        let Ok(answer) = self.client.get(format!("{}/api/vms", self.url)).bearer_auth(&self.key).send().await else {
            return Vec::new();
        };
        let vms: Value = answer.json().await.expect("JSON");
        vms.as_array().into_iter().flatten().filter_map(|vm| vm["name"].as_str().map(str::to_owned)).collect()
    }

    async fn stream(&self) -> Sse {
        let request = self.client.get(format!("{}/api/benchmark-sse?interval=1", self.url)).bearer_auth(&self.key);
        Sse::new(request.send().await.expect("an answer"))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn new_key(dir: &Path) -> String {
    let key = app::new_key(&dir.join("keys.toml"), "test", &["admin".to_owned()], &["*".to_owned()], "never");
    key.expect("a key").expose().to_owned()
}

fn write_config(dir: &Path, port: u16, vms: &[&str]) {
    let vms: String = vms.iter().map(|vm| format!("[[vm]]\nname = \"{vm}\"\ntransport = \"simulated\"\n")).collect();
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:{port}\"\n[admin]\nlisten = \"\"\n[tls]\nmode = \"off\"\n[auth]\nkeys_file = {:?}\n[data]\ndir = {:?}\n{vms}",
        dir.join("keys.toml").display().to_string(),
        dir.join("data").display().to_string(),
    );
    std::fs::write(dir.join("gatewatch.toml"), text).expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_list_of_vms_is_watched_without_dropping_a_stream_and_a_bad_one_is_refused_whole() {
    let served = Served::start().await;
    let mut stream = served.stream().await;
    stream.until(Duration::from_secs(5), |f| f.event == "status").await;

    write_config(served.dir.path(), served.port(), &["two", "three"]);
    served.reload();
    let mut seen = stream
        .until(Duration::from_secs(10), |f| {
            f.event == "status" && f.text("vm") == "one" && f.text("stage") == "removed"
        })
        .await;
    assert!(seen.pop().expect("the removal").id.is_some(), "a removal is durable");
    stream.until(Duration::from_secs(10), |f| f.event == "status" && f.text("vm") == "three").await;
    assert_eq!(served.names().await, ["three", "two"]);

    std::fs::write(served.dir.path().join("gatewatch.toml"), "[[vm]]\nname = \"A B\"\n").expect("written");
    served.reload();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(served.names().await, ["three", "two"], "the old list stays");
    stream.until(Duration::from_secs(5), |f| f.event == "status").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_ends_its_streams_with_a_word() {
    let served = Served::start().await;
    let mut stream = served.stream().await;
    stream.until(Duration::from_secs(5), |f| f.event == "status").await;
    std::fs::remove_file(served.dir.path().join("keys.toml")).expect("removed");
    new_key(served.dir.path());
    served.reload();
    let frames = stream.until(Duration::from_secs(5), |f| f.event == "error").await;
    assert_eq!(frames.last().map(|f| f.text("code")), Some("revoked"));
    assert_eq!(stream.next().await, None, "and it is over");
}
