//! What is no longer kept, and what always is (SEMANTICS, section 4).

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::Place;
use crate::model::Timestamp;

/// No event younger than this is removed, however many there are.
pub(in crate::journal) const MIN_AGE: Duration = Duration::from_secs(7 * 86_400);

/// Rows that one step looks at or removes: a commit that comes meanwhile waits for one step.
const STEP: i64 = 1000;

/// How long events are kept, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Events older than this are removed.
    pub keep_for: Duration,
    /// Of more events than this the oldest are removed, but none younger than `min_age`.
    pub keep_events: u64,
    /// Events younger than this stay, however many there are.
    pub min_age: Duration,
}

impl Retention {
    /// Removes what is older than `keep_for`, and the oldest of more than `keep_events` that are older than seven days.
    pub fn new(keep_for: Duration, keep_events: u64) -> Self {
        Self { keep_for, keep_events, min_age: MIN_AGE }
    }
}

/// What one step of removal did.
#[derive(Debug)]
pub(in crate::journal) struct Pruned {
    /// The floor from here on.
    pub(in crate::journal) floor: Place,
    /// There is more to do.
    pub(in crate::journal) more: bool,
    /// Events removed.
    pub(in crate::journal) events: u64,
}

/// One step of removal. Moves the floor over events that are due, and removes those before it, except that
/// a run stays whole as long as it has an event after the floor or is the latest of its log. The last commit of a VM is
/// never removed.
///
/// Part of the caller's transaction.
pub(in crate::journal) fn prune(
    connection: &Connection,
    retention: &Retention,
    now: Timestamp,
) -> rusqlite::Result<Pruned> {
    let moved = move_floor(connection, retention, now)?;
    let (runs_left, of_runs) = forget_runs(connection, moved.floor)?;
    Ok(Pruned { more: moved.more || runs_left, events: moved.events + of_runs, ..moved })
}

/// How many events stand after the floor.
pub(in crate::journal) fn kept(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached("SELECT no - floor_no FROM head")?.query_row([], |row| row.get(0))
}

fn move_floor(connection: &Connection, retention: &Retention, now: Timestamp) -> rusqlite::Result<Pruned> {
    let (floor, floor_no, no): (Place, i64, i64) = connection
        .prepare_cached("SELECT floor, floor_no, no FROM head")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let over = no - i64::try_from(retention.keep_events).unwrap_or(i64::MAX);
    let (old, young) = (now.0 - retention.keep_for.as_secs_f64(), now.0 - retention.min_age.as_secs_f64());
    let due = |at: f64, no: i64| at < old.min(young) || (no <= over && at < young);
    let (mut new, mut looked_at) = (None, 0);
    let mut statement =
        connection.prepare_cached("SELECT place, no, at FROM events WHERE place > ?1 ORDER BY place LIMIT ?2")?;
    let mut rows = statement.query(params![floor, STEP])?;
    while let Some(row) = rows.next()? {
        let (place, no, at): (Place, i64, f64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        if !due(at, no) {
            break;
        }
        looked_at += 1;
        new = Some((place, no));
    }
    let Some((new, new_no)) = new else { return Ok(Pruned { floor, more: false, events: 0 }) };
    debug_assert!(new_no > floor_no, "events after the floor are numbered without a gap");
    connection.prepare_cached("UPDATE head SET floor = ?1, floor_no = ?2")?.execute(params![new, new_no])?;
    // Those of runs go with their run.
    let sql = "DELETE FROM events WHERE place > ?1 AND place <= ?2 \
               AND (run IS NULL OR NOT EXISTS (SELECT 1 FROM runs WHERE runs.run = events.run))";
    let events = connection.prepare_cached(sql)?.execute(params![floor, new])?;
    Ok(Pruned { floor: new, more: looked_at == STEP, events: events as u64 })
}

/// Removes one run of those that nothing keeps any more, or a part of it if it is long. `true`: there are others; and how
/// many events went.
fn forget_runs(connection: &Connection, floor: Place) -> rusqlite::Result<(bool, u64)> {
    let sql = "SELECT run FROM runs WHERE newest <= ?1 AND EXISTS (SELECT 1 FROM runs AS later \
               WHERE later.vm_id = runs.vm_id AND later.source = runs.source AND later.started > runs.started) LIMIT 1";
    let run: Option<String> = connection.prepare_cached(sql)?.query_row([floor], |row| row.get(0)).optional()?;
    let Some(run) = run else { return Ok((false, 0)) };
    let sql = "DELETE FROM events WHERE place IN (SELECT place FROM events WHERE run = ?1 ORDER BY place LIMIT ?2)";
    let removed = connection.prepare_cached(sql)?.execute(params![run, STEP])?;
    if i64::try_from(removed).unwrap_or(STEP) < STEP {
        connection.prepare_cached("DELETE FROM runs WHERE run = ?1")?.execute([&run])?;
    }
    Ok((true, removed as u64))
}
