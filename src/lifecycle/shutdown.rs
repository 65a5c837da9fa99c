//! Stopping in stages under one deadline.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

/// A stop that began: each stage gets what the earlier ones left of one total, so the whole never takes longer.
#[derive(Debug)]
pub struct Shutdown {
    began: Instant,
    deadline: Instant,
    stages: Vec<StageReport>,
}

/// How one stage went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageReport {
    /// Its name.
    pub name: &'static str,
    /// How long it took.
    pub took: Duration,
    /// Whether it came to its end, rather than being cut at the deadline.
    pub finished: bool,
}

impl Shutdown {
    /// Begins now, and ends at most `total` later.
    pub fn new(total: Duration) -> Self {
        let began = Instant::now();
        Self { began, deadline: began + total, stages: Vec::new() }
    }

    /// What is left of the total. Stages that cut their own work short give it on.
    pub fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Runs one stage; `None` if the deadline cut it. Even with nothing left the stage is polled once, so that a stage
    /// that only flips a switch is never skipped.
    pub async fn stage<T>(&mut self, name: &'static str, work: impl Future<Output = T>) -> Option<T> {
        let began = Instant::now();
        let done = tokio::time::timeout_at(self.deadline, work).await.ok();
        let took = began.elapsed();
        let left = self.left();
        if done.is_some() {
            tracing::info!(stage = name, ?took, ?left, "stop: stage done");
        } else {
            tracing::warn!(stage = name, ?took, "stop: stage cut at the deadline");
        }
        self.stages.push(StageReport { name, took, finished: done.is_some() });
        done
    }

    /// Ends the stop: logs the whole and hands back how each stage went.
    pub fn finish(self) -> Vec<StageReport> {
        let cut = self.stages.iter().filter(|stage| !stage.finished).count();
        tracing::info!(took = ?self.began.elapsed(), stages = self.stages.len(), cut, "stop: done");
        self.stages
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::time::Duration;

    use tokio::time::{Instant, sleep};

    use super::Shutdown;

    #[tokio::test(start_paused = true)]
    async fn the_stages_together_never_take_longer_than_the_total() {
        let began = Instant::now();
        let mut stop = Shutdown::new(Duration::from_secs(10));
        assert_eq!(stop.stage("drain", sleep(Duration::from_secs(4))).await, Some(()));
        assert_eq!(stop.left(), Duration::from_secs(6));
        assert_eq!(stop.stage("streams", pending::<()>()).await, None);
        assert_eq!(stop.stage("switch", async { 7 }).await, Some(7));
        assert_eq!(stop.stage("late", sleep(Duration::from_secs(1))).await, None);
        assert_eq!(began.elapsed().as_secs(), 10);
        let ends: Vec<_> = stop.finish().iter().map(|stage| (stage.name, stage.finished)).collect();
        assert_eq!(ends, [("drain", true), ("streams", false), ("switch", true), ("late", false)]);
    }
}
