//! The fleet as its clients see it: one address of a load balancer, and streams that come back.

use std::collections::HashMap;
use std::time::Duration;

use super::polls::{Span, longest_pause};
use super::replica::Replica;
use crate::faults::{Follower, Pause, Place, Standing, Target};
use crate::support::{HaProxy, bundle, eventually, trusting_builder};

/// Nothing new for so long: what is missing then is lost. A VM may be without a poll for two leases.
const PATIENCE: Duration = Duration::from_secs(60);
/// A client of a replica that is gone is at another one within this. One whose replica hangs waits for the load balancer.
const MOVED_WITHIN: Duration = Duration::from_secs(40);

/// As many completions are told once more at the end; of more than 50,000 events the server itself begins anew.
const REPLAYED: usize = 20_000;

/// The clients of a fleet, and what they come through.
pub struct Watched {
    balancer: HaProxy,
    ca: Vec<u8>,
    key: String,
    followers: Vec<(Follower, Option<String>)>,
}

/// Which streams were at a replica, and how many connections each follower had then.
pub struct Were(Vec<(usize, usize)>);

impl Watched {
    /// A load balancer in front of `replicas`, and clients behind it.
    pub async fn start(replicas: &[Replica]) -> Self {
        let tls = &replicas[0].process.tls;
        let pem = tls.cert.with_file_name("both.pem");
        bundle(&tls.cert, &tls.key, &pem);
        let verified =
            format!("ssl verify required ca-file {} sni str(localhost) verifyhost localhost", tls.ca.display());
        let server = |replica: &Replica| {
            format!("    server {} 127.0.0.1:{} {verified} check-sni localhost\n", replica.name, replica.process.port)
        };
        let servers: String = replicas.iter().map(server).collect();
        // As docker/haproxy.cfg, with TLS on either side. What a replica that hangs holds is given up after a heartbeat
        // and a little; what was refused is tried at another one.
        let balancer = HaProxy::start(&format!(
            "    mode http\n    {{bind}} ssl crt {} alpn h2,http/1.1\n    balance leastconn\n    timeout server 20s\n    \
             option httpchk GET /readyz\n    option forwardfor\n    option abortonclose\n    option redispatch\n    retries 3\n    \
             default-server check inter 500ms fall 2 rise 1\n{servers}",
            pem.display(),
        ))
        .await;
        Self {
            balancer,
            ca: replicas[0].process.ca(),
            key: replicas[0].process.key().to_owned(),
            followers: Vec::new(),
        }
    }

    /// What a client connects to, through the load balancer.
    fn target(&self, http1: bool) -> Target {
        let builder = trusting_builder(&self.ca);
        let builder = if http1 { builder.http1_only() } else { builder };
        let client = builder.build().expect("a client");
        Target { url: format!("https://127.0.0.1:{}", self.balancer.port), key: self.key.clone(), client }
    }

    /// Lets the clients in, and waits until each has an id to come back with. `one` is the VM of one of them.
    pub async fn follow(&mut self, one: &str) {
        let of_one = format!("interval=1&vm={one}");
        let all = [
            ("plain", "interval=1", Place::Header, Pause::None, false),
            ("of one VM", &of_one, Place::Header, Pause::None, false),
            ("with a parameter", "interval=5", Place::Parameter, Pause::None, false),
            ("that waits as told", "interval=30", Place::Header, Pause::AsTold, false),
            ("over HTTP/1.1", "interval=1", Place::Header, Pause::None, true),
            ("over HTTP/1.1 that waits as told", "interval=1", Place::Header, Pause::AsTold, true),
        ];
        for (name, query, place, pause, http1) in all {
            let follower = Follower::start(name, self.target(http1), query, place, pause);
            self.followers.push((follower, (name == "of one VM").then(|| one.to_owned())));
        }
        eventually(PATIENCE, async || self.followers.iter().all(|(f, _)| f.ledger().last_id.is_some())).await;
    }

    /// The client that sees everything.
    pub fn plain(&self) -> &Follower {
        &self.followers[0].0
    }

    /// How long each client that sees `vm` was told of none of its completions in `span`, at the longest; seconds.
    pub fn pauses(&self, vm: &str, span: Span) -> Vec<f64> {
        let sees = |of: &Option<String>| of.as_ref().is_none_or(|of| of == vm);
        let followers = self.followers.iter().filter(|(_, of)| sees(of));
        followers.map(|(follower, _)| longest_pause(&follower.ledger().arrivals(vm), span)).collect()
    }

    /// The streams that are at `replica` now.
    pub fn at(&self, replica: &Replica) -> Were {
        let at = |(i, (follower, _)): (usize, &(Follower, _))| {
            let ledger = follower.ledger();
            ledger.replicas.last().is_some_and(|last| replica.is(last)).then_some((i, ledger.replicas.len()))
        };
        Were(self.followers.iter().enumerate().filter_map(at).collect())
    }

    /// Waits until each stream that was at a replica was resumed elsewhere; the names of those that were not.
    pub async fn moved(&self, were: &Were) -> Vec<String> {
        let stays = |(i, connections): &&(usize, usize)| self.followers[*i].0.ledger().replicas.len() <= *connections;
        let began = tokio::time::Instant::now();
        while were.0.iter().any(|stream| stays(&stream)) && began.elapsed() < MOVED_WITHIN {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        were.0.iter().filter(stays).map(|(i, _)| self.followers[*i].0.name.clone()).collect()
    }

    /// Waits until each was told all of `written`, the tasks of each VM, or until nothing more comes.
    pub async fn settled(&self, written: &HashMap<String, Vec<String>>) {
        for (follower, vm) in &self.followers {
            follower.settled(&of(written, vm.as_deref()), PATIENCE).await;
        }
    }

    /// How every client stands towards `written`.
    pub fn standing(&self, written: &HashMap<String, Vec<String>>) -> Standing {
        let mut standing = Standing::default();
        for (follower, vm) in &self.followers {
            let ledger = follower.ledger();
            standing.add(ledger.judge(&of(written, vm.as_deref())));
            standing.connections += ledger.connections;
        }
        standing.delays.clone_from(&self.plain().ledger().delays);
        standing
    }

    /// A client that comes to `replica` itself with an id of long ago is told what came since. What is wrong with it, in
    /// words.
    pub async fn whole(&self, replica: &Replica) -> Option<String> {
        let (process, (from, written)) = (&replica.process, self.plain().ledger().newest(REPLAYED));
        let target = Target { url: process.url(""), key: process.key().to_owned(), client: process.client() };
        let late = Follower::start_from("late", target, "interval=1", Place::Header, Pause::None, from);
        let verdict = late.settled(&written, PATIENCE).await;
        (!verdict.is_clean() || verdict.events != written.len())
            .then(|| format!("{} tells of {} completions: {verdict}", replica.name, written.len()))
    }
}

fn of(written: &HashMap<String, Vec<String>>, vm: Option<&str>) -> Vec<String> {
    let wanted = written.iter().filter(|(name, _)| vm.is_none_or(|vm| vm == *name));
    wanted.flat_map(|(_, tasks)| tasks.iter().cloned()).collect()
}
