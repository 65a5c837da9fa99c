//! What is written: commits, identities, runs. Each function is part of the caller's transaction.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::Place;
use crate::event::{Epoch, Position};
use crate::journal::{Commit, Committed, RECORD_VERSION, RunSummary, StoredEvent};
use crate::model::{Timestamp, VmId, VmName};

/// Appends `commit` under the next sequence: its events with their places, its cursors and state, its runs.
pub(in crate::journal) fn append(
    connection: &Connection,
    commit: &Commit,
    now: Timestamp,
) -> rusqlite::Result<Committed> {
    let seq: i64 =
        connection.prepare_cached("UPDATE head SET seq = seq + 1 RETURNING seq")?.query_row([], |row| row.get(0))?;
    put(connection, commit, RECORD_VERSION, seq.unsigned_abs(), now)
}

/// Puts `commit`, a record of version `v`, where it stands: at `seq`, at the time `at`.
pub(in crate::journal) fn put(
    connection: &Connection,
    commit: &Commit,
    v: u32,
    seq: u64,
    at: Timestamp,
) -> rusqlite::Result<Committed> {
    let no: i64 = connection
        .prepare_cached("UPDATE head SET no = no + ?1 RETURNING no")?
        .query_row([commit.events.len() as i64], |row| row.get(0))?;
    let first = no - commit.events.len() as i64 + 1;
    let events: Arc<[_]> = (0..)
        .zip(&commit.events)
        .map(|(i, event)| Arc::new(StoredEvent { position: Position { seq, i }, event: event.clone() }))
        .collect();
    for (no, stored) in (first..).zip(&*events) {
        put_event(connection, stored, no, at)?;
        put_run(connection, stored)?;
    }
    put_last(connection, commit, v, seq)?;
    Ok(Committed { seq, vm_id: commit.vm_id.clone(), events })
}

fn put_event(connection: &Connection, stored: &StoredEvent, no: i64, at: Timestamp) -> rusqlite::Result<()> {
    let event = &stored.event;
    let sql = "INSERT INTO events (place, no, at, kind, vm, vm_id, run, data) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    connection.prepare_cached(sql)?.execute(params![
        Place::from(stored.position),
        no,
        at.0,
        event.kind.as_str(),
        event.vm.as_str(),
        event.vm_id.as_str(),
        event.run.as_ref().map(|run| run.as_str()),
        &*event.data,
    ])?;
    Ok(())
}

/// Opens the run that `stored` tells of, or takes it into its run.
fn put_run(connection: &Connection, stored: &StoredEvent) -> rusqlite::Result<()> {
    let Some(run) = &stored.event.run else { return Ok(()) };
    let known = connection
        .prepare_cached("SELECT summary FROM runs WHERE run = ?1")?
        .query_row([run.as_str()], |row| summary(&row.get::<_, String>(0)?))
        .optional()?;
    let summary = match known {
        Some(mut summary) => {
            summary.take(stored);
            summary
        }
        None => match RunSummary::opened(stored) {
            Some(summary) => summary,
            // Its beginning is no longer kept.
            None => return Ok(()),
        },
    };
    let text =
        serde_json::to_string(&summary).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    let sql = "INSERT INTO runs (started, run, vm, vm_id, source, newest, started_at, open, summary) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) \
               ON CONFLICT (run) DO UPDATE SET newest = excluded.newest, open = excluded.open, summary = excluded.summary";
    connection.prepare_cached(sql)?.execute(params![
        Place::from(summary.started),
        run.as_str(),
        summary.vm.as_str(),
        summary.vm_id.as_str(),
        summary.source,
        Place::from(summary.newest),
        summary.started_at.0,
        summary.ended_at.is_none(),
        text,
    ])?;
    Ok(())
}

fn put_last(connection: &Connection, commit: &Commit, v: u32, seq: u64) -> rusqlite::Result<()> {
    let cursors = serde_json::to_string(&commit.cursors)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    let sql = "INSERT INTO last_commits (vm_id, seq, v, lease_rev, n, cursors, tracker_state) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (vm_id) DO UPDATE SET seq = excluded.seq, v = excluded.v, \
               lease_rev = excluded.lease_rev, n = excluded.n, cursors = excluded.cursors, \
               tracker_state = excluded.tracker_state";
    connection.prepare_cached(sql)?.execute(params![
        commit.vm_id.as_str(),
        seq as i64,
        v,
        commit.lease_rev as i64,
        commit.n as i64,
        cursors,
        &*commit.tracker_state,
    ])?;
    Ok(())
}

