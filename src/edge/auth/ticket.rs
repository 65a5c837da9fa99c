//! Single-use tickets: what a page of another origin puts into the address of its `EventSource`, which can send neither
//! header nor cookie there (G41).

use std::collections::HashMap;
use std::fmt;
use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::StatusCode;
use http::header::{HeaderValue, RETRY_AFTER};
use sha2::{Digest, Sha256};

use super::keys::{SECRET_LENGTH, random_text};
use crate::edge::Problem;
use crate::model::{Principal, PrincipalKind, Scopes, Secret, Timestamp, VmGrant};

/// What every ticket begins with, so that none is taken for a key.
pub(super) const PREFIX: &str = "gwt_";
/// How long a ticket may wait for its use, in seconds.
pub(super) const TTL: f64 = 30.0;
/// Unused tickets at once.
const MAX_TICKETS: usize = 2000;
/// Unused tickets of one principal at once, so that none uses up what is for all.
const MAX_PER_PRINCIPAL: usize = 200;

/// Seconds after which it may help to ask again when tickets can be neither made nor used.
const AGAIN_AFTER: u64 = 1;

/// SHA-256 of a ticket. The text itself is never kept.
pub type TicketHash = [u8; 32];

/// What is kept of a ticket.
#[derive(Clone, Debug, PartialEq)]
pub struct IssuedTicket {
    /// Whose it is: what a stream of it may do, before it is asked once more whether that still stands.
    pub principal: Principal,
    /// When it ends.
    pub until: Timestamp,
}

/// Where unused tickets are kept.
pub trait TicketStore: fmt::Debug + Send + Sync {
    /// Keeps a ticket, for [`IssuedTicket::until`] at least. `now` is when it was made.
    fn keep(&self, hash: TicketHash, ticket: IssuedTicket, now: Timestamp) -> BoxFuture<'_, Result<(), StoreAway>>;

    /// Takes a ticket out: of all who try, one gets it.
    fn take(&self, hash: TicketHash) -> BoxFuture<'_, Result<Option<IssuedTicket>, StoreAway>>;
}

/// Tickets can be neither kept nor taken out now; whoever asks again later may get one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what keeps the tickets does not answer")]
pub struct StoreAway;

/// Why there is no ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TicketFault {
    /// There are as many unused ones as are kept.
    TooMany,
    /// It cannot be kept now.
    Away,
}

/// The tickets that this process issued, and where the unused ones of all are.
#[derive(Debug, Default)]
pub struct Tickets {
    /// Whose they are and until when, for the bounds. One that is used elsewhere counts until its end.
    issued: Mutex<HashMap<TicketHash, (Arc<str>, Timestamp)>>,
    own: OwnTickets,
    shared: OnceLock<Arc<dyn TicketStore>>,
}

impl Tickets {
    /// Keeps tickets in `store` from now on, so that other processes know them too. To be called once, before the first
    /// is issued.
    pub fn share(&self, store: Arc<dyn TicketStore>) {
        if self.shared.set(store).is_err() {
            tracing::error!("tickets are shared already");
        }
    }

    /// A ticket of `principal` for those of its rights that `scopes` and `only` leave.
    ///
    /// # Errors
    /// If too many wait for their use, or it cannot be kept.
    pub async fn issue(
        &self,
        principal: &Principal,
        scopes: Scopes,
        only: &VmGrant,
        now: Timestamp,
    ) -> Result<Secret, TicketFault> {
        let text = format!("{PREFIX}{}", random_text(SECRET_LENGTH));
        let vms = principal.vms.narrowed(only);
        let scopes = principal.scopes.and(scopes);
        let ticket = IssuedTicket {
            principal: Principal { kind: PrincipalKind::Ticket, scopes, vms, ..principal.clone() },
            until: Timestamp(now.0 + TTL),
        };
        let hash = hash(&text);
        self.count(hash, &ticket, now)?;
        if self.store().keep(hash, ticket, now).await.is_err() {
            self.issued().remove(&hash);
            return Err(TicketFault::Away);
        }
        Ok(Secret::new(text))
    }

    /// Uses `ticket` up (G42): whose it was, `None` if it is none, was used before, or is too old. Whether the credential
    /// behind it still stands is the caller's to ask (G44).
    ///
    /// # Errors
    /// If nobody knows now whether it was used.
    pub async fn redeem(&self, ticket: &str, now: Timestamp) -> Result<Option<Principal>, StoreAway> {
        // Looked up by hash: how long that takes says nothing about the ticket.
        let hash = hash(ticket);
        let taken = self.store().take(hash).await?;
        self.issued().remove(&hash);
        Ok(taken.filter(|ticket| ticket.until > now).map(|ticket| ticket.principal))
    }

    /// Takes a place for `ticket`, if there is one.
    fn count(&self, hash: TicketHash, ticket: &IssuedTicket, now: Timestamp) -> Result<(), TicketFault> {
        let mut issued = self.issued();
        issued.retain(|_, (_, until)| *until > now);
        let name = &ticket.principal.name;
        let own = issued.values().filter(|(whose, _)| whose == name).count();
        if issued.len() >= MAX_TICKETS || own >= MAX_PER_PRINCIPAL {
            return Err(TicketFault::TooMany);
        }
        issued.insert(hash, (Arc::clone(name), ticket.until));
        Ok(())
    }

    fn store(&self) -> &dyn TicketStore {
        self.shared.get().map_or(&self.own, |shared| &**shared)
    }

