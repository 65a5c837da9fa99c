//! The master process of one connection.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use openssh::{Error as SessionError, Session};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::dir::ConnectionDir;
use super::{HostKeys, SshConfig, verdict};
use crate::model::{ErrorCode, PollFailure};
use crate::probe::transport::exchange;
use crate::probe::{PollRequest, reply};

/// How often a connecting master is looked at.
const LOOK: Duration = Duration::from_millis(4);
/// How long an ended or asked master may take until it is killed and reaped.
const GRACE: Duration = Duration::from_millis(500);
/// Most bytes of ssh's complaints that are read.
const COMPLAINTS: u64 = 16 * 1024;

/// A connection's master process, connected and logged in. Dropped, it is killed and its folder removed.
#[derive(Debug)]
pub(super) struct Master {
    child: Child,
    dir: ConnectionDir,
    target: String,
}

impl Master {
    /// Connects and logs in.
    ///
    /// # Errors
    /// By whose fault it is; see [`verdict::of_connect`].
    pub(super) async fn connect(config: &SshConfig, limit: Duration) -> Result<Self, PollFailure> {
        let text = ssh_config(config, limit)?;
        let setup = |error: io::Error| PollFailure::new(ErrorCode::SshSetup, error.to_string());
        let base = config.runtime_dir.clone();
        let dir = tokio::task::spawn_blocking(move || -> io::Result<(ConnectionDir, PathBuf)> {
            let dir = ConnectionDir::create(&base)?;
            let path = dir.write_config(&text)?;
            Ok((dir, path))
        });
        let (dir, config_file) = dir.await.map_err(|error| setup(error.into()))?.map_err(|error| {
            PollFailure::new(ErrorCode::SshSetup, format!("{}: {error}", config.runtime_dir.display()))
        })?;
        let mut command = Command::new("ssh");
        command.arg("-F").arg(config_file).arg("-S").arg(dir.socket());
        // `--`: the host is checked (G65), and this keeps it a host even so.
        command.args(["-M", "-N", "-T", "--"]).arg(config.host.as_str());
        command
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // Not in the terminal's group: Ctrl-C is for us, and we end it in our own order.
            .process_group(0)
            .kill_on_drop(true);
        let child = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                PollFailure::new(ErrorCode::SshSetup, "there is no ssh program here: install openssh-client")
            }
            _ => PollFailure::new(ErrorCode::SshSetup, format!("ssh cannot be started: {error}")),
        })?;
        let target = format!("{}@{}", config.user, config.host);
        let mut master = Self { child, dir, target };
        let socket = master.dir.socket();
        // ssh makes the socket once it is logged in, whole: it renames it into its place.
        while !socket.exists() {
            if master.child.try_wait().map_err(setup)?.is_some() {
                return Err(verdict::of_connect(&master.complaints().await, config));
            }
            sleep(LOOK).await;
        }
        Ok(master)
    }

    /// Runs `script` in a session of its own.
    pub(super) async fn exchange(&mut self, request: &PollRequest, script: &str) -> Result<Vec<u8>, PollFailure> {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return Err(self.lost("it ended between two polls").await);
        }
        let session = Session::resume_mux(self.dir.socket().into_boxed_path(), None);
        let spawned = session
            .raw_command("exec sh -s")
            .stdin(openssh::Stdio::piped())
            .stdout(openssh::Stdio::piped())
            .stderr(openssh::Stdio::null())
            .spawn()
            .await;
        let mut shell = match spawned {
            Ok(shell) => shell,
            Err(error) => return Err(self.lost(&said(&error)).await),
        };
        let (Some(stdin), Some(stdout)) = (shell.stdin().take(), shell.stdout().take()) else {
            return Err(self.lost("a session came without pipes").await);
        };
        let answer = match exchange(stdin, stdout, script, request.reply_cap()).await {
            Ok(answer) => answer.ok_or_else(|| reply::too_large(request))?,
            Err(error) => return Err(self.lost(&error.to_string()).await),
        };
        match shell.wait().await {
            // Status 127: no `sh` for this user. What came instead of a reply says it; so does any other status.
            Ok(_) | Err(SessionError::Remote(_)) => Ok(answer),
            Err(error) => Err(self.lost(&said(&error)).await),
        }
    }

    /// Asks it to end, so that sshd sees a goodbye; kills it if it does not.
    pub(super) async fn end(mut self) {
        if let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            // Not reaped yet, so the number is its own.
            let _ = kill_process(pid, Signal::TERM);
            if timeout(GRACE, self.child.wait()).await.is_err() {
                self.kill().await;
            }
        }
    }

    /// Kills and reaps it.
    pub(super) async fn kill(mut self) {
        let _ = self.child.start_kill();
        if timeout(GRACE, self.child.wait()).await.is_err() {
            tracing::warn!(target = self.target, "a killed ssh has not ended yet");
        }
    }

    /// The failure of a connection that was there. A master that ends by itself says why.
    async fn lost(&mut self, why: &str) -> PollFailure {
        let complaints = match timeout(GRACE, self.child.wait()).await {
            Ok(_) => self.complaints().await,
            Err(_) => String::new(),
        };
        let text = match complaints.trim() {
            "" => format!("the connection to {} was lost: {why}", self.target),
            said => format!("the connection to {} was lost: {said}", self.target),
        };
        PollFailure::new(ErrorCode::SshLost, text)
    }

    /// What an ended master wrote to its standard error.
    async fn complaints(&mut self) -> String {
        let Some(stderr) = self.child.stderr.take() else { return String::new() };
        let mut bytes = Vec::new();
        // It has ended, so its end of the pipe is closed; the bound is for a pipe that someone else holds open.
        let _ = timeout(GRACE, stderr.take(COMPLAINTS).read_to_end(&mut bytes)).await;
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// An error with its causes: the outer ones of `openssh` say little.
fn said(error: &SessionError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let _ = write!(text, ": {inner}");
        cause = inner.source();
    }
    text
}

