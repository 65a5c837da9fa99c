//! From ready to exit: signals and changed files, the staged stop.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tracing::info;

use super::App;
use super::fleet_task::FleetCommand;
use crate::lifecycle::{Shutdown, Signal, Signals};

/// The one deadline of a stop.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// Within which streams are ended, one after the other, so that their clients do not come back all at once.
const DRAIN_WINDOW: Duration = Duration::from_secs(3);

/// How long requests that are no streams get to finish once nothing new is accepted.
const REQUESTS_WITHIN: Duration = Duration::from_secs(2);

/// How long a collector gets to take the last spans.
const SPANS_WITHIN: Duration = Duration::from_secs(2);

/// Why a run ended otherwise than in order.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A second signal came during the stop.
    #[error("stopped at once by a second signal")]
    Forced,
    /// What is kept of the journal here is not what the others have.
    #[error("the journal cannot be followed any more ({0}); a new start begins with what the others have")]
    Journal(String),
    /// The deadline passed with work left.
    #[error("stopped at the deadline; left over: {0}")]
    Left(String),
}

/// Waits until the journal cannot be followed any more, and says why. Safe to cancel.
async fn lost_for_good(lost: &mut Option<watch::Receiver<Option<Arc<str>>>>) -> String {
    let Some(lost) = lost else { return std::future::pending().await };
    let why = lost.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
    match why {
        Some(why) => why.to_string(),
        None => std::future::pending().await,
    }
}

impl App {
    /// Serves until a signal says stop, then stops within its deadline.
    ///
    /// # Errors
    /// If the stop was not in order.
    pub async fn run(mut self) -> Result<(), RunError> {
        info!(url = %self.url(), admin = self.admin_url(), "serving");
        // Behind it: whoever is told of it may look there.
        self.readiness.started();
        let mut signals = std::mem::replace(&mut self.signals, Signals::fed().1);
        let (mut lost, mut fault) = (self.journal.lost(), None);
        loop {
            let revoked = tokio::select! {
                signal = signals.next() => if signal == Signal::Reload { None } else { break },
                why = lost_for_good(&mut lost) => {
                    fault = Some(RunError::Journal(why));
                    break;
                }
                () = self.reloads.changed() => None,
                Some(key) = self.revocations.recv() => match self.revoke(&key.id).await {
                    Ok(()) => Some(key),
                    Err(why) => {
                        // Who asked may have gone.
                        let _ = key.reply.send(Err(why));
                        continue;
                    }
                },
            };
            self.turns.reloading().await;
            self.reload().await;
            self.turns.reloaded().await;
            if let Some(key) = revoked {
                let _ = key.reply.send(Ok(()));
            }
        }
        tokio::select! {
            outcome = self.stop() => fault.map_or(outcome, Err),
            () = async { while signals.next().await != Signal::StopNow {} } => Err(RunError::Forced),
        }
    }

    async fn stop(mut self) -> Result<(), RunError> {
        info!(streams = self.hub.streams(), "stopping");
        self.turns.stopping().await;
        let mut shutdown = Shutdown::new(STOP_WITHIN);
        self.readiness.stopping();
        self.leaving.cancel();
        // Before anything ends: a load balancer that has not seen the 503 yet still sends requests and streams here.
        if !self.drain_delay.is_zero() {
            shutdown.stage("let load balancers notice", tokio::time::sleep(self.drain_delay)).await;
        }
        self.tasks.begin_stop();
        self.hub.drain(DRAIN_WINDOW);
        let hub = &self.hub;
        let emptied = async {
            while hub.streams() > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        shutdown.stage("end streams", tokio::time::timeout(DRAIN_WINDOW + Duration::from_secs(1), emptied)).await;
        let server = &self.server;
        server.stop(REQUESTS_WITHIN.min(shutdown.left()));
        let (done, stopped) = oneshot::channel();
        let fleet = &self.fleet;
        shutdown
            .stage("stop polls and close connections", async {
                if fleet.send(FleetCommand::Stop { done }).await.is_ok() {
                    // An error means that the fleet's owner is gone, and its connections with it.
                    let _ = stopped.await;
                }
            })
            .await;
        self.work_stop.cancel();
        // Its task tells for as long as this is there.
        drop(std::mem::take(&mut self.turns));
        let left_time = shutdown.left().saturating_sub(Duration::from_millis(500));
        // Nothing makes spans any more. Half of what is left, so that a collector that hangs costs spans and no deadline.
        self.traces_stop.send_replace(Some(Instant::now() + SPANS_WITHIN.min(left_time / 2)));
        let tasks = &self.tasks;
        let left = shutdown.stage("end tasks", tasks.shutdown(left_time)).await.unwrap_or_default();
        // When nobody commits or reads any more.
        shutdown.stage("close the journal", self.journal.close()).await;
        // Last, so that health and metrics answer for as long as there is something to tell.
        self.admin_stop.cancel();
        if let Some(admin) = &self.admin {
            shutdown.stage("end the administration listener", admin.ended()).await;
        }
        shutdown.finish();
        if left.is_empty() { Ok(()) } else { Err(RunError::Left(left.join(", "))) }
    }
}
