//! How far streams are behind.

use std::time::Duration;

/// A stream is behind once it took nothing for so long although something waits: the way of a frame through a healthy
/// connection is a thousand times shorter.
const BEHIND: Duration = Duration::from_secs(1);

/// How far the open streams are behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Streams that have taken nothing for a second although something waits.
    pub behind: usize,
    /// Commits that the one furthest behind has still to take, at most: some may hold nothing that it may see.
    pub commits: u64,
    /// The longest that any of them has taken nothing although something waits.
    pub longest: Duration,
}

impl Lag {
    /// Of one stream for which something has waited `since` so long.
    pub(super) fn of_one(commits: u64, since: Duration) -> Self {
        Self { behind: usize::from(since >= BEHIND), commits, longest: since }
    }

    /// Of these and those together.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            behind: self.behind + other.behind,
            commits: self.commits.max(other.commits),
            longest: self.longest.max(other.longest),
        }
    }
}
