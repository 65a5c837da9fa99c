//! When a VM is polled next: pure, the clock is an argument.

use std::time::Duration;

use tokio::time::Instant;

use crate::lifecycle::Backoff;

/// How long a higher interval (fewer watchers, or slower ones) waits before it holds (SEMANTICS, section 7).
pub(super) const RAISE_AFTER: Duration = Duration::from_secs(30);

/// The longest pause between two tries at a VM that does not answer.
pub(super) const MAX_BACKOFF: Duration = Duration::from_secs(15);

/// The poll interval in force, and when the next poll is due.
#[derive(Debug)]
pub(super) struct Schedule {
    idle: Duration,
    in_force: Duration,
    wanted: Duration,
    raise_at: Option<Instant>,
    last_start: Option<Instant>,
    next: Instant,
    backoff: Backoff,
}

impl Schedule {
    /// A schedule whose first poll is due at once; `idle` holds while nobody watches.
    pub(super) fn new(idle: Duration, now: Instant) -> Self {
        let backoff = Backoff::new(Duration::from_secs(1), MAX_BACKOFF);
        Self { idle, in_force: idle, wanted: idle, raise_at: None, last_start: None, next: now, backoff }
    }

    /// The interval in force: what staleness is measured by.
    pub(super) fn interval(&self) -> Duration {
        self.in_force
    }

    /// When the schedule next wants attention: the poll, or the end of a wait before a higher interval.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// Takes the watchers' wish, in seconds. A lower one holds at once, a higher one after [`RAISE_AFTER`].
    pub(super) fn wish(&mut self, seconds: Option<u8>, now: Instant) {
        let watched = seconds.map_or(self.idle, |s| Duration::from_secs(u64::from(s.clamp(1, 60))));
        let wanted = watched.min(self.idle);
        if wanted < self.in_force {
            self.in_force = wanted;
            self.raise_at = None;
            if let Some(started) = self.last_start {
                self.next = self.next.min(started + wanted).max(now);
            }
        } else if wanted == self.in_force {
            self.raise_at = None;
        } else if self.raise_at.is_none() || wanted != self.wanted {
            self.raise_at = self.raise_at.or(Some(now + RAISE_AFTER));
        }
        self.wanted = wanted;
    }

    /// A poll begins.
    pub(super) fn started(&mut self, now: Instant) {
        if self.raise_at.is_some_and(|at| at <= now) {
            self.in_force = self.wanted;
            self.raise_at = None;
        }
        self.last_start = Some(now);
    }

    /// The poll that began last is over; `random` in [0, 1) spreads the retries of VMs that failed together.
    ///
    /// `expected`: it answered, or its power source says why it cannot.
    pub(super) fn finished(&mut self, expected: bool, now: Instant, random: f64) {
        let regular = self.last_start.unwrap_or(now) + self.in_force;
        self.next = if expected {
            self.backoff.reset();
            regular.max(now)
        } else {
            regular.max(now + self.backoff.next(random))
        };
    }

    /// There is more to read: the next poll is due at once.
    pub(super) fn catch_up(&mut self, now: Instant) {
        self.next = now;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::Schedule;

    fn secs(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    fn polled(schedule: &mut Schedule, at: Instant) {
        schedule.started(at);
        schedule.finished(true, at + Duration::from_millis(100), 0.5);
    }

    #[tokio::test]
    async fn a_lower_wish_brings_the_poll_forward_and_a_higher_one_waits() {
        let t0 = Instant::now();
        let mut schedule = Schedule::new(secs(30), t0);
        assert_eq!(schedule.next(), t0);
        polled(&mut schedule, t0);
        assert_eq!(schedule.next(), t0 + secs(30));
        schedule.wish(Some(5), t0 + secs(2));
        assert_eq!(schedule.next(), t0 + secs(5));
        polled(&mut schedule, t0 + secs(5));
        schedule.wish(Some(1), t0 + secs(9));
        assert_eq!(schedule.next(), t0 + secs(9), "already overdue: now");
        polled(&mut schedule, t0 + secs(9));
        schedule.wish(None, t0 + secs(10));
        for second in 10..=39 {
            polled(&mut schedule, t0 + secs(second));
            assert_eq!(schedule.interval(), secs(1), "at {second}");
        }
        polled(&mut schedule, t0 + secs(40));
        assert_eq!(schedule.interval(), secs(30));
    }

    #[tokio::test]
    async fn watchers_that_come_back_within_the_wait_keep_the_low_interval() {
        let t0 = Instant::now();
        let mut schedule = Schedule::new(secs(30), t0);
        schedule.wish(Some(2), t0);
        schedule.wish(None, t0 + secs(1));
        schedule.wish(Some(2), t0 + secs(20));
        polled(&mut schedule, t0 + secs(60));
        assert_eq!(schedule.interval(), secs(2));
    }

    #[tokio::test]
    async fn a_wish_above_the_idle_interval_does_not_slow_polls_down() {
        let t0 = Instant::now();
        let mut schedule = Schedule::new(secs(30), t0);
        schedule.wish(Some(60), t0);
        polled(&mut schedule, t0 + secs(31));
        assert_eq!(schedule.interval(), secs(30));
    }

    #[tokio::test]
    async fn failures_back_off_within_bounds_and_one_answer_ends_that() {
        let t0 = Instant::now();
        let mut schedule = Schedule::new(secs(1), t0);
        let mut now = t0;
        for _ in 0..20 {
            schedule.started(now);
            now += Duration::from_millis(10);
            schedule.finished(false, now, 0.999);
            assert!(schedule.next() <= now + super::MAX_BACKOFF);
            now = schedule.next();
        }
        schedule.started(now);
        schedule.finished(true, now, 0.5);
        assert_eq!(schedule.next(), now + secs(1));
    }
}
