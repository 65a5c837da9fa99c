//! `[trace]`: where spans go.

use http::{HeaderName, HeaderValue};

use super::listed::{TRACE_ENDPOINT, TRACE_HEADERS, TRACE_SAMPLE};
use super::table::Table;
use super::types::{TraceConfig, TraceHeader};
use super::{HttpUrl, rules};
use crate::model::Secret;

/// Reads `[trace]`.
pub(super) fn read(table: &Table<'_>) -> TraceConfig {
    let trace = TraceConfig {
        endpoint: table.parsed(&TRACE_ENDPOINT, endpoint),
        sample: table.parsed(&TRACE_SAMPLE, |text| rules::number(text, 0.0..=1.0)).unwrap_or(1.0),
        headers: table.list(&TRACE_HEADERS, header),
    };
    if !trace.headers.is_empty() {
        match &trace.endpoint {
            None if !table.has(&TRACE_ENDPOINT) => table.refuse(&TRACE_HEADERS, "is for nobody: there is no endpoint"),
            Some(endpoint) if !endpoint.is_https() && !is_here(endpoint.host()) => {
                table.warn(&TRACE_HEADERS, "goes to the endpoint in clear text: make it https");
            }
            _ => {}
        }
    }
    trace
}

/// Whether `host` is this machine.
fn is_here(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

fn endpoint(text: &str) -> Result<HttpUrl, String> {
    let url = HttpUrl::parse(text)?;
    if text.contains('?') {
        return Err("has a query; put keys into trace.headers".to_owned());
    }
    if text.trim_end_matches('/').ends_with("/v1/traces") {
        return Err("ends with /v1/traces, which is put behind it".to_owned());
    }
    Ok(url)
}

/// The error does not repeat `text`.
fn header(text: &str) -> Result<TraceHeader, &'static str> {
    const NOT: &str = "is not a header such as x-api-key=KEY";
    let (name, value) = text.split_once('=').ok_or(NOT)?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| NOT)?;
    let value = value.trim();
    if value.is_empty() || HeaderValue::from_str(value).is_err() {
        return Err(NOT);
    }
    Ok(TraceHeader { name, value: Secret::new(value) })
}
