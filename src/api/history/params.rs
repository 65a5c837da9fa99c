//! What the query string of a history route says, checked.

use axum::http::{HeaderMap, header};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{ExportFormat, MAX_TASKS_PAGE};
use crate::api::problem::ApiError;
use crate::api::query::{self, Pairs, at_most_one};
use crate::event::{Epoch, EventId, Position};
use crate::journal::{MAX_RUNS_PAGE, RunQuery};
use crate::model::{Timestamp, VmGrant};

/// Runs of a page whose `limit` is not given.
const DEFAULT_RUNS: usize = 100;
/// Tasks of a page whose `limit` is not given.
const DEFAULT_TASKS: usize = 500;

/// In what shape the answer is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// One page, as JSON.
    Page,
    /// Every row.
    Export(ExportFormat),
}

/// What `/api/runs` is asked.
#[derive(Debug)]
pub(super) struct RunsAsked {
    pub(super) query: RunQuery,
    pub(super) shape: Shape,
    /// Whether an export holds tasks instead of runs.
    pub(super) tasks: bool,
}

/// What `/api/runs/{run}` is asked.
#[derive(Debug)]
pub(super) struct TasksAsked {
    pub(super) shape: Shape,
    pub(super) after: Position,
    pub(super) limit: usize,
}

/// The parameters of `/api/runs`, for who may see `grant`.
pub(super) fn runs(pairs: &Pairs, headers: &HeaderMap, grant: VmGrant, epoch: &Epoch) -> Result<RunsAsked, ApiError> {
    let shape = shape(pairs, headers)?;
    let open = at_most_one(pairs, "state")?.map(|word| match word {
        "open" => Ok(true),
        "ended" => Ok(false),
        _ => Err(ApiError::InvalidParameter("state", "open or ended")),
    });
    let tasks = at_most_one(pairs, "rows")?.map(|word| match word {
        "runs" => Ok(false),
        "tasks" if shape != Shape::Page => Ok(true),
        "tasks" => Err(ApiError::InvalidParameter("rows", "runs, or tasks with a format of csv or jsonl")),
        _ => Err(ApiError::InvalidParameter("rows", "runs or tasks")),
    });
    let query = RunQuery {
        grant,
        vm: query::vm(pairs)?,
        open: open.transpose()?,
        since: time(pairs, "since")?,
        until: time(pairs, "until")?,
        before: cursor(pairs, epoch)?,
        limit: limit(pairs, DEFAULT_RUNS, MAX_RUNS_PAGE, "a whole number from 1 to 500")?,
    };
    paged_only(pairs, shape)?;
    // An export takes the largest pages there are.
    let limit = if shape == Shape::Page { query.limit } else { MAX_RUNS_PAGE };
    Ok(RunsAsked { query: RunQuery { limit, ..query }, shape, tasks: tasks.transpose()?.unwrap_or(false) })
}

/// The parameters of `/api/runs/{run}`.
pub(super) fn tasks(pairs: &Pairs, headers: &HeaderMap, epoch: &Epoch) -> Result<TasksAsked, ApiError> {
    let shape = shape(pairs, headers)?;
    let after = cursor(pairs, epoch)?.unwrap_or(Position::START);
    let limit = limit(pairs, DEFAULT_TASKS, MAX_TASKS_PAGE, "a whole number from 1 to 1000")?;
    paged_only(pairs, shape)?;
    Ok(TasksAsked { shape, after, limit })
}

/// `format`, else what `Accept` names first of what there is, else a page.
fn shape(pairs: &Pairs, headers: &HeaderMap) -> Result<Shape, ApiError> {
    match at_most_one(pairs, "format")? {
        Some("json") => Ok(Shape::Page),
        Some("csv") => Ok(Shape::Export(ExportFormat::Csv)),
        Some("jsonl") => Ok(Shape::Export(ExportFormat::Jsonl)),
        Some(_) => Err(ApiError::InvalidParameter("format", "json, jsonl or csv")),
        None => Ok(accepted(headers)),
    }
}

fn accepted(headers: &HeaderMap) -> Shape {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let kinds = values.flat_map(|value| value.split(',')).map(|kind| kind.split(';').next().unwrap_or_default().trim());
    let known = |kind: &str| match kind {
        kind if kind.eq_ignore_ascii_case("application/json") => Some(Shape::Page),
        kind if kind.eq_ignore_ascii_case("text/csv") => Some(Shape::Export(ExportFormat::Csv)),
        kind if kind.eq_ignore_ascii_case("application/x-ndjson") => Some(Shape::Export(ExportFormat::Jsonl)),
        _ => None,
    };
    kinds.filter_map(known).next().unwrap_or(Shape::Page)
}

