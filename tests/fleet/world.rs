//! Three replicas and a place for a fourth, three servers of NATS, VMs and clients.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use gatewatch::journal::Engine;

use super::players::Players;
use super::polls::{Poll, Polls, Span};
use super::record::Record;
use super::replica::Replica;
use super::watched::Watched;
use crate::faults::{Kind, Played, Standing, memory, now};
use crate::lab::Lab;
use crate::support::{Nats, eventually};

/// The VM that one client watches alone.
const ONE: &str = "one";
/// The VM of the lab.
const LAB: &str = "lab";
/// Replicas that run at first; one more has a place.
const REPLICAS: usize = 3;
/// A fleet is up by then.
const UP_WITHIN: Duration = Duration::from_secs(60);

/// Everything that takes part.
pub struct Fleet {
    /// What was found so far.
    pub record: Record,
    /// The replicas; the last one does not run at first.
    pub replicas: Vec<Replica>,
    /// The servers of NATS.
    pub nats: Nats,
    /// A way to ask these who leads.
    pub engine: Engine,
    /// The clients.
    pub watched: Watched,
    /// The VMs that know who asks them.
    pub vms: Vec<String>,
    players: Players,
    names: HashMap<String, String>,
    polls: PathBuf,
    takeovers: Vec<Span>,
    lab: Option<Lab>,
    /// Up to when polls were counted.
    counted: f64,
    _dir: tempfile::TempDir,
}

impl Fleet {
    /// Starts everything; `lab` is one more VM, over SSH. `None`: there is no server of NATS, and the test is skipped.
    pub async fn start(seed: u64, lab: Option<Lab>) -> Option<Self> {
        let nats = Nats::start(3)?;
        let mut vms = vec![
            Played::new(ONE, &[Kind::Openadapt], seed),
            Played::new("two", &[Kind::Waa(2)], seed.wrapping_add(100)),
            Played::new("three", &[Kind::Openadapt, Kind::Waa(1)], seed.wrapping_add(200)),
        ];
        let names = vms.iter().map(|vm| (vm.process.clone(), vm.name.clone())).collect();
        let known = vms.iter().map(|vm| vm.name.clone()).collect();
        if let Some(lab) = &lab {
            lab.benchmark_start().await.expect("the benchmark runs");
            lab.probe_on().await.expect("it answers");
            vms.push(Played::of_lab(LAB, lab, Kind::Waa(1), seed.wrapping_add(300)));
        }
        let dir = tempfile::tempdir().expect("a folder");
        let polls = dir.path().join("polls");
        std::fs::write(&polls, "").expect("written");
        let engine = nats.engine("chaos").await;
        let mut replicas = lay_out(&nats, &vms, &polls).await;
        replicas.iter_mut().take(REPLICAS).for_each(Replica::start);
        for replica in replicas.iter_mut().take(REPLICAS) {
            replica.process.ready().await;
        }
        let watched = Watched::start(&replicas).await;
        let mut this = Self {
            record: Record::default(),
            replicas,
            nats,
            engine,
            watched,
            vms: known,
            players: Players::start(vms),
            names,
            polls,
            takeovers: Vec::new(),
            lab,
            counted: now(),
            _dir: dir,
        };
        this.watched.follow(ONE).await;
        eventually(UP_WITHIN, async || this.vms.iter().all(|vm| this.polls().poller(vm).is_some())).await;
        Some(this)
    }

    /// Every poll that a VM has counted.
    pub fn polls(&self) -> Polls {
        Polls::read(&std::fs::read_to_string(&self.polls).expect("the VMs' count"), &self.names)
    }

