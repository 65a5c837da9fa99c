//! Files that are no journal of this program, or not any more.

use std::fs;

use rusqlite::Connection;

use super::*;

async fn filled(place: &Place) {
    let journal = place.open();
    for n in 0..200 {
        put(&journal, "a", vec![started("a", &format!("r{n}"), "/1"), done("a", &format!("r{n}"))]).await;
    }
    journal.close().await.expect("closed");
    drop(journal);
    wait_unlocked(&place.path()).await;
}

#[tokio::test]
async fn a_file_that_is_no_journal_is_refused_and_left_as_it_is() {
    let place = Place::new();
    let path = place.path();
    fs::write(&path, "these are my notes").expect("written");
    assert!(matches!(refused(&path), OpenError::NotAJournal(..)));
    fs::write(&path, "short").expect("written");
    assert!(matches!(refused(&path), OpenError::NotAJournal(..)));
    fs::remove_file(&path).expect("removed");
    let other = Connection::open(&path).expect("a database");
    other.execute_batch("CREATE TABLE customers (name)").expect("a table");
    drop(other);
    assert!(matches!(refused(&path), OpenError::NotAJournal(..)));
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_refused_and_left_as_it_is() {
    let place = Place::new();
    filled(&place).await;
    let raw = Connection::open(place.path()).expect("a database");
    raw.pragma_update(None, "user_version", 99).expect("set");
    drop(raw);
    let error = refused(&place.path());
    assert!(matches!(error, OpenError::Newer { found: 99, known: 1, .. }), "{error}");
    assert!(error.to_string().contains("newer gatewatch"));
}

#[tokio::test]
async fn a_record_of_the_next_version_is_read_and_one_after_that_is_not() {
    let place = Place::new();
    filled(&place).await;
    let raw = Connection::open(place.path()).expect("a database");
    for (v, read) in [(1, true), (2, true), (3, false)] {
        raw.execute("UPDATE last_commits SET v = ?1", [v]).expect("set");
        let journal = place.open();
        let last = journal.last_commit(&VmId::from_journal("a")).await;
        assert_eq!(last.is_ok(), read, "{last:?}");
        assert!(read || matches!(last, Err(JournalError::Version(3))), "{last:?}");
        journal.close().await.expect("closed");
        drop(journal);
        wait_unlocked(&place.path()).await;
    }
}

#[tokio::test]
async fn a_damaged_file_is_refused_and_left_as_it_is() {
    let place = Place::new();
    filled(&place).await;
    let whole = fs::read(place.path()).expect("a file");
    assert!(whole.len() > 40_000, "{}", whole.len());
    let mut refusals = 0;
    // Page by page, but for the free space at their ends, which nothing reads.
    for start in (0..whole.len()).step_by(4096) {
        let mut broken = whole.clone();
        broken[start..start + 512].fill(0xa5);
        fs::write(place.path(), &broken).expect("written");
        let error = refused(&place.path());
        assert!(matches!(error, OpenError::Corrupt(..) | OpenError::NotAJournal(..)), "page at {start}: {error}");
        refusals += 1;
    }
    assert!(refusals > 10, "{refusals}");
    fs::write(place.path(), &whole[..whole.len() / 2]).expect("written");
    assert!(matches!(refused(&place.path()), OpenError::Corrupt(..)), "cut in half");
    fs::write(place.path(), &whole).expect("written");
    assert_eq!(positions(&place.open(), Position::START).await.len(), 400, "as it was, it is a journal");
}

#[tokio::test]
async fn a_file_that_was_emptied_or_cut_is_refused_and_one_that_was_moved_away_is_begun_anew() {
    let place = Place::new();
    filled(&place).await;
    let whole = fs::read(place.path()).expect("a file");
    fs::write(place.path(), &whole[..whole.len() - 100]).expect("written");
    let error = refused(&place.path());
    assert!(error.to_string().contains("not whole pages"), "{error}");
    fs::write(place.path(), "").expect("written");
    let error = refused(&place.path());
    assert!(error.to_string().contains("held 200 commits"), "{error}");
    fs::remove_file(place.path()).expect("removed");
    assert_eq!(put(&place.open(), "a", vec![]).await.seq, 1);
}

#[tokio::test]
async fn a_run_that_cannot_be_read_hides_no_other_and_a_missing_row_is_damage() {
    let place = Place::new();
    filled(&place).await;
    let raw = Connection::open(place.path()).expect("a database");
    raw.execute("UPDATE runs SET summary = '{' WHERE run = 'r7'", []).expect("set");
    let journal = place.open();
    let page = journal.runs(&RunQuery { limit: 500, ..every_run() }).await.expect("read");
    assert_eq!(page.runs.len(), 199);
    journal.close().await.expect("closed");
    drop(journal);
    wait_unlocked(&place.path()).await;
    raw.execute("DELETE FROM head", []).expect("set");
    drop(raw);
    let error = open(&place.path(), Retention::new(MONTH, 1_000_000)).expect_err("refused");
    assert!(matches!(error, OpenError::Corrupt(..)), "{error}");
}

#[tokio::test]
async fn an_empty_file_becomes_a_journal() {
    let place = Place::new();
    fs::write(place.path(), "").expect("written");
    assert_eq!(put(&place.open(), "a", vec![]).await.seq, 1);
}

#[tokio::test]
async fn the_files_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    let journal = place.open();
    put(&journal, "a", vec![status("a")]).await;
    let mut files = 0;
    for entry in fs::read_dir(place.dir.path()).expect("a folder") {
        let entry = entry.expect("an entry");
        assert_eq!(entry.metadata().expect("metadata").permissions().mode() & 0o077, 0, "{entry:?}");
        files += 1;
    }
    assert!(files >= 5, "{files}");
}