/// The whole configuration of one connection; neither the user's nor the system's is read beside it.
fn ssh_config(config: &SshConfig, limit: Duration) -> Result<String, PollFailure> {
    let mut text = format!(
        "User {user}\nPort {port}\nConnectTimeout {connect}\nStrictHostKeyChecking {strict}\n\
         BatchMode yes\nServerAliveInterval 5\nServerAliveCountMax 2\nControlPersist no\nForwardAgent no\n\
         ForwardX11 no\nClearAllForwardings yes\nPermitLocalCommand no\nProxyCommand none\nUpdateHostKeys no\n\
         CheckHostIP no\nEscapeChar none\nLogLevel ERROR\n",
        user = config.user,
        port = config.port,
        connect = limit.as_secs().clamp(1, 60),
        strict = match config.host_keys {
            HostKeys::Strict => "yes",
            HostKeys::AcceptNew => "accept-new",
        },
    );
    if let Some(key) = &config.identity_file {
        // ssh only warns of a missing key and then tries others, or none.
        if let Err(error) = std::fs::File::open(expand_home(key)) {
            return Err(PollFailure::new(ErrorCode::SshSetup, format!("identity file {}: {error}", key.display())));
        }
        let _ = writeln!(text, "IdentitiesOnly yes\nIdentityFile {}", config_path(key)?);
    }
    if let Some(file) = &config.known_hosts {
        let _ = writeln!(text, "UserKnownHostsFile {}\nGlobalKnownHostsFile /dev/null", config_path(file)?);
    }
    Ok(text)
}

fn expand_home(path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), std::env::home_dir()) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_owned(),
    }
}

/// A path as ssh's configuration writes it. What ssh would expand or end the quoting with is escaped or refused.
fn config_path(path: &Path) -> Result<String, PollFailure> {
    let text = path.to_str().filter(|text| !text.contains("${") && !text.contains(['"', '\\']));
    match text.filter(|text| !text.chars().any(char::is_control)) {
        Some(text) => Ok(format!("\"{}\"", text.replace('%', "%%"))),
        None => {
            let why = format!("ssh cannot be given the path {}: it has a quote, a backslash or ${{", path.display());
            Err(PollFailure::new(ErrorCode::SshSetup, why))
        }
    }
}
