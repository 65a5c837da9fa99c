//! Metrics: one struct of handles per subsystem, whose doc comments are the HELP texts.
//!
//! Handles are cheap to clone and share their values. Nothing is registered globally.

pub(in crate::telemetry) mod family;
mod sets;

use std::time::SystemTime;

use prometheus::{Encoder, Registry, TextEncoder};

use crate::model::Timestamp;

pub(in crate::telemetry) use family::metrics;
pub use family::{BuildInfo, Counter, CounterBy, CounterByPair, Gauge, LabelSet, Requests, Seconds, SecondsBy};
pub use sets::{
    AddressSource, AuthMethod, AuthOutcome, FetchOutcome, HandshakeOutcome, Limit, PollOutcome, ProxyOutcome,
    ReloadOutcome,
};

metrics! {
    /// What the polls of all VMs cost and bring.
    pub struct PollMetrics {
        /// Polls that ended, by outcome: ok, or whose fault the failure was.
        polls: CounterBy<PollOutcome> = "gatewatch_polls_total", ["outcome"];
        /// How long a poll took, in seconds.
        duration: Seconds = "gatewatch_poll_duration_seconds", [];
        /// SSH connections set up. One per VM and process life as long as nothing fails.
        ssh_logins: Counter = "gatewatch_ssh_logins_total", [];
        /// Bytes of benchmark logs read.
        log_bytes: Counter = "gatewatch_log_bytes_total", [];
        /// Times that the journal did not take a VM's commit, or did not say what became of it.
        journal_failures: Counter = "gatewatch_journal_failures_total", [];
        /// VMs whose latest changes the journal has not taken: they are shown live and told once it does.
        uncommitted: Gauge = "gatewatch_vms_uncommitted", [];
    }
}

metrics! {
    /// The store of durable events.
    pub struct JournalMetrics {
        /// Commits taken: one for each poll with durable events, and checkpoints.
        commits: Counter = "gatewatch_journal_commits_total", [];
        /// Durable events committed.
        events: Counter = "gatewatch_journal_events_total", [];
        /// Seconds until a commit (or several that waited together) was on the disk.
        commit_duration: Seconds = "gatewatch_journal_commit_duration_seconds", [];
    }
}

metrics! {
    /// What clients ask for. `route` is the route of the table (`unmatched` without one), never the path.
    pub struct HttpMetrics {
        /// Requests whose response head was sent, by route, method and status; 499: the client left before.
        requests: Requests = "gatewatch_http_requests_total", ["route", "method", "code"];
        /// Seconds from the request to the response head, by route. The life of an event stream is not in it.
        duration: SecondsBy = "gatewatch_http_request_duration_seconds", ["route"];
    }
}

metrics! {
    /// Who was let in.
    pub struct AuthMetrics {
        /// Credentials shown, by how and by what became of them. One request counts once.
        attempts: CounterByPair<AuthMethod, AuthOutcome> = "gatewatch_auth_total", ["method", "outcome"];
        /// Fetches of the keys of JWT issuers, by outcome: ok, or failed and the keys from before stay.
        jwks_fetches: CounterBy<FetchOutcome> = "gatewatch_jwks_fetches_total", ["outcome"];
        /// Age of the oldest set of issuer keys, in use or too old, in seconds; of one that never came, the wait for it; 0 without an issuer that is fetched from.
        jwks_age: Gauge = "gatewatch_jwks_age_seconds", [];
    }
}

metrics! {
    /// Where requests come from, and what they are kept from using up.
    pub struct LimitMetrics {
        /// Requests, connections and streams that were over a limit, by which.
        hits: CounterBy<Limit> = "gatewatch_limit_hits_total", ["limit"];
        /// Requests by how their client's address was found.
        addresses: CounterBy<AddressSource> = "gatewatch_client_addresses_total", ["source"];
        /// Entries of a forwarding header of a trusted peer that are no address.
        forwarded_errors: Counter = "gatewatch_forwarded_parse_errors_total", [];
        /// Addresses that the rate limit remembers now.
        rate_keys: Gauge = "gatewatch_rate_limit_keys", [];
    }
}

metrics! {
    /// Connections to the public listener.
    pub struct ServerMetrics {
        /// TLS handshakes that ended, by outcome.
        handshakes: CounterBy<HandshakeOutcome> = "gatewatch_tls_handshakes_total", ["outcome"];
        /// Connections open now.
        connections: Gauge = "gatewatch_connections", [];
        /// Times that no connection could be accepted (out of file descriptors, reset in the queue).
        accept_errors: Counter = "gatewatch_accept_errors_total", [];
        /// Connections closed because their peer took no byte for the write stall limit.
        write_stalls: Counter = "gatewatch_write_stalls_total", [];
        /// Connections that began with a PROXY header, or should have, by outcome.
        proxy_headers: CounterBy<ProxyOutcome> = "gatewatch_proxy_headers_total", ["outcome"];
        /// When the first of the certificates in use ends, in seconds since the Unix epoch; 0 without TLS.
        certificate_end: Gauge = "gatewatch_tls_certificate_not_after_seconds", [];
        /// Certificates and client CAs that were read anew, by outcome.
        certificate_reloads: CounterBy<ReloadOutcome> = "gatewatch_tls_certificate_reloads_total", ["outcome"];
    }
}

metrics! {
    /// The process itself.
    pub struct ProcessMetrics {
        /// Always 1; the label is the version that runs.
        build: BuildInfo = "gatewatch_build_info", [];
        /// When the process started, in seconds since the Unix epoch.
        started: Gauge = "process_start_time_seconds", [];
        /// Whether this process wants traffic: 1 or 0.
        ready: Gauge = "gatewatch_ready", [];
        /// Times that configuration, keys and certificate were read anew, by outcome.
        reloads: CounterBy<ReloadOutcome> = "gatewatch_reloads_total", ["outcome"];
        /// Whether everything that was read last is in force: 1, or 0 after a refusal.
        reload_ok: Gauge = "gatewatch_config_last_reload_successful", [];
    }
}

/// Every metric of the process, on one registry.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// What [`encode`] reads. Rooms with metrics of their own add them here.
    pub registry: Registry,
    /// Of the polls.
    pub polls: PollMetrics,
    /// Of the journal.
    pub journal: JournalMetrics,
    /// Of the requests.
    pub http: HttpMetrics,
    /// Of the credentials.
    pub auth: AuthMetrics,
    /// Of the limits.
    pub limits: LimitMetrics,
    /// Of the connections.
    pub server: ServerMetrics,
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
            http: HttpMetrics::register(&registry)?,
            auth: AuthMetrics::register(&registry)?,
            limits: LimitMetrics::register(&registry)?,
            server: ServerMetrics::register(&registry)?,
            process,
            registry,
        })
    }
}

/// Content type of what [`encode`] gives.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything on `registry` in the Prometheus text format 0.0.4, as [`CONTENT_TYPE`] names it.
pub fn encode(registry: &Registry) -> String {
    let mut text = Vec::new();
    if let Err(error) = TextEncoder::new().encode(&registry.gather(), &mut text) {
        tracing::error!(%error, "metrics could not be written out");
    }
    String::from_utf8_lossy(&text).into_owned()
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
