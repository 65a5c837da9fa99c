//! Fan-out in memory: the latest live events, the journal's recent tail, the open streams.
//!
//! Two inputs, the journal's tail and the live bus, and nothing else, so the hub cannot tell one replica from many. Each
//! event is encoded once and its bytes are shared. A stream is a body that is polled: it owns a position, what it has
//! seen of each VM, and the chunk about to go. May import `model`, `event`, `journal` and `telemetry`.
//!
//! Two locks, both short, never held across an await and never one inside the other: what is known (`state`), and who
//! listens (`registry`). A stream is in the registry before it first looks at the state, and the state changes before the
//! registry wakes, so whatever a look missed wakes the stream again.

mod cell;
mod lag;
mod lane;
mod look;
mod readers;
mod registry;
mod resume;
mod ring;
mod run;
mod slot;
mod snapshot;
mod state;
mod stream;
mod view;
mod vms;
mod who;

#[cfg(test)]
mod tests;

pub use cell::{Cut, EndReason};
pub use lag::Lag;
pub use stream::StreamBody;
pub use vms::VmEntry;
pub use who::{OpenStream, Via};

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use prometheus::IntCounter;
use tokio::sync::{Notify, broadcast, watch};
use tokio::time::Instant;

use self::cell::{Cell, Order};
use self::readers::Readers;
use self::registry::{Entry, Registry};
use self::state::{Effects, State};
use self::stream::Phase;
use self::view::View;
use crate::event::{Position, ResetReason};
use crate::journal::{Committed, Journal};
use crate::model::{Demand, Principal, Scope, Timestamp, VmName};
use crate::telemetry::HubMetrics;

/// How often the hub looks at what time alone changes, unless the heartbeat is more frequent.
const TICK: Duration = Duration::from_secs(1);

/// How a hub behaves.
#[derive(Clone)]
pub struct HubConfig {
    /// This process, as `connected` names it.
    pub replica: String,
    /// Between two heartbeats of a stream; counted in whole seconds, or in itself if it is shorter than one.
    pub heartbeat: Duration,
    /// Streams open at once at most.
    pub max_streams: usize,
    /// A stream that takes nothing for so long although something waits is slow: its connection is cut.
    pub stall: Duration,
    /// What clients are asked to wait before they reconnect; each gets it with up to 50 % more or less.
    pub retry: Duration,
    /// The wall clock.
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

impl Default for HubConfig {
    /// Heartbeats every 15 s, 20,000 streams, slow after 60 s, 2 s before a reconnect, the system's clock.
    fn default() -> Self {
        Self {
            replica: String::new(),
            heartbeat: Duration::from_secs(15),
            max_streams: 20_000,
            stall: Duration::from_secs(60),
            retry: Duration::from_secs(2),
            clock: Arc::new(|| SystemTime::now().into()),
        }
    }
}

impl fmt::Debug for HubConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubConfig").field("replica", &self.replica).finish_non_exhaustive()
    }
}

/// What one client asks for.
#[derive(Clone, Debug)]
pub struct StreamRequest {
    /// Who asks.
    pub principal: Arc<Principal>,
    /// Only these VMs; `None`: all that the principal may see, those that come later too.
    pub vms: Option<Vec<VmName>>,
    /// Seconds between live events; outside 1 to 60 it counts as the nearest of them.
    pub interval: u8,
    /// The header of that name, as it came.
    pub last_event_id: Option<String>,
    /// How logs name the client.
    pub client: String,
    /// Where the client is.
    pub via: Via,
    /// Ends the client's connection, if it takes nothing any more.
    pub cut: Option<Cut>,
}

/// Why there is no stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// No such VM, or not one that the principal may see: which of both is not told.
    #[error("there is no VM {0}")]
    UnknownVm(VmName),
    /// This replica stops.
    #[error("this replica is stopping")]
    Stopping,
    /// As many streams are open as this replica takes.
    #[error("too many streams are open")]
    TooManyStreams,
}

