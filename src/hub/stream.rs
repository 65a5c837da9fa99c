//! One client's stream: a body that is polled, with no task, channel, queue or timer of its own.
//!
//! It owns a position in the journal, what it has seen of each VM, and the bytes about to go. All else it reads from the
//! hub when its connection asks for more, so a slow reader costs only itself.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use http_body::{Body, Frame};

use super::cell::{Cell, EndReason, HEARTBEAT, ORDER, Order};
use super::readers::{Answer, Pending, Question};
use super::ring::encode;
use super::snapshot::{CHUNK, Capture, Seen};
use super::view::View;
use super::{Hub, retry_ms};
use crate::event::{self, EventId, EventKind, Position, ResetReason, connected, frame, heartbeat, reset, retry_frame};
use crate::journal::{JournalError, Page};
use crate::model::ErrorCode;

/// The body of an SSE response. Dropping it frees all it held and counts why it ended.
pub struct StreamBody {
    pub(super) hub: Arc<Hub>,
    pub(super) cell: Arc<Cell>,
    pub(super) view: Arc<View>,
    pub(super) client: Arc<str>,
    pub(super) lane: u8,
    /// Flags taken from the cell and not dealt with yet.
    pub(super) flags: u32,
    pub(super) phase: Phase,
    /// Every visible durable event up to here was sent, or was part of a snapshot.
    pub(super) position: Position,
    pub(super) seen: Vec<Seen>,
    pub(super) end: EndReason,
}

/// How a stream begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// With a snapshot.
    Fresh,
    /// With a snapshot, because the id given is of no use.
    Reset(ResetReason),
    /// From an id.
    Resume(Position),
}

/// Where a stream is in its life.
pub(super) enum Phase {
    Prelude(Start),
    /// The id is ahead of the tail: has it come by the time the future ends?
    Waiting(Position, BoxFuture<'static, bool>),
    /// How much was missed since?
    Counting(Position, Pending),
    /// A snapshot is to be taken.
    Begin(Option<ResetReason>),
    /// The snapshot's completions, read page by page.
    Completions {
        capture: Arc<Capture>,
        after: Position,
        pending: Option<Pending>,
    },
    /// The snapshot's live frames.
    Pieces {
        capture: Arc<Capture>,
        next: usize,
    },
    /// At the tail, or on the way there through the ring. `resuming`: what is so now has still to be told.
    Live {
        resuming: bool,
    },
    /// On the way to the tail through the journal.
    Behind {
        resuming: bool,
        upto: Position,
        pending: Pending,
    },
    Ended,
}

/// What to do next.
pub(super) enum Step {
    Send(Bytes),
    Again,
    Wait,
    End,
}

impl StreamBody {
    fn step(&mut self, context: &mut Context<'_>) -> Step {
        if self.flags & ORDER != 0 {
            self.flags &= !ORDER;
            if let Some(order) = self.cell.take_order() {
                return self.obey(order);
            }
        }
        if let Phase::Live { resuming } = self.phase {
            return self.look(resuming);
        }
        match std::mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Prelude(start) => self.prelude(start),
            Phase::Waiting(from, wait) => self.await_tail(from, wait, context),
            Phase::Counting(from, pending) => self.await_count(from, pending, context),
            Phase::Begin(reason) => self.begin(reason),
            Phase::Completions { capture, after, pending } => self.completions(capture, after, pending, context),
            Phase::Pieces { capture, next } => self.pieces(capture, next),
            Phase::Behind { resuming, upto, pending } => self.await_missed(resuming, upto, pending, context),
            live @ Phase::Live { .. } => {
                self.phase = live;
                Step::Again
            }
            Phase::Ended => Step::End,
        }
    }

    /// `retry:`, `connected`, and what follows from the id.
    fn prelude(&mut self, start: Start) -> Step {
        let hub = &self.hub;
        let hello = connected(hub.now(), self.lane, &hub.config.replica, self.view.hash());
        let mut chunk = BytesMut::from(&retry_frame(retry_ms(hub.config.retry))[..]);
        chunk.extend_from_slice(&frame(EventKind::Connected, None, &hello));
        self.phase = match start {
            Start::Fresh => Phase::Begin(None),
            Start::Reset(reason) => Phase::Begin(Some(reason)),
            Start::Resume(from) => self.check(from),
        };
        Step::Send(chunk.freeze())
    }

    /// Tells the client to begin anew, counts it, and takes the snapshot.
    fn begin(&mut self, reason: Option<ResetReason>) -> Step {
        {
            let mut state = self.hub.state();
            let capture = state.capture(&self.view, false, self.hub.now());
            drop(state);
            self.settle(&capture);
            self.phase = Phase::Completions { capture, after: Position::START, pending: None };
        }
        let Some(reason) = reason else { return Step::Again };
        self.hub.metrics.streams_reset.of(reason.as_str()).inc();
        if reason == ResetReason::Lagged {
            let client = &*self.client;
            tracing::warn!(client, "a stream fell behind what the journal keeps: it begins anew with a snapshot");
        }
        Step::Send(frame(EventKind::Reset, None, &reset(reason)))
    }

    /// The stream stands where `capture` does.
    pub(super) fn settle(&mut self, capture: &Capture) {
        self.position = capture.at;
        self.seen.clear();
        self.seen.extend_from_slice(&capture.seen);
    }

