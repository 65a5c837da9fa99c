//! The table at the end.

use std::fmt;

use super::{Verdict, quantile, say};

/// How things stand: all clients together.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// Completions that reached a client.
    pub events: usize,
    /// Of these (or instead of them), what went wrong.
    pub wrong: Verdict,
    /// Connections made.
    pub connections: usize,
    /// Seconds from gatewatch's sight of a completion to the client's, all so far.
    pub delays: Vec<f64>,
    /// Resident memory of the servers, bytes.
    pub memory: u64,
}

/// Rows, and promises that were broken beside them.
#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<String>,
    measured: Vec<String>,
    broken: Vec<String>,
}

impl Standing {
    /// Adds what one client shows.
    pub fn add(&mut self, verdict: Verdict) {
        self.events += verdict.events;
        self.wrong.lost.extend(verdict.lost);
        self.wrong.doubled.extend(verdict.doubled);
        self.wrong.disordered.extend(verdict.disordered);
        self.wrong.invented.extend(verdict.invented);
        self.wrong.resets.extend(verdict.resets);
    }
}

impl Report {
    /// A fault that struck `times` between two standings.
    pub fn row(&mut self, fault: &str, times: usize, began: &Standing, ended: &Standing) {
        let grew = |of: fn(&Verdict) -> &Vec<String>| of(&ended.wrong).len().saturating_sub(of(&began.wrong).len());
        let [lost, doubled, invented] = [grew(|v| &v.lost), grew(|v| &v.doubled), grew(|v| &v.invented)];
        let [disordered, resets] = [grew(|v| &v.disordered), grew(|v| &v.resets)];
        let delays = ended.delays.get(began.delays.len()..).unwrap_or_default();
        self.rows.push(format!(
            "| {fault:<26} | {times:>5} | {:>8} | {lost:>4} | {doubled:>7} | {disordered:>12} | {invented:>8} | {resets:>6} | {:>10} | {:>6.0} | {:>6.0} | {:>7.1} | {:>7.1} |",
            ended.events - began.events,
            ended.connections - began.connections,
            quantile(delays, 0.5) * 1e3,
            quantile(delays, 0.99) * 1e3,
            began.memory as f64 / 1e6,
            ended.memory as f64 / 1e6,
        ));
        if !ended.wrong.is_clean() {
            self.broke(format!("{fault}: {}", ended.wrong));
        }
        if let Some(row) = self.rows.last() {
            say(row);
        }
    }

    /// A row of a fault that could not be tried here, and why.
    pub fn skipped(&mut self, fault: &str, why: &str) {
        self.rows.push(format!("| {fault:<26} | NOT RUN: {why}"));
    }

    /// A line below the table.
    pub fn measured(&mut self, what: String) {
        say(&what);
        self.measured.push(what);
    }

    /// A promise was broken.
    pub fn broke(&mut self, what: String) {
        say(&format!("BROKEN: {what}"));
        self.broken.push(what);
    }

    /// Whether none was.
    pub fn is_clean(&self) -> bool {
        self.broken.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n| {:<26} | times |   events | lost | doubled | out of order | invented | resets | reconnects | p50 ms | p99 ms | MB then | MB now  |",
            "fault"
        )?;
        writeln!(
            f,
            "|----------------------------|------:|---------:|-----:|--------:|-------------:|---------:|-------:|-----------:|-------:|-------:|--------:|--------:|"
        )?;
        self.rows.iter().try_for_each(|row| writeln!(f, "{row}"))?;
        if !self.measured.is_empty() {
            writeln!(f)?;
        }
        self.measured.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        match self.broken.len() {
            0 => writeln!(f, "\nEvery promise was kept."),
            n => {
                writeln!(f, "\n{n} promises were broken:\n")?;
                self.broken.iter().try_for_each(|what| writeln!(f, "BROKEN: {what}"))
            }
        }
    }
}
