//! From a line in a real VM's log to thirty clients over TLS: logins, polls, and how long the way takes.
//!
//! Clients and gateway share this process and its clock; each client has a connection of its own.

mod figures;
#[path = "../tests/lab/mod.rs"]
#[allow(unused_imports, reason = "its own tests are not part of a bench")]
mod lab;
#[path = "../tests/support/mod.rs"]
#[allow(dead_code, unused_imports, unreachable_pub, reason = "shared with the tests; a bench uses a part of it")]
#[allow(clippy::panic, clippy::disallowed_methods, reason = "it is made for tests")]
mod support;

use std::time::{Duration, Instant};

use figures::{Figures, Result, Spread, ms};
use lab::play::{Dialect, Play};
use lab::{Lab, Unavailable};
use support::{Gateway, Sse};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

const VM: &str = "lab-vm";
/// Open streams.
const STREAMS: usize = 30;
/// Tasks played; each gives one step and one completion.
const TASKS: usize = 20;
/// How long logins are counted.
const WATCH: Duration = Duration::from_secs(30);
/// How long anything may take to reach every stream before the bench gives up.
const PATIENCE: Duration = Duration::from_secs(20);
/// The poll interval and the streams' own, seconds: the smallest there is.
const INTERVAL: u64 = 1;
/// Goals, milliseconds.
const DURABLE_GOAL: f64 = INTERVAL as f64 * 1e3 + 200.0;
const LIVE_GOAL: f64 = 2.0 * INTERVAL as f64 * 1e3 + 200.0;

#[tokio::main]
async fn main() -> Result<()> {
    let Some(mut figures) = Figures::begin("delivery") else { return Ok(()) };
    match Lab::start().await {
        Ok(lab) => measure(&lab, &mut figures).await?,
        Err(why) if why.is::<Unavailable>() => {
            figures.lacks(format!("logins, polls and latencies: no test VM: {why}"));
        }
        Err(why) => return Err(why),
    }
    figures.end()
}

async fn measure(lab: &Lab, figures: &mut Figures) -> Result<()> {
    let play = Play::new(Dialect::Openadapt, TASKS, 1).at_speed(f64::INFINITY);
    play.boot(lab).await?;
    play.begin(lab).await?;
    let gateway = Gateway::start_with(&lab.vm_toml(VM), "mode = \"dev\"").await;
    gateway.wait_for_stage(VM, "running").await;
    let (logins, connections) = (lab.logins(), lab.connections());
    let mut clients = Clients::open(&gateway).await?;
    count(lab, &gateway, figures, (logins, connections)).await;
    latencies(lab, figures, &mut clients).await?;
    let (logins, connections) = (lab.logins(), lab.connections());
    let whole = format!("**{logins}** login, {connections} connection");
    figures.row("SSH logins of the gateway's whole life", whole, Some(("1 login", (logins, connections) == (1, 1))));
    drop(clients);
    let left = gateway.stop().await;
    if left.is_empty() { Ok(()) } else { Err(left.into()) }
}

/// What thirty clients cost the VM.
async fn count(lab: &Lab, gateway: &Gateway, figures: &mut Figures, before: (usize, usize)) {
    let (polls, began) = (gateway.metric("gatewatch_polls_total").await, Instant::now());
    sleep(WATCH).await;
    let polls = gateway.metric("gatewatch_polls_total").await - polls;
    let rate = polls / began.elapsed().as_secs_f64();
    let (logins, connections) = (lab.logins() - before.0, lab.connections() - before.1);
    let what = format!("SSH logins that {STREAMS} clients cause in {} s (sshd's log)", WATCH.as_secs());
    figures.row(what, format!("**{logins}**"), Some(("0", (logins, connections) == (0, 0))));
    figures.row(
        "polls per second in that time",
        format!("**{rate:.2}**"),
        Some(("1 per interval of 1 s", rate < 1.05)),
    );
    figures.value("logins_by_clients", logins);
    figures.value("polls_per_second", rate);
}

