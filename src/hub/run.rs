//! The hub's one task: the tail, the live bus, the lanes' timer, the ticker, and the readers' tasks that it owns.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Hub;
use super::cell::{EndReason, Order};
use super::ring::Encoded;
use crate::event::Position;
use crate::journal::{JournalError, LiveReceiver, StoredEvent};

/// How long changes of demand are gathered.
const DEMAND_PAUSE: Duration = Duration::from_millis(50);

/// How often a drain ends those whose time has come.
const DRAIN_TICK: Duration = Duration::from_millis(50);

/// Milliseconds that a stream has to end itself once it is told to; then its connection is cut.
const OBEY_WITHIN: u64 = 4_000;

/// Events per read when the hub itself missed some of the tail.
const CATCH_UP: usize = 1024;

impl Hub {
    /// Runs until `stop`, then ends every stream that is still open. Only the first call does anything.
    pub async fn run(self: Arc<Self>, mut live: LiveReceiver, stop: CancellationToken) {
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut tail) = tail else { return };
        let mut readers = JoinSet::new();
        let mut ticker = interval_at(Instant::now() + self.tick_period(), self.tick_period());
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut drain_ticker = interval(DRAIN_TICK);
        drain_ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut ticks, mut bus_open, mut behind, mut draining) = (0_u32, true, false, false);
        let mut demand_due = None;
        loop {
            let due = self.state().due();
            let at = |due: Option<Instant>| sleep_until(due.unwrap_or_else(Instant::now));
            tokio::select! {
                () = stop.cancelled() => break,
                heard = tail.recv() => match heard {
                    Ok(commit) => {
                        behind |= self.state().skips(commit.seq);
                        if behind {
                            behind = !self.catch_up().await;
                        }
                        // What lies before it must come first; it is read with it later.
                        if !behind {
                            let events: Vec<_> = commit.events.iter().map(|stored| &**stored).collect();
                            self.take_commit(commit.seq, &events);
                        }
                    }
                    Err(RecvError::Lagged(_)) => behind = !self.catch_up().await,
                    Err(RecvError::Closed) => break,
                },
                report = live.next(), if bus_open => match report {
                    Some(report) => {
                        let effects = self.state().report(report, Instant::now());
                        self.wake(&effects);
                    }
                    None => bus_open = false,
                },
                () = at(due), if due.is_some() => {
                    let effects = self.state().release(Instant::now());
                    self.wake(&effects);
                },
                () = self.readers.asked(), if readers.len() < super::readers::READERS => {
                    self.readers.employ(&mut readers, &self.journal);
                },
                Some(_) = readers.join_next() => self.readers.employ(&mut readers, &self.journal),
                () = self.watchers_changed.notified() => {
                    demand_due.get_or_insert_with(|| Instant::now() + DEMAND_PAUSE);
                },
                () = at(demand_due), if demand_due.is_some() => {
                    demand_due = None;
                    self.tell_demand();
                },
                () = self.drain_begins.notified() => draining = true,
                _ = drain_ticker.tick(), if draining => self.end_due(),
                _ = ticker.tick() => {
                    if behind {
                        behind = !self.catch_up().await;
                    }
                    ticks = (ticks + 1) % self.wheel();
                    self.tick(ticks);
                },
            }
        }
        self.end_all();
    }

    /// Takes over those of `events` that are news; all are of commit `seq`.
    fn take_commit(&self, seq: u64, events: &[&StoredEvent]) {
        let known = self.state().tail;
        let from = events.partition_point(|stored| stored.position <= known);
        let events = &events[from..];
        // The work of encoding is done outside the lock; nobody else moves the tail.
        let encoded = Encoded::new(self.journal.epoch(), events.iter().copied());
        let moved = encoded.as_ref().map(|encoded| encoded.last);
        let effects = self.state().commit(seq, events, encoded, Instant::now());
        if let Some(last) = moved {
            self.tail_moved.send_replace(last);
        }
        self.wake(&effects);
    }

    /// Reads what the tail did not bring. `false`: the journal could not be read, and some of it is still missing.
    async fn catch_up(&self) -> bool {
        let upto = self.journal.bounds().newest;
        loop {
            let from = self.state().tail;
            if from >= upto {
                return true;
            }
            match self.journal.read(from, upto, CATCH_UP).await {
                Ok(page) => {
                    let events: Vec<_> = page.events.iter().map(|stored| &**stored).collect();
                    for commit in events.chunk_by(|a, b| a.position.seq == b.position.seq) {
                        self.take_commit(commit[0].position.seq, commit);
                    }
                    if !page.more {
                        return true;
                    }
                }
                Err(JournalError::Pruned) => {
                    tracing::warn!("the hub fell behind what the journal keeps: streams begin anew");
                    self.jump(upto);
                    return true;
                }
                Err(error) => {
                    tracing::warn!(%error, "the hub is behind the journal and could not read it; it tries again");
                    return false;
                }
            }
        }
    }

    fn jump(&self, newest: Position) {
        self.state().jump(newest);
        self.tail_moved.send_replace(newest);
        let now = self.millis();
        self.registry().each().for_each(|entry| entry.cell.notify(super::cell::DURABLE, now));
    }

    fn tick(&self, wheel: u32) {
        let effects = self.state().tick(Instant::now());
        self.wake(&effects);
        let (now, clock) = (self.millis(), self.now());
        let stall = u64::try_from(self.config.stall.as_millis()).unwrap_or(u64::MAX);
        let mut registry = self.registry();
        registry.beat(wheel, now);
        for entry in registry.each() {
            if entry.view.principal.expires_at.is_some_and(|at| at <= clock) {
                entry.cell.order(Order::End(EndReason::Expired, None), now);
            }
            if entry.cell.stalls(now, stall) {
                let (client, stall) = (&*entry.client, stall / 1000);
                tracing::warn!(
                    client,
                    seconds = stall,
                    "a stream takes nothing although something waits: its connection is cut"
                );
                entry.cell.cut();
            } else if entry.cell.stays(now, OBEY_WITHIN) {
                tracing::debug!(
                    client = &*entry.client,
                    "a stream that was told to end is not read: its connection is cut"
                );
                entry.cell.cut();
            }
        }
    }

    fn tell_demand(&self) {
        let demand = self.registry().demand();
        self.demand.send_if_modified(|told| {
            let news = **told != demand;
            if news {
                *told = Arc::new(demand);
            }
            news
        });
    }

    /// Ends the streams whose time in the drain has come.
    fn end_due(&self) {
        let (now, millis) = (Instant::now(), self.millis());
        for entry in self.registry().each() {
            if let Some((_, retry)) = entry.end.filter(|(at, _)| *at <= now) {
                entry.cell.order(Order::End(EndReason::Drained, Some(retry)), millis);
            }
        }
    }

    fn end_all(&self) {
        self.state().stopping = true;
        self.readers.close();
        let millis = self.millis();
        for entry in self.registry().each() {
            let retry = entry.end.map(|(_, retry)| retry);
            entry.cell.order(Order::End(EndReason::Drained, retry), millis);
        }
    }
}
