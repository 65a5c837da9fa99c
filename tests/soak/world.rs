//! What is soaked: a server, VMs whose benchmarks play, clients that come back.

use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::faults::{Follower, Kind, Pause, Place, Played, Report, Standing, Target, memory};
use crate::support::{HaProxy, Process, Scheme, builder, eventually};

/// How much is written to each log at once, bytes at most, and how often.
const PIECE: usize = 700;
const PAUSE: Duration = Duration::from_millis(60);
/// Nothing new for so long: what is missing then is lost.
const PATIENCE: Duration = Duration::from_secs(45);
/// A proxy cuts after that; a phase that lasts longer without a restart shows whether heartbeats prevent it.
const PROXY_CUTS: Duration = Duration::from_secs(60);
/// What the server may ever hold, bytes: some 40 MB in a debug build, and what a flood needs.
const MEMORY: u64 = 160_000_000;

/// Sections that do not change while a soak runs.
const SECTIONS: &str = "[poll]\ninterval = \"1s\"\nidle_interval = \"1s\"\n";

pub struct World {
    pub served: Process,
    pub random: StdRng,
    journal: String,
    vms: Vec<Played>,
    /// Comes and goes with reloads.
    extra: Played,
    followers: Vec<Follower>,
    quiet: Quiet,
}

/// A client of a VM that does nothing, behind a proxy that cuts after 60 s of silence.
struct Quiet {
    follower: Follower,
    _proxy: HaProxy,
    connections: usize,
    since: Instant,
}

impl World {
    /// Starts everything; `journal` is the section of that name.
    pub async fn start(seed: u64, journal: &str) -> Self {
        let vms = vec![
            Played::new("one", &[Kind::Openadapt], seed),
            Played::new("two", &[Kind::Openadapt, Kind::Waa(3)], seed.wrapping_add(1000)),
            Played::new("quiet", &[], seed),
        ];
        let extra = Played::new("extra", &[], seed);
        let sections = sections(journal, &vms, None);
        let served = Process::start_logging("warn", Scheme::Http, &sections).await;
        let target = Target { url: served.url(""), key: served.key().to_owned(), client: served.client() };
        let proxy = HaProxy::start(&format!(
            "    {{bind}}\n    mode http\n    timeout client {0}s\n    timeout server {0}s\n    server one 127.0.0.1:{1}\n",
            PROXY_CUTS.as_secs(),
            served.port
        ))
        .await;
        let through = Target { url: format!("http://127.0.0.1:{}", proxy.port), ..target.clone() };
        let follower = |name, query, place, pause| Follower::start(name, target.clone(), query, place, pause);
        let followers = vec![
            follower("plain", "interval=1", Place::Header, Pause::None),
            follower("of one VM", "interval=1&vm=two", Place::Header, Pause::None),
            follower("with a parameter", "interval=5", Place::Parameter, Pause::None),
            follower("that waits as told", "interval=30", Place::Header, Pause::AsTold),
        ];
        let quiet = Follower::start("quiet", through, "interval=60&vm=quiet", Place::Header, Pause::None);
        let all = followers.iter().chain([&quiet]);
        let all: Vec<&Follower> = all.collect();
        eventually(PATIENCE, || async { all.iter().all(|follower| follower.ledger().last_id.is_some()) }).await;
        let connections = quiet.ledger().connections;
        let quiet = Quiet { connections, follower: quiet, _proxy: proxy, since: Instant::now() };
        let random = StdRng::seed_from_u64(seed);
        Self { served, random, journal: journal.to_owned(), vms, extra, followers, quiet }
    }

    /// Benchmarks play for `span`.
    pub async fn play(&mut self, span: Duration) {
        let until = Instant::now() + span;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            self.vms.iter_mut().for_each(|vm| vm.write(PIECE));
            tokio::time::sleep(PAUSE.min(left)).await;
        }
    }

    /// Plays every run to its end and waits until every client was told of it.
    pub async fn settle(&mut self) -> Standing {
        let written: Vec<String> = self.vms.iter_mut().flat_map(Played::finish).collect();
        let two = self.vms[1].written();
        for follower in &self.followers {
            let written = if follower.name == "of one VM" { &two } else { &written };
            follower.settled(written, PATIENCE).await;
        }
        self.standing()
    }

    /// The tasks of all runs that were written whole.
    pub fn written(&self) -> Vec<String> {
        self.vms.iter().flat_map(Played::written).collect()
    }

    /// The newest id of a client that sees everything.
    pub fn last_id(&self) -> Option<String> {
        self.followers[0].ledger().last_id.clone()
    }

    /// How every client stands towards what was written whole.
    pub fn standing(&self) -> Standing {
        let written = self.written();
        let two = self.vms[1].written();
        let mut standing = Standing { memory: memory(self.served.pid(), false), ..Standing::default() };
        for follower in &self.followers {
            let ledger = follower.ledger();
            standing.add(ledger.judge(if follower.name == "of one VM" { &two } else { &written }));
            standing.connections += ledger.connections;
            // One client's are enough: they come at the same time.
            if follower.name == "plain" {
                standing.delays.clone_from(&ledger.delays);
            }
        }
        standing
    }

    /// What holds beside the ledgers, at the end of a phase.
    pub fn check(&self, fault: &str, report: &mut Report) {
        let most = memory(self.served.pid(), true);
        if most > MEMORY {
            report.broke(format!("{fault}: memory grew to {} MB", most / 1_000_000));
        }
        let resets = self.quiet.follower.ledger().resets.clone();
        if !resets.is_empty() {
            report.broke(format!("{fault}: the quiet client was reset: {resets:?}"));
        }
    }

    /// How long ago that was asked last, and how often the quiet client has come back since.
    pub fn quiet_stream(&mut self) -> (Duration, usize) {
        let quiet = &mut self.quiet;
        let connections = quiet.follower.ledger().connections;
        let told = (quiet.since.elapsed(), connections - quiet.connections);
        (quiet.since, quiet.connections) = (Instant::now(), connections);
        told
    }

    /// Each log is rotated, or emptied in place.
    pub async fn replace_logs(&mut self, truncate: bool) {
        if truncate {
            // What no poll has read is gone with the file.
            self.settle().await;
        }
        self.vms.iter_mut().for_each(if truncate { Played::truncate } else { Played::rotate });
    }

    /// Writes another configuration: with or without a further VM.
    pub fn configure(&mut self, extra: bool) {
        let sections = sections(&self.journal, &self.vms, extra.then_some(&self.extra));
        self.served.configure(&sections);
    }
}

fn sections(journal: &str, vms: &[Played], extra: Option<&Played>) -> String {
    let vms: String = vms.iter().chain(extra).map(Played::toml).collect();
    format!("{journal}{SECTIONS}{vms}")
}

/// A client from another address, as a stranger's.
pub fn stranger() -> reqwest::Client {
    builder().local_address(std::net::IpAddr::from([127, 0, 0, 9])).build().expect("a client")
}
