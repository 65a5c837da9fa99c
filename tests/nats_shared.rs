//! What must count on every replica: single-use tickets, the session secret, logouts, revoked keys and registered VMs,
//! with a real NATS server.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gatewatch::journal::Engine;
use gatewatch::model::{Basis, Principal, PrincipalKind, RegisteredVm, Scope, Secret, Timestamp, VmGrant, VmName};
use gatewatch::replicas::{
    Logouts, Notices, RegistrationFault, Registrations, Revocation, Revocations, Tickets, TicketsAway, session_secret,
};
use rustix::process::Signal;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::{Nats, eventually};

/// How long something that happens by itself may take on a busy machine.
const SOON: Duration = Duration::from_secs(20);
/// Within which half of what one replica is told must be known to the other, however busy the machine is.
const WITHIN: Duration = Duration::from_secs(1);

const NOW: Timestamp = Timestamp(1000.0);

fn principal(name: &str) -> Principal {
    Principal {
        kind: PrincipalKind::Ticket,
        name: name.into(),
        issuer: None,
        scopes: [Scope::EventsRead].into_iter().collect(),
        vms: VmGrant::from_globs(["waa-*"]).narrowed(&VmGrant::from_globs(["waa-1"])),
        basis: Basis { key_secret: Some(7), session: None },
        expires_at: None,
    }
}

