use serde_json::json;

use super::*;
use crate::model::{ActiveError, ErrorCode};

async fn fleet() -> Lab {
    let now = Timestamp::from(std::time::SystemTime::now()).0;
    Lab::new(vec![
        entry("a", None),
        entry("b", Some(view(Stage::Running, vec![run("old", false, now - 9000.0), run("new", true, now - 150.0)]))),
        entry("c", Some(view(Stage::Complete, vec![run("past", false, 1e9)]))),
    ])
    .await
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[tokio::test]
async fn benchmark_live_shows_the_vm_that_runs_or_the_one_asked_for() {
    let lab = fleet().await;
    let live = lab.get_json("/api/benchmark-live").await;
    assert_eq!(
        live,
        json!({
            "status": "running", "total_tasks": 10, "tasks_completed": 3,
            "current_task": {
                "task_id": "new/task_004", "instruction": "Open the browser", "domain": "chrome",
                "steps": [{
                    "step_idx": 2,
                    "action": {"type": "CLICK", "x": null, "y": null, "target_node_id": null, "text": null, "key": null},
                    "reasoning": null, "screenshot_url": null,
                }],
                "result": null,
            },
        })
    );
    assert_eq!(
        lab.get_json("/api/benchmark-live?vm=c").await,
        json!({"status": "complete", "total_tasks": 10, "tasks_completed": 3})
    );
    assert_eq!(lab.get_json("/api/benchmark-live?vm=a").await, json!({"status": "idle"}));
    assert_eq!(Lab::new(vec![]).await.get_json("/api/benchmark-live").await, json!({"status": "idle"}));
}

#[tokio::test]
async fn local_files_speak_for_themselves_to_those_who_are_granted_local() {
    let lab = fleet().await;
    let live = json!({"status": "running", "total_tasks": 2, "anything": ["else"]});
    let progress = json!({
        "status": "running", "provider": "anthropic", "tasks_total": 5, "tasks_complete": 2, "message": "Task 3",
    });
    let files = FilesView { progress: Some(progress.clone()), live: Some(live.clone()) };
    lab.files.send_replace(Arc::new(files));
    assert_eq!(lab.get_json("/api/benchmark-live").await, live);
    assert_eq!(lab.get_json("/api/benchmark-progress").await, progress);
    assert_eq!(lab.get_json("/api/benchmark-progress?vm=local").await, progress);
    assert_eq!(lab.get_json_as("/api/benchmark-progress", &["b"]).await, json!({"status": "idle"}));
    assert_eq!(lab.get_json_as("/api/benchmark-live", &["b"]).await["total_tasks"], 10, "the VM's own");
    assert_eq!(lab.get_json("/api/benchmark-progress?vm=b").await["provider"], "gpt-4o");
    problem(
        lab.send(request("GET", "/api/benchmark-progress?vm=local", Some(principal(&["b"])))).await,
        404,
        "unknown_vm",
    )
    .await;

    let current = lab.get_json("/api/current-run").await;
    assert_eq!(
        current,
        json!({
            "running": true, "type": "local", "model": "anthropic",
            "progress": {"tasks_completed": 2, "total_tasks": 5},
            "current_task": null, "started_at": null, "elapsed_minutes": 0, "vm": null,
        })
    );
    let tasks = lab.get_json("/api/tasks").await;
    assert_eq!(
        tasks[2],
        json!({
            "task_id": "benchmark-local", "task_type": "benchmark_run", "status": "running",
            "title": "ANTHROPIC Benchmark", "description": "Task 3", "progress_percent": 40.0, "elapsed_seconds": 0,
            "metadata": progress,
        })
    );
}

#[tokio::test]
async fn odd_local_files_do_no_harm() {
    let lab = Lab::new(vec![]).await;
    for odd in [
        json!(null),
        json!([1]),
        json!("x"),
        json!({"status": 7}),
        json!({"status": "running", "tasks_total": 0, "tasks_complete": -3, "provider": []}),
    ] {
        lab.files.send_replace(Arc::new(FilesView { progress: Some(odd.clone()), live: Some(odd.clone()) }));
        assert_eq!(lab.get_json("/api/benchmark-live").await, odd);
        assert_eq!(lab.get_json("/api/benchmark-progress").await, odd);
        lab.get_json("/api/current-run").await;
        lab.get_json("/api/tasks").await;
    }
}

#[tokio::test]
async fn the_current_run_is_the_open_one_begun_last() {
    let lab = fleet().await;
    let current = lab.get_json("/api/current-run").await;
    assert_eq!(current["running"], true);
    assert_eq!(current["type"], "azure_vm");
    assert_eq!(current["model"], "gpt-4o");
    assert_eq!(current["progress"], json!({"tasks_completed": 4, "total_tasks": 10}));
    assert_eq!(current["current_task"], "new/task_004");
    assert_eq!(current["elapsed_minutes"], 2);
    assert!(current["started_at"].as_str().is_some_and(|at| at.ends_with('Z')), "{current}");
    assert_eq!(
        lab.get_json("/api/current-run?vm=c").await,
        json!({
            "running": false, "type": null, "model": null, "progress": {"tasks_completed": 0, "total_tasks": 0},
            "current_task": null, "started_at": null, "elapsed_minutes": 0, "vm": null,
        })
    );
}

#[tokio::test]
async fn tasks_have_the_shape_that_clients_know() {
    let lab = fleet().await;
    let tasks = lab.get_json("/api/tasks").await;
    assert_eq!(
        tasks[0],
        json!({
            "task_id": "azure-vm-waa", "task_type": "vm_provision", "status": "completed", "phase": "ready",
            "title": "Azure VM Host", "description": "Linux host running at 192.0.2.10", "progress_percent": 100.0,
            "elapsed_seconds": 0,
            "metadata": {"vm_name": "b", "ip_address": "192.0.2.10", "internal_ip": "172.30.0.2"},
        })
    );
    let mut container = tasks[1].clone();
    let up = container["metadata"]["status"].take();
    assert!(up.as_str().is_some_and(|up| up.starts_with("Up ")), "{up}");
    assert_eq!(
        container,
        json!({
            "task_id": "docker-winarena", "task_type": "docker_container", "status": "completed",
            "title": "Windows 11 + WAA Server", "description": "WAA Server ready - benchmarks can run",
            "progress_percent": 100.0, "elapsed_seconds": 0, "phase": "ready",
            "metadata": {
                "container": "winarena", "image": "windows:11", "status": null, "phase": "ready",
                "windows_ready": true, "waa_server_ready": true, "vnc_url": "http://192.0.2.10:8006",
                "recent_logs": "ready", "disk_usage_gb": null, "memory_usage_mb": "3.172MiB / 23.54GiB",
                "setup_script_phase": "Setup complete", "probe_response": "{\"status\":\"ok\"}",
                "qmp_connected": false, "dependencies": [],
            },
        })
    );
    assert_eq!(tasks.as_array().map(Vec::len), Some(2));
    assert_eq!(lab.get_json("/api/background-tasks").await, tasks);
    assert_eq!(lab.get_json("/api/tasks?vm=a").await, json!([]), "nothing is known of it yet");
}

#[tokio::test]
async fn tasks_tell_every_stage_apart_and_none_of_a_vm_that_is_off() {
    for stage in Stage::ALL {
        let reachable = !matches!(stage, Stage::Off | Stage::Starting | Stage::Unreachable | Stage::Removed);
        let now = VmView { waa_ready: false, reachable, container: None, ..view(stage, vec![]) };
        let tasks = Lab::new(vec![entry("a", Some(now))]).await.get_json("/api/tasks").await;
        let wanted = match stage {
            Stage::Off | Stage::Removed => Value::Null,
            Stage::Starting => "running".into(),
            Stage::Unreachable => "failed".into(),
            _ => "completed".into(),
        };
        assert_eq!(tasks[0]["status"], wanted, "{stage}");
        let booting = VmView { waa_ready: false, ..view(stage, vec![]) };
        let tasks = Lab::new(vec![entry("a", Some(booting))]).await.get_json("/api/tasks").await;
        let container = tasks.as_array().and_then(|tasks| tasks.last()).cloned().unwrap_or_default();
        assert_eq!(container["status"], "running", "{stage}");
        assert_eq!(container["phase"], stage.phase(), "{stage}");
    }
}

#[tokio::test]
async fn vms_are_listed_as_far_as_granted() {
    let lab = fleet().await;
    let all = lab.get_json("/api/vms").await;
    assert_eq!(all.as_array().map(Vec::len), Some(3));
    assert_eq!(
        all[1],
        json!({
            "name": "b", "ssh_host": "192.0.2.10", "ssh_user": "azureuser", "vnc_port": 8006, "waa_port": 5000,
            "docker_container": "winarena", "internal_ip": "172.30.0.2", "status": "online",
            "last_checked": "2026-01-02T10:01:00.5Z", "vnc_reachable": true, "waa_probe_status": "ready",
            "vm_id": "id-b", "stage": "running", "stale": false,
        })
    );
    assert_eq!((&all[0]["status"], &all[0]["last_checked"]), (&json!("unknown"), &Value::Null));
    let some = lab.get_json_as("/api/vms", &["c", "z*"]).await;
    assert_eq!((some.as_array().map(Vec::len), &some[0]["name"]), (Some(1), &json!("c")));
    assert_eq!(lab.get_json_as("/api/vms", &[]).await, json!([]));
}

#[tokio::test]
async fn a_probe_answers_from_the_last_poll() {
    let lost = VmView {
        reachable: false,
        waa_ready: false,
        probe_reply: None,
        errors: vec![ActiveError { code: ErrorCode::SshTimeout, message: "no answer within 10 s".into() }],
        ..view(Stage::Unreachable, vec![])
    };
    let silent = VmView { waa_ready: false, probe_reply: None, ..view(Stage::Oobe, vec![]) };
    let lab = Lab::new(vec![
        entry("a", Some(view(Stage::Ready, vec![]))),
        entry("b", Some(lost)),
        entry("c", Some(silent)),
        entry("d", None),
    ])
    .await;
    let probe = lab.get_json("/api/probe-vm").await;
    assert_eq!(
        probe,
        json!({
            "responding": true, "vm_ip": "192.0.2.10", "container": "winarena",
            "probe_result": "{\"status\":\"ok\"}", "last_checked": "2026-01-02T10:01:00.5Z",
        })
    );
    for (vm, result) in
        [("b", json!("no answer within 10 s")), ("c", json!("WAA server not responding")), ("d", Value::Null)]
    {
        let probe = lab.get_json(&format!("/api/probe-vm?vm={vm}")).await;
        assert_eq!((&probe["responding"], &probe["probe_result"]), (&json!(false), &result), "{vm}");
    }
    let none = Lab::new(vec![]).await.get_json("/api/probe-vm").await;
    assert_eq!(none["responding"], false);
    assert_eq!(keys(&none).len(), 5);
}

#[tokio::test]
async fn polling_routes_hide_what_is_not_granted() {
    let lab = fleet().await;
    for path in ["benchmark-live", "benchmark-progress", "current-run", "tasks", "background-tasks", "probe-vm"] {
        let path = format!("/api/{path}");
        let hidden = lab.send(request("GET", &format!("{path}?vm=b"), Some(principal(&["a"])))).await;
        problem(hidden, 404, "unknown_vm").await;
        problem(lab.get(&format!("{path}?vm=zzz")).await, 404, "unknown_vm").await;
        problem(lab.get(&format!("{path}?vm=a&vm=b")).await, 400, "repeated_parameter").await;
        problem(lab.send(request("GET", &path, None)).await, 401, "unauthorized").await;
        let seen = lab.get_json_as(&path, &["a"]).await.to_string();
        assert!(!seen.contains("task_004"), "{path}: {seen}");
    }
}

#[tokio::test]
async fn health_needs_no_credential_and_readiness_names_what_is_missing() {
    let lab = fleet().await;
    let alive = lab.send(request("GET", "/healthz", None)).await;
    assert_eq!(alive.status(), StatusCode::OK);
    let body = alive.into_body().collect().await.expect("a body").to_bytes();
    assert_eq!(&body[..], b"ok");

    let ready = lab.send(request("GET", "/readyz", None)).await;
    assert_eq!(ready.status(), StatusCode::OK);
    assert_eq!(json(ready).await, json!({"ready": true, "not_ready": []}));
    lab.not_ready.send_replace(vec![("journal".into(), "cannot write".into())]);
    let ready = lab.send(request("GET", "/readyz", None)).await;
    assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(json(ready).await, json!({"ready": false, "not_ready": [{"what": "journal", "why": "cannot write"}]}));
}

#[tokio::test(start_paused = true)]
async fn a_hang_is_told_when_a_second_look_finds_it_too() {
    let lab = fleet().await;
    let ask = || async {
        let alive = lab.send(request("GET", "/healthz", None)).await;
        let status = alive.status().as_u16();
        let body = alive.into_body().collect().await.expect("a body").to_bytes();
        (status, String::from_utf8(body.to_vec()).expect("text"))
    };
    lab.hung.send_replace(Some("hung: no task has run for 6 s".into()));
    assert_eq!(ask().await, (503, "hung: no task has run for 6 s".to_owned()));
    // A process that was stopped and goes on: who answers is back before the rest.
    let (told, ()) = tokio::join!(ask(), async {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        lab.hung.send_replace(None);
    });
    assert_eq!(told, (200, "ok".to_owned()));
}

#[tokio::test]
async fn a_wrong_path_and_a_wrong_method_are_problems() {
    let lab = fleet().await;
    for path in
        ["/index.html", "/api", "/api/nothing", "/api/benchmark-sse/", "/healthz/x", "//api/vms", "/api/%2e%2e/vms"]
    {
        problem(lab.get(path).await, 404, "not_found").await;
    }
    for (method, path, allow) in [
        ("POST", "/api/benchmark-sse", "GET,HEAD"),
        ("DELETE", "/api/vms", "GET,HEAD"),
        ("GET", "/api/vms/register", "POST"),
        ("PUT", "/healthz", "GET,HEAD"),
    ] {
        let response = lab.send(request(method, path, Some(principal(&["*"])))).await;
        assert_eq!(response.headers()[header::ALLOW], allow, "{method} {path}");
        problem(response, 405, "method_not_allowed").await;
    }
}
