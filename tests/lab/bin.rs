//! `cargo run --example lab`: the real test VM for people, with a benchmark playing on it until Ctrl-C.

#[path = "mod.rs"]
mod lab;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Parser, ValueEnum};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use lab::play::{Dialect, Play};
use lab::{Lab, Result};

/// The VM's name in the configuration.
const VM: &str = "lab-vm";
/// Seconds between two benchmarks, at speed 1.
const REST: f64 = 10.0;

/// How long the gatewatch gets to stop.
const STOP_WITHIN: Duration = Duration::from_secs(12);

/// Starts a real test VM on this machine (sshd, Docker Engine, a container, a log) and plays benchmarks on it.
#[derive(Parser)]
struct Args {
    /// How fast: 2 halves every pause.
    #[arg(long, default_value_t = 1.0, value_parser = speed)]
    speed: f64,
    /// How many tasks a benchmark has.
    #[arg(long, default_value_t = 8)]
    tasks: usize,
    /// How the benchmark writes its log.
    #[arg(long, value_enum, default_value_t = Writes::Openadapt)]
    dialect: Writes,
    /// Where to write gatewatch's configuration; beside the lab's other files if absent.
    #[arg(long)]
    config_out: Option<PathBuf>,
    /// Where gatewatch is to listen.
    #[arg(long, default_value = "127.0.0.1:8765")]
    listen: std::net::SocketAddr,
    /// The gatewatch that is to watch it.
    #[arg(long, value_name = "PROGRAM")]
    serve: Option<PathBuf>,
    /// Restart the container and play another benchmark when one has ended.
    #[arg(long = "loop")]
    again: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Writes {
    Openadapt,
    Waa,
}

fn speed(text: &str) -> std::result::Result<f64, String> {
    let speed: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if speed > 0.0 { Ok(speed) } else { Err("it must be above 0".to_owned()) }
}

#[tokio::main]
async fn main() -> std::process::ExitCode {
    match run(Args::parse()).await {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(why) => {
            let _ = writeln!(std::io::stderr(), "lab: {why}");
            std::process::ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    say("starting the test VM ...");
    let lab = Lab::start().await?;
    let config = configure(&lab, &args)?;
    let mut watcher = serve(&args, &config)?;
    explain(&lab, &args, &config);
    let played = tokio::select! {
        ended = play(&lab, &args) => ended,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    };
    if let Some(watcher) = &mut watcher {
        // Ctrl-C reached it too; it stops in stages and closes its connection before the VM goes.
        if let Some(pid) = watcher.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = tokio::time::timeout(STOP_WITHIN, watcher.wait()).await;
    }
    say("clearing the test VM away ...");
    drop(lab);
    played
}

/// Boots and plays; then again, or it waits for Ctrl-C.
async fn play(lab: &Lab, args: &Args) -> Result<()> {
    let dialect = match args.dialect {
        Writes::Openadapt => Dialect::Openadapt,
        Writes::Waa => Dialect::Waa,
    };
    for seed in 1.. {
        let play = Play::new(dialect, args.tasks, seed).at_speed(args.speed);
        if seed > 1 {
            lab.probe_off()?;
            lab.container_restart().await?;
        }
        say(&format!("benchmark {seed}: Windows is installed and boots"));
        play.boot(lab).await?;
        say(&format!("benchmark {seed}: {} tasks run", args.tasks));
        let played = play.run(lab).await?;
        let passed = played.iter().filter(|task| task.success == Some(true)).count();
        let untold = played.iter().filter(|task| task.success.is_none()).count();
        say(&format!("benchmark {seed}: ended; {passed} of {} passed, {untold} without a result", played.len()));
        if !args.again {
            say("the VM stays until Ctrl-C (with --loop it would play another one)");
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(Duration::try_from_secs_f64(REST / args.speed).unwrap_or_default()).await;
    }
    Ok(())
}

/// Writes a complete configuration and gives its path. Nobody is asked for a key: it listens on loopback alone, and a
/// browser can watch without signing in.
fn configure(lab: &Lab, args: &Args) -> Result<PathBuf> {
    let (listen, data) = (args.listen, lab.dir.join("data"));
    let text = format!(
        "# It watches a test VM that is gone once `make lab` ends.\n\
         [server]\nlisten = \"{listen}\"\n\n[tls]\nmode = \"dev\"\n\n[auth]\nnone = true\n\n\
         [data]\ndir = {data:?}\n\n[poll]\ninterval = \"1s\"\nidle_interval = \"5s\"\n\n{}",
        lab.vm_toml(VM)
    );
    let config = args.config_out.clone().unwrap_or_else(|| lab.dir.join("gatewatch.toml"));
    fs::write(&config, text)?;
    Ok(config)
}

/// Starts the gatewatch that was named, if one was; it ends with the lab.
fn serve(args: &Args, config: &Path) -> Result<Option<Child>> {
    let Some(program) = &args.serve else { return Ok(None) };
    let mut command = Command::new(program);
    command.args(["serve", "--config"]).arg(config).kill_on_drop(true);
    Ok(Some(command.spawn()?))
}

fn explain(lab: &Lab, args: &Args, config: &Path) {
    let Lab { user, ssh_port, identity, known_hosts, container, log, probe_url, .. } = lab;
    let (listen, config) = (args.listen, config.display());
    let (identity, known_hosts, log) = (identity.display(), known_hosts.display(), log.display());
    let ca = lab.dir.join("data").join("tls").join("dev-ca.pem");
    let started = match &args.serve {
        Some(_) => "the test VM runs, and a gatewatch watches it.".to_owned(),
        None => format!("the test VM runs. To watch it:\n\n    gatewatch serve --config {config}"),
    };
    say(&format!(
        "{started}\n\n\
         \x20   in a browser:   https://{listen}/   (it warns of a certificate it does not know)\n\
         \x20   in a terminal:  curl -N --cacert {} 'https://{listen}/api/benchmark-sse?interval=1'\n\n\
         to look around on the VM yourself:\n\n\
         \x20   ssh -p {ssh_port} -i {identity} -o UserKnownHostsFile={known_hosts} {user}@127.0.0.1\n\
         \x20   docker logs -f {container}\n\
         \x20   tail -F {log}\n\
         \x20   curl {probe_url}\n\n\
         Ctrl-C ends it and clears everything away.\n",
        ca.display(),
    ));
}

/// A line for whoever started it.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
