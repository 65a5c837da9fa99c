//! What is read. Every query is bounded, and finds its rows by key.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, Row, named_params, params};

use super::Place;
use super::write::summary;
use crate::event::{DurableEvent, EventKind, Position};
use crate::journal::{
    Commit, JournalError, LastCommit, MAX_RUNS_PAGE, Page, RECORD_VERSION, RunPage, RunQuery, RunSummary, StoredEvent,
};
use crate::model::{RunId, Timestamp, VmId, VmName};

/// Runs looked at for one page: a grant is no index.
const RUNS_LOOKED_AT: usize = 4 * MAX_RUNS_PAGE;

/// Events after one place up to another.
pub(super) const BETWEEN: &str = "SELECT place, kind, vm, vm_id, run, data FROM events \
                                  WHERE place > ?1 AND place <= ?2 ORDER BY place LIMIT ?3";

/// How many events stand after a place.
pub(super) const AFTER: &str = "SELECT head.no - max(head.floor_no, ifnull( \
                                (SELECT no FROM events WHERE place <= ?1 ORDER BY place DESC LIMIT 1), 0)) FROM head";

/// Completions of a run from one place up to another.
pub(super) const OF_RUN: &str = "SELECT place, kind, vm, vm_id, run, data FROM events \
                                 WHERE run = ?1 AND kind = 'task_complete' AND place >= ?2 AND place <= ?3 \
                                 ORDER BY place LIMIT ?4";

/// Where the first completion of a run stands behind one place, up to another.
pub(super) const FIRST_OF_RUN: &str = "SELECT place FROM events \
                                       WHERE run = ?1 AND kind = 'task_complete' AND place > ?2 AND place <= ?3 \
                                       ORDER BY place LIMIT 1";

fn event(row: &Row<'_>) -> rusqlite::Result<Arc<StoredEvent>> {
    let bad = |column: usize, what: String| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, what.into())
    };
    let kind = row.get_ref(1)?.as_str()?;
    let kind = EventKind::ALL.into_iter().find(|known| known.as_str() == kind);
    let vm = VmName::new(row.get_ref(2)?.as_str()?).map_err(|error| bad(2, error.to_string()))?;
    Ok(Arc::new(StoredEvent {
        position: row.get::<_, Place>(0)?.into(),
        event: DurableEvent {
            kind: kind.ok_or_else(|| bad(1, "not a kind of event".to_owned()))?,
            vm,
            vm_id: VmId::from_journal(row.get_ref(3)?.as_str()?),
            run: row.get_ref(4)?.as_str_or_null()?.map(RunId::from_hash),
            data: row.get_ref(5)?.as_str()?.into(),
        },
    }))
}

/// Fails if what follows `after` is not all kept. To be asked in the transaction that reads.
fn check_kept(connection: &Connection, after: Position) -> Result<(), JournalError> {
    let floor: Place = connection.prepare_cached("SELECT floor FROM head")?.query_row([], |row| row.get(0))?;
    if Place::from(after) < floor { Err(JournalError::Pruned) } else { Ok(()) }
}

/// Events after `after` up to `upto`.
pub(in crate::journal) fn read(
    connection: &mut Connection,
    after: Position,
    upto: Position,
    limit: usize,
) -> Result<Page, JournalError> {
    // One transaction: what is pruned meanwhile is still there.
    let transaction = connection.transaction()?;
    check_kept(&transaction, after)?;
    let events = transaction
        .prepare_cached(BETWEEN)?
        .query_map(params![Place::from(after), Place::from(upto), one_more(limit)], event)?
        .collect::<Result<Vec<_>, _>>()?;
    Ok(page(events, limit))
}

