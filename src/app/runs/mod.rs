//! What `gatewatch runs` prints: the history that `/api/runs` answers with, in the same rows.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::Arc;

use serde_json::json;
use time::OffsetDateTime;

use super::aligned;
use crate::api::history::{Cell, Encoder, ExportFormat, HistoryError, Object, Reader, Row, Rows, Wanted, time_of};
use crate::config::{Config, JournalKind};
use crate::journal::{Journal, MAX_RUNS_PAGE, ReadOnlyJournal, RunQuery, RunSummary};
use crate::model::{RunId, Timestamp, VmGrant, VmName, disturbs_line};

/// The most rows that a table or a document of JSON holds: both are made as a whole.
const MAX_ROWS: usize = 10_000;

/// Rows of these whose number is not asked for.
const DEFAULT_ROWS: usize = 50;

/// How runs are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunsFormat {
    /// Columns for people.
    Table,
    /// One document, as the API's pages.
    Json,
    /// As the API's exports.
    Export(ExportFormat),
}

/// What is to be printed.
#[derive(Clone, Debug, Default)]
pub struct RunsWanted<'a> {
    /// The tasks of this run instead of runs.
    pub run: Option<&'a str>,
    /// Runs of this VM only.
    pub vm: Option<&'a str>,
    /// Open ones only, or ended ones only.
    pub open: Option<bool>,
    /// Those that opened at this time or later: seconds since the epoch, or an RFC 3339 time.
    pub since: Option<&'a str>,
    /// Those that opened before this time.
    pub until: Option<&'a str>,
    /// As many rows at most. Absent: 50 in a table or document, all in an export.
    pub limit: Option<usize>,
    /// Whether control characters must not pass: the reader is a terminal.
    pub terminal: bool,
}

/// Why nothing, or not all, was printed.
#[derive(Debug, thiserror::Error)]
pub enum RunsError {
    /// What was asked for cannot be; one readable line.
    #[error("{0}")]
    Asked(String),
    /// The journal.
    #[error("the history cannot be read: {0}")]
    History(#[from] HistoryError),
    /// Where it is printed to.
    #[error("standard output: {0}")]
    Output(#[from] io::Error),
}

/// The journal that `config` names, to be read beside a gateway that may run.
///
/// # Errors
/// One readable line, if there is none to be read.
pub fn open_history(config: &Config) -> Result<Arc<dyn Journal>, String> {
    match config.journal.kind {
        JournalKind::Memory => Err("the journal of this configuration is in memory: it has no history outside the \
                                    process that runs, where GET /api/runs shows it. To keep one on disk, set kind = \
                                    \"embedded\" under [journal]"
            .to_owned()),
        // Of a journal in NATS what this replica has of it: all but the last moments.
        JournalKind::Embedded | JournalKind::Jetstream => match ReadOnlyJournal::open(&config.journal.path) {
            Ok(journal) => Ok(Arc::new(journal)),
            Err(error) => Err(error.to_string()),
        },
    }
}

/// Prints what is `wanted` of `journal` to `out`.
///
/// # Errors
/// If something asked for cannot be, or as reading or writing fails.
pub async fn print_runs(
    journal: &dyn Journal,
    wanted: &RunsWanted<'_>,
    format: RunsFormat,
    out: &mut dyn Write,
) -> Result<(), RunsError> {
    let limit = match (wanted.limit, format) {
        (Some(0), _) => return Err(RunsError::Asked("the limit is 1 or more".to_owned())),
        (Some(limit), RunsFormat::Table | RunsFormat::Json) if limit > MAX_ROWS => {
            let said =
                format!("a table and a JSON document hold {MAX_ROWS} rows at most; csv and jsonl hold any number");
            return Err(RunsError::Asked(said));
        }
        (Some(limit), _) => limit,
        (None, RunsFormat::Export(_)) => usize::MAX,
        (None, _) => DEFAULT_ROWS,
    };
    let of = match wanted.run {
        None => None,
        Some(id) => Some(known_run(journal, id).await?),
    };
    let rows = match &of {
        None => Wanted::Runs(query(wanted)?),
        Some(run) => Wanted::Tasks(run.run.clone()),
    };
    match format {
        RunsFormat::Export(format) => {
            let mut encoder = Encoder::new(format);
            show(out, encoder.head(&rows), wanted.terminal)?;
            let mut reader = Limited { reader: Reader::new(journal, rows), left: limit };
            while let Some(rows) = reader.next().await? {
                let mut text = Vec::new();
                encoder.rows(&rows, &mut text);
                show(out, text, wanted.terminal)?;
            }
        }
        RunsFormat::Json | RunsFormat::Table => {
            // One more than shown tells whether there is more.
            let mut reader = Limited { reader: Reader::new(journal, rows), left: limit.saturating_add(1) };
            let (mut runs, mut tasks) = (Vec::new(), Vec::new());
            while let Some(rows) = reader.next().await? {
                match rows {
                    Rows::Runs(more) => runs.extend(more),
                    Rows::Tasks(more) => tasks.extend(more),
                }
            }
            let more = runs.len().max(tasks.len()) > limit;
            runs.truncate(limit);
            tasks.truncate(limit);
            let text = match (&of, format) {
                (Some(run), RunsFormat::Json) => document(&json!({"run": Object(run), "tasks": objects(&tasks)})),
                (None, RunsFormat::Json) => document(&json!({"runs": objects(&runs)})),
                (Some(run), _) => format!("{}\n\n{}", table(std::slice::from_ref(run)), table(&tasks)),
                (None, _) => table(&runs),
            };
            show(out, format!("{text}\n").into_bytes(), wanted.terminal)?;
            if more && format == RunsFormat::Table {
                writeln!(out, "There are more: --limit shows up to {MAX_ROWS}, --format csv all.")?;
            }
        }
    }
    Ok(out.flush()?)
}

async fn known_run(journal: &dyn Journal, id: &str) -> Result<RunSummary, RunsError> {
    let found = journal.run(&RunId::from_hash(id)).await.map_err(HistoryError::from)?;
    found.ok_or_else(|| RunsError::Asked(format!("the journal knows no run {id:?}")))
}

fn query(wanted: &RunsWanted<'_>) -> Result<RunQuery, RunsError> {
    let time = |name: &str, text: Option<&str>| {
        let said =
            || format!("--{name} is seconds since the Unix epoch, or an RFC 3339 time, not {:?}", text.unwrap_or(""));
        text.map(|text| time_of(text).ok_or_else(|| RunsError::Asked(said()))).transpose()
    };
    let vm =
        wanted.vm.map(|name| VmName::new(name).map_err(|error| RunsError::Asked(format!("--vm {name:?}: {error}"))));
    Ok(RunQuery {
        grant: VmGrant::all(),
        vm: vm.transpose()?,
        open: wanted.open,
        since: time("since", wanted.since)?,
        until: time("until", wanted.until)?,
        before: None,
        limit: MAX_RUNS_PAGE,
    })
}

/// A reader that stops after so many rows.
struct Limited<'j> {
    reader: Reader<'j>,
    left: usize,
}

impl Limited<'_> {
    async fn next(&mut self) -> Result<Option<Rows>, HistoryError> {
        if self.left == 0 {
            return Ok(None);
        }
        let mut rows = self.reader.next().await?;
        let taken = match &mut rows {
            Some(Rows::Runs(runs)) => {
                runs.truncate(self.left);
                runs.len()
            }
            Some(Rows::Tasks(tasks)) => {
                tasks.truncate(self.left);
                tasks.len()
            }
            None => 0,
        };
        self.left -= taken;
        Ok(rows)
    }
}

