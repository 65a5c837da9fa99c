//! The server is killed at any instant and starts again: every completion reaches every client exactly once.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::process::Signal;

use crate::faults::{Follower, Kind, Pause, Place, Played, Target, memory, say, seed};
use crate::support::{Gateway, Process, Scheme, builder, eventually};

/// How often it is killed.
const KILLS: usize = 50;
/// Of these, every so-manyth time it is asked to stop first.
const TERM_EVERY: usize = 10;
/// How much is written to each log at once, bytes at most, and how often.
const PIECE: usize = 700;
const PAUSE: Duration = Duration::from_millis(40);
/// Nothing new for so long: what is missing then is lost.
const PATIENCE: Duration = Duration::from_secs(20);

const EMBEDDED: &str = "[journal]\nkind = \"embedded\"\npath = \"{dir}/journal.db\"\n";

/// What any instant of a life may be: start-up, replay and the first commit, further commits and what is between them.
fn instant(random: &mut StdRng) -> Duration {
    let span = match random.random_range(0..3) {
        0 => 0..150,
        1 => 150..700,
        _ => 700..2100,
    };
    Duration::from_millis(random.random_range(span))
}

/// Writes to the logs for `span`.
async fn write_for(vms: &mut [Played], span: Duration) {
    let until = Instant::now() + span;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        vms.iter_mut().for_each(|vm| vm.write(PIECE));
        tokio::time::sleep(PAUSE.min(left)).await;
    }
}

fn target(served: &Process) -> Target {
    Target { url: served.url(""), key: served.key().to_owned(), client: served.client() }
}

/// One VM with a log of runs, and one with a log of runs and one of two workers.
fn two_vms(seed: u64) -> Vec<Played> {
    vec![
        Played::new("one", &[Kind::Openadapt], seed),
        Played::new("two", &[Kind::Openadapt, Kind::Waa(2)], seed.wrapping_add(100)),
    ]
}

