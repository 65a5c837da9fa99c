//! What the hub keeps of one VM: its latest view, and that view's live frames, encoded once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use tokio::time::Instant;

use crate::event::{DurableEvent, EventKind, Position, error, frame, progress, status};
use crate::journal::LiveReport;
use crate::model::{ActiveError, ErrorCode, LogTails, RunId, Stage, VmFacts, VmId, VmName, VmView};

/// A VM is stale when its last report is older than this many intervals ...
const STALE_INTERVALS: f64 = 3.0;

/// ... and than this, seconds.
const STALE_SECONDS: f64 = 15.0;

/// One live frame.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) kind: EventKind,
    /// The frame's data, for the one frame of a snapshot that carries an id.
    pub(super) data: Box<str>,
    pub(super) frame: Bytes,
    /// The slot's version that brought it; 0: every stream has its content already.
    version: u32,
}

impl Item {
    fn new(kind: EventKind, data: String, version: u32) -> Self {
        Self { kind, frame: frame(kind, None, &data), data: data.into(), version }
    }
}

/// The latest of one error code.
#[derive(Debug)]
struct Alarm {
    item: Item,
    message: Box<str>,
    in_force: bool,
}

/// What to do with a live report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Drop,
    /// Its durable events come first.
    Hold,
    Apply,
}

/// One VM.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) vm: VmName,
    pub(super) vm_id: VmId,
    pub(super) facts: Arc<VmFacts>,
    pub(super) view: Option<Arc<VmView>>,
    /// The newest lines of its logs.
    pub(super) logs: LogTails,
    /// The poll interval in force, seconds.
    pub(super) interval: f64,
    pub(super) stale: bool,
    /// Tells this VM under this name from whatever else had or will have this slot.
    pub(super) generation: u32,
    /// Counts what changed its live frames.
    pub(super) version: u32,
    /// Its newest durable event (or any later position).
    pub(super) last_durable: Position,
    /// The newest report that waits for the tail.
    pub(super) held: Option<(LiveReport, Instant)>,
    /// The newest report's `(lease_rev, poll_no, after)`.
    fence: Option<(u64, u64, Position)>,
    /// The commit of its newest durable event heard of here: a report made before it is superseded.
    durable_seq: u64,
    heard_at: Instant,
    status: Option<Item>,
    progress: Vec<(Box<str>, Item)>,
    alarms: BTreeMap<ErrorCode, Alarm>,
    /// The latest run of each log.
    runs: BTreeMap<Box<str>, RunId>,
}

impl Slot {
    /// A VM just heard of by `report`, when the tail stood at `tail`.
    pub(super) fn new(report: &LiveReport, generation: u32, tail: Position, now: Instant) -> Self {
        Self {
            vm: report.vm.clone(),
            vm_id: report.vm_id.clone(),
            facts: Arc::clone(&report.facts),
            view: None,
            logs: LogTails::default(),
            interval: report.interval,
            stale: false,
            generation,
            version: 0,
            last_durable: tail,
            held: None,
            fence: None,
            durable_seq: 0,
            heard_at: now,
            status: None,
            progress: Vec::new(),
            alarms: BTreeMap::new(),
            runs: BTreeMap::new(),
        }
    }

    /// Whether `report` is news, with every commit up to `applied` known here (SEMANTICS 5).
    pub(super) fn judge(&self, report: &LiveReport, applied: u64) -> Verdict {
        let newer = self.fence.is_none_or(|fence| key(report) > fence);
        // A poller that begins counts its polls anew.
        let restarts = report.poll_no == 0 && self.fence.is_none_or(|(rev, ..)| report.lease_rev >= rev);
        if restarts {
            Verdict::Apply
        } else if !newer || report.after.seq < self.durable_seq {
            Verdict::Drop
        } else if report.after.seq > applied {
            Verdict::Hold
        } else {
            Verdict::Apply
        }
    }

    /// Holds `report`, unless a newer one is held.
    pub(super) fn hold(&mut self, report: LiveReport, now: Instant) {
        if self.held.as_ref().is_none_or(|(held, _)| key(held) < key(&report)) {
            let since = self.held.as_ref().map_or(now, |(_, since)| *since);
            self.held = Some((report, since));
        }
    }

    /// Takes over what `report` says; `true` if that changed the live frames.
    pub(super) fn apply(&mut self, report: LiveReport, now: Instant) -> bool {
        let announced = report.poll_no == 0;
        self.fence = Some(key(&report));
        if announced {
            // What a poller that begins says is newer than any durable event here, and than what another one left.
            self.durable_seq = 0;
            self.held = None;
        }
        self.held.take_if(|(held, _)| key(held) <= key(&report));
        self.facts = report.facts;
        self.interval = report.interval;
        let renamed = self.vm != report.vm;
        self.vm = report.vm;
        if announced && let Some(newer) = self.view.clone() {
            // The journal keeps the view of the last commit; polls have brought more since.
            if renamed {
                self.tell(&newer, true);
            }
            return renamed;
        }
        let Some(view) = report.view else { return false };
        // Another replica sends them only when they changed.
        if !report.logs.is_empty() {
            self.logs = report.logs;
        }
        self.heard_at = now;
        self.stale = announced;
        self.tell(&view, renamed);
        self.runs = view.progress.iter().map(|run| (run.source.as_str().into(), run.run.clone())).collect();
        self.view = Some(view);
        true
    }

