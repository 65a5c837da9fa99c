//! Traces over OTLP: what a collector gets, what it never gets, and that one that is away costs nobody anything.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use http::{HeaderMap, StatusCode};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use rustix::process::Signal;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::support::{Gateway, Process, SIMULATED, Scheme, eventually};

/// How long what is to happen may take on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// A collector: a server that keeps what it is sent and answers with one status.
struct Collector {
    url: String,
    got: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
    serving: JoinHandle<()>,
}

impl Collector {
    async fn start(status: StatusCode) -> Self {
        Self::answering(status, ExportTraceServiceResponse::default()).await
    }

    async fn answering(status: StatusCode, answer: ExportTraceServiceResponse) -> Self {
        let answer = Bytes::from(answer.encode_to_vec());
        let got = Arc::<Mutex<Vec<(HeaderMap, Bytes)>>>::default();
        let keep = move |State(got): State<Arc<Mutex<Vec<_>>>>, headers: HeaderMap, body: Bytes| async move {
            got.lock().unwrap().push((headers, body));
            (status, answer)
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let router = Router::new().route("/v1/traces", post(keep)).with_state(Arc::clone(&got));
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        Self { url, got, serving }
    }

    fn requests(&self) -> Vec<ExportTraceServiceRequest> {
        let got = self.got.lock().unwrap();
        got.iter().map(|(_, body)| ExportTraceServiceRequest::decode(body.clone()).expect("OTLP")).collect()
    }

    fn spans(&self) -> Vec<Span> {
        let resources = self.requests().into_iter().flat_map(|request| request.resource_spans);
        resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
    }

    /// Waits for a span that `wanted` says so of.
    async fn span(&self, wanted: impl Fn(&Span) -> bool) -> Span {
        eventually(SOON, || async { self.spans().iter().any(&wanted) }).await;
        self.spans().into_iter().find(wanted).expect("it was there")
    }

    /// All that came, headers and bodies, as a text that can be searched.
    fn everything(&self) -> String {
        let got = self.got.lock().unwrap();
        got.iter().map(|(headers, body)| format!("{headers:?}\n{}\n", String::from_utf8_lossy(body))).collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The attribute `key` as text.
fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let value = attributes.iter().find(|attribute| attribute.key == key)?.value.clone()?.value?;
    Some(match value {
        any_value::Value::StringValue(text) => text,
        any_value::Value::IntValue(number) => number.to_string(),
        other => panic!("{key} is {other:?}"),
    })
}

fn trace(url: &str, more: &str) -> String {
    format!("[trace]\nendpoint = {url:?}\n{more}\n{SIMULATED}")
}

/// The id of a trace of the test's own; `n` tells it from others.
fn trace_id(n: u8) -> String {
    format!("{:031x}{n:x}", 0xabc)
}

fn traceparent(n: u8, flags: &str) -> String {
    format!("00-{}-00f067aa0ba902b7-{flags}", trace_id(n))
}

fn of_trace(n: u8) -> impl Fn(&Span) -> bool {
    move |span| hex::encode(&span.trace_id) == trace_id(n)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_gets_the_spans_of_requests_and_polls() {
    let collector = Collector::start(StatusCode::OK).await;
    let gateway = Gateway::start(&trace(&collector.url, "")).await;
    let ask = gateway.anonymous().get(gateway.url("/api/vms?secret=CanaryQuery")).bearer_auth(gateway.key());
    let answer = ask.header("traceparent", traceparent(1, "01")).send().await.expect("an answer");
    let request_id = answer.headers()["x-request-id"].to_str().expect("hex").to_owned();
    let span = collector.span(of_trace(1)).await;
    assert_eq!(hex::encode(&span.parent_span_id), "00f067aa0ba902b7");
    assert_eq!((span.name.as_str(), span.kind), ("GET /api/vms", 2), "a server's span");
    for (key, value) in [
        ("http.request.method", "GET"),
        ("http.route", "/api/vms"),
        ("http.response.status_code", "200"),
        ("url.scheme", "http"),
        ("gatewatch.request_id", &request_id),
    ] {
        assert_eq!(text(&span.attributes, key).as_deref(), Some(value), "{key}");
    }
    assert!(span.end_time_unix_nano > span.start_time_unix_nano);

    let poll = collector.span(|span| span.name == "poll").await;
    assert_eq!(text(&poll.attributes, "gatewatch.outcome").as_deref(), Some("ok"));
    assert!(text(&poll.attributes, "gatewatch.vm").is_some_and(|vm| vm.starts_with("demo-")), "{poll:?}");
    assert!(text(&poll.attributes, "gatewatch.poll").is_some() && poll.parent_span_id.is_empty());
    let commit = collector.span(|span| span.name == "commit").await;
    let above = collector.span(|span| span.span_id == commit.parent_span_id).await;
    assert_eq!((above.name.as_str(), &above.trace_id), ("poll", &commit.trace_id));

    let requests = collector.requests();
    let resource = requests[0].resource_spans[0].resource.as_ref().expect("a resource");
    assert_eq!(text(&resource.attributes, "service.name").as_deref(), Some("gatewatch"));
    assert_eq!(text(&resource.attributes, "service.version").as_deref(), Some(env!("CARGO_PKG_VERSION")));
    assert!(text(&resource.attributes, "service.instance.id").is_some_and(|id| !id.is_empty()));
    eventually(SOON, || async { gateway.metric("gatewatch_trace_spans_total{outcome=\"sent\"}").await >= 2.0 }).await;
    assert_eq!(gateway.stop().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_span_of_a_stream_ends_with_the_head_of_its_answer() {
    let collector = Collector::start(StatusCode::OK).await;
    let gateway = Gateway::start(&trace(&collector.url, "")).await;
    let ask = gateway.anonymous().get(gateway.url("/api/benchmark-sse")).bearer_auth(gateway.key());
    let stream = ask.header("traceparent", traceparent(1, "01")).send().await.expect("an answer");
    let span = collector.span(of_trace(1)).await;
    assert_eq!(span.name, "GET /api/benchmark-sse");
    // It is still open.
    assert_eq!(gateway.metric("gatewatch_streams_open").await, 1.0);
    drop(stream);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_decides_neither_what_is_recorded_nor_what_is_not() {
    for (sample, strangers, callers) in [("0", [false, false], [false, true]), ("1", [true, true], [false, true])] {
        let collector = Collector::start(StatusCode::OK).await;
        let gateway = Gateway::start(&trace(&collector.url, &format!("sample = {sample:?}"))).await;
        let (url, client) = (gateway.url("/api/vms"), gateway.anonymous());
        for (n, flags) in [(0, "00"), (1, "01")] {
            // All zero but one bit: what a share is taken by in other programs would take this id always.
            client.get(&url).header("traceparent", traceparent(n, flags)).send().await.expect("an answer");
            let ask = client.get(&url).bearer_auth(gateway.key()).header("traceparent", traceparent(n + 2, flags));
            ask.send().await.expect("an answer");
        }
        let ask = client.get(&url).bearer_auth(gateway.key()).header("traceparent", traceparent(4, "01"));
        ask.header("traceparent", traceparent(5, "01")).send().await.expect("an answer");
        // The stop sends what is left.
        assert_eq!(gateway.stop().await, "");
        let spans = collector.spans();
        let seen = |n| spans.iter().any(of_trace(n));
        assert_eq!(([seen(0), seen(1)], [seen(2), seen(3)]), (strangers, callers), "sample {sample}");
        assert!(!seen(4) && !seen(5), "two headers are none");
        if sample == "0" {
            assert_eq!(spans.len(), 1, "{spans:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn g43_g62_no_secret_is_in_any_span_and_no_header_of_the_collector_in_any_log() {
    let collector = Collector::start(StatusCode::SERVICE_UNAVAILABLE).await;
    let sections = trace(&collector.url, "headers = [\"x-api-key=CanaryVendorKey\"]");
    let process = Process::start_logging("trace", Scheme::Http, &sections).await;
    let secret = process.key().rsplit('_').next().expect("the secret of a key").to_owned();
    let client = process.client();
    for request in [
        client.get(process.url("/api/vms?api_key=CanaryQuery")).bearer_auth(process.key()),
        client.get(process.url("/api/vms")).header("x-api-key", process.key()),
        client.get(process.url("/CanaryPath?x=CanaryQuery")).header("cookie", "gatewatch=CanaryCookie"),
        client.get(process.url("/api/vms")).bearer_auth("CanaryToken").header("user-agent", "CanaryAgent"),
        client.get(process.url("/api/vms")).header("tracestate", "a=CanaryState").header("traceparent", "CanaryParent"),
        client.request("CANARYMETHOD".parse().expect("a method"), process.url("/api/vms")),
    ] {
        request.send().await.expect("an answer");
    }
    eventually(SOON, || async { collector.spans().iter().filter(|span| span.kind == 2).count() >= 6 }).await;
    let sent = collector.everything();
    assert!(sent.contains("GET /api/vms") && sent.contains("CanaryVendorKey"), "it is what it seems");
    assert!(
        collector.spans().iter().any(|span| text(&span.attributes, "http.request.method").as_deref() == Some("_OTHER"))
    );
    let sent = sent.replace("CanaryVendorKey", "").to_lowercase();
    assert!(!sent.contains("canary") && !sent.contains(&secret.to_lowercase()), "{sent}");
    assert!(!sent.contains("127.0.0.1:0") && !sent.contains("user_agent"), "{sent}");
    // The endpoint that refuses is told of once, with its cause.
    let told = || process.log().matches("the trace endpoint does not take spans").count();
    eventually(SOON, || async {
        client.get(process.url("/api/version")).send().await.expect("an answer");
        told() > 0 && collector.requests().len() >= 3
    })
    .await;
    assert_eq!(told(), 1);
    let log = process.log();
    assert!(log.contains("the answer is 503"), "{log}");
    assert!(!log.contains("CanaryVendorKey") && !log.contains(&secret));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_line_names_the_trace_of_its_request_if_there_is_one() {
    let collector = Collector::start(StatusCode::OK).await;
    let process = Process::start(Scheme::Http, &trace(&collector.url, "")).await;
    let ask = process.client().get(process.url("/api/vms")).bearer_auth(process.key());
    ask.header("traceparent", traceparent(7, "01")).send().await.expect("an answer");
    let lines = process.access(|line| line["route"] == "/api/vms").await;
    assert_eq!(lines[0]["trace_id"], trace_id(7));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_hangs_slows_no_request_and_no_stop() {
    // Connections are taken by the kernel, and never answered.
    let hangs = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", hangs.local_addr().expect("an address"));
    let wide = "[limits]\nrequests_per_second = 10000\nburst = 100000\nprincipal_requests_per_second = 10000\nprincipal_burst = 100000\n";
    let mut process = Process::start(Scheme::Http, &format!("{wide}{}", trace(&url, ""))).await;
    let client = process.client();
    // More than may wait. Each is answered although not one span is taken.
    for _ in 0..30 {
        let asks = (0..100).map(|_| client.get(process.url("/api/version")).send());
        for answer in futures_util::future::join_all(asks).await {
            answer.expect("an answer");
        }
    }
    let dropped = || async {
        let (_, page) = process.admin("/metrics").await.expect("metrics");
        let line = page.lines().find(|line| line.starts_with("gatewatch_trace_spans_total{outcome=\"dropped\"}"));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).expect("the count")
    };
    assert!(dropped().await > 0.0, "what does not fit is counted");
    let began = Instant::now();
    process.signal(Signal::TERM);
    let status = process.ended(Duration::from_secs(12)).await;
    assert!(status.success(), "{status} after {:?}:\n{}", began.elapsed(), process.log());
    assert!(process.log().contains("no answer in time"), "{}", process.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_collector_rejects_is_counted_as_not_sent() {
    let rejects = ExportTracePartialSuccess { rejected_spans: 1, error_message: "too old".to_owned() };
    let answer = ExportTraceServiceResponse { partial_success: Some(rejects) };
    let collector = Collector::answering(StatusCode::OK, answer).await;
    let gateway = Gateway::start(&trace(&collector.url, "")).await;
    let counts = async |outcome: &str| {
        gateway.metric(&format!("gatewatch_trace_spans_total{{outcome={outcome:?}}}")).await as usize
    };
    eventually(SOON, || async { counts("failed").await > 0 && counts("sent").await > 0 }).await;
    let (failed, sent) = (counts("failed").await, counts("sent").await);
    assert!(failed <= collector.requests().len() && sent + failed <= collector.spans().len());
    assert_eq!(gateway.stop().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_sends_what_is_left() {
    let collector = Collector::start(StatusCode::OK).await;
    let gateway = Gateway::start(&trace(&collector.url, "")).await;
    let ask = gateway.anonymous().get(gateway.url("/nowhere")).header("traceparent", traceparent(1, "01"));
    ask.send().await.expect("an answer");
    assert_eq!(gateway.stop().await, "");
    let spans = collector.spans();
    assert!(spans.iter().any(of_trace(1)), "{spans:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_endpoint_no_span_is_made() {
    let gateway = Gateway::start(SIMULATED).await;
    let ask = gateway.anonymous().get(gateway.url("/api/vms")).bearer_auth(gateway.key());
    ask.header("traceparent", traceparent(1, "01")).send().await.expect("an answer");
    gateway.wait_for_stage("demo-a", "running").await;
    assert_eq!(gateway.metric("gatewatch_trace_spans_total").await, 0.0);
    assert_eq!(gateway.stop().await, "");
}
