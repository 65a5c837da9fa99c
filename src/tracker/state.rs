//! The tracker's state as one value, and its JSON.

use serde::{Deserialize, Serialize};

use super::TrackerConfig;
use super::errors::Errors;
use super::source::Source;
use super::stage::Machine;
use super::view::Seen;

/// The version written here; the only one that is read.
const VERSION: u64 = 1;

/// Logs that are no longer configured and whose cursors are kept.
const MAX_RESTING: usize = 16;

/// Why a commit's state cannot be gone on from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Written by a program that is too new or too old.
    #[error("tracker state of version {0}; this program reads version {VERSION}")]
    Version(u64),
    /// Not a tracker's state, and where that shows.
    #[error("not a tracker's state: {0}")]
    Unreadable(String),
}

/// Everything that a tracker knows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct State {
    /// Polls taken in, failed ones too; a continuation belongs to the poll before it.
    pub(super) polls: u64,
    pub(super) machine: Machine,
    pub(super) seen: Seen,
    pub(super) errors: Errors,
    /// One per configured log, in order.
    pub(super) sources: Vec<Source>,
    /// Logs that are no longer configured: those with an open run, which ends at the next report, and how far others were
    /// read, so that one that is configured again is not told twice.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) retired: Vec<Source>,
}

#[derive(Serialize)]
struct Written<'a> {
    v: u64,
    state: &'a State,
}

#[derive(Deserialize)]
struct Version {
    v: u64,
}

#[derive(Deserialize)]
struct Read {
    state: State,
}

impl State {
    pub(super) fn new(config: &TrackerConfig) -> Self {
        Self { sources: config.sources.iter().map(|path| Source::new(path)).collect(), ..Self::default() }
    }

    /// Reads what [`State::to_json`] wrote.
    pub(super) fn parse(text: &str) -> Result<Self, StateError> {
        let unreadable = |error: serde_json::Error| StateError::Unreadable(error.to_string());
        let Version { v } = serde_json::from_str(text).map_err(unreadable)?;
        if v != VERSION {
            return Err(StateError::Version(v));
        }
        let Read { state } = serde_json::from_str(text).map_err(unreadable)?;
        Ok(state)
    }

    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(&Written { v: VERSION, state: self })
            .expect("plain structs whose only maps are structs always have a JSON form")
    }

    /// The same state with the logs of `config`, in its order.
    pub(super) fn fitted_to(mut self, config: &TrackerConfig) -> Self {
        let mut known: Vec<Source> = self.sources.drain(..).chain(self.retired.drain(..)).collect();
        for path in &config.sources {
            let source = match known.iter().position(|source| *source.path == **path) {
                Some(at) => known.remove(at),
                None => Source::new(path),
            };
            self.sources.push(source);
        }
        self.retired = known;
        self.rest();
        self
    }

    /// Forgets of the logs that are no longer configured what only an open run needs, and the oldest of too many.
    pub(super) fn rest(&mut self) {
        let mut resting = 0;
        self.retired.retain_mut(|source| {
            if source.run_open() {
                return true;
            }
            source.rest();
            resting += 1;
            resting <= MAX_RESTING
        });
    }
}
