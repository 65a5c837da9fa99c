//! Who watches, for administrators.

use std::cmp::Reverse;
use std::net::IpAddr;
use std::sync::Arc;

use super::Hub;
use crate::model::{Principal, Timestamp, VmName};

/// Where a stream's client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Via {
    /// Its address, as the edge found it.
    pub ip: IpAddr,
    /// How HTTP is spoken with it, such as `HTTP/2.0`.
    pub protocol: &'static str,
}

/// One open stream.
#[derive(Clone, Debug)]
pub struct OpenStream {
    /// Tells it from every other stream of this process.
    pub id: u64,
    /// Who watches.
    pub principal: Arc<Principal>,
    /// From where.
    pub via: Via,
    /// Since when.
    pub opened_at: Timestamp,
    /// What it asked for; `None`: all that the principal may see.
    pub vms: Option<Arc<[VmName]>>,
    /// Seconds between live events.
    pub interval: u8,
    /// Commits that it has not taken yet.
    pub behind: u64,
    /// Events that it was sent.
    pub delivered: u64,
    /// Live events that a newer one took the place of.
    pub coalesced: u64,
}

impl Hub {
    /// Up to `limit` open streams, those furthest behind first and then the oldest, and how many there are.
    pub fn open_streams(&self, limit: usize) -> (Vec<OpenStream>, usize) {
        let (tail, now, wall) = (*self.tail_moved.borrow(), self.millis(), self.now());
        let registry = self.registry();
        // Numbers first, since nobody is woken meanwhile: of thousands only a few are wanted.
        let mut order: Vec<_> = registry
            .all()
            .map(|(lane, place, entry)| {
                let behind = entry.cell.lag(now, tail).map_or(0, |lag| lag.commits);
                (Reverse(behind), entry.cell.opened, lane, place)
            })
            .collect();
        let total = order.len();
        if limit < total {
            order.select_nth_unstable(limit);
            order.truncate(limit);
        }
        order.sort_unstable();
        let streams = order.into_iter().filter_map(|(Reverse(behind), opened, lane, place)| {
            let entry = registry.at(lane, place)?;
            let (delivered, coalesced) = entry.cell.counts();
            Some(OpenStream {
                id: entry.cell.id,
                principal: Arc::clone(&entry.view.principal),
                via: entry.via,
                opened_at: Timestamp(wall.0 - now.saturating_sub(opened) as f64 / 1000.0),
                vms: entry.view.vms(),
                interval: lane,
                behind,
                delivered,
                coalesced,
            })
        });
        (streams.collect(), total)
    }
}
