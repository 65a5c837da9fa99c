//! What was can be looked up, page by page or as a whole file, by whoever may see it.

use std::time::Duration;

use gatewatch::app;
use serde_json::Value;

use crate::support::{Gateway, eventually, gatewatch};

/// Two simulated VMs, each of which plays one run.
const TWO: &str = "
[[vm]]
name = \"one\"
transport = \"simulated\"
[vm.simulated]
speed = \"20\"
start_at = \"21s\"
once = true
[[vm]]
name = \"two\"
transport = \"simulated\"
[vm.simulated]
speed = \"20\"
start_at = \"21s\"
once = true
[poll]
interval = \"1s\"
idle_interval = \"1s\"
";

/// How long something that happens by itself may take.
const SOON: Duration = Duration::from_secs(20);

fn rows(csv: &str) -> Vec<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(csv.as_bytes());
    reader.records().map(|row| row.expect("CSV").iter().map(str::to_owned).collect()).collect()
}

fn lines(jsonl: &str) -> Vec<Value> {
    assert!(jsonl.is_empty() || jsonl.ends_with('\n'));
    jsonl.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().unwrap_or_else(|| panic!("no {field} in {value}"))
}

async fn text(gateway: &Gateway, path: &str) -> String {
    let answer = gateway.get(path).await;
    assert_eq!(answer.status(), 200, "{path}");
    answer.text().await.expect("a whole body")
}

/// All rows of `field`, a page of `limit` at a time.
async fn pages(gateway: &Gateway, path: &str, field: &str, limit: usize) -> Vec<Value> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = gateway.json(&format!("{path}?limit={limit}{cursor}")).await;
        assert!(list(&page, field).len() <= limit, "{page}");
        all.extend_from_slice(list(&page, field));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

