//! The right to poll one VM, as its poller sees it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use crate::model::VmId;

/// The right to poll a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Tells it from every lease of the VM before it, and is greater; 0 where one replica is alone.
    pub rev: u64,
    /// Until when it holds, unless it is renewed; `None`: for as long as the process lives.
    until: Option<Instant>,
}

impl Lease {
    /// The lease of a replica that is alone.
    pub const ALONE: Self = Self { rev: 0, until: None };

    /// A lease that holds until `until`.
    pub(crate) fn new(rev: u64, until: Instant) -> Self {
        Self { rev, until: Some(until) }
    }

    /// Whether it holds at `now`.
    pub fn holds(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// Which VMs this replica wants to poll, and which of them it may. Clones share one state.
#[derive(Clone, Debug)]
pub struct Leases(Arc<Board>);

#[derive(Debug)]
struct Board {
    /// As many as there are VMs that somebody here wants to poll.
    wanted: Mutex<HashMap<VmId, Wanted>>,
    changed: Notify,
    alone: bool,
}

#[derive(Debug)]
struct Wanted {
    claims: usize,
    lease: watch::Sender<Option<Lease>>,
}

/// The wish to poll a VM; dropped, the lease is given back.
#[derive(Debug)]
pub struct Claim {
    vm_id: VmId,
    leases: Leases,
    lease: watch::Receiver<Option<Lease>>,
}

impl Leases {
    /// Where one replica is alone every claim is granted at once, for good.
    pub fn alone() -> Self {
        Self::new(true)
    }

    /// What a [`super::Keeper`] grants.
    pub(crate) fn kept() -> Self {
        Self::new(false)
    }

    fn new(alone: bool) -> Self {
        Self(Arc::new(Board { wanted: Mutex::default(), changed: Notify::new(), alone }))
    }

    /// Asks for the right to poll `vm_id`.
    pub fn claim(&self, vm_id: &VmId) -> Claim {
        let first = self.0.alone.then_some(Lease::ALONE);
        let mut wanted = self.lock();
        let entry =
            wanted.entry(vm_id.clone()).or_insert_with(|| Wanted { claims: 0, lease: watch::Sender::new(first) });
        entry.claims += 1;
        let lease = entry.lease.subscribe();
        drop(wanted);
        self.0.changed.notify_one();
        Claim { vm_id: vm_id.clone(), leases: self.clone(), lease }
    }

    /// Waits until a claim came or went.
    pub(super) async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// What is wanted here.
    pub(crate) fn wanted(&self) -> Vec<VmId> {
        self.lock().keys().cloned().collect()
    }

    /// Whether somebody here wants to poll `vm_id`.
    pub(crate) fn wants(&self, vm_id: &VmId) -> bool {
        self.lock().contains_key(vm_id)
    }

    /// Tells whoever wants to poll `vm_id` that it may, or may not any more.
    pub(crate) fn grant(&self, vm_id: &VmId, lease: Option<Lease>) {
        if let Some(wanted) = self.lock().get(vm_id) {
            wanted.lease.send_if_modified(|known| {
                let news = *known != lease;
                *known = lease;
                news
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<VmId, Wanted>> {
        // Nothing is done under it that could leave it half changed.
        self.0.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    /// The lease, if it holds now.
    pub fn lease(&self) -> Option<Lease> {
        self.lease.borrow().filter(|lease| lease.holds(Instant::now()))
    }

    /// Whether the lease `rev` holds now, that is: whether the VM may be asked, and what it answers may be used.
    pub fn holds(&self, rev: u64) -> bool {
        self.lease().is_some_and(|lease| lease.rev == rev)
    }

    /// Waits for a lease. Safe to cancel.
    pub async fn granted(&mut self) -> Lease {
        loop {
            if let Some(lease) = self.lease() {
                return lease;
            }
            self.change().await;
        }
    }

    /// Waits until the lease `rev` does not hold any more. Safe to cancel.
    pub async fn lost(&mut self, rev: u64) {
        while let Some(lease) = self.lease().filter(|lease| lease.rev == rev) {
            match lease.until {
                Some(until) => tokio::select! {
                    () = sleep_until(until) => {}
                    () = self.change() => {}
                },
                None => self.change().await,
            }
        }
    }

    async fn change(&mut self) {
        if self.lease.changed().await.is_err() {
            // Not while this claim lives: it keeps the sender.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut wanted = self.leases.lock();
        if let Some(entry) = wanted.get_mut(&self.vm_id) {
            entry.claims -= 1;
            if entry.claims == 0 {
                wanted.remove(&self.vm_id);
            }
        }
        drop(wanted);
        self.leases.0.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{Instant, advance, timeout};

    use super::{Lease, Leases};
    use crate::model::VmId;

    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn one_replica_alone_may_poll_at_once_and_for_good() {
        let leases = Leases::alone();
        let mut claim = leases.claim(&VmId::from_journal("a"));
        assert_eq!(claim.granted().await, Lease::ALONE);
        assert!(timeout(LONG, claim.lost(0)).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_nobody_renews_ends_by_itself_and_one_that_is_renewed_does_not() {
        let (leases, vm) = (Leases::kept(), VmId::from_journal("a"));
        let mut claim = leases.claim(&vm);
        assert!(timeout(LONG, claim.granted()).await.is_err());
        let secs = |s| Instant::now() + Duration::from_secs(s);
        leases.grant(&vm, Some(Lease::new(7, secs(10))));
        assert_eq!(claim.granted().await.rev, 7);
        advance(Duration::from_secs(9)).await;
        leases.grant(&vm, Some(Lease::new(7, secs(10))));
        assert!(timeout(Duration::from_secs(9), claim.lost(7)).await.is_err(), "renewed");
        assert!(timeout(Duration::from_secs(2), claim.lost(7)).await.is_ok(), "not renewed");
        assert!(!claim.holds(7));
        leases.grant(&vm, Some(Lease::new(9, secs(10))));
        assert!(timeout(Duration::ZERO, claim.lost(7)).await.is_ok(), "another lease is not this one");
        leases.grant(&vm, None);
        assert!(timeout(Duration::ZERO, claim.lost(9)).await.is_ok());
    }

    #[test]
    fn what_nobody_wants_any_more_is_not_wanted() {
        let (leases, vm) = (Leases::kept(), VmId::from_journal("a"));
        let (one, other) = (leases.claim(&vm), leases.claim(&vm));
        drop(one);
        assert!(leases.wanted().len() == 1 && leases.wants(&vm));
        drop(other);
        assert!(leases.wanted().is_empty() && !leases.wants(&vm));
    }
}
