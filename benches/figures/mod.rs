//! What every bench shares: spreads of repeated measurements, CPU time, and figures as text and as one line of JSON.
#![allow(dead_code, reason = "no bench uses all of it")]
#![allow(clippy::print_stdout, reason = "a bench's output is its purpose")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// What may go wrong, in words for whoever runs the bench.
pub(crate) type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

/// Where a bench leaves its figures for the report.
pub(crate) fn file_of(bench: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("figures").join(format!("{bench}.json"))
}

/// What a figure is to be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Goal {
    pub(crate) text: String,
    pub(crate) met: bool,
}

/// One figure for people.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) measured: String,
    pub(crate) goal: Option<Goal>,
}

/// What one bench found out.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) bench: String,
    /// The machine's load averages before the bench began: above its count of cores, times are longer than they need be.
    pub(crate) load: String,
    /// Why some figures, or all, are not here.
    pub(crate) missing: Vec<String>,
    pub(crate) rows: Vec<Row>,
    pub(crate) values: Map<String, Value>,
}

impl Figures {
    /// Begins a bench; `None` where it is run as a test, which would only cost time.
    pub(crate) fn begin(bench: &str) -> Option<Self> {
        if !std::env::args().any(|arg| arg == "--bench") {
            return None;
        }
        // What an earlier run left must not be taken for this one's.
        let _ = fs::remove_file(file_of(bench));
        println!("\n{bench}");
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split(' ').take(3).collect::<Vec<_>>().join(" ");
        Some(Self { bench: bench.to_owned(), load, missing: Vec::new(), rows: Vec::new(), values: Map::new() })
    }

    /// A figure for people.
    pub(crate) fn row(&mut self, what: impl Into<String>, measured: impl Into<String>, goal: Option<(&str, bool)>) {
        let goal = goal.map(|(text, met)| Goal { text: text.to_owned(), met });
        let row = Row { what: what.into(), measured: measured.into(), goal };
        let told = match &row.goal {
            Some(Goal { text, met }) => format!("   goal {text}: {}", verdict(*met)),
            None => String::new(),
        };
        println!("  {}\n      {}{told}", row.what, row.measured);
        self.rows.push(row);
    }

    /// A figure for programs.
    pub(crate) fn value(&mut self, name: &str, value: impl Into<Value>) {
        self.values.insert(name.to_owned(), value.into());
    }

    /// A spread for programs.
    pub(crate) fn spread(&mut self, name: &str, spread: &Spread) {
        let round = |value: f64| (value * 1000.0).round() / 1000.0;
        let all = json!({
            "n": spread.count(), "min": round(spread.min()), "p50": round(spread.median()),
            "p95": round(spread.at(0.95)), "max": round(spread.max()),
        });
        self.value(name, all);
    }

    /// Says why figures are not here.
    pub(crate) fn lacks(&mut self, why: impl Into<String>) {
        let why = why.into();
        println!("  MISSING: {why}");
        self.missing.push(why);
    }

    /// Prints the line of JSON and leaves the figures for the report.
    pub(crate) fn end(self) -> Result<()> {
        let text = serde_json::to_string(&self)?;
        println!("{}", json!({ "bench": self.bench, "missing": self.missing, "figures": self.values }));
        let file = file_of(&self.bench);
        fs::create_dir_all(file.parent().unwrap_or(&file))?;
        Ok(fs::write(file, text)?)
    }
}

/// A goal's verdict in one word.
pub(crate) fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "MISSED" }
}

/// The same thing measured again and again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spread(Vec<f64>);

impl Spread {
    /// At least one measurement is needed; none reads as zero.
    pub(crate) fn of(measured: impl IntoIterator<Item = f64>) -> Self {
        let mut all: Vec<f64> = measured.into_iter().collect();
        all.sort_by(f64::total_cmp);
        Self(all)
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The value below or at which `share` (0 to 1) of all lie.
    pub(crate) fn at(&self, share: f64) -> f64 {
        let rank = (share * self.0.len() as f64).ceil() as usize;
        self.0.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }

    pub(crate) fn min(&self) -> f64 {
        self.at(0.0)
    }

    pub(crate) fn median(&self) -> f64 {
        self.at(0.5)
    }

    pub(crate) fn max(&self) -> f64 {
        self.at(1.0)
    }

    /// How many are at most `limit`.
    pub(crate) fn within(&self, limit: f64) -> usize {
        self.0.iter().filter(|value| **value <= limit).count()
    }

    /// For people: median, p95 and range in `unit`, with `digits` after the point.
    pub(crate) fn shown(&self, unit: &str, digits: usize) -> String {
        let [median, p95, min, max] =
            [self.median(), self.at(0.95), self.min(), self.max()].map(|value| format!("{value:.digits$}"));
        format!("**{median}** {unit} (p95 {p95}, {min} to {max}, n = {})", self.count())
    }
}

/// CPU time of this process so far, user and system, without the threads of the test VM (`lab-...`).
///
/// The kernel's own nanosecond counts per thread; a thread's count is brought up to date when it yields. Time of a thread
/// that has ended is not in it, so compare two readings between which none ends.
pub(crate) fn cpu() -> Duration {
    std::thread::yield_now();
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let nanos = tasks.map(|task| {
        let read = |file: &str| fs::read_to_string(task.path().join(file)).unwrap_or_default();
        let ours = !read("comm").starts_with("lab-");
        let spent = read("schedstat").split(' ').next().and_then(|nanos| nanos.parse().ok());
        spent.filter(|_| ours).unwrap_or(0)
    });
    Duration::from_nanos(nanos.sum())
}

/// Memory that this process holds now, bytes.
pub(crate) fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Milliseconds.
pub(crate) fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