/// Events after `after`, before the floor too, each with the time at which it was committed.
pub(in crate::journal) fn read_with_times(
    connection: &Connection,
    after: Position,
    limit: usize,
) -> Result<Vec<(StoredEvent, Timestamp)>, JournalError> {
    let sql = "SELECT place, kind, vm, vm_id, run, data, at FROM events WHERE place > ?1 ORDER BY place LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = statement.query_map(params![Place::from(after), limit], |row| {
        Ok((Arc::unwrap_or_clone(event(row)?), Timestamp(row.get(6)?)))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// How many events stand after `after`: two look-ups, however many there are.
pub(in crate::journal) fn count_after(
    connection: &mut Connection,
    after: Position,
    cap: usize,
) -> Result<usize, JournalError> {
    let transaction = connection.transaction()?;
    check_kept(&transaction, after)?;
    let count: i64 = transaction.prepare_cached(AFTER)?.query_row([Place::from(after)], |row| row.get(0))?;
    Ok(usize::try_from(count).unwrap_or(0).min(cap))
}

/// Completions of `runs`. They are kept as long as their run is, before the floor too.
///
/// The runs are merged: one look-up for each, and two rows read for each one given at most, however long they are.
pub(in crate::journal) fn read_runs(
    connection: &mut Connection,
    runs: &[RunId],
    after: Position,
    upto: Position,
    limit: usize,
) -> Result<Page, JournalError> {
    let transaction = connection.transaction()?;
    let (after, upto) = (Place::from(after), Place::from(upto));
    let mut next = BinaryHeap::new();
    let mut first = transaction.prepare_cached(FIRST_OF_RUN)?;
    for run in runs.iter().collect::<BTreeSet<_>>() {
        let place: Option<Place> = first.query_row(params![run.as_str(), after, upto], |row| row.get(0)).optional()?;
        next.extend(place.map(|place| Reverse((place, run))));
    }
    let mut of_run = transaction.prepare_cached(OF_RUN)?;
    let (mut events, wanted) = (Vec::new(), limit.saturating_add(1));
    while let Some(Reverse((place, run))) = next.pop() {
        if events.len() >= wanted {
            break;
        }
        let until = next.peek().map(|Reverse((place, _))| *place);
        let room = i64::try_from(wanted - events.len()).unwrap_or(i64::MAX);
        let mut rows = of_run.query(params![run.as_str(), place, upto, room])?;
        while let Some(row) = rows.next()? {
            let place: Place = row.get(0)?;
            if until.is_some_and(|until| place > until) {
                next.push(Reverse((place, run)));
                break;
            }
            events.push(event(row)?);
        }
    }
    Ok(page(events, limit))
}

/// One more than asked for tells whether there is more.
fn one_more(limit: usize) -> i64 {
    i64::try_from(limit.saturating_add(1)).unwrap_or(i64::MAX)
}

fn page(mut events: Vec<Arc<StoredEvent>>, limit: usize) -> Page {
    let more = events.len() > limit;
    events.truncate(limit);
    Page { events, more }
}

/// The last commit of a VM, without its events.
/// Where the last commit of `vm_id` stands; 0: none is known.
pub(in crate::journal) fn last_seq(connection: &Connection, vm_id: &VmId) -> rusqlite::Result<u64> {
    let found = connection
        .prepare_cached("SELECT seq FROM last_commits WHERE vm_id = ?1")?
        .query_row([vm_id.as_str()], |row| row.get::<_, i64>(0))
        .optional()?;
    Ok(found.map_or(0, i64::unsigned_abs))
}

pub(in crate::journal) fn last_commit(
    connection: &Connection,
    vm_id: &VmId,
) -> Result<Option<LastCommit>, JournalError> {
    let sql = "SELECT seq, v, lease_rev, n, cursors, tracker_state FROM last_commits WHERE vm_id = ?1";
    let found = connection
        .prepare_cached(sql)?
        .query_row([vm_id.as_str()], |row| {
            let number = |column| row.get::<_, i64>(column).map(i64::unsigned_abs);
            Ok((number(0)?, number(1)?, number(2)?, number(3)?, row.get::<_, String>(4)?, row.get::<_, String>(5)?))
        })
        .optional()?;
    let Some((seq, v, lease_rev, n, cursors, state)) = found else { return Ok(None) };
    // This version and the next: a fleet is brought up to date one process after the other.
    if v > u64::from(RECORD_VERSION) + 1 {
        return Err(JournalError::Version(u32::try_from(v).unwrap_or(u32::MAX)));
    }
    let cursors = serde_json::from_str(&cursors).map_err(|error| JournalError::Store(error.to_string().into()))?;
    let commit = Commit {
        vm_id: vm_id.clone(),
        lease_rev,
        n,
        follows: 0,
        cursors,
        tracker_state: state.into(),
        events: Vec::new(),
    };
    Ok(Some(LastCommit { seq, commit: Arc::new(commit) }))
}

/// Runs from the newest to the oldest.
pub(in crate::journal) fn runs(connection: &Connection, query: &RunQuery) -> Result<RunPage, JournalError> {
    let limit = query.limit.clamp(1, MAX_RUNS_PAGE);
    // By the index of the VM where one is named, else in the order of the table.
    let of_vm = if query.vm.is_some() { "vm = :vm" } else { ":vm IS NULL" };
    let sql = format!(
        "SELECT summary FROM runs WHERE {of_vm} AND started < :before AND (:open IS NULL OR open = :open) \
         AND (:since IS NULL OR started_at >= :since) AND (:until IS NULL OR started_at < :until) \
         ORDER BY started DESC LIMIT :looked_at"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(named_params! {
        ":vm": query.vm.as_ref().map(|vm| vm.as_str()),
        ":before": Place::from(query.before.unwrap_or(Position { seq: u64::MAX, i: 0 })),
        ":open": query.open,
        ":since": query.since.map(|at| at.0),
        ":until": query.until.map(|at| at.0),
        ":looked_at": RUNS_LOOKED_AT as i64,
    })?;
    let (mut page, mut looked_at) = (RunPage::default(), 0);
    while let Some(row) = rows.next()? {
        let text = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
        // One that cannot be read hides itself, not all others.
        let Ok(run) = summary(text).inspect_err(|error| tracing::error!(%error, "a run in the journal cannot be read"))
        else {
            continue;
        };
        if page.runs.len() == limit {
            return Ok(page);
        }
        looked_at += 1;
        page.next = Some(run.started);
        if query.wants(&run) {
            page.runs.push(run);
        }
    }
    page.next.take_if(|_| looked_at < RUNS_LOOKED_AT);
    Ok(page)
}

/// One run.
pub(in crate::journal) fn run(connection: &Connection, run: &RunId) -> Result<Option<RunSummary>, JournalError> {
    let sql = "SELECT summary FROM runs WHERE run = ?1";
    let found = connection
        .prepare_cached(sql)?
        .query_row([run.as_str()], |row| summary(row.get_ref(0)?.as_str()?))
        .optional()?;
    Ok(found)
}

/// For each VM the sequence of the oldest commit that is still needed here: of which an event is kept, or the last one.
/// Looks at every event.
pub(in crate::journal) fn oldest_needed(connection: &Connection) -> Result<Vec<(VmId, u64)>, JournalError> {
    let sql = "SELECT last.vm_id, min(last.seq, ifnull(oldest.place, last.seq << 16) >> 16) FROM last_commits AS last \
               LEFT JOIN (SELECT vm_id, min(place) AS place FROM events GROUP BY vm_id) AS oldest USING (vm_id)";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([], |row| {
        Ok((VmId::from_journal(row.get_ref(0)?.as_str()?), row.get::<_, i64>(1)?.unsigned_abs()))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Every VM ever watched.
pub(in crate::journal) fn vms(connection: &Connection) -> Result<Vec<(VmName, VmId)>, JournalError> {
    let mut statement = connection.prepare_cached("SELECT name, vm_id FROM vms ORDER BY name")?;
    let mut rows = statement.query([])?;
    let mut vms = Vec::new();
    while let Some(row) = rows.next()? {
        let name = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
        let name = VmName::new(name).map_err(|error| JournalError::Store(error.to_string().into()))?;
        vms.push((name, VmId::from_journal(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?)));
    }
    Ok(vms)
}
