//! Against a real sshd on a loopback port, started and ended by each test.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use super::*;
use crate::model::ErrorCode;
use crate::probe::{Nonce, Script, reply};

/// A bound for what takes far less, on a busy machine.
const LONG: Duration = Duration::from_secs(20);

struct Sshd {
    folder: TempDir,
    port: u16,
    child: Child,
}

impl Sshd {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for key in ["host", "other_host", "user", "other_user"] {
            keygen(&folder.path().join(key));
        }
        fs::copy(folder.path().join("user.pub"), folder.path().join("authorized")).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Self::spawn(folder.path(), port, "host");
        let this = Self { folder, port, child };
        this.trust("host");
        this.listening().await;
        this
    }

    fn spawn(folder: &Path, port: u16, host_key: &str) -> Child {
        if rustix::process::geteuid().is_root() {
            fs::create_dir_all("/run/sshd").unwrap();
        }
        let d = folder.display();
        // SHLVL keeps bash from reading the start-up file of whoever runs the tests: one that takes a lock (pyenv's does)
        // leaves it behind when a test kills its login, and every later login waits for it.
        let config = format!(
            "ListenAddress 127.0.0.1\nPort {port}\nHostKey {d}/{host_key}\nAuthorizedKeysFile {d}/authorized\nUsePAM no\n\
             StrictModes no\nPidFile none\nPermitRootLogin yes\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nMaxStartups 200:30:400\nLogLevel VERBOSE\nSetEnv SHLVL=1\n"
        );
        fs::write(folder.join("config"), config).unwrap();
        Command::new("/usr/sbin/sshd")
            .arg("-D")
            .args(["-f".as_ref(), folder.join("config").as_os_str(), "-E".as_ref(), folder.join("log").as_os_str()])
            .stdin(Stdio::null())
            .spawn()
            .expect("openssh-server is installed")
    }

    async fn listening(&self) {
        let since = Instant::now();
        while tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            assert!(since.elapsed() < LONG, "sshd does not listen");
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Makes `key` the one that is known.
    fn trust(&self, key: &str) {
        let public = fs::read_to_string(self.path(key).with_extension("pub")).unwrap();
        fs::write(self.path("known"), format!("[127.0.0.1]:{} {public}", self.port)).unwrap();
    }

    async fn restart(&mut self, host_key: &str) {
        self.stop();
        self.child = Self::spawn(self.folder.path(), self.port, host_key);
        self.listening().await;
    }

    fn stop(&mut self) {
        for session in self.sessions() {
            let _ = kill_process(session, Signal::KILL);
        }
        // The listener reaps its sessions; without it they would stay as zombies where no init does it.
        let since = Instant::now();
        while !self.sessions().is_empty() && since.elapsed() < Duration::from_secs(1) {}
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// The processes that serve logged-in connections, as far as they descend from this sshd.
    fn sessions(&self) -> Vec<Pid> {
        let mut found = Vec::new();
        let mut parents = vec![self.child.id()];
        while let Some(parent) = parents.pop() {
            let list = Command::new("pgrep").args(["-P", &parent.to_string()]).output().unwrap().stdout;
            for pid in String::from_utf8(list).unwrap().lines().map(|line| line.parse::<u32>().unwrap()) {
                found.extend(Pid::from_raw(pid.cast_signed()));
                parents.push(pid);
            }
        }
        found
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn config(&self) -> SshConfig {
        let user = String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout).unwrap();
        SshConfig {
            host: SshHost::new("127.0.0.1").unwrap(),
            port: self.port,
            user: SshUser::new(user.trim()).unwrap(),
            identity_file: Some(self.path("user")),
            known_hosts: Some(self.path("known")),
            host_keys: HostKeys::Strict,
            runtime_dir: self.path("run"),
        }
    }

    /// The ssh processes that name this test's runtime folder.
    fn masters(&self) -> String {
        let pattern = format!("ssh .*{}/.*", self.path("run").display());
        String::from_utf8(Command::new("pgrep").args(["-fx", &pattern]).output().unwrap().stdout).unwrap()
    }

    /// Waits until no ssh process names this test's runtime folder, none is a zombie of ours, and the folder is empty.
    async fn nothing_left(&self) {
        let since = Instant::now();
        loop {
            let zombies =
                Command::new("pgrep").args(["-P", &std::process::id().to_string(), "-r", "Z", "-x", "ssh"]).output();
            let zombies = String::from_utf8(zombies.unwrap().stdout).unwrap();
            let ssh = self.masters();
            let folders = fs::read_dir(self.path("run")).map_or(0, Iterator::count);
            if ssh.is_empty() && zombies.is_empty() && folders == 0 {
                return;
            }
            assert!(
                since.elapsed() < Duration::from_secs(1),
                "left: processes {ssh:?}, zombies {zombies:?}, {folders} folders"
            );
            sleep(Duration::from_millis(10)).await;
        }
    }

    fn logins(&self) -> usize {
        fs::read_to_string(self.path("log")).unwrap().matches("Accepted publickey").count()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        for session in self.sessions() {
            let _ = kill_process(session, Signal::CONT);
        }
        self.stop();
    }
}

fn keygen(path: &Path) {
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"]).arg(path).status();
    assert!(made.expect("openssh-client is installed").success());
}

fn request() -> PollRequest {
    PollRequest {
        nonce: Nonce::random(),
        container: None,
        container_since: None,
        probe_url: None,
        process_pattern: "nothing [0-9]{30}".to_owned(),
        logs: Vec::new(),
        continuation: false,
        timeout: Duration::from_secs(10),
    }
}

async fn poll(ssh: &mut Ssh) -> Result<reply::Reply, PollFailure> {
    let request = request();
    let bytes = timeout(LONG, ssh.run(&request, &Script::render(&request))).await.unwrap()?;
    reply::read(&request, &bytes)
}

#[tokio::test]
async fn polls_share_one_login_and_closing_leaves_nothing() {
    let sshd = Sshd::start().await;
    let mut ssh = Ssh::new(sshd.config());
    assert!(!ssh.connected());
    for _ in 0..5 {
        assert!(poll(&mut ssh).await.unwrap().seen.clock.is_some());
    }
    assert_eq!((ssh.logins(), sshd.logins()), (1, 1));
    assert!(ssh.connected());
    assert_eq!(sshd.masters().lines().count(), 1);
    let folder = fs::read_dir(sshd.path("run")).unwrap().next().unwrap().unwrap().path();
    assert_eq!(dir::masters_of(&folder.join("m")).len(), 1, "a sweep after a kill would find it");
    ssh.close().await;
    assert!(!ssh.connected());
    sshd.nothing_left().await;
    poll(&mut ssh).await.unwrap();
    assert_eq!(ssh.logins(), 2);
    drop(ssh);
    sshd.nothing_left().await;
}

#[tokio::test]
async fn the_reply_of_a_large_log_comes_whole() {
    let sshd = Sshd::start().await;
    let log = sshd.path("waa.log");
    fs::write(&log, vec![b'\n'; 900_000]).unwrap();
    let mut ssh = Ssh::new(sshd.config());
    let request = PollRequest { logs: vec![crate::model::LogCursor::start(log.to_str().unwrap())], ..request() };
    let bytes = ssh.run(&request, &Script::render(&request)).await.unwrap();
    assert_eq!(reply::read(&request, &bytes).unwrap().logs[0].current.as_ref().unwrap().data.len(), 900_000);
    let failure = ssh.run(&request, "exec yes\n").await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::ReplyTooLarge);
    sshd.nothing_left().await;
}

