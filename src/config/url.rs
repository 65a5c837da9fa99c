//! Addresses of pages: http or https, without credentials.

use std::fmt;

use http::Uri;

/// The longest URL, bytes.
const MAX_URL: usize = 2000;

/// An absolute `http` or `https` URL with a host, without user, password, fragment, spaces or control characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpUrl {
    text: Box<str>,
    uri: Uri,
}

impl HttpUrl {
    /// Checks `text`. The error is for people and does not repeat `text`.
    pub fn parse(text: &str) -> Result<Self, String> {
        const NOT: &str = "is not a URL such as http://172.30.0.2:5000/probe";
        if text.len() > MAX_URL || text.contains('#') || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(NOT.to_owned());
        }
        let uri: Uri = text.parse().map_err(|_| NOT.to_owned())?;
        let authority = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err("is not an http or https URL".to_owned());
        }
        if has_credentials(text) || uri.host().is_none_or(str::is_empty) {
            return Err("is not a URL of a host without user and password".to_owned());
        }
        // A port that is empty or too large is no error to the parser.
        let port = authority.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.contains(']'));
        if port.is_some_and(|port| !port.parse().is_ok_and(|port: u16| port > 0)) {
            return Err("has no port between 1 and 65535 after its colon".to_owned());
        }
        Ok(Self { text: text.into(), uri })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host; an IPv6 literal without its brackets.
    pub fn host(&self) -> &str {
        self.uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
    }

    /// The port, or the scheme's own.
    pub fn port(&self) -> u16 {
        let own = if self.is_https() { 443 } else { 80 };
        self.uri.port_u16().unwrap_or(own)
    }

    /// Whether it is `https`.
    pub fn is_https(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }

    /// Whether nothing follows host and port.
    pub(super) fn is_bare(&self) -> bool {
        self.uri.path() == "/" && self.uri.query().is_none()
    }
}

/// Whether `text` looks like a URL with a user or a password, which must then not be printed.
pub(super) fn has_credentials(text: &str) -> bool {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().is_some_and(|authority| authority.contains('@'))
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::HttpUrl;

    #[test]
    fn a_url_gives_its_host_and_port() {
        for (text, host, port) in [
            ("http://172.30.0.2:5000/probe", "172.30.0.2", 5000),
            ("https://vnc.example.org", "vnc.example.org", 443),
            ("http://[2001:db8::1]/x?y=1", "2001:db8::1", 80),
            ("http://[::1]:8006/", "::1", 8006),
        ] {
            let url = HttpUrl::parse(text).expect("a URL");
            assert_eq!((url.host(), url.port(), url.as_str()), (host, port, text));
        }
    }

    #[test]
    fn what_could_do_more_than_name_a_page_is_refused() {
        let long = format!("http://a/{}", "a".repeat(2000));
        for bad in [
            "",
            "a",
            "/probe",
            "172.30.0.2:5000/probe",
            "ftp://a/",
            "file:///etc/passwd",
            "http://",
            "http:///x",
            "http://u:p@a/",
            "http://u@a/",
            "http://a b/",
            "http://a/\n",
            "http://a/\0",
            "http://a:0/",
            "http://a:99999/",
            "http://a:/",
            "http://a/#x",
            "javascript:alert(1)",
            "http://ä/",
            long.as_str(),
        ] {
            assert!(HttpUrl::parse(bad).is_err(), "{bad:?}");
        }
    }
}
