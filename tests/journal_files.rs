//! The journal's files stay whole while other programs look at them.

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;

use crate::support::Served;

/// A program with an older SQLite that closes the journal, a shell or a backup, takes this lock first: with it the program
/// is the last one, and removes the write-ahead log.
#[tokio::test(flavor = "multi_thread")]
async fn no_other_program_can_take_itself_for_the_last_one_at_the_journal() {
    let served = Served::start().await;
    // Readers of its own open the file once more.
    assert_eq!(served.get("/api/runs").await.expect("an answer").status(), 200);
    let path = served.file("data/journal.db");
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).expect("the journal");
    let locked = fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive);
    assert!(matches!(locked, Err(Errno::AGAIN | Errno::ACCESS)), "{locked:?}");
}
