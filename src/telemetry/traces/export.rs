//! Sends spans to a collector: OTLP over HTTP, in batches. Spans are for looking, not for keeping: what a collector does not
//! take at once is not sent again, so that one that is away holds up nothing.

use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderMap};
use opentelemetry::KeyValue;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanData;
use prost::Message as _;
use reqwest::{Client, redirect};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::TraceSettings;
use crate::telemetry::metrics::{SpanOutcome, TraceMetrics};

/// How long the first span of a batch waits for others.
const GATHER: Duration = Duration::from_secs(1);
/// Spans of one batch.
const BATCH: usize = 512;
/// How long a collector is given for one batch.
const SEND_WITHIN: Duration = Duration::from_secs(5);
/// How often a collector that takes nothing is warned of.
const WARN_EVERY: Duration = Duration::from_secs(60);
/// Bytes that are read of a collector's answer.
const MAX_ANSWER: usize = 64 * 1024;
/// Characters of a collector's own words that are logged.
const MAX_WORDS: usize = 200;

/// Why no spans can be sent at all.
#[derive(Debug, thiserror::Error)]
#[error("there is no client for the trace endpoint: {0}")]
pub struct TraceError(String);

/// What takes spans out of the queue and sends them.
#[derive(Debug)]
pub struct Export {
    spans: mpsc::Receiver<SpanData>,
    batch: Vec<SpanData>,
    client: Client,
    url: String,
    resource: ResourceAttributesWithSchema,
    metrics: TraceMetrics,
    /// The collector takes nothing, and this was last said then.
    warned: Option<Instant>,
}

impl Export {
    pub(super) fn new(
        settings: TraceSettings,
        spans: mpsc::Receiver<SpanData>,
        metrics: TraceMetrics,
    ) -> Result<Self, TraceError> {
        // An error says that a provider is chosen already; with none the client would panic.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        // Neither a redirect nor a proxy out of the environment decides where the headers go.
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .default_headers(HeaderMap::from_iter(settings.headers))
            .user_agent(concat!("gatewatch/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| TraceError(chain(&error)))?;
        let resource = Resource::builder_empty()
            .with_attributes([
                KeyValue::new("service.name", "gatewatch"),
                KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
                KeyValue::new("service.instance.id", settings.replica),
            ])
            .build();
        let resource = ResourceAttributesWithSchema::from(&resource);
        Ok(Self { spans, batch: Vec::new(), client, url: settings.url, resource, metrics, warned: None })
    }

    /// Sends until `stop` names a deadline; until that what is left is sent, and then it is given up.
    pub async fn run(mut self, mut stop: watch::Receiver<Option<Instant>>) {
        loop {
            tokio::select! {
                biased;
                _ = stopped(&mut stop) => break,
                () = self.gather() => {}
            }
            self.send(&mut stop).await;
        }
        self.spans.close();
        loop {
            while self.batch.len() < BATCH
                && let Ok(span) = self.spans.try_recv()
            {
                self.batch.push(span);
            }
            if self.batch.is_empty() {
                return;
            }
            self.send(&mut stop).await;
        }
    }

    /// Waits for a span, and then for more until the batch is full or old enough. Safe to cancel.
    async fn gather(&mut self) {
        if self.batch.is_empty() && self.spans.recv_many(&mut self.batch, BATCH).await == 0 {
            // Nobody is left who could make a span; the stop is still to come.
            return std::future::pending().await;
        }
        let until = Instant::now() + GATHER;
        while self.batch.len() < BATCH {
            let room = BATCH - self.batch.len();
            match timeout_at(until, self.spans.recv_many(&mut self.batch, room)).await {
                Ok(more) if more > 0 => {}
                _ => return,
            }
        }
    }

    /// Sends the batch, and counts what became of it.
    async fn send(&mut self, stop: &mut watch::Receiver<Option<Instant>>) {
        let batch = std::mem::take(&mut self.batch);
        let all = batch.len() as u64;
        let resource_spans = group_spans_by_resource_and_scope(batch, &self.resource);
        let body = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
        let answer = tokio::select! {
            answer = self.post(body) => answer,
            () = late(stop, Instant::now() + SEND_WITHIN) => Err("no answer in time".to_owned()),
        };
        let (taken, why) = match answer {
            Ok(None) => (all, None),
            Ok(Some((rejected, words))) => (all.saturating_sub(rejected), Some(words)),
            Err(why) => (0, Some(why)),
        };
        self.metrics.spans.of(SpanOutcome::Sent).inc_by(taken);
        self.metrics.spans.of(SpanOutcome::Failed).inc_by(all - taken);
        self.tell(why.as_deref(), all - taken);
    }

    /// Posts `body`; gives how many spans the collector rejected, if any, and its words.
    async fn post(&self, body: Vec<u8>) -> Result<Option<(u64, String)>, String> {
        let failed = |error: reqwest::Error| chain(&error.without_url());
        let request = self.client.post(&self.url).header(CONTENT_TYPE, "application/x-protobuf").body(body);
        let mut response = request.send().await.map_err(failed)?;
        if !response.status().is_success() {
            return Err(format!("the answer is {}", response.status().as_u16()));
        }
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if answer.len() + chunk.len() > MAX_ANSWER {
                return Err(format!("the answer is larger than {MAX_ANSWER} bytes"));
            }
            answer.extend_from_slice(&chunk);
        }
        // What cannot be read says no less than the status did.
        let answer = ExportTraceServiceResponse::decode(answer.as_slice()).unwrap_or_default();
        let rejected = answer.partial_success.filter(|partial| partial.rejected_spans > 0);
        Ok(rejected.map(|partial| {
            let words = partial.error_message.chars().take(MAX_WORDS).collect();
            (partial.rejected_spans.unsigned_abs(), words)
        }))
    }

    fn tell(&mut self, why: Option<&str>, lost: u64) {
        let now = Instant::now();
        match why {
            Some(cause) if self.warned.is_none_or(|warned| now.duration_since(warned) >= WARN_EVERY) => {
                self.warned = Some(now);
                tracing::warn!(cause, lost, "the trace endpoint does not take spans; they are not sent again");
            }
            Some(_) => {}
            None if self.warned.take().is_some() => tracing::info!("the trace endpoint takes spans again"),
            None => {}
        }
    }
}

/// Waits for the stop and gives its deadline. If nobody is left to say it, that is now.
async fn stopped(stop: &mut watch::Receiver<Option<Instant>>) -> Instant {
    stop.wait_for(Option::is_some).await.ok().and_then(|deadline| *deadline).unwrap_or_else(Instant::now)
}

/// Waits until `limit`, or until the deadline of a stop that is sooner.
async fn late(stop: &mut watch::Receiver<Option<Instant>>, limit: Instant) {
    let deadline = tokio::select! {
        () = sleep_until(limit) => return,
        deadline = stopped(stop) => deadline,
    };
    sleep_until(deadline.min(limit)).await;
}

/// The error with its causes: what reqwest says itself names none.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use opentelemetry_sdk::trace::SpanData;
    use tokio::sync::mpsc;
    use tokio::time::advance;

