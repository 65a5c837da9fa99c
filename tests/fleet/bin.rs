//! `make chaos`: benchmarks are played and watched through a load balancer while everything that may happen to a fleet of
//! three replicas and its NATS happens, one after the other, for as long as one likes. At the end stands what was lost,
//! doubled, told out of order or reset, and how long VMs were without a poll; exit code 1 if any promise broke.

// The helpers are made for tests: they fail by panicking, and their tasks are owned by handles.
#![allow(clippy::panic, clippy::unwrap_used, clippy::disallowed_methods, unreachable_pub, reason = "shared with tests")]

#[path = "../faults/mod.rs"]
mod faults;
#[path = "mod.rs"]
mod fleet;
#[path = "../lab/mod.rs"]
#[allow(unused_imports, reason = "the chaos uses a part of it")]
mod lab;
#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the chaos uses a part of it")]
mod support;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use faults::{Report, say};
use fleet::{Cut, Fleet, Node};
use lab::Lab;

/// Plays benchmarks and lets everything happen to a fleet in turn; at the end it tells what was lost.
#[derive(Parser)]
struct Args {
    /// How long, all together; each happens at least once, and what is under way is brought to its end.
    #[arg(long, default_value_t = 20.0)]
    minutes: f64,
    /// Only what has this in its name.
    #[arg(long, default_value = "")]
    only: String,
    /// Where the report goes, beside standard output.
    #[arg(long, default_value = "target/chaos.md")]
    report: PathBuf,
}

/// What happens to the fleet.
#[derive(Clone, Copy, Debug)]
enum Act {
    Nothing,
    Kill,
    Pause,
    Node(Node),
    AllNodes,
    Cut(Cut),
    Rolling,
    Fourth,
}

impl Act {
    const ALL: [Self; 11] = [
        Self::Nothing,
        Self::Kill,
        Self::Node(Node::Follower),
        Self::Node(Node::Leader),
        Self::Cut(Cut::Refused),
        Self::Rolling,
        Self::Node(Node::LeaderOfLeases),
        Self::Pause,
        Self::AllNodes,
        Self::Cut(Cut::Silent),
        Self::Fourth,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Kill => "kill -9 of a poller",
            Self::Pause => "SIGSTOP for three leases",
            Self::Node(Node::Follower) => "a NATS follower dies",
            Self::Node(Node::Leader) => "the journal's leader dies",
            Self::Node(Node::LeaderOfLeases) => "the leases' leader dies",
            Self::AllNodes => "all of NATS dies",
            Self::Cut(Cut::Refused) => "NATS refuses a replica",
            Self::Cut(Cut::Silent) => "NATS is silent for one",
            Self::Rolling => "rolling restart",
            Self::Fourth => "a fourth comes and goes",
        }
    }

    async fn happen(self, fleet: &mut Fleet, random: &mut StdRng) {
        let vm = fleet.vms[random.random_range(0..fleet.vms.len())].clone();
        match self {
            Self::Nothing => fleet.calm(10.0, false).await,
            Self::Kill => fleet::kill_poller(fleet, &vm).await,
            Self::Pause => {
                let paused = fleet::pause_poller(fleet, &vm);
                fleet::resume(fleet, paused).await;
            }
            Self::Node(node) => fleet::kill_node(fleet, node).await,
            Self::AllNodes => fleet::kill_all_nodes(fleet).await,
            Self::Cut(how) => fleet::cut(fleet, &vm, how).await,
            Self::Rolling => fleet::rolling_restart(fleet).await,
            Self::Fourth => fleet::fourth(fleet).await,
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    tokio::select! {
        kept = chaos(&args) => if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE },
        _ = tokio::signal::ctrl_c() => {
            say("chaos: ended by Ctrl-C; no report");
            ExitCode::FAILURE
        }
    }
}

/// Whether every promise was kept.
async fn chaos(args: &Args) -> bool {
    let seed = faults::seed("chaos");
    let mut random = StdRng::seed_from_u64(seed);
    let mut report = Report::default();
    let lab = match Lab::start().await {
        Ok(lab) => Some(lab),
        Err(why) => {
            report.skipped("a VM over SSH", &why.to_string());
            None
        }
    };
    let Some(mut fleet) = Fleet::start(seed, lab).await else {
        say("chaos: no nats-server: run docker/install-nats-server");
        return false;
    };
    fleet.calm(5.0, true).await;
    let acts: Vec<Act> = Act::ALL.into_iter().filter(|act| act.name().contains(&args.only)).collect();
    let each = Duration::from_secs_f64(args.minutes * 60.0 / acts.len().max(1) as f64);
    for act in acts {
        say(&format!("chaos: {}", act.name()));
        let (until, began) = (Instant::now() + each, fleet.standing());
        let (mut times, mut ended) = (0, began.clone());
        while times == 0 || Instant::now() < until {
            act.happen(&mut fleet, &mut random).await;
            ended = fleet.settle().await;
            times += 1;
        }
        report.row(act.name(), times, &began, &ended);
        broken(&mut fleet, act.name(), &mut report);
    }
    fleet.every_replica_has_all().await;
    broken(&mut fleet, "at the end", &mut report);
    fleet.record.lines().into_iter().for_each(|line| report.measured(line));
    if !report.is_clean() {
        say(&fleet.logs());
    }
    say(&report.to_string());
    std::fs::write(&args.report, format!("# Chaos, GATEWATCH_SEED={seed}\n{report}")).expect("the report is written");
    report.is_clean()
}

/// Moves what the fleet found to the report.
fn broken(fleet: &mut Fleet, act: &str, report: &mut Report) {
    for what in std::mem::take(&mut fleet.record.broken) {
        report.broke(format!("{act}: {what}"));
    }
}
