//! What the query string says, checked.

use axum::http::{HeaderMap, HeaderName};

use super::problem::ApiError;
use crate::event::MAX_ID_BYTES;
use crate::model::VmName;

/// The smallest and the largest interval, seconds.
const INTERVAL_RANGE: (f64, f64) = (1.0, 60.0);

/// Name and value of each parameter, decoded, in order.
pub(super) type Pairs = [(String, String)];

fn values<'a>(pairs: &'a Pairs, name: &'static str) -> impl Iterator<Item = &'a str> {
    pairs.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
}

pub(super) fn at_most_one<'a>(pairs: &'a Pairs, name: &'static str) -> Result<Option<&'a str>, ApiError> {
    let mut found = values(pairs, name);
    let first = found.next();
    if found.next().is_some() { Err(ApiError::RepeatedParameter(name)) } else { Ok(first) }
}

/// `interval`: any number, rounded and clamped to 1..=60; `default` if absent.
pub(super) fn interval(pairs: &Pairs, default: u8) -> Result<u8, ApiError> {
    let Some(text) = at_most_one(pairs, "interval")? else { return Ok(default) };
    // A plus sign reaches us as a space.
    let text = text.trim();
    // Rust also reads `inf` and `nan`, which are no numbers of seconds.
    if !text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b)) {
        return Err(ApiError::InvalidInterval);
    }
    let seconds: f64 = text.parse().map_err(|_| ApiError::InvalidInterval)?;
    let (least, most) = INTERVAL_RANGE;
    Ok(seconds.round().clamp(least, most) as u8)
}

/// `vm`, any number of times: the VMs asked for, sorted, none twice; `None` means all.
pub(super) fn vms(pairs: &Pairs) -> Result<Option<Vec<VmName>>, ApiError> {
    let mut names = values(pairs, "vm").map(name).collect::<Result<Vec<_>, _>>()?;
    names.sort_unstable();
    names.dedup();
    Ok((!names.is_empty()).then_some(names))
}

/// `vm`, at most once.
pub(super) fn vm(pairs: &Pairs) -> Result<Option<VmName>, ApiError> {
    at_most_one(pairs, "vm")?.map(name).transpose()
}

fn name(text: &str) -> Result<VmName, ApiError> {
    VmName::new(text).map_err(|_| ApiError::UnknownVm(None))
}

/// Where the client stopped: the `Last-Event-ID` header, else the parameter `lastEventId` (a page that makes a new
/// `EventSource` cannot set the header).
///
/// The text is not checked here, so that the hub can answer one that is no id with a reset; but no more of it is taken
/// than it takes to see that it is none.
pub(super) fn last_event_id(headers: &HeaderMap, pairs: &Pairs) -> Option<String> {
    let header = headers.get(HeaderName::from_static("last-event-id"));
    let header = header.map(|value| String::from_utf8_lossy(value.as_bytes()));
    let text = match header.as_deref() {
        Some(text) if !text.is_empty() => text,
        _ => values(pairs, "lastEventId").find(|value| !value.is_empty())?,
    };
    Some(text.chars().take(MAX_ID_BYTES + 1).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn any_number_is_an_interval_and_nothing_else_is() {
        for (text, wanted) in [
            ("5", 5),
            ("1", 1),
            ("60", 60),
            ("0", 1),
            ("-1", 1),
            ("-0.5", 1),
            ("61", 60),
            ("1000000000", 60),
            ("1e9", 60),
            ("1e999", 60),
            ("-1e999", 1),
            ("99999999999999999999999", 60),
            ("2.4", 2),
            ("2.5", 3),
            ("2e0", 2),
            (" 7", 7),
        ] {
            assert_eq!(interval(&pairs(&[("interval", text)]), 5), Ok(wanted), "{text:?}");
        }
        for text in ["abc", "", " ", "NaN", "nan", "inf", "-infinity", "5s", "0x5", "1_0", "٥", "5;6", "e", "+-1"] {
            assert_eq!(interval(&pairs(&[("interval", text)]), 5), Err(ApiError::InvalidInterval), "{text:?}");
        }
        assert_eq!(interval(&[], 5), Ok(5));
        assert_eq!(
            interval(&pairs(&[("interval", "5"), ("interval", "5")]), 5),
            Err(ApiError::RepeatedParameter("interval"))
        );
    }

    #[test]
    fn vms_are_named_any_number_of_times_and_each_counts_once() {
        let name = |text| VmName::new(text).expect("a name");
        assert_eq!(vms(&[]), Ok(None));
        assert_eq!(vms(&pairs(&[("vm", "b"), ("vm", "a"), ("vm", "b")])), Ok(Some(vec![name("a"), name("b")])));
        assert_eq!(vms(&pairs(&[("vm", "a"), ("vm", "A;")])), Err(ApiError::UnknownVm(None)));
        assert_eq!(vms(&pairs(&[("vm", "")])), Err(ApiError::UnknownVm(None)));
        assert_eq!(vm(&pairs(&[("vm", "a"), ("vm", "b")])), Err(ApiError::RepeatedParameter("vm")));
    }

    #[test]
    fn the_header_wins_over_the_parameter() {
        let query = pairs(&[("lastEventId", "q-1.0")]);
        let mut headers = HeaderMap::new();
        assert_eq!(last_event_id(&headers, &[]), None);
        assert_eq!(last_event_id(&headers, &query).as_deref(), Some("q-1.0"));
        headers.insert("last-event-id", "".parse().expect("a value"));
        assert_eq!(last_event_id(&headers, &query).as_deref(), Some("q-1.0"));
        headers.insert("last-event-id", "h-1.0".parse().expect("a value"));
        assert_eq!(last_event_id(&headers, &query).as_deref(), Some("h-1.0"));
        headers.insert("last-event-id", "x".repeat(9000).parse().expect("a value"));
        assert_eq!(last_event_id(&headers, &query).map(|id| id.len()), Some(MAX_ID_BYTES + 1));
        headers.insert("last-event-id", axum::http::HeaderValue::from_bytes(b"\xff\xfe").expect("a value"));
        assert!(last_event_id(&headers, &query).is_some(), "garbage reaches the hub, which answers with a reset");
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd(text in any::<String>()) {
            if let Ok(seconds) = interval(&pairs(&[("interval", &text)]), 5) {
                prop_assert!((1..=60).contains(&seconds));
            }
            let _ = vms(&pairs(&[("vm", &text)]));
        }
    }
}
