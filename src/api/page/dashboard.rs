//! A built page's files as answers: compressed as the client takes it, and not sent again to whoever has them.

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// One file of the page.
#[derive(Debug)]
pub(super) struct File {
    /// Its path below the page's root.
    pub(super) name: &'static str,
    pub(super) plain: &'static [u8],
    pub(super) gzip: Option<&'static [u8]>,
    pub(super) brotli: Option<&'static [u8]>,
}

/// A year, the longest that caches heed (RFC 9111 has no bound; RFC 2616 advised this one).
const FOR_GOOD: &str = "public, max-age=31536000, immutable";

pub(super) fn find(files: &'static [File], name: &str) -> Option<&'static File> {
    files.iter().find(|file| file.name == name)
}

impl File {
    /// The file to a request with these headers (RFC 9110, sections 12.5.3 and 13.1.2).
    pub(super) fn answer(&self, headers: &HeaderMap) -> Response {
        let (coding, bytes) = self.coded(&accepted(headers));
        // Each coding is a representation of its own.
        let etag = format!("\"{:016x}{}\"", digest(self.plain), coding.map_or("", |coding| &coding[..1]));
        let named = self.name.starts_with("assets/");
        let mut response = if holds(headers, &etag) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            let mut whole = Bytes::from_static(bytes).into_response();
            whole.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type(self.name)));
            if let Some(coding) = coding {
                whole.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
            }
            whole
        };
        let kept = HeaderValue::from_static(if named { FOR_GOOD } else { "no-cache" });
        let out = response.headers_mut();
        out.insert(header::CACHE_CONTROL, kept);
        out.append(header::VARY, HeaderValue::from_static("accept-encoding"));
        if let Ok(etag) = HeaderValue::from_str(&etag) {
            out.insert(header::ETAG, etag);
        }
        response
    }

    /// The smallest form that the client takes.
    fn coded(&self, accepted: &Accepted) -> (Option<&'static str>, &'static [u8]) {
        match (self.brotli, self.gzip) {
            (Some(bytes), _) if accepted.brotli => (Some("br"), bytes),
            (_, Some(bytes)) if accepted.gzip => (Some("gzip"), bytes),
            _ => (None, self.plain),
        }
    }
}

/// The codings that a client takes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Accepted {
    brotli: bool,
    gzip: bool,
}

fn accepted(headers: &HeaderMap) -> Accepted {
    let mut said = (None, None, None);
    for value in headers.get_all(header::ACCEPT_ENCODING) {
        for item in value.to_str().unwrap_or_default().split(',') {
            let (name, params) = item.split_once(';').unwrap_or((item, ""));
            let weight = params.split(';').find_map(|param| param.trim().strip_prefix("q="));
            let takes = weight.is_none_or(|weight| weight.trim().parse::<f32>().is_ok_and(|weight| weight > 0.0));
            match name.trim().to_ascii_lowercase().as_str() {
                "br" => said.0 = Some(takes),
                "gzip" | "x-gzip" => said.1 = Some(takes),
                "*" => said.2 = Some(takes),
                _ => {}
            }
        }
    }
    let (brotli, gzip, any) = said;
    let or_any = |one: Option<bool>| one.or(any).unwrap_or(false);
    Accepted { brotli: or_any(brotli), gzip: or_any(gzip) }
}

/// Whether the client has what `etag` names. Weak or strong makes no difference here.
fn holds(headers: &HeaderMap, etag: &str) -> bool {
    let values = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|tag| {
        let tag = tag.trim();
        tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag
    })
}

/// The same in every process of one binary, which is all that a client compares.
fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("woff2") => "font/woff2",
        Some("png") => "image/png",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static FILES: &[File] = &[
        File { name: "index.html", plain: b"<!doctype html>", gzip: None, brotli: None },
        File { name: "assets/a-1f.js", plain: b"plain", gzip: Some(b"gz"), brotli: Some(b"br") },
    ];

    fn headers(pairs: &[(header::HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn the_client_says_which_codings_it_takes() {
        let cases = [
            ("gzip, deflate, br", true, true),
            ("gzip;q=1.0, br;q=0", false, true),
            ("*", true, true),
            ("*;q=0, gzip", false, true),
            ("BR ; q=0.001", true, false),
            ("identity", false, false),
            ("br;q=nonsense", false, false),
            ("", false, false),
        ];
        for (said, brotli, gzip) in cases {
            let headers = headers(&[(header::ACCEPT_ENCODING, said)]);
            assert_eq!(accepted(&headers), Accepted { brotli, gzip }, "{said:?}");
        }
        assert_eq!(accepted(&HeaderMap::new()), Accepted::default());
    }

    #[test]
    fn a_file_goes_out_in_the_smallest_form_that_is_taken() {
        let file = find(FILES, "assets/a-1f.js").expect("it is there");
        for (said, coding, length) in [("br, gzip", Some("br"), 2), ("gzip", Some("gzip"), 2), ("identity", None, 5)] {
            let response = file.answer(&headers(&[(header::ACCEPT_ENCODING, said)]));
            assert_eq!(response.headers().get(header::CONTENT_ENCODING).map(|v| v.to_str().expect("text")), coding);
            assert_eq!(axum::body::HttpBody::size_hint(response.body()).exact(), Some(length), "{said}");
            assert_eq!(response.headers()[header::CONTENT_TYPE], "text/javascript; charset=utf-8");
            assert_eq!(response.headers()[header::CACHE_CONTROL], FOR_GOOD);
            assert_eq!(response.headers()[header::VARY], "accept-encoding");
        }
        let index =
            find(FILES, "index.html").expect("it is there").answer(&headers(&[(header::ACCEPT_ENCODING, "br")]));
        assert!(index.headers().get(header::CONTENT_ENCODING).is_none());
        assert_eq!(index.headers()[header::CACHE_CONTROL], "no-cache");
        assert!(find(FILES, "assets/../index.html").is_none());
    }

    #[test]
    fn who_has_a_file_is_not_sent_it_again() {
        let file = find(FILES, "assets/a-1f.js").expect("it is there");
        let takes = (header::ACCEPT_ENCODING, "br");
        let etag = file.answer(&headers(std::slice::from_ref(&takes))).headers()[header::ETAG].clone();
        let tag = etag.to_str().expect("text");
        for said in [tag.to_owned(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".to_owned()] {
            let mut asks = headers(std::slice::from_ref(&takes));
            asks.insert(header::IF_NONE_MATCH, said.parse().expect("a value"));
            let response = file.answer(&asks);
            assert_eq!(response.status(), StatusCode::NOT_MODIFIED, "{said}");
            assert_eq!(response.headers()[header::ETAG], etag);
        }
        // Another coding is another representation, and another content another file.
        let mut asks = HeaderMap::new();
        asks.insert(header::IF_NONE_MATCH, etag);
        assert_eq!(file.answer(&asks).status(), StatusCode::OK);
    }
}
