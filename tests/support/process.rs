//! `gatewatch serve` as a process of its own: its log can be read, its signals are real.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use gatewatch::app;
use gatewatch::server::{DevCertificate, dev_certificate};
use rustix::process::Signal;
use serde_json::Value;

use super::{Sse, eventually, plain, trusting};

/// How clients reach it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Clear text.
    Http,
    /// TLS with the files of [`Process::tls`].
    Https,
}

/// A process that runs `gatewatch serve` and ends with the value.
pub struct Process {
    child: Child,
    dir: tempfile::TempDir,
    /// A CA and a certificate of it for loopback, whether it speaks TLS or a load balancer does.
    pub tls: DevCertificate,
    /// Where it listens; the same after [`Process::restart`].
    pub port: u16,
    admin: String,
    scheme: Scheme,
    key: String,
    level: &'static str,
    sections: String,
    /// Programs in it come before those of the path.
    pub programs: Option<PathBuf>,
}

impl Process {
    /// Starts one on a free port, with an administrator's key, JSON logs, and `sections` in its configuration. Sections
    /// `[server]`, `[admin]`, `[tls]`, `[auth]`, `[data]` and `[log]` are made here; `{dir}` in the others is its folder.
    pub async fn start(scheme: Scheme, sections: &str) -> Self {
        Self::start_logging("info", scheme, sections).await
    }

    /// Starts one that logs everything from `level` on.
    pub async fn start_logging(level: &'static str, scheme: Scheme, sections: &str) -> Self {
        Self::start_in(tempfile::tempdir().expect("a folder"), level, scheme, sections).await
    }

    /// A second one with the same certificate, keys and configuration, on ports of its own.
    pub async fn twin(&self) -> Self {
        let mut twin = self.twin_with(&self.sections);
        twin.restart().await;
        twin
    }

    /// As [`Process::twin`] with other `sections`; it is ready to be started.
    pub fn twin_with(&self, sections: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        fs::create_dir(dir.path().join("tls")).expect("a folder");
        let files = [&self.tls.ca, &self.tls.cert, &self.tls.key].map(|path| path.strip_prefix(self.dir.path()));
        let files = files.map(|path| path.expect("in the folder"));
        for file in files.into_iter().chain(["keys.toml", "key"].map(Path::new)) {
            // Copying keeps the mode.
            fs::copy(self.dir.path().join(file), dir.path().join(file)).expect("copied");
        }
        Self::lay_out(dir, self.level, self.scheme, sections)
    }

    async fn start_in(dir: tempfile::TempDir, level: &'static str, scheme: Scheme, sections: &str) -> Self {
        let mut this = Self::lay_out(dir, level, scheme, sections);
        this.restart().await;
        this
    }

    /// Makes all that one needs in `dir`, and does not start it.
    pub fn lay_out(dir: tempfile::TempDir, level: &'static str, scheme: Scheme, sections: &str) -> Self {
        let tls = dev_certificate(&dir.path().join("tls")).expect("a certificate");
        let (keys, key_file) = (dir.path().join("keys.toml"), dir.path().join("key"));
        if !keys.exists() {
            let key = app::new_key(&keys, "test", &["admin".to_owned()], &["*".to_owned()], "never").expect("a key");
            fs::write(&key_file, key.expose()).expect("written");
        }
        let key = fs::read_to_string(key_file).expect("the key");
        let (port, admin) = (free_port(), free_port());
        let admin = format!("http://127.0.0.1:{admin}");
        let sections = sections.to_owned();
        let child = Command::new("true").spawn().expect("a program that does nothing");
        let this = Self { child, dir, tls, port, admin, scheme, key, level, sections, programs: None };
        this.write_config();
        this
    }

    fn write_config(&self) {
        let quoted = |path: &Path| format!("{:?}", path.display().to_string());
        let path = |name: &str| quoted(&self.dir.path().join(name));
        let tls = match self.scheme {
            Scheme::Http => "mode = \"off\"".to_owned(),
            Scheme::Https => {
                format!("mode = \"files\"\ncert = {}\nkey = {}", quoted(&self.tls.cert), quoted(&self.tls.key))
            }
        };
        let text = format!(
            "[server]\nlisten = \"127.0.0.1:{}\"\n[admin]\nlisten = {:?}\n[tls]\n{tls}\n[auth]\nkeys_file = {}\n\
             [data]\ndir = {}\n[log]\nformat = \"json\"\nlevel = {:?}\n{}",
            self.port,
            self.admin.trim_start_matches("http://"),
            path("keys.toml"),
            path("data"),
            self.level,
            self.sections.replace("{dir}", &self.dir.path().display().to_string()),
        );
        super::replace(&self.dir.path().join("gatewatch.toml"), &text);
    }