    /// The polls of the lab, which does not know who asks.
    fn polls_of_lab(&self) -> Polls {
        let asked = self.lab.as_ref().map(Lab::probe_asked).unwrap_or_default();
        let seconds = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |at| at.as_secs_f64());
        let poll = |at| Poll { at: seconds(at), replica: String::new(), vm: LAB.to_owned() };
        Polls::new(asked.into_iter().map(poll).collect())
    }

    /// Which replica polls `vm`.
    pub fn poller(&self, vm: &str) -> usize {
        let polls = self.polls();
        let name = polls.poller(vm).expect("it was polled");
        self.replicas.iter().position(|replica| replica.name == name).expect("one of ours")
    }

    /// The VMs that replica `i` polls.
    pub fn held_by(&self, i: usize) -> Vec<String> {
        let polls = self.polls();
        let held = |vm: &&String| polls.poller(vm) == Some(self.replicas[i].name.as_str());
        self.vms.iter().filter(held).cloned().collect()
    }

    /// The replicas that were started and run.
    pub fn up(&self) -> Vec<usize> {
        (0..self.replicas.len()).filter(|i| self.replicas[*i].up).collect()
    }

    /// A stretch begins in which each VM may go from one replica to another once.
    pub fn takeover_begins(&mut self) -> usize {
        self.takeovers.push(Span { from: now(), to: f64::INFINITY });
        self.takeovers.len() - 1
    }

    /// The stretch ends.
    pub fn takeover_ends(&mut self, which: usize) {
        self.takeovers[which].to = now();
    }

    /// Waits for seconds.
    pub async fn pass(&self, seconds: f64) {
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    }

    /// Nothing happens for `seconds`: each VM has one poller, and none has more than its share if `spread`.
    pub async fn calm(&mut self, seconds: f64, spread: bool) {
        let from = now();
        self.pass(seconds).await;
        let (polls, span) = (self.polls(), Span { from, to: now() });
        let pollers: Vec<BTreeSet<&str>> = self.vms.iter().map(|vm| polls.pollers(vm, span)).collect();
        let share = (self.vms.len() + usize::from(self.lab.is_some())).div_ceil(self.up().len());
        let polls_of = |replica: &Replica| pollers.iter().filter(|of_vm| of_vm.contains(replica.name.as_str())).count();
        let said = format!("{:?} are polled by {pollers:?}", self.vms);
        if pollers.iter().any(|of_vm| of_vm.len() != 1) {
            self.record.broke(format!("while nothing happens {said}"));
        } else if spread && self.replicas.iter().any(|replica| polls_of(replica) > share) {
            self.record.broke(format!("not spread evenly: {said}"));
        }
    }

    /// Waits until a replica that was started takes requests.
    pub async fn ready(&mut self, i: usize) {
        self.replicas[i].process.ready().await;
    }

    /// Plays every run to its end and waits until every client was told of it; then counts the polls since the last time.
    pub async fn settle(&mut self) -> Standing {
        let written = self.players.finish();
        self.watched.settled(&written).await;
        let (polls, since) = (self.polls(), std::mem::replace(&mut self.counted, now()));
        let mut found: Vec<String> =
            self.vms.iter().filter_map(|vm| polls.too_often(vm, since, &self.takeovers)).collect();
        found.extend(self.polls_of_lab().too_often(LAB, since, &self.takeovers));
        found.into_iter().for_each(|what| self.record.broke(what));
        let standing = self.standing();
        if !standing.wrong.is_clean() {
            self.record.broke(standing.wrong.to_string());
        }
        for i in self.up() {
            if !self.replicas[i].process.runs() {
                self.record.broke(format!("{} ended by itself", self.replicas[i].name));
            }
        }
        self.players.go_on();
        standing
    }

    /// How every client stands towards what was written whole.
    pub fn standing(&self) -> Standing {
        let memory = self.up().into_iter().map(|i| memory(self.replicas[i].process.pid(), false)).sum();
        Standing { memory, ..self.watched.standing(&self.players.written()) }
    }

    /// At the very end: each replica has what all clients were told.
    pub async fn every_replica_has_all(&mut self) {
        self.settle().await;
        self.players.finish();
        for i in self.up() {
            if let Some(wrong) = self.watched.whole(&self.replicas[i]).await {
                self.record.broke(wrong);
            }
        }
    }

    /// The ends of the logs of all replicas, for messages.
    pub fn logs(&self) -> String {
        let ends = self.replicas.iter().filter(|replica| replica.process.file("log").exists()).map(|replica| {
            let log = replica.process.log();
            let lines: Vec<&str> = log.lines().filter(|line| !line.contains("gatewatch::access")).collect();
            format!("{}:\n{}\n", replica.name, lines[lines.len().saturating_sub(40)..].join("\n"))
        });
        ends.collect()
    }
}

async fn lay_out(nats: &Nats, vms: &[Played], polls: &std::path::Path) -> Vec<Replica> {
    let port = |url: String| url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let ports: Vec<u16> = nats.urls().into_iter().map(port).collect();
    let vms: String = vms.iter().map(Played::toml).collect();
    let mut replicas: Vec<Replica> = Vec::new();
    for i in 0..=REPLICAS {
        let replica = Replica::new(&format!("r{i}"), &ports, &vms, polls, replicas.first()).await;
        replicas.push(replica);
    }
    replicas
}
