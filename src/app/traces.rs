//! From `[trace]` to what makes spans and what sends them.

use http::HeaderValue;

use crate::config::TraceConfig;
use crate::telemetry::metrics::TraceMetrics;
use crate::telemetry::traces::{Export, TraceError};
use crate::telemetry::{TraceSettings, Traces};

/// `None`: no endpoint is set.
///
/// # Errors
/// If there can be no client for it.
pub(super) fn open(
    config: &TraceConfig,
    replica: &str,
    metrics: &TraceMetrics,
) -> Result<Option<(Traces, Export)>, TraceError> {
    let Some(url) = config.url() else { return Ok(None) };
    let headers = config.headers.iter().filter_map(|header| {
        // The configuration takes no value that a header may not have.
        let mut value = HeaderValue::from_str(header.value.expose()).ok()?;
        value.set_sensitive(true);
        Some((header.name.clone(), value))
    });
    let settings =
        TraceSettings { url, sample: config.sample, headers: headers.collect(), replica: replica.to_owned() };
    Traces::new(settings, metrics).map(Some)
}
