//! `docs/METRICS.md`, made from the metrics' own descriptions.

use std::fmt::Write as _;

use super::{
    AuthMetrics, Described, ExportMetrics, HttpMetrics, HubMetrics, JournalMetrics, LimitMetrics, PollMetrics,
    ProcessMetrics, ReplicaMetrics, RunMetrics, ServerMetrics, TraceMetrics, VmMetrics,
};

const HEAD: &str = "\
# Metrics

<!-- Made from the metrics in src/telemetry/metrics; `UPDATE_DOCS=1 cargo test --lib metrics::` writes it anew. -->

Served at `/metrics` in the Prometheus text format: on the administration listener without a key, on the public one to
credentials with the scope `metrics:read`. Whoever sees only some VMs gets the series of those alone; everything without
a label `vm` is of the whole process. `tests/metrics.rs` holds this page against the running process.

Labels are of closed sets, which are named here, and never come from a client. `vm` is the name of a VM of the
configuration (or a registered one), of which there are at most 10,000; `log` is one of its benchmark logs. The series of
a VM that is not watched any more are gone with the next scrape. `route` is a route of the table in API.md, or `unmatched`.
";

/// Every metric of the process, in the order of the page.
pub fn described() -> Vec<Described> {
    sections().into_iter().flat_map(|(_, described)| described).collect()
}

fn sections() -> Vec<(&'static str, Vec<Described>)> {
    vec![
        ("VMs", VmMetrics::describe()),
        ("Runs", RunMetrics::describe()),
        ("Polls", PollMetrics::describe()),
        ("Streams", HubMetrics::describe()),
        ("The journal", JournalMetrics::describe()),
        ("Replicas", ReplicaMetrics::describe()),
        ("Exports", ExportMetrics::describe()),
        ("HTTP", HttpMetrics::describe()),
        ("Credentials", AuthMetrics::describe()),
        ("Limits and client addresses", LimitMetrics::describe()),
        ("Connections and TLS", ServerMetrics::describe()),
        ("Traces", TraceMetrics::describe()),
        ("The process", ProcessMetrics::describe()),
    ]
}

/// The reference of every metric: name, type, labels and meaning, as Markdown.
pub fn reference() -> String {
    let mut page = String::from(HEAD);
    for (title, metrics) in sections() {
        // Writing to a String cannot fail.
        let _ = write!(page, "\n## {title}\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n");
        for metric in metrics {
            let _ = writeln!(page, "| `{}` | {} | {} | {} |", metric.name, metric.kind, labels(&metric), metric.help);
        }
    }
    page
}

fn labels(metric: &Described) -> String {
    let of = |(name, values): &(&str, Vec<&str>)| match values.is_empty() {
        true => format!("`{name}`"),
        false => format!("`{name}`: {}", values.join(", ")),
    };
    metric.labels.iter().map(of).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{described, reference};

    #[test]
    fn the_metrics_page_is_what_the_code_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/METRICS.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, reference()).expect("written");
        }
        let page = std::fs::read_to_string(path).expect("docs/METRICS.md");
        assert!(page == reference(), "docs/METRICS.md is not up to date: UPDATE_DOCS=1 cargo test --lib metrics::");
    }

    #[test]
    fn names_follow_prometheus_conventions_and_are_there_once() {
        let mut names = BTreeSet::new();
        for metric in described() {
            let name = metric.name;
            assert!(names.insert(name), "{name} twice");
            assert!(name.starts_with("gatewatch_") || name.starts_with("process_"), "{name}");
            assert_eq!(name.ends_with("_total"), metric.kind == "counter", "{name}");
            assert!(metric.kind != "histogram" || name.ends_with("_seconds"), "{name}");
            assert!(metric.help.ends_with('.') && !metric.help.contains('|'), "{name}: {}", metric.help);
        }
    }
}