    use super::super::{Ids, QUEUE, TraceSettings, Traces};
    use super::{Export, WARN_EVERY};
    use crate::telemetry::captured::Captured;
    use crate::telemetry::metrics::{Metrics, SpanOutcome};
    use crate::telemetry::{LogFormat, logs};

    fn settings() -> TraceSettings {
        // A port that nobody is given.
        let url = "http://127.0.0.1:0/v1/traces".to_owned();
        TraceSettings { url, sample: 1.0, headers: Vec::new(), replica: "test".to_owned() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_collector_that_is_away_is_told_of_once_a_minute_and_so_is_its_return() {
        let (_queue, spans) = mpsc::channel::<SpanData>(1);
        let mut export = Export::new(settings(), spans, Metrics::new().traces).unwrap();
        let captured = Captured::default();
        let writer = captured.clone();
        let subscriber = logs::subscriber(LogFormat::Text, "info", move || writer.clone()).unwrap();
        let _logs = tracing::subscriber::set_default(subscriber);
        export.tell(None, 0);
        for _ in 0..3 {
            export.tell(Some("away"), 1);
            advance(WARN_EVERY / 3).await;
        }
        let lines = || captured.text().lines().map(str::to_owned).collect::<Vec<_>>();
        assert!(matches!(&lines()[..], [away] if away.contains("WARN") && away.contains("away")), "{:?}", lines());
        export.tell(Some("still"), 1);
        export.tell(None, 0);
        export.tell(None, 0);
        assert!(matches!(&lines()[1..], [still, again] if still.contains("still") && again.contains("again")));
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_is_bounded_and_every_span_is_counted_once() {
        let metrics = Metrics::new();
        let (traces, export) = Traces::new(settings(), &metrics.traces).unwrap();
        let tracer = traces.0.as_ref().unwrap();
        let more = 10;
        for _ in 0..QUEUE + more {
            tracer.send(tracer.span(Ids::root(), "test", SystemTime::now(), Duration::ZERO));
        }
        let of = |outcome| metrics.traces.spans.of(outcome).get();
        assert_eq!(of(SpanOutcome::Dropped), more as u64);
        // Its sender is gone: the stop is now.
        let (_, stop) = tokio::sync::watch::channel(None);
        export.run(stop).await;
        assert_eq!((of(SpanOutcome::Sent), of(SpanOutcome::Failed)), (0, QUEUE as u64));
        tracer.send(tracer.span(Ids::root(), "late", SystemTime::now(), Duration::ZERO));
        assert_eq!(of(SpanOutcome::Dropped), more as u64 + 1);
    }
}