    /// Makes the live frames of `view`; `all`: also those that say what was said before.
    fn tell(&mut self, view: &VmView, all: bool) {
        self.version += 1;
        self.encode_status(view);
        self.encode_progress(view, all);
        self.encode_errors(view, all);
    }

    fn encode_status(&mut self, view: &VmView) {
        let data = status(&self.vm, &self.facts, view, self.stale, view.reported_at);
        self.status = Some(Item::new(EventKind::Status, data, self.version));
    }

    /// A run that is open is told anew with each report, one that is over only when something changed.
    fn encode_progress(&mut self, view: &VmView, all: bool) {
        let before = self.view.as_ref().map(|view| view.progress.as_slice()).unwrap_or_default();
        let mut items = std::mem::take(&mut self.progress);
        for run in &view.progress {
            let known = items.iter().position(|(source, _)| **source == *run.source).map(|at| items.swap_remove(at));
            let same = !run.open && !all && before.contains(run);
            let item = known.filter(|_| same).unwrap_or_else(|| {
                let data = progress(&self.vm, run, view.reported_at);
                (run.source.as_str().into(), Item::new(EventKind::Progress, data, self.version))
            });
            self.progress.push(item);
        }
    }

    fn encode_errors(&mut self, view: &VmView, all: bool) {
        let tell = |vm: &VmName, version: u32, code: ErrorCode, message: &str, in_force: bool| Alarm {
            item: Item::new(EventKind::Error, error(Some(vm), code, message, !in_force, view.reported_at), version),
            message: message.into(),
            in_force,
        };
        for ActiveError { code, message } in &view.errors {
            let known = self.alarms.get(code).is_some_and(|alarm| alarm.in_force && *alarm.message == **message);
            if !known || all {
                self.alarms.insert(*code, tell(&self.vm, self.version, *code, message, true));
            }
        }
        for (code, alarm) in &mut self.alarms {
            if alarm.in_force && !view.errors.iter().any(|error| error.code == *code) {
                *alarm = tell(&self.vm, self.version, *code, &alarm.message, false);
            }
        }
    }

    /// Hears of a durable event of this VM; `true`: it was taken out of the configuration.
    pub(super) fn durable(&mut self, event: &DurableEvent, position: Position) -> bool {
        #[derive(Deserialize)]
        struct Parts {
            stage: Option<Stage>,
            source: Option<Box<str>>,
        }
        self.last_durable = self.last_durable.max(position);
        self.durable_seq = position.seq;
        let parts = || serde_json::from_str(&event.data).unwrap_or(Parts { stage: None, source: None });
        match event.kind {
            EventKind::Status => {
                // Streams get this very event at once, so only snapshots need it; what waited in a lane is older.
                self.status = Some(Item::new(EventKind::Status, event.data.to_string(), 0));
                parts().stage == Some(Stage::Removed)
            }
            EventKind::RunStarted => {
                if let (Some(source), Some(run)) = (parts().source, &event.run) {
                    self.runs.insert(source, run.clone());
                }
                false
            }
            _ => false,
        }
    }

    /// Whether the last report is too old for the interval in force.
    pub(super) fn overdue(&self, now: Instant) -> bool {
        let limit = (STALE_INTERVALS * self.interval).clamp(STALE_SECONDS, 24.0 * 3600.0);
        // `clamp` keeps NaN, which no age is over.
        now.duration_since(self.heard_at).as_secs_f64() > if limit.is_nan() { STALE_SECONDS } else { limit }
    }

    /// Whether it is stale, told so or not: the hub's task, which tells, may hang.
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        self.stale || self.overdue(now)
    }

    /// Marks it stale and tells so, if it was reported at all.
    pub(super) fn mark_stale(&mut self) -> bool {
        self.stale = true;
        let Some(view) = self.view.clone() else { return false };
        self.version += 1;
        self.encode_status(&view);
        true
    }

    /// Whether what it holds back waited for `limit`.
    pub(super) fn held_for(&self, limit: Duration, now: Instant) -> bool {
        self.held.as_ref().is_some_and(|(_, since)| now.duration_since(*since) >= limit)
    }

    /// The latest run of each log.
    pub(super) fn runs(&self) -> impl Iterator<Item = &RunId> {
        self.runs.values()
    }

    fn items(&self) -> impl Iterator<Item = &Item> {
        let alarms = self.alarms.values().map(|alarm| &alarm.item);
        self.status.iter().chain(self.progress.iter().map(|(_, item)| item)).chain(alarms)
    }

    /// Live frames newer than `version`.
    pub(super) fn items_after(&self, version: u32) -> impl Iterator<Item = &Item> {
        self.items().filter(move |item| item.version > version)
    }

    /// What is so now; with `resolved`, also the errors that are over, for clients that may still show them.
    pub(super) fn items_now(&self, resolved: bool) -> impl Iterator<Item = &Item> {
        let alarms = self.alarms.values().filter(move |alarm| alarm.in_force || resolved).map(|alarm| &alarm.item);
        self.status.iter().chain(self.progress.iter().map(|(_, item)| item)).chain(alarms)
    }
}

fn key(report: &LiveReport) -> (u64, u64, Position) {
    (report.lease_rev, report.poll_no, report.after)
}
