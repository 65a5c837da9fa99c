//! Every metric that the process exposes is documented, and nothing is documented that it does not expose. No client
//! makes series; a VM has its own for as long as it is watched.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gatewatch::app;
use gatewatch::config::{Config, MapEnv};
use regex::Regex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Gateway, SIMULATED, Served, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_page_names_exactly_what_is_exposed() {
    let gateway = Gateway::start(SIMULATED).await;
    gateway.wait_for_stage("demo-a", "running").await;
    let mut stream = gateway.stream("interval=1").await;
    stream.next().await.expect("connected");
    drop(stream);
    drop(gateway.resume("interval=1", "garbage").await);
    let (status, text) = gateway.admin("/metrics").await;
    assert_eq!(status, 200);
    let help = |text: &str| -> BTreeSet<String> {
        text.lines()
            .filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' '))
            .map(|(n, _)| n.to_owned())
            .collect()
    };
    let exposed = help(&text);
    let page = std::fs::read_to_string("docs/METRICS.md").expect("docs/METRICS.md");
    let documented: BTreeSet<String> =
        page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`')).map(|(n, _)| n.to_owned()).collect();
    assert_eq!(exposed, documented);
    for line in text.lines().filter_map(|line| line.strip_prefix("# HELP ")) {
        let (name, help) = line.split_once(' ').expect("a help text");
        assert!(page.contains(help), "{name}: the page does not say: {help}");
    }
    assert!(gateway.metric("gatewatch_log_bytes_total").await > 0.0, "it is fed");
    assert!(gateway.metric("gatewatch_polls_total").await >= 1.0);
    assert_eq!(gateway.metric("gatewatch_ready").await, 1.0);
    gateway.stop().await;
}

/// Limits that a test of very many requests does not meet.
const WIDE: &str = "[limits]\nrequests_per_second = 10000\nburst = 100000\nauth_failures_per_minute = 1000\n";

/// The series in a page of metrics: each line without its value.
fn series(text: &str) -> BTreeSet<String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.rsplit_once(' ')).map(|(series, _)| series.to_owned()).collect()
}

/// Sends requests of odd methods and paths over one connection and reads as many answers.
async fn odd_requests(base: &str, numbers: std::ops::Range<usize>) {
    let address = base.trim_start_matches("http://");
    let mut socket = tokio::net::TcpStream::connect(address).await.expect("a connection");
    let wanted = numbers.len();
    let mut requests = String::new();
    for n in numbers {
        let (method, path) = match n % 4 {
            0 => (format!("BREW{n}"), "/api/vms".to_owned()),
            1 => ("GET".to_owned(), format!("/api/odd{n}?x={n}")),
            2 => (format!("M-{n}"), format!("/odd/{n}")),
            _ => ("PURGE".to_owned(), format!("/api/vms/{n}")),
        };
        requests += &format!("{method} {path} HTTP/1.1\r\nhost: h{n}.example\r\nuser-agent: a{n}\r\n\r\n");
    }
    let (mut from, mut to) = socket.split();
    let write = async { to.write_all(requests.as_bytes()).await.expect("written") };
    let read = async {
        let (mut text, mut answers, mut chunk) = (Vec::new(), 0, vec![0; 1 << 16]);
        while answers < wanted {
            let n = from.read(&mut chunk).await.expect("answers");
            assert!(n > 0, "closed after {answers} of {wanted}");
            text.extend_from_slice(&chunk[..n]);
            answers += text.windows(9).filter(|w| *w == b"HTTP/1.1 ").count();
            // An answer whose first words are cut is counted with the next chunk.
            text.drain(..text.len().saturating_sub(8));
        }
    };
    tokio::time::timeout(Duration::from_secs(60), async { tokio::join!(write, read) }).await.expect("answers in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn g59_ten_thousand_odd_methods_and_paths_add_no_series() {
    let gateway = Gateway::start(&format!("{WIDE}{SIMULATED}")).await;
    let base = gateway.url("");
    odd_requests(&base, 0..100).await;
    let total = gateway.metric("gatewatch_http_requests_total").await;
    assert!(total >= 100.0, "{total}");
    let (_, before) = gateway.admin("/metrics").await;
    for batch in 1..=10 {
        odd_requests(&base, batch * 1000..(batch + 1) * 1000).await;
    }
    assert!(gateway.metric("gatewatch_http_requests_total").await >= total + 10_000.0, "they are counted");
    let (_, after) = gateway.admin("/metrics").await;
    let (before, after) = (series(&before), series(&after));
    assert_eq!(after.difference(&before).collect::<Vec<_>>(), Vec::<&String>::new());
    gateway.stop().await;
}

/// The labels of `page`, each with its values.
fn labels(page: &str) -> BTreeMap<String, BTreeSet<String>> {
    let label = Regex::new(r#"[{,]([a-z_]+)="((?:[^"\\]|\\.)*)""#).expect("a regex");
    let mut labels = BTreeMap::<String, BTreeSet<String>>::new();
    for found in page.lines().filter(|line| !line.starts_with('#')).flat_map(|line| label.captures_iter(line)) {
        labels.entry(found[1].to_owned()).or_default().insert(found[2].to_owned());
    }
    labels
}

fn set(values: &[&str]) -> BTreeSet<String> {
    values.iter().map(ToString::to_string).collect()
}

/// How long what is to happen may take on a busy machine.
const SOON: Duration = Duration::from_secs(20);

const STAYS: &str = "
[[vm]]
name = \"stays\"
transport = \"simulated\"
[vm.simulated]
start_at = \"21s\"
";

const GOES: &str = "
[[vm]]
name = \"goes\"
transport = \"simulated\"
[vm.simulated]
start_at = \"21s\"
";

#[tokio::test(flavor = "multi_thread")]
async fn g59_labels_are_closed_sets_or_watched_vms_and_no_client_is_one() {
    let gateway = Gateway::start(&format!("{STAYS}{GOES}")).await;
    gateway.wait_for_stage("goes", "running").await;
    for path in ["/api/vms?vm=invented", "/invented", "/api/runs/invented"] {
        gateway.try_get(path).await.expect("an answer");
    }
    let (_, page) = gateway.admin("/metrics").await;
    let labels = labels(&page);
    let known = ["route", "method", "code", "outcome", "reason", "limit", "source", "version", "le", "class", "queue"];
    let of_vms = ["vm", "log", "stage"];
    for (label, values) in &labels {
        let closed = known.contains(&&**label) || of_vms.contains(&&**label);
        assert!(closed, "a label {label}: is what it stands for a closed set?");
        for never in ["invented", "127.0.0.1", "test"] {
            assert!(!values.iter().any(|value| value.contains(never)), "{label}: {values:?}");
        }
        // A VM is named where that is what the label is for, and nowhere else.
        assert!(label == "vm" || !values.contains("goes"), "{label}");
    }
    assert_eq!(labels["vm"], set(&["goes", "stays"]));
    assert_eq!(labels["log"], set(&["/tmp/waa_benchmark.log"]));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g59_the_series_of_a_vm_are_there_while_it_is_watched_and_gone_with_it() {
    let served = Served::start().await;
    let vms = || async { labels(&served.metrics().await).remove("vm").unwrap_or_default() };
    eventually(SOON, || async { vms().await == set(&["one", "two"]) }).await;
    served.write_config(&["three", "two"]);
    eventually(SOON, || async { vms().await == set(&["three", "two"]) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g60_metrics_without_a_key_are_on_a_listener_of_their_own_that_is_on_loopback_unless_told_otherwise() {
    let auth = "[auth]\nnone = true\n[[vm]]\nname = \"a\"\ntransport = \"local\"\n";
    let parse = |text: &str| Config::parse(text, "test", &MapEnv::default());
    let default = parse(auth).expect("a configuration").admin.listen.expect("on by default");
    assert!(default.ip().is_loopback(), "{default}");
    for public in ["0.0.0.0:9765", "[::]:9765", "192.0.2.1:9765", "[::ffff:192.0.2.1]:9765"] {
        let refused = parse(&format!("[admin]\nlisten = \"{public}\"\n{auth}")).expect_err(public).to_string();
        assert!(refused.contains("admin.listen") && refused.contains("admin.open"), "{refused}");
        let opened = parse(&format!("[admin]\nlisten = \"{public}\"\nopen = true\n{auth}")).expect(public);
        assert!(opened.warnings().iter().any(|warning| warning.to_string().contains("admin.open")), "{public}");
    }
    let gateway = Gateway::start(SIMULATED).await;
    assert_eq!(gateway.admin("/metrics").await.0, 200);
    for path in ["/api/vms", "/api/benchmark-sse", "/auth/session"] {
        assert_eq!(gateway.admin(path).await.0, 404, "{path} on the administration listener");
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g60_the_public_listener_gives_metrics_to_their_scope_alone_and_of_the_vms_that_a_key_sees() {
    let gateway = Gateway::start(&format!("{STAYS}{GOES}")).await;
    let file = gateway.dir.path().join("keys.toml");
    let key = |name: &str, scope: &str, vms: &str| {
        app::new_key(&file, name, &[scope.to_owned()], &[vms.to_owned()], "never").expect("a key")
    };
    let keys = [key("viewer", "events:read", "*"), key("all", "metrics:read", "*"), key("some", "metrics:read", "g*")];
    let scrape = async |key: &str| {
        let answer = gateway.anonymous().get(gateway.url("/metrics")).bearer_auth(key).send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a body"))
    };
    eventually(SOON, || async { scrape(keys[2].expose()).await.0 == 200 }).await;
    let nobody = gateway.anonymous().get(gateway.url("/metrics")).send().await.expect("an answer");
    assert_eq!((nobody.status().as_u16(), scrape(keys[0].expose()).await.0), (401, 403));
    let (_, all) = scrape(keys[1].expose()).await;
    assert_eq!(labels(&all)["vm"], set(&["goes", "stays"]));
    let (_, some) = scrape(keys[2].expose()).await;
    assert_eq!(labels(&some)["vm"], set(&["goes"]));
    assert!(!some.contains("stays"), "{some}");
    gateway.stop().await;
}
