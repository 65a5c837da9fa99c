//! Exports: every row, handed on as fast as the client reads and no faster.
//!
//! The reading is done in tasks that [`ExportRunner`] owns, as the hub reads for its streams: a body is polled only while
//! its client takes bytes, so a read inside it could be held for as long as a client likes. What stands between the task
//! and the body is one part at most, and the next page is read only once that one is taken.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::body::{Body, Bytes};
use futures_util::stream;
use tokio::sync::mpsc::{self, Permit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Encoder, ExportFormat, HistoryError, Reader, Wanted};
use crate::api::problem::ApiError;
use crate::edge::EdgeState;
use crate::hub::Cut;
use crate::journal::Journal;
use crate::model::{Principal, Timestamp};
use crate::telemetry::metrics::Counter;
use crate::telemetry::{ExportMetrics, ExportOutcome, Held};

/// Exports at once, of all callers.
pub const EXPORTS: usize = 4;

/// How long a part may wait to be taken; then the client's connection is cut. As for a stream.
const UNTAKEN: Duration = Duration::from_secs(60);

/// How long one export may last: who reads ever so slowly must not keep a place for ever either.
const LONGEST: Duration = Duration::from_secs(3600);

/// A part is sent once it has so many bytes, so that runs of few tasks do not make many small ones.
const LEAST_PART: usize = 16 * 1024;

/// The largest part. With [`UNTAKEN`] it makes the slowest client that is served: about a kilobyte a second.
const LARGEST_PART: usize = 64 * 1024;

/// What a body is made of.
enum Part {
    /// Rows.
    Rows(Bytes),
    /// That was all. Without it the body ends with an error: nobody may take a part for the whole.
    End,
    /// There is more, but it cannot be had.
    Broken(ApiError),
}

/// The places for exports, and the way to the tasks that fill them.
#[derive(Clone, Debug)]
pub struct Exports {
    places: Arc<Semaphore>,
    jobs: mpsc::Sender<Job>,
    metrics: ExportMetrics,
}

/// Owns the tasks of exports.
#[derive(Debug)]
pub struct ExportRunner {
    jobs: mpsc::Receiver<Job>,
}

/// What an export needs.
pub(super) struct ExportRequest {
    pub(super) journal: Arc<dyn Journal>,
    pub(super) wanted: Wanted,
    pub(super) format: ExportFormat,
    /// Whose it is, and who knows whether the credential still stands.
    pub(super) principal: Arc<Principal>,
    pub(super) edge: EdgeState,
    /// Ends the client's connection.
    pub(super) cut: Option<Cut>,
}

struct Job {
    request: ExportRequest,
    parts: mpsc::Sender<Part>,
    metrics: ExportMetrics,
    _place: OwnedSemaphorePermit,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job").field("wanted", &self.request.wanted).finish_non_exhaustive()
    }
}

/// Why an export ended before its end.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("its client takes nothing")]
    Untaken,
    #[error("it lasted too long")]
    TooLong,
    #[error("its credential stands no more, or allows something else now")]
    Revoked,
    #[error("its client left")]
    Left,
    #[error("{0}")]
    History(#[from] HistoryError),
}

impl From<&Result<(), Broken>> for ExportOutcome {
    fn from(outcome: &Result<(), Broken>) -> Self {
        match outcome {
            Ok(()) => Self::Ok,
            Err(Broken::Untaken) => Self::Untaken,
            Err(Broken::TooLong) => Self::TooLong,
            Err(Broken::Revoked) => Self::Revoked,
            Err(Broken::Left) => Self::Left,
            Err(Broken::History(_)) => Self::Failed,
        }
    }
}

/// The error that ends a body; what it says stays here.
#[derive(Debug, thiserror::Error)]
#[error("the export broke off")]
struct BrokeOff;

impl Exports {
    /// Places for [`EXPORTS`] and what must run for them to be filled.
    pub fn new(metrics: ExportMetrics) -> (Self, ExportRunner) {
        // Each job holds a place, so there is room for all.
        let (jobs, receiver) = mpsc::channel(EXPORTS);
        (Self { places: Arc::new(Semaphore::new(EXPORTS)), jobs, metrics }, ExportRunner { jobs: receiver })
    }

    /// Begins an export and gives its body once the first rows were read.
    pub(super) async fn begin(&self, request: ExportRequest) -> Result<Body, ApiError> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| ApiError::TooManyExports)?;
        let (parts, mut taken) = mpsc::channel(1);
        let metrics = self.metrics.clone();
        self.jobs.try_send(Job { request, parts, metrics, _place: place }).map_err(|_| ApiError::Stopping)?;
        match taken.recv().await {
            Some(Part::Broken(error)) => Err(error),
            None => Err(ApiError::Stopping),
            Some(first) => Ok(body(first, taken)),
        }
    }
}

