//! The login page: a form that works without JavaScript.

use axum::response::{Html, IntoResponse, Response};
use http::StatusCode;
use http::header::{HeaderValue, REFERRER_POLICY};

const PAGE: &str = include_str!("login.html");

/// The longest way back, bytes.
const MAX_NEXT: usize = 512;

/// Where a login leads if it was not told, or was told to another site.
pub(super) const HOME: &str = "/";

/// The way back after a login: a path of our own, or [`HOME`] (G29).
///
/// Browsers take `//host` and `/\host` for addresses of other sites, and drop tabs and line breaks before they look.
pub(super) fn way_back(next: &str) -> &str {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/-._~?=&%+,:@!".contains(&b);
    let own = next.starts_with('/') && !next.starts_with("//") && next.len() <= MAX_NEXT && next.bytes().all(plain);
    if own { next } else { HOME }
}

/// The page; `refused`: after a credential that was not taken.
pub(super) fn page(next: &str, refused: bool) -> Response {
    let message =
        if refused { "<p class=\"refused\" role=\"alert\">This key or token is not valid here.</p>\n" } else { "" };
    // Of what a way back may hold only this needs escaping within an attribute.
    let next = way_back(next).replace('&', "&amp;");
    let status = if refused { StatusCode::UNAUTHORIZED } else { StatusCode::OK };
    let mut response = (status, Html(PAGE.replace("{message}", message).replace("{next}", &next))).into_response();
    // Under `no-referrer` browsers send `Origin: null` with a form, which would be refused as a foreign page's.
    response.headers_mut().insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    response
}

#[cfg(test)]
mod tests {
    use super::way_back;

    #[test]
    fn g29_a_login_leads_to_a_path_of_our_own_and_nowhere_else() {
        for own in ["/", "/vm/waa-1?run=a&b=%20", "/runs", "/a//b"] {
            assert_eq!(way_back(own), own);
        }
        let long = format!("/{}", "a".repeat(600));
        for other in [
            "",
            "//evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "https://evil.example",
            "evil.example",
            "javascript:alert(1)",
            "/\t/evil.example",
            "/\r\nSet-Cookie: a=b",
            "/\"><script>",
            "/a#b",
            " /",
            long.as_str(),
        ] {
            assert_eq!(way_back(other), "/", "{other:?}");
        }
    }
}
