//! Whether polls get done at all.
//!
//! One VM that does not answer is no reason to take this process out of service: its polls end, with a failure. If no poll
//! of any VM ends, the fault is here.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::schedule::MAX_BACKOFF;
use crate::lifecycle::Gate;
use crate::model::VmName;

/// How often it is looked whether polls end.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// When a poll of any VM ended last. Clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// The VMs that are polled.
    polled: BTreeSet<VmName>,
    /// When one of them was last known to get on; set with the first of them.
    last: Option<Instant>,
}

/// A poller that polls, for as long as it lives.
#[derive(Debug)]
pub struct Polling(Pulse, VmName);

impl Pulse {
    /// The poller of `vm` begins at `now`.
    pub(crate) fn begin(&self, vm: &VmName, now: Instant) -> Polling {
        let mut state = self.lock();
        state.polled.insert(vm.clone());
        // The first one's first poll is as far from here as any from the one before.
        if state.polled.len() == 1 {
            state.last = Some(now);
        }
        Polling(self.clone(), vm.clone())
    }

    /// For how long no poll has ended; `None` while nobody polls.
    pub(super) fn silence(&self, now: Instant) -> Option<Duration> {
        let state = self.lock();
        state.last.filter(|_| !state.polled.is_empty()).map(|last| now.saturating_duration_since(last))
    }

    /// The VMs that this process polls.
    pub fn polled(&self) -> Vec<VmName> {
        self.lock().polled.iter().cloned().collect()
    }

    /// Why polls are stale at `now`, if they are: since none has ended for `limit`, which [`polls_stale_after`] gives.
    pub fn stale(&self, now: Instant, limit: Duration) -> Option<String> {
        let stale = self.silence(now).is_some_and(|silence| silence > limit);
        stale.then(|| format!("stale: no poll of any VM has ended for {} s", limit.as_secs()))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing is done under it that could leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Polling {
    /// A poll of it ended at `now`, in whatever way.
    pub(super) fn beat(&self, now: Instant) {
        self.0.lock().last = Some(now);
    }
}

impl Drop for Polling {
    fn drop(&mut self) {
        self.0.lock().polled.remove(&self.1);
    }
}

/// How long no poll may end before polls are stale: three intervals of a fleet that nobody watches, the longest pause of
/// VMs that all fail, and the time of a poll; an `idle_interval` and a `timeout` as in [`super::Shared`].
pub fn polls_stale_after(idle_interval: Duration, timeout: Duration) -> Duration {
    3 * idle_interval + MAX_BACKOFF + timeout
}

/// Says on `gate`, until `stop`, whether polls get done, and logs when that changes.
pub async fn keep_polls_gate(pulse: Pulse, gate: Gate, limit: Duration, stop: CancellationToken) {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stale = false;
    gate.ready();
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        match pulse.stale(Instant::now(), limit) {
            Some(why) if !stale => {
                tracing::error!(seconds = limit.as_secs(), "polls are stale: no poll of any VM has ended for so long");
                gate.not_ready(why);
                stale = true;
            }
            None if stale => {
                tracing::info!("polls end again");
                gate.ready();
                stale = false;
            }
            Some(_) | None => {}
        }
    }
    gate.retire();
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::task::JoinSet;
    use tokio::time::{Instant, advance, sleep};
    use tokio_util::sync::CancellationToken;

    use super::{Pulse, keep_polls_gate, polls_stale_after};
    use crate::lifecycle::Readiness;
    use crate::model::VmName;

    const IDLE: Duration = Duration::from_secs(10);
    const TIMEOUT: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn polls_that_do_not_end_are_said_and_so_is_the_next_that_does() {
        let (readiness, pulse, stop) = (Readiness::new(), Pulse::default(), CancellationToken::new());
        readiness.started();
        let gate = readiness.gate("polls", "not looked at yet");
        let mut tasks = JoinSet::new();
        let vm = |name: &str| VmName::new(name).expect("a name");
        let limit = polls_stale_after(IDLE, TIMEOUT);
        tasks.spawn(keep_polls_gate(pulse.clone(), gate, limit, stop.clone()));
        let said = || readiness.watch().borrow().clone();
        sleep(Duration::from_secs(3600)).await;
        assert!(said().is_empty(), "nothing is polled, so nothing is missing");
        let (one, other) = (pulse.begin(&vm("a"), Instant::now()), pulse.begin(&vm("b"), Instant::now()));
        for _ in 0..100 {
            sleep(IDLE).await;
            one.beat(Instant::now());
            assert!(said().is_empty(), "one VM that hangs is not all of them");
        }
        sleep(limit + Duration::from_secs(2)).await;
        assert_eq!(said(), [("polls".to_owned(), "stale: no poll of any VM has ended for 50 s".to_owned())]);
        other.beat(Instant::now());
        sleep(Duration::from_secs(2)).await;
        assert!(said().is_empty());
        drop((one, other));
        advance(Duration::from_secs(3600)).await;
        sleep(Duration::from_secs(2)).await;
        assert!(said().is_empty(), "pollers that ended are not waited for");
        stop.cancel();
        while tasks.join_next().await.is_some() {}
        assert!(said().is_empty(), "a stop is no failure");
    }
}