    fn completions(
        &mut self,
        capture: Arc<Capture>,
        after: Position,
        pending: Option<Pending>,
        context: &mut Context<'_>,
    ) -> Step {
        if capture.runs.is_empty() {
            self.phase = Phase::Pieces { capture, next: 0 };
            return Step::Again;
        }
        let ask = || Question::Completions(Arc::clone(&capture.runs), after, capture.at);
        let mut pending = pending.unwrap_or_else(|| self.hub.readers.ask(ask()));
        let answer = match Pin::new(&mut pending).poll(context) {
            Poll::Ready(answer) => answer,
            Poll::Pending => {
                self.phase = Phase::Completions { capture, after, pending: Some(pending) };
                return self.wait();
            }
        };
        let page = match answer {
            Ok(Ok(Answer::Page(page))) => page,
            Ok(Ok(Answer::Count(_))) | Err(_) => return self.drained(None),
            Ok(Err(error)) => return self.journal_failed(&error),
        };
        let (bytes, last) = self.encode_page(&page, |_| true);
        self.phase = match last.filter(|last| page.more || page.events.last().is_some_and(|e| e.position > *last)) {
            Some(after) => Phase::Completions { capture, after, pending: None },
            None => Phase::Pieces { capture, next: 0 },
        };
        if bytes.is_empty() { Step::Again } else { Step::Send(bytes) }
    }

    fn pieces(&mut self, capture: Arc<Capture>, next: usize) -> Step {
        let Some(piece) = capture.pieces.get(next).cloned() else {
            self.phase = Phase::Live { resuming: false };
            return Step::Again;
        };
        if next == 0 {
            self.hub.delivered_live.inc_by(capture.frames);
            self.cell.count(capture.frames, 0);
        }
        self.phase = Phase::Pieces { capture, next: next + 1 };
        Step::Send(piece)
    }

    /// The frames of those of `page` that are `wanted`, as far as one chunk holds them (it holds one in any case), and
    /// the position of the last event dealt with. What does not fit is read again: a page kept would be a queue.
    pub(super) fn encode_page(
        &self,
        page: &Page,
        wanted: impl Fn(&event::DurableEvent) -> bool,
    ) -> (Bytes, Option<Position>) {
        let epoch = self.hub.journal.epoch();
        let mut bytes = BytesMut::new();
        let mut last = None;
        let mut frames = 0;
        for stored in &page.events {
            if wanted(&stored.event) {
                let frame = encode(epoch, stored);
                if !bytes.is_empty() && bytes.len() + frame.len() > CHUNK {
                    break;
                }
                bytes.extend_from_slice(&frame);
                frames += 1;
            }
            last = Some(stored.position);
        }
        self.hub.delivered_durable.inc_by(frames);
        self.cell.count(frames, 0);
        (bytes.freeze(), last)
    }

    /// Nothing to send before something else happens. The heartbeat does not wait for the journal; it carries an id only
    /// where the client has one that it may go on from.
    pub(super) fn wait(&mut self) -> Step {
        if self.flags & HEARTBEAT == 0 {
            return Step::Wait;
        }
        self.flags &= !HEARTBEAT;
        let mut state = self.hub.state();
        let stale = super::snapshot::visible(&self.seen, &state.slots).any(|slot| slot.stale);
        if matches!(self.phase, Phase::Behind { .. }) {
            return Step::Send(state.beat(self.position, stale, self.hub.now()));
        }
        Step::Send(frame(EventKind::Heartbeat, None, &heartbeat(self.hub.now(), stale)))
    }

    fn obey(&mut self, order: Order) -> Step {
        match order {
            Order::Grants(view) => {
                self.view = view;
                match self.phase {
                    Phase::Prelude(_) | Phase::Ended => {}
                    _ => self.phase = Phase::Begin(Some(ResetReason::GrantsChanged)),
                }
                Step::Again
            }
            Order::End(_, _) if matches!(self.phase, Phase::Ended) => Step::End,
            Order::End(EndReason::Expired, _) => {
                self.last_words(EndReason::Expired, ErrorCode::Expired, ErrorCode::Expired.meaning())
            }
            Order::End(EndReason::Revoked, _) => {
                self.last_words(EndReason::Revoked, ErrorCode::Revoked, ErrorCode::Revoked.meaning())
            }
            Order::End(_, retry) => self.drained(retry),
        }
    }

    /// Ends, for the client to come back after `retry` milliseconds.
    pub(super) fn drained(&mut self, retry: Option<u32>) -> Step {
        self.end = EndReason::Drained;
        self.phase = Phase::Ended;
        Step::Send(retry_frame(retry.unwrap_or_else(|| retry_ms(self.hub.config.retry))))
    }

    /// Ends, for the client to come back with the id it has.
    pub(super) fn journal_failed(&mut self, error: &JournalError) -> Step {
        tracing::warn!(client = &*self.client, %error, "a stream ends: the journal could not be read");
        self.last_words(EndReason::JournalFailed, ErrorCode::JournalFailed, "the journal could not be read")
    }

    fn last_words(&mut self, end: EndReason, code: ErrorCode, message: &str) -> Step {
        self.end = end;
        self.phase = Phase::Ended;
        Step::Send(frame(EventKind::Error, None, &event::error(None, code, message, false, self.hub.now())))
    }

    /// The id of the last durable event sent, or of the snapshot.
    pub fn position(&self) -> EventId {
        EventId { epoch: self.hub.journal.epoch().clone(), position: self.position }
    }
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        this.flags |= this.cell.look(context.waker());
        loop {
            match this.step(context) {
                Step::Send(bytes) => {
                    this.cell.taken(Some(this.hub.millis()), this.position);
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Step::Again => {}
                Step::Wait => {
                    this.cell.taken(None, this.position);
                    return Poll::Pending;
                }
                Step::End => return Poll::Ready(None),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }
}

impl Drop for StreamBody {
    fn drop(&mut self) {
        self.hub.close(self);
    }
}

impl fmt::Debug for StreamBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamBody").field("client", &self.client).field("position", &self.position).finish()
    }
}
