//! Whether a runtime still runs tasks, for those who do not run on it.
//!
//! A task that hangs cannot say so, and one that watches it on the same runtime hangs with it. So a task says again and
//! again that it runs, and whoever is asked looks at how long ago that was.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// How often it beats.
const BEAT_EVERY: Duration = Duration::from_millis(500);
/// The silence after which the runtime counts as hung. Tasks never hold a thread for nearly as long, and a machine that
/// gives the process nothing for so long has no use for more of its work.
const HUNG_AFTER: Duration = Duration::from_secs(5);
/// In place of the time of a beat: it beats no more, and means to.
const AT_REST: u64 = u64::MAX;

/// The heart of the runtime that [`Heart::beat`] runs on. Clones share it.
#[derive(Clone, Debug)]
pub struct Heart(Arc<Beats>);

#[derive(Debug)]
struct Beats {
    born: Instant,
    /// When it beat last, in milliseconds since `born`.
    last: AtomicU64,
}

impl Heart {
    /// One that beat at `now`.
    pub fn new(now: Instant) -> Self {
        Self(Arc::new(Beats { born: now, last: AtomicU64::new(0) }))
    }

    /// Beats until `stop`; from then on nobody waits for a beat.
    pub async fn beat(self, stop: CancellationToken) {
        let mut beats = interval(BEAT_EVERY);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(beats.tick()).await.is_some() {
            self.0.last.store(self.millis(Instant::now()), Ordering::Relaxed);
        }
        self.0.last.store(AT_REST, Ordering::Relaxed);
    }

    /// For how long it has been silent at `now`, if that is too long.
    ///
    /// The clock goes on while the process is stopped (SIGSTOP, a machine that is suspended or moved), and who asks may be
    /// back before the heart is: a silence counts once a second look a moment later finds it too.
    pub fn hung(&self, now: Instant) -> Option<Duration> {
        let last = self.0.last.load(Ordering::Relaxed);
        // A beat since `now` was taken, and rest, are later than it.
        let silence = Duration::from_millis(self.millis(now).saturating_sub(last));
        (silence > HUNG_AFTER).then_some(silence)
    }

    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.0.born).as_millis()).unwrap_or(AT_REST - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{Instant, advance, sleep};
    use tokio_util::sync::CancellationToken;

    use super::{HUNG_AFTER, Heart};
    use crate::lifecycle::{Readiness, Tasks};

    #[tokio::test(start_paused = true)]
    async fn a_silence_is_told_until_the_next_beat_and_never_at_rest() {
        let heart = Heart::new(Instant::now());
        let (tasks, stop) = (Tasks::new(&Readiness::new()), CancellationToken::new());
        let hung = || heart.hung(Instant::now());
        advance(HUNG_AFTER).await;
        assert_eq!(hung(), None);
        advance(Duration::from_secs(1)).await;
        assert_eq!(hung(), Some(HUNG_AFTER + Duration::from_secs(1)), "it was not begun in time");
        tasks.spawn("heart", heart.clone().beat(stop.clone()));
        for _ in 0..100 {
            sleep(Duration::from_millis(777)).await;
            assert_eq!(hung(), None);
        }
        // As if the process had been stopped.
        advance(Duration::from_secs(3600)).await;
        sleep(Duration::from_millis(1)).await;
        assert_eq!(hung(), None, "it beats at once");
        stop.cancel();
        assert!(tasks.shutdown(Duration::from_secs(1)).await.is_empty());
        advance(Duration::from_secs(3600)).await;
        assert_eq!(hung(), None, "a stop is no hang");
    }
}
