//! Metrics: one struct of handles per subsystem, whose doc comments are the HELP texts.
//!
//! Handles are cheap to clone and share their values. Nothing is registered globally.

mod family;
mod process;
mod reference;
mod scrape;
mod sets;
mod subsystems;
mod vms;

use std::time::SystemTime;

use prometheus::Registry;

use crate::model::Timestamp;

pub use family::{
    BuildInfo, Counter, CounterBy, CounterByPair, CounterByWord, Described, Gauge, GaugeBy, GaugeOf, Held, LabelSet,
    Requests, Seconds, SecondsBy, TotalSeconds,
};
pub use reference::{described, reference};
pub use scrape::{CONTENT_TYPE, Scrape, encode};
pub use sets::{
    AddressSource, AuthMethod, AuthOutcome, ExportOutcome, FetchOutcome, HandshakeOutcome, HandshakeVersion, Limit,
    PollOutcome, ProxyOutcome, Queue, ReloadOutcome, SpanOutcome, TaskOutcome,
};
pub use subsystems::{
    AuthMetrics, ExportMetrics, HttpMetrics, HubMetrics, JournalMetrics, LimitMetrics, PollMetrics, ProcessMetrics,
    ReplicaMetrics, ServerMetrics, TraceMetrics,
};
pub use vms::{RunMetrics, VmMetrics, VmPage};

/// Every metric of the process, on one registry.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// What [`encode`] reads.
    pub registry: Registry,
    /// Of the polls.
    pub polls: PollMetrics,
    /// Of the journal.
    pub journal: JournalMetrics,
    /// Of what replicas share.
    pub replicas: ReplicaMetrics,
    /// Of the streams.
    pub hub: HubMetrics,
    /// Of the exports.
    pub exports: ExportMetrics,
    /// Of the requests.
    pub http: HttpMetrics,
    /// Of the credentials.
    pub auth: AuthMetrics,
    /// Of the limits.
    pub limits: LimitMetrics,
    /// Of the connections.
    pub server: ServerMetrics,
    /// Of the traces.
    pub traces: TraceMetrics,
    /// Of the process.
    pub process: ProcessMetrics,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All metrics at zero, on a registry of their own.
    pub fn new() -> Self {
        let registry = Registry::new();
        Self::register(registry).expect("a fresh registry takes this fixed set of names")
    }

    fn register(registry: Registry) -> prometheus::Result<Self> {
        let process = ProcessMetrics::register(&registry)?;
        let started = Timestamp::from(SystemTime::now()).0;
        process.started.set(started as i64);
        process.reload_ok.set(1);
        Ok(Self {
            polls: PollMetrics::register(&registry)?,
            journal: JournalMetrics::register(&registry)?,
            replicas: ReplicaMetrics::register(&registry)?,
            hub: HubMetrics::register(&registry)?,
            exports: ExportMetrics::register(&registry)?,
            http: HttpMetrics::register(&registry)?,
            auth: AuthMetrics::register(&registry)?,
            limits: LimitMetrics::register(&registry)?,
            server: ServerMetrics::register(&registry)?,
            traces: TraceMetrics::register(&registry)?,
            process,
            registry,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{AuthMethod, AuthOutcome, Metrics, PollOutcome, encode};
    use crate::model::Whose;

    #[test]
    fn every_metric_has_a_help_text_and_closed_sets_are_there_from_the_start() {
        let metrics = Metrics::new();
        metrics.http.requests.count("/api/vms", "GET", 200);
        metrics.http.duration.observe("/api/vms", 0.01);
        metrics.auth.attempts.of(AuthMethod::Bearer, AuthOutcome::Wrong).inc();
        metrics.polls.polls.of(PollOutcome::from(Whose::Network)).inc();
        let text = encode(&metrics.registry);
        for line in [
            "# HELP gatewatch_polls_total Polls that ended, by outcome: ok, or whose fault the failure was.",
            "gatewatch_polls_total{outcome=\"ok\"} 0",
            "gatewatch_polls_total{outcome=\"network\"} 1",
            "gatewatch_http_requests_total{code=\"200\",method=\"GET\",route=\"/api/vms\"} 1",
            "gatewatch_http_request_duration_seconds_bucket{route=\"/api/vms\",le=\"0.01\"} 1",
            "gatewatch_auth_total{method=\"bearer\",outcome=\"wrong\"} 1",
            "gatewatch_auth_total{method=\"jwt\",outcome=\"expired\"} 0",
            "gatewatch_http_requests_total{code=\"404\",method=\"GET\",route=\"unmatched\"} 0",
            "gatewatch_tls_handshakes_total{outcome=\"alert\"} 0",
            concat!("gatewatch_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing in:\n{text}");
        }
        let helps = text.lines().filter(|l| l.starts_with("# HELP")).count();
        assert_eq!(helps, text.lines().filter(|l| l.starts_with("# TYPE")).count());
        assert!(text.lines().filter(|l| l.starts_with("# HELP")).all(|l| l.split(' ').count() > 4), "{text}");
    }
}
