//! Plays a benchmark on a [`Lab`]: Windows is installed and boots, tasks run, the run ends.
//!
//! What is played is decided beforehand by a seed, so that a test can compare it with the events that come out.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::lines::{self, Beat};
use super::{Lab, Result};

/// How the benchmark writes its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `Task 5/30: notepad_1`.
    Openadapt,
    /// Windows Agent Arena's own `run.py`: colours, progress bars, `Finished chrome/4abc-WOS`.
    Waa,
}

/// How a task ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// The log gives a result and this score.
    Scored(f64),
    /// The log says nothing of a result.
    Untold,
    /// It dies: the log says so and gives no score.
    Died,
}

/// One task as it is going to be played.
#[derive(Clone, Debug)]
pub struct Task {
    /// From 1.
    pub number: usize,
    /// `task_005`, or `chrome/4abc-WOS`.
    pub id: String,
    /// A name, or the instruction.
    pub title: String,
    /// How many steps it takes.
    pub steps: u32,
    /// How it ends.
    pub outcome: Outcome,
    /// From which score on it counts as passed, in the dialect that it is written in.
    pass_from: f64,
}

/// What the events of one played task must say.
#[derive(Clone, Debug, PartialEq)]
pub struct Played {
    /// `task_complete.task_id`.
    pub task_id: String,
    /// `task_complete.success`.
    pub success: Option<bool>,
    /// `task_complete.score`.
    pub score: Option<f64>,
}

/// A benchmark to be played.
#[derive(Clone, Debug)]
pub struct Play {
    /// How its log is written.
    pub dialect: Dialect,
    /// Its tasks, in order.
    pub tasks: Vec<Task>,
    /// 2.0 halves every pause; infinity leaves none.
    pub speed: f64,
}

impl Task {
    /// Whether its score counts as passed.
    pub fn passes(&self) -> bool {
        matches!(self.outcome, Outcome::Scored(score) if score >= self.pass_from)
    }
}

impl Play {
    /// `count` tasks in `dialect`. Equal seeds give equal plays; the first four tasks have every kind of outcome.
    pub fn new(dialect: Dialect, count: usize, seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let tasks = (1..=count).map(|number| {
            let scores = [1.0, 0.0, 0.85, 0.5];
            let outcome = match if number <= 4 { number - 1 } else { random.random_range(0..8) } {
                1 => Outcome::Untold,
                2 => Outcome::Died,
                0 => Outcome::Scored(1.0),
                _ => Outcome::Scored(scores[random.random_range(0..scores.len())]),
            };
            let steps = random.random_range(2..=5);
            let application = ["notepad", "chrome", "vscode", "settings"][random.random_range(0..4)];
            let (id, title, pass_from) = match dialect {
                Dialect::Openadapt => (format!("task_{number:03}"), format!("{application}_{number}"), 0.8),
                Dialect::Waa => {
                    let id = format!("{application}/{:08x}-WOS", random.random::<u32>());
                    (id, format!("Change setting {number} of {application} and save it."), 1.0)
                }
            };
            Task { number, id, title, steps, outcome, pass_from }
        });
        Self { dialect, tasks: tasks.collect(), speed: 1.0 }
    }

    /// The same with its pauses divided by `speed`.
    pub fn at_speed(self, speed: f64) -> Self {
        Self { speed, ..self }
    }

    /// What the events of `task` must say.
    pub fn played(&self, task: &Task) -> Played {
        let (success, score) = match task.outcome {
            Outcome::Scored(score) => (Some(task.passes()), Some(score)),
            Outcome::Untold => (None, None),
            Outcome::Died => (Some(false), None),
        };
        Played { task_id: task.id.clone(), success, score }
    }

    /// What the events of the whole run must say, in order.
    pub fn all_played(&self) -> Vec<Played> {
        self.tasks.iter().map(|task| self.played(task)).collect()
    }

    /// Everything that the run writes to its log.
    pub fn log_text(&self) -> String {
        let tasks = self.tasks.iter().flat_map(|task| lines::task(self, task));
        let beats = lines::head(self).into_iter().chain(tasks).chain(lines::foot(self));
        beats.map(|beat| beat.text()).collect()
    }

    /// Windows is downloaded, installed and booted; at the end `/probe` answers.
    pub async fn boot(&self, lab: &Lab) -> Result<()> {
        for beat in lines::boot() {
            self.pause(beat.pause).await;
            lab.container_log_bytes(beat.text().as_bytes()).await?;
        }
        self.pause(3.0).await;
        lab.probe_on().await
    }

    /// The benchmark process starts and its log begins.
    pub async fn begin(&self, lab: &Lab) -> Result<()> {
        lab.benchmark_start().await?;
        self.write(lab, lines::head(self)).await
    }

    /// One task (`index` from 0) runs and ends.
    pub async fn task(&self, lab: &Lab, index: usize) -> Result<Played> {
        let task = self.tasks.get(index).ok_or("the play has no such task")?;
        self.write(lab, lines::task(self, task)).await?;
        Ok(self.played(task))
    }

    /// The log ends, then the benchmark process.
    pub async fn end(&self, lab: &Lab) -> Result<()> {
        self.write(lab, lines::foot(self)).await?;
        self.pause(0.5).await;
        lab.benchmark_stop().await
    }

    /// The whole benchmark on a VM that is ready; gives what was played.
    pub async fn run(&self, lab: &Lab) -> Result<Vec<Played>> {
        self.begin(lab).await?;
        let mut played = Vec::with_capacity(self.tasks.len());
        for index in 0..self.tasks.len() {
            played.push(self.task(lab, index).await?);
        }
        self.end(lab).await?;
        Ok(played)
    }

    async fn write(&self, lab: &Lab, beats: Vec<Beat>) -> Result<()> {
        for beat in beats {
            self.pause(beat.pause).await;
            lab.log_append(beat.text())?;
        }
        Ok(())
    }

    async fn pause(&self, seconds: f64) {
        let seconds = seconds / self.speed;
        if seconds > 0.0 {
            tokio::time::sleep(Duration::try_from_secs_f64(seconds).unwrap_or_default()).await;
        }
    }
}
