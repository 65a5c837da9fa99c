//! The reply's framing and its strict reading.
//!
//! A reply is a row of sections, each headed by a line `--NONCE NAME` that begins after a newline of its own, and closed by
//! the section `end`. What stands before the first heading (a login shell's chatter) is ignored. A line break may precede
//! any heading; a section's content ends right before the `\n` that precedes the next heading. In order:
//!
//! | section | content |
//! |---|---|
//! | `clock` | epoch seconds with fraction, as `date +%s.%N` prints |
//! | `container` | `none`, `missing`, `unavailable` + line(s) of what docker said, or `found` + a line with a JSON array of the five texts Id, Name, Config.Image, State.Status, State.StartedAt |
//! | `boot` | of the container's log since the last poll the lines that tell of the boot; then, behind a line with a form feed, the newest ones |
//! | `inside` | lines: `process PID TICKS` each, or `process none`, or `process failed WHY`; then `storage USED_KIB TOTAL_KIB`, `memory USED LIMIT` in bytes (LIMIT `max`: none), `qemu open` or `qemu closed`, each only if known; last `done` |
//! | `probe` | `none`, or `answered` + newline + body + newline + HTTP status of three digits (`000`: silence), or `answered` + newline + `unknown` if nothing there can ask |
//! | `log.I.stat` | `DEV INODE SIZE`, or `missing`, or `unreadable WHY` |
//! | `log.I.data` | the bytes from the cursor's offset, at most [`LOG_CHUNK`](super::script::LOG_CHUNK). This and the next two only after a stat of numbers |
//! | `log.I.head` | the first 1024 bytes |
//! | `log.I.before` | the 256 bytes (fewer near the start) before the cursor's offset |
//! | `log.I.old.stat`, `.data`, `.head`, `.before` | the same of the file in that folder that has the cursor's inode, if the path has another one now and it was found |
//! | `end` | nothing |
//!
//! A continuation has `clock`, the logs and `end`.

use memchr::memmem;
use serde::Deserialize;

use super::boot;
use super::log::{BEFORE_LEN, HEAD_LEN, RawFile, RawLog};
use super::script::LOG_CHUNK;
use super::{Nonce, PollRequest};
use crate::model::{
    Container, ContainerSeen, ErrorCode, LogCursor, MemoryUse, Observation, PollFailure, ProbeReply, ProcessCheck,
    ProcessSeen, StorageUse,
};

/// Most characters of a text of the VM's that goes into an observation.
const TEXT_CHARS: usize = 500;
/// A cgroup v1 limit from here on means that there is none.
const NO_LIMIT: u64 = 1 << 60;

/// Writes a reply as the script would: for simulated VMs and tests.
#[derive(Debug)]
pub struct ReplyWriter {
    nonce: Nonce,
    bytes: Vec<u8>,
}

impl ReplyWriter {
    /// An empty reply to the request that carried `nonce`.
    pub fn new(nonce: &Nonce) -> Self {
        Self { nonce: nonce.clone(), bytes: Vec::new() }
    }

    /// Adds a section. The names, their order and their contents are those of `sections` below.
    #[must_use]
    pub fn section(mut self, name: &str, content: &[u8]) -> Self {
        self.bytes.extend_from_slice(format!("\n--{} {name}\n", self.nonce.as_str()).as_bytes());
        self.bytes.extend_from_slice(content);
        self
    }

    /// Closes the reply.
    pub fn end(self) -> Vec<u8> {
        self.section("end", b"").bytes
    }
}

/// A reply, read.
#[derive(Clone, Debug)]
pub struct Reply {
    /// What the VM answered, still without its logs.
    pub seen: Observation,
    /// One per log of the request, in its order.
    pub logs: Vec<RawLog>,
}

/// Reads the reply to `request`.
///
/// # Errors
/// `ReplyTooLarge` above [`PollRequest::reply_cap`]; `ReplyMalformed` if it is empty, cut anywhere, or has other sections
/// than were asked for. Nothing of such a reply is believed.
pub fn read(request: &PollRequest, bytes: &[u8]) -> Result<Reply, PollFailure> {
    if bytes.len() as u64 > request.reply_cap() {
        return Err(too_large(request));
    }
    let mut sections = Sections::of(bytes, &request.nonce)?;
    let mut seen = Observation::empty(None);
    seen.continuation = request.continuation;
    // `date` without nanoseconds leaves `%N` or nothing behind the point.
    let clock = text(sections.take("clock")?);
    let digits = clock.trim().trim_end_matches(|c: char| !c.is_ascii_digit());
    seen.clock = digits.parse().ok().filter(|at: &f64| at.is_finite());
    if !request.continuation {
        seen.container = container(&text(sections.take("container")?))?;
        let log = text(sections.take("boot")?);
        seen.boot = boot::marks(&log);
        seen.container_log_tail = boot::tail(log.rsplit_once("\n\u{c}\n").map_or(&*log, |(_, newest)| newest));
        inside(&text(sections.take("inside")?), &mut seen);
        seen.probe = probe(&text(sections.take("probe")?))?;
    }
    let logs = request
        .logs
        .iter()
        .enumerate()
        .map(|(index, cursor)| log(&mut sections, index, cursor))
        .collect::<Result<_, _>>()?;
    sections.finish()?;
    Ok(Reply { seen, logs })
}