/// `[poll]`, the journal and the VMs.
fn sections(journal: &str, vms: &[Played]) -> String {
    let vms: String = vms.iter().map(Played::toml).collect();
    format!("{journal}[poll]\ninterval = \"1s\"\nidle_interval = \"1s\"\n{vms}")
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_kills_at_any_instant_lose_and_double_nothing() {
    let seed = seed("fifty kills");
    let mut random = StdRng::seed_from_u64(seed);
    let mut vms = two_vms(seed);
    let mut served = Process::start(Scheme::Http, &sections(EMBEDDED, &vms)).await;
    let follower = |name, query, place| Follower::start(name, target(&served), query, place, Pause::None);
    let followers = [
        follower("plain", "interval=1", Place::Header),
        follower("of one VM", "interval=1&vm=two", Place::Header),
        follower("with a parameter", "interval=1", Place::Parameter),
        follower("at a slow interval", "interval=30", Place::Header),
    ];
    eventually(PATIENCE, || async { followers.iter().all(|f| f.ledger().last_id.is_some()) }).await;
    let began = Instant::now();
    for kill in 1..=KILLS {
        write_for(&mut vms, instant(&mut random)).await;
        assert!(served.runs(), "it ended by itself before kill {kill}:\n{}", served.log());
        if kill % TERM_EVERY == 0 {
            served.signal(Signal::TERM);
            // Every other time it may stop in order; else it is killed while it does.
            if kill % (2 * TERM_EVERY) == 0 {
                let ended = served.ended(Duration::from_secs(15)).await;
                assert!(ended.success(), "{ended:?}");
            } else {
                write_for(&mut vms, instant(&mut random)).await;
            }
        }
        served.start_again();
    }
    let killed = began.elapsed();
    served.ready().await;
    let written: Vec<String> = vms.iter_mut().flat_map(Played::finish).collect();
    let of_two = vms[1].written();
    let mut told = Vec::new();
    for follower in &followers {
        let written = if follower.name == "of one VM" { &of_two } else { &written };
        told.push((follower, follower.settled(written, PATIENCE).await));
    }
    // The end of every run comes behind whatever could still be doubled.
    vms.iter_mut().for_each(Played::end);
    eventually(PATIENCE, || async { served_is_complete(&served).await }).await;
    for (follower, at_first) in told {
        let written = if follower.name == "of one VM" { &of_two } else { &written };
        let verdict = follower.settled(written, PATIENCE).await;
        assert!(
            verdict.is_clean() && verdict.events == written.len(),
            "{}: {verdict:#?}\n{at_first:#?}",
            follower.name
        );
        assert!(follower.ledger().connections > KILLS / 2, "{} was hardly ever there", follower.name);
    }
    // The journal itself: who comes back with the first id of all is told everything once more.
    let first = followers[0].ledger().first_id.clone();
    let late = Follower::start_from("late", target(&served), "interval=1", Place::Header, Pause::None, first);
    let verdict = late.settled(&written, PATIENCE).await;
    assert!(verdict.is_clean() && verdict.events == written.len(), "late: {verdict:#?}");
    say(&format!(
        "{KILLS} kills in {:.1} s, {} completions, {} connections of the plain client, {} MB at the end",
        killed.as_secs_f64(),
        written.len(),
        followers[0].ledger().connections,
        memory(served.pid(), false) / 1_000_000,
    ));
}

/// Whether every VM's benchmark is told as over.
async fn served_is_complete(served: &Process) -> bool {
    let answer = served.client().get(served.url("/api/vms")).bearer_auth(served.key()).send().await;
    let vms: serde_json::Value = answer.expect("an answer").json().await.expect("JSON");
    vms.as_array().is_some_and(|vms| vms.iter().all(|vm| vm["stage"] == "complete"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_left_before_its_first_durable_event_misses_nothing() {
    let mut vm = Played::new("one", &[Kind::Openadapt], 7);
    let gateway = Gateway::start(&sections("", std::slice::from_ref(&vm))).await;
    // Its benchmark runs and has written nothing.
    gateway.wait_for_stage("one", "running").await;
    let mut other = gateway.stream("interval=1").await;
    let mut stream = gateway.stream("interval=1").await;
    // No log, no run: the snapshot's last frame is the only one with an id.
    while stream.last_id.is_none() {
        let frame = stream.next().await.expect("a snapshot");
        assert!(!matches!(frame.event.as_str(), "task_complete" | "run_started"), "{frame:?}");
    }
    let id = stream.last_id.clone();
    drop(stream);
    vm.write(1);
    let written = vm.finish();
    assert!(!written.is_empty());
    other.until(PATIENCE, |frame| frame.event == "task_complete").await;
    let target =
        Target { url: gateway.url(""), key: gateway.key().to_owned(), client: builder().build().expect("a client") };
    for place in [Place::Header, Place::Parameter] {
        let back = Follower::start_from("back", target.clone(), "interval=1", place, Pause::None, id.clone());
        let verdict = back.settled(&written, PATIENCE).await;
        assert!(verdict.is_clean() && verdict.events == written.len(), "{place:?}: {verdict:#?}");
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_client_that_comes_right_after_a_restart_gets_the_current_runs_whole() {
    let mut vm = Played::new("one", &[Kind::Waa(2)], 9);
    let mut served = Process::start(Scheme::Http, &sections(EMBEDDED, std::slice::from_ref(&vm))).await;
    for restart in 1..=5 {
        vm.write(PIECE);
        let written = vm.finish();
        let known = Follower::start("known", target(&served), "interval=1", Place::Header, Pause::None);
        assert_eq!(known.settled(&written, PATIENCE).await.events, written.len());
        served.start_again();
        // Before the first poll has told anything.
        let new = Follower::start("new", target(&served), "interval=1", Place::Header, Pause::None);
        let verdict = new.settled(&written, Duration::from_secs(4)).await;
        assert!(verdict.is_clean() && verdict.events == written.len(), "restart {restart}: {verdict:#?}");
    }
}
