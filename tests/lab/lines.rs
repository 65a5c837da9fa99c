//! What the container and the benchmark print, line by line, as the real ones do.

use time::OffsetDateTime;

use super::play::{Dialect, Outcome, Play, Task};

/// Stands in a beat's text for the time at which it is printed.
const NOW: &str = "@now@";

/// Text that is printed after a pause.
pub struct Beat {
    /// Seconds before it, at speed 1.
    pub pause: f64,
    text: String,
}

impl Beat {
    /// What is printed now, newline included where there is one.
    pub fn text(&self) -> String {
        self.text.replace(NOW, &clock())
    }
}

fn beat(pause: f64, text: impl Into<String>) -> Beat {
    Beat { pause, text: text.into() }
}

/// What the container prints while Windows is installed and boots.
pub fn boot() -> Vec<Beat> {
    let mut beats = vec![beat(0.5, "❯ Starting Windows for Docker v4.00...\n")];
    beats.push(beat(0.3, "❯ Downloading Windows 11 Enterprise...\n"));
    for percent in (0..=100).step_by(5) {
        let kib = percent * 60_000;
        let dots = ".......... .......... .......... .......... ..........";
        let left = (100 - percent) / 5;
        beats.push(beat(0.25, format!("{kib}K {dots} {percent:>2}% 80.1M {left}s\n")));
    }
    for (pause, line) in [
        (0.5, "❯ Extracting Windows 11 Enterprise image..."),
        (3.0, "❯ Adding drivers to image..."),
        (2.0, "❯ Building Windows 11 Enterprise image..."),
        (2.0, "❯ Creating a 30G growable disk image in qcow2 format..."),
        (1.0, "❯ Booting Windows using QEMU v9.1.0..."),
        (
            2.0,
            "BdsDxe: starting Boot0004 \"Windows Boot Manager\" from HD(1,GPT,6F2A,0x800,0x32000)/\\EFI\\BOOT\\BOOTX64.EFI",
        ),
        (2.0, "❯ Windows started successfully, visit http://localhost:8006/ to view the screen..."),
    ] {
        beats.push(beat(pause, format!("{line}\n")));
    }
    beats
}

/// What the benchmark's log begins with.
pub fn head(play: &Play) -> Vec<Beat> {
    match play.dialect {
        Dialect::Openadapt => vec![beat(0.2, "Starting benchmark: model=gpt-4o, provider=openai\n")],
        Dialect::Waa => vec![
            beat(0.2, waa("INFO", "Args: Namespace(headless=False, model='gpt-4o', agent_name='navi')")),
            beat(0.2, bar(play, 0)),
        ],
    }
}

/// What the benchmark prints of one task.
pub fn task(play: &Play, task: &Task) -> Vec<Beat> {
    match play.dialect {
        Dialect::Openadapt => openadapt_task(play.tasks.len(), task),
        Dialect::Waa => waa_task(play, task),
    }
}

/// What the benchmark's log ends with.
pub fn foot(play: &Play) -> Vec<Beat> {
    let scores = play.tasks.iter().map(|task| play.played(task).score.unwrap_or(0.0));
    let mean = scores.sum::<f64>() / play.tasks.len().max(1) as f64;
    match play.dialect {
        Dialect::Openadapt => vec![beat(0.3, "Benchmark finished.\n")],
        Dialect::Waa => vec![beat(0.1, "\n"), beat(0.2, waa("INFO", &format!("Average score: {mean:.2}")))],
    }
}

fn openadapt_task(total: usize, task: &Task) -> Vec<Beat> {
    let Task { number, id, title, .. } = task;
    let mut beats =
        vec![beat(0.2, format!("Task {number}/{total}: {title}\n")), beat(0.1, format!("Running task: {id}\n"))];
    for step in 1..=task.steps {
        let action = ["CLICK", "TYPE", "SCROLL", "KEY"][step as usize % 4];
        beats.push(beat(1.0, format!("Step {step}: {action}\n")));
    }
    let told = match task.outcome {
        Outcome::Scored(score) if task.passes() => {
            format!("Task {id} completed successfully\nResult: PASS\nScore: {score:.2}\n")
        }
        Outcome::Scored(score) => format!("Task {id} failed\nResult: FAIL\nScore: {score:.2}\n"),
        Outcome::Untold => String::new(),
        Outcome::Died => format!("Task {id} failed\n"),
    };
    beats.extend(told.split_inclusive('\n').map(|line| beat(0.05, line)));
    beats
}

fn waa_task(play: &Play, task: &Task) -> Vec<Beat> {
    let (domain, example) = task.id.split_once('/').unwrap_or(("chrome", &task.id));
    let mut beats: Vec<Beat> =
        [format!("[Domain]: {domain}"), format!("[Example ID]: {example}"), format!("[Instruction]: {}", task.title)]
            .iter()
            .map(|message| beat(0.1, waa("INFO", message)))
            .collect();
    for step in 1..=task.steps {
        let message = format!("Step {step}: computer.click(x={}, y={})", 10 * step, 20 * step);
        beats.push(beat(0.5, waa("INFO", "Agent: Thinking...")));
        beats.push(beat(0.5, waa("INFO", &message)));
        beats.push(beat(0.0, waa("INFO", "Reward: 0.00")));
        beats.push(beat(0.0, waa("INFO", "Done: False")));
    }
    match task.outcome {
        Outcome::Died => {
            let message = format!("Exception in {}: 'NoneType' object has no attribute 'step'", task.id);
            let trace = "Traceback (most recent call last):\n  File \"/client/run.py\", line 245, in test\n\
                         AttributeError: 'NoneType' object has no attribute 'step'\n";
            beats.push(beat(0.1, waa("ERROR", &message)));
            beats.push(beat(0.0, trace));
        }
        outcome => {
            beats.push(beat(0.1, waa("INFO", "The episode is done.")));
            beats.push(beat(0.3, waa("INFO", "Running evaluator(s)...")));
            if let Outcome::Scored(score) = outcome {
                beats.push(beat(0.1, waa("INFO", &format!("Result: {score:.2}"))));
            }
            beats.push(beat(0.05, waa("INFO", &format!("Finished {}", task.id))));
        }
    }
    beats.push(beat(0.0, bar(play, task.number)));
    beats
}

/// A line of Windows Agent Arena's logger, coloured.
fn waa(level: &str, message: &str) -> String {
    format!("\x1b[1;33m[{NOW} \x1b[31m{level} \x1b[32mrun/245-MainProcess\x1b[1;33m] \x1b[0m{message}\n")
}

/// `2026-01-02 10:11:12,345`
fn clock() -> String {
    let now = OffsetDateTime::now_utc();
    let (date, (hour, minute, second, milli)) = (now.date(), now.to_hms_milli());
    format!("{date} {hour:02}:{minute:02}:{second:02},{milli:03}")
}

/// tqdm's progress bar: it begins with a carriage return and ends without a newline.
fn bar(play: &Play, done: usize) -> String {
    let total = play.tasks.len();
    let percent = 100 * done / total.max(1);
    let full = percent / 10;
    format!(
        "\rExample: {percent:>3}%|{}{}| {done}/{total} [10:11<15:16, 305.6s/it]",
        "█".repeat(full),
        " ".repeat(10 - full)
    )
}
