//! Clients without a stream poll; they get the shapes that the old server had, from what the last polls saw.

use std::time::Duration;

use serde_json::Value;

use crate::support::{Gateway, SIMULATED, eventually};

fn has(value: &Value, fields: &[&str]) {
    let object = value.as_object().unwrap_or_else(|| panic!("no object: {value}"));
    for field in fields {
        assert!(object.contains_key(*field), "{field} is missing in {value}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fallback_has_the_old_shape_while_a_benchmark_runs() {
    let gateway = Gateway::start(SIMULATED).await;
    gateway.wait_for_stage("demo-a", "running").await;

    let vms = gateway.json("/api/vms").await;
    has(
        &vms[0],
        &[
            "name",
            "ssh_host",
            "ssh_user",
            "vnc_port",
            "waa_port",
            "docker_container",
            "internal_ip",
            "status",
            "last_checked",
            "vnc_reachable",
            "waa_probe_status",
        ],
    );
    assert_eq!((&vms[0]["status"], &vms[0]["waa_probe_status"]), (&"online".into(), &"ready".into()));

    for path in ["/api/tasks", "/api/background-tasks"] {
        let tasks = gateway.json(path).await;
        let container = tasks
            .as_array()
            .expect("a list")
            .iter()
            .find(|t| t["task_type"] == "docker_container")
            .expect("the container");
        has(
            container,
            &[
                "task_id",
                "task_type",
                "status",
                "title",
                "description",
                "progress_percent",
                "elapsed_seconds",
                "phase",
                "metadata",
            ],
        );
        has(
            &container["metadata"],
            &[
                "container",
                "image",
                "status",
                "phase",
                "windows_ready",
                "waa_server_ready",
                "vnc_url",
                "recent_logs",
                "disk_usage_gb",
                "memory_usage_mb",
                "setup_script_phase",
                "probe_response",
                "qmp_connected",
                "dependencies",
            ],
        );
        assert_eq!(container["metadata"]["waa_server_ready"], true);
        assert!(tasks.as_array().expect("a list").iter().any(|t| t["task_type"] == "vm_provision"));
    }

    let run = gateway.json("/api/current-run").await;
    has(&run, &["running", "type", "model", "progress", "current_task", "started_at", "elapsed_minutes"]);
    assert_eq!((&run["running"], &run["type"]), (&true.into(), &"azure_vm".into()));
    has(&run["progress"], &["tasks_completed", "total_tasks"]);

    let live = gateway.json("/api/benchmark-live").await;
    assert_eq!(live["status"], "running");
    has(&live, &["total_tasks", "tasks_completed", "current_task"]);

    let probe = gateway.json("/api/probe-vm").await;
    has(&probe, &["responding", "vm_ip", "container", "probe_result", "last_checked"]);
    assert_eq!(probe["responding"], true);
    assert_eq!(gateway.json("/api/benchmark-progress").await["status"], "idle");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_local_progress_file_is_served_as_it_is_and_its_counts_are_progress_events() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("benchmark_progress.json");
    let gateway =
        Gateway::start(&format!("[files]\nprogress = {:?}\n[poll]\ninterval = \"1s\"\n", path.display().to_string()))
            .await;
    assert_eq!(gateway.json("/api/benchmark-progress").await["status"], "idle");
    let mut stream = gateway.stream("interval=1").await;
    let file =
        r#"{"status":"running","provider":"anthropic","tasks_total":5,"tasks_complete":2,"message":"two of five"}"#;
    std::fs::write(&path, file).expect("written");
    let frames = stream.until(Duration::from_secs(5), |frame| frame.event == "progress").await;
    let progress = frames.last().expect("the frame");
    assert_eq!((progress.text("vm"), progress.text("current_task")), ("local", "anthropic"));
    assert_eq!((&progress.data["tasks_completed"], &progress.data["total_tasks"]), (&2.into(), &5.into()));
    eventually(Duration::from_secs(5), || async {
        gateway.json("/api/benchmark-progress").await == serde_json::from_str::<Value>(file).expect("JSON")
    })
    .await;
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_fleet_says_so() {
    let gateway = Gateway::start("").await;
    assert_eq!(gateway.json("/api/benchmark-live").await["status"], "idle");
    assert_eq!(gateway.json("/api/current-run").await["running"], false);
    assert_eq!(gateway.json("/api/vms").await, serde_json::json!([]));
    let unknown = gateway.get("/api/no-such-route").await;
    assert_eq!(
        (unknown.status().as_u16(), &unknown.headers()["content-type"]),
        (404, &"application/problem+json".parse().expect("a value"))
    );
    gateway.stop().await;
}
