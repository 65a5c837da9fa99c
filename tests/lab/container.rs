//! What happens to the container: its life, its log, the benchmark process in it.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};

use super::command::output;
use super::{Lab, Result, until};

/// How long a program in the container may take to be there.
const APPEAR_TIMEOUT: Duration = Duration::from_secs(10);
/// Seconds that `docker stop` and `restart` wait before they kill.
const GRACE: &str = "2";

impl Lab {
    /// Makes the container and starts it. [`Lab::start`] has done this; needed after [`Lab::container_remove`].
    pub async fn container_create(&self) -> Result<()> {
        std::fs::create_dir_all(self.shared_dir())?;
        if !self.console().exists() {
            rustix::fs::mknodat(
                rustix::fs::CWD,
                self.console(),
                rustix::fs::FileType::Fifo,
                Mode::RUSR | Mode::WUSR,
                0,
            )?;
        }
        let mount = format!("type=bind,src={},dst=/lab", self.shared_dir().display());
        let name = ["--name", &self.container, "--label", "gatewatch-lab"];
        let how = ["--network", "host", "--init", "--mount", &mount, "-w", "/client", &self.image];
        // Opened for reading and writing, a named pipe neither waits for a writer nor ends with one.
        let what = ["sh", "-c", "exec cat <>/lab/console"];
        output("docker", ["run", "-d"].iter().chain(&name).chain(&how).chain(&what)).await.map(drop)
    }

    /// `docker start`.
    pub async fn container_start(&self) -> Result<()> {
        output("docker", ["start", &self.container]).await.map(drop)
    }

    /// `docker stop`. What runs in it ends.
    pub async fn container_stop(&self) -> Result<()> {
        output("docker", ["stop", "-t", GRACE, &self.container]).await.map(drop)
    }

    /// `docker restart`. What runs in it ends; its log goes on.
    pub async fn container_restart(&self) -> Result<()> {
        output("docker", ["restart", "-t", GRACE, &self.container]).await.map(drop)
    }

    /// `docker pause`: everything in it stands still, and `docker exec` is refused.
    pub async fn container_pause(&self) -> Result<()> {
        output("docker", ["pause", &self.container]).await.map(drop)
    }

    /// `docker unpause`.
    pub async fn container_unpause(&self) -> Result<()> {
        output("docker", ["unpause", &self.container]).await.map(drop)
    }

    /// `docker rm -f`.
    pub async fn container_remove(&self) -> Result<()> {
        output("docker", ["rm", "-f", "-v", &self.container]).await.map(drop)
    }

    /// Runs a command in the container and gives what it printed. Fails if it fails.
    pub async fn container_exec(&self, command: &[&str]) -> Result<String> {
        output("docker", ["exec", &self.container].iter().chain(command)).await
    }

    /// The container prints `line` and a newline to its standard output.
    pub async fn container_log(&self, line: &str) -> Result<()> {
        self.container_log_bytes(format!("{line}\n").as_bytes()).await
    }

    /// The container prints `bytes`. Returns when the container has been handed them; Docker shows them a moment later.
    pub async fn container_log_bytes(&self, mut bytes: &[u8]) -> Result<()> {
        let open = || {
            let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
            OpenOptions::new().write(true).custom_flags(flags).open(self.console()).ok()
        };
        let pipe = until(APPEAR_TIMEOUT, async || open()).await;
        let mut pipe = pipe.ok_or("nothing reads the container's console: does the container run?")?;
        while !bytes.is_empty() {
            match pipe.write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(e) if e.kind() == ErrorKind::WouldBlock => tokio::time::sleep(Duration::from_millis(1)).await,
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// Starts the benchmark process (`python run.py ...`) in the container; returns once it runs.
    pub async fn benchmark_start(&self) -> Result<()> {
        let _ = std::fs::remove_file(self.benchmark_pid());
        let run = ["python", "run.py", "--agent_name", "navi", "--model", "gpt-4o"];
        output("docker", ["exec", "-d", &self.container].iter().chain(&run)).await?;
        let runs = until(APPEAR_TIMEOUT, async || self.benchmark_pid().exists().then_some(())).await;
        runs.ok_or_else(|| "the benchmark process does not start".into())
    }

    /// Ends the benchmark process; returns once it is gone.
    pub async fn benchmark_stop(&self) -> Result<()> {
        self.benchmark_end("TERM").await
    }

    /// Ends the benchmark process as a crash would (`kill -9`); returns once it is gone.
    pub async fn benchmark_kill(&self) -> Result<()> {
        self.benchmark_end("KILL").await
    }

    async fn benchmark_end(&self, signal: &str) -> Result<()> {
        let script = format!(
            "read -r pid </lab/benchmark.pid && kill -{signal} $pid && while kill -0 $pid 2>/dev/null; do sleep 0.01; done"
        );
        self.container_exec(&["sh", "-c", &script]).await?;
        Ok(std::fs::remove_file(self.benchmark_pid())?)
    }

    /// The folder that the container sees as `/lab`.
    fn shared_dir(&self) -> std::path::PathBuf {
        self.dir.join("inside")
    }

    fn console(&self) -> std::path::PathBuf {
        self.shared_dir().join("console")
    }

    fn benchmark_pid(&self) -> std::path::PathBuf {
        self.shared_dir().join("benchmark.pid")
    }
}