/// The identity behind `vm`, if it has one.
pub(in crate::journal) fn known_vm(connection: &Connection, vm: &VmName) -> rusqlite::Result<Option<VmId>> {
    connection
        .prepare_cached("SELECT vm_id FROM vms WHERE name = ?1")?
        .query_row([vm.as_str()], |row| Ok(VmId::from_journal(row.get_ref(0)?.as_str()?)))
        .optional()
}

/// The identity behind `vm`; `fresh` if it has none yet.
pub(in crate::journal) fn vm_id(connection: &Connection, vm: &VmName, fresh: &VmId) -> rusqlite::Result<VmId> {
    if let Some(known) = known_vm(connection, vm)? {
        return Ok(known);
    }
    connection
        .prepare_cached("INSERT INTO vms (vm_id, name) VALUES (?1, ?2)")?
        .execute([fresh.as_str(), vm.as_str()])?;
    Ok(fresh.clone())
}

/// Gives the identity behind `from` to `to`, unless there is none or `to` has one; what was told of it counts as told of
/// `to`, so that who may see the one name may see all of it. Needs a transaction of its own.
pub(in crate::journal) fn rename_vm(connection: &Connection, from: &VmName, to: &VmName) -> rusqlite::Result<bool> {
    let sql = "UPDATE vms SET name = ?2 WHERE name = ?1 AND NOT EXISTS (SELECT 1 FROM vms WHERE name = ?2) \
               RETURNING vm_id";
    let names = [from.as_str(), to.as_str()];
    let vm_id: Option<String> = connection.query_row(sql, names, |row| row.get(0)).optional()?;
    let Some(vm_id) = vm_id else { return Ok(false) };
    connection.execute("UPDATE events SET vm = ?2 WHERE vm_id = ?1", [&*vm_id, to.as_str()])?;
    let sql = "UPDATE runs SET vm = ?2, summary = json_set(summary, '$.vm', ?2) WHERE vm_id = ?1";
    connection.execute(sql, [&*vm_id, to.as_str()])?;
    Ok(true)
}

/// Everything up to `seq` was put; `token` tells that entry from another one that may stand there.
pub(in crate::journal) fn stand_at(connection: &Connection, seq: u64, token: &str) -> rusqlite::Result<()> {
    let sql = "UPDATE head SET seq = ?1, token = ?2";
    connection.prepare_cached(sql)?.execute(params![seq as i64, token]).map(drop)
}

/// Forgets everything: the store is that of `epoch`, and holds nothing yet.
pub(in crate::journal) fn forget_all(connection: &Connection, epoch: &Epoch) -> rusqlite::Result<()> {
    connection.execute_batch("DELETE FROM events; DELETE FROM runs; DELETE FROM last_commits; DELETE FROM vms")?;
    let sql = "UPDATE head SET epoch = ?1, token = '', next_token = '', seq = 0, no = 0, floor = 0, floor_no = 0";
    connection.execute(sql, [epoch.as_str()]).map(drop)
}

/// What stands before `floor` may have gaps: of it only what belongs to a run stays, as after a removal.
pub(in crate::journal) fn raise_floor(connection: &Connection, floor: Position) -> rusqlite::Result<()> {
    let sql = "DELETE FROM events WHERE place > (SELECT floor FROM head) AND place <= ?1 \
               AND (run IS NULL OR NOT EXISTS (SELECT 1 FROM runs WHERE runs.run = events.run))";
    connection.prepare_cached(sql)?.execute([Place::from(floor)])?;
    let sql = "UPDATE head SET floor = max(floor, ?1), floor_no = no";
    connection.prepare_cached(sql)?.execute([Place::from(floor)]).map(drop)
}

/// Reads what [`put_run`] wrote.
pub(super) fn summary(text: &str) -> rusqlite::Result<RunSummary> {
    serde_json::from_str(text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, error.into()))
}
