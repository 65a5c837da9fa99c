//! One Docker Engine for all labs of the machine: the one that runs, else one that the first lab starts and the last ends.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use tokio::sync::OnceCell;

use super::command::{self, output};
use super::{Result, Unavailable, image, sshd, until};

/// What finds, stops and clears away; see there.
const KEEPER: &str = include_str!("keeper.sh");
/// A dockerd on a quiet machine is ready in 0.2 s.
const READY_TIMEOUT: Duration = Duration::from_secs(20);
/// The pid file of any dockerd that was started with its defaults.
const DOCKERD_PID: &str = "/var/run/docker.pid";

/// What this process shares between its labs. It is never dropped: the system closes it, however the process ends.
pub struct Shared {
    /// Where labs keep their files; on disk, since a test may write hundreds of megabytes.
    pub root: PathBuf,
    /// The tag of the image that the containers run.
    pub image: String,
    /// The user to log in as.
    pub user: String,
    /// This process: its id and its start time.
    pub owner: String,
    /// Locked for as long as this process may need the Docker Engine.
    _users: File,
}

/// Clears away what this process leaves behind, even if it is killed: its input ends with this process.
static RUNNING_KEEPER: OnceLock<(Child, ChildStdin)> = OnceLock::new();
static SHARED: OnceCell<Shared> = OnceCell::const_new();

/// The Docker Engine, the image and the keeper, made at the first call.
pub async fn shared() -> Result<&'static Shared> {
    SHARED.get_or_try_init(make_shared).await
}

/// Where this user's labs keep their files.
fn root() -> PathBuf {
    std::env::temp_dir().join(format!("gatewatch-lab-{}", rustix::process::geteuid().as_raw()))
}

async fn make_shared() -> Result<Shared> {
    let root = root();
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(root.join("labs"))?;
    if root.symlink_metadata()?.uid() != rustix::process::geteuid().as_raw() {
        return Err(format!("{} belongs to somebody else", root.display()).into());
    }
    let starting = locked(&root.join("start.lock")).await?;
    let users = File::create(root.join("users.lock"))?;
    users.lock_shared()?;
    if RUNNING_KEEPER.get().is_none() {
        let _ = RUNNING_KEEPER.set(start_keeper(&root)?);
    }
    ensure_dockerd(&root).await?;
    run_keeper(["sweep".as_ref(), root.as_os_str()]).await?;
    let image = image::ensure(&root).await?;
    let user = sshd::user().await?;
    drop(starting);
    let pid = std::process::id();
    let owner = format!("{pid} {}", start_ticks(pid)?);
    Ok(Shared { root, image, user, owner, _users: users })
}

/// The file, locked by this process alone. Held only while something is started, so the wait is short.
async fn locked(path: &Path) -> Result<File> {
    let file = File::create(path)?;
    Ok(tokio::task::spawn_blocking(move || file.lock().map(|()| file)).await??)
}

/// Field 22 of `/proc/PID/stat`: it tells a process from a later one with the same id.
fn start_ticks(pid: u32) -> Result<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    Ok(fields.split_ascii_whitespace().nth(19).ok_or("no start time in /proc")?.to_owned())
}

/// Runs the keeper's script to its end.
pub async fn run_keeper<A: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = A>) -> Result<String> {
    let mut command = command::command("sh");
    command.arg("-s").args(args);
    command::finish(command, KEEPER.as_bytes()).await
}

/// The same without a runtime, for `Drop`.
pub fn run_keeper_blocking<A: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = A>) -> std::io::Result<String> {
    let mut command = command::command("sh").into_std();
    let output = command.arg("-c").arg(KEEPER).arg("keeper").args(args).stderr(Stdio::null()).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Starts the process that waits for this one's end. In a session of its own: Ctrl-C is not for it.
fn start_keeper(root: &Path) -> Result<(Child, ChildStdin)> {
    let mut command = command::command("setsid").into_std();
    command.args(["sh", "-c", KEEPER, "keeper", "watch"]).arg(root).arg(std::process::id().to_string());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let stdin = child.stdin.take().ok_or("the keeper has no input")?;
    Ok((child, stdin))
}

async fn answers() -> bool {
    output("docker", ["version", "--format", "{{.Server.Version}}"]).await.is_ok()
}

/// Makes sure that a dockerd answers. Called under the start lock; never starts a second one.
async fn ensure_dockerd(root: &Path) -> Result<()> {
    static STARTED: OnceLock<Child> = OnceLock::new();
    if answers().await {
        return Ok(());
    }
    let log = root.join("dockerd.log");
    if !dockerd_runs() {
        if !rustix::process::geteuid().is_root() {
            let why = "no Docker Engine answers this user, and only root can start one";
            return Err(Unavailable(why.to_owned()).into());
        }
        // A killed one leaves its pid file; a zombie or a stranger with that id would keep the next one from starting.
        let _ = std::fs::remove_file(DOCKERD_PID);
        let mut command = command::command("setsid").into_std();
        let dockerd = command::find("dockerd").ok_or("dockerd is missing: apt-get install docker.io")?;
        let out = File::create(&log)?;
        // `setsid` replaces itself by dockerd (it leads no group here), so the child's id is dockerd's own.
        let child = command.arg(dockerd).stdout(out.try_clone()?).stderr(out).spawn()?;
        writeln!(File::create(root.join("dockerd.pid"))?, "{} {}", child.id(), start_ticks(child.id())?)?;
        let _ = STARTED.set(child);
    }
    let ready = until(READY_TIMEOUT, async || answers().await.then_some(())).await;
    ready.ok_or_else(|| Unavailable(format!("dockerd does not get ready:\n{}", super::tail(&log, 15))).into())
}

/// Whether the process that dockerd's pid file names lives.
fn dockerd_runs() -> bool {
    let pid = std::fs::read_to_string(DOCKERD_PID).unwrap_or_default();
    let name = std::fs::read_to_string(format!("/proc/{}/comm", pid.trim())).unwrap_or_default();
    name.trim() == "dockerd" && !zombie(pid.trim())
}

fn zombie(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
}
