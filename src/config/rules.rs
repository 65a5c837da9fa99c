//! What a single text must be like, each rule once, for the file and for registrations alike.

use std::net::{IpAddr, SocketAddr};

use crate::model::disturbs_line;

/// The longest text of any key that has no shorter limit, characters.
const MAX_TEXT: usize = 500;
/// The longest path on a VM, bytes (Linux's PATH_MAX with its final NUL).
const MAX_VM_PATH: usize = 4095;
/// The longest `pgrep` pattern, characters.
const MAX_PROCESS: usize = 200;
/// The longest regular expression of a custom dialect, characters.
const MAX_REGEX: usize = 1000;
/// How large a compiled regular expression may be, bytes.
const MAX_REGEX_SIZE: usize = 1 << 20;

/// What a rule says of a text.
pub(super) type Ruled<T> = Result<T, String>;

pub(super) fn address(text: &str) -> Ruled<SocketAddr> {
    text.parse().map_err(|_| "is not an IP address and port such as 127.0.0.1:8765 or [::]:8765".to_owned())
}

/// Reachable from this machine only.
pub(super) fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// One line of text, which is read in the order in which it is written wherever it is shown.
pub(super) fn line(text: &str) -> Ruled<String> {
    if text.trim().is_empty() || text.chars().any(disturbs_line) || text.chars().count() > MAX_TEXT {
        return Err(format!(
            "is not 1 to {MAX_TEXT} characters without control characters, line separators and marks of direction"
        ));
    }
    Ok(text.to_owned())
}

/// A container's name, as Docker allows it.
pub(super) fn container(text: &str) -> Ruled<String> {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    let first = text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
    if first && text.len() <= 128 && text.bytes().all(inner) {
        return Ok(text.to_owned());
    }
    Err("a container name is at most 128 characters of A-Z, a-z, 0-9, '_', '.' and '-' and begins with a letter or digit"
        .to_owned())
}

/// A log on a VM.
pub(super) fn log_path(text: &str) -> Ruled<String> {
    if !text.starts_with('/') {
        return Err("is not an absolute path".to_owned());
    }
    if text.len() > MAX_VM_PATH || text.chars().any(char::is_control) {
        return Err(format!("is longer than {MAX_VM_PATH} bytes or has control characters"));
    }
    Ok(text.to_owned())
}

/// A pattern for `pgrep -f`, which reads POSIX extended regular expressions.
pub(super) fn process(text: &str) -> Ruled<String> {
    if text.chars().count() > MAX_PROCESS || text.chars().any(char::is_control) {
        return Err(format!("is longer than {MAX_PROCESS} characters or has control characters"));
    }
    if text.contains("(?") {
        return Err("pgrep does not know (?...) groups".to_owned());
    }
    compiled(text).map(|_| text.to_owned())
}

/// A regular expression of a custom dialect, in which one of the groups `one_of` is named (if there are any) and none
/// but these and `others`.
pub(super) fn regex_with_groups(text: &str, one_of: &[&str], others: &[&str]) -> Ruled<String> {
    if text.chars().count() > MAX_REGEX {
        return Err(format!("is longer than {MAX_REGEX} characters"));
    }
    let regex = compiled(text)?;
    let named: Vec<&str> = regex.capture_names().flatten().collect();
    if !one_of.is_empty() && !one_of.iter().any(|group| named.contains(group)) {
        let groups: Vec<String> = one_of.iter().map(|group| format!("(?<{group}>...)")).collect();
        return Err(format!("has no group {}", groups.join(" or ")));
    }
    match named.iter().find(|group| !one_of.contains(group) && !others.contains(group)) {
        Some(group) => Err(format!("has a group {group}; known here: {}", [one_of, others].concat().join(", "))),
        None => Ok(text.to_owned()),
    }
}

fn compiled(text: &str) -> Ruled<regex::Regex> {
    match regex::RegexBuilder::new(text).size_limit(MAX_REGEX_SIZE).build() {
        Ok(regex) => Ok(regex),
        Err(regex::Error::CompiledTooBig(limit)) => Err(format!("grows larger than {limit} bytes when compiled")),
        // The last line of a syntax error is the reason; the ones above draw the pattern over several lines.
        Err(error) => {
            let text = error.to_string();
            let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
            Err(format!("is not a regular expression: {reason}"))
        }
    }
}

/// Times that a script may have begun at: after 2001, before 2286.
pub(super) const EPOCH_SECONDS: std::ops::RangeInclusive<f64> = 1e9..=1e10;

/// A number within `range`.
pub(super) fn number(text: &str, range: std::ops::RangeInclusive<f64>) -> Ruled<f64> {
    let number = text.parse::<f64>().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("is not a number between {} and {}", range.start(), range.end()))
}

/// A name that is given to a cloud's command line: it can be neither an option nor more than a word.
pub(super) fn cloud_name(text: &str) -> Ruled<String> {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b"_.:()/-".contains(&b);
    if text.len() <= 256 && text.bytes().all(inner) && !text.starts_with('-') && !text.is_empty() {
        return Ok(text.to_owned());
    }
    Err("is not 1 to 256 characters of A-Z, a-z, 0-9 and _.:()/- that do not begin with '-'".to_owned())
}

/// One argument of a command.
pub(super) fn argument(text: &str) -> Ruled<String> {
    if text.len() > MAX_VM_PATH || text.contains('\0') {
        return Err(format!("is longer than {MAX_VM_PATH} bytes or has a NUL"));
    }
    Ok(text.to_owned())
}

/// An origin as browsers send it.
pub(super) fn origin(text: &str) -> Ruled<String> {
    const NOT: &str = "is not an origin such as https://dash.example.org (scheme, host and port, nothing after)";
    let url = super::HttpUrl::parse(text).map_err(|_| NOT.to_owned())?;
    if !url.is_bare() || text.ends_with('/') {
        return Err(NOT.to_owned());
    }
    Ok(text.to_owned())
}

/// The widest range of IPv4 peers to believe: the widest private network.
const WIDEST_IPV4: u8 = 8;
/// The widest range of IPv6 peers to believe: wider than what any one network is given. Unique local addresses
/// (RFC 4193, fc00::/7) are nobody's but one's own.
const WIDEST_IPV6: u8 = 16;
const WIDEST_UNIQUE_LOCAL: u8 = 7;

/// A range of peers to believe. One that holds everybody trusts everybody's word about who they are (G7), and two halves
/// are everybody again.
pub(super) fn trusted_range(text: &str) -> Ruled<super::Cidr> {
    let range: super::Cidr = text.parse()?;
    if range.prefix() == 0 {
        return Err("trusts everybody; name your load balancers' addresses".to_owned());
    }
    let widest = match range.first() {
        IpAddr::V4(_) => WIDEST_IPV4,
        IpAddr::V6(first) if first.is_unique_local() => WIDEST_UNIQUE_LOCAL,
        IpAddr::V6(_) => WIDEST_IPV6,
    };
    if range.prefix() < widest {
        return Err("trusts nearly everybody; name your load balancers' addresses".to_owned());
    }
    Ok(range)
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn g25_a_line_is_read_as_it_is_written() {
        for text in ["für Grafana", "team 1/2: \u{5d0}\u{5d1}", "🦀", &"x".repeat(500)] {
            assert_eq!(line(text), Ok(text.to_owned()));
        }
        for c in "\n\u{1b}\u{85}\u{61c}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202e}\u{2066}\u{2069}".chars() {
            assert!(line(&format!("a{c}b")).is_err(), "{c:?}");
        }
        assert!(line(" ").is_err() && line(&"x".repeat(501)).is_err());
    }
}