#[tokio::test]
async fn a_store_that_is_full_takes_no_commit_says_so_and_takes_it_later() {
    let place = Place::new();
    filled(&place).await;
    let journal = place.open();
    let failing = journal.failing();
    assert!(failing.borrow().is_none());
    let (mut tail, before) = (journal.tail(), journal.bounds());
    let pages = |pages: Option<i64>| Request::limit_pages(&journal, pages);
    pages(Some(1)).await;
    let large = "x".repeat(100_000);
    let much = || commit("a", 9, vec![event("a", EventKind::Status, None, &large)]);
    for _ in 0..3 {
        assert!(matches!(journal.commit(much()).await, Err(JournalError::Store(_))));
        journal.maintain(Timestamp(1e9)).await.expect("it tries");
    }
    assert!(failing.borrow().as_deref().is_some_and(|why| why.contains("full")), "{:?}", failing.borrow());
    assert_eq!(journal.bounds(), before);
    assert!(tail.try_recv().is_err());
    assert_eq!(positions(&journal, Position::START).await.len(), 400, "what it has is still read");
    pages(None).await;
    journal.maintain(Timestamp(1e9)).await.expect("it tries");
    assert!(failing.borrow().is_none(), "it finds out by itself");
    assert_eq!(journal.commit(much()).await.expect("committed").seq, before.applied + 1, "no sequence was used up");
}

#[tokio::test]
async fn a_commit_that_cannot_be_written_does_not_hold_up_others() {
    let place = Place::new();
    filled(&place).await;
    let journal = place.open();
    Request::limit_pages(&journal, Some(1)).await;
    let large = "x".repeat(100_000);
    let much = commit("b", 9, vec![event("b", EventKind::Status, None, &large)]);
    // A few bytes have room in pages that are there.
    let (refused, taken) = tokio::join!(journal.commit(much), journal.commit(commit("a", 9, vec![])));
    assert!(refused.is_err());
    assert!(taken.is_ok(), "{taken:?}");
}
