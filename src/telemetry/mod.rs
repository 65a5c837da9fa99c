//! What the process tells of itself: logs on stderr, metrics on a registry that is passed in, and traces for a collector.
//!
//! Imports `model` only. Every label comes from a closed set (an enum, a route of the route table, the
//! version), or is the name of a VM of the configuration or of one of its logs.

#[cfg(test)]
pub(crate) mod captured;
pub mod logs;
pub mod metrics;
pub mod traces;

pub use logs::LogFormat;
pub use metrics::{
    AddressSource, AuthMethod, AuthMetrics, AuthOutcome, ExportMetrics, ExportOutcome, FetchOutcome, Gauge,
    HandshakeOutcome, HandshakeVersion, Held, HttpMetrics, HubMetrics, JournalMetrics, Limit, LimitMetrics, Metrics,
    PollMetrics, PollOutcome, ProcessMetrics, ProxyOutcome, Queue, ReloadOutcome, ReplicaMetrics, Scrape,
    ServerMetrics, VmPage, encode,
};
pub use traces::{Committing, TraceSettings, Traceparent, Traces};