/// `first`, then what comes; an error where the end does not come.
fn body(first: Part, taken: mpsc::Receiver<Part>) -> Body {
    let begun = (Some(first), taken);
    Body::from_stream(stream::unfold(Some(begun), |reading| async {
        let (first, mut taken) = reading?;
        let part = match first {
            Some(first) => Some(first),
            None => taken.recv().await,
        };
        match part {
            Some(Part::Rows(rows)) => Some((Ok(rows), Some((None, taken)))),
            Some(Part::End) => None,
            Some(Part::Broken(_)) | None => Some((Err(BrokeOff), None)),
        }
    }))
}

impl ExportRunner {
    /// Runs exports until `stop`; those under way then break off.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut at_work = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(job) = self.jobs.recv() => {
                    at_work.spawn(job.run());
                }
                Some(ended) = at_work.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "an export failed");
                    }
                }
                else => return,
            }
        }
    }
}

impl Job {
    async fn run(self) {
        let Self { request, parts, metrics, _place } = self;
        let _running = Held::on(&metrics.running);
        let client = request.principal.name.escape_debug().to_string();
        let outcome = tokio::select! {
            outcome = timeout(LONGEST, request.produce(&parts, &metrics.rows)) => outcome.unwrap_or(Err(Broken::TooLong)),
            () = parts.closed() => Err(Broken::Left),
        };
        if let Err(Broken::History(error)) = &outcome {
            tracing::warn!(%error, "the history cannot be read");
        }
        // The body is dropped once its last byte is taken: until then this is not over.
        let outcome = match outcome {
            Err(broken @ (Broken::Left | Broken::Untaken | Broken::TooLong)) => Err(broken),
            other => ended(&parts, &other).await.and(other),
        };
        metrics.ended.of(ExportOutcome::from(&outcome)).inc();
        match &outcome {
            Ok(()) => tracing::debug!(client, "an export ended"),
            Err(Broken::Left) => tracing::debug!(client, "an export broke off: its client left"),
            Err(broken) => tracing::info!(client, "an export broke off: {broken}"),
        }
        if let (Err(Broken::Untaken | Broken::TooLong), Some(cut)) = (outcome, request.cut) {
            cut.cut();
        }
    }
}

impl ExportRequest {
    async fn produce(&self, parts: &mpsc::Sender<Part>, read: &Counter) -> Result<(), Broken> {
        let mut encoder = Encoder::new(self.format);
        let mut text = encoder.head(&self.wanted);
        let mut reader = Reader::new(&*self.journal, self.wanted.clone());
        loop {
            let place = place(parts).await?;
            let mut over = false;
            while !over && text.len() < LEAST_PART {
                self.stands()?;
                match reader.next().await? {
                    Some(rows) => {
                        read.inc_by(rows.len() as u64);
                        encoder.rows(&rows, &mut text);
                    }
                    None => over = true,
                }
            }
            send(place, parts, std::mem::take(&mut text).into()).await?;
            if over {
                return Ok(());
            }
        }
    }

    /// An error once the credential that began the export would not begin the same one.
    fn stands(&self) -> Result<(), Broken> {
        let now = self.edge.renewed(&self.principal, Timestamp::from(SystemTime::now()));
        if now.is_none_or(|now| *now != *self.principal) { Err(Broken::Revoked) } else { Ok(()) }
    }
}

/// Says how it ended, and waits until the client knows.
async fn ended(parts: &mpsc::Sender<Part>, outcome: &Result<(), Broken>) -> Result<(), Broken> {
    let last = match outcome {
        Ok(()) => Part::End,
        Err(Broken::Revoked) => Part::Broken(ApiError::Unauthenticated),
        Err(_) => Part::Broken(ApiError::Unavailable("the history cannot be read now".into())),
    };
    place(parts).await?.send(last);
    timeout(UNTAKEN, parts.closed()).await.map_err(|_| Broken::Untaken)
}

/// The place for the next part, once the one before was taken.
async fn place(parts: &mpsc::Sender<Part>) -> Result<Permit<'_, Part>, Broken> {
    match timeout(UNTAKEN, parts.reserve()).await {
        Ok(Ok(place)) => Ok(place),
        Ok(Err(_)) => Err(Broken::Left),
        Err(_) => Err(Broken::Untaken),
    }
}

/// Sends `text` in parts, the first of them into `first`.
async fn send<'p>(first: Permit<'p, Part>, parts: &'p mpsc::Sender<Part>, mut text: Bytes) -> Result<(), Broken> {
    let mut free = Some(first);
    while !text.is_empty() {
        let part = text.split_to(text.len().min(LARGEST_PART));
        let place = match free.take() {
            Some(place) => place,
            None => place(parts).await?,
        };
        place.send(Part::Rows(part));
    }
    Ok(())
}
