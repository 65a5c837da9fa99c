//! What one client was told along one line of ids, and what is wrong with it. Pure.

use std::collections::{HashMap, HashSet};
use std::fmt;

use gatewatch::event::EventId;

use crate::support::Frame;

/// Of what went wrong, as many are shown.
const SHOWN: usize = 8;

/// The frames of one client, however many connections brought them.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Completions in the order of their coming: task ids.
    pub completions: Vec<String>,
    /// When each came, epoch seconds, and its id.
    arrived: Vec<(f64, String)>,
    keys: HashSet<String>,
    /// What came a second time: keys.
    pub doubled: Vec<String>,
    /// What came with an id that does not lie behind those before it.
    pub disordered: Vec<String>,
    /// Reasons of resets.
    pub resets: Vec<String>,
    /// The length of the smallest completion's frame, bytes; 0 before the first.
    pub smallest: usize,
    /// Runs that were told as over.
    pub runs_over: usize,
    /// Connections that brought at least one frame.
    pub connections: usize,
    /// The replica of each connection, as `connected` named it.
    pub replicas: Vec<String>,
    /// Answers that were no stream: their status.
    pub refusals: HashMap<u16, usize>,
    /// Seconds between the sight of a completion by gatewatch and by this client.
    pub delays: Vec<f64>,
    /// What a reconnect sends.
    pub last_id: Option<String>,
    last: Option<EventId>,
    /// The first id that it got.
    pub first_id: Option<String>,
}

/// What a ledger shows beside what was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Completions that came.
    pub events: usize,
    /// Written, and never told.
    pub lost: Vec<String>,
    /// Told more than once.
    pub doubled: Vec<String>,
    /// Told in another order than that of their log or of their ids.
    pub disordered: Vec<String>,
    /// Told, and never written.
    pub invented: Vec<String>,
    /// Told to begin anew.
    pub resets: Vec<String>,
}

impl Verdict {
    /// Whether every promise was kept.
    pub fn is_clean(&self) -> bool {
        let Self { events: _, lost, doubled, disordered, invented, resets } = self;
        [lost, doubled, disordered, invented, resets].iter().all(|list| list.is_empty())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} came", self.events)?;
        let Self { events: _, lost, doubled, disordered, invented, resets } = self;
        let all = [("lost", lost), ("doubled", doubled), ("disordered", disordered), ("invented", invented)];
        for (what, list) in all.into_iter().chain([("resets", resets)]).filter(|(_, list)| !list.is_empty()) {
            write!(f, ", {} {what}: {:?}", list.len(), &list[..list.len().min(SHOWN)])?;
        }
        Ok(())
    }
}

impl From<Option<String>> for Ledger {
    /// The empty ledger of a client that begins with an id.
    fn from(last_id: Option<String>) -> Self {
        Self { last_id, ..Self::default() }
    }
}

impl Ledger {
    /// Takes one frame that came at `now`, epoch seconds.
    pub fn take(&mut self, frame: &Frame, now: f64) {
        let durable = matches!(frame.event.as_str(), "task_complete" | "run_started" | "run_complete");
        if let Some(text) = &frame.id {
            self.take_id(text, durable, frame);
        } else if durable {
            self.disordered.push(format!("{frame:?} has no id"));
        }
        match frame.event.as_str() {
            "task_complete" => {
                let key = frame.text("key").to_owned();
                self.completions.push(frame.text("task_id").to_owned());
                self.arrived.push((now, frame.id.clone().unwrap_or_default()));
                let size = frame_size(frame);
                self.smallest = if self.completions.len() == 1 { size } else { self.smallest.min(size) };
                self.delays.push(now - frame.data["timestamp"].as_f64().unwrap_or_default());
                if !self.keys.insert(key.clone()) {
                    self.doubled.push(key);
                }
            }
            "run_complete" => self.runs_over += 1,
            "connected" => self.replicas.push(frame.text("replica").to_owned()),
            "reset" => {
                self.resets.push(frame.text("reason").to_owned());
                self.last = None;
            }
            _ => {}
        }
    }

    fn take_id(&mut self, text: &str, durable: bool, frame: &Frame) {
        let id = EventId::parse(text).expect("an id of gatewatch");
        if let Some(last) = &self.last {
            let behind = if durable { id.position <= last.position } else { id.position < last.position };
            if id.epoch != last.epoch || behind {
                self.disordered.push(format!("{text} behind {last}: {frame:?}"));
            }
        }
        self.last = Some(id);
        self.last_id = Some(text.to_owned());
        self.first_id.get_or_insert_with(|| text.to_owned());
    }

    /// When completions of the logs of `vm` came, epoch seconds.
    pub fn arrivals(&self, vm: &str) -> Vec<f64> {
        let lane = format!("{vm}-");
        let of_vm = |id: &str| id.rsplit('/').next().is_some_and(|name| name.starts_with(&lane));
        let both = self.completions.iter().zip(&self.arrived);
        both.filter(|(id, _)| of_vm(id)).map(|(_, (at, _))| *at).collect()
    }

    /// The id before the last `most` completions, and these; of fewer the first id of all.
    pub fn newest(&self, most: usize) -> (Option<String>, Vec<String>) {
        let from = self.completions.len().saturating_sub(most);
        let before = from.checked_sub(1).and_then(|at| self.arrived.get(at)).map(|(_, id)| id.clone());
        (before.or_else(|| self.first_id.clone()), self.completions[from..].to_vec())
    }

