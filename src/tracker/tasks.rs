//! One worker's task: its names, and which lines speak of it.

use serde::{Deserialize, Serialize};

use crate::model::{TaskView, Timestamp};

use super::text::{cut, cut_worker, digest};

/// A task that runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Task {
    /// The id that a line gave it; without one its title, number or ordinal stands in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) number: Option<u64>,
    /// Counts the tasks of the run, from 1.
    pub(super) ordinal: u64,
    /// The poll that saw it begin.
    pub(super) began_in: u64,
    pub(super) started_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) instruction: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) step: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) action: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) success: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) score: Option<f64>,
    /// A line of outcome was read; a verdict alone does not count.
    pub(super) outcome_said: bool,
    /// A line of score was read; a verdict alone does not count.
    pub(super) score_said: bool,
    /// Its terminal line was read.
    #[serde(skip)]
    pub(super) over: bool,
}

/// One worker of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Worker {
    pub(super) name: String,
    /// The number of its last task that had one.
    pub(super) last_number: Option<u64>,
    pub(super) task: Option<Task>,
    pub(super) left: Closed,
    /// Generation and offset of its last closing line, and how many tasks that line has closed.
    last_close: Option<(u64, u64, u64)>,
}

/// The names of the task closed last, as hashes: a late line about it is not about the one that runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Closed(Vec<u64>);

impl Closed {
    pub(super) fn of(task: &Task) -> Self {
        Self([&task.id, &task.title].into_iter().flatten().map(|name| hash(name)).collect())
    }

    fn had(&self, name: &str) -> bool {
        self.0.contains(&hash(name))
    }
}

fn hash(name: &str) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = digest(&[name.as_bytes()]);
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

impl Worker {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: cut_worker(name).to_owned(),
            last_number: None,
            task: None,
            left: Closed::default(),
            last_close: None,
        }
    }

    /// Whether it is the worker of that name.
    pub(super) fn is(&self, name: &str) -> bool {
        self.name == cut_worker(name)
    }

    /// The same worker at the head of the next run.
    pub(super) fn for_next_run(self) -> Self {
        Self { last_number: None, task: None, last_close: None, ..self }
    }

    /// Notes that a line closed a task, and says how many it had closed before.
    pub(super) fn closed_at(&mut self, generation: u64, offset: u64) -> u64 {
        let before = match self.last_close {
            Some((g, o, count)) if (g, o) == (generation, offset) => count,
            _ => 0,
        };
        self.last_close = Some((generation, offset, before + 1));
        before
    }
}

impl Task {
    /// Whether `name` is one that it is known by.
    pub(super) fn is(&self, name: &str) -> bool {
        let name = cut(name);
        self.id.as_ref() == Some(&name) || self.title.as_ref() == Some(&name)
    }

    /// Whether a line that names `named` (or nobody) speaks of this task. A name may become its id on the way.
    pub(super) fn concerns(&mut self, named: Option<&str>, left: &Closed) -> bool {
        let Some(name) = named.map(cut) else { return true };
        if self.is(&name) {
            return true;
        }
        let adopts = match &self.id {
            None => !left.had(&name),
            // An example whose domain's line was lost; this one has it.
            Some(id) => self.title.is_none() && name.strip_suffix(id.as_str()).is_some_and(|head| head.ends_with('/')),
        };
        if adopts {
            self.id = Some(name);
        }
        adopts
    }

    /// Its id, or what stands in for it.
    pub(super) fn name(&self) -> String {
        let given = self.id.as_ref().or(self.title.as_ref()).cloned();
        given.unwrap_or_else(|| format!("task_{}", self.number.unwrap_or(self.ordinal)))
    }

    pub(super) fn view(&self, closed: bool) -> TaskView {
        let task_id = self.name();
        TaskView {
            domain: task_id.split_once('/').map(|(domain, _)| domain.to_owned()),
            task_id,
            instruction: self.instruction.clone(),
            step: self.step.unwrap_or(0),
            action: self.action.clone(),
            started_at: self.started_at,
            closed,
            success: self.success,
            score: self.score,
        }
    }
}