/// The failure of a reply above the cap.
pub fn too_large(request: &PollRequest) -> PollFailure {
    PollFailure::new(ErrorCode::ReplyTooLarge, format!("the reply exceeds {} bytes", request.reply_cap()))
}

fn malformed(why: impl AsRef<str>) -> PollFailure {
    PollFailure::new(ErrorCode::ReplyMalformed, why)
}

/// The sections of a reply, taken in their order.
struct Sections<'a> {
    rest: std::vec::IntoIter<(&'a str, &'a [u8])>,
}

impl<'a> Sections<'a> {
    fn of(bytes: &'a [u8], nonce: &Nonce) -> Result<Self, PollFailure> {
        if bytes.is_empty() {
            return Err(malformed("the VM answered nothing: is there a POSIX shell for this user?"));
        }
        let mark = format!("\n--{} ", nonce.as_str());
        let starts: Vec<usize> = memmem::find_iter(bytes, &mark).collect();
        let mut sections = Vec::with_capacity(starts.len());
        for (index, start) in starts.iter().enumerate() {
            let end = starts.get(index + 1).copied().unwrap_or(bytes.len());
            let section = &bytes[start + mark.len()..end];
            let line =
                memchr::memchr(b'\n', section).ok_or_else(|| malformed("the reply is cut short in a heading"))?;
            let name = std::str::from_utf8(&section[..line]).map_err(|_| malformed("a section's name is not text"))?;
            sections.push((name, &section[line + 1..]));
        }
        match sections.pop() {
            None => Err(malformed("the reply has no sections: does the login run another command?")),
            Some(("end", [])) => Ok(Self { rest: sections.into_iter() }),
            Some((name, _)) => Err(malformed(format!("the reply is cut short in its section {name}"))),
        }
    }