/// The fan-out.
pub struct Hub {
    journal: Arc<dyn Journal>,
    config: HubConfig,
    metrics: HubMetrics,
    delivered_durable: IntCounter,
    delivered_live: IntCounter,
    state: Mutex<State>,
    registry: Mutex<Registry>,
    readers: Readers,
    demand: watch::Sender<Arc<Demand>>,
    /// Streams came or went, or VMs did.
    watchers_changed: Notify,
    drain_begins: Notify,
    tail_moved: watch::Sender<Position>,
    /// Until `run` takes it.
    tail: Mutex<Option<broadcast::Receiver<Committed>>>,
    began: Instant,
    /// Streams that were asked for so far.
    opened: AtomicU64,
}

impl Hub {
    /// A hub that knows nothing yet and listens to the tail of `journal` from now on; [`Hub::run`] makes it go.
    pub fn new(journal: Arc<dyn Journal>, config: HubConfig, metrics: HubMetrics) -> Arc<Self> {
        // First the tail, then where it stands: what is committed in between is heard twice, not never.
        let tail = journal.tail();
        let bounds = journal.bounds();
        // There from the start, so that a rate never begins at a gap.
        EndReason::ALL.iter().for_each(|reason| drop(metrics.streams_ended.of(reason.as_str())));
        ResetReason::ALL.iter().for_each(|reason| drop(metrics.streams_reset.of(reason.as_str())));
        Arc::new(Self {
            state: Mutex::new(State::new(journal.epoch().clone(), bounds)),
            registry: Mutex::new(Registry::new()),
            readers: Readers::new(config.max_streams),
            demand: watch::Sender::default(),
            watchers_changed: Notify::new(),
            drain_begins: Notify::new(),
            tail_moved: watch::Sender::new(bounds.newest),
            tail: Mutex::new(Some(tail)),
            began: Instant::now(),
            opened: AtomicU64::new(1),
            delivered_durable: metrics.events_delivered.of("durable"),
            delivered_live: metrics.events_delivered.of("live"),
            journal,
            config,
            metrics,
        })
    }

    /// Opens a stream. Nothing is read before its body is polled.
    pub fn open(self: &Arc<Self>, request: StreamRequest) -> Result<StreamBody, OpenError> {
        let StreamRequest { principal, vms, interval, last_event_id, client, via, cut } = request;
        if let Some(unknown) = vms.iter().flatten().find(|vm| !self.has_vm(&principal.vms, vm)) {
            return Err(OpenError::UnknownVm(unknown.clone()));
        }
        let lane = interval.clamp(1, 60);
        let view = Arc::new(View::new(principal, vms.map(Into::into)));
        let id = self.opened.fetch_add(1, Ordering::Relaxed);
        let cell = Arc::new(Cell::new(id, self.millis(), cut, *self.tail_moved.borrow()));
        let client = Arc::<str>::from(client);
        {
            let mut state = self.state();
            if state.stopping {
                return Err(OpenError::Stopping);
            }
            state.lanes[usize::from(lane)].join();
        }
        let entered = {
            let mut registry = self.registry();
            let free = registry.len() < self.config.max_streams;
            if free {
                let wheel = rand::random_range(0..self.wheel());
                let (cell, view, client) = (Arc::clone(&cell), Arc::clone(&view), Arc::clone(&client));
                registry.insert(lane, Entry::new(cell, view, client, via, wheel));
            }
            free
        };
        if !entered {
            self.state().lanes[usize::from(lane)].leave();
            return Err(OpenError::TooManyStreams);
        }
        // A drain that began meanwhile has dealt with the registry as it was.
        if self.state().stopping {
            cell.order(Order::End(EndReason::Drained, None), self.millis());
        }
        self.metrics.streams_opened.inc();
        self.metrics.streams_open.inc();
        self.watchers_changed.notify_one();
        let start = resume::start(self.journal.epoch(), last_event_id.as_deref());
        let phase = Phase::Prelude(start);
        let hub = Arc::clone(self);
        let (position, end) = (Position::START, EndReason::ClientGone);
        Ok(StreamBody { hub, cell, view, client, lane, flags: 0, phase, position, seen: Vec::new(), end })
    }

    /// What the open streams want; a new value at most every 50 ms.
    pub fn demand(&self) -> watch::Receiver<Arc<Demand>> {
        self.demand.subscribe()
    }

