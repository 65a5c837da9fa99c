//! What must count on every replica of a fleet, between the door (edge) and the buckets (replicas).

use std::sync::Arc;
use std::time::SystemTime;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::build::StartError;
use super::registry::Registry;
use crate::edge::auth::{IssuedTicket, KeyNews, LoggedOut, StoreAway, TicketHash, TicketStore};
use crate::edge::{EdgeState, SessionSecrets};
use crate::fleet::RegisteredFile;
use crate::hub::Hub;
use crate::journal::Engine;
use crate::lifecycle::Tasks;
use crate::model::{RegisteredVm, Timestamp};
use crate::replicas::{Logout, Notices, Registrations, RegistrationsFollower, Revocation, Tickets, session_secret};

/// What a process has for itself where it is alone.
pub(super) struct Own {
    /// Of the file, if there is one.
    pub(super) secrets: Option<SessionSecrets>,
    pub(super) file: RegisteredFile,
    /// What is in it.
    pub(super) registered: Vec<RegisteredVm>,
}

/// What the process uses of what is its own and what is shared.
pub(super) struct Common {
    /// What sessions are signed with.
    pub(super) secrets: SessionSecrets,
    /// Where registrations are kept, and what is registered by now.
    pub(super) registry: Registry,
    pub(super) registered: Vec<RegisteredVm>,
    /// The rest, which has to be wired to the edge.
    pub(super) sharing: Sharing,
}

/// What else is shared, if anything is.
pub(super) struct Sharing(Option<Shared>);

struct Shared {
    engine: Engine,
    replica: String,
    tickets: Tickets,
    follower: RegistrationsFollower,
}

/// Opens what the replicas of a fleet share by `engine`, if there is one; `replica` is what this one is called.
///
/// # Errors
/// One readable line.
pub(super) async fn open(engine: Option<&Engine>, replica: &str, own: Own) -> Result<Common, StartError> {
    let Own { secrets, file, registered } = own;
    let Some(engine) = engine else {
        let secrets = secrets.ok_or_else(|| StartError::Session("there is none".to_owned()))?;
        return Ok(Common { secrets, registry: Registry::File(file), registered, sharing: Sharing(None) });
    };
    let secrets = match secrets {
        Some(secrets) => secrets,
        None => {
            let kept = session_secret(engine, &SessionSecrets::random().1).await?;
            let read = SessionSecrets::from_lines(kept.expose());
            read.map_err(|error| StartError::Session(format!("that of the fleet: {error}")))?
        }
    };
    if !registered.is_empty() {
        let names: Vec<&str> = registered.iter().map(|vm| vm.name.as_str()).collect();
        warn!(vms = %names.join(", "), "registered.json is not used with replicas: register these VMs once more");
    }
    let tickets = Tickets::open(engine).await?;
    let (registrations, follower) = Registrations::open(engine).await?;
    let registered = registrations.list().borrow().vms();
    let shared = Shared { engine: engine.clone(), replica: replica.to_owned(), tickets, follower };
    Ok(Common {
        secrets,
        registry: Registry::Shared(Box::new(registrations)),
        registered,
        sharing: Sharing(Some(shared)),
    })
}

impl Sharing {
    /// Lets `edge` count everywhere what must, and ends the streams of `hub` that end elsewhere. To be called before
    /// anybody is served: what was revoked is known when this is done. It goes on until `stop`, as requests do that are
    /// answered while the process stops.
    ///
    /// # Errors
    /// One readable line.
    pub(super) async fn wire(
        self,
        edge: &EdgeState,
        hub: &Arc<Hub>,
        tasks: &Tasks,
        stop: &CancellationToken,
    ) -> Result<(), StartError> {
        let Some(shared) = self.0 else { return Ok(()) };
        edge.tickets().share(Arc::new(SharedTickets(shared.tickets)));
        tasks.spawn_essential("registered VMs of the fleet", shared.follower.run(stop.clone()));

        let (logouts, notices) = Notices::logouts(&shared.engine, |told| end(edge, told)).await?;
        edge.sessions().on_logout(move |gone| logouts.tell(&gone.id, gone.until));
        let ending = edge.clone();
        // Whoever watches the sessions' changes ends the streams.
        let run = notices.run(move |told| end(&ending, told), stop.clone());
        tasks.spawn_essential("logouts of the fleet", run);

        let first = |told: Vec<Revocation>| {
            edge.keys().revoke(told);
        };
        let (revocations, notices) = Notices::revocations(&shared.engine, &shared.replica, first).await?;
        warn_of_keys(edge);
        edge.keys().on_news(move |KeyNews { gone, back }| {
            let now = Timestamp::from(SystemTime::now());
            gone.iter().for_each(|what| revocations.revoke(what, now));
            back.iter().for_each(|what| revocations.take_back(what));
        });
        let (edge, hub) = (edge.clone(), Arc::clone(hub));
        let run = notices.run(move |told| revoke(&edge, &hub, told), stop.clone());
        tasks.spawn_essential("revocations of the fleet", run);
        Ok(())
    }
}

fn warn_of_keys(edge: &EdgeState) {
    for key in edge.keys().refused() {
        warn!(
            %key,
            "revoked at another replica, and still in the keys file here: refused. Take it out of the file; or, to let it \
             in again, take it out, reload, put it back and reload"
        );
    }
}

/// Ends the sessions that others tell of.
fn end(edge: &EdgeState, told: Vec<Logout>) {
    let now = Timestamp::from(SystemTime::now());
    let told = told.into_iter().filter(|gone| gone.until as f64 > now.0);
    edge.sessions().end(told.map(|Logout { id, until }| LoggedOut { id, until }), now);
}

/// Refuses what others revoked, and ends the streams of it.
fn revoke(edge: &EdgeState, hub: &Hub, told: Vec<Revocation>) {
    for (what, revoked) in &told {
        info!(key = %what.escape_debug(), revoked, "a replica tells of a key");
    }
    if edge.keys().revoke(told) {
        let now = Timestamp::from(SystemTime::now());
        hub.reconsider(|principal| edge.renewed(principal, now));
    }
}

/// The tickets of the fleet, as the edge keeps them.
#[derive(Debug)]
struct SharedTickets(Tickets);

impl TicketStore for SharedTickets {
    fn keep(&self, hash: TicketHash, ticket: IssuedTicket, _: Timestamp) -> BoxFuture<'_, Result<(), StoreAway>> {
        async move { self.0.keep(hash, &ticket.principal, ticket.until).await.map_err(|_| StoreAway) }.boxed()
    }

    fn take(&self, hash: TicketHash) -> BoxFuture<'_, Result<Option<IssuedTicket>, StoreAway>> {
        async move {
            let taken = self.0.take(hash).await.map_err(|_| StoreAway)?;
            Ok(taken.map(|(principal, until)| IssuedTicket { principal, until }))
        }
        .boxed()
    }
}
