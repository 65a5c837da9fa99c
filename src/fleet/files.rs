//! The local files `benchmark_progress.json` and `benchmark_live.json`: a second source of progress, shown as the VM
//! named `local`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::event::Position;
use crate::journal::{Journal, LiveReport, LiveSender};
use crate::model::{
    ActiveError, ErrorCode, LOCAL_VM, LogTails, ProgressView, RunId, Stage, TaskView, Timestamp, VmFacts, VmName,
    VmView,
};
use crate::replicas::Leases;

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 256 * 1024;

/// What the files last held; `None` if a file is not configured, not there, or not JSON.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FilesContent {
    /// `benchmark_progress.json`.
    pub progress: Option<Value>,
    /// `benchmark_live.json`.
    pub live: Option<Value>,
}

/// Which files, how often, and who is told.
pub struct FilesWatch {
    /// Path of the progress file.
    pub progress: Option<PathBuf>,
    /// Path of the live file.
    pub live_file: Option<PathBuf>,
    /// Time between two looks.
    pub interval: Duration,
    /// For the VM's identity.
    pub journal: Arc<dyn Journal>,
    /// Where the view goes.
    pub live: LiveSender,
    /// Of several replicas that have such files one tells of them.
    pub leases: Leases,
    /// Where the contents go, for the polling routes.
    pub content: watch::Sender<FilesContent>,
}

