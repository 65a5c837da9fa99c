//! The script that a simulated VM plays: pure, from seconds on its own clock to what the VM is like then.
//!
//! One cycle is the whole timeline of a benchmark VM: off, starting, the container's boot, ready, a run of
//! [`Scenario::tasks`] tasks, complete; then it begins anew with another container and another log.

use std::fmt::Write as _;

use crate::model::{Dialect, Power};

/// Seconds (at speed 1) from off to off.
pub const CYCLE: f64 = 75.0;

const POWERED_AT: f64 = 5.0;
const REACHABLE_AT: f64 = 10.0;
const PROBE_AT: f64 = 15.0;
const RUN_AT: f64 = 20.0;
/// The first two tasks are slow enough to be watched step by step; the rest shows many within one poll.
const SECOND_TASK_AT: f64 = 35.0;
const THIRD_TASK_AT: f64 = 41.0;
const SHORT_TASK: f64 = 0.75;
/// While this lasts, a VM with trouble does not answer.
const TROUBLE: std::ops::Range<f64> = 26.0..34.0;

/// What a simulated VM plays.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// Epoch seconds at which the first cycle began.
    pub started: f64,
    /// Seconds of the script per second of the clock; more than 0.
    pub speed: f64,
    /// Second of the script at which it began.
    pub start_at: f64,
    /// Tasks per run, from 1 to 1,000.
    pub tasks: u64,
    /// How its log is written.
    pub dialect: Dialect,
    /// Whether it stops answering for a while in each cycle.
    pub trouble: bool,
    /// Whether it plays one cycle only and then stays complete.
    pub once: bool,
}

/// A moment of the script.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment {
    /// Which cycle, from 0.
    pub cycle: u64,
    /// Seconds into it.
    pub at: f64,
}

