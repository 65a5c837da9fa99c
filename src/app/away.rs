//! What an engine of the journal that is away means for this replica.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::lifecycle::Gate;

/// How long it may be away before everything known is stale: by then nobody holds a lease any more.
const STALE_AFTER: Duration = Duration::from_secs(15);

/// How long it may be away before this replica is not ready for new streams: the others are most often no better off, and
/// clients can still be told what is known. An election of leaders takes up to 10 s.
const UNREADY_AFTER: Duration = Duration::from_secs(30);

/// What was said of an absence so far.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Said {
    Nothing,
    Stale,
    Unready,
}

/// Says on `gate`, until `stop`, whether the engine does its part, as `failing` tells, and `what` it does not do; `all_stale` is called once each time that
/// it has been away for [`STALE_AFTER`].
pub(super) async fn keep_gate(
    what: &'static str,
    mut failing: watch::Receiver<Option<Arc<str>>>,
    gate: Gate,
    all_stale: impl Fn(),
    stop: CancellationToken,
) {
    let mut away: Option<(Instant, Said)> = None;
    gate.ready();
    loop {
        let why = failing.borrow_and_update().clone();
        if why.is_none() && away.take().is_some() {
            gate.ready();
        } else if why.is_some() {
            away.get_or_insert((Instant::now(), Said::Nothing));
        }
        let due = away.and_then(|(since, said)| match said {
            Said::Nothing => Some(since + STALE_AFTER),
            Said::Stale => Some(since + UNREADY_AFTER),
            Said::Unready => None,
        });
        tokio::select! {
            () = stop.cancelled() => return gate.retire(),
            changed = failing.changed() => if changed.is_err() { return gate.retire() },
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                let Some((_, said)) = &mut away else { continue };
                let why = why.as_deref().unwrap_or_default();
                if *said == Said::Nothing {
                    tracing::warn!(what, why, "NATS is away: what is known is marked as stale");
                    all_stale();
                    *said = Said::Stale;
                } else {
                    tracing::error!(what, why, "NATS is still away: new streams are to go elsewhere");
                    gate.not_ready(format!("{what}: {why}"));
                    *said = Said::Unready;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::sync::watch;
    use tokio::task::JoinSet;
    use tokio::time::sleep;
    use tokio_util::sync::CancellationToken;

    use super::keep_gate;
    use crate::lifecycle::Readiness;

    #[tokio::test(start_paused = true)]
    async fn an_engine_that_is_away_makes_all_stale_then_unready_and_its_return_ends_that() {
        let (readiness, stop) = (Readiness::new(), CancellationToken::new());
        readiness.started();
        let (engine, failing) = watch::channel(None::<Arc<str>>);
        let stale = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&stale);
        let count = move || {
            counted.fetch_add(1, Ordering::Relaxed);
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(keep_gate("takes no commits", failing, readiness.gate("journal", "opening"), count, stop.clone()));
        let is_ready = || readiness.watch().borrow().is_empty();
        for times in 1..=2 {
            engine.send_replace(Some("away".into()));
            sleep(Duration::from_secs(14)).await;
            assert_eq!((stale.load(Ordering::Relaxed), is_ready()), (times - 1, true), "an election");
            sleep(Duration::from_secs(2)).await;
            engine.send_replace(Some("still away".into()));
            sleep(Duration::from_secs(12)).await;
            assert_eq!((stale.load(Ordering::Relaxed), is_ready()), (times, true));
            sleep(Duration::from_secs(3600)).await;
            assert_eq!((stale.load(Ordering::Relaxed), is_ready()), (times, false));
            engine.send_replace(None);
            sleep(Duration::from_secs(1)).await;
            assert!(is_ready());
        }
        stop.cancel();
        while tasks.join_next().await.is_some() {}
    }
}