    fn issued(&self) -> MutexGuard<'_, HashMap<TicketHash, (Arc<str>, Timestamp)>> {
        // Every change is one insert or remove: a panic cannot leave it half done.
        self.issued.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The unused tickets of a process that is alone; at most as many as [`Tickets`] counts.
#[derive(Debug, Default)]
struct OwnTickets(Mutex<HashMap<TicketHash, IssuedTicket>>);

impl OwnTickets {
    fn lock(&self) -> MutexGuard<'_, HashMap<TicketHash, IssuedTicket>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TicketStore for OwnTickets {
    fn keep(&self, hash: TicketHash, ticket: IssuedTicket, now: Timestamp) -> BoxFuture<'_, Result<(), StoreAway>> {
        let mut tickets = self.lock();
        tickets.retain(|_, ticket| ticket.until > now);
        tickets.insert(hash, ticket);
        ready(Ok(())).boxed()
    }

    fn take(&self, hash: TicketHash) -> BoxFuture<'_, Result<Option<IssuedTicket>, StoreAway>> {
        ready(Ok(self.lock().remove(&hash))).boxed()
    }
}

/// What a client is told while tickets can be neither made nor used.
pub(super) fn tickets_away() -> Problem {
    Problem::of_status(StatusCode::SERVICE_UNAVAILABLE)
        .detail("What the replicas of this gateway share cannot be asked now: ask again.")
        .header(RETRY_AFTER, HeaderValue::from(AGAIN_AFTER))
}

fn hash(text: &str) -> TicketHash {
    Sha256::digest(text.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt as _;
    use futures_util::future::BoxFuture;

    use super::{
        IssuedTicket, MAX_PER_PRINCIPAL, MAX_TICKETS, StoreAway, TTL, TicketFault, TicketHash, TicketStore, Tickets,
    };
    use crate::model::{Basis, Principal, PrincipalKind, Scope, Scopes, Timestamp, VmGrant, VmName};

    const NOW: Timestamp = Timestamp(1000.0);

    fn principal(name: &str) -> Principal {
        Principal {
            kind: PrincipalKind::ApiKey,
            name: name.into(),
            issuer: None,
            scopes: [Scope::Admin].into_iter().collect(),
            vms: VmGrant::from_globs(["waa-*"]),
            basis: Basis::default(),
            expires_at: None,
        }
    }

    fn events() -> Scopes {
        [Scope::EventsRead].into_iter().collect()
    }

    #[tokio::test]
    async fn g41_g42_a_ticket_works_once_in_time_and_for_no_more_than_it_was_asked_for() {
        let tickets = Tickets::default();
        let only = VmGrant::from_globs(["waa-1", "lab"]);
        let ticket = tickets.issue(&principal("k"), events(), &only, NOW).await.unwrap();
        assert!(ticket.expose().len() >= 4 + 22, "128 bits and more");
        assert!(!format!("{tickets:?}").contains(ticket.expose()), "only its hash is kept");
        assert!(tickets.redeem("gwt_guess", NOW).await.unwrap().is_none());
        let redeemed = tickets.redeem(ticket.expose(), Timestamp(NOW.0 + TTL - 1.0)).await.unwrap().unwrap();
        assert_eq!((redeemed.kind, &*redeemed.name), (PrincipalKind::Ticket, "k"));
        assert!(redeemed.scopes.allow(Scope::EventsRead) && !redeemed.scopes.allow(Scope::Admin));
        for (vm, allowed) in [("waa-1", true), ("waa-2", false), ("lab", false)] {
            assert_eq!(redeemed.vms.allows(&VmName::new(vm).unwrap()), allowed, "{vm}");
        }
        assert!(tickets.redeem(ticket.expose(), NOW).await.unwrap().is_none(), "used before");

        let late = tickets.issue(&principal("k"), events(), &VmGrant::all(), NOW).await.unwrap();
        assert!(tickets.redeem(late.expose(), Timestamp(NOW.0 + TTL)).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn tickets_are_bounded_for_each_and_for_all_and_room_comes_back() {
        let tickets = Tickets::default();
        let issue =
            async |name: &str, now| tickets.issue(&principal(name), events(), &VmGrant::all(), now).await.map(|_| ());
        for _ in 0..MAX_PER_PRINCIPAL {
            issue("k", NOW).await.unwrap();
        }
        assert_eq!(issue("k", NOW).await, Err(TicketFault::TooMany));
        for n in MAX_PER_PRINCIPAL..MAX_TICKETS {
            issue(&format!("k{}", n / MAX_PER_PRINCIPAL), NOW).await.unwrap();
        }
        assert_eq!(issue("another", NOW).await, Err(TicketFault::TooMany));
        assert_eq!(issue("another", Timestamp(NOW.0 + TTL)).await, Ok(()));
    }

    /// A store that does not answer.
    #[derive(Debug)]
    struct Away;

    impl TicketStore for Away {
        fn keep(&self, _: TicketHash, _: IssuedTicket, _: Timestamp) -> BoxFuture<'_, Result<(), StoreAway>> {
            async { Err(StoreAway) }.boxed()
        }

        fn take(&self, _: TicketHash) -> BoxFuture<'_, Result<Option<IssuedTicket>, StoreAway>> {
            async { Err(StoreAway) }.boxed()
        }
    }

    #[tokio::test]
    async fn a_store_that_does_not_answer_gives_no_ticket_takes_none_and_costs_no_place() {
        let tickets = Tickets::default();
        tickets.share(Arc::new(Away));
        for _ in 0..=MAX_PER_PRINCIPAL {
            let issued = tickets.issue(&principal("k"), events(), &VmGrant::all(), NOW).await;
            assert_eq!(issued.map(drop), Err(TicketFault::Away));
        }
        assert_eq!(tickets.redeem("gwt_guess", NOW).await, Err(StoreAway));
    }
}
