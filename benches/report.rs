//! Writes what the other benches found into `docs/PERFORMANCE.md`, between its two markers.

mod figures;

use std::fmt::Write as _;
use std::fs;

use figures::{Figures, Goal, Result, file_of, verdict};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/PERFORMANCE.md");
const BEGIN: &str = "<!-- written by `make bench`: begin -->\n";
const END: &str = "<!-- written by `make bench`: end -->\n";

/// The benches whose figures stand on the page, in its order, each with its heading.
const BENCHES: [(&str, &str); 8] = [
    ("log_parse", "Logs to facts"),
    ("poll", "One poll of a real VM"),
    ("delivery", "From the log to thirty clients"),
    ("fan_out", "Fan-out in the hub"),
    ("journal", "On the disk, and read back"),
    ("edge", "What the edge adds to a request"),
    ("scrape", "What Prometheus waits for"),
    ("replicas", "Several replicas"),
];

fn main() -> Result<()> {
    // Run as a test it has nothing to report.
    if !std::env::args().any(|arg| arg == "--bench") {
        return Ok(());
    }
    let mut text = machine();
    for (bench, heading) in BENCHES {
        let _ = write!(text, "\n### {heading}\n\n");
        let file = file_of(bench);
        match fs::read(&file) {
            Ok(figures) => section(&mut text, &serde_json::from_slice(&figures)?),
            Err(_) => text += "Not measured: this bench did not end.\n",
        }
        // A later page must not show them as its own.
        let _ = fs::remove_file(file);
    }
    let page = fs::read_to_string(PAGE)?;
    let (before, rest) = page.split_once(BEGIN).ok_or("the page has lost its first marker")?;
    let (_, after) = rest.split_once(END).ok_or("the page has lost its second marker")?;
    fs::write(PAGE, format!("{before}{BEGIN}\n{text}\n{END}{after}"))?;
    Ok(())
}

fn section(text: &mut String, figures: &Figures) {
    for why in &figures.missing {
        let _ = writeln!(text, "Not measured: {why}\n");
    }
    if !figures.rows.is_empty() {
        text.push_str("| figure | measured | goal | |\n|---|---|---|---|\n");
    }
    for row in &figures.rows {
        let (goal, met) = match &row.goal {
            Some(Goal { text, met }) => (text.as_str(), verdict(*met)),
            None => ("", ""),
        };
        let _ = writeln!(text, "| {} | {} | {goal} | {met} |", row.what, row.measured);
    }
    let _ = writeln!(text, "\nLoad averages of the machine before this bench: {}.", figures.load);
}

/// What the figures were made on.
fn machine() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("a CPU without a name", |(_, model)| model);
    let cores = std::thread::available_parallelism().map_or(0, |cores| cores.get());
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next());
    let memory = memory.and_then(|kib| kib.parse::<f64>().ok()).unwrap_or_default() / f64::from(1 << 20);
    let uname = rustix::system::uname();
    let (system, release) = (uname.sysname().to_string_lossy(), uname.release().to_string_lossy());
    let today = time::OffsetDateTime::now_utc().date();
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "gatewatch {version}, release build, {today}: {model}, {cores} cores, {memory:.0} GiB of memory, {system} {release}.\n"
    )
}
