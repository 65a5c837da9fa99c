//! What the tests of faults, `make soak` and `make chaos` share: benchmarks that are played into the logs of a `local` VM, clients that
//! come back whatever happens, and the ledger that says what they were told too little, too much or too early.
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "shared by the tests, the soak and the chaos; none uses all of it"
)]

mod disk;
mod follower;
mod hub;
mod ledger;
mod played;
mod report;

pub use disk::SmallDisk;
pub use follower::{Follower, Pause, Place, Target};
pub use hub::{BareHub, task_id};
pub use ledger::{Ledger, Verdict, quantile};
pub use played::{Kind, Played};
pub use report::{Report, Standing};

use std::io::Write;
use std::time::SystemTime;

/// The seed of this run: that of the variable `GATEWATCH_SEED`, so that what led to a failure can be chosen again, else a
/// new one. It is printed, and `cargo test` shows it with a failure.
pub fn seed(of: &str) -> u64 {
    let given = std::env::var("GATEWATCH_SEED").ok().map(|text| text.parse().expect("GATEWATCH_SEED is a number"));
    let seed = given.unwrap_or_else(rand::random);
    say(&format!("{of}: GATEWATCH_SEED={seed}"));
    seed
}

/// A line for whoever reads the output.
pub fn say(text: &str) {
    // The harness of the tests keeps what is printed for failures; what is written to stdout it does not.
    #[allow(clippy::print_stdout, reason = "it is the output of a test")]
    {
        println!("{text}");
    }
    let _ = std::io::stdout().flush();
}

/// Epoch seconds.
pub fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// Resident memory of a process, bytes: `VmRSS` or, with `peak`, `VmHWM`.
pub fn memory(pid: u32, peak: bool) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is there");
    let field = if peak { "VmHWM:" } else { "VmRSS:" };
    let kib = text.lines().find_map(|line| line.strip_prefix(field)?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.expect("the kernel says so") * 1024
}
