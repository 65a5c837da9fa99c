//! A journal that was restored from a backup gives its ids under a new epoch, and none that was not restored does.

use std::fs;
use std::process::Command;

use super::*;

async fn stop(journal: EmbeddedJournal, place: &Place, crash: bool) -> Epoch {
    let epoch = journal.epoch().clone();
    if !crash {
        journal.close().await.expect("closed");
    }
    drop(journal);
    wait_unlocked(&place.path()).await;
    epoch
}

/// Copies files of a journal as tools do.
fn copy(from: &Path, to: &Path, how: &[&str]) {
    let done = Command::new(how[0]).args(&how[1..]).arg(from).arg(to).status().expect("it runs");
    assert!(done.success());
}

#[tokio::test]
async fn whatever_is_copied_back_begins_a_new_epoch() {
    for crash in [false, true] {
        for (name, how) in [("cp", &["cp"][..]), ("cp -a", &["cp", "-a"]), ("mv", &["mv"])] {
            for with_mark in [false, true] {
                let (place, backup) = (Place::new(), tempfile::tempdir().expect("a folder"));
                let journal = place.open();
                put(&journal, "a", vec![status("a")]).await;
                let before = stop(journal, &place, false).await;
                let copies = ["journal.db", "journal.db.mark"];
                for file in &copies[..if with_mark { 2 } else { 1 }] {
                    copy(&place.dir.path().join(file), &backup.path().join(file), &["cp", "-a"]);
                }
                let journal = place.open();
                put(&journal, "a", vec![status("a"), status("a")]).await;
                stop(journal, &place, crash).await;
                for suffix in ["", "-wal", "-shm"] {
                    // Not all of them are there.
                    let _ = fs::remove_file(place.dir.path().join(format!("journal.db{suffix}")));
                }
                for file in &copies[..if with_mark { 2 } else { 1 }] {
                    copy(&backup.path().join(file), &place.dir.path().join(file), how);
                }
                let journal = place.open();
                let what = format!("crash: {crash}, {name}, with mark: {with_mark}");
                assert_eq!(journal.bounds().applied, 1, "{what}");
                assert_ne!(*journal.epoch(), before, "{what}");
                // The new epoch stays.
                let new = stop(journal, &place, crash).await;
                assert_eq!(*place.open().epoch(), new, "{what}");
            }
        }
    }
}

#[tokio::test]
async fn a_mark_that_is_gone_or_says_nothing_begins_a_new_epoch() {
    for content in [None, Some(""), Some("no mark"), Some("1 2 3")] {
        let place = Place::new();
        let before = stop(place.open(), &place, false).await;
        let mark = place.dir.path().join("journal.db.mark");
        match content {
            None => fs::remove_file(mark).expect("removed"),
            Some(content) => fs::write(mark, content).expect("written"),
        }
        assert_ne!(*place.open().epoch(), before, "{content:?}");
    }
}

#[tokio::test]
async fn a_start_or_stop_cut_short_anywhere_begins_no_new_epoch() {
    let place = Place::new();
    let journal = place.open();
    put(&journal, "a", vec![status("a")]).await;
    let before = stop(journal, &place, true).await;
    for cut in 0..8 {
        let connection = store::open(&place.path(), FileKind::Journal).expect("it opens");
        mark::cut_short(&place.path(), &connection, cut % 4);
        drop(connection);
        let journal = place.open();
        assert_eq!(*journal.epoch(), before, "cut {cut}");
        stop(journal, &place, cut % 3 == 0).await;
    }
}

#[tokio::test]
async fn a_store_found_behind_what_it_announced_begins_a_new_epoch_and_one_that_is_not_keeps_its_own() {
    for behind in [true, false] {
        let place = Place::new();
        let journal = place.open();
        let wal = place.dir.path().join("journal.db-wal");
        let files = || (fs::read(place.path()).expect("a file"), fs::read(&wal).expect("a write-ahead log"));
        put(&journal, "a", vec![status("a")]).await;
        let early = files();
        put(&journal, "a", vec![status("a")]).await;
        let late = files();
        let before = stop(journal, &place, true).await;
        // A disk that forgot what it said was on it: the mark beside it is the one that was there.
        let (db, log) = if behind { early } else { late };
        fs::write(place.path(), db).expect("written");
        fs::write(&wal, log).expect("written");
        let journal = place.open();
        assert_eq!(journal.bounds().applied, if behind { 1 } else { 2 });
        assert_eq!(*journal.epoch() != before, behind);
    }
}

#[tokio::test]
async fn a_backup_of_the_same_life_copied_over_the_files_begins_a_new_epoch() {
    for how in [&["cp"][..], &["cp", "-a"]] {
        let (place, backup) = (Place::new(), tempfile::tempdir().expect("a folder"));
        let journal = place.open();
        put(&journal, "a", vec![status("a")]).await;
        let copies = ["journal.db", "journal.db-wal", "journal.db.mark"];
        for file in copies {
            copy(&place.dir.path().join(file), &backup.path().join(file), &["cp", "-a"]);
        }
        put(&journal, "a", vec![status("a"), status("a")]).await;
        let before = stop(journal, &place, true).await;
        // Nobody copies back sooner than a minute after.
        mark::age(&backup.path().join("journal.db.mark"), 61);
        for file in copies {
            copy(&backup.path().join(file), &place.dir.path().join(file), how);
        }
        let journal = place.open();
        assert_eq!(journal.bounds().applied, 1, "{how:?}");
        assert_ne!(*journal.epoch(), before, "{how:?}");
    }
}

#[tokio::test]
async fn a_mark_that_reached_the_disk_late_begins_no_new_epoch() {
    let place = Place::new();
    let journal = place.open();
    put(&journal, "a", vec![status("a")]).await;
    let before = stop(journal, &place, true).await;
    // A slow sync at the start, or a power cut that took back the last half minute of what the mark said.
    mark::age(&place.dir.path().join("journal.db.mark"), 45);
    assert_eq!(*place.open().epoch(), before);
}
