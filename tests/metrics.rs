//! Every metric that the process exposes is documented, and nothing is documented that it does not expose. No client and
//! no VM makes series.

use std::collections::BTreeSet;
use std::time::Duration;

use gatewatch::config::{Config, MapEnv};
use regex::Regex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Gateway, SIMULATED, eventually};

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

#[tokio::test(flavor = "multi_thread")]
async fn g59_labels_are_of_a_closed_list_and_no_vm_or_client_is_one() {
    let known_hosts = tempfile::NamedTempFile::new().expect("a file");
    let register = format!("[register]\nknown_hosts = {:?}\n", known_hosts.path().display().to_string());
    let poll = "[poll]\ninterval = \"1s\"\nidle_interval = \"1s\"\n";
    let gateway = Gateway::start(&format!("{poll}{register}{SIMULATED}")).await;
    gateway.wait_for_stage("demo-a", "running").await;
    let (_, before) = gateway.admin("/metrics").await;
    let body = serde_json::json!({"name": "only-here", "ssh_host": "127.0.0.1"});
    let request = gateway.anonymous().post(gateway.url("/api/vms/register")).bearer_auth(gateway.key()).json(&body);
    assert_eq!(request.send().await.expect("an answer").status(), 200);
    let polled = gateway.metric("gatewatch_polls_total").await;
    let more = || async { gateway.metric("gatewatch_polls_total").await > polled };
    eventually(Duration::from_secs(40), more).await;
    let (_, after) = gateway.admin("/metrics").await;
    // What has no series of its own leaves none behind when it is removed.
    let added: Vec<String> = series(&after).difference(&series(&before)).cloned().collect();
    assert!(added.iter().all(|series| series.contains("route=\"/api/vms/register\"")), "{added:#?}");
    let label = Regex::new(r#"[{,]([a-z_]+)="((?:[^"\\]|\\.)*)""#).expect("a regex");
    let known = ["route", "method", "code", "outcome", "reason", "limit", "source", "version", "le", "class"];
    for found in label.captures_iter(&after) {
        assert!(known.contains(&&found[1]), "a label {}: is what it stands for a closed list?", &found[1]);
        for bad in ["demo-a", "only-here", "127.0.0.1", "test"] {
            assert_ne!(&found[2], bad, "{}", &found[1]);
        }
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g60_metrics_are_on_a_listener_of_their_own_that_is_on_loopback_only() {
    let auth = "[auth]\nnone = true\n[[vm]]\nname = \"a\"\ntransport = \"local\"\n";
    let parse = |text: &str| Config::parse(text, "test", &MapEnv::default());
    let default = parse(auth).expect("a configuration").admin.listen.expect("on by default");
    assert!(default.ip().is_loopback(), "{default}");
    for public in ["0.0.0.0:9765", "[::]:9765", "192.0.2.1:9765", "[::ffff:192.0.2.1]:9765"] {
        let refused = parse(&format!("[admin]\nlisten = \"{public}\"\n{auth}")).expect_err(public).to_string();
        assert!(refused.contains("admin.listen"), "{refused}");
    }
    let gateway = Gateway::start(SIMULATED).await;
    assert_eq!(gateway.admin("/metrics").await.0, 200);
    for path in ["/metrics", "/metrics/", "/admin/metrics"] {
        assert_eq!(
            gateway.try_get(path).await,
            Some(404),
            "{path} on the public listener, with an administrator's key"
        );
    }
    for path in ["/api/vms", "/api/benchmark-sse", "/auth/session"] {
        assert_eq!(gateway.admin(path).await.0, 404, "{path} on the administration listener");
    }
    gateway.stop().await;
}
