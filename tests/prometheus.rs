//! What is shipped for Prometheus and Grafana is right: a real Prometheus takes it and scrapes a real gatewatch over TLS with
//! a key; every panel and every rule finds its series there. `alerts.rs` has the alerts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use gatewatch::app;
use gatewatch::server::dev_certificate;
use regex::Regex;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{
    Gateway, Process, Prometheus, SHIPPED, SIMULATED, Scheme, beside_rules, eventually, free_port, plain, program,
    promtool,
};

const DASHBOARDS: &str = "docker/grafana/dashboards";
const DATASOURCE: &str = "docker/grafana/provisioning/datasources/gatewatch.yml";
/// How long what is to happen may take on a busy machine.
const SOON: Duration = Duration::from_secs(40);
/// A VM whose run goes on for longer than a test and has its first results at once, one that is off, and one that is not
/// reached though it is on.
const VMS: &str = "
[poll]
idle_interval = \"5s\"
[[vm]]
name = \"runs\"
transport = \"simulated\"
[vm.simulated]
start_at = \"36s\"
tasks = 1000
[[vm]]
name = \"off\"
transport = \"simulated\"
[vm.simulated]
speed = \"0.1\"
[[vm]]
name = \"not-reached\"
transport = \"simulated\"
[vm.simulated]
start_at = \"6s\"
speed = \"0.1\"
";

#[tokio::test(flavor = "multi_thread")]
async fn promtool_has_nothing_to_say_against_names_and_help_texts() {
    if !Prometheus::for_test() {
        return;
    }
    let gateway = Gateway::start(SIMULATED).await;
    gateway.wait_for_stage("demo-a", "running").await;
    let (_, page) = gateway.admin("/metrics").await;
    promtool(&["check", "metrics"], page.as_bytes()).await.unwrap_or_else(|why| panic!("{why}"));
    // It does not take everything.
    promtool(&["check", "metrics"], b"a_count_total{} 1\na_count_total{} x\n").await.expect_err("not metrics");
    gateway.stop().await;
}

/// The shipped `name`, with each of `changes` made, which must be there to make.
fn shipped(name: &str, changes: &[(&str, &str)]) -> String {
    let text = fs::read_to_string(Path::new(SHIPPED).join(name)).expect(name);
    changes.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{name} has no {from}");
        text.replace(from, to)
    })
}

#[tokio::test]
async fn promtool_accepts_the_shipped_configurations_and_rules() {
    if !Prometheus::for_test() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let tls = dev_certificate(&dir.path().join("tls")).expect("a certificate");
    let key = dir.path().join("key").display().to_string();
    fs::write(&key, "gw_x").expect("written");
    let ca = tls.ca.display().to_string();
    // Only the files of a credential and a CA are elsewhere.
    let of_compose = shipped("prometheus.yml", &[("/shared/prometheus.key", &key)]);
    let of_tls =
        shipped("tls.yml", &[("/etc/prometheus/gatewatch.key", &key), ("/etc/prometheus/gatewatch-ca.pem", &ca)]);
    for config in [of_compose, of_tls] {
        let path = beside_rules(dir.path(), &config).display().to_string();
        let said = promtool(&["check", "config", &path], b"").await.unwrap_or_else(|why| panic!("{why}"));
        assert!(said.contains("1 rule files found") && said.contains("SUCCESS"), "{said}");
    }
    let rules = format!("{SHIPPED}/rules.yml");
    promtool(&["check", "rules", "--lint-fatal", &rules], b"").await.unwrap_or_else(|why| panic!("{why}"));
}

/// The shipped dashboards by file name.
fn dashboards() -> BTreeMap<String, Value> {
    let entries = fs::read_dir(DASHBOARDS).expect(DASHBOARDS).map(|entry| entry.expect("an entry").path());
    let read = |path: std::path::PathBuf| {
        let text = fs::read_to_string(&path).expect("a dashboard");
        (path.display().to_string(), serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
    };
    entries.map(read).collect()
}

/// Everything in `list`, which has to be an array.
fn list(list: &Value) -> &[Value] {
    list.as_array().unwrap_or_else(|| panic!("no array: {list}"))
}

/// The panels with data, not the rows.
fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    list(&dashboard["panels"]).iter().filter(|panel| panel["type"] != "row")
}

