//! The span of a request.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanKind, Status, TraceId};

use super::{Ids, Traceparent, Tracer, number, word};

/// A request that has begun and may become a span.
#[derive(Debug)]
pub struct RequestTrace {
    tracer: Arc<Tracer>,
    ids: Ids,
    began: SystemTime,
    /// The sampled flag that came with the request.
    flag: Option<bool>,
}

/// What is told of a request. No path, query, header, address or name of a caller: a collector is often another
/// company's, and the access log has the rest under the same request id.
#[derive(Clone, Copy, Debug)]
pub struct RequestSeen<'a> {
    /// The method; `OTHER` for one that is not of the closed set.
    pub method: &'static str,
    /// The route of the table; `None`: none matched.
    pub route: Option<&'a str>,
    /// The status of the answer; `None`: the client left before.
    pub status: Option<u16>,
    /// As the client has it.
    pub request_id: Option<&'a str>,
    /// Whether the client came over TLS.
    pub https: bool,
    /// From the request to the head of its answer.
    pub took: Duration,
    /// Whether it is known who asked.
    pub authenticated: bool,
}

impl RequestTrace {
    pub(super) fn begin(tracer: Arc<Tracer>, parent: Option<Traceparent>) -> Self {
        let ids = parent.map_or_else(Ids::root, Ids::below);
        Self { tracer, ids, began: SystemTime::now(), flag: parent.map(|parent| parent.sampled) }
    }

    /// The trace that the request is part of, for log lines.
    pub fn trace_id(&self) -> TraceId {
        self.ids.trace
    }

    /// The request has its answer. Whether it is sent is decided here, when it is known who asked: a stranger's flag must
    /// neither cost a span nor hide one.
    pub fn end(self, seen: &RequestSeen<'_>) {
        let flag = self.flag.filter(|_| seen.authenticated);
        if !flag.unwrap_or_else(|| self.tracer.draws()) {
            return;
        }
        // OpenTelemetry's own word for a method outside its set.
        let method = if seen.method == "OTHER" { "_OTHER" } else { seen.method };
        let verb = if seen.method == "OTHER" { "HTTP" } else { seen.method };
        let name = seen.route.map_or_else(|| verb.to_owned(), |route| format!("{verb} {route}"));
        let mut span = self.tracer.span(self.ids, name, self.began, seen.took);
        span.span_kind = SpanKind::Server;
        span.attributes.push(word("http.request.method", method));
        span.attributes.push(word("url.scheme", if seen.https { "https" } else { "http" }));
        span.attributes.extend(seen.route.map(|route| KeyValue::new("http.route", route.to_owned())));
        span.attributes.extend(seen.status.map(|status| number("http.response.status_code", status.into())));
        span.attributes.extend(seen.request_id.map(|id| KeyValue::new("gatewatch.request_id", id.to_owned())));
        // Of a server's span only what the server did wrong is an error; a client that left got no answer at all.
        let error = match seen.status {
            None => Some("client_left".to_owned()),
            Some(status) => (status >= 500).then(|| status.to_string()),
        };
        if let Some(error) = error {
            span.attributes.push(KeyValue::new("error.type", error));
            span.status = Status::error("");
        }
        self.tracer.send(span);
    }
}
