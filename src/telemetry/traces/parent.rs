//! The header `traceparent` of W3C Trace Context: which trace, and which span of it, a request is part of.

use opentelemetry::trace::{SpanId, TraceId};

/// Bytes of a header of version 00: version, trace id, span id, flags.
const LENGTH: usize = 55;
/// The flag of a trace that is recorded.
const SAMPLED: u8 = 1;

/// What a `traceparent` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traceparent {
    pub(super) trace_id: TraceId,
    pub(super) span_id: SpanId,
    pub(super) sampled: bool,
}

impl Traceparent {
    /// Reads the value of the header; `None` if it is not one. Of later versions what this one knows is read, as the
    /// standard asks for.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (known, rest) = value.split_at_checked(LENGTH)?;
        let version = byte(&known[..2])?;
        let ends = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.first().is_none_or(|next| *next == b'-'),
        };
        let dashes = [2, 35, 52].iter().all(|at| known[*at] == b'-');
        if !ends || !dashes {
            return None;
        }
        let trace_id = TraceId::from_bytes(bytes(&known[3..35])?);
        let span_id = SpanId::from_bytes(bytes(&known[36..52])?);
        let flags = byte(&known[53..55])?;
        let named = trace_id != TraceId::INVALID && span_id != SpanId::INVALID;
        named.then_some(Self { trace_id, span_id, sampled: flags & SAMPLED != 0 })
    }
}

/// Bytes written as hex digits; only small letters are allowed.
fn bytes<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let small = digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    (small && hex::decode_to_slice(digits, &mut bytes).is_ok()).then_some(bytes)
}

fn byte(digits: &[u8]) -> Option<u8> {
    bytes::<1>(digits).map(|[byte]| byte)
}

#[cfg(test)]
mod tests {
    use super::Traceparent;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    #[test]
    fn a_traceparent_gives_its_ids_and_flag() {
        for (text, sampled) in [
            (format!("00-{TRACE}-{SPAN}-01"), true),
            (format!("00-{TRACE}-{SPAN}-00"), false),
            (format!("00-{TRACE}-{SPAN}-03"), true),
            (format!("cc-{TRACE}-{SPAN}-01-what-comes-later"), true),
        ] {
            let parent = Traceparent::parse(text.as_bytes()).expect(&text);
            assert_eq!(
                (parent.trace_id.to_string(), parent.span_id.to_string(), parent.sampled),
                (TRACE.to_owned(), SPAN.to_owned(), sampled)
            );
        }
    }

    #[test]
    fn what_is_not_quite_a_traceparent_is_none() {
        let zeros = |n: usize| "0".repeat(n);
        for text in [
            String::new(),
            "00".to_owned(),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-1"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("00-{TRACE}-{SPAN}-011"),
            format!("cc-{TRACE}-{SPAN}-01.later"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("0-{TRACE}-{SPAN}-001"),
            format!("+0-{TRACE}-{SPAN}-01"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{}-{SPAN}-01", zeros(32)),
            format!("00-{TRACE}-{}-01", zeros(16)),
            format!("00_{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}-0g"),
            format!(" 00-{TRACE}-{SPAN}-01"),
            "ü".repeat(28),
            "-".repeat(100_000),
        ] {
            assert_eq!(Traceparent::parse(text.as_bytes()), None, "{text}");
        }
    }
}
