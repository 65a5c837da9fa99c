//! What the kernel says of this process, under the names that every Prometheus client uses.

use std::fs;

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::ProcessMetrics;

impl ProcessMetrics {
    /// Brings what the kernel knows up to now. What it does not tell stays as it was.
    pub fn look(&self) {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        self.cpu.reach(cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9);
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        for (name, unit, gauge) in
            [("VmRSS:", 1024, &self.resident), ("VmSize:", 1024, &self.virtual_memory), ("Threads:", 1, &self.threads)]
        {
            if let Some(value) = number(&status, name) {
                gauge.set(value.saturating_mul(unit));
            }
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            // One of them is the folder that is being read.
            self.fds.set(i64::try_from(open.count()).unwrap_or(i64::MAX).saturating_sub(1));
        }
        let most = getrlimit(Resource::Nofile).current.unwrap_or(0);
        self.max_fds.set(i64::try_from(most).unwrap_or(i64::MAX));
    }
}

/// The number behind `name` in `/proc/self/status`.
fn number(status: &str, name: &str) -> Option<i64> {
    let rest = status.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use crate::telemetry::Metrics;

    #[test]
    fn the_kernel_s_figures_are_those_of_this_process() {
        let metrics = Metrics::new().process;
        metrics.look();
        let before = metrics.fds.get();
        assert!(before >= 3, "standard input, output and error");
        let held: Vec<_> = (0..100).map(|_| std::fs::File::open("/proc/self/status").expect("a file")).collect();
        metrics.look();
        // Other tests of this process open and close files meanwhile, but not nearly as many.
        assert!(metrics.fds.get() >= before + 50, "{before} and {}", metrics.fds.get());
        drop(held);
        assert!(metrics.max_fds.get() >= metrics.fds.get());
        assert!(metrics.threads.get() >= 1);
        assert!(metrics.resident.get() > 1 << 20 && metrics.virtual_memory.get() >= metrics.resident.get());
    }

    #[test]
    fn a_total_never_falls() {
        let cpu = Metrics::new().process.cpu;
        for (total, shown) in [(1.5, 1.5), (1.0, 1.5), (2.0, 2.0)] {
            cpu.reach(total);
            assert_eq!(cpu.total(), shown);
        }
    }
}