/// A benchmark log as it stands at some moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFile {
    /// Tells the logs of different cycles apart, as an inode does.
    pub inode: u64,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Scenario {
    /// Where the script is at `now` (epoch seconds).
    pub fn moment(&self, now: f64) -> Moment {
        let at = ((now - self.started) * self.speed + self.start_at).max(0.0);
        if self.once {
            return Moment { cycle: 0, at: at.min(self.length() - 0.001) };
        }
        Moment { cycle: (at / self.length()) as u64, at: at % self.length() }
    }

    /// Seconds (at speed 1) of one cycle.
    pub fn length(&self) -> f64 {
        (self.run_end() + 13.0).max(CYCLE)
    }

    fn run_end(&self) -> f64 {
        self.task_at(self.tasks)
    }

    /// When task `index` (from 0) begins.
    fn task_at(&self, index: u64) -> f64 {
        match index {
            0 => RUN_AT,
            1 => SECOND_TASK_AT,
            _ => THIRD_TASK_AT + (index - 2) as f64 * SHORT_TASK,
        }
    }

    /// What the power source says.
    pub fn power(&self, moment: Moment) -> Power {
        match moment.at {
            at if at < POWERED_AT => Power::Off,
            at if at < REACHABLE_AT => Power::Starting,
            _ => Power::On,
        }
    }

    /// When the container of `cycle` started, epoch seconds.
    pub fn container_started(&self, cycle: u64) -> f64 {
        self.started + (cycle as f64 * self.length() + REACHABLE_AT - self.start_at) / self.speed
    }

    /// Whether the VM answers.
    pub fn reachable(&self, moment: Moment) -> bool {
        moment.at >= REACHABLE_AT && !(self.trouble && TROUBLE.contains(&moment.at))
    }

    /// Whether the benchmark server answers.
    pub fn probe_answers(&self, moment: Moment) -> bool {
        moment.at >= PROBE_AT
    }

    /// Whether the benchmark process runs.
    pub fn process_runs(&self, moment: Moment) -> bool {
        (RUN_AT..self.run_end()).contains(&moment.at)
    }

    /// The container's log between two seconds of one cycle.
    pub fn container_log(&self, after: f64, upto: f64) -> String {
        let lines = BOOT.iter().filter(|(at, _)| *at > after && *at <= upto);
        lines.fold(String::new(), |text, (_, line)| text + line + "\n")
    }

    /// The benchmark log; `None` before the first run.
    pub fn log(&self, moment: Moment) -> Option<LogFile> {
        let (cycle, upto) =
            if moment.at >= RUN_AT { (moment.cycle, moment.at) } else { (moment.cycle.checked_sub(1)?, f64::INFINITY) };
        let mut text = String::new();
        for index in 0..self.tasks {
            let begins = self.task_at(index);
            if begins > upto {
                break;
            }
            self.task_lines(&mut text, index, begins, upto);
        }
        if self.run_end() <= upto && self.dialect == Dialect::Waa {
            self.waa_line(&mut text, self.run_end(), &format!("Average score: {:.2}", self.average()));
        }
        Some(LogFile { inode: 1_000 + cycle, bytes: text.into_bytes() })
    }

    /// How task `index` goes: passed or failed and its score, or nothing said.
    pub fn result(&self, index: u64) -> Option<(bool, f64)> {
        match index {
            0 => Some((true, 1.0)),
            // One in seven has no result in the log, so that watchers see what that looks like.
            i if i % 7 == 6 => None,
            i if i % 3 == 2 => Some((false, 0.0)),
            _ => Some((true, 1.0)),
        }
    }

    fn average(&self) -> f64 {
        let scores: f64 = (0..self.tasks).filter_map(|i| self.result(i)).map(|(_, score)| score).sum();
        scores / self.tasks as f64
    }

    /// The id of task `index` as events carry it.
    pub fn task_id(&self, index: u64) -> String {
        match self.dialect {
            Dialect::Waa => format!("{}/{}", domain(index), example(index)),
            Dialect::Openadapt | Dialect::Custom => format!("task_{:03}", index + 1),
        }
    }

    fn task_lines(&self, text: &mut String, index: u64, begins: f64, upto: f64) {
        let ends = self.task_at(index + 1);
        match self.dialect {
            Dialect::Waa => {
                self.waa_line(text, begins, &format!("[Domain]: {}", domain(index)));
                self.waa_line(text, begins, &format!("[Example ID]: {}", example(index)));
                self.waa_line(text, begins, "[Instruction]: Change the default search engine to DuckDuckGo");
                // A progress bar stands in front of the next line, without a line break of its own.
                let percent = index * 100 / self.tasks;
                let _ = write!(
                    text,
                    "\rExample: {percent:3}%|████      | {index}/{} [00:{index:02}<00:30,  1.2s/it]",
                    self.tasks
                );
            }
            Dialect::Openadapt | Dialect::Custom => {
                let _ = writeln!(text, "Task {}/{}: notepad_{}", index + 1, self.tasks, index + 1);
                let _ = writeln!(text, "Running task: {}", self.task_id(index));
            }
        }
        // One step a second; a short task still takes one.
        let steps = (ends - begins).ceil() as u64;
        for step in 1..steps.max(2) {
            let at = begins + step as f64 * (ends - begins) / steps.max(2) as f64;
            if at > upto {
                return;
            }
            match self.dialect {
                Dialect::Waa => self.waa_line(text, at, &format!("Step {step}: computer.click(x=10, y=20)")),
                Dialect::Openadapt | Dialect::Custom => {
                    let _ = writeln!(text, "Step {step}: CLICK");
                }
            }
        }
        if ends <= upto {
            self.end_lines(text, index, ends);
        }
    }

    fn end_lines(&self, text: &mut String, index: u64, ends: f64) {
        let id = self.task_id(index);
        match (self.dialect, self.result(index)) {
            (Dialect::Waa, result) => {
                if let Some((_, score)) = result {
                    self.waa_line(text, ends, "Running evaluator(s)...");
                    self.waa_line(text, ends, &format!("Result: {score:.2}"));
                }
                self.waa_line(text, ends, &format!("Finished {id}"));
            }
            (_, Some((passed, score))) => {
                let (word, result) = if passed { ("completed successfully", "PASS") } else { ("failed", "FAIL") };
                let _ = write!(text, "Task {id} {word}\nResult: {result}\nScore: {score:.2}\n");
            }
            (_, None) => {}
        }
    }

    /// A line as Windows Agent Arena's logger prints it, colours and all.
    fn waa_line(&self, text: &mut String, at: f64, message: &str) {
        let (minute, second) = (at as u64 / 60, at % 60.0);
        let (whole, millis) = (second as u64, (second.fract() * 1000.0) as u64);
        let _ = writeln!(
            text,
            "\u{1b}[1;33m[2026-01-02 10:{minute:02}:{whole:02},{millis:03} \u{1b}[31mINFO \u{1b}[32mrun/245-MainProcess\u{1b}[1;33m] \u{1b}[0m{message}"
        );
    }
}

