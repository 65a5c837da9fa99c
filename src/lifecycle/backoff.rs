//! How long to wait before trying again. Pure: the random number is an argument.

use std::time::Duration;

/// Exponential backoff with full jitter: the wait is drawn evenly from 0 to `min(max, base * 2^failures)`.
///
/// Full jitter spreads a fleet that failed together; a fixed fraction of jitter would keep it in step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Upper bound of the first wait.
    pub base: Duration,
    /// Upper bound of every wait.
    pub max: Duration,
    failures: u32,
}

impl Backoff {
    /// A backoff that has seen no failure.
    pub fn new(base: Duration, max: Duration) -> Self {
        Self { base, max, failures: 0 }
    }

    /// Upper bound of the next wait.
    pub fn ceiling(&self) -> Duration {
        self.base.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX)).min(self.max)
    }

    /// Counts one failure and gives the wait before the next attempt. `random` is drawn evenly from 0 to 1; what lies
    /// outside is taken as the nearest bound, NaN as 0.
    pub fn next(&mut self, random: f64) -> Duration {
        let ceiling = self.ceiling();
        self.failures = self.failures.saturating_add(1);
        let share = if random.is_nan() { 0.0 } else { random.clamp(0.0, 1.0) };
        // Rounding in f64 could overshoot by a nanosecond.
        ceiling.mul_f64(share).min(ceiling)
    }

    /// Failures since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// A success: the next wait begins at `base` again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::Backoff;

    #[test]
    fn the_ceiling_doubles_up_to_the_maximum() {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        let ceilings: Vec<f64> = (0..9).map(|_| backoff.next(1.0).as_secs_f64()).collect();
        assert_eq!(ceilings, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]);
        backoff.reset();
        assert_eq!(backoff.next(1.0), Duration::from_millis(500));
    }

    proptest! {
        #[test]
        fn a_wait_is_never_longer_than_its_ceiling(base in 0_u64..=u64::MAX, max in 0_u64..=u64::MAX,
            failures in 0_usize..80, random in proptest::num::f64::ANY) {
            let mut backoff = Backoff::new(Duration::from_millis(base), Duration::from_millis(max));
            for _ in 0..failures {
                backoff.next(0.5);
            }
            let ceiling = backoff.ceiling();
            prop_assert!(ceiling <= backoff.max);
            prop_assert!(backoff.next(random) <= ceiling);
        }

        #[test]
        fn the_wait_grows_with_the_random_number(base in 1_u64..100_000, low in 0.0..1.0_f64, high in 0.0..1.0_f64) {
            prop_assume!(low <= high);
            let backoff = Backoff::new(Duration::from_millis(base), Duration::from_secs(60));
            prop_assert!(backoff.clone().next(low) <= backoff.clone().next(high));
        }
    }
}
