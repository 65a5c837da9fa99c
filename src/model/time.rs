//! Wall-clock instants as the wire has them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Seconds since the Unix epoch, with fractions. It orders nothing: event ids do.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub f64);

impl Timestamp {
    /// Seconds from `earlier` to `self`, never negative (wall clocks step back).
    pub fn since(self, earlier: Self) -> f64 {
        (self.0 - earlier.0).max(0.0)
    }

    /// `self` moved by `d`.
    #[must_use]
    pub fn plus(self, d: Duration) -> Self {
        Self(self.0 + d.as_secs_f64())
    }
}

impl From<SystemTime> for Timestamp {
    fn from(at: SystemTime) -> Self {
        // Microseconds are what clients of the replaced server saw, and keep the decimal text short.
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(since.as_micros() as f64 / 1e6)
    }
}
