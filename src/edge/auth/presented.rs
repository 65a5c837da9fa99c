//! What credential a request shows, and where.

use axum::extract::Query;
use http::header::{AUTHORIZATION, COOKIE, HeaderName};
use http::{HeaderMap, Uri};

use super::jwt::holds_token;
use super::keys::PREFIX;
use crate::model::Secret;
use crate::telemetry::AuthMethod;

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Query keys under which people send credentials.
const QUERY_KEYS: [&str; 10] =
    ["api_key", "apikey", "x-api-key", "key", "access_key", "token", "access_token", "jwt", "auth", "authorization"];

/// The one credential of a request.
#[derive(Debug)]
pub(super) struct Presented {
    pub(super) method: AuthMethod,
    pub(super) secret: Secret,
}

/// Why no credential could be taken from a request that shows something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// A credential in the query: it is in logs and histories by now (G41).
    InQuery,
    /// Several that differ: which one counts would be a guess (G31).
    Several,
    /// An `Authorization` that is no `Bearer`, or bytes that are no text.
    Malformed(AuthMethod),
}

/// The credential that `headers` show, if any.
pub(super) fn presented(headers: &HeaderMap, uri: &Uri, cookie: &str) -> Result<Option<Presented>, Unfit> {
    let ticket = in_query(uri)?;
    let mut found: Option<Presented> = None;
    let mut show = |method: AuthMethod, text: Option<&str>| {
        let text = text.ok_or(Unfit::Malformed(method))?;
        match &found {
            // The same key in both headers is no contradiction.
            Some(first) if first.secret.matches(text) => Ok(()),
            Some(_) => Err(Unfit::Several),
            None => {
                found = Some(Presented { method, secret: Secret::new(text) });
                Ok(())
            }
        }
    };
    if let Some(ticket) = &ticket {
        show(AuthMethod::Ticket, Some(ticket))?;
    }
    for value in headers.get_all(AUTHORIZATION) {
        show(AuthMethod::Bearer, value.to_str().ok().and_then(bearer))?;
    }
    for value in headers.get_all(X_API_KEY) {
        show(AuthMethod::ApiKey, value.to_str().ok().map(str::trim))?;
    }
    // Cookies that are no text are not ours.
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    for (name, value) in lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('=')) {
        if name == cookie {
            show(AuthMethod::Session, Some(value))?;
        }
    }
    Ok(found)
}

/// The token in `Bearer <token>` (RFC 6750, 2.1; the scheme in any case, RFC 9110, 11.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The ticket in the query, which is the one credential that may be there.
fn in_query(uri: &Uri) -> Result<Option<String>, Unfit> {
    let Ok(Query(pairs)) = Query::<Vec<(String, String)>>::try_from_uri(uri) else {
        // What cannot be read cannot be cleared.
        return Err(Unfit::InQuery);
    };
    let credential = |text: &str| text.trim_start().starts_with(PREFIX) || holds_key(text) || holds_token(text);
    let mut ticket = None;
    for (key, value) in pairs {
        // One that stands before the `=` is no safer.
        let misplaced = credential(&key) || credential(&value);
        if misplaced || QUERY_KEYS.iter().any(|bad| key.eq_ignore_ascii_case(bad)) {
            return Err(Unfit::InQuery);
        }
        if key == "ticket" && ticket.replace(value).is_some() {
            return Err(Unfit::Several);
        }
    }
    Ok(ticket)
}

