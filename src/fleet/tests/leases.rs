//! A VM is polled while its lease is this replica's, and at no other time.

use std::collections::HashSet;

use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::model::Stage;
use crate::replicas::Lease;

const HOUR: Duration = Duration::from_secs(3600);

fn until(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

/// The identity that the journal gave the only VM.
async fn only_vm(journal: &Flaky) -> VmId {
    journal.inner.vms().await.expect("names").remove(0).1
}

#[tokio::test(start_paused = true)]
async fn without_a_lease_a_vm_is_announced_and_not_polled_and_that_is_no_reason_to_be_not_ready() {
    let (journal, leases) = (Flaky::new(), Leases::kept());
    let mut lab = Lab::with(&journal, leases.clone());
    lab.fleet.add(running("a", "")).expect("watched");
    let announced = lab.next().await;
    assert_eq!((announced.poll_no, announced.lease_rev), (0, 0));
    assert!(timeout(HOUR, lab.next()).await.is_err(), "nobody asked the VM");
    assert!(lab.not_ready().is_empty(), "{:?}", lab.not_ready());
    assert_eq!(lab.metrics.polls.of(crate::telemetry::PollOutcome::Ok).get(), 0);
    lab.stop().await;
    assert!(leases.wanted().is_empty(), "given back");
}

#[tokio::test(start_paused = true)]
async fn a_new_holder_commits_before_it_polls_and_stops_when_its_lease_is_over() {
    let (journal, leases) = (Flaky::new(), Leases::kept());
    let mut lab = Lab::with(&journal, leases.clone());
    lab.fleet.add(running("a", "")).expect("watched");
    let vm_id = lab.next().await.vm_id;
    leases.grant(&vm_id, Some(Lease::new(7, until(100))));
    let announced = lab.next().await;
    assert_eq!((announced.poll_no, announced.lease_rev), (0, 7));
    assert_eq!(announced.after.seq, 1, "its first word is a commit");
    let first = lab.next().await;
    assert_eq!((first.poll_no, first.lease_rev), (1, 7));
    assert!(first.after.seq > 1);
    assert_eq!(lab.fleet.shared.pulse.polled(), [name("a")]);
    while timeout(Duration::from_secs(60), lab.next()).await.is_ok() {}
    assert!(lab.fleet.shared.pulse.polled().is_empty(), "nobody renewed it");
    let polls = lab.metrics.polls.of(crate::telemetry::PollOutcome::Ok).get();
    assert!(timeout(HOUR, lab.next()).await.is_err());
    assert_eq!(lab.metrics.polls.of(crate::telemetry::PollOutcome::Ok).get(), polls);
    // Later it is this replica's again: its polls count on, so that no hub takes them for older ones.
    leases.grant(&vm_id, Some(Lease::new(9, until(100))));
    assert_eq!(lab.next().await.poll_no, 0);
    assert!(lab.next().await.poll_no > first.poll_no);
    lab.stop().await;
}

#[tokio::test(start_paused = true)]
async fn who_is_refused_drops_what_it_knows_and_goes_on_from_the_last_commit() {
    let (journal, leases) = (Flaky::new(), Leases::kept());
    let mut lab = Lab::with(&journal, leases.clone());
    lab.fleet.add(running("a", "total_tasks = 50")).expect("watched");
    let vm_id = lab.next().await.vm_id;
    // It is let begin, and then refused.
    journal.set(Mood::Supersedes { after: 1 }, false);
    leases.grant(&vm_id, Some(Lease::new(7, until(100_000))));
    let mut told_of = Vec::new();
    while told_of.last().is_none_or(|last| *last < 3) {
        told_of.push(lab.next().await.poll_no);
    }
    lab.stop().await;
    assert_eq!(told_of, [0, 0, 2, 3], "what the first poll brought was dropped, and read again");
    let events = told(&journal).await;
    let tasks: Vec<&DurableEvent> =
        events.iter().filter(|event| event.kind == crate::event::EventKind::TaskComplete).collect();
    let mut different: Vec<&str> = tasks.iter().map(|event| &*event.data).collect();
    different.sort_unstable();
    different.dedup();
    assert_eq!(different.len(), tasks.len(), "nothing is told twice");
}

#[tokio::test(start_paused = true)]
async fn a_vm_that_a_newer_configuration_removed_is_not_polled_by_who_has_not_read_it() {
    let (journal, leases) = (Flaky::new(), Leases::kept());
    let (mut old, mut new) = (Lab::with(&journal, leases.clone()), Lab::with(&journal, Leases::alone()));
    old.fleet.add(running("a", "")).expect("watched");
    new.fleet.add(running("a", "")).expect("watched");
    old.next().await;
    while new.next().await.poll_no < 1 {}
    new.fleet.remove(&name("a")).await;
    let vm_id = only_vm(&journal).await;
    leases.grant(&vm_id, Some(Lease::new(7, until(100_000))));
    sleep(Duration::from_secs(1)).await;
    assert!(!leases.wants(&vm_id), "another one may have it");
    assert!(timeout(HOUR, old.next()).await.is_err());
    let last = told(&journal).await.pop().expect("the removal");
    assert!(last.data.contains(Stage::Removed.as_str()), "{}", last.data);
    // Somebody watches it again.
    new.fleet.add(running("a", "")).expect("watched");
    while new.next().await.poll_no < 1 {}
    sleep(Duration::from_secs(6)).await;
    assert!(leases.wants(&vm_id));
    new.stop().await;
    old.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_vm_that_went_is_not_told_as_removed_while_another_replica_polls_it() {
    let (journal, leases) = (Flaky::new(), Leases::kept());
    let (mut polls, starts) = (Lab::with(&journal, Leases::alone()), Lab::with(&journal, leases.clone()));
    polls.fleet.add(running("a", "")).expect("watched");
    while polls.next().await.poll_no < 1 {}
    let before = told(&journal).await;
    assert!(!starts.fleet.remove_missing(HashSet::new(), Vec::new()).await, "to be asked again");
    assert_eq!(told(&journal).await, before);
    polls.stop().await;
    let vm_id = only_vm(&journal).await;
    let grant = async {
        while !leases.wants(&vm_id) {
            tokio::task::yield_now().await;
        }
        leases.grant(&vm_id, Some(Lease::new(7, until(10))));
    };
    let (done, ()) = tokio::join!(starts.fleet.remove_missing(HashSet::new(), Vec::new()), grant);
    assert!(done);
    let last = told(&journal).await.pop().expect("the removal");
    assert!(last.data.contains(Stage::Removed.as_str()), "{}", last.data);
    assert!(!leases.wants(&vm_id), "given back");
    starts.stop().await;
}
