//! The span of a poll, and below it that of what it had the journal commit.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanKind, Status};

use super::{Ids, Tracer, number, word};
use crate::model::{Report, VmName};
use crate::telemetry::PollOutcome;
use crate::telemetry::metrics::LabelSet;

/// A poll that has begun and is to become a span.
#[derive(Debug)]
pub struct PollTrace {
    tracer: Arc<Tracer>,
    ids: Ids,
    began: SystemTime,
}

/// What a poll had the journal do.
#[derive(Clone, Copy, Debug)]
pub struct Committing {
    /// When the first commit began.
    pub began: SystemTime,
    /// Until the last one was answered.
    pub took: Duration,
    /// Whether the journal took all of them.
    pub taken: bool,
}

impl PollTrace {
    pub(super) fn begin(tracer: Arc<Tracer>) -> Self {
        Self { tracer, ids: Ids::root(), began: SystemTime::now() }
    }

    /// The poll of `vm` has ended as `report` says; of its logs `bytes` were read. The cause of a failure is told as its
    /// code: its text may hold what a VM wrote.
    pub fn end(self, vm: &VmName, report: &Report, bytes: u64, committing: Option<Committing>) {
        let failure = report.outcome.as_ref().err();
        let outcome = failure.map_or(PollOutcome::Ok, |failure| failure.code.whose().into());
        let mut span = self.tracer.span(self.ids, "poll", self.began, report.took);
        span.span_kind = SpanKind::Client;
        span.attributes.push(KeyValue::new("gatewatch.vm", vm.as_str().to_owned()));
        span.attributes.push(number("gatewatch.poll", report.poll_no));
        span.attributes.push(word("gatewatch.outcome", outcome.as_str()));
        span.attributes.push(number("gatewatch.log_bytes", bytes));
        if let Some(failure) = failure {
            span.attributes.push(KeyValue::new("error.type", failure.code.to_string()));
            span.status = Status::error("");
        }
        if let Some(Committing { began, took, taken }) = committing {
            // A span holds those below it.
            span.end_time = span.end_time.max(began + took);
            let mut commit = self.tracer.span(self.ids.child(), "commit", began, took);
            if !taken {
                commit.attributes.push(word("error.type", "journal_failed"));
                commit.status = Status::error("");
            }
            self.tracer.send(commit);
        }
        self.tracer.send(span);
    }
}
