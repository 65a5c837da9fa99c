//! What a run and a task have to tell, once and for every format.

use std::borrow::Cow;

use serde::Deserialize;
use serde::ser::{Serialize, SerializeMap as _, Serializer};

use crate::api::runs::iso;
use crate::event::{Epoch, EventId, EventKind};
use crate::journal::{RunSummary, StoredEvent};
use crate::model::{RunEndReason, RunId, Timestamp, VmName};

/// One value of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell<'a> {
    /// It is not known, or there is none.
    Empty,
    /// Text. Some of it was written by a VM: it may look like anything.
    Text(Cow<'a, str>),
    /// How many.
    Count(u64),
    /// A number that is neither a time nor a span.
    Number(f64),
    /// Yes or no.
    Flag(bool),
    /// An instant.
    Time(Timestamp),
    /// A span, in seconds.
    Seconds(f64),
}

impl Serialize for Cell<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Empty => serializer.serialize_none(),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Count(count) => serializer.serialize_u64(*count),
            Self::Number(number) | Self::Seconds(number) | Self::Time(Timestamp(number)) => {
                serializer.serialize_f64(*number)
            }
            Self::Flag(flag) => serializer.serialize_bool(*flag),
        }
    }
}

/// One value that every row of a kind has.
#[derive(Debug)]
pub struct Column<R: 'static> {
    /// Its name in JSON and in the first line of CSV.
    pub name: &'static str,
    /// Its heading where a table for people shows it.
    pub heading: Option<&'static str>,
    /// The value of one row.
    pub cell: fn(&R) -> Cell<'_>,
}

/// What has columns.
pub trait Row: Sized + 'static {
    /// All of them, in order.
    const COLUMNS: &'static [Column<Self>];
}

/// A row as a JSON object with a field for each column.
#[derive(Clone, Copy, Debug)]
pub struct Object<'a, R>(pub &'a R);

impl<R: Row> Serialize for Object<'_, R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(R::COLUMNS.len()))?;
        for column in R::COLUMNS {
            map.serialize_entry(column.name, &(column.cell)(self.0))?;
        }
        map.end()
    }
}

/// A column that tables show under a heading, or do not.
const fn column<R>(name: &'static str, heading: Option<&'static str>, cell: fn(&R) -> Cell<'_>) -> Column<R> {
    Column { name, heading, cell }
}

fn text(text: &str) -> Cell<'_> {
    Cell::Text(text.into())
}

fn maybe<'a, T>(value: Option<T>, cell: impl FnOnce(T) -> Cell<'a>) -> Cell<'a> {
    value.map_or(Cell::Empty, cell)
}

fn utc<'a>(at: Timestamp) -> Cell<'a> {
    maybe(iso(at), |text| Cell::Text(text.into()))
}

impl Row for RunSummary {
    const COLUMNS: &'static [Column<Self>] = &[
        column("run", Some("RUN"), |run| text(run.run.as_str())),
        column("vm", Some("VM"), |run| text(run.vm.as_str())),
        column("vm_id", None, |run| text(run.vm_id.as_str())),
        column("source", None, |run| text(&run.source)),
        column("state", Some("STATE"), |run| text(if run.ended_at.is_none() { "open" } else { "ended" })),
        column("reason", Some("REASON"), |run| maybe(run.reason, |reason| text(reason_word(reason)))),
        column("started_at", Some("STARTED (UTC)"), |run| Cell::Time(run.started_at)),
        column("ended_at", None, |run| maybe(run.ended_at, Cell::Time)),
        column("started_utc", None, |run| utc(run.started_at)),
        column("ended_utc", None, |run| maybe(run.ended_at, utc)),
        column("duration", Some("DURATION"), |run| maybe(duration(run), Cell::Seconds)),
        column("total_tasks", Some("TASKS"), |run| maybe(run.total_tasks, Cell::Count)),
        column("completed", Some("DONE"), |run| Cell::Count(run.completed)),
        column("passed", Some("PASSED"), |run| Cell::Count(run.passed)),
        column("failed", Some("FAILED"), |run| Cell::Count(run.failed)),
        column("unknown", Some("UNKNOWN"), |run| Cell::Count(run.unknown)),
        column("average_score", Some("SCORE"), |run| maybe(run.average_score, Cell::Number)),
        column("scored", None, |run| Cell::Count(run.scored)),
        column("historic", None, |run| Cell::Flag(run.historic)),
    ];
}