/// A query of a panel, with what Grafana puts in for its variables.
fn query(text: &Value) -> String {
    let text = text.as_str().expect("a query");
    text.replace("$__rate_interval", "1m").replace("$instance", ".*").replace("$vm", "runs")
}

#[test]
fn dashboards_are_whole_and_name_the_provisioned_datasource() {
    let provisioned = fs::read_to_string(DATASOURCE).expect(DATASOURCE);
    let dashboards = dashboards();
    let mut uids = BTreeSet::new();
    for (file, dashboard) in &dashboards {
        assert!(uids.insert(dashboard["uid"].to_string()) && dashboard["title"].is_string(), "{file}");
        let variables: BTreeSet<_> =
            list(&dashboard["templating"]["list"]).iter().map(|v| v["name"].as_str()).collect();
        let mut ids = BTreeSet::new();
        let mut places = BTreeSet::new();
        for panel in panels(dashboard) {
            let title = panel["title"].as_str().unwrap_or_else(|| panic!("{file}: a panel without a title"));
            assert!(ids.insert(panel["id"].as_u64()), "{file}: {title}: the id stands twice");
            let place = &panel["gridPos"];
            assert!(places.insert((place["y"].as_u64(), place["x"].as_u64())), "{file}: {title} is on another one");
            assert!(place["x"].as_u64().zip(place["w"].as_u64()).is_some_and(|(x, w)| x + w <= 24), "{file}: {title}");
            let defaults = &panel["fieldConfig"]["defaults"];
            assert!(defaults["unit"].is_string() && defaults["thresholds"].is_object(), "{file}: {title}");
            assert!(panel["description"].as_str().is_some_and(|text| text.ends_with('.')), "{file}: {title}");
            let uid = panel["datasource"]["uid"].as_str().expect("a datasource");
            assert!(provisioned.contains(&format!("uid: {uid}\n")), "{file}: {title}: {uid}");
            for target in list(&panel["targets"]) {
                assert_eq!(target["datasource"]["uid"], uid, "{file}: {title}");
                assert!(panel["type"] == "table" || target["legendFormat"] != "", "{file}: {title} has no legend");
                let expr = target["expr"].as_str().expect("a query");
                for name in ["vm", "instance"] {
                    assert!(!expr.contains(&format!("${name}")) || variables.contains(&Some(name)), "{file}: {expr}");
                }
                assert!(!query(&target["expr"]).contains('$'), "{file}: {title}: an unknown variable in {expr}");
            }
        }
        assert!(ids.len() >= 10, "{file}: only {} panels", ids.len());
    }
    let compose = fs::read_to_string("docker/compose.yml").expect("docker/compose.yml");
    assert!(compose.contains("./grafana/dashboards:/var/lib/gatewatch-dashboards:ro"));
    let provider = fs::read_to_string("docker/grafana/provisioning/dashboards/gatewatch.yml").expect("the provider");
    assert!(provider.contains("path: /var/lib/gatewatch-dashboards\n"));
    assert!(dashboards.len() >= 4, "{:?}", dashboards.keys());
}

/// The names of metrics in `expr`, each with its matchers as it is written.
fn selectors(expr: &str) -> BTreeSet<String> {
    let lists = Regex::new(r"\b(by|on|without|ignoring)\s*\([^)]*\)").expect("a regex");
    let token = Regex::new(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[^}]*\})?(\s*\()?").expect("a regex");
    let ranges = Regex::new(r"\[[^\]]*\]").expect("a regex");
    let bare = ranges.replace_all(expr, " ");
    let bare = lists.replace_all(&bare, " ");
    let words = ["and", "or", "unless", "bool"];
    let found = token.captures_iter(&bare).filter(|token| token.get(3).is_none() && !words.contains(&&token[1]));
    found.map(|token| format!("{}{}", &token[1], token.get(2).map_or("", |labels| labels.as_str()))).collect()
}

