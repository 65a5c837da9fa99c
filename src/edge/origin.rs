//! Where a request that carries no proof of intent comes from: a cookie is sent by the browser whoever asks (G30).

use std::net::{Ipv4Addr, Ipv6Addr};

use http::header::{HOST, HeaderName, ORIGIN};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, Method, Uri};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// Whether a request with ambient authority (a cookie, or nothing at all in open mode) comes from our own pages, from
/// the person, or from no browser.
///
/// Reading: `Sec-Fetch-Site` must be `same-origin`, `none` or absent, and `Origin`, if there is one, ours; following a
/// link from elsewhere is allowed, for its answer is shown to the person and not to the page. Changing: it must be
/// proven, by `Sec-Fetch-Site: same-origin` or by an `Origin` that is ours. `listed` origins may read.
pub(super) fn own_page(request: &Parts, tls: bool, listed: &[String]) -> bool {
    let site = text(&request.headers, &SEC_FETCH_SITE);
    let shown = text(&request.headers, &ORIGIN);
    let origin = shown.map(|origin| is_ours(origin, request, tls));
    let reads = matches!(request.method, Method::GET | Method::HEAD | Method::OPTIONS);
    match (reads, site, origin) {
        (true, _, _) if shown.is_some_and(|origin| is_listed(origin, listed)) => true,
        (_, _, Some(false)) => false,
        (_, Some("same-origin"), _) => true,
        (true, Some("none") | None, _) => true,
        (true, Some(_), _) => {
            request.method == Method::GET && text(&request.headers, &SEC_FETCH_MODE) == Some("navigate")
        }
        (false, site, origin) => site.is_none() && origin == Some(true),
    }
}

/// Whether the page that sent the request, if one did, is ours or `listed`. For a request that carries proof of its own.
pub(super) fn known_page(request: &Parts, tls: bool, listed: &[String]) -> bool {
    text(&request.headers, &ORIGIN).is_none_or(|origin| is_listed(origin, listed) || is_ours(origin, request, tls))
}

/// Every browser of these years says one or the other with a request that changes something; curl says neither.
pub(super) fn from_a_browser(request: &Parts) -> bool {
    request.headers.contains_key(SEC_FETCH_SITE) || request.headers.contains_key(ORIGIN)
}

/// Whether `origin` is one of `listed`; browsers send both in lower case (RFC 6454, 6.1).
pub(super) fn is_listed(origin: &str, listed: &[String]) -> bool {
    listed.iter().any(|known| known.eq_ignore_ascii_case(origin))
}

/// Whether the request is addressed to this machine. A page that rebinds its own name to 127.0.0.1 is not.
pub(super) fn to_this_machine(request: &Parts) -> bool {
    authority(request).is_some_and(|authority| {
        let host = authority.host();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        bare.eq_ignore_ascii_case("localhost")
            || bare.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
            || bare.parse::<Ipv6Addr>().is_ok_and(|ip| ip.is_loopback())
    })
}

/// Whether `origin` is that of the request's own address. `null`, and what is no origin, is not.
fn is_ours(origin: &str, request: &Parts, tls: bool) -> bool {
    let Ok(origin) = origin.parse::<Uri>() else { return false };
    // Behind a proxy that ends TLS our own scheme says nothing; with TLS of our own there is no other.
    let scheme = matches!((origin.scheme_str(), tls), (Some("https"), _) | (Some("http"), false));
    let same =
        |ours: Authority| origin.authority().is_some_and(|theirs| theirs.as_str().eq_ignore_ascii_case(ours.as_str()));
    scheme && authority(request).is_some_and(same)
}

/// The host and port that the client addressed: `:authority` in HTTP/2, `Host` in HTTP/1.
fn authority(request: &Parts) -> Option<Authority> {
    request.uri.authority().cloned().or_else(|| text(&request.headers, &HOST)?.parse().ok())
}

/// The header's value, if it is there once and is text. Twice is as good as a lie.
fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    match values.next() {
        None => Some(first.to_str().unwrap_or("")),
        Some(_) => Some(""),
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::{known_page, own_page, to_this_machine};

    fn parts(method: &str, headers: &[(&str, &str)]) -> http::request::Parts {
        let mut request = Request::builder().method(method).uri("/x").header("host", "gate.example:8765");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn g30_only_our_own_pages_use_a_cookie() {
        let site = |value| ("sec-fetch-site", value);
        const OURS: (&str, &str) = ("origin", "https://gate.example:8765");
        type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], bool);
        let cases: [Case<'_>; 18] = [
            ("GET", &[], true),
            ("GET", &[site("same-origin")], true),
            ("GET", &[site("none")], true),
            ("GET", &[OURS], true),
            ("GET", &[site("cross-site")], false),
            ("GET", &[site("same-site")], false),
            ("GET", &[site("cross-site"), ("sec-fetch-mode", "navigate")], true),
            ("GET", &[site("cross-site"), ("sec-fetch-mode", "cors")], false),
            ("GET", &[("origin", "null")], false),
            ("GET", &[("origin", "https://evil.example")], false),
            ("POST", &[], false),
            ("POST", &[site("none")], false),
            ("POST", &[site("same-origin")], true),
            ("POST", &[OURS], true),
            ("POST", &[("origin", "http://gate.example:8765")], false),
            ("POST", &[site("same-site"), OURS], false),
            ("POST", &[site("cross-site"), ("sec-fetch-mode", "navigate")], false),
            ("POST", &[site("same-origin"), ("origin", "null")], false),
        ];
        for (method, headers, allowed) in cases {
            assert_eq!(own_page(&parts(method, headers), true, &[]), allowed, "{method} {headers:?}");
        }
        assert!(
            own_page(&parts("POST", &[("origin", "http://gate.example:8765")]), false, &[]),
            "plain HTTP of our own"
        );
        assert!(!own_page(&parts("POST", &[OURS, OURS]), true, &[]), "said twice");

        let listed = ["https://dash.example".to_owned()];
        let theirs = ("origin", "https://dash.example");
        assert!(own_page(&parts("GET", &[theirs, site("cross-site")]), true, &listed));
        assert!(!own_page(&parts("GET", &[("origin", "https://dash.example.evil")]), true, &listed));
        assert!(!own_page(&parts("POST", &[theirs, site("same-site")]), true, &listed), "it may read and not change");
        assert!(known_page(&parts("GET", &[theirs]), true, &listed) && known_page(&parts("GET", &[]), true, &listed));
        assert!(!known_page(&parts("GET", &[("origin", "null")]), true, &listed));
    }

    #[test]
    fn a_rebound_name_is_not_this_machine() {
        for (host, here) in [
            ("localhost:8765", true),
            ("LOCALHOST", true),
            ("127.0.0.1:8765", true),
            ("127.9.9.9", true),
            ("[::1]:8765", true),
            ("evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("192.168.1.1", false),
            ("localhost.evil.example", false),
            ("", false),
        ] {
            let request = Request::builder().uri("/x").header("host", host).body(()).unwrap().into_parts().0;
            assert_eq!(to_this_machine(&request), here, "{host}");
        }
    }
}
