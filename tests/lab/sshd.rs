//! The lab's own sshd on a loopback port, and what can happen to it.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::Mutex;

use super::command::{self, output};
use super::{Lab, Result, docker, free_ports, until};

/// sshd is ready in some 20 ms.
const READY_TIMEOUT: Duration = Duration::from_secs(10);
/// How often another port is tried when somebody takes the one that was free.
const PORT_TRIES: usize = 5;
/// Made by root's labs, so that the shell's start-up is short and nothing of a person's account is touched.
const USER: &str = "gwlab";

/// A running sshd, or none.
pub struct Sshd {
    dir: PathBuf,
    master: Mutex<Option<Child>>,
}

/// Makes keys and configuration in `dir`, starts sshd, and gives it with its port and the one that goes with it.
pub async fn start(dir: &Path, user: &str) -> Result<(Sshd, u16, u16)> {
    for key in ["host_key_first", "host_key_other", "identity"] {
        let file = dir.join(key);
        let args = ["-q", "-t", "ed25519", "-N", "", "-C", "gatewatch-lab", "-f"].map(AsRef::as_ref);
        output("ssh-keygen", args.into_iter().chain([file.as_os_str()])).await?;
    }
    use_host_key(dir, "host_key_first")?;
    fs::copy(dir.join("identity.pub"), dir.join("authorized_keys"))?;
    if rustix::process::geteuid().is_root() {
        fs::create_dir_all("/run/sshd")?;
    }
    let sshd = Sshd { dir: dir.to_owned(), master: Mutex::new(None) };
    for _ in 0..PORT_TRIES {
        let (port, probe_port) = free_ports()?;
        configure(dir, user, port).await?;
        if sshd.start(port).await.is_ok() {
            let key = fs::read_to_string(dir.join("host_key_first.pub"))?;
            fs::write(dir.join("known_hosts"), format!("[127.0.0.1]:{port} {key}"))?;
            return Ok((sshd, port, probe_port));
        }
    }
    Err(format!("sshd does not start:\n{}", super::tail(&dir.join("sshd.log"), 15)).into())
}

/// The user that the lab's sshd lets in: root makes one, anybody else is it.
pub async fn user() -> Result<String> {
    if !rustix::process::geteuid().is_root() {
        return output("id", ["-un"]).await;
    }
    if output("id", ["-u", USER]).await.is_err() {
        output("useradd", ["-r", "-m", "-s", "/bin/sh", USER]).await?;
        // No password fits, yet the account is not locked, which would keep keys out too.
        output("usermod", ["-p", "*", USER]).await?;
    }
    let groups = output("id", ["-nG", USER]).await?;
    if !groups.split(' ').any(|group| group == "docker") {
        output("usermod", ["-a", "-G", "docker", USER]).await?;
    }
    Ok(USER.to_owned())
}

fn use_host_key(dir: &Path, name: &str) -> Result<()> {
    fs::copy(dir.join(name), dir.join("host_key"))?;
    Ok(())
}

async fn configure(dir: &Path, user: &str, port: u16) -> Result<()> {
    let config = dir.join("sshd_config");
    let shown = dir.display();
    // SHLVL keeps bash from reading the start-up file of whoever runs the tests: one that takes a lock (pyenv's does)
    // leaves it behind when a test kills its login, and every later login waits for it.
    let text = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {shown}/host_key\nAuthorizedKeysFile {shown}/authorized_keys\n\
         PidFile none\nAllowUsers {user}\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\n\
         StrictModes no\nPrintMotd no\nUseDNS no\nLogLevel VERBOSE\nMaxStartups 200:30:400\n\
         SetEnv SHLVL=1\n"
    );
    // Newer versions shut out an address that fails often, and the tests fail often from one address.
    fs::write(&config, format!("{text}PerSourcePenalties no\n"))?;
    let known = output("sshd", ["-t".as_ref(), "-f".as_ref(), config.as_os_str()]).await.is_ok();
    if !known {
        fs::write(&config, text)?;
    }
    Ok(())
}

impl Sshd {
    fn log(&self) -> String {
        fs::read(self.dir.join("sshd.log")).map(|log| String::from_utf8_lossy(&log).into_owned()).unwrap_or_default()
    }

