//! Ways to have the poll's script run on a VM.

mod local;
mod simulated;
mod ssh;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

pub use local::Local;
pub use simulated::Simulated;
pub use ssh::{HostKeys, Ssh, SshConfig, runtime_dir};

use super::PollRequest;
use crate::model::PollFailure;

/// Runs the poll's script on one VM.
///
/// The caller bounds `run` in time and drops the future when time is up. A dropped `run` must leave nothing behind: no
/// process, no socket, no half-used connection that a later `run` could take for a whole one.
pub trait Transport: Send {
    /// Runs `script` (the rendering of `request`) by `sh -s` on the VM and returns its standard output.
    ///
    /// # Errors
    /// Why nothing came back, by whose fault; `ReplyTooLarge` if more than [`PollRequest::reply_cap`] bytes came.
    fn run<'a>(&'a mut self, request: &'a PollRequest, script: &'a str) -> BoxFuture<'a, Result<Vec<u8>, PollFailure>>;

    /// Ends the connection, its processes and its files. A later `run` connects anew.
    fn close(&mut self) -> BoxFuture<'_, ()>;

    /// How often it logged in, since it was made. Stays 0 where there is nothing to log in to.
    fn logins(&self) -> u64;

    /// Whether it keeps a connection open. Stays `false` where there is nothing to connect to.
    fn connected(&self) -> bool {
        false
    }
}

/// Feeds `script` to a shell and reads what it prints, up to `cap` bytes.
///
/// A shell that ends before it has read all of the script is no error here: its reply tells.
///
/// # Errors
/// `None` if more than `cap` bytes came, the I/O error if reading broke.
async fn exchange(
    mut stdin: impl AsyncWrite + Unpin,
    stdout: impl AsyncRead + Unpin,
    script: &str,
    cap: u64,
) -> std::io::Result<Option<Vec<u8>>> {
    let write = async {
        // A shell that is gone closes the pipe; what it printed before says more than the broken pipe does.
        let _ = stdin.write_all(script.as_bytes()).await;
        let _ = stdin.shutdown().await;
        drop(stdin);
    };
    let mut reply = Vec::new();
    let mut capped = stdout.take(cap + 1);
    let (read, ()) = tokio::join!(capped.read_to_end(&mut reply), write);
    read?;
    Ok((reply.len() as u64 <= cap).then_some(reply))
}