fn objects<R: Row>(rows: &[R]) -> Vec<Object<'_, R>> {
    rows.iter().map(Object).collect()
}

fn document(value: &serde_json::Value) -> String {
    serde_json::to_string_pretty(value).expect("a value of JSON is JSON")
}

/// The columns that have a heading, under it.
fn table<R: Row>(rows: &[R]) -> String {
    let shown = || R::COLUMNS.iter().filter_map(|column| Some((column.heading?, column.cell)));
    let head = shown().map(|(heading, _)| heading.to_owned()).collect::<Vec<_>>();
    let row = |row: &R| shown().map(|(_, cell)| for_people(&cell(row))).collect();
    aligned(&std::iter::once(head).chain(rows.iter().map(row)).collect::<Vec<_>>())
}

/// A cell as a person reads it: one short line.
fn for_people(cell: &Cell<'_>) -> String {
    match cell {
        Cell::Empty => "-".to_owned(),
        Cell::Text(text) => plain(text, |_| false).into_owned(),
        Cell::Count(count) => count.to_string(),
        Cell::Number(number) => format!("{number:.2}"),
        Cell::Flag(flag) => if *flag { "yes" } else { "no" }.to_owned(),
        Cell::Time(at) => clock(*at),
        Cell::Seconds(seconds) => span(*seconds),
    }
}

/// `2026-01-02 10:00:00`, in UTC.
fn clock(Timestamp(at): Timestamp) -> String {
    let Ok(time) = OffsetDateTime::from_unix_timestamp(at.floor() as i64) else { return at.to_string() };
    let (date, (hour, minute, second)) = (time.date(), time.to_hms());
    format!("{date} {hour:02}:{minute:02}:{second:02}")
}

/// `1h 02m`, `3m 04s`, `12.5s`.
fn span(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..=60 if seconds < 59.95 => format!("{seconds:.1}s"),
        0..3600 => format!("{}m {:02}s", whole / 60, whole % 60),
        3600.. => format!("{}h {:02}m", whole / 3600, whole % 3600 / 60),
    }
}

/// Writes `text`, made harmless if a terminal shows it.
fn show(out: &mut dyn Write, text: Vec<u8>, terminal: bool) -> io::Result<()> {
    if !terminal {
        return out.write_all(&text);
    }
    // Rows are made of texts, so nothing is lost here.
    let text = String::from_utf8_lossy(&text);
    out.write_all(plain(&text, |c| matches!(c, '\n' | '\r')).as_bytes())
}

/// `text` without what a terminal obeys: such characters as `\u001b`, which JSON reads as what they were. Those that `kept`
/// names stay.
fn plain(text: &str, kept: impl Fn(char) -> bool) -> Cow<'_, str> {
    let harmful = |c: char| disturbs_line(c) && !kept(c);
    if !text.contains(harmful) {
        return text.into();
    }
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if harmful(c) {
            write!(plain, "\\u{:04x}", u32::from(c)).expect("a string takes everything");
        } else {
            plain.push(c);
        }
    }
    plain.into()
}

#[cfg(test)]
mod tests;
