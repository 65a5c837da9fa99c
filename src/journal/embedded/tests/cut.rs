//! A crash at any instant leaves whole commits: events, cursors, state and runs of each, or nothing of it.

use std::fs;

use super::*;

/// Commits made; the n-th has n events.
const COMMITS: u64 = 9;
/// What SQLite writes before the pages of its write-ahead log, before each page, and a page; bytes.
const HEAD: usize = 32;
const PAGE_HEAD: usize = 24;
const PAGE: usize = 4096;

/// Puts the files of a crashed process into a folder of their own.
fn crashed(db: &[u8], log: &[u8]) -> Place {
    let place = Place::new();
    fs::write(place.path(), db).expect("written");
    fs::write(place.dir.path().join("journal.db-wal"), log).expect("written");
    place
}

/// How many commits are there; each is whole, and the last one's cursors and state are with it.
async fn whole_commits(place: &Place) -> u64 {
    let journal = place.open();
    let applied = journal.bounds().applied;
    let expected: Vec<Position> = (1..=applied).flat_map(|n| (0..n as u32).map(move |i| at(n, i))).collect();
    assert_eq!(positions(&journal, Position::START).await, expected);
    assert_eq!(journal.count_after(Position::START, 1000).await, Ok(expected.len()));
    let last = journal.last_commit(&VmId::from_journal("a")).await.expect("read");
    assert_eq!(last.as_ref().map_or(0, |last| last.seq), applied);
    if let Some(LastCommit { commit, .. }) = last {
        assert_eq!((commit.n, &*commit.tracker_state), (applied, &*format!("{{\"n\":{applied}}}")));
        assert_eq!(commit.cursors, [LogCursor { offset: applied * 100, ..LogCursor::start("/l") }]);
        let run = journal.run(&RunId::from_hash("r")).await.expect("read").expect("it is open");
        assert_eq!(run.completed, expected.len() as u64 - 1);
    }
    journal.close().await.expect("closed");
    applied
}

#[tokio::test]
async fn wherever_the_write_ahead_log_breaks_off_commits_are_whole_or_not_there() {
    let place = Place::new();
    let journal = place.open();
    journal.close().await.expect("closed");
    let db = fs::read(place.path()).expect("a file");
    let journal = place.open();
    for n in 1..=COMMITS {
        let mut events = vec![done("a", "r"); n as usize];
        if n == 1 {
            events = vec![started("a", "r", "/l")];
        }
        let cursors = vec![LogCursor { offset: n * 100, ..LogCursor::start("/l") }];
        journal.commit(Commit { cursors, ..commit("a", n, events) }).await.expect("committed");
    }
    let log = fs::read(place.dir.path().join("journal.db-wal")).expect("a write-ahead log");
    assert_eq!(fs::read(place.path()).expect("a file"), db, "all of it is still in the log");
    let pages = (log.len() - HEAD) / (PAGE_HEAD + PAGE);
    assert!(pages as u64 > 3 * COMMITS, "{pages}");

    let mut found = Vec::new();
    for page in 0..=pages {
        let end = HEAD + page * (PAGE_HEAD + PAGE);
        // In the middle of a page every other time, and torn: the rest of it is not what was written.
        let mut cut = log[..end].to_vec();
        if page % 2 == 1 && page < pages {
            cut.extend_from_slice(&log[end..end + PAGE / 2]);
            cut.resize(end + PAGE_HEAD + PAGE, 0);
        }
        found.push(whole_commits(&crashed(&db, &cut)).await);
    }
    assert!(found.is_sorted(), "{found:?}");
    found.dedup();
    assert_eq!(found, (0..=COMMITS).collect::<Vec<_>>(), "each commit is there once its last page is");
}