/// How long lines take from the log to the last of the streams.
async fn latencies(lab: &Lab, figures: &mut Figures, clients: &mut Clients) -> Result<()> {
    let (mut steps, mut completions, mut apart) = (Vec::new(), Vec::new(), Vec::new());
    for n in 1..=TASKS {
        let task = format!("bench_{n:03}");
        lab.log_append(format!("Task {n}/{TASKS}: notepad_{n}\nRunning task: {task}\n"))?;
        anywhere_in_an_interval().await;
        let (first, last) = clients.time(lab, "Step 7: CLICK\n", Sight::Step(task.clone(), 7)).await?;
        apart.push(last - first);
        steps.push(last);
        anywhere_in_an_interval().await;
        let ended = format!("Task {task} completed successfully\nResult: PASS\nScore: 0.85\n");
        let (first, last) = clients.time(lab, &ended, Sight::Completion(task)).await?;
        apart.push(last - first);
        completions.push(last);
    }
    let [steps, completions, apart] = [steps, completions, apart].map(Spread::of);
    for (what, name, spread, limit) in [
        ("a completion, from the log to the last of the streams", "completion_ms", &completions, DURABLE_GOAL),
        ("live progress, from the log to the last of the streams", "progress_ms", &steps, LIVE_GOAL),
    ] {
        let goal = format!("each within {limit:.0} ms");
        let met = spread.within(limit);
        let shown = format!("{}; {met} of {} within", spread.shown("ms", 0), spread.count());
        figures.row(what, shown, Some((&goal, met == spread.count())));
        figures.spread(name, spread);
    }
    figures.row("between the first and the last of the streams", apart.shown("ms", 1), None);
    figures.spread("first_to_last_stream_ms", &apart);
    Ok(())
}

/// Lines come at any moment between two polls.
async fn anywhere_in_an_interval() {
    sleep(Duration::from_secs_f64(INTERVAL as f64 * (0.5 + rand::random::<f64>()))).await;
}

/// What a stream was seen to say.
#[derive(Clone, Debug, PartialEq)]
enum Sight {
    Step(String, u64),
    Completion(String),
}

/// The open streams, each read by a task of its own, which tells when it saw what.
struct Clients {
    seen: mpsc::Receiver<(usize, Instant, Sight)>,
    _readers: JoinSet<()>,
}

impl Clients {
    async fn open(gateway: &Gateway) -> Result<Self> {
        let ca = std::fs::read(gateway.dir.path().join("tls").join("dev-ca.pem"))?;
        let (sender, seen) = mpsc::channel(STREAMS * 16);
        let mut readers = JoinSet::new();
        for number in 0..STREAMS {
            let url = gateway.url(&format!("/api/benchmark-sse?interval={INTERVAL}"));
            let response = support::trusting(&ca).get(url).bearer_auth(gateway.key()).send().await?;
            let mut stream = Sse::new(response.error_for_status()?);
            let sender = sender.clone();
            readers.spawn(async move {
                while let Some(frame) = stream.next().await {
                    let at = Instant::now();
                    let sight = match frame.event.as_str() {
                        "progress" => {
                            let step = frame.data["current_step"].as_u64().unwrap_or_default();
                            Sight::Step(frame.text("current_task").to_owned(), step)
                        }
                        "task_complete" => Sight::Completion(frame.text("task_id").to_owned()),
                        _ => continue,
                    };
                    if sender.send((number, at, sight)).await.is_err() {
                        break;
                    }
                }
            });
        }
        Ok(Self { seen, _readers: readers })
    }

    /// Writes `text` to the log and waits until every stream has told `sight`: milliseconds to the first of them and to
    /// the last.
    async fn time(&mut self, lab: &Lab, text: &str, sight: Sight) -> Result<(f64, f64)> {
        // What was seen before it was written would be another one's.
        while self.seen.try_recv().is_ok() {}
        let began = Instant::now();
        lab.log_append(text)?;
        let mut when = [None; STREAMS];
        let all = timeout(PATIENCE, async {
            while when.contains(&None) {
                match self.seen.recv().await {
                    Some((number, at, seen)) if seen == sight => _ = when[number].get_or_insert(at),
                    Some(_) => {}
                    None => return,
                }
            }
        });
        let _ = all.await;
        let took: Vec<f64> = when.iter().flatten().map(|at| ms(at.duration_since(began))).collect();
        if took.len() < STREAMS {
            return Err(format!("{} of {STREAMS} streams told {sight:?} within {PATIENCE:?}", took.len()).into());
        }
        let took = Spread::of(took);
        Ok((took.min(), took.max()))
    }
}
