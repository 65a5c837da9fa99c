//! The real test VM: a real sshd, a real Docker Engine with a real container, a log, and an HTTP server for `/probe`.
//!
//! [`Lab::start`] makes one on this machine, on loopback addresses only; dropping it clears everything away. If the
//! process is killed, its keeper (`keeper.sh`) does. A [`play::Play`] plays a benchmark on it. Methods named after a part
//! (`container_`, `log_`, `probe_`, `sshd_`, `benchmark_`) make something happen to that part.
//!
//! Stays on the machine: the user `gwlab`, the image `gatewatch-lab`. The dockerd that a lab started ends a moment after the
//! last process with labs; with `GATEWATCH_LAB_KEEP` set it stays. `GATEWATCH_LAB_REQUIRED` makes a missing lab an error.
#![allow(dead_code, unreachable_pub, reason = "shared by the tests and the example; neither uses all of it")]

pub mod command;
mod container;
mod docker;
mod image;
mod lines;
mod log;
pub mod play;
pub mod probe;
mod sshd;

#[cfg(test)]
mod self_test;

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Whatever went wrong, in words for whoever runs the test.
pub type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

/// This machine cannot have a lab, and why. Every other error is a fault of the lab.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// Programs that the lab and the VM's side of a poll need, and the Debian packages that have them.
const PROGRAMS: [(&str, &str); 18] = [
    ("sshd", "openssh-server"),
    ("ssh", "openssh-client"),
    ("ssh-keygen", "openssh-client"),
    ("docker", "docker.io"),
    ("dockerd", "docker.io"),
    ("docker-init", "docker.io"),
    ("iptables", "iptables"),
    ("python3", "python3-minimal"),
    ("pgrep", "procps"),
    ("ps", "procps"),
    ("curl", "curl"),
    ("useradd", "passwd"),
    ("setsid", "util-linux"),
    ("flock", "util-linux"),
    ("awk", "mawk"),
    ("ldd", "libc-bin"),
    ("find", "findutils"),
    ("tar", "tar"),
];

/// Where skipped tests are noted, for whoever started the tests: a test that did not run counts as passed.
const SKIPPED: Option<&str> = option_env!("CARGO_TARGET_TMPDIR");

/// Says that the running test is not run, and why; fails it where everything has to run.
#[expect(clippy::panic, reason = "only tests call it")]
#[allow(dead_code, reason = "the binaries that share this file have no tests")]
pub fn skip(why: &str) {
    if std::env::var_os("GATEWATCH_LAB_REQUIRED").is_some() {
        panic!("{why}");
    }
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("test");
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
    note_skipped(test, why);
}

fn note_skipped(test: &str, why: &str) {
    let Some(dir) = SKIPPED else { return };
    let file = fs::OpenOptions::new().append(true).create(true).open(Path::new(dir).join("skipped"));
    // The word on standard error stands in any case.
    let _ = file.and_then(|mut file| writeln!(file, "{test}: {why}"));
}

/// A port range below the one that Linux gives to outgoing connections: what listens there can stop and come back.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// How many of [`PORTS`] are tried.
const PORT_TRIES: usize = 100;

/// A running test VM. Dropping it stops everything that it started.
pub struct Lab {
    /// Unique on this machine.
    pub name: String,
    /// Where its sshd listens on 127.0.0.1.
    pub ssh_port: u16,
    /// The user to log in as.
    pub user: String,
    /// The private key that sshd lets in.
    pub identity: PathBuf,
    /// Knows sshd's host key (the first one).
    pub known_hosts: PathBuf,
    /// The benchmark log; there is none at first.
    pub log: PathBuf,
    /// The benchmark server's `/probe`; silent at first.
    pub probe_url: String,
    /// The container's name; it runs at first.
    pub container: String,
    /// The lab's own folder.
    pub dir: PathBuf,
    image: String,
    probe_port: u16,
    probe: probe::Probe,
    sshd: sshd::Sshd,
}

impl Lab {
    /// Names every missing program with its Debian package.
    pub fn available() -> Result<(), String> {
        let missing: Vec<_> = PROGRAMS.iter().filter(|(program, _)| command::find(program).is_none()).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let named: Vec<String> = missing.iter().map(|(program, package)| format!("{program} ({package})")).collect();
        let mut packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
        packages.dedup();
        Err(format!("the test VM needs {}: apt-get install {}", named.join(", "), packages.join(" ")))
    }

