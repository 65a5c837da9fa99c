//! What is kept, and for how long (SEMANTICS, section 4).

use std::time::Duration;

use super::*;
use crate::journal::RunQuery;
use crate::model::VmGrant;

const DAY: f64 = 86_400.0;

/// Days of the journal's life as the writer is told them.
async fn on_day(journal: &EmbeddedJournal, day: f64) {
    journal.maintain(Timestamp(1e9 + day * DAY)).await.expect("maintained");
}

fn days(days: u64) -> Duration {
    Duration::from_secs(days * 86_400)
}

#[tokio::test]
async fn what_is_older_than_asked_goes_and_says_so() {
    let place = Place::new();
    let journal = place.open_keeping(Retention::new(days(10), 1_000_000));
    for day in 0..20 {
        on_day(&journal, f64::from(day)).await;
        put(&journal, "a", vec![status("a")]).await;
    }
    on_day(&journal, 20.5).await;
    assert_eq!(journal.bounds().floor, at(11, 0), "that of day 10 is older than ten days");
    assert_eq!(positions(&journal, at(11, 0)).await.len(), 9);
    for pruned in [Position::START, at(1, 0), at(10, 9)] {
        assert!(matches!(journal.read(pruned, END, 9).await, Err(JournalError::Pruned)), "{pruned:?}");
        assert!(matches!(journal.count_after(pruned, 9).await, Err(JournalError::Pruned)), "{pruned:?}");
    }
    assert_eq!(journal.count_after(at(11, 0), 99).await, Ok(9));
    assert_eq!(journal.count_after(at(15, 3), 99).await, Ok(5));
    on_day(&journal, 400.0).await;
    assert_eq!(journal.bounds(), Bounds { floor: at(20, 0), newest: at(20, 0), applied: 20, announced: 20 });
    assert!(journal.last_commit(&VmId::from_journal("a")).await.expect("read").is_some(), "never removed");
    journal.close().await.expect("closed");
    drop(journal);
    wait_unlocked(&place.path()).await;
    let bounds = place.open().bounds();
    assert_eq!((bounds.floor, bounds.newest, bounds.applied), (at(20, 0), at(20, 0), 20), "and after a restart");
}

#[tokio::test]
async fn metrics_say_how_large_it_is_what_it_keeps_and_what_went() {
    let (place, metrics) = (Place::new(), metrics());
    let journal = place.open_counting(Retention::new(days(10), 1_000_000), &metrics);
    assert_eq!((metrics.last_commit.get(), metrics.failing.get()), (0, 0));
    on_day(&journal, 0.0).await;
    put(&journal, "a", vec![started("a", "old", "/1"), done("a", "old"), ended("a", "old")]).await;
    put(&journal, "a", vec![started("a", "new", "/1")]).await;
    on_day(&journal, 1.0).await;
    assert_eq!((metrics.kept.get(), metrics.pruned.get()), (4, 0));
    let size = |path: PathBuf| std::fs::metadata(path).expect("there").len() as i64;
    assert_eq!(metrics.file_bytes.get(), size(place.path()));
    assert_eq!(metrics.wal_bytes.get(), size(place.path().with_extension("db-wal")));
    assert!(metrics.wal_bytes.get() > 0, "what was committed is in it");
    assert!(metrics.last_commit.get() > 1_700_000_000, "of the wall clock");
    on_day(&journal, 20.0).await;
    on_day(&journal, 20.1).await;
    assert_eq!((metrics.kept.get(), metrics.pruned.get()), (0, 3), "the latest run of the log stays");
    assert_eq!(completions(&journal, "old").await.len(), 0);
}

