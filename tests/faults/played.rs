//! A VM of transport `local`, or a lab: a benchmark process that only is there, and logs that are written in pieces cut anywhere.

use std::collections::VecDeque;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::lab::Lab;
use crate::lab::play::{Dialect, Outcome, Play};

/// How a log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Runs of some tasks, one after the other.
    Openadapt,
    /// One run of so many workers, whose lines stand between one another's.
    Waa(usize),
}

/// A VM whose logs a test writes.
pub struct Played {
    /// As in the configuration.
    pub name: String,
    /// `pgrep -f` finds the benchmark by it, and nothing else.
    pub process: String,
    toml: String,
    benchmark: Option<Child>,
    logs: Vec<Log>,
    _dir: Option<tempfile::TempDir>,
}

struct Log {
    path: PathBuf,
    lane: String,
    kind: Kind,
    random: StdRng,
    serial: u64,
    /// What is still to be written of the run (or round) that plays.
    rest: VecDeque<u8>,
    /// Its tasks.
    playing: Vec<String>,
    /// The tasks of all that were written whole.
    written: Vec<String>,
}

impl Played {
    /// One with a log of each of `kinds`, whose benchmark runs. Without any it never writes one.
    pub fn new(name: &str, kinds: &[Kind], seed: u64) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let dir = tempfile::tempdir().expect("a folder");
        let process = format!("gwplayed-{}-{}-", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let logs = kinds.iter().enumerate().map(|(n, kind)| {
            let path = dir.path().join(format!("benchmark-{n}.log"));
            Log::new(path, format!("{name}-{n}"), *kind, seed.wrapping_add(n as u64))
        });
        let logs: Vec<Log> = logs.collect();
        let toml = local(name, &process, &logs, dir.path());
        let benchmark = Command::new("sleep")
            .arg0(&process)
            .arg("infinity")
            .stdin(Stdio::null())
            .spawn()
            .expect("sleep is part of every Debian");
        Self { name: name.to_owned(), process, toml, benchmark: Some(benchmark), logs, _dir: Some(dir) }
    }

    /// One that writes the log of `lab`, whose benchmark is the lab's own affair.
    pub fn of_lab(name: &str, lab: &Lab, kind: Kind, seed: u64) -> Self {
        let logs = vec![Log::new(lab.log.clone(), format!("{name}-0"), kind, seed)];
        Self {
            name: name.to_owned(),
            process: String::new(),
            toml: lab.vm_toml(name),
            benchmark: None,
            logs,
            _dir: None,
        }
    }

    /// Its entry in the configuration.
    pub fn toml(&self) -> String {
        self.toml.clone()
    }

    /// Writes a piece of at most `most` bytes to each log.
    pub fn write(&mut self, most: usize) {
        for log in &mut self.logs {
            log.write(most);
        }
    }

    /// Writes a text of the test's own to the first log, whole: that of `tasks`, each closed by it.
    pub fn put(&mut self, text: &str, tasks: impl IntoIterator<Item = String>) {
        let log = &mut self.logs[0];
        log.finish();
        log.rest.extend(text.bytes());
        log.playing.extend(tasks);
        log.finish();
    }

    /// Writes each log's run to its end; gives all that was written so far.
    pub fn finish(&mut self) -> Vec<String> {
        for log in &mut self.logs {
            log.finish();
        }
        self.written()
    }

    /// The tasks of all runs that were written whole, each closed by a line of its log.
    pub fn written(&self) -> Vec<String> {
        self.logs.iter().flat_map(|log| log.written.iter().cloned()).collect()
    }

    /// Rotates each log as logrotate does, at the end of a run: renames it and makes a new one.
    pub fn rotate(&mut self) {
        for log in &mut self.logs {
            log.finish();
            fs::rename(&log.path, log.path.with_extension("log.1")).expect("renamed");
            fs::File::create(&log.path).expect("made");
        }
    }