    /// Starts a lab: the container runs, sshd listens, there is no log, no benchmark, and `/probe` is silent.
    pub async fn start() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        Self::available().map_err(Unavailable)?;
        let shared = docker::shared().await?;
        let name = format!("gwlab-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = shared.root.join("labs").join(&name);
        fs::create_dir(&dir)?;
        // From here on the keeper finds the lab, so a start that fails half-way leaves nothing.
        fs::write(dir.join("container"), format!("{name}\n"))?;
        fs::write(dir.join("owner"), format!("{}\n", shared.owner))?;
        let started = Self::start_in(&dir, &name, shared).await;
        if started.is_err() {
            let _ = docker::run_keeper(["clear".as_ref(), dir.as_os_str()]).await;
        }
        started
    }

    async fn start_in(dir: &Path, name: &str, shared: &docker::Shared) -> Result<Self> {
        fs::create_dir(dir.join("vm"))?;
        let (sshd, ssh_port, probe_port) = sshd::start(dir, &shared.user).await?;
        fs::write(dir.join("port"), format!("{ssh_port}\n"))?;
        let lab = Self {
            name: name.to_owned(),
            ssh_port,
            user: shared.user.clone(),
            identity: dir.join("identity"),
            known_hosts: dir.join("known_hosts"),
            log: dir.join("vm").join("waa_benchmark.log"),
            probe_url: format!("http://127.0.0.1:{probe_port}/probe"),
            container: name.to_owned(),
            dir: dir.to_owned(),
            image: shared.image.clone(),
            probe_port,
            probe: probe::Probe::default(),
            sshd,
        };
        lab.container_create().await?;
        Ok(lab)
    }

    /// A lab for a test; `None`, and a word on standard error, where one cannot be had and none is required.
    #[expect(clippy::panic, reason = "only tests call it")]
    pub async fn for_test() -> Option<Self> {
        match Self::start().await {
            Ok(lab) => Some(lab),
            Err(why) if why.is::<Unavailable>() => {
                skip(&format!("no test VM: {why}"));
                None
            }
            Err(why) => panic!("no test VM: {why}"),
        }
    }

    /// Whether a Docker Engine answers, for a test that needs no VM; it is started if none runs. Says that the test is
    /// skipped, and why, where there can be none.
    #[expect(clippy::panic, reason = "only tests call it")]
    pub async fn engine_for_test() -> bool {
        let engine = async {
            Self::available().map_err(Unavailable)?;
            docker::shared().await.map(|_| ())
        };
        match engine.await {
            Ok(()) => true,
            Err(why) if why.is::<Unavailable>() => {
                skip(&format!("no Docker Engine: {why}"));
                false
            }
            Err(why) => panic!("no Docker Engine: {why}"),
        }
    }

    /// A `[[vm]]` block of gatewatch's configuration.
    pub fn vm_toml(&self, name: &str) -> String {
        let Self { ssh_port, user, identity, known_hosts, log, probe_url, container, .. } = self;
        format!(
            "[[vm]]\nname = \"{name}\"\ntransport = \"ssh\"\nhost = \"127.0.0.1\"\nport = {ssh_port}\nuser = \"{user}\"\n\
             identity_file = {identity:?}\nknown_hosts = {known_hosts:?}\ncontainer = \"{container}\"\n\
             probe_url = \"{probe_url}\"\nbenchmark_log = {log:?}\nlog_dialect = \"auto\"\n"
        )
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let said = tail(&self.dir.join("sshd.log"), 20);
            let _ = writeln!(std::io::stderr(), "the end of what {}'s sshd said:\n{said}", self.name);
        }
        let _ = docker::run_keeper_blocking(["clear".as_ref(), self.dir.as_os_str()]);
        if let Some(mut master) = self.sshd.take_master() {
            let _ = master.kill();
            let _ = master.wait();
        }
    }
}

/// A port of 127.0.0.1 for sshd, the next one for `/probe`; nothing listens on either. They come as a pair because sshd
/// keeps its port taken and so guards the other one, where for long nothing listens.
fn free_ports() -> Result<(u16, u16)> {
    let mut tries = (0..PORT_TRIES).map(|_| rand::random_range(PORTS) & !1).map(|port| (port, port + 1));
    let free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
    tries.find(|(ssh, probe)| free(*ssh) && free(*probe)).ok_or_else(|| "no ports are free".into())
}

/// Asks until there is an answer, at most for `limit`.
pub async fn until<T>(limit: Duration, mut ask: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(limit, asking).await.ok()
}

/// The last lines of a file, for messages.
fn tail(file: &Path, lines: usize) -> String {
    let text = fs::read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
