//! API keys from the command line to the door.

use std::fs;
use std::path::Path;
use std::time::Duration;

use gatewatch::app;
use regex::Regex;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

use crate::support::{Gateway, Served, eventually, gatewatch, id_of};

/// How long a change may take to come in force on a busy machine. On an idle one it is within a second.
const SOON: Duration = Duration::from_secs(10);

/// `gatewatch key` with `args` on `file`: exit code, standard output and standard error.
fn key(file: &Path, args: &[&str]) -> (i32, String, String) {
    let file = file.to_string_lossy();
    let output = gatewatch(&[&["key"], args, &["--keys-file", &file]].concat());
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code().expect("a code"), text(output.stdout), text(output.stderr))
}

fn made(file: &Path, args: &[&str]) -> String {
    let (code, out, error) = key(file, args);
    assert_eq!(code, 0, "{error}");
    out.trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn g25_g49_a_revoked_key_ends_its_open_stream_without_a_signal_and_no_other() {
    let served = Served::start().await;
    let other = made(&served.keys_file(), &["new", "--name", "other"]);
    eventually(SOON, || async { served.get_as("/api/vms", &other).await.is_some_and(|a| a.status() == 200) }).await;
    let (mut ends, mut stays) = (served.stream_as(&other).await, served.stream().await);
    let (code, out, _) = key(&served.keys_file(), &["revoke", id_of(&other)]);
    assert_eq!((code, out.as_str()), (0, ""));
    let frames = ends.until(SOON, |frame| frame.event == "error").await;
    assert_eq!(frames.last().map(|frame| frame.text("code")), Some("revoked"));
    assert_eq!(ends.next().await, None, "and it is over");
    assert_eq!(served.get_as("/api/vms", &other).await.expect("an answer").status(), 401);
    stays.until(SOON, |frame| frame.event == "status").await;

    let log = served.log();
    for line in [
        format!("event=\"keys\" added=\"{}\"", id_of(&other)),
        format!("removed=\"{}\"", id_of(&other)),
        format!("event=\"refused\" reason=\"unknown\" method=\"bearer\" claimed=\"{}\"", id_of(&other)),
    ] {
        assert!(log.lines().any(|l| l.contains("gatewatch::audit") && l.contains(&line)), "{line} is not in:\n{log}");
    }
    for shown in [&served.key, &other] {
        let secret = shown.rsplit('_').next().expect("a secret");
        assert!(!log.contains(secret), "G43: no secret is in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn g26_the_last_key_can_be_revoked_at_once_and_nothing_starts_without_one() {
    let served = Served::start().await;
    let mut stream = served.stream().await;
    let (code, _, error) = key(&served.keys_file(), &["revoke", id_of(&served.key)]);
    assert!(code == 64 && error.contains("--last"), "{code} {error}");
    assert_eq!(key(&served.keys_file(), &["revoke", id_of(&served.key), "--last"]).0, 0);
    stream.until(SOON, |frame| frame.event == "error" && frame.text("code") == "revoked").await;
    assert_eq!(served.get("/api/vms").await.expect("an answer").status(), 401);
    eventually(SOON, || async { served.metric("gatewatch_config_last_reload_successful").await == 1.0 }).await;

    let config = served.file("gatewatch.toml").to_string_lossy().into_owned();
    for command in ["check", "serve"] {
        let output = gatewatch(&[command, "--config", &config]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains("there is no key"), "{command}: {error}");
    }
    let (_, table, _) = key(&served.keys_file(), &["list"]);
    assert_eq!(table.lines().count(), 1, "{table}");

    let back = made(&served.keys_file(), &["new", "--name", "back"]);
    eventually(SOON, || async { served.get_as("/api/vms", &back).await.is_some_and(|a| a.status() == 200) }).await;
}

#[test]
fn g23_g25_keys_are_listed_and_rotated_and_no_hash_is_shown() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("keys.toml");
    let old = made(&file, &["new", "--name", "grafana", "--scopes", "events:read,vnc:view", "--vms", "waa-*"]);
    let new = made(&file, &["rotate", id_of(&old)]);
    assert!(new != old && id_of(&new) == id_of(&old));
    let (code, json, _) = key(&file, &["list", "--json"]);
    let rows: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(code, 0);
    assert_eq!(
        rows,
        json!([{"id": id_of(&old), "name": "grafana", "scopes": ["events:read", "vnc:view"], "vms": ["waa-*"],
                "expires": "never", "state": "active", "rotating": true}])
    );
    let (_, table, _) = key(&file, &["list"]);
    assert!(table.contains("grafana") && table.contains("active, rotating"), "{table}");
    let hashes = Regex::new("[0-9a-f]{64}").expect("a regex");
    let text = fs::read_to_string(&file).expect("the file");
    assert_eq!(hashes.find_iter(&text).count(), 2);
    assert!(!hashes.is_match(&table) && !hashes.is_match(&json));
    let again = made(&file, &["rotate", id_of(&old)]);
    assert!(again != new && hashes.find_iter(&fs::read_to_string(&file).expect("the file")).count() == 2);
    assert_eq!(key(&file, &["rotate", id_of(&old), "--finish"]).0, 0);
    assert_eq!(key(&file, &["list"]).1.matches("rotating").count(), 0);
    assert_eq!(key(&dir.path().join("none.toml"), &["list"]).0, 64);
}

#[test]
fn g26_check_warns_of_keys_that_end_soon() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("keys.toml");
    let soon = (time::OffsetDateTime::now_utc() + time::Duration::days(3)).format(&Rfc3339).expect("a time");
    let ends = made(&file, &["new", "--name", "short", "--expires", &soon]);
    let stays = made(&file, &["new", "--name", "long"]);
    let config = dir.path().join("gatewatch.toml");
    let text = format!("server.listen = \"127.0.0.1:0\"\nauth.keys_file = {:?}\n", file.display().to_string());
    fs::write(&config, text).expect("written");
    let output = gatewatch(&["check", "--config", &config.to_string_lossy()]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains(&format!("warning: {}: the key {} (\"short\") ends at", file.display(), id_of(&ends))),
        "{said}"
    );
    assert!(!said.contains(id_of(&stays)), "{said}");
}

/// Every route of the table with its first method, and whether it needs a credential.
fn routes() -> Vec<(String, reqwest::Method, bool)> {
    let table = fs::read_to_string("src/api/mod.rs").expect("the route table");
    let (_, table) = table.split_once("pub fn router(").expect("the table");
    let (table, _) = table.split_once("\n}").expect("its end");
    let route = Regex::new(r#"(?s)\.route\(\s*"([^"]+)",\s*(needs\(\s*\w+,\s*)?(get|post|delete)\("#).expect("a regex");
    let routes: Vec<_> = route
        .captures_iter(table)
        .map(|c| (c[1].to_owned(), c[3].to_uppercase().parse().expect("a method"), c.get(2).is_some()))
        .collect();
    assert_eq!(routes.len(), table.matches(".route(").count(), "every route is understood");
    routes
}

#[tokio::test(flavor = "multi_thread")]
async fn g25_g27_every_route_but_the_public_ones_needs_a_key_whatever_else_is_sent() {
    let gateway = Gateway::start("").await;
    let mut guarded = 0;
    for (path, method, needs) in routes() {
        for agent in ["", "kube-probe/1.30", "GoogleHC/1.0", "ELB-HealthChecker/2.0"] {
            let request = gateway.anonymous().request(method.clone(), gateway.url(&path)).header("user-agent", agent);
            let answer = request.header("x-original-url", "/healthz").send().await.expect("an answer");
            assert_eq!(answer.status() == 401, needs, "{method} {path} as {agent:?}: {}", answer.status());
        }
        guarded += usize::from(needs);
    }
    assert!(guarded >= 9, "{guarded}");
    // What resembles a route is none: it is neither guarded nor answered.
    for path in ["/API/vms", "/api/vms/", "//api/vms", "/healthz/../api/vms%2f", "/api%2Fvms", "/healthz?/api/vms"] {
        let answer = gateway.anonymous().get(gateway.url(path)).send().await.expect("an answer");
        let body = answer.text().await.expect("a body");
        assert!(!body.contains("ssh_host"), "{path}: {body}");
    }
    assert_eq!(gateway.stop().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn g25_the_list_of_keys_is_for_administrators_and_shows_nothing_that_opens() {
    let gateway = Gateway::start("").await;
    let file = gateway.dir.path().join("keys.toml");
    let reader = app::new_key(&file, "reader", &["events:read".into()], &["waa-*".into()], "2031-01-01T00:00:00Z");
    let reader = reader.expect("a key");
    let get = |key: &str| gateway.anonymous().get(gateway.url("/api/keys")).bearer_auth(key).send();
    eventually(SOON, || async { get(reader.expose()).await.expect("an answer").status() == 403 }).await;

    let answer = gateway.get("/api/keys").await;
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let text = answer.text().await.expect("a body");
    let rows: Value = serde_json::from_str(&text).expect("JSON");
    let row = |key: &str| {
        let rows = rows.as_array().expect("a list");
        rows.iter().find(|row| row["id"] == id_of(key)).cloned().unwrap_or_else(|| panic!("{rows:#?}"))
    };
    let mut shown = row(reader.expose());
    assert!(shown["last_used"].take().is_string(), "a use that the scope then refused is a use of the key");
    assert_eq!(
        shown,
        json!({"id": id_of(reader.expose()), "name": "reader", "scopes": ["events:read"], "vms": ["waa-*"],
               "expires_at": "2031-01-01T00:00:00Z", "last_used": null, "expired": false, "rotating": false})
    );
    assert!(row(gateway.key())["last_used"].is_string());
    assert!(!Regex::new("[0-9a-f]{64}").expect("a regex").is_match(&text));
    assert_eq!(gateway.stop().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn g49_an_administrator_revokes_a_key_over_http_as_the_command_does() {
    let served = Served::start().await;
    let other = made(&served.keys_file(), &["new", "--name", "other"]);
    // Asked for as somebody who is let in: to try the new key too early would count against this address.
    let listed = || async { served.get("/api/keys").await.expect("an answer").text().await.expect("a body") };
    eventually(SOON, || async { listed().await.contains(id_of(&other)) }).await;
    let mut ends = served.stream_as(&other).await;
    let revoke = async |id: &str, by: &str| {
        let answer = served.post_as(&format!("/api/keys/{id}/revoke"), by).await;
        let status = answer.status().as_u16();
        (status, answer.json::<Value>().await.expect("JSON"))
    };
    assert_eq!(revoke(id_of(&served.key), &other).await.0, 403, "it may only read");
    let listed: Value = served.get("/api/streams").await.expect("an answer").json().await.expect("JSON");
    let of_other = |row: &Value| row["principal"] == id_of(&other);
    assert!(listed["streams"].as_array().expect("rows").iter().any(of_other), "{listed}");

    let (status, answer) = revoke(id_of(&other), &served.key).await;
    assert_eq!((status, answer["id"].as_str()), (200, Some(id_of(&other))), "{answer}");
    // It is over by the time of the answer.
    assert_eq!(served.get_as("/api/vms", &other).await.expect("an answer").status(), 401);
    let frames = ends.until(SOON, |frame| frame.event == "error").await;
    assert_eq!(frames.last().map(|frame| frame.text("code")), Some("revoked"));
    let (_, table, _) = key(&served.keys_file(), &["list"]);
    assert!(!table.contains(id_of(&other)), "{table}");

    let (status, answer) = revoke(id_of(&other), &served.key).await;
    assert_eq!((status, answer["code"].as_str()), (404, Some("unknown_key")));
    let (status, answer) = revoke(id_of(&served.key), &served.key).await;
    assert_eq!((status, answer["code"].as_str()), (409, Some("last_key")));
    assert_eq!(served.get("/api/vms").await.expect("an answer").status(), 200);
    let reload: Value = served.get("/api/reload").await.expect("an answer").json().await.expect("JSON");
    assert_eq!(reload["last"]["outcome"], "applied", "{reload}");
    let log = served.log();
    let line =
        |l: &str| l.contains("gatewatch::audit") && l.contains("event=\"revoke\"") && l.contains(id_of(&served.key));
    assert!(log.lines().any(line), "{log}");
}
