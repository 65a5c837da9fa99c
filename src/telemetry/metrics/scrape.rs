//! What a scrape gets: everything on a registry, after a look at what is not counted as it happens.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use prometheus::{Encoder, Registry, TextEncoder};

/// Content type of what [`encode`] gives.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything on `registry` in the Prometheus text format 0.0.4, as [`CONTENT_TYPE`] names it.
pub fn encode(registry: &Registry) -> String {
    let mut text = Vec::new();
    if let Err(error) = TextEncoder::new().encode(&registry.gather(), &mut text) {
        tracing::error!(%error, "metrics could not be written out");
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Sets gauges of what is so now. It must not wait for anything but a short lock.
type Look = Box<dyn Fn() + Send>;

/// A registry, and the looks that are taken before it is read: what can be counted at any time (queues, tasks, memory)
/// costs nothing until somebody asks.
pub struct Scrape {
    registry: Registry,
    looks: Mutex<Vec<Look>>,
}

impl Scrape {
    /// Everything on `registry`.
    pub fn new(registry: Registry) -> Self {
        Self { registry, looks: Mutex::default() }
    }

    /// Has `look` called before each scrape from now on, on the thread that scrapes.
    pub fn before_each(&self, look: impl Fn() + Send + 'static) {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(look));
    }

    /// Looks, and writes everything out.
    pub fn text(&self) -> String {
        {
            // Held over the looks: two scrapes at once would both bring a counter to the total that they saw.
            let looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
            looks.iter().for_each(|look| look());
        }
        encode(&self.registry)
    }
}

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scrape").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::Scrape;
    use crate::telemetry::Metrics;

    #[test]
    fn what_is_so_now_is_looked_at_by_each_scrape_and_by_nothing_else() {
        let metrics = Metrics::new();
        let scrape = Scrape::new(metrics.registry.clone());
        let open = metrics.hub.streams_behind.clone();
        scrape.before_each(move || open.inc());
        assert_eq!(metrics.hub.streams_behind.get(), 0);
        for n in 1..=2 {
            let text = scrape.text();
            assert!(text.lines().any(|line| line == format!("gatewatch_streams_behind {n}")), "{text}");
        }
    }
}
