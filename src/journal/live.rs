//! The live bus: the latest view of each VM, on its way from the poller to every hub.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::event::Position;
use crate::model::{VmFacts, VmId, VmName, VmView};

/// What is known of one VM after one poll. A newer one replaces it; what is not greater by
/// `(lease_rev, poll_no, after)` is dropped, and it is held back until the tail has reached `after`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LiveReport {
    /// Whom it is about.
    pub vm: VmName,
    /// The same, for keys.
    pub vm_id: VmId,
    /// The lease under which it was polled; 0 where there are no leases.
    pub lease_rev: u64,
    /// Counts this VM's polls in the poller's process; 0 in the announcement before the first.
    pub poll_no: u64,
    /// The poller's last commit for this VM: durable events up to here come first.
    pub after: Position,
    /// The poll interval now in force, seconds: what staleness is measured by.
    pub interval: f64,
    /// What the configuration says of it.
    pub facts: Arc<VmFacts>,
    /// What the polls say; in an announcement what the last commit knew, `None` if there is none.
    pub view: Option<Arc<VmView>>,
}

/// The poller's end.
#[derive(Clone, Debug)]
pub struct LiveSender(mpsc::Sender<LiveReport>);

/// The hub's end.
#[derive(Debug)]
pub struct LiveReceiver(mpsc::Receiver<LiveReport>);

/// A bus within one process that holds at most 256 reports; a poller waits when it is full.
pub fn live_bus() -> (LiveSender, LiveReceiver) {
    let (sender, receiver) = mpsc::channel(256);
    (LiveSender(sender), LiveReceiver(receiver))
}

impl LiveSender {
    /// Hands `report` on. Returns `false` when the hub is gone: the process is stopping.
    pub async fn publish(&self, report: LiveReport) -> bool {
        self.0.send(report).await.is_ok()
    }
}

impl LiveReceiver {
    /// The next report; `None` when every poller is gone. Safe to cancel.
    pub async fn next(&mut self) -> Option<LiveReport> {
        self.0.recv().await
    }
}