/// How long a run took, in seconds. Nobody knows it of a run that was over when it was found: its times are those of the
/// finding.
fn duration(run: &RunSummary) -> Option<f64> {
    run.ended_at.filter(|_| !run.historic).map(|ended| ended.since(run.started_at))
}

fn reason_word(reason: RunEndReason) -> &'static str {
    match reason {
        RunEndReason::ProcessEnded => "process_ended",
        RunEndReason::ProcessReplaced => "process_replaced",
        RunEndReason::ContainerReplaced => "container_replaced",
        RunEndReason::NextRun => "next_run",
        RunEndReason::LogReplaced => "log_replaced",
        RunEndReason::Removed => "removed",
    }
}

/// One completion, as its `task_complete` event tells it.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskRow {
    id: EventId,
    run: RunId,
    vm: VmName,
    told: Told,
}

/// The data of a `task_complete`, beside what every event has.
#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Told {
    task_id: String,
    success: Option<bool>,
    score: Option<f64>,
    key: String,
    number: Option<u64>,
    worker: Option<String>,
    steps: Option<u64>,
    duration: Option<f64>,
    historic: bool,
    log_time: Option<String>,
    timestamp: Timestamp,
}

impl TaskRow {
    /// The row of `stored`, an event of the journal whose epoch is `epoch`; `None` if it is no `task_complete` or cannot be
    /// read as one.
    pub fn of(epoch: &Epoch, stored: &StoredEvent) -> Option<Self> {
        let event = &stored.event;
        let run = event.run.clone().filter(|_| event.kind == EventKind::TaskComplete)?;
        let told = serde_json::from_str(&event.data).ok()?;
        let id = EventId { epoch: epoch.clone(), position: stored.position };
        Some(Self { id, run, vm: event.vm.clone(), told })
    }
}

impl Row for TaskRow {
    const COLUMNS: &'static [Column<Self>] = &[
        column("run", None, |task| text(task.run.as_str())),
        column("vm", None, |task| text(task.vm.as_str())),
        column("number", Some("NUMBER"), |task| maybe(task.told.number, Cell::Count)),
        column("task_id", Some("TASK"), |task| text(&task.told.task_id)),
        column("success", None, |task| maybe(task.told.success, Cell::Flag)),
        column("result", Some("RESULT"), |task| text(result_word(task.told.success))),
        column("score", Some("SCORE"), |task| maybe(task.told.score, Cell::Number)),
        column("steps", Some("STEPS"), |task| maybe(task.told.steps, Cell::Count)),
        column("duration", Some("DURATION"), |task| maybe(task.told.duration, Cell::Seconds)),
        column("closed_at", Some("CLOSED (UTC)"), |task| Cell::Time(task.told.timestamp)),
        column("closed_utc", None, |task| utc(task.told.timestamp)),
        column("log_time", None, |task| maybe(task.told.log_time.as_deref(), text)),
        column("worker", Some("WORKER"), |task| maybe(task.told.worker.as_deref(), text)),
        column("historic", None, |task| Cell::Flag(task.told.historic)),
        column("key", None, |task| text(&task.told.key)),
        column("id", None, |task| Cell::Text(task.id.to_string().into())),
    ];
}

/// As the counts of a run name it.
fn result_word(success: Option<bool>) -> &'static str {
    match success {
        Some(true) => "passed",
        Some(false) => "failed",
        None => "unknown",
    }
}
