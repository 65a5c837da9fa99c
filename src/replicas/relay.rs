//! Live reports between replicas, over core NATS: the latest only, nothing is kept or repeated (SEMANTICS, section 8).

use std::collections::HashMap;
use std::time::Duration;

use async_nats::{Client, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::journal::{Engine, LiveReceiver, LiveReport, LiveSender};
use crate::model::{LogTails, VmId};
use crate::telemetry::ReplicaMetrics;

/// How long a report may wait for the connection before it is dropped: a newer one follows.
const SENT_WITHIN: Duration = Duration::from_millis(100);

/// Between two tries to listen.
const AGAIN_AFTER: Duration = Duration::from_millis(250);

/// VMs whose latest report is kept for replicas that join.
const MAX_KEPT: usize = 10_000;

/// Takes this replica's reports to its own hub and to the others, and those of the others to its hub; to be run by whoever
/// made it.
pub struct Relay {
    client: Client,
    connected: watch::Receiver<bool>,
    reports: String,
    question: String,
    /// Where this replica's pollers report to.
    own: LiveReceiver,
    hub: LiveSender,
    /// The latest of each VM that this replica polls.
    latest: HashMap<VmId, LiveReport>,
    metrics: ReplicaMetrics,
}

/// Where reports of others and questions of those that join come in.
struct Ears {
    reports: Subscriber,
    questions: Subscriber,
}

impl Relay {
    /// A relay from `own` to `hub` and to the others.
    pub fn new(engine: &Engine, own: LiveReceiver, hub: LiveSender, metrics: ReplicaMetrics) -> Self {
        let (reports, question) = (engine.names().live("report"), engine.names().live("question"));
        let (client, connected) = (engine.client().clone(), engine.connected());
        Self { client, connected, reports, question, own, hub, latest: HashMap::new(), metrics }
    }

    /// Relays until `stop`, or until the hub is gone.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut connected = self.connected.clone();
        let (mut ears, mut again_at): (Option<Ears>, _) = (None, Instant::now());
        loop {
            let deaf = ears.is_none();
            let goes_on = tokio::select! {
                () = stop.cancelled() => return,
                own = self.own.next() => match own {
                    Some(report) => self.hand_on(report).await,
                    None => return,
                },
                heard = listen(&mut ears) => match heard {
                    Some(Heard::Report(payload)) => self.hear(&payload).await,
                    Some(Heard::Question(reply)) => self.answer(reply).await,
                    None => { ears = None; true }
                },
                () = sleep_until(again_at), if deaf => {
                    again_at = Instant::now() + AGAIN_AFTER;
                    ears = self.subscribe().await;
                    true
                }
                // What the others told meanwhile is lost.
                Ok(()) = connected.changed() => {
                    if *connected.borrow_and_update() {
                        self.ask().await;
                    }
                    true
                }
            };
            if !goes_on {
                return;
            }
        }
    }

    async fn subscribe(&self) -> Option<Ears> {
        let reports = self.client.subscribe(self.reports.clone()).await;
        let questions = self.client.subscribe(self.question.clone()).await;
        match (reports, questions) {
            (Ok(reports), Ok(questions)) => {
                self.ask().await;
                Some(Ears { reports, questions })
            }
            (Err(error), _) | (_, Err(error)) => {
                debug!(%error, "the reports of the other replicas cannot be listened to now");
                None
            }
        }
    }

    /// Asks the others for what they know now.
    async fn ask(&self) {
        self.send(self.question.clone(), Bytes::new()).await;
    }

    /// A report of a poller here. `false`: the hub is gone.
    async fn hand_on(&mut self, report: LiveReport) -> bool {
        // Without a lease it is what this replica's own journal says; so can the others.
        if report.lease_rev > 0 {
            self.tell(&report).await;
        } else {
            self.latest.remove(&report.vm_id);
        }
        self.hub.publish(report).await
    }

    async fn tell(&mut self, report: &LiveReport) {
        let known = self.latest.get(&report.vm_id);
        // Logs are by far the most of a report, and most often as they were.
        let same = known.is_some_and(|known| known.lease_rev == report.lease_rev && known.logs == report.logs);
        let payload =
            if same { encode(&LiveReport { logs: LogTails::default(), ..report.clone() }) } else { encode(report) };
        if report.poll_no > 0 && (self.latest.len() < MAX_KEPT || known.is_some()) {
            self.latest.insert(report.vm_id.clone(), report.clone());
        }
        if let Some(payload) = payload {
            self.send(self.reports.clone(), payload).await;
        }
    }

    async fn send(&self, subject: String, payload: Bytes) {
        // What waits for a connection would tell later what is no longer so.
        if !*self.connected.borrow() {
            return;
        }
        match timeout(SENT_WITHIN, self.client.publish(subject, payload)).await {
            Ok(Ok(())) => self.metrics.reports_sent.inc(),
            Ok(Err(error)) => debug!(%error, "a report does not go to the other replicas"),
            Err(_) => debug!("a report does not go to the other replicas: the connection is full"),
        }
    }

    /// A report of another replica. `false`: the hub is gone.
    async fn hear(&mut self, payload: &[u8]) -> bool {
        let report: LiveReport = match serde_json::from_slice(payload) {
            Ok(report) => report,
            Err(error) => {
                warn!(%error, "a report of another replica cannot be read");
                return true;
            }
        };
        self.metrics.reports_received.inc();
        // Another one polls it by now.
        if self.latest.get(&report.vm_id).is_some_and(|own| own.lease_rev < report.lease_rev) {
            self.latest.remove(&report.vm_id);
        }
        self.hub.publish(report).await
    }

    /// Tells one that joins everything at once.
    async fn answer(&self, reply: Option<async_nats::Subject>) -> bool {
        let subject = reply.map_or_else(|| self.reports.clone(), |reply| reply.to_string());
        for payload in self.latest.values().filter_map(encode) {
            self.send(subject.clone(), payload).await;
        }
        true
    }
}

fn encode(report: &LiveReport) -> Option<Bytes> {
    match serde_json::to_vec(report) {
        Ok(payload) => Some(payload.into()),
        Err(error) => {
            warn!(vm = %report.vm, %error, "a report cannot be told to the other replicas");
            None
        }
    }
}

enum Heard {
    Report(Bytes),
    Question(Option<async_nats::Subject>),
}

/// `None`: nothing comes any more. Does not end without ears.
async fn listen(ears: &mut Option<Ears>) -> Option<Heard> {
    let Some(ears) = ears else { return std::future::pending().await };
    tokio::select! {
        report = ears.reports.next() => report.map(|message| Heard::Report(message.payload)),
        question = ears.questions.next() => question.map(|message| Heard::Question(message.reply)),
    }
}
