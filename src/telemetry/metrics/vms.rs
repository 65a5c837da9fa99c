//! What is so now of each VM and its runs, made anew for each scrape.
//!
//! Nothing is counted here as it happens: a series is there because the VM is, so one that left the configuration leaves
//! no series behind, and a reader gets those of its VMs alone.

use prometheus::Registry;

use super::family::{GaugeOf, metrics};
use super::sets::TaskOutcome;
use super::{LabelSet, encode};
use crate::model::{ProgressView, Timestamp, VmName, VmView};

metrics! {
    /// The VMs that are watched.
    pub struct VmMetrics {
        /// Whether the VM answered its last poll and that report is not stale: 1 or 0.
        up: GaugeOf<1> = "gatewatch_vm_up", ["vm"];
        /// Always 1; the label is the stage that the VM is in. None before its first report.
        stage: GaugeOf<2> = "gatewatch_vm_stage", ["vm", "stage"];
        /// When the VM came into its stage, as observed, in seconds since the Unix epoch.
        stage_since: GaugeOf<1> = "gatewatch_vm_stage_timestamp_seconds", ["vm"];
        /// Whether no report came for three intervals and for 15 s, or none yet: 1 or 0.
        stale: GaugeOf<1> = "gatewatch_vm_stale", ["vm"];
        /// Age of the VM's last report, of a failed poll too, in seconds. None before the first.
        report_age: GaugeOf<1> = "gatewatch_vm_last_report_age_seconds", ["vm"];
        /// The poll interval in force, in seconds.
        interval: GaugeOf<1> = "gatewatch_vm_poll_interval_seconds", ["vm"];
        /// Errors of the VM that are in force.
        errors: GaugeOf<1> = "gatewatch_vm_errors", ["vm"];
    }
}

metrics! {
    /// The latest run of each log.
    pub struct RunMetrics {
        /// Whether the latest run of the log is still open: 1 or 0.
        open: GaugeOf<2> = "gatewatch_run_open", ["vm", "log"];
        /// When it was seen to start, in seconds since the Unix epoch.
        started: GaugeOf<2> = "gatewatch_run_start_timestamp_seconds", ["vm", "log"];
        /// Tasks that it has. None if that is not known.
        tasks: GaugeOf<2> = "gatewatch_run_tasks", ["vm", "log"];
        /// Tasks of it that are closed, by how they went; 0 again when another run begins.
        closed: GaugeOf<3> = "gatewatch_run_tasks_closed", ["vm", "log", "outcome"];
        /// The part of its tasks that is closed, 0 to 1. None if it is not known how many it has.
        progress: GaugeOf<2> = "gatewatch_run_progress_ratio", ["vm", "log"];
        /// For how long its current task has run, in seconds. None while none does.
        task_age: GaugeOf<2> = "gatewatch_run_task_age_seconds", ["vm", "log"];
        /// The last step of its current task. None while none runs.
        step: GaugeOf<2> = "gatewatch_run_task_step", ["vm", "log"];
    }
}

/// The metrics of VMs, for one scrape.
#[derive(Debug)]
pub struct VmPage {
    registry: Registry,
    vms: VmMetrics,
    runs: RunMetrics,
    now: Timestamp,
}

impl VmPage {
    /// A page without VMs, of which ages are told as of `now`.
    ///
    /// # Errors
    /// If two metrics have one name: a fault of this program.
    pub fn new(now: Timestamp) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let (vms, runs) = (VmMetrics::register(&registry)?, RunMetrics::register(&registry)?);
        Ok(Self { registry, vms, runs, now })
    }

    /// Adds one VM: the poll interval in force in seconds, whether it is stale, and what its last report said.
    pub fn add(&self, vm: &VmName, interval: f64, stale: bool, view: Option<&VmView>) {
        let (vm, metrics) = (vm.as_str(), &self.vms);
        metrics.up.set([vm], truth(!stale && view.is_some_and(|view| view.reachable)));
        metrics.stale.set([vm], truth(stale || view.is_none()));
        metrics.interval.set([vm], interval);
        let Some(view) = view else { return };
        metrics.stage.set([vm, view.stage.as_str()], 1.0);
        metrics.stage_since.set([vm], view.stage_since.0);
        metrics.report_age.set([vm], self.age(view.reported_at));
        metrics.errors.set([vm], view.errors.len() as f64);
        view.progress.iter().for_each(|run| self.add_run(vm, run));
    }

    /// The page as text, as [`super::CONTENT_TYPE`] names it.
    pub fn text(&self) -> String {
        encode(&self.registry)
    }

    fn add_run(&self, vm: &str, run: &ProgressView) {
        let (log, metrics) = ([vm, run.source.as_str()], &self.runs);
        metrics.open.set(log, truth(run.open));
        metrics.started.set(log, run.started_at.0);
        for outcome in TaskOutcome::ALL {
            let count = match outcome {
                TaskOutcome::Passed => run.passed,
                TaskOutcome::Failed => run.failed,
                TaskOutcome::Unknown => run.unknown,
            };
            metrics.closed.set([log[0], log[1], outcome.as_str()], count as f64);
        }
        if run.total_tasks > 0 {
            metrics.tasks.set(log, run.total_tasks as f64);
            // A log may close more tasks than it announced.
            metrics.progress.set(log, (run.completed as f64 / run.total_tasks as f64).min(1.0));
        }
        if let Some(task) = run.current.as_ref().filter(|task| run.open && !task.closed) {
            metrics.task_age.set(log, self.age(task.started_at));
            metrics.step.set(log, task.step as f64);
        }
    }

    /// Not below 0, though clocks may be set back.
    fn age(&self, at: Timestamp) -> f64 {
        self.now.since(at).max(0.0)
    }
}