/// A gateway whose two VMs have played their runs.
async fn played() -> Gateway {
    let gateway = Gateway::start(TWO).await;
    for vm in ["one", "two"] {
        eventually(Duration::from_secs(60), || async {
            let ended = gateway.json(&format!("/api/runs?vm={vm}&state=ended")).await;
            list(&ended, "runs").len() == 1
        })
        .await;
    }
    gateway
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_put_together_are_the_export_and_both_are_what_was_told() {
    let gateway = played().await;
    let runs = pages(&gateway, "/api/runs", "runs", 1).await;
    assert_eq!(runs.len(), 2);
    assert_eq!(lines(&text(&gateway, "/api/runs?format=jsonl").await), runs);
    assert_eq!(list(&gateway.json("/api/runs").await, "runs"), runs);
    let starts: Vec<f64> = runs.iter().map(|run| run["started_at"].as_f64().expect("a time")).collect();
    // In the order of the journal: of two polls at the same moment the one that saw its run first may commit second.
    assert!(starts[0] > starts[1] - 1.0, "the newest first");
    for run in &runs {
        let id = run["run"].as_str().expect("an id");
        let path = format!("/api/runs/{id}");
        let duration = run["ended_at"].as_f64().expect("it ended") - starts[usize::from(run != &runs[0])];
        assert!((run["duration"].as_f64().expect("it ended") - duration).abs() < 1e-5, "{run}");
        assert_eq!((&run["state"], &run["historic"]), (&"ended".into(), &false.into()));
        let tasks = pages(&gateway, &path, "tasks", 7).await;
        assert_eq!(Some(tasks.len() as u64), run["completed"].as_u64());
        assert!(tasks.len() > 7, "more than a page: {}", tasks.len());
        let passed = tasks.iter().filter(|task| task["result"] == "passed").count();
        assert_eq!(Some(passed as u64), run["passed"].as_u64());
        assert_eq!(gateway.json(&path).await["run"], *run);
        assert_eq!(lines(&text(&gateway, &format!("{path}?format=jsonl")).await), tasks);

        let csv = rows(&text(&gateway, &format!("{path}?format=csv")).await);
        assert_eq!(csv.len(), tasks.len() + 1);
        let first = tasks[0].as_object().expect("an object");
        assert_eq!(csv[0].len(), first.len());
        for (name, cell) in csv[0].iter().zip(&csv[1]) {
            let same = match &first[name] {
                Value::Null => cell.is_empty(),
                Value::String(text) => cell == text,
                Value::Number(number) => cell.parse::<f64>().ok() == number.as_f64(),
                other => Some(cell.as_str()) == other.as_bool().map(|flag| if flag { "true" } else { "false" }),
            };
            assert!(same, "{name}: {cell:?} is not {}", first[name]);
        }
    }
    let all = lines(&text(&gateway, "/api/runs?format=jsonl&rows=tasks").await);
    let mut each = Vec::new();
    for run in &runs {
        each.extend(
            pages(&gateway, &format!("/api/runs/{}", run["run"].as_str().expect("an id")), "tasks", 1000).await,
        );
    }
    assert_eq!(all, each);
    assert_eq!(rows(&text(&gateway, "/api/runs?format=csv&rows=tasks&vm=one").await).len(), 1 + all.len() / 2);
    assert_eq!(gateway.stop().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_found_by_vm_state_and_time_and_only_by_who_may_see_them() {
    let gateway = played().await;
    let runs = list(&gateway.json("/api/runs").await, "runs").to_vec();
    let newest = runs[0]["started_at"].as_f64().expect("a time");
    let iso = runs[0]["started_utc"].as_str().expect("a time");
    for (query, count) in [
        ("vm=one".to_owned(), 1),
        ("vm=never-seen".to_owned(), 0),
        ("state=open".to_owned(), 0),
        ("state=ended".to_owned(), 2),
        (format!("since={}", newest + 1.0), 0),
        (format!("until={}", newest + 1.0), 2),
        ("since=0&until=1".to_owned(), 0),
        (format!("until={iso}"), runs.iter().filter(|run| run["started_at"].as_f64() < Some(newest)).count()),
        ("unknown=parameter".to_owned(), 2),
    ] {
        let found = gateway.json(&format!("/api/runs?{query}")).await;
        assert_eq!(list(&found, "runs").len(), count, "{query}: {found}");
        assert_eq!(lines(&text(&gateway, &format!("/api/runs?{query}&format=jsonl")).await).len(), count, "{query}");
    }

    let keys = gateway.dir.path().join("keys.toml");
    let made = app::new_key(&keys, "narrow", &["events:read".to_owned()], &["one".to_owned()], "never");
    let narrow = made.expect("a key");
    until_it_opens(&gateway, narrow.expose()).await;
    let ask = async |path: String| {
        let request = gateway.anonymous().get(gateway.url(&path)).bearer_auth(narrow.expose());
        request.send().await.expect("an answer")
    };
    let seen: Value = ask("/api/runs".to_owned()).await.json().await.expect("JSON");
    assert_eq!(list(&seen, "runs").iter().map(|run| &run["vm"]).collect::<Vec<_>>(), ["one"]);
    let csv = ask("/api/runs?format=csv&rows=tasks".to_owned()).await.text().await.expect("a body");
    assert!(csv.contains(",one,") && !csv.contains(",two,"));
    let hidden = runs.iter().find(|run| run["vm"] == "two").expect("its run")["run"].as_str().expect("an id");
    let mut told = Vec::new();
    for id in [hidden, "ffffffffffff", "%2d", "%ff"] {
        let answer = ask(format!("/api/runs/{id}")).await;
        assert_eq!(answer.status(), 404, "{id}");
        let mut problem: Value = answer.json().await.expect("JSON");
        assert_eq!(problem["code"], "unknown_run");
        problem["request_id"].take();
        told.push(problem);
    }
    assert!(told.iter().all(|problem| *problem == told[0]), "which of both it is is not told: {told:?}");
    let nobody = gateway.anonymous().get(gateway.url("/api/runs")).send().await.expect("an answer");
    assert_eq!(nobody.status(), 401);
    assert_eq!(gateway.stop().await, "");
}

/// Waits until `key` opens.
async fn until_it_opens(gateway: &Gateway, key: &str) {
    eventually(SOON, || async {
        let answer = gateway.anonymous().get(gateway.url("/api/vms")).bearer_auth(key).send().await;
        answer.is_ok_and(|answer| answer.status() == 200)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_that_cannot_be_is_a_problem_that_names_it() {
    let gateway = Gateway::start("").await;
    for (query, code) in [
        ("state=closed", "invalid_parameter"),
        ("since=yesterday", "invalid_parameter"),
        ("until=-1", "invalid_parameter"),
        ("limit=0", "invalid_parameter"),
        ("limit=501", "invalid_parameter"),
        ("limit=%2B5", "invalid_parameter"),
        ("cursor=garbage", "invalid_parameter"),
        ("cursor=otherEpoch-1.0", "invalid_parameter"),
        ("format=xml", "invalid_parameter"),
        ("rows=tasks", "invalid_parameter"),
        ("rows=cells&format=csv", "invalid_parameter"),
        ("format=csv&limit=5", "invalid_parameter"),
        ("state=open&state=open", "repeated_parameter"),
        ("format=csv&format=csv", "repeated_parameter"),
    ] {
        let answer = gateway.get(&format!("/api/runs?{query}")).await;
        assert_eq!(answer.status(), 400, "{query}");
        let problem: Value = answer.json().await.expect("JSON");
        assert_eq!(problem["code"], code, "{query}: {problem}");
        let name = query.split(['=', '&']).next().expect("a name");
        let detail = problem["detail"].as_str().expect("a detail");
        assert!(detail.contains(name) || query.contains("csv&limit"), "{query}: {detail}");
    }
    assert_eq!(gateway.get("/api/runs?vm=A%20B").await.status(), 404);
    assert_eq!(gateway.get("/api/runs/x?limit=1001").await.status(), 400);
    assert_eq!(gateway.stop().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_a_file_of_a_sensible_name_and_head_asks_for_no_row() {
    let gateway = Gateway::start("").await;
    for (path, accept, kind, file) in [
        ("/api/runs?format=csv", "", "text/csv; charset=utf-8; header=present", "gatewatch-runs.csv"),
        ("/api/runs", "text/csv", "text/csv; charset=utf-8; header=present", "gatewatch-runs.csv"),
        ("/api/runs?format=csv&rows=tasks", "", "text/csv; charset=utf-8; header=present", "gatewatch-tasks.csv"),
        ("/api/runs", "application/x-ndjson", "application/x-ndjson", "gatewatch-runs.jsonl"),
    ] {
        for method in [reqwest::Method::GET, reqwest::Method::HEAD] {
            let request = gateway.anonymous().request(method.clone(), gateway.url(path)).bearer_auth(gateway.key());
            let answer = request.header("accept", accept).send().await.expect("an answer");
            assert_eq!(answer.status(), 200);
            assert_eq!(answer.headers()["content-type"], kind, "{path}");
            let disposition = format!("attachment; filename=\"{file}\"");
            assert_eq!(answer.headers()["content-disposition"].to_str().ok(), Some(disposition.as_str()));
            assert_eq!(answer.headers()["cache-control"], "no-store");
            let body = answer.text().await.expect("a body");
            let head = method == reqwest::Method::GET && kind.starts_with("text/csv");
            assert_eq!(rows(&body).len(), usize::from(head), "the names of the columns alone");
        }
    }
    let page = gateway.anonymous().head(gateway.url("/api/runs")).bearer_auth(gateway.key()).send().await;
    assert_eq!(page.expect("an answer").headers()["content-type"], "application/json");
    assert_eq!(gateway.stop().await, "");
}

#[test]
fn runs_of_a_journal_in_memory_say_where_the_history_is() {
    let dir = tempfile::tempdir().expect("a folder");
    let config = dir.path().join("gatewatch.toml");
    let text = "[auth]\nnone = true\n[server]\nlisten = \"127.0.0.1:0\"\n[journal]\nkind = \"memory\"\n";
    std::fs::write(&config, text).expect("written");
    let output = gatewatch(&["runs", "--config", &config.to_string_lossy()]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{said}");
    assert!(said.contains("in memory") && said.contains("kind = \"embedded\"") && said.lines().count() == 1, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_terminal_prints_what_the_api_tells_while_the_gateway_runs_and_after_it() {
    let gateway = played().await;
    let config = gateway.dir.path().join("runs.toml");
    let text = format!("[auth]\nnone = true\n[data]\ndir = {:?}\n", gateway.dir.path());
    std::fs::write(&config, text).expect("written");
    let run = list(&gateway.json("/api/runs").await, "runs")[0]["run"].as_str().expect("an id").to_owned();
    let config = config.to_string_lossy();
    let mut told = Vec::new();
    for format in ["csv", "jsonl"] {
        for (path, words) in [("/api/runs".to_owned(), vec![]), (format!("/api/runs/{run}"), vec![run.as_str()])] {
            let said = self::text(&gateway, &format!("{path}?format={format}")).await;
            told.push(([&["runs", "--config", &config, "--format", format], &words[..]].concat(), said));
        }
    }
    let same = |told: &[(Vec<&str>, String)]| {
        for (words, said) in told {
            let output = gatewatch(words);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            assert_eq!(String::from_utf8_lossy(&output.stdout), *said, "{words:?}");
        }
        let table = String::from_utf8(gatewatch(&["runs", "--config", &config]).stdout).expect("text");
        assert!(table.lines().count() == 3 && table.contains(&run), "{table}");
    };
    same(&told);
    let _dir = gateway.stop_keeping_data().await;
    same(&told);
}
