//! Whether this process wants traffic: said by each part that must be up, never dropped into.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// What is not ready: (name, why), ordered by name. Empty means ready.
pub type NotReady = Vec<(String, String)>;

/// Name of the entry that stands until start-up is said to be over, and again from the moment the process stops.
const PROCESS: &str = "process";

/// The readiness of the process: ready once start-up is said to be over and every gate has said so.
///
/// Clones share one state. Memory is bounded by the number of distinct gate names.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    not_ready: watch::Sender<NotReady>,
}

#[derive(Debug, Default)]
struct State {
    gates: BTreeMap<String, Entry>,
    next_owner: u64,
    stopping: bool,
}

#[derive(Debug)]
struct Entry {
    /// The gate that may speak; an older gate of the same name may not.
    owner: u64,
    /// Why it is not ready; `None` if it is.
    why: Option<String>,
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

impl Readiness {
    /// Not ready, because starting.
    pub fn new() -> Self {
        let starting = vec![(PROCESS.to_owned(), "starting".to_owned())];
        let state = State {
            gates: BTreeMap::from([(PROCESS.to_owned(), Entry { owner: 0, why: Some("starting".to_owned()) })]),
            next_owner: 1,
            stopping: false,
        };
        Self(Arc::new(Shared { state: Mutex::new(state), not_ready: watch::Sender::new(starting) }))
    }

    /// Adds a part that must say that it is ready; until then `why` is told. A later gate of the same name takes over
    /// from an earlier one.
    pub fn gate(&self, name: impl Into<Cow<'static, str>>, why: impl Into<String>) -> Gate {
        let name = name.into();
        let mut state = self.lock();
        let owner = state.next_owner;
        state.next_owner += 1;
        state.gates.insert(name.clone().into_owned(), Entry { owner, why: Some(why.into()) });
        self.publish(&state);
        Gate { readiness: self.clone(), name, owner }
    }

    /// Says that start-up is over: from here on the gates alone decide. Call it after the gates were made.
    pub fn started(&self) {
        let mut state = self.lock();
        if !state.stopping {
            state.gates.remove(PROCESS);
            self.publish(&state);
        }
    }

    /// Says that the process stops: not ready from here on, whatever the gates say.
    pub fn stopping(&self) {
        let mut state = self.lock();
        state.stopping = true;
        state.gates.insert(PROCESS.to_owned(), Entry { owner: 0, why: Some("stopping".to_owned()) });
        self.publish(&state);
    }

    /// What is not ready, now and at each change.
    pub fn watch(&self) -> watch::Receiver<NotReady> {
        self.0.not_ready.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is valid between any two statements under the lock, so a panic elsewhere leaves nothing half done.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, state: &State) {
        let now: NotReady =
            state.gates.iter().filter_map(|(name, entry)| Some((name.clone(), entry.why.clone()?))).collect();
        self.0.not_ready.send_if_modified(|before| {
            let changed = *before != now;
            *before = now;
            changed
        });
    }

    fn say(&self, name: &str, owner: u64, why: Option<String>) {
        let mut state = self.lock();
        if let Some(entry) = state.gates.get_mut(name).filter(|entry| entry.owner == owner) {
            entry.why = why;
            self.publish(&state);
        }
    }
}

/// One part's say in readiness. Dropped without a word it means not ready.
#[derive(Debug)]
pub struct Gate {
    readiness: Readiness,
    name: Cow<'static, str>,
    owner: u64,
}

impl Gate {
    /// This part is ready.
    pub fn ready(&self) {
        self.readiness.say(&self.name, self.owner, None);
    }

    /// This part is not ready, and why, for people.
    pub fn not_ready(&self, why: impl Into<String>) {
        self.readiness.say(&self.name, self.owner, Some(why.into()));
    }

    /// This part is no longer asked (a VM taken out of the configuration).
    pub fn retire(self) {
        let mut state = self.readiness.lock();
        if state.gates.get(self.name.as_ref()).is_some_and(|entry| entry.owner == self.owner) {
            state.gates.remove(self.name.as_ref());
            self.readiness.publish(&state);
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let mut state = self.readiness.lock();
        if let Some(entry) = state.gates.get_mut(self.name.as_ref()).filter(|entry| entry.owner == self.owner)
            // The last word of a part that said why stays: it tells more than that the part is gone.
            && entry.why.is_none()
        {
            entry.why = Some("gone".to_owned());
            self.readiness.publish(&state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Readiness;

    fn not_ready(readiness: &Readiness) -> Vec<String> {
        readiness.watch().borrow().iter().map(|(name, why)| format!("{name}: {why}")).collect()
    }

    #[test]
    fn readiness_is_said_by_every_gate_and_by_the_process() {
        let readiness = Readiness::new();
        assert_eq!(not_ready(&readiness), ["process: starting"]);
        let journal = readiness.gate("journal", "opening");
        let server = readiness.gate("server", "binding");
        readiness.started();
        assert_eq!(not_ready(&readiness), ["journal: opening", "server: binding"]);
        journal.ready();
        server.ready();
        assert!(not_ready(&readiness).is_empty());
        journal.not_ready("disk full");
        assert_eq!(not_ready(&readiness), ["journal: disk full"]);
        journal.ready();
        readiness.stopping();
        readiness.started();
        assert_eq!(not_ready(&readiness), ["process: stopping"]);
    }

    #[test]
    fn a_dropped_gate_is_not_ready_and_a_retired_one_is_not_asked() {
        let readiness = Readiness::new();
        readiness.started();
        let gate = readiness.gate("journal", "opening");
        gate.ready();
        drop(gate);
        assert_eq!(not_ready(&readiness), ["journal: gone"]);
        let again = readiness.gate("journal", "opening again");
        again.ready();
        assert!(not_ready(&readiness).is_empty());
        again.not_ready("disk full");
        assert_eq!(not_ready(&readiness), ["journal: disk full"]);
        again.retire();
        assert!(not_ready(&readiness).is_empty());
    }

    #[test]
    fn an_older_gate_of_the_same_name_has_no_say() {
        let readiness = Readiness::new();
        readiness.started();
        let old = readiness.gate("server", "binding");
        let new = readiness.gate("server", "binding again");
        new.ready();
        old.not_ready("late");
        drop(old);
        assert!(not_ready(&readiness).is_empty());
    }

    #[tokio::test]
    async fn watchers_are_told_of_changes_alone() {
        let readiness = Readiness::new();
        let gate = readiness.gate("journal", "opening");
        let mut watch = readiness.watch();
        watch.mark_unchanged();
        gate.not_ready("opening");
        assert!(!watch.has_changed().expect("the sender lives"));
        gate.ready();
        assert!(watch.has_changed().expect("the sender lives"));
    }
}
