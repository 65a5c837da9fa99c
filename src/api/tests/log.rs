use serde_json::json;

use super::*;
use crate::model::{LogTails, LogText};

fn with_logs() -> VmEntry {
    let mut logs = LogTails::default();
    logs.take(&"/tmp/b.log".into(), &LogText::of(1, 0, b"one\ntwo <img onerror=x> \x1b[31m\n"));
    logs.take(&"/tmp/a.log".into(), &LogText::of(2, 100, "\u{202e}abc\n".as_bytes()));
    VmEntry { logs, ..entry("a", Some(view(Stage::Running, vec![]))) }
}

#[tokio::test]
async fn the_newest_lines_of_a_vms_logs_are_given_whole_or_from_where_the_caller_is() {
    let lab = Lab::new(vec![with_logs(), entry("b", None)]).await;
    let a = json!({"source": "/tmp/a.log", "generation": 2, "start": 100, "end": 107, "text": "\u{202e}abc\n"});
    let text = "one\ntwo <img onerror=x> \u{1b}[31m\n";
    let b = json!({"source": "/tmp/b.log", "generation": 1, "start": 0, "end": text.len(), "text": text});
    assert_eq!(lab.get_json("/api/vms/a/log").await, json!({"vm": "a", "logs": [a, b], "container": "ready"}));
    let only = lab.get_json("/api/vms/a/log?source=/tmp/b.log&after=4").await;
    let rest = json!({"source": "/tmp/b.log", "generation": 1, "start": 4, "end": text.len(), "text": &text[4..]});
    assert_eq!(only["logs"], json!([rest]));
    assert_eq!(lab.get_json("/api/vms/a/log?source=/tmp/none").await["logs"], json!([]));
    assert_eq!(lab.get_json("/api/vms/b/log").await, json!({"vm": "b", "logs": [], "container": ""}));
}

#[tokio::test]
async fn a_log_of_a_vm_that_is_not_granted_is_that_of_none() {
    let lab = Lab::new(vec![with_logs()]).await;
    let stranger = || Some(principal(&["waa-*"]));
    let denied = problem(lab.send(request("GET", "/api/vms/a/log", stranger())).await, 404, "unknown_vm").await;
    let absent = problem(lab.send(request("GET", "/api/vms/zz/log", stranger())).await, 404, "unknown_vm").await;
    assert_eq!(denied["title"], absent["title"]);
    problem(lab.get("/api/vms/A_b/log").await, 404, "unknown_vm").await;
    problem(lab.get("/api/vms/a/log?after=x").await, 400, "invalid_parameter").await;
    problem(lab.get("/api/vms/a/log?after=1&after=2").await, 400, "repeated_parameter").await;
}

#[tokio::test]
async fn where_a_vm_has_been_is_told_as_far_as_it_is_remembered() {
    let lab = Lab::new(vec![with_logs(), entry("b", None)]).await;
    let stages = json!([{"stage": "running", "since": 1_767_348_000.0}]);
    assert_eq!(lab.get_json("/api/vms/a/stages").await, json!({"vm": "a", "stages": stages}));
    assert_eq!(lab.get_json("/api/vms/b/stages").await, json!({"vm": "b", "stages": []}));
    let stranger = Some(principal(&["waa-*"]));
    problem(lab.send(request("GET", "/api/vms/a/stages", stranger)).await, 404, "unknown_vm").await;
}
