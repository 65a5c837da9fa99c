//! How much the store works for an answer, in steps of SQLite's own machine: no clock, so no machine is too slow.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rusqlite::{Connection, StatementStatus, params};

use super::read::{AFTER, BETWEEN, OF_RUN};
use super::{FileKind, Place, create_private, open};
use crate::event::Position;
use crate::model::RunId;

/// A store with so many events in runs of a thousand tasks, filled without the journal.
fn filled(dir: &std::path::Path, events: u64) -> Connection {
    let path = dir.join(format!("{events}.db"));
    create_private(&path).expect("a file");
    let connection = open(&path, FileKind::Journal).expect("a store");
    connection.pragma_update(None, "synchronous", "OFF").expect("set");
    let data = format!("{{\"task_id\":\"{}\",\"success\":true,\"score\":1.0}}", "t".repeat(150));
    connection
        .execute(
            "WITH RECURSIVE each (no) AS (SELECT 1 UNION ALL SELECT no + 1 FROM each WHERE no < ?1) \
             INSERT INTO events SELECT no * 65536, no, no, 'task_complete', 'vm', 'vm', 'run-' || (no / 1000), ?2 FROM each",
            (events as i64, data),
        )
        .expect("filled");
    connection.execute("UPDATE head SET epoch = 'e', seq = ?1, no = ?1", [events as i64]).expect("set");
    connection
}

/// The steps that one execution of `sql` takes, and the rows it gives.
fn steps(connection: &Connection, sql: &str, parameters: impl rusqlite::Params) -> (i32, usize) {
    let mut statement = connection.prepare(sql).expect("sql");
    let mut rows = statement.query(parameters).expect("asked");
    let mut count = 0;
    while rows.next().expect("a row").is_some() {
        count += 1;
    }
    drop(rows);
    (statement.get_status(StatementStatus::VmStep), count)
}

#[test]
fn resuming_takes_as_many_steps_among_a_million_events_as_among_a_thousand() {
    let dir = tempfile::tempdir().expect("a folder");
    let (few, many) = (filled(dir.path(), 2_000), filled(dir.path(), 1_000_000));
    for (what, sql) in [("count", AFTER), ("missed", BETWEEN), ("completions", OF_RUN)] {
        let of = |connection: &Connection, events: u64| {
            let (from, upto) = (Position { seq: events - 300, i: 0 }, Position { seq: events, i: 9 });
            let (from, upto) = (Place::from(from), Place::from(upto));
            match what {
                "count" => steps(connection, sql, [from]),
                "missed" => steps(connection, sql, params![from, upto, 257]),
                _ => steps(
                    connection,
                    sql,
                    params![format!("run-{}", events / 1000 - 1), Place::from(Position::START), upto, 257],
                ),
            }
        };
        let (few, many) = (of(&few, 2_000), of(&many, 1_000_000));
        assert_eq!(few, many, "{what}: steps and rows");
        assert!(many.0 < 20 * many.1 as i32 + 100, "{what}: {many:?}");
    }
}

#[test]
fn the_completions_of_a_thousand_runs_at_once_are_read_a_page_at_a_time() {
    const RUNS: usize = 1_000;
    let dir = tempfile::tempdir().expect("a folder");
    let mut connection = filled(dir.path(), 100_000);
    // Each run's completions stand between those of all others.
    let sql = "UPDATE events SET run = 'run-' || ((place / 65536) % ?1)";
    connection.execute(sql, [RUNS as i64]).expect("set");
    let runs: Vec<_> = (0..RUNS).map(|run| RunId::from_hash(&format!("run-{run}"))).collect();
    let worked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&worked);
    let handler = move || {
        count.fetch_add(100, Ordering::Relaxed);
        false
    };
    connection.progress_handler(100, Some(handler)).expect("set");
    let (mut after, upto, mut seen) = (Position::START, Position { seq: u64::MAX, i: 0 }, 0);
    for _ in 0..20 {
        worked.store(0, Ordering::Relaxed);
        let page = super::read_runs(&mut connection, &runs, after, upto, 256).expect("read");
        assert!(page.more && page.events.is_sorted_by(|a, b| a.position < b.position));
        let steps = worked.load(Ordering::Relaxed);
        // A look-up of each run, and a few rows for each one given; not each run's next page.
        assert!(steps < 30 * RUNS + 100 * 256, "{steps}");
        seen += page.events.len();
        after = page.events.last().expect("a row").position;
        assert_eq!(after.seq as usize, seen, "none is passed over");
    }
}
