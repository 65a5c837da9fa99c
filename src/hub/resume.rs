//! Going on from an id, and catching up: the same thing (SEMANTICS 5).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::time::timeout;

use super::readers::{Answer, Pending, Question};
use super::stream::{Phase, Start, Step, StreamBody};
use crate::event::{Epoch, EventId, Position, ResetReason};
use crate::journal::{Bounds, JournalError};

/// More missed events than this are not replayed one by one.
pub(super) const MAX_MISSED: usize = 50_000;

/// How long an id that is ahead of the tail has for the tail to reach it.
const AHEAD: Duration = Duration::from_secs(2);

/// How a stream with this `Last-Event-ID` begins.
pub(super) fn start(epoch: &Epoch, last_event_id: Option<&str>) -> Start {
    match last_event_id.map(EventId::parse) {
        None => Start::Fresh,
        Some(Err(_)) => Start::Reset(ResetReason::InvalidId),
        Some(Ok(id)) if id.epoch != *epoch => Start::Reset(ResetReason::UnknownEpoch),
        Some(Ok(id)) => Start::Resume(id.position),
    }
}

impl StreamBody {
    /// Whether `from` can be gone on from, as far as that is known without reading.
    pub(super) fn check(&mut self, from: Position) -> Phase {
        let Bounds { floor, announced, .. } = self.hub.journal.bounds();
        let journal = Arc::clone(&self.hub.journal);
        let (tail, ring) = {
            let state = self.hub.state();
            (state.tail, state.ring.floor())
        };
        if from > tail {
            let mut tail = self.hub.tail_moved.subscribe();
            let reached = async move {
                // Another replica may have given it just now.
                (from.seq <= announced || from.seq <= journal.announced().await)
                    && tail.wait_for(|tail| *tail >= from).await.is_ok()
            };
            Phase::Waiting(from, async move { timeout(AHEAD, reached).await.unwrap_or(false) }.boxed())
        } else if from < floor {
            Phase::Begin(Some(ResetReason::Pruned))
        } else if from >= ring {
            self.resume(from)
        } else {
            Phase::Counting(from, self.hub.readers.ask(Question::Count(from, MAX_MISSED + 1)))
        }
    }

    fn resume(&mut self, from: Position) -> Phase {
        self.hub.metrics.streams_resumed.inc();
        self.position = from;
        Phase::Live { resuming: true }
    }

    pub(super) fn await_tail(
        &mut self,
        from: Position,
        mut reached: BoxFuture<'static, bool>,
        context: &mut Context<'_>,
    ) -> Step {
        match reached.poll_unpin(context) {
            Poll::Pending => {
                self.phase = Phase::Waiting(from, reached);
                self.wait()
            }
            Poll::Ready(true) => {
                self.phase = self.check(from);
                Step::Again
            }
            Poll::Ready(false) => {
                self.phase = Phase::Begin(Some(ResetReason::Ahead));
                Step::Again
            }
        }
    }

    pub(super) fn await_count(&mut self, from: Position, mut pending: Pending, context: &mut Context<'_>) -> Step {
        let answer = match Pin::new(&mut pending).poll(context) {
            Poll::Ready(answer) => answer,
            Poll::Pending => {
                self.phase = Phase::Counting(from, pending);
                return self.wait();
            }
        };
        self.phase = match answer {
            Ok(Ok(Answer::Count(missed))) if missed > MAX_MISSED => Phase::Begin(Some(ResetReason::TooManyMissed)),
            Ok(Ok(Answer::Count(_))) => self.resume(from),
            Ok(Err(JournalError::Pruned)) => Phase::Begin(Some(ResetReason::Pruned)),
            Ok(Err(error)) => return self.journal_failed(&error),
            Ok(Ok(Answer::Page(_))) | Err(_) => return self.drained(None),
        };
        Step::Again
    }

    /// Reads on from the position, up to `upto`.
    pub(super) fn read_on(&mut self, resuming: bool, upto: Position) {
        let pending = self.hub.readers.ask(Question::Missed(self.position, upto));
        self.phase = Phase::Behind { resuming, upto, pending };
    }

    pub(super) fn await_missed(
        &mut self,
        resuming: bool,
        upto: Position,
        mut pending: Pending,
        context: &mut Context<'_>,
    ) -> Step {
        let answer = match Pin::new(&mut pending).poll(context) {
            Poll::Ready(answer) => answer,
            Poll::Pending => {
                self.phase = Phase::Behind { resuming, upto, pending };
                return self.wait();
            }
        };
        let page = match answer {
            Ok(Ok(Answer::Page(page))) => page,
            Ok(Err(JournalError::Pruned)) => {
                self.phase = Phase::Begin(Some(ResetReason::Lagged));
                return Step::Again;
            }
            Ok(Err(error)) => return self.journal_failed(&error),
            Ok(Ok(Answer::Count(_))) | Err(_) => return self.drained(None),
        };
        let (bytes, last) = self.encode_page(&page, |event| self.view.sees(&event.vm));
        let whole = last == page.events.last().map(|stored| stored.position);
        self.position = if whole && !page.more { upto } else { last.unwrap_or(upto) };
        self.phase = Phase::Live { resuming };
        if bytes.is_empty() { Step::Again } else { Step::Send(bytes) }
    }
}