/// Looks at the files until `stop`.
pub async fn watch_files(files: FilesWatch, stop: CancellationToken) {
    let Ok(vm) = VmName::new(LOCAL_VM) else { return };
    let vm_id = loop {
        match files.journal.vm_id(&vm).await {
            Ok(vm_id) => break vm_id,
            Err(error) => warn!(%error, "the journal gives the local files no identity; trying again"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(files.interval) => {}
        }
    };
    let claim = files.leases.claim(&vm_id);
    let mut since = None;
    for poll_no in 1.. {
        let now = Timestamp::from(SystemTime::now());
        let (progress, problem) = read_json(files.progress.as_deref()).await;
        let (live, live_problem) = read_json(files.live_file.as_deref()).await;
        let problems = problem.into_iter().chain(live_problem).collect();
        let view = view_of(progress.as_ref(), problems, &mut since, now);
        files.content.send_replace(FilesContent { progress, live });
        if let Some(lease) = claim.lease() {
            let report = LiveReport {
                vm: vm.clone(),
                vm_id: vm_id.clone(),
                lease_rev: lease.rev,
                poll_no,
                after: Position::START,
                interval: files.interval.as_secs_f64(),
                facts: Arc::new(VmFacts::default()),
                view: Some(Arc::new(view)),
                logs: LogTails::default(),
            };
            tokio::select! {
                () = stop.cancelled() => return,
                taken = files.live.publish(report) => if !taken { return },
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(files.interval) => {}
        }
    }
}

/// The file as JSON; a file that is not there is no problem, one that cannot be understood is.
async fn read_json(path: Option<&Path>) -> (Option<Value>, Option<String>) {
    let Some(path) = path else { return (None, None) };
    let file = match tokio::fs::File::open(path).await {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return (None, None),
        Err(error) => return (None, Some(format!("{}: {error}", path.display()))),
    };
    let mut text = Vec::new();
    match file.take(MAX_FILE + 1).read_to_end(&mut text).await {
        Err(error) => (None, Some(format!("{}: {error}", path.display()))),
        Ok(_) if text.len() as u64 > MAX_FILE => (None, Some(format!("{} is over {MAX_FILE} bytes", path.display()))),
        Ok(_) => match serde_json::from_slice(&text) {
            Ok(value) => (Some(value), None),
            Err(error) => (None, Some(format!("{}: {error}", path.display()))),
        },
    }
}

/// `benchmark_progress.json` as its writers write it.
#[derive(Deserialize)]
struct ProgressFile {
    status: String,
    #[serde(default)]
    provider: Option<String>,
    #[serde(default)]
    tasks_total: u64,
    #[serde(default)]
    tasks_complete: u64,
}

/// The view that the files form; `since` keeps when the present stage and run were first seen.
fn view_of(
    progress: Option<&Value>,
    problems: Vec<String>,
    since: &mut Option<(Stage, Timestamp)>,
    now: Timestamp,
) -> VmView {
    let file = progress.and_then(|value| ProgressFile::deserialize(value).ok());
    let stage = match file.as_ref().map(|file| file.status.as_str()) {
        Some("running") => Stage::Running,
        Some("complete") => Stage::Complete,
        _ => Stage::Ready,
    };
    let stage_since = match *since {
        Some((was, at)) if was == stage => at,
        _ => now,
    };
    *since = Some((stage, stage_since));
    let progress = file.map(|file| progress_of(&file, stage, stage_since)).into_iter().collect();
    let errors =
        problems.into_iter().take(1).map(|message| ActiveError { code: ErrorCode::LogUnreadable, message }).collect();
    VmView {
        stage,
        stage_since,
        stages: Vec::new(),
        reported_at: now,
        answered_at: Some(now),
        reachable: true,
        connected: true,
        waa_ready: false,
        probe_reply: None,
        power: None,
        clock_skew: None,
        boot_percent: 100.0,
        download_seconds_left: None,
        container: None,
        container_log_tail: String::new(),
        setup_script: None,
        dependencies: Vec::new(),
        process: None,
        storage: None,
        memory: None,
        qemu_monitor: None,
        progress,
        errors,
    }
}

fn progress_of(file: &ProgressFile, stage: Stage, since: Timestamp) -> ProgressView {
    let provider = file.provider.as_deref().unwrap_or(LOCAL_VM);
    let open = stage == Stage::Running;
    ProgressView {
        source: "benchmark_progress.json".to_owned(),
        run: RunId::from_hash(LOCAL_VM),
        open,
        started_at: since,
        ended_at: (!open).then_some(since),
        task_number: file.tasks_complete,
        total_tasks: file.tasks_total,
        completed: file.tasks_complete,
        passed: 0,
        failed: 0,
        unknown: file.tasks_complete,
        current: open.then(|| TaskView {
            task_id: provider.chars().filter(|c| !c.is_control()).take(256).collect(),
            instruction: None,
            domain: None,
            step: 0,
            action: None,
            started_at: since,
            closed: false,
            success: None,
            score: None,
        }),
        model: None,
        average_score: None,
        historic: false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::view_of;
    use crate::model::{Stage, Timestamp};

    #[test]
    fn a_running_progress_file_gives_its_counts_and_its_provider_as_the_current_task() {
        let file = json!({"status": "running", "provider": "anthropic", "tasks_total": 5, "tasks_complete": 2, "message": "x"});
        let mut since = None;
        let first = view_of(Some(&file), Vec::new(), &mut since, Timestamp(10.0));
        let later = view_of(Some(&file), Vec::new(), &mut since, Timestamp(20.0));
        assert_eq!((later.stage, later.stage_since), (Stage::Running, Timestamp(10.0)));
        let progress = &later.progress[0];
        assert_eq!((progress.task_number, progress.total_tasks), (2, 5));
        assert_eq!(progress.current.as_ref().map(|task| task.task_id.as_str()), Some("anthropic"));
        assert_eq!(first.progress[0].started_at, progress.started_at);
    }

    #[test]
    fn a_file_that_is_no_progress_says_nothing_and_breaks_nothing() {
        for file in [json!([]), json!({"status": 5}), json!({"status": "error", "tasks_total": -1}), json!("x")] {
            let view = view_of(Some(&file), vec!["bad".to_owned()], &mut None, Timestamp(1.0));
            assert!(view.progress.is_empty(), "{file}");
            assert_eq!(view.errors.len(), 1);
        }
    }
}
