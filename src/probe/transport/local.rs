//! The VM is this machine: the script runs in a shell of its own.

use std::ffi::OsString;
use std::process::Stdio;

use futures_util::future::BoxFuture;
use tokio::process::Command;

use super::{Transport, exchange};
use crate::model::{ErrorCode, PollFailure};
use crate::probe::family::Family;
use crate::probe::{PollRequest, reply};

/// Runs each poll in an `sh` of its own, which is ended with all it started when the poll is over or dropped.
#[derive(Debug, Default)]
pub struct Local {
    path: Option<OsString>,
}

impl Local {
    /// A transport to this machine.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with another `PATH` for the script: for tests that stand in for Docker.
    #[cfg(test)]
    pub(crate) fn with_path(path: impl Into<OsString>) -> Self {
        Self { path: Some(path.into()) }
    }

    async fn poll(&self, request: &PollRequest, script: &str) -> Result<Vec<u8>, PollFailure> {
        let mut command = Command::new("sh");
        command
            .arg("-s")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true);
        if let Some(path) = &self.path {
            command.env("PATH", path);
        }
        let failed = |error: std::io::Error| PollFailure::new(ErrorCode::SshSetup, format!("sh failed here: {error}"));
        let mut child = command.spawn().map_err(failed)?;
        let mut family = Family::of(&child);
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(PollFailure::new(ErrorCode::SshSetup, "sh was started without pipes"));
        };
        let answer = exchange(stdin, stdout, script, request.reply_cap()).await;
        if !matches!(answer, Ok(Some(_))) {
            family.end();
        }
        child.wait().await.map_err(failed)?;
        family.let_be();
        answer.map_err(failed)?.ok_or_else(|| reply::too_large(request))
    }
}

impl Transport for Local {
    fn run<'a>(&'a mut self, request: &'a PollRequest, script: &'a str) -> BoxFuture<'a, Result<Vec<u8>, PollFailure>> {
        Box::pin(self.poll(request, script))
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    fn logins(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::probe::Nonce;

    fn request() -> PollRequest {
        PollRequest {
            nonce: Nonce::random(),
            container: None,
            container_since: None,
            probe_url: None,
            process_pattern: String::new(),
            logs: Vec::new(),
            continuation: true,
            timeout: Duration::from_secs(5),
        }
    }

    fn running(marker: &str) -> bool {
        std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
            std::fs::read(entry.path().join("cmdline"))
                .is_ok_and(|line| memchr::memmem::find(&line, marker.as_bytes()).is_some())
        })
    }

    #[tokio::test]
    async fn a_dropped_run_ends_the_shell_and_all_it_started() {
        let marker = format!("31{}.5", std::process::id());
        let script = format!("{{ timeout 60 sleep {marker} | cat; sleep {marker} & wait; }}\n");
        let (mut local, request) = (Local::new(), request());
        {
            let mut run = local.run(&request, &script);
            let started = async {
                while !running(&marker) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::select! {
                biased;
                () = started => {}
                reply = &mut run => panic!("{reply:?}"),
            }
        }
        let since = Instant::now();
        while running(&marker) {
            assert!(since.elapsed() < Duration::from_secs(2), "a process is left");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn endless_output_is_cut_off() {
        let failure = Local::new().run(&request(), "exec yes\n").await.unwrap_err();
        assert_eq!(failure.code, ErrorCode::ReplyTooLarge);
    }
}