/// Whether a key stands anywhere in `text`: behind `Bearer`, in quotes, in an address.
fn holds_key(text: &str) -> bool {
    let one_more = |text: &str| text.starts_with(|c: char| c.is_ascii_alphanumeric());
    text.match_indices(PREFIX).any(|(at, _)| {
        let id = &text[at + PREFIX.len()..];
        let rest = id.trim_start_matches(|c: char| c.is_ascii_alphanumeric());
        one_more(id) && rest.strip_prefix('_').is_some_and(one_more)
    })
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::{Unfit, presented};
    use crate::telemetry::AuthMethod;

    fn shown(uri: &str, headers: &[(&str, &str)]) -> Result<Option<(AuthMethod, String)>, Unfit> {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).unwrap();
        presented(request.headers(), request.uri(), "gatewatch")
            .map(|found| found.map(|found| (found.method, found.secret.expose().to_owned())))
    }

    #[test]
    fn one_credential_is_found_wherever_it_may_be() {
        let found = |method, text: &str| Ok(Some((method, text.to_owned())));
        assert_eq!(shown("/", &[]), Ok(None));
        assert_eq!(shown("/?interval=5&vm=a", &[("cookie", "other=1; gatewatchx=2")]), Ok(None));
        assert_eq!(shown("/", &[("authorization", "Bearer gw_a_b")]), found(AuthMethod::Bearer, "gw_a_b"));
        assert_eq!(shown("/", &[("authorization", "bearer  gw_a_b ")]), found(AuthMethod::Bearer, "gw_a_b"));
        assert_eq!(shown("/", &[("x-api-key", "gw_a_b")]), found(AuthMethod::ApiKey, "gw_a_b"));
        assert_eq!(shown("/", &[("cookie", "a=b; gatewatch=c; d=e")]), found(AuthMethod::Session, "c"));
        let same = [("authorization", "Bearer gw_a_b"), ("x-api-key", "gw_a_b")];
        assert_eq!(shown("/", &same), found(AuthMethod::Bearer, "gw_a_b"));
    }

    #[test]
    fn what_is_ambiguous_or_misplaced_is_not_taken() {
        let several: [&[(&str, &str)]; 4] = [
            &[("authorization", "Bearer gw_a_b"), ("x-api-key", "gw_a_c")],
            &[("authorization", "Bearer gw_a_b"), ("authorization", "Bearer gw_a_c")],
            &[("authorization", "Bearer gw_a_b"), ("cookie", "gatewatch=c")],
            &[("cookie", "gatewatch=c; gatewatch=d")],
        ];
        for headers in several {
            assert_eq!(shown("/", headers), Err(Unfit::Several), "{headers:?}");
        }
        for scheme in ["Basic YTpi", "Bearer", "gw_a_b", ""] {
            let malformed = Err(Unfit::Malformed(AuthMethod::Bearer));
            assert_eq!(shown("/", &[("authorization", scheme)]), malformed, "{scheme}");
        }
        for query in ["api_key=1", "KEY=1", "a=b&token=", "access_token=x", "vm=gw_a_b", "vm=%67w_a_b", "x=+gw_a_b"] {
            assert_eq!(shown(&format!("/?{query}"), &[]), Err(Unfit::InQuery), "{query}");
        }
    }

    #[test]
    fn g41_a_credential_in_the_query_is_noticed_in_every_disguise() {
        let token = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJ4In0.c2ln";
        // `{ "alg":"none"}`, and one with a line break before and after the brace.
        let (blank, breaks) = ("eyAiYWxnIjoibm9uZSJ9.e30.", "CnsKImFsZyI6Im5vbmUifQ.e30.");
        for query in [
            "x=Bearer%20gw_a_b".to_owned(),
            "x=%22gw_a_b%22".to_owned(),
            "x=a,gw_9_b".to_owned(),
            "Bearer+gw_a_b=".to_owned(),
            "next=/p?key%3Dgw_a_b".to_owned(),
            format!("x=Bearer%20{token}"),
            format!("x=%22{token}%22"),
            format!("x=/cb%23t%3D{token}%26a"),
            format!("x=a.{token}"),
            format!("x={blank}"),
            format!("x={breaks}"),
            format!("bearer+{blank}=1"),
        ] {
            assert_eq!(shown(&format!("/?{query}"), &[]), Err(Unfit::InQuery), "{query}");
        }
        for name in ["apikey", "API_KEY", "Authorization", "x-api-key", "auth", "jwt", "access_key"] {
            assert_eq!(shown(&format!("/?{name}=1"), &[]), Err(Unfit::InQuery), "{name}");
        }
        for query in [
            "vm=waa-1",
            "interval=5",
            "lastEventId=k3J9-7.0",
            "next=/a.b.c",
            // Decodes to a `{` with no JSON behind it.
            "next=https://example.co.uk/",
            "vm=e.f.g&x=..&y=...",
            "x=bgw_a&y=gw%20_a_b&z=agw__b",
            "x=bearer",
        ] {
            assert_eq!(shown(&format!("/?{query}"), &[]), Ok(None), "{query}");
        }
        let ticket = Ok(Some((AuthMethod::Ticket, "gwt_a9".to_owned())));
        assert_eq!(shown("/?ticket=gwt_a9&vm=waa-1", &[]), ticket);
    }

    #[test]
    fn g42_a_token_anywhere_in_the_query_is_noticed() {
        let text = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJ4In0.";
        let encoded = text.replace('.', "%2E");
        let encrypted = format!("{text}a.b");
        for query in [format!("vm={text}"), format!("x={encoded}"), text.to_owned(), format!("a=b&c=+{encrypted}")] {
            assert_eq!(shown(&format!("/?{query}"), &[]), Err(Unfit::InQuery), "{query}");
        }
        for query in ["vm=eyJ", "vm=a.b.c", "vm=xeyJ.b.c"] {
            assert_eq!(shown(&format!("/?{query}"), &[]), Ok(None), "{query}");
        }
    }
}
