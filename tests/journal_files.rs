//! The journal's files stay whole while other programs look at them.

use std::time::Duration;

use rusqlite::Connection;

use crate::support::{Served, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn another_program_that_closes_the_journal_does_not_take_its_write_ahead_log_away() {
    let served = Served::start().await;
    // Reads of its own open the file a second time.
    assert_eq!(served.get("/api/runs").await.expect("an answer").status(), 200);
    let (path, log) = (served.file("data/journal.db"), served.file("data/journal.db-wal"));
    let events = || {
        let other = Connection::open(&path).expect("a database");
        other.query_row("SELECT count(*) FROM events", [], |row| row.get::<_, i64>(0)).expect("a count")
    };
    eventually(Duration::from_secs(20), || async { events() > 0 }).await;
    assert!(log.exists(), "who closes it last removes it, and that is the gateway");
}
