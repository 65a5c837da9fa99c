//! SSH: one kept connection per VM, over which every poll is one more session (`openssh`, native-mux).
//!
//! The master process of that connection is our own child, in the foreground, rather than the daemon that
//! `openssh::SessionBuilder` would fork: so its process id is known, it can be ended surely and at once even when the
//! network is a black hole, a cancelled connect leaves nothing, and no init is needed to reap it. `openssh` speaks the
//! multiplexing protocol to it.

mod dir;
mod master;
mod verdict;

use std::path::PathBuf;

use futures_util::future::BoxFuture;

pub use dir::runtime_dir;

use self::master::Master;
use super::Transport;
use crate::model::{PollFailure, SshHost, SshUser};
use crate::probe::PollRequest;

/// What is done about the VM's host key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostKeys {
    /// It must be known already (G66).
    #[default]
    Strict,
    /// An unknown one is trusted at first sight and written down; a changed one is refused.
    AcceptNew,
}

/// How to reach one VM.
#[derive(Clone, Debug)]
pub struct SshConfig {
    /// Host name or IP literal.
    pub host: SshHost,
    /// Port of its sshd.
    pub port: u16,
    /// Remote user.
    pub user: SshUser,
    /// Private key; with it no other is offered. `None`: the agent's and the default ones.
    pub identity_file: Option<PathBuf>,
    /// File of host keys, used instead of every other one. `None`: `~/.ssh/known_hosts` and the system's.
    pub known_hosts: Option<PathBuf>,
    /// What is done about an unknown host key.
    pub host_keys: HostKeys,
    /// Folder in which each connection has a private folder (0700) for its socket; its path is at most 70 bytes.
    pub runtime_dir: PathBuf,
}

/// Polls over SSH. Connects at the first poll and after a failure, and keeps the connection in between.
///
/// A run that is dropped takes the connection with it: its master is killed.
#[derive(Debug)]
pub struct Ssh {
    config: SshConfig,
    master: Option<Master>,
    logins: u64,
}

impl Ssh {
    /// A transport that has not connected yet.
    pub fn new(config: SshConfig) -> Self {
        Self { config, master: None, logins: 0 }
    }

    async fn poll(&mut self, request: &PollRequest, script: &str) -> Result<Vec<u8>, PollFailure> {
        // Held by this call alone, so that a call dropped halfway ends the connection with itself.
        let mut master = match self.master.take() {
            Some(kept) => kept,
            None => {
                let fresh = Master::connect(&self.config, request.timeout).await?;
                self.logins += 1;
                fresh
            }
        };
        match master.exchange(request, script).await {
            Ok(reply) => {
                self.master = Some(master);
                Ok(reply)
            }
            Err(failure) => {
                master.kill().await;
                Err(failure)
            }
        }
    }
}

impl Transport for Ssh {
    fn run<'a>(&'a mut self, request: &'a PollRequest, script: &'a str) -> BoxFuture<'a, Result<Vec<u8>, PollFailure>> {
        Box::pin(self.poll(request, script))
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            if let Some(master) = self.master.take() {
                master.end().await;
            }
        })
    }

    fn logins(&self) -> u64 {
        self.logins
    }

    fn connected(&self) -> bool {
        self.master.is_some()
    }
}

#[cfg(test)]
mod tests;
