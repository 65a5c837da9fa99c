//! What a cloud's own command line says of a VM that does not answer: off, starting, stopping, on.

mod parse;

use std::env;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;
use tokio::time::timeout;

use super::family::Family;
use super::scenario::Scenario;
use crate::config::PowerConfig;
use crate::model::{ErrorCode, PollFailure, Power, Timestamp};

/// How long the command may take.
pub const POWER_TIMEOUT: Duration = Duration::from_secs(20);
/// The source is asked at most this often.
const POWER_INTERVAL: Duration = Duration::from_secs(30);
/// Most bytes of its output, and of its complaints, that are read.
const OUTPUT: u64 = 256 * 1024;

/// Who knows whether a VM is powered. Every source is a command; no shell reads it.
#[derive(Clone, Debug, PartialEq)]
pub enum PowerSource {
    /// As the configuration says.
    Command(PowerConfig),
    /// A simulated VM's own script, which may be asked at every poll.
    Simulated(Scenario),
}

impl PowerSource {
    /// The program to run and its arguments. Values are joined to their options, so that none can be taken for one.
    fn argv(&self) -> Vec<String> {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let Self::Command(command) = self else { return Vec::new() };
        match command {
            PowerConfig::Azure { name, resource_group } => [
                words(&["az", "vm", "get-instance-view", "--query", "instanceView.statuses", "--output", "json"]),
                vec![format!("--name={name}"), format!("--resource-group={resource_group}")],
            ]
            .concat(),
            PowerConfig::Aws { instance_id, region } => [
                words(&["aws", "ec2", "describe-instances", "--output", "json"]),
                vec![format!("--instance-ids={instance_id}")],
                region.iter().map(|region| format!("--region={region}")).collect(),
            ]
            .concat(),
            PowerConfig::Gcloud { name, zone, project } => [
                words(&["gcloud", "compute", "instances", "describe", "--format=json", "--quiet"]),
                vec![format!("--zone={zone}")],
                project.iter().map(|project| format!("--project={project}")).collect(),
                vec![name.clone()],
            ]
            .concat(),
            PowerConfig::Command { argv } => argv.clone(),
        }
    }

    /// How long an answer holds: a cloud's command line is slow and counted by the cloud.
    pub(super) fn interval(&self) -> Duration {
        match self {
            Self::Simulated(_) => Duration::ZERO,
            _ => POWER_INTERVAL,
        }
    }

    /// The program that this source needs and that is not there, for `gatewatch check`.
    pub fn missing_program(&self) -> Option<String> {
        if matches!(self, Self::Simulated(_)) {
            return None;
        }
        let program = self.argv().into_iter().next().unwrap_or_default();
        (!is_installed(&program)).then_some(program)
    }

    /// Asks. Dropped, the command is ended with everything it started.
    ///
    /// # Errors
    /// `PowerFailed`: the program is missing, took longer than [`POWER_TIMEOUT`], failed, or said nothing that can be
    /// understood.
    pub async fn ask(&self) -> Result<Power, PollFailure> {
        if let Self::Simulated(scenario) = self {
            return Ok(scenario.power(scenario.moment(Timestamp::from(SystemTime::now()).0)));
        }
        let argv = self.argv();
        let Some((program, arguments)) = argv.split_first() else {
            return Err(failed("the power command is empty"));
        };
        match timeout(POWER_TIMEOUT, run(program, arguments)).await {
            Err(_) => Err(failed(format!("{program} took longer than {} s", POWER_TIMEOUT.as_secs()))),
            Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
                Err(failed(format!("there is no program {program} here")))
            }
            Ok(Err(error)) => Err(failed(format!("{program}: {error}"))),
            Ok(Ok(output)) => self.read(&output).map_err(|why| failed(format!("{program}: {why}"))),
        }
    }

    fn read(&self, output: &[u8]) -> Result<Power, String> {
        match self {
            Self::Command(PowerConfig::Azure { .. }) => parse::azure(output),
            Self::Command(PowerConfig::Aws { .. }) => parse::aws(output),
            Self::Command(PowerConfig::Gcloud { .. }) => parse::gcloud(output),
            Self::Command(PowerConfig::Command { .. }) => parse::words(output),
            Self::Simulated(_) => Err("a script prints nothing".to_owned()),
        }
    }
}

fn failed(why: impl AsRef<str>) -> PollFailure {
    PollFailure::new(ErrorCode::PowerFailed, why)
}

/// Whether `program` can be run: by its path, or found in `PATH`.
pub(super) fn is_installed(program: &str) -> bool {
    if program.contains('/') {
        return is_program(Path::new(program));
    }
    let path = env::var_os("PATH").unwrap_or_default();
    !program.is_empty() && env::split_paths(&path).any(|folder| is_program(&folder.join(program)))
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

async fn run(program: &str, arguments: &[String]) -> io::Result<Vec<u8>> {
    let mut child = Command::new(program)
        .args(arguments)
        // Neither version of the aws command may wait for somebody to leave a pager.
        .env("AWS_PAGER", "")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let mut family = Family::of(&child);
    let (output, complaints) = tokio::join!(capped(child.stdout.take()), capped(child.stderr.take()));
    let (Some(output), Some(complaints)) = (output?, complaints?) else {
        family.end();
        child.wait().await?;
        return Err(io::Error::other(format!("it said more than {OUTPUT} bytes")));
    };
    let status = child.wait().await?;
    family.let_be();
    if status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&complaints);
    Err(io::Error::other(format!("it failed ({status}): {}", said.trim())))
}

/// What a pipe holds; `None` if that is more than [`OUTPUT`] bytes.
async fn capped(pipe: Option<impl AsyncRead + Unpin>) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(OUTPUT + 1).read_to_end(&mut bytes).await?;
    }
    Ok((bytes.len() as u64 <= OUTPUT).then_some(bytes))
}

#[cfg(test)]
mod tests;
