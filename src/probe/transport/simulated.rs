//! A VM that does not exist: it answers a request with the bytes that the script would print on a VM like its scenario.

use std::time::SystemTime;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Transport;
use crate::model::{ErrorCode, LogCursor, PollFailure, Timestamp};
use crate::probe::reply::ReplyWriter;
use crate::probe::scenario::{LogFile, Moment, Scenario};
use crate::probe::script::{LOG_CHUNK, PollRequest};

/// Answers as a VM would that plays `Scenario`.
#[derive(Debug)]
pub struct Simulated {
    scenario: Scenario,
}

impl Simulated {
    /// A VM that plays `scenario`.
    pub fn new(scenario: Scenario) -> Self {
        Self { scenario }
    }

    /// The reply at `now` (epoch seconds).
    ///
    /// # Errors
    /// `ssh_unreachable` while the scenario's VM does not answer.
    pub fn reply(&self, request: &PollRequest, now: f64) -> Result<Vec<u8>, PollFailure> {
        let moment = self.scenario.moment(now);
        if !self.scenario.reachable(moment) {
            return Err(PollFailure::new(
                ErrorCode::SshUnreachable,
                "connect to host simulated port 22: Connection refused",
            ));
        }
        let mut reply = ReplyWriter::new(&request.nonce).section("clock", format!("{now:.6}").as_bytes());
        if !request.continuation {
            reply = self.whole_vm(reply, request, moment);
        }
        for (index, cursor) in request.logs.iter().enumerate() {
            // Only the first log is written to; further ones are as a worker's that never began.
            let file = if index == 0 { self.scenario.log(moment) } else { None };
            reply = log_sections(reply, index, cursor, file);
        }
        Ok(reply.end())
    }

    fn whole_vm(&self, reply: ReplyWriter, request: &PollRequest, moment: Moment) -> ReplyWriter {
        let Moment { cycle, at } = moment;
        let since = request.container_since.map_or(0.0, |since| {
            let then = self.scenario.moment(since);
            if then.cycle == cycle { then.at } else { 0.0 }
        });
        let container = match &request.container {
            None => "none".to_owned(),
            Some(name) => {
                let id = format!("{:064x}", 0xc0ffee_u64 + cycle);
                let started = rfc3339(self.scenario.container_started(cycle));
                let image = "windowsarena/winarena:latest";
                format!("found\n{}", serde_json::json!([id, format!("/{name}"), image, "running", started]))
            }
        };
        let process = if self.scenario.process_runs(moment) {
            format!("process {} {}", 1_000 + cycle, 100_000 + cycle * 10_000)
        } else {
            "process none".to_owned()
        };
        let inside = format!(
            "{process}\nstorage 31457280 62914560\nmemory {} 8589934592\nqemu open\ndone",
            3_221_225_472_u64 + at as u64
        );
        let probe = match (&request.probe_url, self.scenario.probe_answers(moment)) {
            (None, _) => "none".to_owned(),
            (Some(_), true) => {
                "answered\n{\"status\":\"Probe successful\",\"message\":\"Service is operational\"}\n200".to_owned()
            }
            (Some(_), false) => "answered\n\n000".to_owned(),
        };
        let boot = self.scenario.container_log(since, at);
        reply
            .section("container", container.as_bytes())
            .section("boot", boot.as_bytes())
            .section("inside", inside.as_bytes())
            .section("probe", probe.as_bytes())
    }
}

/// As Docker prints a time.
fn rfc3339(at: f64) -> String {
    let at = OffsetDateTime::from_unix_timestamp(at as i64).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    at.format(&Rfc3339).unwrap_or_default()
}

fn log_sections(reply: ReplyWriter, index: usize, cursor: &LogCursor, file: Option<LogFile>) -> ReplyWriter {
    let name = |part: &str| format!("log.{index}.{part}");
    let Some(LogFile { inode, bytes }) = file else {
        return reply.section(&name("stat"), b"missing");
    };
    let offset = usize::try_from(cursor.offset).unwrap_or(usize::MAX).min(bytes.len());
    let data_end = bytes.len().min(offset.saturating_add(LOG_CHUNK as usize));
    reply
        .section(&name("stat"), format!("64768 {inode} {}", bytes.len()).as_bytes())
        .section(&name("data"), &bytes[offset..data_end])
        .section(&name("head"), &bytes[..bytes.len().min(1024)])
        .section(&name("before"), &bytes[offset.saturating_sub(256)..offset])
}

impl Transport for Simulated {
    fn run<'a>(
        &'a mut self,
        request: &'a PollRequest,
        _script: &'a str,
    ) -> BoxFuture<'a, Result<Vec<u8>, PollFailure>> {
        std::future::ready(self.reply(request, Timestamp::from(SystemTime::now()).0)).boxed()
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        std::future::ready(()).boxed()
    }

    fn logins(&self) -> u64 {
        0
    }
}