    /// Empties each log in place, at the end of a run. What no poll has read by then is gone.
    pub fn truncate(&mut self) {
        for log in &mut self.logs {
            log.finish();
            OpenOptions::new().write(true).open(&log.path).and_then(|file| file.set_len(0)).expect("emptied");
        }
    }

    /// The benchmark process ends.
    pub fn end(&mut self) {
        if let Some(mut benchmark) = self.benchmark.take() {
            let _ = benchmark.kill();
            let _ = benchmark.wait();
        }
    }
}

impl Drop for Played {
    fn drop(&mut self) {
        self.end();
    }
}

/// The entry of a VM that is this machine.
fn local(name: &str, process: &str, logs: &[Log], dir: &Path) -> String {
    let mut logs: Vec<String> = logs.iter().map(|log| log.path.display().to_string()).collect();
    if logs.is_empty() {
        logs.push(dir.join("benchmark.log").display().to_string());
    }
    format!(
        "[[vm]]\nname = {name:?}\ntransport = \"local\"\ncontainer = \"\"\nprobe_url = \"\"\nprocess = {process:?}\n\
         benchmark_log = {logs:?}\n",
    )
}

impl Log {
    fn new(path: PathBuf, lane: String, kind: Kind, seed: u64) -> Self {
        Self {
            path,
            lane,
            kind,
            random: StdRng::seed_from_u64(seed),
            serial: 0,
            rest: VecDeque::new(),
            playing: Vec::new(),
            written: Vec::new(),
        }
    }

    fn write(&mut self, most: usize) {
        if self.rest.is_empty() {
            self.begin();
        }
        let size = self.random.random_range(1..=most);
        self.put(size);
    }

    fn finish(&mut self) {
        let all = self.rest.len();
        self.put(all);
    }

    fn put(&mut self, size: usize) {
        let size = size.min(self.rest.len());
        let piece: Vec<u8> = self.rest.drain(..size).collect();
        let file = OpenOptions::new().create(true).append(true).open(&self.path);
        file.and_then(|mut file| file.write_all(&piece)).expect("written");
        if self.rest.is_empty() {
            self.written.append(&mut self.playing);
        }
    }

    /// Decides the next run, or the next round of every worker.
    fn begin(&mut self) {
        let tasks = self.random.random_range(3..=8);
        let text = match self.kind {
            Kind::Openadapt => self.play(Dialect::Openadapt, tasks, ""),
            Kind::Waa(workers) => {
                let texts = (1..=workers).map(|n| {
                    let text = self.play(Dialect::Waa, tasks, &format!("-{n}"));
                    text.replace("MainProcess", &format!("Process-{n}"))
                });
                let texts: Vec<String> = texts.collect();
                self.shuffle(&texts)
            }
        };
        self.rest.extend(text.into_bytes());
    }

    fn play(&mut self, dialect: Dialect, tasks: usize, worker: &str) -> String {
        let mut play = Play::new(dialect, tasks, self.random.random());
        for task in &mut play.tasks {
            self.serial += 1;
            let name = format!("{}{worker}-{:06}", self.lane, self.serial);
            task.id = if dialect == Dialect::Waa { format!("chrome/{name}") } else { name };
            self.playing.push(task.id.clone());
        }
        if let Some(last) = play.tasks.last_mut() {
            // Without a result it would be closed by the next run only.
            last.outcome = Outcome::Scored(1.0);
        }
        play.log_text()
    }

    /// The lines of all texts, each text's in their order.
    fn shuffle(&mut self, texts: &[String]) -> String {
        let mut lines: Vec<_> = texts.iter().map(|text| text.split_inclusive('\n').peekable()).collect();
        let mut mixed = String::new();
        while lines.iter_mut().any(|lines| lines.peek().is_some()) {
            let next = self.random.random_range(0..lines.len());
            mixed.push_str(lines[next].next().unwrap_or_default());
        }
        mixed
    }
}