#[tokio::test]
async fn g67_a_black_hole_is_left_within_the_poll_and_its_master_ended() {
    let sshd = Sshd::start().await;
    let mut ssh = Ssh::new(sshd.config());
    poll(&mut ssh).await.unwrap();
    for session in sshd.sessions() {
        kill_process(session, Signal::STOP).unwrap();
    }
    let asked = request();
    let script = Script::render(&asked);
    assert!(timeout(Duration::from_millis(700), ssh.run(&asked, &script)).await.is_err());
    sshd.nothing_left().await;
    poll(&mut ssh).await.unwrap();
    assert_eq!(ssh.logins(), 2);
}

#[tokio::test]
async fn g67_a_killed_connection_is_lost_and_then_made_anew() {
    let sshd = Sshd::start().await;
    let mut ssh = Ssh::new(sshd.config());
    poll(&mut ssh).await.unwrap();
    for session in sshd.sessions() {
        kill_process(session, Signal::KILL).unwrap();
    }
    let failure = poll(&mut ssh).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::SshLost, "{failure}");
    sshd.nothing_left().await;
    poll(&mut ssh).await.unwrap();

    // And in the middle of a poll.
    let asked = request();
    let cut = async {
        sleep(Duration::from_millis(300)).await;
        for session in sshd.sessions() {
            // A session's own processes end with it.
            let _ = kill_process(session, Signal::KILL);
        }
    };
    let (answer, ()) = tokio::join!(timeout(LONG, ssh.run(&asked, "sleep 30\n")), cut);
    let failure = answer.unwrap().unwrap_err();
    assert_eq!(failure.code, ErrorCode::SshLost, "{failure}");
    sshd.nothing_left().await;
}