    /// Opens no stream any more, and ends the open ones within the first half of `window`, each told to come back after
    /// a time of its own: the usual, and up to `window` more. Thousands that come back in one second are a flood.
    pub fn drain(&self, window: Duration) {
        self.state().stopping = true;
        let now = Instant::now();
        let least = millis(self.config.retry).max(1000);
        let most = least.saturating_add(millis(window).max(least / 2));
        let spread = window.as_secs_f64() / 2.0;
        for entry in self.registry().each() {
            let at = now + Duration::from_secs_f64(spread * rand::random::<f64>());
            entry.end.get_or_insert((at, rand::random_range(least..=most)));
        }
        self.drain_begins.notify_one();
    }

    /// Streams open now.
    pub fn streams(&self) -> usize {
        self.registry().len()
    }

    /// How far the open streams are behind, now.
    pub fn lag(&self) -> Lag {
        // Outside the registry's lock: the two are never held together.
        let tail = *self.tail_moved.borrow();
        let now = self.millis();
        self.registry().each().filter_map(|entry| entry.cell.lag(now, tail)).fold(Lag::default(), Lag::and)
    }

    /// Questions of streams that wait for one of the tasks that read the journal.
    pub fn waiting_reads(&self) -> usize {
        self.readers.waiting()
    }

    /// Asks `again` of each stream's principal what it is now; `None`, or no right to watch any more: it is revoked. Streams
    /// whose view changes begin anew; the revoked end.
    ///
    /// `again` is asked under the registry's lock, so it must not wait for anything.
    pub fn reconsider(&self, again: impl Fn(&Principal) -> Option<Arc<Principal>>) {
        let now = self.millis();
        let mut registry = self.registry();
        let (names, entries) = registry.each_with_names();
        for entry in entries {
            let before = &entry.view.principal;
            let lost = |p: &Principal| before.scopes.allow(Scope::EventsRead) && !p.scopes.allow(Scope::EventsRead);
            let Some(new) = again(before).filter(|new| !lost(new)) else {
                entry.cell.order(Order::End(EndReason::Revoked, None), now);
                continue;
            };
            if *new == **before {
                continue;
            }
            let view = Arc::new(entry.view.under(new));
            let same = view.hash() == entry.view.hash();
            Registry::review(names, entry, Arc::clone(&view));
            if !same {
                entry.cell.order(Order::Grants(view), now);
            }
        }
        drop(registry);
        self.watchers_changed.notify_one();
    }

    fn close(&self, stream: &StreamBody) {
        self.registry().remove(stream.lane, &stream.cell);
        self.state().lanes[usize::from(stream.lane)].leave();
        let reason = match stream.end {
            EndReason::ClientGone if stream.cell.is_slow() => EndReason::Slow,
            reason => reason,
        };
        self.metrics.streams_open.dec();
        self.metrics.streams_ended.of(reason.as_str()).inc();
        tracing::debug!(client = &*stream.client, reason = reason.as_str(), position = %stream.position(), "stream ended");
        self.watchers_changed.notify_one();
    }

    /// Nothing under it leaves it half changed, so a poisoned one still guards a whole state, and one panic does not
    /// take every stream along.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`Hub::state`].
    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Timestamp {
        (self.config.clock)()
    }

    /// Milliseconds of this hub's life, from 1.
    fn millis(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    fn tick_period(&self) -> Duration {
        self.config.heartbeat.clamp(Duration::from_millis(10), TICK)
    }

    /// How many ticks lie between two heartbeats: so many slots has their wheel.
    fn wheel(&self) -> u32 {
        let ticks = self.config.heartbeat.as_secs_f64() / self.tick_period().as_secs_f64();
        (ticks.round() as u32).max(1)
    }

    fn wake(&self, effects: &Effects) {
        if effects.is_empty() {
            return;
        }
        self.registry().apply(effects, self.millis());
        if !effects.names.is_empty() {
            self.watchers_changed.notify_one();
        }
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("config", &self.config).field("streams", &self.streams()).finish_non_exhaustive()
    }
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX / 2).min(u32::MAX / 2)
}

/// `base` with up to 50 % more or less: thousands of clients do not come back at once.
fn retry_ms(base: Duration) -> u32 {
    let base = millis(base);
    rand::random_range(base / 2..=base + base / 2)
}
