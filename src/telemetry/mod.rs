//! What the process tells of itself: logs on stderr and metrics on a registry that is passed in.
//!
//! Imports `model` only. Every label comes from a closed set (an enum, a route of the route table, the version).

#[cfg(test)]
pub(crate) mod captured;
pub mod hub;
pub mod logs;
pub mod metrics;

pub use logs::LogFormat;
pub use metrics::{
    AddressSource, AuthMethod, AuthMetrics, AuthOutcome, FetchOutcome, Gauge, HandshakeOutcome, HttpMetrics,
    JournalMetrics, Limit, LimitMetrics, Metrics, PollMetrics, PollOutcome, ProcessMetrics, ProxyOutcome,
    ReloadOutcome, ServerMetrics, encode,
};
