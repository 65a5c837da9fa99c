//! The live bus: the latest view of each VM, on its way from the poller to every hub.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::event::Position;
use crate::model::{LogTails, VmFacts, VmId, VmName, VmView};

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
    /// Counts this VM's polls in the poller's process. 0 is its announcement: a poller begins, and nothing is newer than
    /// what it says from here on.
    pub poll_no: u64,
    /// The last commit for this VM: durable events up to here come first.
    pub after: Position,
    /// The poll interval now in force, seconds: what staleness is measured by.
    pub interval: f64,
    /// What the configuration says of it.
    pub facts: Arc<VmFacts>,
    /// What the polls say; in an announcement what the journal kept of it, or `None` if it kept nothing.
    pub view: Option<Arc<VmView>>,
    /// The newest lines of its logs, as far as this poller read them.
    #[serde(default)]
    pub logs: LogTails,
}

/// What travels on the bus.
#[derive(Debug)]
enum Message {
    Report(LiveReport),
    /// Answered once everything before it was taken.
    Settle(oneshot::Sender<()>),
}

/// The poller's end.
#[derive(Clone, Debug)]
pub struct LiveSender(mpsc::Sender<Message>);

/// The hub's end.
#[derive(Debug)]
pub struct LiveReceiver(mpsc::Receiver<Message>);

/// A bus within one process that holds at most 256 reports; a poller waits when it is full.
pub fn live_bus() -> (LiveSender, LiveReceiver) {
    let (sender, receiver) = mpsc::channel(256);
    (LiveSender(sender), LiveReceiver(receiver))
}

impl LiveSender {
    /// Hands `report` on. Returns `false` when the hub is gone: the process is stopping.
    pub async fn publish(&self, report: LiveReport) -> bool {
        self.0.send(Message::Report(report)).await.is_ok()
    }

    /// How many reports wait to be taken.
    pub fn waiting(&self) -> usize {
        self.0.max_capacity() - self.0.capacity()
    }

    /// Waits until every report that was published before is taken. Returns `false` when the hub is gone.
    pub async fn settled(&self) -> bool {
        let (taken, settled) = oneshot::channel();
        self.0.send(Message::Settle(taken)).await.is_ok() && settled.await.is_ok()
    }
}

impl LiveReceiver {
    /// The next report; `None` when every poller is gone. Whoever asks for the next one has taken those before it. Safe
    /// to cancel.
    pub async fn next(&mut self) -> Option<LiveReport> {
        loop {
            match self.0.recv().await? {
                Message::Report(report) => return Some(report),
                Message::Settle(taken) => {
                    // The one who asked may have given up.
                    let _ = taken.send(());
                }
            }
        }
    }
}
