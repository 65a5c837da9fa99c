//! `[vm.simulated]`: what a simulated VM plays.

use super::keys::words;
use super::listed::{
    SIMULATED_DIALECT, SIMULATED_ONCE, SIMULATED_SPEED, SIMULATED_START_AT, SIMULATED_STARTED, SIMULATED_TASKS,
    SIMULATED_TROUBLE,
};
use super::rules;
use super::table::Table;

/// What a simulated VM plays.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulatedConfig {
    /// Epoch seconds at which its script began; `None`: when gatewatch starts.
    pub started: Option<f64>,
    /// Seconds of the script per second of the clock, 0.1 to 60.
    pub speed: f64,
    /// Second of the script at which it begins.
    pub start_at: f64,
    /// Tasks per run, 2 to 1000.
    pub tasks: u64,
    /// How its log is written.
    pub dialect: SimulatedDialect,
    /// Whether it stops answering for a while in each round.
    pub trouble: bool,
    /// Whether it plays one round only.
    pub once: bool,
}

words! {
    /// How a simulated VM writes its log.
    SimulatedDialect {
        /// `Task 5/30: notepad_1`.
        Openadapt = "openadapt",
        /// Windows Agent Arena's own.
        Waa = "waa",
    }
}

/// Reads `[vm.simulated]`, which may be there only for a simulated VM.
pub(super) fn read(table: &Table<'_>) -> SimulatedConfig {
    SimulatedConfig {
        started: table.parsed(&SIMULATED_STARTED, |text| rules::number(text, rules::EPOCH_SECONDS)),
        speed: table.parsed(&SIMULATED_SPEED, |text| rules::number(text, 0.1..=60.0)).unwrap_or(1.0),
        start_at: table.duration(&SIMULATED_START_AT).as_secs_f64(),
        tasks: table.integer(&SIMULATED_TASKS),
        dialect: table.word(&SIMULATED_DIALECT, SimulatedDialect::from_word, SimulatedDialect::Openadapt),
        trouble: table.bool(&SIMULATED_TROUBLE),
        once: table.bool(&SIMULATED_ONCE),
    }
}
