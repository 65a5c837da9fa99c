//! One VM's probe: transport, log reader and power source joined, and what must be remembered between two polls.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::{Instant, timeout};

use super::log::{Profile, RawLog, read_log};
use super::power::PowerSource;
use super::reply::{self, Reply};
use super::transport::Transport;
use super::{Nonce, PollRequest, Script};
use crate::model::{ContainerSeen, ErrorCode, LogCursor, LogRead, Observation, PollFailure, Power, Report};

/// Process pattern where the configuration names none.
pub const DEFAULT_PROCESS_PATTERN: &str = "python.*run.py";
/// How long a failed poll waits for the power source; a slower answer goes into a later report.
const POWER_PATIENCE: Duration = Duration::from_secs(2);
/// How long closing may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// A benchmark log and how it is to be read.
#[derive(Clone, Debug)]
pub struct LogSource {
    /// Its path on the VM.
    pub path: Arc<str>,
    /// Its dialect.
    pub profile: Profile,
}

/// What is looked at on one VM.
#[derive(Clone, Debug)]
pub struct ProbeConfig {
    /// The container; `None`: the benchmark runs on the VM itself.
    pub container: Option<String>,
    /// Address of the benchmark server as seen from the VM.
    pub probe_url: Option<String>,
    /// Extended regular expression of the benchmark process' command line; [`DEFAULT_PROCESS_PATTERN`].
    pub process_pattern: String,
    /// The benchmark logs.
    pub logs: Vec<LogSource>,
}

/// Polls one VM. Polls of one VM never overlap: each needs `&mut self`.
pub struct Probe {
    config: ProbeConfig,
    transport: Box<dyn Transport>,
    power: Option<PowerWatch>,
    /// The VM's clock at the last look at its container's log, and that container's id.
    looked: Option<(f64, String)>,
    /// Per log the size that it was last seen to have.
    sizes: Vec<u64>,
}

impl Probe {
    /// A probe that has not connected yet.
    pub fn new(config: ProbeConfig, transport: Box<dyn Transport>, power: Option<PowerSource>) -> Self {
        let sizes = vec![0; config.logs.len()];
        Self { config, transport, power: power.map(PowerWatch::new), looked: None, sizes }
    }

    /// Polls once, within `limit`, and never fails: what went wrong is in the report. `cursors` are those that the last
    /// commit left behind, matched by path; a log without one is read from its start. A `continuation` reads on in logs
    /// whose last reading left bytes unread, and looks at nothing else.
    ///
    /// A VM that does not answer has its power source asked, at most every 30 s, which may take up to 2 s more.
    pub async fn poll(&mut self, poll_no: u64, cursors: &[LogCursor], continuation: bool, limit: Duration) -> Report {
        let begun = Instant::now();
        let request = self.request(cursors, continuation, limit);
        let outcome = self.run(&request).await.and_then(|bytes| reply::read(&request, &bytes));
        let outcome = outcome.map(|reply| self.observe(&request, reply));
        let took = begun.elapsed();
        let mut report = Report { poll_no, took, power: None, power_failure: None, outcome };
        if let Some(power) = &mut self.power {
            match &report.outcome {
                Ok(_) => power.answered(),
                Err(_) => (report.power, report.power_failure) = power.look().await,
            }
        }
        report
    }

    /// The reply of one poll as it came, for people.
    ///
    /// # Errors
    /// As a report's.
    pub async fn raw(&mut self, cursors: &[LogCursor], limit: Duration) -> Result<Vec<u8>, PollFailure> {
        let request = self.request(cursors, false, limit);
        self.run(&request).await
    }

    /// What the last reports brought is not kept: the next one looks at the container's log from its start.
    pub fn look_anew(&mut self) {
        self.looked = None;
    }

    /// How often the transport logged in.
    pub fn logins(&self) -> u64 {
        self.transport.logins()
    }

    /// Whether its connection is kept open now.
    pub fn connected(&self) -> bool {
        self.transport.connected()
    }

