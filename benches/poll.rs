//! What one poll of a real VM costs over a kept SSH connection: its wall time, and of it gatewatch's own CPU time.
//!
//! The VM is the tests' own: sshd, Docker Engine, a running container, a benchmark process, a log that grows.

mod figures;
#[path = "../tests/lab/mod.rs"]
#[allow(unused_imports, reason = "its own tests are not part of a bench")]
mod lab;

use std::path::Path;
use std::time::{Duration, Instant};

use figures::{Figures, Result, Spread, cpu, ms};
use gatewatch::config::{Config, MapEnv};
use gatewatch::model::{ContainerSeen, LogCursor, Observation, ProcessCheck};
use gatewatch::probe::Probe;
use lab::play::{Dialect, Play};
use lab::{Lab, Unavailable};
use openssh::{KnownHosts, Session, SessionBuilder};

/// Polls that count.
const POLLS: usize = 100;
/// Polls before them: the login, and the container's log from its start.
const WARM_UP: usize = 10;
/// How long a poll may take, as configured by default.
const LIMIT: Duration = Duration::from_secs(10);
/// Goals, milliseconds.
const WALL_GOAL: f64 = 150.0;
const CPU_GOAL: f64 = 2.0;

#[tokio::main]
async fn main() -> Result<()> {
    let Some(mut figures) = Figures::begin("poll") else { return Ok(()) };
    match Lab::start().await {
        Ok(lab) => measure(&lab, &mut figures).await?,
        Err(why) if why.is::<Unavailable>() => figures.lacks(format!("the cost of a poll: no test VM: {why}")),
        Err(why) => return Err(why),
    }
    figures.end()
}

async fn measure(lab: &Lab, figures: &mut Figures) -> Result<()> {
    let play = Play::new(Dialect::Openadapt, WARM_UP + POLLS, 1).at_speed(f64::INFINITY);
    play.boot(lab).await?;
    play.begin(lab).await?;
    let vm = lab.vm_toml("lab-vm");
    let text = format!("[server]\nlisten = \"127.0.0.1:0\"\n[tls]\nmode = \"off\"\n[auth]\nnone = true\n{vm}");
    let config = Config::parse(&text, "bench", &MapEnv::default()).map_err(|mistakes| mistakes.to_string())?;
    let vm = config.vms.first().ok_or("the test VM is not in the configuration")?;
    let folder = tempfile::Builder::new().prefix("gw-").tempdir()?;
    let mut probe = Probe::build(vm, folder.path())?;
    let plain = connect(lab, folder.path()).await?;

    let mut cursors: Vec<LogCursor> = Vec::new();
    let (mut wall, mut spent, mut idle) = (Vec::new(), Vec::new(), Vec::new());
    let mut rivals = rivals(lab);
    let mut bytes = 0;
    for n in 0..WARM_UP + POLLS {
        play.task(lab, n).await?;
        let (begun, before) = (Instant::now(), cpu());
        let report = probe.poll(n as u64 + 1, &cursors, false, LIMIT).await;
        let (took, after) = (begun.elapsed(), cpu());
        let seen = report.outcome.map_err(|failure| format!("poll {n} failed: {failure:?}"))?;
        let grown = take(&seen, &mut cursors)?;
        if n < WARM_UP {
            continue;
        }
        bytes += grown;
        wall.push(ms(took));
        spent.push(ms(after.saturating_sub(before)));
        let before = cpu();
        idle.push(ms(cpu().saturating_sub(before)));
        for rival in &mut rivals {
            rival.took.push(ask(&plain, &rival.command).await?);
        }
    }
    let (logins, counted) = (probe.logins(), lab.logins());
    probe.close().await;
    plain.close().await?;

    let [wall, spent, idle] = [wall, spent, idle].map(Spread::of);
    let fast = ("p50 under 150 ms", wall.median() < WALL_GOAL);
    let cheap = ("p50 under 2 ms", spent.median() < CPU_GOAL);
    figures.row("one poll, wall time", wall.shown("ms", 0), Some(fast));
    figures.row("of it gatewatch's own CPU time", spent.shown("ms", 2), Some(cheap));
    figures.row("of that, what reading the CPU clock takes", idle.shown("ms", 2), None);
    for (name, spread) in [("wall_ms", &wall), ("cpu_ms", &spent), ("cpu_clock_ms", &idle)] {
        figures.spread(name, spread);
    }
    for Rival { name, what, took, .. } in rivals {
        let took = Spread::of(took);
        figures.row(format!("beside it: {what}"), took.shown("ms", 0), None);
        figures.spread(name, &took);
    }
    // The connection for plain commands is the other one that sshd counts.
    let one = Some(("1 login", logins == 1 && counted == 2));
    figures.row(format!("logins that these {} polls took", WARM_UP + POLLS), format!("**{logins}**"), one);
    figures.value("logins", logins);
    figures.value("log_bytes_per_poll", bytes / POLLS as u64);
    Ok(())
}

/// What a poll is compared with, in the same loop.
struct Rival {
    name: &'static str,
    what: &'static str,
    command: String,
    took: Vec<f64>,
}

fn rivals(lab: &Lab) -> [Rival; 4] {
    let vm = &lab.container;
    let inspect = format!("docker inspect {vm}");
    let exec = format!("docker exec {vm} sh -c :");
    let pgrep = format!("docker exec {vm} pgrep -f 'python.*run.py'");
    let three = format!("{inspect} && docker logs --tail 10 {vm} && {pgrep}");
    [
        ("docker_three_ms", "`docker inspect`, `logs` and `exec ... pgrep`, one after the other", three),
        ("docker_two_ms", "`docker inspect`, then `docker exec ... sh -c :`", format!("{inspect} && {exec}")),
        ("docker_exec_ms", "`docker exec ... sh -c :` alone", exec),
        ("nothing_ms", "`:`", ":".to_owned()),
    ]
    .map(|(name, what, command)| Rival { name, what, command, took: Vec::with_capacity(POLLS) })
}

/// A kept connection of the same kind, for plain commands.
async fn connect(lab: &Lab, folder: &Path) -> Result<Session> {
    let mut builder = SessionBuilder::default();
    builder.user(lab.user.clone()).port(lab.ssh_port).keyfile(&lab.identity).config_file("/dev/null");
    builder.known_hosts_check(KnownHosts::Strict).user_known_hosts_file(&lab.known_hosts).control_directory(folder);
    Ok(builder.connect_mux("127.0.0.1").await?)
}

/// How many milliseconds `command` takes.
async fn ask(session: &Session, command: &str) -> Result<f64> {
    let begun = Instant::now();
    let output = session.shell(command).output().await?;
    let took = begun.elapsed();
    if !output.status.success() {
        return Err(format!("{command}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(ms(took))
}

/// Moves the cursors on and says by how many bytes; a poll that did not see all there is to see does not count.
fn take(seen: &Observation, cursors: &mut Vec<LogCursor>) -> Result<u64> {
    let running = matches!(&seen.container, ContainerSeen::Found(container) if container.running);
    if !running || !matches!(seen.process, Some(ProcessCheck::Present(_))) || seen.memory.is_none() {
        return Err(format!("a poll did not see the container's inside: {seen:?}").into());
    }
    let cursor = seen.logs.first().and_then(|log| Some(log.parts.last()?.cursor.clone()));
    let cursor = cursor.ok_or("a poll did not see the log grow")?;
    let before = cursors.first().map_or(0, |before| before.offset);
    let grown = cursor.offset.saturating_sub(before);
    *cursors = vec![cursor];
    Ok(grown)
}
