//! The binary as people and scripts call it.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Sse, trusting};

fn gatewatch(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gatewatch")).args(args).output().expect("the binary runs")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A `gatewatch demo --json` that is ended with the test.
struct Demo {
    child: Child,
    line: Value,
    _dir: tempfile::TempDir,
}

impl Demo {
    fn start(extra: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let data = dir.path().join("data");
        let mut child = Command::new(env!("CARGO_BIN_EXE_gatewatch"))
            .args(["demo", "--json", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(&data)
            .args(extra)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary runs");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
        let line = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line:?}"));
        Self { child, line, _dir: dir }
    }

    fn text(&self, field: &str) -> &str {
        self.line[field].as_str().unwrap_or_else(|| panic!("no {field} in {}", self.line))
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("the process is there");
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn demo_prints_one_line_of_json_with_which_a_client_watches_over_tls() {
    let demo = Demo::start(&["--vms", "3", "--speed", "5"]);
    assert_eq!(demo.line["pid"], demo.child.id());
    assert!(demo.text("url").starts_with("https://127.0.0.1:"), "{}", demo.line);
    let ca = std::fs::read(demo.text("ca")).expect("the CA file");
    let client = trusting(&ca);
    let request =
        client.get(format!("{}/api/benchmark-sse?interval=1", demo.text("url"))).bearer_auth(demo.text("key"));
    let mut stream = Sse::new(request.send().await.expect("an answer"));
    stream.until(Duration::from_secs(30), |frame| frame.event == "task_complete").await;
    let vms: Value = client
        .get(format!("{}/api/vms", demo.text("url")))
        .bearer_auth(demo.text("key"))
        .send()
        .await
        .expect("an answer")
        .json()
        .await
        .expect("JSON");
    assert_eq!(vms.as_array().map(Vec::len), Some(3));
    let health = client.get(format!("{}/healthz", demo.text("admin_url"))).send().await.expect("an answer");
    assert_eq!(health.status(), 200);
}

#[test]
fn g64_demo_ends_in_order_on_sigterm_with_exit_code_0() {
    let mut demo = Demo::start(&["--tls", "off"]);
    assert!(demo.text("url").starts_with("http://127.0.0.1:"));
    assert!(demo.line["ca"].is_null());
    demo.signal(rustix::process::Signal::TERM);
    let began = Instant::now();
    let status = demo.child.wait().expect("it ends");
    assert!(status.success() && began.elapsed() < Duration::from_secs(12), "{status:?} after {:?}", began.elapsed());
}

#[test]
fn check_says_every_mistake_at_once_with_key_line_and_the_nearest_known_key_and_exits_64() {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    write!(
        file,
        "[poll]\nintervall = \"5s\"\nidle_interval = \"90s\"\n[[vm]]\nname = \"a; rm -rf /\"\ntransport = \"ssh\"\nhost = \"-oProxyCommand=id\"\n"
    )
    .expect("written");
    let output = gatewatch(&["check", "--config", &file.path().to_string_lossy()]);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(64), "{text}");
    for part in [":2:", "poll.intervall", "poll.interval", ":3:", "poll.idle_interval", ":5:", "name", ":7:", "host"] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
}

#[test]
fn check_accepts_a_right_configuration_and_says_what_power_command_is_missing() {
    let dir = tempfile::tempdir().expect("a folder");
    let config = dir.path().join("gatewatch.toml");
    let vm = "[auth]\nnone = true\n[server]\nlisten = \"127.0.0.1:0\"\n[[vm]]\nname = \"a\"\ntransport = \"local\"\n";
    std::fs::write(&config, vm).expect("written");
    let output = gatewatch(&["check", "--config", &config.to_string_lossy()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));

    let with_power = format!("{vm}[vm.power]\npreset = \"command\"\ncommand = [\"no-such-program-anywhere\"]\n");
    std::fs::write(&config, with_power).expect("written");
    let output = gatewatch(&["check", "--config", &config.to_string_lossy()]);
    assert_eq!(output.status.code(), Some(64), "{}", stderr(&output));
    assert!(stderr(&output).contains("no-such-program-anywhere"), "{}", stderr(&output));
}

#[test]
fn cert_dev_makes_a_ca_and_a_pair_that_check_takes_and_a_client_ca_without_a_certificate_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("certs");
    let made = gatewatch(&["cert", "dev", "--out", &out.to_string_lossy()]);
    assert!(made.status.success(), "{}", stderr(&made));
    let said = String::from_utf8_lossy(&made.stdout);
    let path = |name: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
        std::path::PathBuf::from(line.trim())
    };
    let (ca, cert, key) = (path("ca "), path("cert "), path("key "));
    assert_eq!(std::fs::metadata(&key).expect("the key").permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(&out).expect("the folder").count(), 3, "the key of the CA is nowhere");
    assert!(stderr(&made).contains(&format!("curl --cacert {} https://localhost:8765/", ca.display())));

    let config = dir.path().join("gatewatch.toml");
    let check = |client_ca: &std::path::Path| {
        let text = format!(
            "[auth]\nnone = true\n[server]\nlisten = \"127.0.0.1:0\"\n[tls]\ncert = {cert:?}\nkey = {key:?}\nclient_ca = {client_ca:?}\n"
        );
        std::fs::write(&config, text).expect("written");
        gatewatch(&["check", "--config", &config.to_string_lossy()])
    };
    let good = check(&ca);
    assert_eq!(good.status.code(), Some(0), "{}", stderr(&good));
    let bad = check(&key);
    assert_eq!(bad.status.code(), Some(64));
    assert!(
        stderr(&bad).contains("client CA ") && stderr(&bad).contains("it holds no certificate"),
        "{}",
        stderr(&bad)
    );
}

#[test]
fn a_missing_configuration_and_an_unknown_flag_exit_64_with_one_readable_line() {
    let output = gatewatch(&["serve", "--config", "/nonexistent/gatewatch.toml"]);
    assert_eq!(output.status.code(), Some(64));
    assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
    assert_eq!(gatewatch(&["demo", "--nonsense"]).status.code(), Some(64));
}

#[test]
fn probe_prints_one_poll_as_json_or_raw() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = dir.path().join("bench.log");
    std::fs::write(&log, "Task 1/2: a\nRunning task: t1\n").expect("written");
    let config = dir.path().join("gatewatch.toml");
    let text = format!(
        "[auth]\nnone = true\n[server]\nlisten = \"127.0.0.1:0\"\n[[vm]]\nname = \"here\"\ntransport = \"local\"\ncontainer = \"\"\nprobe_url = \"\"\nbenchmark_log = \"{}\"\n",
        log.display()
    );
    std::fs::write(&config, text).expect("written");
    let config = config.to_string_lossy().into_owned();
    let output = gatewatch(&["probe", "here", "--config", &config]);
    assert!(output.status.success(), "{}", stderr(&output));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(report.to_string().contains("t1"), "{report}");
    let raw = gatewatch(&["probe", "here", "--raw", "--config", &config]);
    assert!(String::from_utf8_lossy(&raw.stdout).contains("Running task: t1"));
    assert_eq!(gatewatch(&["probe", "nowhere", "--config", &config]).status.code(), Some(64));
}
