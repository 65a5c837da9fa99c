//! The VM, its container and the local benchmark as "background tasks", and the last probe.

use serde::Serialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::caller::Selection;
use super::runs::{iso, says_running};
use crate::hub::VmEntry;
use crate::model::{Container, MemoryUse, Stage, Timestamp, VmFacts, VmView};

/// `/api/tasks`: what the server this replaces listed, for the selected VM.
pub(super) fn tasks(selection: &Selection, now: Timestamp) -> Vec<Value> {
    let vm = selection.entry.as_ref().and_then(|entry| Some((entry, entry.view.as_deref()?)));
    let host = vm.and_then(|(entry, view)| host_task(entry, view));
    let container = vm.and_then(|(entry, view)| container_task(entry, view, now));
    let local = selection.files.progress.as_ref().filter(|file| says_running(file)).map(local_task);
    [host, container, local].into_iter().flatten().collect()
}

/// The VM itself; nothing while it is off.
fn host_task(entry: &VmEntry, view: &VmView) -> Option<Value> {
    let facts = &entry.facts;
    let (status, phase, percent, what) = match view.stage {
        Stage::Off | Stage::Removed => return None,
        Stage::Unreachable => ("failed", "unreachable", 0.0, "Linux host not reachable"),
        Stage::Starting if !view.reachable => ("running", "booting", 0.0, "Linux host starting"),
        _ => ("completed", "ready", 100.0, "Linux host running"),
    };
    let description = if facts.host.is_empty() { what.to_owned() } else { format!("{what} at {}", facts.host) };
    Some(json!({
        "task_id": "azure-vm-waa",
        "task_type": "vm_provision",
        "status": status,
        "phase": phase,
        "title": "Azure VM Host",
        "description": description,
        "progress_percent": percent,
        "elapsed_seconds": 0,
        "metadata": {
            "vm_name": entry.vm,
            "ip_address": non_empty(&facts.host),
            "internal_ip": non_empty(&facts.internal_ip),
        },
    }))
}

/// The container with Windows in it, once there is one.
fn container_task(entry: &VmEntry, view: &VmView, now: Timestamp) -> Option<Value> {
    let container = view.container.as_ref()?;
    let status = match (view.waa_ready, container.running) {
        (true, _) => "completed",
        (false, true) => "running",
        (false, false) => "failed",
    };
    let phase = view.stage.phase();
    let windows_ready = matches!(view.stage, Stage::Oobe | Stage::Ready | Stage::Running | Stage::Complete);
    Some(json!({
        "task_id": format!("docker-{}", container.name),
        "task_type": "docker_container",
        "status": status,
        "title": "Windows 11 + WAA Server",
        "description": describe(view, container),
        "progress_percent": view.boot_percent,
        "elapsed_seconds": 0,
        "phase": phase,
        "metadata": metadata(&entry.facts, view, container, phase, windows_ready, now),
    }))
}

fn metadata(
    facts: &VmFacts,
    view: &VmView,
    container: &Container,
    phase: &str,
    windows_ready: bool,
    now: Timestamp,
) -> Value {
    let setup = match &view.setup_script {
        _ if view.waa_ready => Some("Setup complete".to_owned()),
        script => script.as_ref().map(|script| format!("Running {script}")),
    };
    json!({
        "container": container.name,
        "image": container.image,
        "status": uptime(container, now),
        "phase": phase,
        "windows_ready": windows_ready,
        "waa_server_ready": view.waa_ready,
        "vnc_url": facts.vnc_url,
        "recent_logs": view.container_log_tail,
        "disk_usage_gb": view.storage.map(|disk| (disk.used as f64 / 1e7).round() / 100.0),
        "memory_usage_mb": view.memory.map(memory),
        "setup_script_phase": setup,
        "probe_response": view.probe_reply,
        "qmp_connected": view.qemu_monitor.unwrap_or(false),
        "dependencies": view.dependencies.iter().map(|dependency| json!({
            "name": dependency.name,
            "icon": "📦",
            "status": if dependency.complete { "complete" } else { "installing" },
        })).collect::<Vec<_>>(),
    })
}

fn describe(view: &VmView, container: &Container) -> String {
    if !container.running {
        return format!("Container {}", container.state);
    }
    match view.stage {
        Stage::Ready | Stage::Running | Stage::Complete if view.waa_ready => {
            "WAA Server ready - benchmarks can run".to_owned()
        }
        Stage::Ready | Stage::Running | Stage::Complete => "WAA server not responding".to_owned(),
        Stage::Oobe => "Windows started, waiting for the WAA server".to_owned(),
        Stage::Booting => "Booting Windows".to_owned(),
        Stage::Building => "Building the Windows disk".to_owned(),
        Stage::Configuring => "Adding drivers to the Windows image".to_owned(),
        Stage::Extracting => "Extracting the Windows image".to_owned(),
        Stage::Downloading => match view.download_seconds_left {
            Some(left) => format!("Downloading Windows ({left} s left)"),
            None => "Downloading Windows".to_owned(),
        },
        Stage::Off | Stage::Starting | Stage::Unreachable | Stage::Removed => format!("VM {}", view.stage),
    }
}

