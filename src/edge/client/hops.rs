//! The entries of `X-Forwarded-For` and `Forwarded` (RFC 7239), read from the right.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName};

use super::{AddressFault, MAX_BYTES, MAX_ENTRIES};
use crate::config::ForwardedHeader;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The entries of a header, the nearest hop first.
pub(super) struct Entries(Vec<String>);

impl Entries {
    /// Those of all lines of `header`. A line of nothing but space is no line (G5); an empty entry between others is one
    /// that names nobody.
    pub(super) fn from_the_right(headers: &HeaderMap, header: ForwardedHeader) -> Result<Self, AddressFault> {
        let (name, quotes) = match header {
            ForwardedHeader::XForwardedFor => (X_FORWARDED_FOR, false),
            ForwardedHeader::Forwarded => (FORWARDED, true),
        };
        let lines = headers.get_all(name);
        if lines.iter().map(|line| line.len()).sum::<usize>() > MAX_BYTES {
            return Err(AddressFault::TooLong);
        }
        // What is no text is no address either.
        let lines: Vec<Cow<'_, str>> = lines.iter().map(|line| String::from_utf8_lossy(line.as_bytes())).collect();
        let mut entries = Vec::new();
        for line in lines.iter().rev().filter(|line| !line.trim().is_empty()) {
            let mut rest = Some(&**line);
            while let Some(text) = rest {
                if entries.len() == MAX_ENTRIES {
                    return Err(AddressFault::TooLong);
                }
                let (before, last) = split_last(text, quotes);
                entries.push(last.trim().to_owned());
                rest = before;
            }
        }
        Ok(Self(entries))
    }

    pub(super) fn as_slice(&self) -> &[String] {
        &self.0
    }
}

/// The last entry of `text` and what stands before its comma. If `quotes`, a comma in a quoted string is no separator.
///
/// Read from the right, so that a quote which a client left open cannot swallow what the proxies wrote after it.
fn split_last(text: &str, quotes: bool) -> (Option<&str>, &str) {
    let bytes = text.as_bytes();
    let mut quoted = false;
    for at in (0..bytes.len()).rev() {
        match bytes[at] {
            b'"' if quotes && !(quoted && escaped(bytes, at)) => quoted = !quoted,
            b',' if !quoted => return (Some(&text[..at]), &text[at + 1..]),
            _ => {}
        }
    }
    (None, text)
}

/// Whether an odd number of backslashes stands before `at`.
fn escaped(bytes: &[u8], at: usize) -> bool {
    bytes[..at].iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// The address that `entry` names, if it names one.
pub(super) fn address_in(entry: &str, header: ForwardedHeader) -> Option<IpAddr> {
    match header {
        ForwardedHeader::XForwardedFor => node(entry, true),
        ForwardedHeader::Forwarded => forwarded_for(entry),
    }
}

/// `for` of one `forwarded-element` (RFC 7239, 4); `None` if it is not there once, or the element is not well formed.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut found = None;
    let mut rest = element;
    loop {
        let (name, after) = rest.split_once('=')?;
        if name.is_empty() || !name.bytes().all(is_token) {
            return None;
        }
        let (value, quoted, after) = value(after)?;
        if name.eq_ignore_ascii_case("for") {
            // IPv6, and an address with its port, are quoted because of their colons (RFC 7239, 6).
            let address = node(&value, false).filter(|address| quoted || address.is_ipv4());
            if found.replace(address?).is_some() {
                return None;
            }
        }
        match after.trim_start() {
            "" => return found,
            more => rest = more.strip_prefix(';')?.trim_start(),
        }
    }
}

/// A token or a quoted string at the beginning of `text`, whether it was quoted, and what follows (RFC 9110, 5.6.4).
fn value(text: &str) -> Option<(Cow<'_, str>, bool, &str)> {
    let Some(inside) = text.strip_prefix('"') else {
        let end = text.bytes().position(|byte| !is_token(byte)).unwrap_or(text.len());
        return (end > 0).then(|| (Cow::Borrowed(&text[..end]), false, &text[end..]));
    };
    let mut value = String::new();
    let mut chars = inside.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((Cow::Owned(value), true, &inside[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            other => value.push(other),
        }
    }
    None
}

/// `tchar` of RFC 9110, 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// An address with or without its port. `bare`: IPv6 may stand without brackets, as it does in `X-Forwarded-For`.
/// `unknown`, `_hidden` (RFC 7239, 6.2, 6.3) and an IPv6 address with a zone are none (G6, G10).
fn node(text: &str, bare: bool) -> Option<IpAddr> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let address: Ipv6Addr = address.parse().ok()?;
        let fits = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return fits.then(|| IpAddr::V6(address).to_canonical());
    }
    if bare && let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    let (address, port) = text.split_once(':').map_or((text, None), |(address, port)| (address, Some(port)));
    let address: Ipv4Addr = address.parse().ok()?;
    port.is_none_or(is_port).then_some(IpAddr::V4(address))
}

/// A port, or a name in place of one (RFC 7239, 6).
fn is_port(text: &str) -> bool {
    if let Some(name) = text.strip_prefix('_') {
        return !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    }
    (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}