#[tokio::test]
async fn of_too_many_the_oldest_go_but_none_younger_than_seven_days() {
    let place = Place::new();
    let journal = place.open_keeping(Retention::new(days(1000), 5));
    on_day(&journal, 0.0).await;
    for _ in 0..30 {
        put(&journal, "a", vec![status("a")]).await;
    }
    on_day(&journal, 6.9).await;
    assert_eq!(journal.count_after(Position::START, 99).await, Ok(30));
    on_day(&journal, 7.1).await;
    assert_eq!(journal.bounds().floor, at(25, 0));
    assert_eq!(journal.count_after(at(25, 0), 99).await, Ok(5));
}

#[tokio::test]
async fn no_event_goes_within_seven_days_even_if_less_is_asked_for() {
    let place = Place::new();
    let journal = place.open_keeping(Retention::new(days(1), 1));
    on_day(&journal, 0.0).await;
    put(&journal, "a", vec![status("a"), status("a")]).await;
    on_day(&journal, 6.9).await;
    assert_eq!(journal.count_after(Position::START, 99).await, Ok(2));
    on_day(&journal, 7.1).await;
    assert_eq!(journal.bounds().floor, at(1, 1));
}

#[tokio::test]
async fn a_run_stays_whole_while_it_goes_on_or_is_the_latest_of_its_log() {
    let place = Place::new();
    let journal = place.open_keeping(Retention::new(days(10), 1_000_000));
    on_day(&journal, 0.0).await;
    put(&journal, "a", vec![started("a", "old", "/1"), done("a", "old"), ended("a", "old")]).await;
    put(&journal, "a", vec![started("a", "long", "/1"), done("a", "long")]).await;
    put(&journal, "a", vec![started("a", "two", "/2"), done("a", "two"), status("a")]).await;
    put(&journal, "b", vec![started("b", "b", "/1"), done("b", "b")]).await;
    on_day(&journal, 9.0).await;
    put(&journal, "a", vec![done("a", "long"), started("a", "next", "/1")]).await;
    on_day(&journal, 12.0).await;
    assert_eq!(journal.bounds().floor, at(4, 1));
    assert_eq!(completions(&journal, "old").await, []);
    assert_eq!(completions(&journal, "long").await, [at(2, 1), at(5, 0)], "it went on");
    assert_eq!(completions(&journal, "two").await, [at(3, 1)], "the latest of its log");
    assert_eq!(completions(&journal, "b").await, [at(4, 1)], "and of its VM");
    let names = || async {
        let query =
            RunQuery { grant: VmGrant::all(), vm: None, open: None, since: None, until: None, before: None, limit: 9 };
        let page = journal.runs(&query).await.expect("read");
        page.runs.into_iter().map(|run| run.run.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names().await, ["next", "b", "two", "long"]);
    assert_eq!(positions(&journal, at(4, 1)).await, [at(5, 0), at(5, 1)], "what is kept beside is not told again");
    on_day(&journal, 100.0).await;
    assert_eq!(names().await, ["next", "b", "two"]);
    assert_eq!(completions(&journal, "long").await, []);
}

#[tokio::test]
async fn thousands_are_removed_in_steps_between_commits() {
    let place = Place::new();
    let journal = Arc::new(place.open_keeping(Retention::new(days(10), 1_000_000)));
    on_day(&journal, 0.0).await;
    for n in 0..40 {
        let run = format!("r{n}");
        let events = std::iter::once(started("a", &run, "/1")).chain(std::iter::repeat_n(done("a", &run), 99));
        put(&*journal, "a", events.collect()).await;
    }
    let pruner = Arc::clone(&journal);
    let mut pruning = JoinSet::new();
    pruning.spawn(async move { on_day(&pruner, 20.0).await });
    let mut seen = 0;
    while pruning.try_join_next().is_none() {
        put(&*journal, "b", vec![]).await;
        seen += 1;
    }
    assert!(seen > 2, "commits went on meanwhile: {seen}");
    assert_eq!(journal.bounds().floor, at(40, 99));
    assert_eq!(completions(&*journal, "r38").await, []);
    assert_eq!(completions(&*journal, "r39").await.len(), 99);
}
