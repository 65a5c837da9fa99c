//! Single-use tickets that every replica knows: of all who try to take one out, the bucket lets one.

use std::time::Duration;

use async_nats::jetstream::kv::{Operation, Store, UpdateErrorKind};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::journal::{Engine, EngineError};
use crate::model::{Basis, Principal, PrincipalKind, Scope, Timestamp, VmGrant};

/// How long a ticket is kept: as long as it is good.
const TICKET_AGE: Duration = Duration::from_secs(30);
/// How long the engine may take. It must not make a browser wait.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// Tries to take one ticket out, if the engine neither does it nor says that somebody else did.
const TRIES: usize = 3;

/// The tickets of the fleet.
#[derive(Clone, Debug)]
pub struct Tickets(Store);

/// The engine did not answer in time, or not so that it is certain who has the ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("NATS does not answer")]
pub struct TicketsAway;

/// A ticket as the bucket has it. Fields that a later version adds are passed over.
#[derive(Serialize, Deserialize)]
struct Kept {
    name: String,
    #[serde(default)]
    issuer: Option<String>,
    /// A later version may have others.
    scopes: Vec<String>,
    vms: Vec<Box<str>>,
    #[serde(default)]
    only: Option<Vec<Box<str>>>,
    #[serde(default)]
    key_secret: Option<u64>,
    #[serde(default)]
    session: Option<String>,
    #[serde(default)]
    expires_at: Option<Timestamp>,
    until: Timestamp,
}

impl Tickets {
    /// Those of the fleet of `engine`.
    ///
    /// # Errors
    /// If its bucket cannot be used.
    pub async fn open(engine: &Engine) -> Result<Self, EngineError> {
        Ok(Self(engine.bucket("tickets", TICKET_AGE).await?))
    }

    /// Keeps the ticket whose text has this SHA-256: whose it is, and until when it is good.
    ///
    /// # Errors
    /// If the engine does not say within 1 s that it is kept.
    pub async fn keep(&self, hash: [u8; 32], principal: &Principal, until: Timestamp) -> Result<(), TicketsAway> {
        let value = serde_json::to_vec(&Kept::new(principal, until)).map_err(|_| TicketsAway)?;
        let kept = timeout(ANSWER_WITHIN, self.0.put(hex::encode(hash), value.into())).await;
        kept.map_err(|_| TicketsAway)?.map(drop).map_err(|error| {
            tracing::warn!(%error, "a ticket cannot be kept");
            TicketsAway
        })
    }

    /// Takes the ticket with this hash out. Whoever gets it is the only one, in the whole fleet; `None`: there is none,
    /// or not any more.
    ///
    /// # Errors
    /// If the engine does not say within 1 s who has it. It may be used up by then.
    pub async fn take(&self, hash: [u8; 32]) -> Result<Option<(Principal, Timestamp)>, TicketsAway> {
        let taken = timeout(ANSWER_WITHIN, self.try_take(&hex::encode(hash))).await;
        taken.unwrap_or(Err(TicketsAway)).inspect_err(|_| tracing::warn!("NATS does not say whether a ticket was used"))
    }

    async fn try_take(&self, key: &str) -> Result<Option<(Principal, Timestamp)>, TicketsAway> {
        for _ in 0..TRIES {
            // From the leader: another server may still have what is used up.
            let entry = self.0.entry(key).await.map_err(|_| TicketsAway)?;
            let Some(entry) = entry.filter(|entry| entry.operation == Operation::Put) else { return Ok(None) };
            let Err(error) = self.0.delete_expect_revision(key, Some(entry.revision)).await else {
                let kept: Option<Kept> = serde_json::from_slice(&entry.value).ok();
                return Ok(kept.map(|kept| (kept.principal(), kept.until)));
            };
            match error.kind() {
                UpdateErrorKind::WrongLastRevision => return Ok(None),
                UpdateErrorKind::TimedOut => return Err(TicketsAway),
                // While another replica's deletion is on its way a cluster refuses in other words.
                _ => {}
            }
        }
        Err(TicketsAway)
    }
}

impl Kept {
    fn new(principal: &Principal, until: Timestamp) -> Self {
        let scopes = Scope::ALL.into_iter().filter(|scope| principal.scopes.allow(*scope));
        Self {
            name: principal.name.to_string(),
            issuer: principal.issuer.as_deref().map(str::to_owned),
            scopes: scopes.map(|scope| scope.as_str().to_owned()).collect(),
            vms: principal.vms.globs().to_vec(),
            only: principal.vms.only().map(<[Box<str>]>::to_vec),
            key_secret: principal.basis.key_secret,
            session: principal.basis.session.as_deref().map(str::to_owned),
            expires_at: principal.expires_at,
            until,
        }
    }

    fn principal(&self) -> Principal {
        let vms = VmGrant::from_globs(self.vms.clone());
        Principal {
            kind: PrincipalKind::Ticket,
            name: self.name.as_str().into(),
            issuer: self.issuer.as_deref().map(Into::into),
            scopes: self.scopes.iter().filter_map(|scope| Scope::parse(scope)).collect(),
            vms: match &self.only {
                Some(only) => vms.narrowed(&VmGrant::from_globs(only.clone())),
                None => vms,
            },
            basis: Basis { key_secret: self.key_secret, session: self.session.as_deref().map(Into::into) },
            expires_at: self.expires_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Kept;
    use crate::model::{Basis, Principal, PrincipalKind, Scope, Timestamp, VmGrant};

    #[test]
    fn what_is_kept_of_a_ticket_is_whose_it_is_exactly() {
        let key = Principal {
            kind: PrincipalKind::Ticket,
            name: "k1".into(),
            issuer: None,
            scopes: [Scope::EventsRead].into_iter().collect(),
            vms: VmGrant::from_globs(["waa-*"]).narrowed(&VmGrant::from_globs(["waa-1"])),
            basis: Basis { key_secret: Some(u64::MAX), session: None },
            expires_at: None,
        };
        let token = Principal {
            name: "alice@https://issuer.example".into(),
            issuer: Some("https://issuer.example".into()),
            vms: VmGrant::from_globs::<[&str; 0], &str>([]),
            basis: Basis { key_secret: None, session: Some("sid".into()) },
            expires_at: Some(Timestamp(2000.5)),
            ..key.clone()
        };
        for principal in [key, token] {
            let text = serde_json::to_string(&Kept::new(&principal, Timestamp(1030.25))).unwrap();
            let kept: Kept = serde_json::from_str(&text).unwrap();
            assert_eq!((kept.principal(), kept.until), (principal, Timestamp(1030.25)), "{text}");
        }
    }

    #[test]
    fn a_scope_of_a_later_version_grants_nothing_here() {
        let text = r#"{"name":"k","scopes":["events:read","moon:walk"],"vms":["*"],"until":5.0,"new":1}"#;
        let principal = serde_json::from_str::<Kept>(text).unwrap().principal();
        assert_eq!(principal.scopes, [Scope::EventsRead].into_iter().collect());
        assert_eq!((principal.kind, principal.basis), (PrincipalKind::Ticket, Basis::default()));
    }
}