    fn take(&mut self, expected: &str) -> Result<&'a [u8], PollFailure> {
        match self.rest.next() {
            Some((name, content)) if name == expected => Ok(content),
            Some((name, _)) => Err(malformed(format!("the reply has section {name} where {expected} belongs"))),
            None => Err(malformed(format!("the reply has no section {expected}"))),
        }
    }

    fn next_is(&self, name: &str) -> bool {
        self.rest.as_slice().first().is_some_and(|(next, _)| *next == name)
    }

    fn finish(mut self) -> Result<(), PollFailure> {
        match self.rest.next() {
            None => Ok(()),
            Some((name, _)) => Err(malformed(format!("the reply has a section {name} that was not asked for"))),
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// One line for people: control characters become spaces, at most 500 characters.
fn line(text: &str) -> String {
    text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(TEXT_CHARS).collect()
}

fn container(section: &str) -> Result<ContainerSeen, PollFailure> {
    #[derive(Deserialize)]
    struct Described(String, String, String, String, String);

    let (word, rest) = section.split_once('\n').unwrap_or((section, ""));
    match word {
        "none" => Ok(ContainerSeen::NotConfigured),
        "missing" => Ok(ContainerSeen::Missing),
        "unavailable" => Ok(ContainerSeen::DockerUnavailable(line(rest))),
        "found" => {
            let Described(id, name, image, state, started_at) = serde_json::from_str(rest.trim())
                .map_err(|e| malformed(format!("docker described the container in a way not understood: {e}")))?;
            Ok(ContainerSeen::Found(Container {
                id: line(&id),
                name: line(name.trim_start_matches('/')),
                image: line(&image),
                running: state == "running",
                state: line(&state),
                started_at: line(&started_at),
            }))
        }
        other => Err(malformed(format!("the reply calls the container {other:?}"))),
    }
}

/// What ran inside the container is only as trustworthy as the container: what cannot be read is left unknown.
fn inside(section: &str, seen: &mut Observation) {
    let mut oldest: Option<ProcessSeen> = None;
    let mut none = false;
    let mut failed = None;
    let mut done = false;
    for row in section.lines() {
        let (word, rest) = row.split_once(' ').unwrap_or((row, ""));
        let two = rest.split_once(' ');
        match word {
            "process" if rest == "none" => none = true,
            "process" if rest.starts_with("failed ") => failed = Some(line(&rest["failed ".len()..])),
            "process" => {
                let pid = two.and_then(|(pid, ticks)| Some((pid.parse().ok()?, ticks.trim().parse().unwrap_or(0))));
                let found = pid.map(|(pid, start_ticks)| ProcessSeen { pid, start_ticks });
                oldest = [oldest, found].into_iter().flatten().min_by_key(|one| (one.start_ticks, one.pid));
            }
            "storage" => seen.storage = two.and_then(|(used, total)| storage(used, total)),
            "memory" => seen.memory = two.and_then(|(used, limit)| memory(used, limit)),
            "qemu" => seen.qemu_monitor = Some(rest == "open"),
            "done" => done = true,
            _ => {}
        }
    }
    seen.process = Some(match (failed, oldest) {
        (Some(why), _) => ProcessCheck::Failed(why),
        (None, _) if !done => ProcessCheck::Failed(match line(section) {
            said if said.is_empty() => "the container's shell said nothing".to_owned(),
            said => said,
        }),
        (None, Some(process)) => ProcessCheck::Present(process),
        (None, None) if none => ProcessCheck::Absent,
        (None, None) => ProcessCheck::Failed("the process list could not be read".to_owned()),
    });
}

fn storage(used: &str, total: &str) -> Option<StorageUse> {
    let bytes = |kib: &str| kib.trim().parse::<u64>().ok()?.checked_mul(1024);
    Some(StorageUse { used: bytes(used)?, total: bytes(total)? })
}

fn memory(used: &str, limit: &str) -> Option<MemoryUse> {
    let limit = limit.trim().parse().ok().filter(|limit| *limit < NO_LIMIT);
    Some(MemoryUse { used: used.trim().parse().ok()?, limit })
}

fn probe(section: &str) -> Result<ProbeReply, PollFailure> {
    let (word, rest) = section.split_once('\n').unwrap_or((section, ""));
    match word {
        "none" => Ok(ProbeReply::NotConfigured),
        "answered" => {
            let (body, status) = rest.trim_end_matches('\n').rsplit_once('\n').unwrap_or(("", rest.trim()));
            let answered = status.len() == 3 && status.starts_with('2');
            Ok(if answered { ProbeReply::Answered(line(body)) } else { ProbeReply::Silent })
        }
        other => Err(malformed(format!("the reply calls the probe {other:?}"))),
    }
}

fn log(sections: &mut Sections<'_>, index: usize, cursor: &LogCursor) -> Result<RawLog, PollFailure> {
    let prefix = format!("log.{index}");
    let stat = text(sections.take(&format!("{prefix}.stat"))?);
    let mut raw = RawLog::default();
    match stat.trim_end() {
        "missing" => {}
        other => match other.strip_prefix("unreadable ") {
            Some(why) => raw.unreadable = Some(line(why)),
            None => raw.current = Some(file(sections, &prefix, other, cursor)?),
        },
    }
    let old = format!("{prefix}.old");
    let old_stat = format!("{old}.stat");
    if sections.next_is(&old_stat) {
        let stat = text(sections.take(&old_stat)?);
        raw.renamed = Some(file(sections, &old, stat.trim_end(), cursor)?);
    }
    Ok(raw)
}

fn file(sections: &mut Sections<'_>, prefix: &str, stat: &str, cursor: &LogCursor) -> Result<RawFile, PollFailure> {
    let numbers: Option<Vec<u64>> = stat.split(' ').map(|number| number.parse().ok()).collect();
    let Some([dev, inode, size]) = numbers.as_deref() else {
        return Err(malformed(format!("the reply says of {prefix}: {stat:?}")));
    };
    let mut part = |name: &str, cap: usize| {
        let bytes = sections.take(&format!("{prefix}.{name}"))?;
        if bytes.len() > cap {
            return Err(malformed(format!("section {prefix}.{name} is longer than was asked for")));
        }
        Ok(bytes.to_vec())
    };
    let data = part("data", LOG_CHUNK as usize)?;
    let head = part("head", HEAD_LEN)?;
    let before = part("before", BEFORE_LEN)?;
    Ok(RawFile { dev: *dev, inode: *inode, size: *size, head, before, data_offset: cursor.offset, data })
}

#[cfg(test)]
mod tests;