    /// Starts sshd unless it runs; returns once it listens.
    async fn start(&self, port: u16) -> Result<()> {
        let mut master = self.master.lock().await;
        if master.is_some() {
            return Ok(());
        }
        let listening = format!("Server listening on 127.0.0.1 port {port}");
        let before = self.log().matches(&listening).count();
        // sshd starts itself anew for each connection and so wants its absolute path.
        let mut command = std::process::Command::new(command::find("sshd").ok_or("sshd is missing")?);
        command.arg("-D").arg("-f").arg(self.dir.join("sshd_config")).arg("-E").arg(self.dir.join("sshd.log"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let mut child = command.spawn()?;
        let ready = until(READY_TIMEOUT, async || match child.try_wait() {
            Ok(None) => (self.log().matches(&listening).count() > before).then_some(true),
            _ => Some(false),
        });
        if ready.await != Some(true) {
            let _ = child.kill();
            let _ = child.wait();
            return Err("sshd does not start".into());
        }
        *master = Some(child);
        Ok(())
    }

    /// Ends the process that listens; sessions go on.
    async fn end_master(&self) -> Result<()> {
        if let Some(mut child) = self.master.lock().await.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    async fn master_pid(&self) -> Option<i32> {
        self.master.lock().await.as_ref().and_then(|child| i32::try_from(child.id()).ok())
    }

    /// Takes the process that listens, for whoever drops the lab.
    pub fn take_master(&mut self) -> Option<Child> {
        self.master.get_mut().take()
    }
}

impl Lab {
    /// How many logins sshd has let in.
    pub fn logins(&self) -> usize {
        self.sshd.log().lines().filter(|line| line.contains("Accepted publickey")).count()
    }

    /// How many connections sshd has seen, let in or not.
    pub fn connections(&self) -> usize {
        self.sshd.log().lines().filter(|line| line.starts_with("Connection from ")).count()
    }

    /// Ids of the sshd processes of this lab and of all that their sessions run, the one that listens left out.
    pub async fn sessions(&self) -> Result<Vec<i32>> {
        let master = self.sshd.master_pid().await;
        let pids = docker::run_keeper(["sessions", &self.ssh_port.to_string()]).await?;
        Ok(pids.lines().filter_map(|pid| pid.parse().ok()).filter(|pid| Some(*pid) != master).collect())
    }

    /// SIGSTOP to sshd, its sessions and what they run: connections stay open, new ones are taken by the kernel, and
    /// nothing answers. As when the network swallows every packet.
    pub async fn sshd_stop(&self) -> Result<()> {
        self.signal_all(Signal::STOP).await
    }

    /// SIGCONT to what [`Lab::sshd_stop`] stopped.
    pub async fn sshd_cont(&self) -> Result<()> {
        self.signal_all(Signal::CONT).await
    }

    async fn signal_all(&self, signal: Signal) -> Result<()> {
        // The one that listens first: it makes no session behind the back of the list.
        signal_each(self.sshd.master_pid().await, signal);
        signal_each(self.sessions().await?, signal);
        Ok(())
    }

    /// `kill -9` of every session and of what it runs: the connections break, new ones are let in.
    pub async fn sshd_kill_connections(&self) -> Result<()> {
        signal_each(self.sessions().await?, Signal::KILL);
        Ok(())
    }

    /// Ends sshd and every session: connections are refused.
    pub async fn sshd_shutdown(&self) -> Result<()> {
        self.sshd.end_master().await?;
        self.sshd_kill_connections().await
    }

    /// Starts sshd again after [`Lab::sshd_shutdown`].
    pub async fn sshd_start(&self) -> Result<()> {
        self.sshd.start(self.ssh_port).await
    }

    /// Restarts sshd as Debian does: sessions go on.
    pub async fn sshd_restart(&self) -> Result<()> {
        self.sshd.end_master().await?;
        self.sshd_start().await
    }

    /// No key is let in any more, and the sessions end.
    pub async fn reject_key(&self) -> Result<()> {
        fs::write(self.dir.join("authorized_keys"), "")?;
        self.sshd_kill_connections().await
    }

    /// The lab's key is let in again.
    pub fn accept_key(&self) -> Result<()> {
        fs::copy(self.dir.join("identity.pub"), self.dir.join("authorized_keys"))?;
        Ok(())
    }

    /// sshd comes back with a host key that `known_hosts` does not know; the sessions end.
    pub async fn change_host_key(&self) -> Result<()> {
        self.with_host_key("host_key_other").await
    }

    /// sshd comes back with the host key that `known_hosts` knows; the sessions end.
    pub async fn restore_host_key(&self) -> Result<()> {
        self.with_host_key("host_key_first").await
    }

    async fn with_host_key(&self, name: &str) -> Result<()> {
        self.sshd_shutdown().await?;
        use_host_key(&self.dir, name)?;
        self.sshd_start().await
    }

    /// The plain `ssh` client on its way into the lab, strict, asking nobody, sharing no connection.
    pub fn ssh(&self, remote: &str) -> tokio::process::Command {
        let mut command = command::command("ssh");
        command.args([
            "-F",
            "none",
            "-o",
            "BatchMode=yes",
            "-o",
            "IdentitiesOnly=yes",
            "-o",
            "StrictHostKeyChecking=yes",
        ]);
        command.arg("-o").arg(format!("UserKnownHostsFile={}", self.known_hosts.display()));
        command.arg("-i").arg(&self.identity).arg("-p").arg(self.ssh_port.to_string());
        command.arg(format!("{}@127.0.0.1", self.user)).arg(remote);
        command
    }
}

/// A process that ended in the meantime needs no signal.
fn signal_each(pids: impl IntoIterator<Item = i32>, signal: Signal) {
    for pid in pids.into_iter().filter_map(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}