/// An export holds every row: who asks for a part of it would take the part for the whole.
fn paged_only(pairs: &Pairs, shape: Shape) -> Result<(), ApiError> {
    for name in ["limit", "cursor"] {
        if shape != Shape::Page && at_most_one(pairs, name)?.is_some() {
            return Err(ApiError::InvalidParameter(name, "for pages alone: an export holds every row"));
        }
    }
    Ok(())
}

fn limit(pairs: &Pairs, default: usize, most: usize, allowed: &'static str) -> Result<usize, ApiError> {
    let Some(text) = at_most_one(pairs, "limit")? else { return Ok(default) };
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let limit = text.parse().ok().filter(|limit| digits && (1..=most).contains(limit));
    limit.ok_or(ApiError::InvalidParameter("limit", allowed))
}

/// `cursor`: the `next` of the page before, an id of the journal's own.
fn cursor(pairs: &Pairs, epoch: &Epoch) -> Result<Option<Position>, ApiError> {
    let Some(text) = at_most_one(pairs, "cursor")? else { return Ok(None) };
    let id = EventId::parse(text).ok().filter(|id| id.epoch == *epoch);
    let said = "the next of an earlier page of this journal; begin again without one";
    id.map(|id| Some(id.position)).ok_or(ApiError::InvalidParameter("cursor", said))
}

fn time(pairs: &Pairs, name: &'static str) -> Result<Option<Timestamp>, ApiError> {
    let Some(text) = at_most_one(pairs, name)? else { return Ok(None) };
    // A plus sign, as in +02:00, reaches us as a space.
    let at = time_of(text).or_else(|| time_of(&text.replace(' ', "+")));
    at.map(Some).ok_or(ApiError::InvalidParameter(name, "seconds since the Unix epoch, or an RFC 3339 time"))
}

/// The instant that `text` names: seconds since the Unix epoch, or an RFC 3339 time.
pub fn time_of(text: &str) -> Option<Timestamp> {
    // Rust also reads `inf`, `nan` and `1e9`, which nobody means.
    if text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return text.parse().ok().map(Timestamp);
    }
    let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    // By microseconds, as every timestamp is made: `started_utc` finds the very run that shows it.
    Some(Timestamp((at.unix_timestamp_nanos() / 1000) as f64 / 1e6))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_time_is_seconds_or_rfc_3339_and_nothing_else() {
        for (text, seconds) in [
            ("0", 0.0),
            ("1767348000", 1_767_348_000.0),
            ("1767348000.25", 1_767_348_000.25),
            ("2026-01-02T10:00:00Z", 1_767_348_000.0),
            ("2026-01-02T12:00:00+02:00", 1_767_348_000.0),
            ("2026-01-02T10:00:00.25Z", 1_767_348_000.25),
            ("2026-01-02T10:00:00.214744Z", 1_767_348_000.214744),
        ] {
            assert_eq!(time_of(text), Some(Timestamp(seconds)), "{text}");
        }
        for text in ["", ".", "-1", "1e9", "inf", "nan", "now", "2026-01-02", "1.2.3", "2026-13-02T10:00:00Z"] {
            assert_eq!(time_of(text), None, "{text}");
        }
        let pairs = [("since".to_owned(), "2026-01-02T12:00:00 02:00".to_owned())];
        assert_eq!(time(&pairs, "since"), Ok(Some(Timestamp(1_767_348_000.0))), "a plus that was not encoded");
    }

    #[test]
    fn the_parameter_decides_and_then_what_is_accepted_first() {
        let accept = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, value.parse().expect("a value"));
            shape(&[], &headers)
        };
        assert_eq!(shape(&[], &HeaderMap::new()), Ok(Shape::Page));
        assert_eq!(accept("text/html,application/xhtml+xml,*/*;q=0.8"), Ok(Shape::Page));
        assert_eq!(accept("Text/CSV; header=present, application/json"), Ok(Shape::Export(ExportFormat::Csv)));
        assert_eq!(accept("application/x-ndjson"), Ok(Shape::Export(ExportFormat::Jsonl)));
        assert_eq!(accept("application/json, text/csv"), Ok(Shape::Page));
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, "text/csv".parse().expect("a value"));
        assert_eq!(shape(&[("format".to_owned(), "json".to_owned())], &headers), Ok(Shape::Page));
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd(name in "(state|rows|since|until|limit|cursor|format|vm)", value in any::<String>()) {
            let pairs = [(name, value)];
            let epoch = Epoch::new("e").expect("an epoch");
            if let Ok(asked) = runs(&pairs, &HeaderMap::new(), VmGrant::all(), &epoch) {
                prop_assert!((1..=MAX_RUNS_PAGE).contains(&asked.query.limit));
            }
            if let Ok(asked) = tasks(&pairs, &HeaderMap::new(), &epoch) {
                prop_assert!((1..=MAX_TASKS_PAGE).contains(&asked.limit));
            }
        }
    }
}
