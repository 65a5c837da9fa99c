//! What the acts found.

use std::collections::BTreeMap;

use crate::faults::{quantile, say};

/// Promises that were broken, and what was measured.
#[derive(Debug, Default)]
pub struct Record {
    /// In words, each with the act that showed it.
    pub broken: Vec<String>,
    measured: BTreeMap<String, Vec<f64>>,
}

impl Record {
    /// A promise was broken.
    pub fn broke(&mut self, what: String) {
        say(&format!("fleet: BROKEN: {what}"));
        self.broken.push(what);
    }

    /// Something took so many seconds; more than `most` breaks a promise.
    pub fn took(&mut self, what: &str, seconds: f64, most: f64) {
        say(&format!("fleet: {what}: {seconds:.2} s"));
        self.measured.entry(format!("{what} (at most {most} s)")).or_default().push(seconds);
        if seconds > most {
            self.broke(format!("{what}: {seconds:.2} s"));
        }
    }

    /// A line for each thing that was measured.
    pub fn lines(&self) -> Vec<String> {
        let line = |(what, seconds): (&String, &Vec<f64>)| {
            let [half, most] = [0.5, 1.0].map(|q| quantile(seconds, q));
            format!("- {what}: {} times, median {half:.2} s, longest {most:.2} s", seconds.len())
        };
        self.measured.iter().map(line).collect()
    }
}
