//! What each subsystem counts: a struct of handles each, whose doc comments are the HELP texts.

use super::family::{
    BuildInfo, Counter, CounterBy, CounterByPair, CounterByWord, Gauge, GaugeBy, Requests, Seconds, SecondsBy,
    TotalSeconds, metrics,
};
use super::sets::{
    AddressSource, AuthMethod, AuthOutcome, ExportOutcome, FetchOutcome, HandshakeOutcome, HandshakeVersion, Limit,
    PollOutcome, ProxyOutcome, Queue, ReloadOutcome, SpanOutcome,
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
        /// SSH connections that are kept open now.
        ssh_connections: Gauge = "gatewatch_ssh_connections", [];
        /// Bytes of benchmark logs read.
        log_bytes: Counter = "gatewatch_log_bytes_total", [];
        /// Times that the journal did not take a VM's commit, or did not say what became of it.
        journal_failures: Counter = "gatewatch_journal_failures_total", [];
        /// Polls whose answer was dropped because the lease of the VM had ended meanwhile.
        discarded: Counter = "gatewatch_polls_discarded_total", [];
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
        /// When the last commit was taken, in seconds since the Unix epoch; 0 before the first of this process.
        last_commit: Gauge = "gatewatch_journal_last_commit_timestamp_seconds", [];
        /// Whether the journal takes no commits now: 1 or 0.
        failing: Gauge = "gatewatch_journal_failing", [];
        /// Bytes of the journal's file; 0 of a journal in memory, as all that follows.
        file_bytes: Gauge = "gatewatch_journal_file_bytes", [];
        /// Bytes of its write-ahead log on the disk.
        wal_bytes: Gauge = "gatewatch_journal_wal_bytes", [];
        /// Events that clients may resume from. Runs that are kept whole may hold older ones.
        kept: Gauge = "gatewatch_journal_events_kept", [];
        /// Events removed because they need not be kept any more.
        pruned: Counter = "gatewatch_journal_pruned_events_total", [];
    }
}

metrics! {
    /// What several replicas share. All of it stays 0 where one is alone.
    pub struct ReplicaMetrics {
        /// Replicas that are up, this one among them.
        replicas_up: Gauge = "gatewatch_replicas_up", [];
        /// VMs that this replica holds the lease of: those that it polls.
        leases_held: Gauge = "gatewatch_leases_held", [];
        /// Leases taken.
        leases_taken: Counter = "gatewatch_leases_taken_total", [];
        /// Leases lost to another replica, or to a pause of this one.
        leases_lost: Counter = "gatewatch_leases_lost_total", [];
        /// Messages sent to the other replicas: reports of polls, and questions for theirs.
        reports_sent: Counter = "gatewatch_replica_messages_sent_total", [];
        /// Reports of polls received from the other replicas.
        reports_received: Counter = "gatewatch_replica_messages_received_total", [];
        /// Whether there is a connection to NATS: 1 or 0.
        connected: Gauge = "gatewatch_nats_connected", [];
    }
}

metrics! {
    /// Streams, and what they are sent.
    pub struct HubMetrics {
        /// Streams open now.
        streams_open: Gauge = "gatewatch_streams_open", [];
        /// Streams opened.
        streams_opened: Counter = "gatewatch_streams_opened_total", [];
        /// Streams ended, by reason.
        streams_ended: CounterByWord = "gatewatch_streams_ended_total", ["reason"];
        /// Frames handed to streams, by class: durable or live.
        events_delivered: CounterByWord = "gatewatch_events_delivered_total", ["class"];
        /// Live status frames that a newer one replaced before they were sent to a stream.
        events_coalesced: Counter = "gatewatch_events_coalesced_total", [];
        /// Streams that went on from a Last-Event-ID.
        streams_resumed: Counter = "gatewatch_streams_resumed_total", [];
        /// Streams told to begin anew with a snapshot, by reason.
        streams_reset: CounterByWord = "gatewatch_streams_reset_total", ["reason"];
        /// VMs whose last report is older than three poll intervals (and than 15 s), or is from before this start.
        vms_stale: Gauge = "gatewatch_vms_stale", [];
        /// Open streams that have taken nothing for a second although something waits for them.
        streams_behind: Gauge = "gatewatch_streams_behind", [];
        /// Commits that the open stream furthest behind has still to take, at most: those that it may not see count too.
        lag_commits: Gauge = "gatewatch_stream_lag_commits", [];
        /// For how long any open stream has taken nothing although something waits for it, at most, in whole seconds.
        lag_seconds: Gauge = "gatewatch_stream_lag_seconds", [];
    }
}

metrics! {
    /// Files of the history.
    pub struct ExportMetrics {
        /// Exports at work now.
        running: Gauge = "gatewatch_exports", [];
        /// Exports ended, by how.
        ended: CounterBy<ExportOutcome> = "gatewatch_exports_ended_total", ["outcome"];
        /// Rows read for exports.
        rows: Counter = "gatewatch_export_rows_total", [];
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
        /// TLS handshakes that ended well, by the version agreed on; one that failed has none.
        versions: CounterBy<HandshakeVersion> = "gatewatch_tls_versions_total", ["version"];
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
        /// Changes of certificates and client CAs, by outcome: ok once they are in force, refused at each attempt.
        certificate_reloads: CounterBy<ReloadOutcome> = "gatewatch_tls_certificate_reloads_total", ["outcome"];
    }
}

metrics! {
    /// Spans for a trace endpoint, if one is set.
    pub struct TraceMetrics {
        /// Spans that were to be sent, by what became of them.
        spans: CounterBy<SpanOutcome> = "gatewatch_trace_spans_total", ["outcome"];
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
        /// Tasks that run now: one for each VM, and those of the process.
        tasks: Gauge = "gatewatch_tasks", [];
        /// What waits for its turn within the process, by where; each place is bounded.
        queues: GaugeBy<Queue> = "gatewatch_queue_depth", ["queue"];
        /// CPU time that the process used, in seconds; without the ssh processes that it started.
        cpu: TotalSeconds = "process_cpu_seconds_total", [];
        /// Memory of the process that is resident, in bytes.
        resident: Gauge = "process_resident_memory_bytes", [];
        /// Address space of the process, in bytes.
        virtual_memory: Gauge = "process_virtual_memory_bytes", [];
        /// File descriptors that are open.
        fds: Gauge = "process_open_fds", [];
        /// File descriptors that may be open; 0 for any number.
        max_fds: Gauge = "process_max_fds", [];
        /// Threads of the process.
        threads: Gauge = "process_threads", [];
        /// Whether everything that was read last is in force: 1, or 0 after a refusal.
        reload_ok: Gauge = "gatewatch_config_last_reload_successful", [];
    }
}