fn domain(index: u64) -> &'static str {
    ["chrome", "notepad", "settings", "vlc"][(index % 4) as usize]
}

fn example(index: u64) -> String {
    format!("{:04x}-WOS", 0x4abc + index)
}

/// The container's log over one cycle, as the real one prints it.
const BOOT: &[(f64, &str)] = &[
    (10.0, "❯ Downloading Windows 11 Enterprise..."),
    (10.3, " 1234K .......... .......... .......... .......... ..........  15% 80.1M 60s"),
    (10.8, "48234K .......... .......... .......... .......... ..........  45% 80.1M 30s"),
    (11.3, "98234K .......... .......... .......... .......... ..........  95% 80.1M 3s"),
    (11.6, "❯ Extracting Windows 11 Enterprise image..."),
    (12.2, "❯ Adding drivers to image..."),
    (12.8, "❯ Building Windows 11 Enterprise image..."),
    (13.1, "❯ Creating a 30G growable disk image in qcow2 format..."),
    (13.4, "❯ Booting Windows using QEMU v9.1.0..."),
    (13.8, "BdsDxe: starting Boot0004 \"Windows Boot Manager\" from HD(1,GPT,DEADBEEF)"),
    (14.0, "❯ Windows started successfully, visit http://localhost:8006/ to view the screen..."),
];

#[cfg(test)]
mod tests {
    use super::{Moment, Scenario};
    use crate::model::{Dialect, Power};

    fn scenario(dialect: Dialect) -> Scenario {
        Scenario { started: 1_000.0, speed: 1.0, start_at: 0.0, tasks: 30, dialect, trouble: false, once: false }
    }

    #[test]
    fn the_script_passes_the_whole_timeline_in_about_a_minute() {
        let script = scenario(Dialect::Openadapt);
        let at = |second: f64| script.moment(1_000.0 + second);
        assert_eq!(script.power(at(0.0)), Power::Off);
        assert_eq!(script.power(at(5.0)), Power::Starting);
        assert!(script.reachable(at(10.0)) && !script.probe_answers(at(10.0)));
        assert!(script.probe_answers(at(15.0)) && !script.process_runs(at(15.0)));
        assert!(script.process_runs(at(20.0)));
        assert!(!script.process_runs(at(62.0)), "complete");
        assert_eq!(at(76.0).cycle, 1);
        let log =
            |second: f64| String::from_utf8(script.log(at(second)).map(|log| log.bytes).unwrap_or_default()).unwrap();
        assert_eq!(log(19.0), "");
        assert_eq!(log(20.0), "Task 1/30: notepad_1\nRunning task: task_001\n");
        assert!(log(25.0).ends_with("Step 5: CLICK\n"));
        assert!(log(30.0).ends_with("Step 10: CLICK\n"));
        assert!(log(35.0).ends_with("Score: 1.00\nTask 2/30: notepad_2\nRunning task: task_002\n"));
        assert_eq!(log(70.0).matches("Running task").count(), 30);
    }

    #[test]
    fn a_log_only_grows_within_a_cycle_and_is_another_file_in_the_next() {
        for dialect in [Dialect::Openadapt, Dialect::Waa] {
            let script = scenario(dialect);
            let mut before = Vec::new();
            for tenth in 200..750 {
                let log = script.log(Moment { cycle: 0, at: f64::from(tenth) / 10.0 }).expect("a log");
                assert!(log.bytes.starts_with(&before), "at {tenth}");
                before = log.bytes;
            }
            let waiting = script.log(Moment { cycle: 1, at: 12.0 }).expect("the log of the cycle before");
            assert_eq!((waiting.inode, &waiting.bytes), (1_000, &before));
            assert_eq!(script.log(Moment { cycle: 1, at: 21.0 }).map(|log| log.inode), Some(1_001));
        }
    }
}
