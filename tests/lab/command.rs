//! Commands with a bound on their time, whose errors say what the command said.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::Result;

/// The longest that any command of the lab may take. `docker import` is the slowest: about a second.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

/// How many arguments of a command its error shows.
const SHOWN_ARGS: usize = 6;

/// Where Debian puts programs, looked through after `PATH`: an ordinary user's has no `sbin`.
const SYSTEM_DIRS: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// The absolute path of `program`, if it is installed.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).filter(|dir| dir.is_absolute());
    dirs.chain(SYSTEM_DIRS.iter().map(PathBuf::from)).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// A command that ends with its handle, speaks plain English and knows no Docker but the one on this machine.
pub fn command(program: &str) -> Command {
    let mut command = Command::new(find(program).unwrap_or_else(|| program.into()));
    command.env("LC_ALL", "C").env_remove("DOCKER_HOST").env_remove("DOCKER_CONTEXT");
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Runs `program` to its end and gives what it printed, without the last newline. Fails if it fails.
pub async fn output<A: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = A>) -> Result<String> {
    let mut command = command(program);
    command.args(args);
    finish(command, b"").await
}

/// Runs `command` to its end with `input` as its standard input, as [`output`] does.
pub async fn finish(command: Command, input: &[u8]) -> Result<String> {
    finish_within(COMMAND_TIMEOUT, command, input).await
}

/// As [`finish`], with a bound of its own on the time.
pub async fn finish_within(limit: Duration, mut command: Command, input: &[u8]) -> Result<String> {
    let args: Vec<_> = command.as_std().get_args().take(SHOWN_ARGS).map(OsStr::to_string_lossy).collect();
    let what = format!("{} {}", command.as_std().get_program().to_string_lossy(), args.join(" "));
    let told = |problem: &dyn std::fmt::Display| format!("{what}: {problem}");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| told(&e))?;
    let mut stdin = child.stdin.take();
    let run = async {
        let feed = async {
            if let Some(pipe) = stdin.as_mut() {
                // What does not read to the end says why in its status.
                let _ = pipe.write_all(input).await;
            }
            drop(stdin);
        };
        tokio::join!(feed, child.wait_with_output()).1
    };
    let output = tokio::time::timeout(limit, run).await.map_err(|_| told(&"no end in time"))??;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(told(&format_args!("{}: {}", output.status, said.trim())).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned())
}
