//! Single-use tickets: what a page of another origin puts into the address of its `EventSource`, which can send neither
//! header nor cookie there (G41).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

use super::keys::{SECRET_LENGTH, random_text};
use crate::model::{Principal, PrincipalKind, Scopes, Secret, Timestamp, VmGrant};

/// What every ticket begins with, so that none is taken for a key.
pub(super) const PREFIX: &str = "gwt_";
/// How long a ticket may wait for its use, in seconds.
pub(super) const TTL: f64 = 30.0;
/// Unused tickets at once.
const MAX_TICKETS: usize = 2000;
/// Unused tickets of one principal at once, so that none uses up what is for all.
const MAX_PER_PRINCIPAL: usize = 200;

/// SHA-256 of a ticket. The text itself is never kept.
type Hash = [u8; 32];

/// The unused tickets of this process.
#[derive(Debug, Default)]
pub struct Tickets(Mutex<HashMap<Hash, Issued>>);

#[derive(Debug)]
struct Issued {
    /// Whose it is: what a stream of it may do, before it is asked once more whether that still stands.
    principal: Principal,
    until: f64,
}

/// There are as many unused tickets as are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyTickets;

impl Tickets {
    /// A ticket of `principal` for those of its rights that `scopes` and `only` leave.
    ///
    /// # Errors
    /// If too many wait for their use.
    pub fn issue(
        &self,
        principal: &Principal,
        scopes: Scopes,
        only: &VmGrant,
        now: Timestamp,
    ) -> Result<Secret, TooManyTickets> {
        let text = format!("{PREFIX}{}", random_text(SECRET_LENGTH));
        let vms = principal.vms.narrowed(only);
        let scopes = principal.scopes.and(scopes);
        let issued = Issued {
            principal: Principal { kind: PrincipalKind::Ticket, scopes, vms, ..principal.clone() },
            until: now.0 + TTL,
        };
        let mut tickets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tickets.retain(|_, issued| issued.until > now.0);
        let own = tickets.values().filter(|issued| issued.principal.name == principal.name).count();
        if tickets.len() >= MAX_TICKETS || own >= MAX_PER_PRINCIPAL {
            return Err(TooManyTickets);
        }
        tickets.insert(hash(&text), issued);
        Ok(Secret::new(text))
    }

    /// Uses `ticket` up (G42): whose it was, `None` if it is none, was used before, or is too old. Whether the credential
    /// behind it still stands is the caller's to ask (G44).
    pub fn redeem(&self, ticket: &str, now: Timestamp) -> Option<Principal> {
        // Looked up by hash: how long that takes says nothing about the ticket.
        let issued = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&hash(ticket))?;
        (issued.until > now.0).then_some(issued.principal)
    }
}

fn hash(text: &str) -> Hash {
    Sha256::digest(text.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::{MAX_PER_PRINCIPAL, MAX_TICKETS, TTL, Tickets, TooManyTickets};
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

    #[test]
    fn g41_g42_a_ticket_works_once_in_time_and_for_no_more_than_it_was_asked_for() {
        let tickets = Tickets::default();
        let only = VmGrant::from_globs(["waa-1", "lab"]);
        let ticket = tickets.issue(&principal("k"), events(), &only, NOW).unwrap();
        assert!(ticket.expose().len() >= 4 + 22, "128 bits and more");
        assert!(!format!("{tickets:?}").contains(ticket.expose()), "only its hash is kept");
        assert!(tickets.redeem("gwt_guess", NOW).is_none());
        let redeemed = tickets.redeem(ticket.expose(), Timestamp(NOW.0 + TTL - 1.0)).unwrap();
        assert_eq!((redeemed.kind, &*redeemed.name), (PrincipalKind::Ticket, "k"));
        assert!(redeemed.scopes.allow(Scope::EventsRead) && !redeemed.scopes.allow(Scope::Admin));
        for (vm, allowed) in [("waa-1", true), ("waa-2", false), ("lab", false)] {
            assert_eq!(redeemed.vms.allows(&VmName::new(vm).unwrap()), allowed, "{vm}");
        }
        assert!(tickets.redeem(ticket.expose(), NOW).is_none(), "used before");

        let late = tickets.issue(&principal("k"), events(), &VmGrant::all(), NOW).unwrap();
        assert!(tickets.redeem(late.expose(), Timestamp(NOW.0 + TTL)).is_none());
    }

    #[test]
    fn tickets_are_bounded_for_each_and_for_all_and_room_comes_back() {
        let tickets = Tickets::default();
        let issue = |name: &str, now| tickets.issue(&principal(name), events(), &VmGrant::all(), now).map(|_| ());
        for _ in 0..MAX_PER_PRINCIPAL {
            issue("k", NOW).unwrap();
        }
        assert_eq!(issue("k", NOW), Err(TooManyTickets));
        for n in MAX_PER_PRINCIPAL..MAX_TICKETS {
            issue(&format!("k{}", n / MAX_PER_PRINCIPAL), NOW).unwrap();
        }
        assert_eq!(issue("another", NOW), Err(TooManyTickets));
        assert_eq!(issue("another", Timestamp(NOW.0 + TTL)), Ok(()));
    }
}