/// The benchmark that `benchmark_progress.json` tells of.
fn local_task(file: &Value) -> Value {
    let count = |key| file.get(key).and_then(Value::as_f64).unwrap_or(0.0);
    let percent = 100.0 * count("tasks_complete") / count("tasks_total").max(1.0);
    let provider = file.get("provider").and_then(Value::as_str).unwrap_or("API");
    json!({
        "task_id": "benchmark-local",
        "task_type": "benchmark_run",
        "status": "running",
        "title": format!("{} Benchmark", provider.to_uppercase()),
        "description": file.get("message").and_then(Value::as_str).unwrap_or("Running benchmark..."),
        "progress_percent": percent.clamp(0.0, 100.0),
        "elapsed_seconds": 0,
        "metadata": file,
    })
}

/// `/api/probe-vm`.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct Probe {
    responding: bool,
    vm_ip: Option<String>,
    container: Option<String>,
    probe_result: Option<String>,
    last_checked: Option<String>,
}

/// What the last poll of the selected VM saw of its benchmark server.
pub(super) fn probe(selection: &Selection) -> Probe {
    let Some(entry) = &selection.entry else { return Probe::default() };
    let view = entry.view.as_deref();
    let silent = |view: &VmView| {
        let error = view.errors.first().filter(|_| !view.reachable).map(|error| error.message.clone());
        error.unwrap_or_else(|| "WAA server not responding".to_owned())
    };
    Probe {
        responding: view.is_some_and(|view| view.waa_ready),
        vm_ip: non_empty(&entry.facts.host).map(str::to_owned),
        container: non_empty(&entry.facts.container).map(str::to_owned),
        probe_result: view.map(|view| match &view.probe_reply {
            Some(reply) if view.waa_ready => reply.clone(),
            _ => silent(view),
        }),
        last_checked: view.and_then(|view| iso(view.reported_at)),
    }
}

fn non_empty(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// `Up 16 minutes`, as Docker says it; a container that does not run shows its state.
fn uptime(container: &Container, now: Timestamp) -> String {
    if !container.running {
        return container.state.clone();
    }
    let Ok(started) = OffsetDateTime::parse(&container.started_at, &Rfc3339) else { return "Up".to_owned() };
    let seconds = (now.0 - started.unix_timestamp() as f64).max(0.0) as u64;
    let (count, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..172_800 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("Up {count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// `3.172MiB / 23.54GiB`, as `docker stats` prints it.
fn memory(memory: MemoryUse) -> String {
    let used = binary_size(memory.used);
    memory.limit.map_or(used.clone(), |limit| format!("{used} / {}", binary_size(limit)))
}

/// Four significant digits and a binary unit.
fn binary_size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut size, mut unit) = (bytes as f64, 0);
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    let decimals = match size {
        ..10.0 => 3,
        ..100.0 => 2,
        ..1000.0 => 1,
        _ => 0,
    };
    let text = format!("{size:.decimals$}");
    let text = if decimals > 0 { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_read_as_docker_prints_them() {
        let stats = MemoryUse { used: 3_326_083, limit: Some(25_275_882_209) };
        assert_eq!(memory(stats), "3.172MiB / 23.54GiB");
        assert_eq!(memory(MemoryUse { used: 1024, limit: None }), "1KiB");
        assert_eq!(binary_size(0), "0B");
        assert_eq!(binary_size(1000), "1000B");
        assert_eq!(binary_size(u64::MAX), "16384PiB");
        let container = |started_at: &str, running| Container {
            id: String::new(),
            name: String::new(),
            image: String::new(),
            running,
            state: "exited".into(),
            started_at: started_at.into(),
        };
        let at = "2026-01-02T10:00:00.123456789Z";
        let now = |after: f64| Timestamp(1_767_348_000.0 + after);
        for (after, text) in [
            (-5.0, "Up 0 seconds"),
            (1.0, "Up 1 second"),
            (960.0, "Up 16 minutes"),
            (7200.0, "Up 2 hours"),
            (1e6, "Up 11 days"),
        ] {
            assert_eq!(uptime(&container(at, true), now(after)), text);
        }
        assert_eq!(uptime(&container("soon", true), now(0.0)), "Up");
        assert_eq!(uptime(&container(at, false), now(0.0)), "exited");
    }
}
