//! Traces: a span for each request and each poll, sent over OTLP to whoever collects them. Off unless an endpoint is set.
//!
//! A span is made whole when what it is about has ended, and only if it is to be sent; until then it is a few numbers. It is
//! handed to a bounded queue without waiting: what finds it full is dropped and counted. `export.rs` owns the other end.

mod export;
mod parent;
mod poll;
mod request;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderName, HeaderValue};
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::SpanData;
use tokio::sync::mpsc;

use super::metrics::{SpanOutcome, TraceMetrics};

pub use export::{Export, TraceError};
pub use parent::Traceparent;
pub use poll::{Committing, PollTrace};
pub use request::{RequestSeen, RequestTrace};

/// Spans that may wait to be sent; one more is dropped.
const QUEUE: usize = 2048;

/// Where spans go, and how many.
#[derive(Clone, Debug)]
pub struct TraceSettings {
    /// The URL that takes OTLP over HTTP, with its path.
    pub url: String,
    /// The share of traces that begin here and are sent, 0 to 1.
    pub sample: f64,
    /// Headers of each request, such as a vendor's key. Each value is marked as sensitive by whoever made it.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The name of this process among its replicas.
    pub replica: String,
}

/// What makes spans. Cheap to clone; the default makes none.
#[derive(Clone, Debug, Default)]
pub struct Traces(Option<Arc<Tracer>>);

#[derive(Debug)]
struct Tracer {
    sample: f64,
    queue: mpsc::Sender<SpanData>,
    metrics: TraceMetrics,
    scope: InstrumentationScope,
}

impl Traces {
    /// Traces as `settings` says, and the task that sends them.
    ///
    /// # Errors
    /// If there can be no client for the endpoint.
    pub fn new(settings: TraceSettings, metrics: &TraceMetrics) -> Result<(Self, Export), TraceError> {
        let (queue, spans) = mpsc::channel(QUEUE);
        let sample = settings.sample;
        let export = Export::new(settings, spans, metrics.clone())?;
        let scope = InstrumentationScope::builder("gatewatch").with_version(env!("CARGO_PKG_VERSION")).build();
        Ok((Self(Some(Arc::new(Tracer { sample, queue, metrics: metrics.clone(), scope }))), export))
    }

    /// A request begins; `parent` reads what its client said that it is part of. `None`: traces are off.
    pub fn request(&self, parent: impl FnOnce() -> Option<Traceparent>) -> Option<RequestTrace> {
        self.0.as_ref().map(|tracer| RequestTrace::begin(Arc::clone(tracer), parent()))
    }

    /// A poll begins. `None`: its trace is not sent.
    pub fn poll(&self) -> Option<PollTrace> {
        self.0.as_ref().filter(|tracer| tracer.draws()).map(|tracer| PollTrace::begin(Arc::clone(tracer)))
    }
}

impl Tracer {
    /// Whether a trace that begins here is sent. Not read from its id: a client may choose that.
    fn draws(&self) -> bool {
        rand::random::<f64>() < self.sample
    }

    fn send(&self, span: SpanData) {
        if self.queue.try_send(span).is_err() {
            self.metrics.spans.of(SpanOutcome::Dropped).inc();
        }
    }

    /// A span of `took` from `began` on, which is to be sent.
    fn span(&self, ids: Ids, name: impl Into<Cow<'static, str>>, began: SystemTime, took: Duration) -> SpanData {
        SpanData {
            span_context: SpanContext::new(ids.trace, ids.span, TraceFlags::SAMPLED, false, TraceState::default()),
            parent_span_id: ids.parent,
            parent_span_is_remote: ids.remote,
            span_kind: SpanKind::Internal,
            name: name.into(),
            start_time: began,
            // Not another look at the clock, which may have been set back meanwhile.
            end_time: began + took,
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: Default::default(),
            links: Default::default(),
            status: Status::Unset,
            instrumentation_scope: self.scope.clone(),
        }
    }
}

/// Which span, in which trace, below which other.
#[derive(Clone, Copy, Debug)]
struct Ids {
    trace: TraceId,
    span: SpanId,
    parent: SpanId,
    /// The parent is another process's.
    remote: bool,
}

impl Ids {
    /// Of a trace that begins here.
    fn root() -> Self {
        Self { trace: new_trace_id(), span: new_span_id(), parent: SpanId::INVALID, remote: false }
    }

    /// Of a span below this one.
    fn child(self) -> Self {
        Self { trace: self.trace, span: new_span_id(), parent: self.span, remote: false }
    }

    /// Of a span below one of another process.
    fn below(parent: Traceparent) -> Self {
        Self { trace: parent.trace_id, span: new_span_id(), parent: parent.span_id, remote: true }
    }
}

/// Zero would be no id.
fn new_trace_id() -> TraceId {
    TraceId::from(rand::random_range(1..=u128::MAX))
}

fn new_span_id() -> SpanId {
    SpanId::from(rand::random_range(1..=u64::MAX))
}

/// An attribute with a text that is known beforehand.
fn word(key: &'static str, value: &'static str) -> KeyValue {
    KeyValue::new(key, value)
}

/// A count as an attribute; OTLP knows signed numbers only.
fn number(key: &'static str, value: u64) -> KeyValue {
    KeyValue::new(key, i64::try_from(value).unwrap_or(i64::MAX))
}
