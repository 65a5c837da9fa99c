//! How the process is at the moment of asking: said by its parts, and what the clock alone can tell, which no task of a
//! runtime that hangs would say.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::api::Health;
use crate::fleet::Pulse;
use crate::lifecycle::{Heart, NotReady};

/// The part that is not ready while nothing runs.
const RUNTIME: &str = "runtime";
/// The part that is not ready while polls do not get done.
pub(super) const POLLS: &str = "polls";

/// Where to look.
#[derive(Debug)]
pub(super) struct Vitals {
    pub(super) said: watch::Receiver<NotReady>,
    pub(super) heart: Heart,
    pub(super) pulse: Pulse,
    pub(super) polls_stale_after: Duration,
}

impl Vitals {
    fn hung_at(&self, now: Instant) -> Option<String> {
        self.heart.hung(now).map(|silence| format!("hung: no task has run for {} s", silence.as_secs()))
    }

    fn not_ready_at(&self, now: Instant) -> NotReady {
        let mut parts = self.said.borrow().clone();
        // Polls may have become stale since it was last said whether they are.
        let polls = self.pulse.stale(now, self.polls_stale_after).map(|why| (POLLS, why));
        for (what, why) in polls.into_iter().chain(self.hung_at(now).map(|why| (RUNTIME, why))) {
            if let Err(place) = parts.binary_search_by(|(said, _)| said.as_str().cmp(what)) {
                parts.insert(place, (what.to_owned(), why));
            }
        }
        parts
    }
}

impl Health for Vitals {
    fn hung(&self) -> Option<String> {
        self.hung_at(Instant::now())
    }

    fn not_ready(&self) -> NotReady {
        self.not_ready_at(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::watch;
    use tokio::time::{Instant, advance};

    use super::Vitals;
    use crate::fleet::Pulse;
    use crate::lifecycle::Heart;
    use crate::model::VmName;

    #[tokio::test(start_paused = true)]
    async fn what_the_clock_tells_is_told_beside_what_was_said_and_each_part_once() {
        let part = |what: &str, why: &str| (what.to_owned(), why.to_owned());
        let (say, said) = watch::channel(vec![part("journal", "opening"), part("vm a", "no report yet")]);
        let begun = Instant::now();
        let pulse = Pulse::default();
        let _polls = pulse.begin(&VmName::new("a").expect("a name"), begun);
        let polls_stale_after = Duration::from_secs(50);
        let vitals = Vitals { said, heart: Heart::new(begun), pulse, polls_stale_after };
        assert_eq!(vitals.not_ready_at(begun), [part("journal", "opening"), part("vm a", "no report yet")]);
        say.send_replace(vec![part("polls", "as said")]);
        advance(Duration::from_secs(60)).await;
        let hung = part("runtime", "hung: no task has run for 60 s");
        assert_eq!(vitals.not_ready_at(Instant::now()), [part("polls", "as said"), hung.clone()]);
        say.send_replace(vec![part("vm a", "no report yet")]);
        let stale = part("polls", "stale: no poll of any VM has ended for 50 s");
        assert_eq!(vitals.not_ready_at(Instant::now()), [stale, hung, part("vm a", "no report yet")]);
    }
}
