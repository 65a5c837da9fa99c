//! `make soak`: benchmarks are played and watched for as long as one likes, while everything that may happen to a server
//! happens, one after the other. At the end stands what was lost, doubled, told out of order or reset; exit code 1 if
//! anything was.

// The helpers are made for tests: they fail by panicking, and their tasks are owned by handles.
#![allow(clippy::panic, clippy::unwrap_used, clippy::disallowed_methods, unreachable_pub, reason = "shared with tests")]

#[path = "../faults/mod.rs"]
mod faults;
#[path = "../lab/mod.rs"]
#[allow(unused_imports, reason = "a soak uses a part of it")]
mod lab;
#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "a soak uses a part of it")]
mod support;

mod full_disk;
mod strike;
mod world;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;

use faults::{Report, say};
use strike::Fault;
use world::World;

/// Plays benchmarks and lets every fault happen in turn; at the end it tells what was lost.
#[derive(Parser)]
struct Args {
    /// How long, all faults together.
    #[arg(long, default_value_t = 60.0)]
    minutes: f64,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    tokio::select! {
        kept = soak(&args) => if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE },
        _ = tokio::signal::ctrl_c() => {
            say("soak: ended by Ctrl-C; no report");
            ExitCode::FAILURE
        }
    }
}

/// Whether every promise was kept.
async fn soak(args: &Args) -> bool {
    let seed = faults::seed("soak");
    let each = Duration::from_secs_f64(args.minutes * 60.0 / (Fault::ALL.len() + 1) as f64);
    say(&format!("soak: {} minutes, {} s for each fault", args.minutes, each.as_secs()));
    let mut report = Report::default();
    let mut world = World::start(seed, "").await;
    for fault in Fault::ALL {
        say(&format!("soak: {}", fault.name()));
        let began = world.standing();
        let struck = fault.strike(&mut world, Instant::now() + each).await;
        let ended = world.settle().await;
        report.row(fault.name(), struck, &began, &ended);
        let (watched, returns) = world.quiet_stream();
        say(&format!("soak: a quiet stream behind a proxy of 60 s: {returns} reconnects in {} s", watched.as_secs()));
        if returns > 0 && !fault.restarts() {
            report.broke(format!("{}: the quiet stream was cut {returns} times", fault.name()));
        }
        world.check(fault.name(), &mut report);
    }
    drop(world);
    full_disk::soak(seed, each, &mut report).await;
    say(&report.to_string());
    report.is_clean()
}