fn hash(n: usize) -> [u8; 32] {
    let mut hash = [7; 32];
    hash[..8].copy_from_slice(&n.to_be_bytes());
    hash
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_taken_once_however_many_replicas_try_at_the_same_time() {
    let Some(nats) = Nats::start(1) else { return };
    let (one, other) = (nats.engine("f").await, nats.engine("f").await);
    let (one, other) = tokio::try_join!(Tickets::open(&one), Tickets::open(&other)).expect("a bucket");
    let until = NOW.plus(Duration::from_secs(30));
    for n in 0..200 {
        one.keep(hash(n), &principal("k"), until).await.expect("kept");
        let (first, second) = tokio::join!(one.take(hash(n)), other.take(hash(n)));
        let (first, second) = (first.expect("an answer"), second.expect("an answer"));
        assert_eq!(usize::from(first.is_some()) + usize::from(second.is_some()), 1, "{first:?} {second:?}");
        let (whose, end) = first.or(second).expect("one has it");
        assert_eq!((whose, end), (principal("k"), until), "it is whose it was");
        assert_eq!(other.take(hash(n)).await, Ok(None), "it was used");
    }
    assert_eq!(other.take(hash(1000)).await, Ok(None), "there never was one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_taken_once_also_while_a_cluster_loses_its_leader() {
    let Some(mut nats) = Nats::start(3) else { return };
    let (a, b) = (nats.engine("f").await, nats.engine("f").await);
    let (one, other) = tokio::try_join!(Tickets::open(&a), Tickets::open(&b)).expect("a bucket");
    let until = NOW.plus(Duration::from_secs(30));
    let mut won = 0;
    for n in 0..150 {
        if n == 75 {
            let leader = nats.leader(&a, &format!("KV_{}", a.names().bucket("tickets"))).await;
            nats.signal(leader, Signal::KILL);
        }
        let began = Instant::now();
        while one.keep(hash(n), &principal("k"), until).await.is_err() {
            assert!(began.elapsed() < SOON, "no leader is elected");
        }
        let tries = tokio::join!(one.take(hash(n)), other.take(hash(n)), one.take(hash(n)), other.take(hash(n)));
        let tries = [tries.0, tries.1, tries.2, tries.3];
        let taken = tries.iter().filter(|taken| matches!(taken, Ok(Some(_)))).count();
        let away = tries.iter().filter(|taken| taken.is_err()).count();
        assert!(taken <= 1 && (taken == 1 || away > 0), "{tries:?}");
        won += taken;
    }
    assert!(won > 100, "{won}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_engine_is_away_no_ticket_is_taken_and_each_may_be_taken_when_it_is_back() {
    let Some(mut nats) = Nats::start(1) else { return };
    let engine = nats.engine("f").await;
    let tickets = Tickets::open(&engine).await.expect("a bucket");
    let until = NOW.plus(Duration::from_secs(30));
    tickets.keep(hash(1), &principal("k"), until).await.expect("kept");
    nats.signal(0, Signal::STOP);
    let began = Instant::now();
    // Its threads do not stop at the same moment.
    while tickets.keep(hash(2), &principal("k"), until).await.is_ok() {
        assert!(began.elapsed() < SOON, "it has stopped");
    }
    assert_eq!(tickets.take(hash(1)).await, Err(TicketsAway));
    assert_eq!(tickets.keep(hash(2), &principal("k"), until).await, Err(TicketsAway));
    assert!(began.elapsed() < SOON, "both say so, and do not wait for it");
    nats.signal(0, Signal::CONT);
    let mut taken = 0;
    let began = Instant::now();
    // What came too late may have taken it: then nobody has it, and certainly not two.
    while began.elapsed() < Duration::from_secs(3) {
        taken += usize::from(tickets.take(hash(1)).await.is_ok_and(|taken| taken.is_some()));
    }
    assert!(taken <= 1);
    tickets.keep(hash(3), &principal("k"), until).await.expect("it takes tickets again");
    assert!(tickets.take(hash(3)).await.expect("an answer").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_start_together_sign_sessions_with_one_secret() {
    let Some(mut nats) = Nats::start(1) else { return };
    let engines = futures_util::future::join_all((0..4).map(|_| nats.engine("f"))).await;
    let fresh: Vec<Secret> = (0..4).map(|n| Secret::new(format!("{n}").repeat(43))).collect();
    let made = engines.iter().zip(&fresh).map(|(engine, fresh)| session_secret(engine, fresh));
    let made = futures_util::future::try_join_all(made).await.expect("a secret");
    assert!(made.iter().all(|secret| secret.matches(made[0].expose())));
    assert!(fresh.iter().any(|fresh| fresh.matches(made[0].expose())));
    nats.signal(0, Signal::KILL);
    nats.restart(0);
    let later = session_secret(&nats.engine("f").await, &Secret::new("x".repeat(43))).await.expect("a secret");
    assert!(later.matches(made[0].expose()), "it outlives the engine's restart");
    let elsewhere = session_secret(&nats.engine("g").await, &Secret::new("x".repeat(43))).await.expect("a secret");
    assert!(elsewhere.matches(&"x".repeat(43)), "another fleet has its own");
}

/// What a replica was told, in its order.
type Heard<T> = Arc<Mutex<Vec<T>>>;

/// One replica's notices.
struct Replica {
    logouts: Logouts,
    ended: Heard<String>,
    revocations: Revocations,
    revoked: Heard<Revocation>,
    running: [JoinHandle<()>; 2],
    stop: CancellationToken,
}

impl Replica {
    async fn start(engine: &Engine, name: &str) -> Self {
        let (stop, ended, revoked) = (CancellationToken::new(), Heard::default(), Heard::default());
        let hears = Arc::clone(&ended);
        let take = move |told: Vec<gatewatch::replicas::Logout>| {
            hears.lock().unwrap().extend(told.into_iter().map(|gone| String::from(gone.id)));
        };
        let (logouts, notices) = Notices::logouts(engine, take.clone()).await.expect("the logouts");
        let first = tokio::spawn(notices.run(take, stop.clone()));
        let hears = Arc::clone(&revoked);
        let take = move |told: Vec<Revocation>| hears.lock().unwrap().extend(told);
        let (revocations, notices) = Notices::revocations(engine, name, take.clone()).await.expect("the revocations");
        let second = tokio::spawn(notices.run(take, stop.clone()));
        Self { logouts, ended, revocations, revoked, running: [first, second], stop }
    }

    fn ended(&self, id: &str) -> bool {
        self.ended.lock().unwrap().iter().any(|ended| ended == id)
    }

    /// The last word about `what`.
    fn revoked(&self, what: &str) -> Option<bool> {
        self.revoked.lock().unwrap().iter().rev().find(|(known, _)| &**known == what).map(|(_, revoked)| *revoked)
    }

    async fn stop(self) {
        self.stop.cancel();
        for task in self.running {
            task.await.expect("it ends in order");
        }
    }
}

/// How long it takes until `is`.
async fn took(is: impl Fn() -> bool) -> Duration {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed() < SOON, "it does not come");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    began.elapsed()
}

fn half_within(mut took: Vec<Duration>, limit: Duration) {
    took.sort_unstable();
    assert!(took[took.len() / 2] < limit, "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn logouts_and_revocations_are_known_to_the_other_replica_within_a_second_and_to_one_that_starts_at_once() {
    let Some(nats) = Nats::start(1) else { return };
    let (a, b) = (nats.engine("f").await, nats.engine("f").await);
    let (a, b) = tokio::join!(Replica::start(&a, "a"), Replica::start(&b, "b"));
    let mut times = Vec::new();
    for n in 0..20 {
        let id = format!("session{n}");
        a.logouts.tell(&id, 5000);
        times.push(took(|| b.ended(&id)).await);
        let key = format!("key{n}.00ff");
        b.revocations.revoke(&key, NOW);
        times.push(took(|| a.revoked(&key) == Some(true)).await);
        if n % 2 == 0 {
            a.revocations.take_back(&key);
            times.push(took(|| b.revoked(&key) == Some(false)).await);
        }
    }
    half_within(times, WITHIN);
    let late = Replica::start(&nats.engine("f").await, "late").await;
    for n in 0..20 {
        assert!(late.ended(&format!("session{n}")), "{n}");
        assert_eq!(late.revoked(&format!("key{n}.00ff")), Some(n % 2 != 0), "{n}");
    }
    for replica in [a, b, late] {
        replica.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_while_the_engine_is_away_is_told_when_it_is_back_and_what_was_told_is_kept() {
    let Some(mut nats) = Nats::start(1) else { return };
    let (a, b) = (nats.engine("f").await, nats.engine("f").await);
    let (a, b) = tokio::join!(Replica::start(&a, "a"), Replica::start(&b, "b"));
    a.logouts.tell("before", 5000);
    took(|| b.ended("before")).await;
    nats.signal(0, Signal::KILL);
    for n in 0..100 {
        a.logouts.tell(&format!("away{n}"), 5000);
    }
    b.revocations.revoke("key1", NOW);
    b.revocations.revoke("key2", NOW);
    b.revocations.take_back("key2");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!b.ended("away0") && a.revoked("key1").is_none());
    nats.restart(0);
    took(|| (0..100).all(|n| b.ended(&format!("away{n}"))) && a.revoked("key1") == Some(true)).await;
    took(|| a.revoked("key2") == Some(false)).await;
    let late = Replica::start(&nats.engine("f").await, "late").await;
    assert!(late.ended("before") && late.ended("away99") && late.revoked("key1") == Some(true));
    a.logouts.tell("after", 5000);
    half_within(vec![took(|| b.ended("after")).await], SOON);
    for replica in [a, b, late] {
        replica.stop().await;
    }
}

fn vm(name: &str, host: &str) -> RegisteredVm {
    serde_json::from_value(json!({"name": VmName::new(name).unwrap(), "ssh_host": host})).unwrap()
}

fn names(registrations: &Registrations) -> Vec<String> {
    registrations.list().borrow().vms().iter().map(|vm| vm.name.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registered_vm_is_known_to_every_replica_and_a_name_is_given_once() {
    let Some(mut nats) = Nats::start(1) else { return };
    let (a, b) = (nats.engine("f").await, nats.engine("f").await);
    let ((one, first), (other, second)) =
        tokio::try_join!(Registrations::open(&a), Registrations::open(&b)).expect("a bucket");
    let stop = CancellationToken::new();
    let running = [first, second].map(|follower| tokio::spawn(follower.run(stop.clone())));
    let mut times = Vec::new();
    for n in 0..20 {
        let name = format!("vm-{n:02}");
        let vms = [vm(&name, "192.0.2.1"), vm(&name, "192.0.2.2")];
        let (first, second) = tokio::join!(one.register(&vms[0]), other.register(&vms[1]));
        assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
        assert_eq!(first.and(second), Err(RegistrationFault::NameTaken));
        times.push(took(|| names(&one).contains(&name) && names(&other) == names(&one)).await);
    }
    half_within(times, WITHIN);
    assert_eq!(one.list().borrow().vms(), other.list().borrow().vms());
    let gone = one.list().borrow().vms()[0].clone();
    other.take_back(&gone).await.expect("taken back");
    took(|| names(&one).len() == 19 && names(&other).len() == 19).await;
    one.register(&gone).await.expect("the name is free again");

    nats.signal(0, Signal::KILL);
    assert!(matches!(one.register(&vm("late", "192.0.2.1")).await, Err(RegistrationFault::Away(_))));
    assert_eq!(names(&one).len(), 20, "what is known stays");
    nats.restart(0);
    // It may have come through after all; the list tells.
    eventually(SOON, || async {
        let again = other.register(&vm("later", "192.0.2.1")).await;
        again.is_ok() || again == Err(RegistrationFault::NameTaken)
    })
    .await;
    took(|| names(&one).contains(&"later".to_owned()) && names(&one) == names(&other)).await;
    let (third, _) = Registrations::open(&nats.engine("f").await).await.expect("a bucket");
    assert_eq!(names(&third), names(&one));
    stop.cancel();
    for task in running {
        task.await.expect("it ends in order");
    }
}