fn truth(is: bool) -> f64 {
    f64::from(u8::from(is))
}

#[cfg(test)]
mod tests {
    use super::VmPage;
    use crate::model::{Timestamp, VmName, VmView};

    /// A VM whose run has closed 3 of 10 tasks; reported at 1000.
    fn view() -> VmView {
        let task = serde_json::json!({
            "task_id": "a/1", "instruction": null, "domain": null, "step": 2, "action": null, "started_at": 940.0,
            "closed": false, "success": null, "score": null,
        });
        let run = serde_json::json!({
            "source": "/tmp/b.log", "run": "r", "open": true, "started_at": 900.0, "ended_at": null, "task_number": 4,
            "total_tasks": 10, "completed": 3, "passed": 2, "failed": 1, "unknown": 0, "current": task, "model": null,
            "average_score": null, "historic": false,
        });
        serde_json::from_value(serde_json::json!({
            "stage": "running", "stage_since": 800.5, "reported_at": 1000.0, "answered_at": 1000.0, "reachable": true,
            "connected": true, "waa_ready": true, "probe_reply": null, "power": null, "clock_skew": null,
            "boot_percent": 100.0, "download_seconds_left": null, "container": null, "container_log_tail": "",
            "setup_script": null, "dependencies": [], "process": null, "storage": null, "memory": null,
            "qemu_monitor": null, "progress": [run], "errors": [],
        }))
        .expect("a view")
    }

    fn page(stale: bool, view: Option<&VmView>) -> String {
        let page = VmPage::new(Timestamp(1007.5)).expect("fresh names");
        page.add(&VmName::new("a").expect("a name"), 5.0, stale, view);
        page.text()
    }

    fn series(page: &str) -> Vec<&str> {
        page.lines().filter(|line| !line.starts_with('#')).collect()
    }

    #[test]
    fn a_vm_and_its_run_are_told_as_of_the_scrape() {
        let text = page(false, Some(&view()));
        let mut expected = vec![
            "gatewatch_vm_up{vm=\"a\"} 1",
            "gatewatch_vm_stage{stage=\"running\",vm=\"a\"} 1",
            "gatewatch_vm_stage_timestamp_seconds{vm=\"a\"} 800.5",
            "gatewatch_vm_stale{vm=\"a\"} 0",
            "gatewatch_vm_last_report_age_seconds{vm=\"a\"} 7.5",
            "gatewatch_vm_poll_interval_seconds{vm=\"a\"} 5",
            "gatewatch_vm_errors{vm=\"a\"} 0",
            "gatewatch_run_open{log=\"/tmp/b.log\",vm=\"a\"} 1",
            "gatewatch_run_start_timestamp_seconds{log=\"/tmp/b.log\",vm=\"a\"} 900",
            "gatewatch_run_tasks{log=\"/tmp/b.log\",vm=\"a\"} 10",
            "gatewatch_run_tasks_closed{log=\"/tmp/b.log\",outcome=\"passed\",vm=\"a\"} 2",
            "gatewatch_run_tasks_closed{log=\"/tmp/b.log\",outcome=\"failed\",vm=\"a\"} 1",
            "gatewatch_run_tasks_closed{log=\"/tmp/b.log\",outcome=\"unknown\",vm=\"a\"} 0",
            "gatewatch_run_progress_ratio{log=\"/tmp/b.log\",vm=\"a\"} 0.3",
            "gatewatch_run_task_age_seconds{log=\"/tmp/b.log\",vm=\"a\"} 67.5",
            "gatewatch_run_task_step{log=\"/tmp/b.log\",vm=\"a\"} 2",
        ];
        expected.sort_unstable();
        let mut found = series(&text);
        found.sort_unstable();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_vm_that_is_stale_or_does_not_answer_is_not_up_and_one_without_a_report_has_no_stage() {
        assert!(page(true, Some(&view())).contains("gatewatch_vm_up{vm=\"a\"} 0"));
        let silent = VmView { reachable: false, ..view() };
        assert!(page(false, Some(&silent)).contains("gatewatch_vm_up{vm=\"a\"} 0"));
        let text = page(false, None);
        let expected = [
            "gatewatch_vm_poll_interval_seconds{vm=\"a\"} 5",
            "gatewatch_vm_stale{vm=\"a\"} 1",
            "gatewatch_vm_up{vm=\"a\"} 0",
        ];
        assert_eq!(series(&text), expected);
    }

    #[test]
    fn a_run_that_is_over_has_no_current_task_and_one_of_unknown_length_no_ratio() {
        let mut over = view();
        over.progress[0].open = false;
        over.progress[0].total_tasks = 0;
        let text = page(false, Some(&over));
        assert!(text.contains("gatewatch_run_open{log=\"/tmp/b.log\",vm=\"a\"} 0"), "{text}");
        for absent in ["task_age", "task_step", "progress_ratio", "gatewatch_run_tasks{"] {
            assert!(!text.contains(absent), "{absent} in {text}");
        }
    }
}
