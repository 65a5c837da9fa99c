//! How fast logs become facts: MB/s on one core, per dialect.

mod figures;

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use figures::{Figures, Spread, cpu};
use gatewatch::model::LogCursor;
use gatewatch::probe::log::{
    BEFORE_LEN, CHUNK, CustomDialect, CustomPatterns, HEAD_LEN, Profile, RawFile, RawLog, read_log,
};

/// The log's path on the VM.
const LOG: &str = "/tmp/waa_benchmark.log";
/// Bytes of each log.
const SIZE: usize = 8 << 20;
/// How often each log's speed is measured, the logs taking turns.
const REPEATS: usize = 7;
/// How long one measurement reads a log again and again.
const TIME: Duration = Duration::from_millis(300);
/// What the dialects that come with gatewatch must reach, MB/s.
const GOAL: f64 = 200.0;

/// A log, and what the probe script would answer to each poll of it.
struct Case {
    name: &'static str,
    /// Whether [`GOAL`] is its goal.
    has_goal: bool,
    profile: Profile,
    bytes: u64,
    polls: Vec<RawLog>,
}

fn main() -> figures::Result<()> {
    let Some(mut figures) = Figures::begin("log_parse") else { return Ok(()) };
    let cases = [
        Case::new("openadapt", true, Profile::Openadapt, &openadapt()),
        Case::new("waa", true, Profile::Waa, &waa()),
        Case::new("auto, an openadapt log", true, Profile::Auto, &openadapt()),
        Case::new("auto, a waa log", true, Profile::Auto, &waa()),
        Case::new("custom, five expressions", false, custom(), &openadapt()),
        Case::new("auto, one line without an end", false, Profile::Auto, &vec![b'x'; SIZE]),
        Case::new("auto, random bytes", false, Profile::Auto, &binary()),
    ];
    let mut speeds = vec![Vec::new(); cases.len()];
    for _ in 0..REPEATS {
        for (case, speeds) in cases.iter().zip(&mut speeds) {
            speeds.push(case.speed());
        }
    }
    for (case, speeds) in cases.iter().zip(speeds) {
        let speed = Spread::of(speeds);
        let goal = case.has_goal.then_some(("at least 200 MB/s", speed.median() >= GOAL));
        figures.row(format!("log parsing, {}", case.name), speed.shown("MB/s", 0), goal);
        figures.spread(&format!("{} MB/s", case.name), &speed);
    }
    figures.end()
}

impl Case {
    fn new(name: &'static str, has_goal: bool, profile: Profile, log: &[u8]) -> Self {
        let (mut polls, mut cursor, mut more) = (Vec::new(), LogCursor::start(LOG), true);
        while more {
            let poll = ask(log, &cursor);
            (cursor, more) = read(&profile, &cursor, &poll);
            polls.push(poll);
        }
        Self { name, has_goal, profile, bytes: cursor.offset, polls }
    }

    /// MB per second of CPU time: what else runs on the machine does not count.
    fn speed(&self) -> f64 {
        let (began, spent) = (Instant::now(), cpu());
        let mut bytes = 0;
        while began.elapsed() < TIME {
            let mut cursor = LogCursor::start(LOG);
            for poll in &self.polls {
                (cursor, _) = read(&self.profile, &cursor, poll);
            }
            bytes += self.bytes;
        }
        bytes as f64 / 1e6 / (cpu() - spent).as_secs_f64()
    }
}

/// Reads what one poll brought: the cursor behind it, and whether there is more.
fn read(profile: &Profile, cursor: &LogCursor, poll: &RawLog) -> (LogCursor, bool) {
    let read = black_box(read_log(&Arc::from(LOG), profile, cursor, 0, poll));
    let cursor = read.parts.last().map_or_else(|| cursor.clone(), |part| part.cursor.clone());
    (cursor, read.unread > 0)
}

/// What the probe script would answer.
fn ask(log: &[u8], cursor: &LogCursor) -> RawLog {
    let at = cursor.offset as usize;
    let file = RawFile {
        dev: 1,
        inode: 1,
        size: log.len() as u64,
        head: log[..log.len().min(HEAD_LEN)].to_vec(),
        before: log[at.saturating_sub(BEFORE_LEN)..at].to_vec(),
        data_offset: cursor.offset,
        data: log[at..log.len().min(at + CHUNK)].to_vec(),
    };
    RawLog { current: Some(file), ..RawLog::default() }
}

/// A log of `task(n)` for n from 1 until it is long enough.
fn grown(mut task: impl FnMut(&mut String, usize)) -> Vec<u8> {
    let mut log = String::new();
    for n in 1.. {
        task(&mut log, n);
        if log.len() >= SIZE {
            break;
        }
    }
    log.into_bytes()
}

fn openadapt() -> Vec<u8> {
    grown(|log, n| {
        let time = format!("2026-01-02 10:11:{:02},345 - INFO -", n % 60);
        let _ = writeln!(log, "{time} Task {}/30: notepad_{n}\n{time} Running task: task_{n:03}", n % 30 + 1);
        for step in 1..=15 {
            let _ = writeln!(log, "Step {step}: CLICK");
            let _ = writeln!(log, "{time} Sending the screenshot (1280x720, 214 kB) to the model, attempt 1 of 3");
            let _ = writeln!(log, "{time} Response in 2.31 s: the button is at the top right, so I click on it next");
        }
        let _ = writeln!(log, "{time} Task task_{n:03} completed successfully\nResult: PASS\nScore: 0.85");
    })
}

fn waa() -> Vec<u8> {
    grown(|log, n| {
        let prefix = format!(
            "\x1b[1;33m[2026-01-02 10:11:{:02},345 \x1b[31mINFO \x1b[32mrun/245-MainProcess\x1b[1;33m] \x1b[0m",
            n % 60
        );
        let _ = write!(log, "\rExample:  40%|████      | {}/30 [10:11<15:16, 305.6s/it]", n % 30);
        let _ = writeln!(log, "{prefix}[Domain]: chrome\n{prefix}[Example ID]: {n:08}-WOS");
        let _ = writeln!(log, "{prefix}[Instruction]: Change the default search engine of the browser to another one");
        for step in 1..=15 {
            let _ = writeln!(log, "{prefix}Agent: Thinking...");
            let _ = writeln!(log, "The page shows a list of settings; the search engine is the third of them.");
            let _ = writeln!(
                log,
                "{prefix}Step {step}: computer.click(x=10, y=20)\n{prefix}Reward: 0.00\n{prefix}Done: False"
            );
        }
        let _ = writeln!(log, "{prefix}The episode is done.\n{prefix}Running evaluator(s)...");
        let _ = writeln!(log, "{prefix}Result: 1.00\n{prefix}Finished chrome/{n:08}-WOS");
    })
}

/// The custom dialect that reads what `openadapt` writes.
fn custom() -> Profile {
    let some = |pattern: &str| Some(pattern.to_owned());
    let patterns = CustomPatterns {
        task_start: some(r"Task (?<number>\d+)/(?<total>\d+): (?<title>.*)"),
        task: some(r"Running task: (?<task>\S+)"),
        step: some(r"^Step (?<step>\d+): (?<action>\w+)"),
        outcome: some(r"^Result: (?:(?<pass>PASS)|(?<fail>FAIL))"),
        score: some(r"^Score: (?<score>[0-9.]+)"),
        ..CustomPatterns::default()
    };
    Profile::Custom(Arc::new(CustomDialect::new(&patterns).expect("the patterns above are well formed")))
}

/// Bytes without a pattern (xorshift).
fn binary() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(SIZE)
    .collect()
}