#[tokio::test]
async fn a_rejected_key_and_a_bad_one_differ() {
    let sshd = Sshd::start().await;
    for (key, code, said) in [
        ("other_user", ErrorCode::SshAuth, "rejects the key"),
        ("missing", ErrorCode::SshSetup, "No such file"),
        ("config", ErrorCode::SshSetup, "Load key"),
        ("a \"quote", ErrorCode::SshSetup, "quote"),
    ] {
        if key.contains('"') {
            fs::copy(sshd.path("user"), sshd.path(key)).unwrap();
        }
        let mut ssh = Ssh::new(SshConfig { identity_file: Some(sshd.path(key)), ..sshd.config() });
        let failure = poll(&mut ssh).await.unwrap_err();
        assert_eq!(failure.code, code, "{key}: {failure}");
        assert!(failure.message.contains(said), "{key}: {failure}");
        sshd.nothing_left().await;
    }
    let readable = sshd.path("readable %d key");
    fs::copy(sshd.path("user"), &readable).unwrap();
    let config = SshConfig { identity_file: Some(readable.clone()), ..sshd.config() };
    poll(&mut Ssh::new(config.clone())).await.unwrap();
    fs::set_permissions(&readable, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    assert_eq!(poll(&mut Ssh::new(config)).await.unwrap_err().code, ErrorCode::SshSetup);
}

#[tokio::test]
async fn g66_a_host_key_is_checked_and_never_accepted_silently() {
    let mut sshd = Sshd::start().await;
    fs::write(sshd.path("known"), "").unwrap();
    let failure = poll(&mut Ssh::new(sshd.config())).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::HostKey);
    let known = sshd.path("known").display().to_string();
    assert!(failure.message.contains("ssh-keyscan") && failure.message.contains(&known), "{failure}");
    assert_eq!(sshd.logins(), 0);

    let trusting = SshConfig { host_keys: HostKeys::AcceptNew, ..sshd.config() };
    poll(&mut Ssh::new(trusting.clone())).await.unwrap();
    poll(&mut Ssh::new(sshd.config())).await.unwrap();

    sshd.restart("other_host").await;
    for config in [trusting, sshd.config()] {
        let failure = poll(&mut Ssh::new(config)).await.unwrap_err();
        assert_eq!(failure.code, ErrorCode::HostKey);
        assert!(failure.message.contains("ssh-keygen -f") && failure.message.contains(&known), "{failure}");
        sshd.nothing_left().await;
    }
    assert_eq!(sshd.logins(), 2);
}

#[tokio::test]
async fn g67_a_port_that_refuses_or_never_speaks_leaves_no_master() {
    let sshd = Sshd::start().await;
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let failure = poll(&mut Ssh::new(SshConfig { port: free, ..sshd.config() })).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::SshUnreachable, "{failure}");
    let unknown = SshConfig { host: SshHost::new("no-such-host.invalid").unwrap(), ..sshd.config() };
    let failure = poll(&mut Ssh::new(unknown)).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::SshUnreachable, "{failure}");
    sshd.nothing_left().await;

    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = SshConfig { port: silent.local_addr().unwrap().port(), ..sshd.config() };
    let mut ssh = Ssh::new(config);
    let asked = request();
    for _ in 0..3 {
        assert!(timeout(Duration::from_millis(300), ssh.run(&asked, "")).await.is_err());
    }
    sshd.nothing_left().await;
    let failure = timeout(LONG, ssh.run(&PollRequest { timeout: Duration::from_secs(1), ..asked }, "")).await;
    assert_eq!(failure.unwrap().unwrap_err().code, ErrorCode::SshTimeout);
    sshd.nothing_left().await;
}

#[tokio::test]
async fn g67_a_hundred_failures_leave_no_process() {
    let sshd = Sshd::start().await;
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut refused = Ssh::new(SshConfig { port: free, ..sshd.config() });
    let mut swallowed = Ssh::new(SshConfig { port: silent.local_addr().unwrap().port(), ..sshd.config() });
    let asked = request();
    for n in 0..100 {
        if n % 5 == 0 {
            assert!(timeout(Duration::from_millis(100), swallowed.run(&asked, "")).await.is_err());
        } else {
            poll(&mut refused).await.unwrap_err();
        }
    }
    sshd.nothing_left().await;
}

#[tokio::test]
async fn a_login_that_runs_something_else_is_no_reply() {
    let sshd = Sshd::start().await;
    let key = fs::read_to_string(sshd.path("user.pub")).unwrap();
    fs::write(sshd.path("authorized"), format!("command=\"echo hello\" {key}")).unwrap();
    let failure = poll(&mut Ssh::new(sshd.config())).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::ReplyMalformed, "{failure}");
}
