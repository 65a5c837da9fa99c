//! The poll's request, and the one POSIX sh script that it becomes.

use std::fmt;
use std::time::Duration;

use super::boot;
use super::log::{BEFORE_LEN, CHUNK};
use crate::model::LogCursor;

/// Most bytes of one log file that one poll takes.
pub const LOG_CHUNK: u64 = CHUNK as u64;
/// Bytes of a reply beside its logs.
pub const REPLY_REST: u64 = 256 * 1024;

/// 128 random bits as 32 hex digits, fresh per poll. It frames the reply's sections; no log and no container ever sees it.
#[derive(Clone, PartialEq, Eq)]
pub struct Nonce(String);

impl Nonce {
    /// A fresh one.
    pub fn random() -> Self {
        Self(format!("{:032x}", rand::random::<u128>()))
    }

    /// The 32 hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[nonce]")
    }
}

/// The body of the script, the same in every poll.
const BODY: &str = include_str!("body.sh");
/// What runs beside the benchmark.
const INSIDE: &str = include_str!("inside.sh");

/// What one poll asks of a VM. A plain value: rendering it needs no I/O.
#[derive(Clone, Debug)]
pub struct PollRequest {
    /// Frames the reply.
    pub nonce: Nonce,
    /// The container's name; `None`: the benchmark runs on the VM itself.
    pub container: Option<String>,
    /// From when (the VM's clock, epoch seconds) the container's log is wanted; `None`: from the container's start.
    pub container_since: Option<f64>,
    /// Address of the benchmark server as seen from the VM.
    pub probe_url: Option<String>,
    /// Extended regular expression that the benchmark process' command line matches (`pgrep -f`).
    pub process_pattern: String,
    /// The benchmark logs, each with how far it has been read.
    pub logs: Vec<LogCursor>,
    /// Only the clock and the logs are wanted: the poll before left bytes unread.
    pub continuation: bool,
    /// How long the whole poll may take; what runs on the VM bounds itself by it.
    pub timeout: Duration,
}

impl PollRequest {
    /// Most bytes that an honest reply has: per log [`LOG_CHUNK`] for the file and as much for a renamed older one, and
    /// [`REPLY_REST`] for everything else.
    pub fn reply_cap(&self) -> u64 {
        REPLY_REST + self.logs.len() as u64 * 2 * LOG_CHUNK
    }
}

/// The poll's request as text for `sh -s`.
#[derive(Debug)]
pub struct Script;

impl Script {
    /// The whole script: one compound command that ends in `exit`, so that the shell has read all of it before any of it
    /// runs, and nothing in it can eat the rest. Every value of the configuration is quoted by [`quote`].
    pub fn render(request: &PollRequest) -> String {
        let seconds = request.timeout.as_secs().clamp(1, 60);
        let vm = if request.container.is_none() { "1" } else { "" };
        let storage = if request.container.is_none() { "/" } else { "/storage" };
        let inside =
            format!("{{\npattern={} storage={storage} vm={vm}\n{INSIDE}exit 0\n}}", quote(&request.process_pattern));
        let mut text = format!(
            "{{\nn={nonce} full={full} w={seconds} a={docker} q={probe} chunk={LOG_CHUNK}\n\
             c={container} since={since} u={url}\nmarks={marks}\ninside={inside}\n{BODY}",
            nonce = request.nonce.as_str(),
            full = if request.continuation { "" } else { "1" },
            // Four docker commands may follow each other: a hung docker is then reported within the poll's time.
            docker = (seconds / 4).max(1),
            // A server that takes the connection and says nothing must not cost the whole poll.
            probe = (seconds / 2).clamp(1, 3),
            container = quote(request.container.as_deref().unwrap_or_default()),
            since = request.container_since.map(|at| format!("{at:.6}")).unwrap_or_default(),
            url = quote(request.probe_url.as_deref().unwrap_or_default()),
            marks = quote(boot::MARKS),
            inside = quote(&inside),
        );
        for (index, log) in request.logs.iter().enumerate() {
            let before = log.offset.min(BEFORE_LEN as u64);
            text += &format!(
                "look {index} {path} {offset} {start} {before} '{dev} {inode}' {inode}\n",
                path = quote(&log.path),
                offset = log.offset,
                start = log.offset - before,
                dev = log.dev,
                inode = log.inode,
            );
        }
        text += "f end\nexit 0\n}\n";
        text
    }
}

/// `value` as one word of a POSIX shell, whatever is in it. NUL bytes, which no shell word can hold, are left out.
pub fn quote(value: &str) -> String {
    format!("'{}'", value.replace('\0', "").replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests;