    /// Starts the process (anew), on the same port and data, and waits until it is ready.
    pub async fn restart(&mut self) {
        self.start_again();
        self.ready().await;
    }

    /// As [`Process::restart`], and does not wait. What runs is ended with SIGKILL.
    pub fn start_again(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log_path()).expect("a log file");
        let mut command = Command::new(program());
        if let Some(programs) = &self.programs {
            command.env("PATH", format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default()));
        }
        self.child = command
            .args(["serve", "--config"])
            .arg(self.dir.path().join("gatewatch.toml"))
            .stderr(Stdio::from(log))
            .spawn()
            .expect("the binary runs");
    }

    /// Waits until it is ready.
    pub async fn ready(&mut self) {
        let began = Instant::now();
        while self.admin("/readyz").await.is_none_or(|(status, _)| status != 200) {
            let ended = self.child.try_wait().expect("our own child");
            assert!(ended.is_none() && began.elapsed() < Duration::from_secs(20), "{ended:?}:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Writes a configuration with other `sections`; the process sees it at its next reload or start.
    #[allow(dead_code, reason = "only the soak does")]
    pub fn configure(&mut self, sections: &str) {
        sections.clone_into(&mut self.sections);
        self.write_config();
    }

    /// A file of its folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The URL of `path`, not through any load balancer.
    pub fn url(&self, path: &str) -> String {
        let scheme = if self.scheme == Scheme::Http { "http" } else { "https" };
        format!("{scheme}://127.0.0.1:{}{path}", self.port)
    }

    /// The administrator's key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The CA's certificate.
    pub fn ca(&self) -> Vec<u8> {
        fs::read(&self.tls.ca).expect("the CA")
    }

    /// A client for it.
    pub fn client(&self) -> reqwest::Client {
        match self.scheme {
            Scheme::Http => plain(),
            Scheme::Https => trusting(&self.ca()),
        }
    }

    /// An open stream, not through any load balancer.
    pub async fn stream(&self) -> Sse {
        let request = self.client().get(self.url("/api/benchmark-sse?interval=1")).bearer_auth(&self.key);
        Sse::new(request.send().await.expect("an answer"))
    }

    /// Status and body of a GET on the administration listener; `None` if nobody answers.
    pub async fn admin(&self, path: &str) -> Option<(u16, String)> {
        let answer = plain().get(format!("{}{path}", self.admin)).send().await.ok()?;
        Some((answer.status().as_u16(), answer.text().await.ok()?))
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_path()).expect("the log")).into_owned()
    }

    /// The lines of its access log that `wanted` says so of, once there is one.
    pub async fn access(&self, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        let find = || -> Vec<Value> {
            let log = self.log();
            let lines = log.lines().filter(|line| line.contains("gatewatch::access"));
            lines.filter_map(|line| serde_json::from_str(line).ok()).filter(|line| wanted(line)).collect()
        };
        eventually(Duration::from_secs(10), || async { !find().is_empty() }).await;
        find()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("our own child").is_none()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("the process is there");
    }

    /// Waits until it ended by itself.
    pub async fn ended(&mut self, within: Duration) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("our own child") {
                return status;
            }
            assert!(began.elapsed() < within, "it has not ended:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program under test: what Cargo built for tests, or what stands beside the folder of an example.
pub fn program() -> PathBuf {
    if let Some(program) = option_env!("CARGO_BIN_EXE_gatewatch") {
        return program.into();
    }
    let own = std::env::current_exe().expect("a program has a path");
    own.ancestors().nth(2).expect("target/debug/examples/x").join("gatewatch")
}

/// A port of loopback that nobody listens on now. It lies below those that Linux gives to outgoing connections, so that a
/// client that tries while the server is away cannot be given its port, and below those of the lab.
pub fn free_port() -> u16 {
    let free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let ports = || rand::random_range(10_000..20_000_u16);
    std::iter::repeat_with(ports).take(100).find(free).expect("a port of a hundred is free")
}
