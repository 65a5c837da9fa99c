//! When a commit without events is due (SEMANTICS, section 4): pure.

use std::time::Duration;

use crate::model::LogCursor;
use crate::probe::script::LOG_CHUNK;

/// The longest that the last commit of a VM may be the last.
const DAILY: Duration = Duration::from_secs(24 * 3600);

/// What a process that goes on from the last commit may have to read again, in bytes, as long as one poll's share of it
/// leaves room.
const MAX_REREAD: u64 = 8 * 1024 * 1024;

/// The most that one reading of one log brings: the file, and as much of a renamed older one.
const REACH: u64 = 2 * LOG_CHUNK;

/// Whether to commit although nothing happened. `saved` are the cursors of the last commit, `read` those reached since,
/// and `age` is how old that commit is.
///
/// With up to three logs never more than 8 MiB are read again, with more of them 2 MiB and 2 MiB per log: what one poll
/// may read at once.
pub(super) fn is_due(saved: &[LogCursor], read: &[LogCursor], age: Duration) -> bool {
    let reach = REACH.saturating_mul(read.len() as u64);
    let limit = MAX_REREAD.saturating_sub(reach).max(REACH);
    age >= DAILY || replaced(saved, read) || bytes_read(saved, read) > limit
}

/// How many bytes of logs lie between two states of their cursors. Of a file that another one replaced, only what was
/// read of its successor is known.
pub(super) fn bytes_read(before: &[LogCursor], after: &[LogCursor]) -> u64 {
    let of = |cursor: &LogCursor| {
        let same = before.iter().find(|was| was.path == cursor.path && was.generation == cursor.generation);
        cursor.offset.saturating_sub(same.map_or(0, |was| was.offset))
    };
    after.iter().map(of).sum()
}

/// Whether a file that was read from has another one at its path: how much of it was read is not known any more.
fn replaced(before: &[LogCursor], after: &[LogCursor]) -> bool {
    let other = |was: &LogCursor, is: &LogCursor| was.path == is.path && was.generation != is.generation;
    before.iter().any(|was| was.generation > 0 && after.iter().any(|is| other(was, is)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(log: usize, generation: u64, offset: u64) -> LogCursor {
        LogCursor { generation, offset, ..LogCursor::start(&format!("/log-{log}")) }
    }

    #[test]
    fn a_checkpoint_is_due_once_a_day_and_when_a_file_was_replaced() {
        let (saved, hour) = ([at(0, 1, 100)], Duration::from_secs(3600));
        assert!(!is_due(&saved, &saved, 23 * hour));
        assert!(is_due(&saved, &saved, 24 * hour));
        assert!(is_due(&saved, &[at(0, 2, 0)], hour));
        assert!(!is_due(&[at(0, 0, 0)], &[at(0, 1, 0)], hour), "the first file of all");
        assert!(!is_due(&saved, &[at(1, 1, 0)], hour), "another log is configured");
    }

    #[test]
    fn however_much_each_poll_reads_a_reread_stays_within_its_bound() {
        for logs in 1..=16 {
            let bound = if logs <= 3 { MAX_REREAD } else { REACH + logs as u64 * REACH };
            for share in [1, 1000, LOG_CHUNK / 3, LOG_CHUNK, REACH] {
                let (mut saved, mut commits) = ((0..logs).map(|log| at(log, 1, 0)).collect::<Vec<_>>(), 0);
                let mut read = saved.clone();
                for _ in 0..100 {
                    read.iter_mut().for_each(|cursor| cursor.offset += share);
                    assert!(bytes_read(&saved, &read) <= bound, "{logs} logs, {share} bytes each");
                    if is_due(&saved, &read, Duration::ZERO) {
                        saved.clone_from(&read);
                        commits += 1;
                    }
                }
                // A poll that reads little writes nothing.
                assert_eq!(
                    commits == 0,
                    share * 100 * logs as u64 <= bound.saturating_sub(REACH * logs as u64),
                    "{logs} {share}"
                );
            }
        }
    }
}