    /// Compares what came with `written`: task ids that end in `-` and a number, which rises within each log.
    pub fn judge(&self, written: &[String]) -> Verdict {
        let told: HashSet<&str> = self.completions.iter().map(String::as_str).collect();
        let known: HashSet<&str> = written.iter().map(String::as_str).collect();
        let mut verdict = Verdict {
            events: self.completions.len(),
            lost: written.iter().filter(|id| !told.contains(id.as_str())).cloned().collect(),
            doubled: self.doubled.clone(),
            disordered: self.disordered.clone(),
            invented: self.completions.iter().filter(|id| !known.contains(id.as_str())).cloned().collect(),
            resets: self.resets.clone(),
        };
        let mut serials: HashMap<&str, u64> = HashMap::new();
        for id in &self.completions {
            let (lane, serial) = id.rsplit_once('-').expect("ids have a number");
            let serial = serial.parse().expect("a number");
            match serials.insert(lane, serial) {
                // The same task under two keys.
                Some(last) if last == serial => verdict.doubled.push(id.clone()),
                Some(last) if last > serial => verdict.disordered.push(format!("{id} after {last}")),
                _ => {}
            }
        }
        verdict
    }
}

/// How many bytes `frame` is on the wire.
fn frame_size(frame: &Frame) -> usize {
    let id = frame.id.as_deref().unwrap_or_default();
    format!("event: {}\nid: {id}\ndata: {}\n\n", frame.event, frame.data).len()
}

/// The value below which the share `q` of `values` lies; 0 of none.
pub fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = ((sorted.len() as f64 * q).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
    sorted.get(at).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn completion(id: &str, task: &str) -> Frame {
        let data = json!({"task_id": task, "key": format!("key of {id}"), "timestamp": 1.0});
        Frame { event: "task_complete".to_owned(), id: Some(id.to_owned()), data }
    }

    fn verdict(frames: &[(&str, &str)], written: &[&str]) -> Verdict {
        let mut ledger = Ledger::default();
        frames.iter().for_each(|(id, task)| ledger.take(&completion(id, task), 2.0));
        ledger.judge(&written.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_ledger_knows_what_is_lost_doubled_disordered_and_invented() {
        assert!(verdict(&[("e-1.0", "a-1"), ("e-1.1", "b-1"), ("e-2.0", "a-2")], &["a-1", "a-2", "b-1"]).is_clean());
        assert_eq!(verdict(&[("e-1.0", "a-1")], &["a-1", "a-2"]).lost, ["a-2"]);
        assert_eq!(verdict(&[("e-1.0", "a-1"), ("e-2.0", "a-1")], &["a-1"]).doubled, ["a-1"], "under another key");
        let twice = verdict(&[("e-1.0", "a-1"), ("e-1.0", "a-1")], &["a-1"]);
        assert_eq!((twice.doubled.len(), twice.disordered.len()), (2, 1));
        assert_eq!(verdict(&[("e-1.0", "a-2"), ("e-2.0", "a-1")], &["a-1", "a-2"]).disordered, ["a-1 after 2"]);
        assert_eq!(verdict(&[("e-2.0", "a-1"), ("e-1.0", "a-2")], &["a-1", "a-2"]).disordered.len(), 1);
        assert_eq!(verdict(&[("e-1.0", "a-1"), ("f-2.0", "a-2")], &["a-1", "a-2"]).disordered.len(), 1, "epochs");
        assert_eq!(verdict(&[("e-1.0", "a-9")], &[]).invented, ["a-9"]);
        assert_eq!(verdict(&[("e-1.0", "a-1")], &["a-1", "a-2"]).to_string(), "1 came, 1 lost: [\"a-2\"]");
    }

    #[test]
    fn a_reset_is_remembered_and_begins_a_new_line() {
        let mut ledger = Ledger::default();
        ledger.take(&completion("e-9.0", "a-1"), 2.0);
        ledger.take(&Frame { event: "reset".to_owned(), id: None, data: json!({"reason": "pruned"}) }, 2.0);
        ledger.take(&completion("f-1.0", "a-2"), 2.0);
        let verdict = ledger.judge(&["a-1".to_owned(), "a-2".to_owned()]);
        assert_eq!((verdict.resets.len(), verdict.disordered.len()), (1, 0));
        assert!(!verdict.is_clean());
    }

    #[test]
    fn whoever_comes_with_the_id_before_the_newest_completions_misses_these() {
        let mut ledger = Ledger::default();
        let frames = [("e-1.0", "a-1"), ("e-2.0", "a-2"), ("e-3.0", "a-3")];
        frames.iter().for_each(|(id, task)| ledger.take(&completion(id, task), 2.0));
        assert_eq!(ledger.newest(1), (Some("e-2.0".to_owned()), vec!["a-3".to_owned()]));
        assert_eq!(ledger.newest(9).1.len(), 3);
    }

    #[test]
    fn a_quantile_is_a_value_that_was_measured() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!((quantile(&values, 0.5), quantile(&values, 0.99), quantile(&values, 1.0)), (50.0, 99.0, 100.0));
        assert_eq!((quantile(&[], 0.5), quantile(&[3.0], 0.99)), (0.0, 3.0));
    }
}
