//! What the process tells of itself: logs on stderr and metrics on a registry that is passed in.
//!
//! Imports `model` only. Every label comes from a closed set (an enum, a route of the route table, the
//! version), or is the name of a VM of the configuration or of one of its logs.

#[cfg(test)]
pub(crate) mod captured;
pub mod logs;
pub mod metrics;

pub use logs::LogFormat;
pub use metrics::{
    AddressSource, AuthMethod, AuthMetrics, AuthOutcome, ExportMetrics, ExportOutcome, FetchOutcome, Gauge,
    HandshakeOutcome, HandshakeVersion, Held, HttpMetrics, HubMetrics, JournalMetrics, Limit, LimitMetrics, Metrics,
    PollMetrics, PollOutcome, ProcessMetrics, ProxyOutcome, Queue, ReloadOutcome, Scrape, ServerMetrics, VmPage,
    encode,
};