#[test]
fn the_metrics_of_a_query_are_found() {
    let expr = r#"histogram_quantile(0.95, sum by (job, le) (rate(a_bucket{x="y", z!~"in|(out)"}[5m]))) / (b:c > bool 0) or d"#;
    let found: Vec<_> = selectors(expr).into_iter().collect();
    assert_eq!(found, [r#"a_bucket{x="y", z!~"in|(out)"}"#, "b:c", "d"]);
}

/// Selectors of what does not happen to a gateway that is well, as Prometheus writes them too, and what is looked for instead.
const NEVER: [(&str, &str); 2] = [
    (r#"gatewatch_http_requests_total{code!="503",code=~"5.."}"#, r#"gatewatch_http_requests_total{code!=""}"#),
    (r#"ALERTS{job="gatewatch", alertstate="firing"}"#, r#"ALERTS{job="gatewatch", alertstate="pending"}"#),
];

/// Waits until `expr` gives something.
async fn gives_something(prometheus: &Prometheus, whose: &str, expr: &str) {
    let (began, mut count) = (std::time::Instant::now(), 0);
    while count == 0 {
        count = prometheus.count(expr).await.unwrap_or_else(|why| panic!("{whose}: {expr}: {why}"));
        assert!(began.elapsed() < SOON, "{whose}: nothing for {expr}\n{}", prometheus.log());
        if count == 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Gives the counters that have no series before something happens something to count.
async fn use_it(served: &Process) {
    let stream = served.stream().await;
    for key in ["gw_nobody_knows", served.key()] {
        let request = served.client().get(served.url("/api/vms")).bearer_auth(key);
        request.send().await.expect("an answer");
    }
    drop(stream);
}

/// What the panels and variables of the dashboards ask for, and which of them does.
fn queries_of_dashboards() -> BTreeMap<String, String> {
    let asked = Regex::new(r"^label_values\((\w+), (\w+)\)$").expect("a regex");
    let mut wanted = BTreeMap::new();
    for (file, dashboard) in dashboards() {
        for panel in panels(&dashboard) {
            let whose = format!("{file}: {}", panel["title"]);
            wanted.extend(list(&panel["targets"]).iter().map(|target| (query(&target["expr"]), whose.clone())));
        }
        for variable in list(&dashboard["templating"]["list"]) {
            let asked = asked.captures(variable["query"]["query"].as_str().expect("a query")).expect("label_values");
            wanted.insert(format!("{}{{{}!=\"\"}}", &asked[1], &asked[2]), format!("{file}: {}", variable["name"]));
        }
        for mark in list(&dashboard["annotations"]["list"]) {
            let wrapped = format!("count({}) or vector(0)", query(&mark["expr"]));
            wanted.insert(wrapped, format!("{file}: {}", mark["name"]));
        }
    }
    wanted
}

/// The rules that it has.
async fn rules(prometheus: &Prometheus) -> Vec<Value> {
    let rules = prometheus.api("rules", &[]).await.unwrap_or_else(|why| panic!("{why}"));
    list(&rules["groups"]).iter().flat_map(|group| list(&group["rules"])).cloned().collect()
}

/// The labels that the legend of each panel's queries names are there.
async fn legends_have_their_labels(prometheus: &Prometheus, whose: &str, panel: &Value) {
    let label = Regex::new(r"\{\{(\w+)\}\}").expect("a regex");
    for target in list(&panel["targets"]) {
        let expr = query(&target["expr"]);
        let data = prometheus.api("query", &[("query", &expr)]).await.unwrap_or_else(|why| panic!("{whose}: {why}"));
        for label in label.captures_iter(target["legendFormat"].as_str().unwrap_or_default()) {
            let has = |series: &Value| series["metric"][&label[1]].is_string();
            assert!(list(&data["result"]).iter().any(has), "{whose}: no label {} in {expr}: {data}", &label[1]);
        }
    }
}

/// A Prometheus that scrapes `served` as the shipped configuration for TLS says, with a key that may do only that.
async fn scraping(served: &Process) -> Prometheus {
    let key = app::new_key(&served.file("keys.toml"), "prometheus", &["metrics:read".into()], &["*".into()], "never");
    let key_file = served.file("prometheus.key").display().to_string();
    fs::write(&key_file, key.expect("a key").expose()).expect("written");
    let config = shipped(
        "tls.yml",
        &[
            ("15s", "1s"),
            ("/etc/prometheus/gatewatch.key", &key_file),
            ("/etc/prometheus/gatewatch-ca.pem", &served.tls.ca.display().to_string()),
            ("gatewatch.example:8765", &format!("127.0.0.1:{}", served.port)),
        ],
    );
    Prometheus::start(&config).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_prometheus_scrapes_over_tls_with_a_key_and_every_panel_and_every_rule_finds_its_series() {
    if !Prometheus::for_test() {
        return;
    }
    let served = Process::start(Scheme::Https, VMS).await;
    use_it(&served).await;
    let prometheus = scraping(&served).await;
    gives_something(&prometheus, "the scrape", "up{job=\"gatewatch\"} == 1").await;

    let mut wanted = queries_of_dashboards();
    assert!(wanted.len() > 80, "{}", wanted.len());
    let mut named = BTreeMap::new();
    let rules = rules(&prometheus).await;
    assert!(rules.len() > 20, "{rules:?}");
    for rule in &rules {
        named.extend(selectors(&query(&rule["query"])).into_iter().map(|found| (found, rule["name"].to_string())));
        if rule["type"] == "recording" {
            wanted.insert(rule["name"].as_str().expect("a name").to_owned(), "a rule".to_owned());
        }
    }
    for (expr, whose) in &wanted {
        named.extend(selectors(expr).into_iter().map(|found| (found, whose.clone())));
        gives_something(&prometheus, whose, expr).await;
    }
    for (selector, whose) in &named {
        let instead = NEVER.iter().find_map(|(never, instead)| (never == selector).then_some(*instead));
        // It may have been so and be over.
        let ever = format!("last_over_time({}[1h])", instead.unwrap_or(selector));
        gives_something(&prometheus, whose, &ever).await;
    }
    for (file, dashboard) in dashboards() {
        for panel in panels(&dashboard) {
            legends_have_their_labels(&prometheus, &format!("{file}: {}", panel["title"]), panel).await;
        }
    }
    every_rule_is_well(&prometheus).await;
}

/// Every rule was evaluated without an error.
async fn every_rule_is_well(prometheus: &Prometheus) {
    let well = async || {
        rules(prometheus).await.iter().all(|rule| {
            assert_ne!(rule["health"], "err", "{rule}");
            rule["health"] == "ok"
        })
    };
    eventually(SOON, well).await;
}

/// `make demo-stack`; it ends with the value, and so does what it started.
struct DemoStack(Child);

impl DemoStack {
    /// As Ctrl-C does.
    fn end(&mut self) -> ExitStatus {
        // An error says that it ended before.
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        self.0.wait().expect("our own child")
    }
}

impl Drop for DemoStack {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            self.end();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_stack_prints_where_to_look_and_ends_as_a_whole() {
    if !Prometheus::for_test() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    fs::create_dir(dir.path().join("run")).expect("a folder");
    let [gatewatch, prometheus] = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
    let stack = Command::new("docker/demo-stack")
        .arg(program())
        .env("GATEWATCH_LISTEN", &gatewatch)
        .env("PROMETHEUS_LISTEN", &prometheus)
        .env("GATEWATCH_DATA", dir.path().join("demo"))
        .env("TMPDIR", dir.path())
        .env("XDG_RUNTIME_DIR", dir.path().join("run"))
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut stack = DemoStack(stack);
    let mut lines = BufReader::new(stack.0.stdout.take().expect("a pipe")).lines().map(|line| line.expect("text"));
    let said: Vec<_> = lines.by_ref().take_while(|line| !line.contains("Ctrl-C")).collect();
    let said = said.join("\n");
    for wanted in [format!("https://{gatewatch}/auth/login?code="), format!("http://{prometheus}/alerts")] {
        assert!(said.contains(&wanted), "no {wanted} in {said}");
    }
    let up = async || {
        let url = format!("http://{prometheus}/api/v1/query?query=vm:gatewatch_vm_up:max");
        let answer: Value = plain().get(url).send().await.expect("an answer").json().await.expect("JSON");
        list(&answer["data"]["result"]).len() == 3
    };
    eventually(SOON, up).await;
    let ended = stack.end();
    assert!(ended.success(), "{ended}");
    for address in [gatewatch, prometheus] {
        assert!(std::net::TcpStream::connect(&address).is_err(), "{address} still answers");
    }
    let left = fs::read_dir(dir.path()).expect("the folder").map(|entry| entry.expect("an entry").file_name());
    let left: BTreeSet<_> = left.collect();
    assert_eq!(
        left,
        ["demo", "run"].map(Into::into).into(),
        "something is left beside the demo's data and ssh's sockets"
    );
}