    /// Ends the connection; a later poll connects anew.
    pub async fn rest(&mut self) {
        self.look_anew();
        if timeout(CLOSE_TIMEOUT, self.transport.close()).await.is_err() {
            tracing::warn!("a connection did not close in time and is dropped");
        }
    }

    /// Ends the connection. (Dropping a probe ends it too, without a goodbye to the VM.)
    pub async fn close(mut self) {
        self.rest().await;
    }

    fn request(&self, cursors: &[LogCursor], continuation: bool, limit: Duration) -> PollRequest {
        let cursor = |log: &LogSource| {
            let known = cursors.iter().find(|cursor| *cursor.path == *log.path);
            known.cloned().unwrap_or_else(|| LogCursor::start(&log.path))
        };
        PollRequest {
            nonce: Nonce::random(),
            container: self.config.container.clone(),
            container_since: self.looked.as_ref().map(|(at, _)| *at),
            probe_url: self.config.probe_url.clone(),
            process_pattern: self.config.process_pattern.clone(),
            logs: self.config.logs.iter().map(cursor).collect(),
            continuation,
            timeout: limit,
        }
    }

    async fn run(&mut self, request: &PollRequest) -> Result<Vec<u8>, PollFailure> {
        let script = Script::render(request);
        match timeout(request.timeout, self.transport.run(request, &script)).await {
            Ok(answer) => answer,
            Err(_) => {
                let seconds = request.timeout.as_secs_f64();
                Err(PollFailure::new(ErrorCode::SshTimeout, format!("no whole answer within {seconds} s")))
            }
        }
    }

    fn observe(&mut self, request: &PollRequest, reply: Reply) -> Observation {
        let Reply { mut seen, logs } = reply;
        if !request.continuation {
            self.remember(&seen);
        }
        seen.logs = logs.iter().enumerate().map(|(index, raw)| self.read(index, &request.logs[index], raw)).collect();
        seen
    }

    /// The next look at the container's log begins where this one's clock stood (they overlap a little: marks may come
    /// twice, none is missed), and at the container's start if it is another one.
    fn remember(&mut self, seen: &Observation) {
        match (&seen.container, seen.clock) {
            (ContainerSeen::Found(found), Some(at)) => {
                let same = self.looked.as_ref().is_none_or(|(_, id)| *id == found.id);
                self.looked = same.then(|| (at, found.id.clone()));
            }
            (ContainerSeen::DockerUnavailable(_), _) => {}
            _ => self.looked = None,
        }
    }

    fn read(&mut self, index: usize, cursor: &LogCursor, raw: &RawLog) -> LogRead {
        let LogSource { path, profile } = &self.config.logs[index];
        let read = read_log(path, profile, cursor, self.sizes[index], raw);
        if read.exists {
            self.sizes[index] = read.size;
        }
        read
    }
}

/// A power source, and the question that is under way.
struct PowerWatch {
    source: Arc<PowerSource>,
    question: Option<BoxFuture<'static, Result<Power, PollFailure>>>,
    asked_at: Option<Instant>,
    last: Option<Result<Power, PollFailure>>,
}

impl PowerWatch {
    fn new(source: PowerSource) -> Self {
        Self { source: Arc::new(source), question: None, asked_at: None, last: None }
    }

    /// The VM answered: it is on, and what the source said before counts no more.
    fn answered(&mut self) {
        self.question = None;
        self.last = None;
    }

    async fn look(&mut self) -> (Option<Power>, Option<PollFailure>) {
        let due = self.asked_at.is_none_or(|at| at.elapsed() >= self.source.interval());
        if self.question.is_none() && due {
            let source = Arc::clone(&self.source);
            self.asked_at = Some(Instant::now());
            self.question = Some(Box::pin(async move { source.ask().await }));
        }
        if let Some(question) = &mut self.question
            && let Ok(answer) = timeout(POWER_PATIENCE, question).await
        {
            self.question = None;
            self.last = Some(answer);
        }
        match &self.last {
            None => (None, None),
            Some(Ok(power)) => (Some(*power), None),
            Some(Err(failure)) => (None, Some(failure.clone())),
        }
    }
}

#[cfg(test)]
mod tests;
