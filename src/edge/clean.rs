//! What a request may not look like, before anything reads it: an address that two programs would understand in two ways,
//! a header under a name that a careless reader takes for another, an identity that only we may give.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::HeaderName;
use http::{Extensions, HeaderMap, StatusCode, Uri};

use super::Problem;

/// Bytes of the path and query of a request; one more is 414.
const MAX_URI: usize = 4096;

/// Headers that decide what a request may do, or whose it is, beside those of [`SECURITY_PREFIXES`].
const SECURITY: [&str; 24] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "x-api-key",
    "forwarded",
    "x-real-ip",
    "x-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "x-request-id",
    "host",
    "origin",
    "referer",
    "connection",
    "content-length",
    "content-type",
    "transfer-encoding",
    "upgrade",
    "last-event-id",
    "x-remote-user",
    "remote-user",
    "x-csrf-token",
    "x-original-url",
    "x-rewrite-url",
];
const SECURITY_PREFIXES: [&str; 5] = ["x-forwarded-", "sec-fetch-", "x-auth-", "x-remote-", "access-control-"];

/// Headers in which gateways tell servers who is calling, beside those of [`IDENTITY_PREFIXES`]. From a client they are a
/// lie, and nothing of ours believes them; they are taken out so that nothing ever can.
const IDENTITY: [&str; 12] = [
    "x-forwarded-user",
    "x-forwarded-email",
    "x-forwarded-groups",
    "x-forwarded-preferred-username",
    "x-forwarded-access-token",
    "x-webauth-user",
    "x-user",
    "x-user-id",
    "x-email",
    "x-client-cert",
    "x-client-dn",
    "remote-user",
];
const IDENTITY_PREFIXES: [&str; 5] = ["x-auth-", "x-authenticated-", "x-remote-", "remote-", "x-ssl-client-"];

/// A refusal that is found out before the access log begins, and answered inside it, so that it is logged and counted as
/// any other. It lies in the request's extensions.
#[derive(Clone, Debug)]
pub(super) struct Unfit(Problem);

impl Unfit {
    /// Leaves `problem` for [`refuse`]; the first one counts.
    pub(super) fn leave(extensions: &mut Extensions, problem: Problem) {
        extensions.get_or_insert_with(|| Self(problem));
    }

    /// The refusal, if one was left.
    pub(super) fn left(extensions: &Extensions) -> Option<Problem> {
        extensions.get::<Self>().map(|Self(problem)| problem.clone())
    }
}

/// Cleans the headers, and leaves a refusal if the request is unfit.
pub(super) async fn clean(mut request: Request, next: Next) -> Response {
    let fit = fit(request.uri()).and_then(|()| scrub(request.headers_mut()));
    if let Err(problem) = fit {
        Unfit::leave(request.extensions_mut(), problem);
    }
    next.run(request).await
}

/// Answers what was found unfit.
pub(super) async fn refuse(request: Request, next: Next) -> Response {
    match Unfit::left(request.extensions()) {
        Some(problem) => problem.into_response(),
        None => next.run(request).await,
    }
}

fn fit(uri: &Uri) -> Result<(), Problem> {
    if uri.path_and_query().map_or(0, |text| text.as_str().len()) > MAX_URI {
        return Err(Problem::new(StatusCode::URI_TOO_LONG, "uri_too_long", "The address is too long"));
    }
    if ambiguous(uri.path()) {
        let title = "The path can be understood in several ways";
        return Err(Problem::new(StatusCode::BAD_REQUEST, "ambiguous_path", title));
    }
    Ok(())
}

/// Whether programs on the way may disagree on which path this is (G28): an encoded slash, backslash or NUL, a backslash,
/// a step upwards, an empty segment.
fn ambiguous(path: &str) -> bool {
    // Almost every path: nothing to decode, and looked at without a copy.
    if !path.contains(['%', '\\']) && !path.contains("//") && !path.contains("..") {
        return false;
    }
    let lower = path.to_ascii_lowercase();
    let holds = ["%2f", "%5c", "%00", "\\", "//"].iter().any(|bad| lower.contains(bad));
    holds || lower.replace("%2e", ".").split('/').any(|segment| segment == "..")
}

