//! A real load balancer: Debian's HAProxy, in the foreground on loopback.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running HAProxy; it ends with the value.
pub struct HaProxy {
    child: Child,
    _dir: tempfile::TempDir,
    /// Where it listens.
    pub port: u16,
}

impl HaProxy {
    /// Starts one whose only proxy consists of `lines`; `{bind}` in them is `bind` with its address.
    pub async fn start(lines: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let port = super::process::free_port();
        let file = dir.path().join("haproxy.cfg");
        let lines = lines.replace("{bind}", &format!("bind 127.0.0.1:{port}"));
        // Streams are silent for up to the heartbeat's 15 s: the time-outs of client and server must be longer.
        let text = format!(
            "global\n    maxconn 2000\ndefaults\n    timeout connect 2s\n    timeout client 60s\n    timeout server 60s\n\
             listen gatewatch\n{lines}\n"
        );
        fs::write(&file, text).expect("written");
        let log = dir.path().join("log");
        let child = spawn(&file, &log);
        let mut this = Self { child, _dir: dir, port };
        let began = Instant::now();
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            let ended = this.child.try_wait().expect("our own child");
            let said = || fs::read_to_string(&log).unwrap_or_default();
            assert!(ended.is_none() && began.elapsed() < Duration::from_secs(10), "{ended:?}: {}", said());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        this
    }
}

fn spawn(config: &Path, log: &Path) -> Child {
    let out = fs::File::create(log).expect("a log file");
    Command::new("/usr/sbin/haproxy")
        // One process in the foreground: what is killed is all there is.
        .args(["-db", "-f"])
        .arg(config)
        .stdin(Stdio::null())
        .stdout(out.try_clone().expect("a descriptor"))
        .stderr(out)
        .spawn()
        .expect("haproxy is missing: install the Debian package haproxy")
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes certificate and key into one file, as HAProxy wants them.
pub fn bundle(cert: &Path, key: &Path, into: &Path) {
    let both = [fs::read(cert).expect("the certificate"), fs::read(key).expect("the key")].concat();
    fs::write(into, both).expect("written");
}