/// Takes identity headers out (G14), and those whose names have `_` or `.`: many readers take these for `-`. If the name
/// would then be one that decides something, the request is refused (G12).
fn scrub(headers: &mut HeaderMap) -> Result<(), Problem> {
    let mut out: Vec<HeaderName> = Vec::new();
    for name in headers.keys() {
        let text = name.as_str();
        if text.contains(['_', '.']) {
            if decides(&text.replace(['_', '.'], "-")) {
                let title = "A header has a name that can be taken for another";
                return Err(Problem::new(StatusCode::BAD_REQUEST, "ambiguous_header", title));
            }
            out.push(name.clone());
        } else if is_identity(text) {
            out.push(name.clone());
        }
    }
    for name in out {
        headers.remove(name);
    }
    Ok(())
}

fn decides(name: &str) -> bool {
    SECURITY.contains(&name) || SECURITY_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || is_identity(name)
}

fn is_identity(name: &str) -> bool {
    IDENTITY.contains(&name) || IDENTITY_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Uri};

    use super::{MAX_URI, fit, scrub};

    fn headers(names: &[&'static str]) -> HeaderMap {
        names.iter().map(|name| (name.parse().expect("a name"), "x".parse().expect("a value"))).collect()
    }

    #[test]
    fn g28_a_path_that_can_be_read_in_two_ways_is_refused() {
        let bad = [
            "/api%2fvms",
            "/api%2Fvms",
            "/api%5cvms",
            "/api%5Cvms",
            "/a%00",
            "/a\\b",
            "//api/vms",
            "/api//vms",
            "/api/vms//",
            "/..",
            "/../api",
            "/api/../vms",
            "/api/..",
            "/%2e%2e/api",
            "/a/%2E%2e",
            "/a/.%2e/b",
            "/a/%2E.",
        ];
        for path in bad {
            for query in ["", "?vm=a"] {
                let uri: Uri = format!("{path}{query}").parse().expect("a URI");
                assert_eq!(fit(&uri).expect_err(path).code(), "ambiguous_path", "{path}{query}");
            }
            let absolute: Uri = format!("https://gate.example{path}").parse().expect("a URI");
            assert!(fit(&absolute).is_err(), "{path} behind an authority, as HTTP/2 has it");
        }
        for path in
            ["/", "/api/vms", "/api/vms/", "/a..b", "/...", "/a/..b/c", "/a%20b", "/a%2db", "/x?next=//b/../c%2f"]
        {
            assert!(fit(&path.parse().expect("a URI")).is_ok(), "{path}");
        }
        assert!(fit(&"*".parse().expect("a URI")).is_ok());
    }

    #[test]
    fn a_uri_of_more_than_4_kib_is_too_long() {
        let uri = |bytes: usize| format!("/?{}", "x".repeat(bytes - 2)).parse::<Uri>().expect("a URI");
        assert!(fit(&uri(MAX_URI)).is_ok());
        assert_eq!(fit(&uri(MAX_URI + 1)).expect_err("too long").status(), 414);
    }

    #[test]
    fn g12_an_alias_of_a_header_that_decides_is_refused_and_any_other_dropped() {
        for alias in [
            "x_forwarded_for",
            "x.forwarded.for",
            "x-forwarded_for",
            "X_Forwarded_Proto",
            "x_api_key",
            "x.api.key",
            "x_real_ip",
            "x_request_id",
            "sec_fetch_site",
            "sec-fetch.mode",
            "x_auth_request_user",
            "remote_user",
            "content_length",
            "transfer_encoding",
            "last_event_id",
            "x.csrf_token",
        ] {
            assert!(scrub(&mut headers(&[alias])).is_err(), "{alias}");
        }
        let mut some = headers(&["my_header", "a.b", "authorization_", "accept", "x-api-key"]);
        scrub(&mut some).expect("nothing that decides");
        let mut left: Vec<&str> = some.keys().map(|name| name.as_str()).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "x-api-key"]);
    }

    #[test]
    fn g14_an_identity_that_a_client_claims_is_taken_out() {
        let claims = [
            "x-auth-user",
            "x-auth-request-email",
            "x-authenticated-userid",
            "x-forwarded-user",
            "x-forwarded-email",
            "x-forwarded-groups",
            "x-remote-user",
            "remote-user",
            "remote-groups",
            "x-webauth-user",
            "x-ssl-client-cert",
            "x-client-cert",
        ];
        let mut some = headers(&claims);
        some.extend(headers(&["x-forwarded-for", "authorization", "cookie"]));
        scrub(&mut some).expect("no alias");
        let mut left: Vec<&str> = some.keys().map(|name| name.as_str()).collect();
        left.sort_unstable();
        assert_eq!(left, ["authorization", "cookie", "x-forwarded-for"]);
    }
}
