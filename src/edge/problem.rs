//! Errors as problem documents (RFC 9457): the one place that turns an error into a response.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use serde::Serialize;

/// Media type of a problem document.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

/// What went wrong, for the client. What only the operator may know goes to the log, joined by the request id.
#[derive(Clone, Debug)]
pub struct Problem(Box<Said>);

/// Boxed, so that a `Result` with a problem in it stays small.
#[derive(Clone, Debug)]
struct Said {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: Option<String>,
    headers: HeaderMap,
}

/// The document as on the wire.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'a str,
    status: u16,
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

impl Problem {
    /// A problem. `code` is what programs read: `[a-z_]+`, one meaning each, never changed. `title` is for people and
    /// the same whenever the code is.
    pub fn new(status: StatusCode, code: &'static str, title: &'static str) -> Self {
        Self(Box::new(Said { status, code, title, detail: None, headers: HeaderMap::new() }))
    }

    /// The problem that a bare status stands for, when whoever answered said no more.
    pub fn of_status(status: StatusCode) -> Self {
        let (code, title) = match status {
            StatusCode::BAD_REQUEST => ("bad_request", "The request is not understood"),
            StatusCode::UNAUTHORIZED => return Self::unauthorized(),
            StatusCode::FORBIDDEN => ("forbidden", "This is not allowed"),
            StatusCode::NOT_FOUND => ("not_found", "There is nothing here"),
            StatusCode::METHOD_NOT_ALLOWED => ("method_not_allowed", "This method is not for this address"),
            StatusCode::REQUEST_TIMEOUT => ("request_timeout", "The request took too long to arrive"),
            StatusCode::PAYLOAD_TOO_LARGE => ("body_too_large", "The request body is too large"),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => ("unsupported_media_type", "The request body is of the wrong type"),
            StatusCode::UNPROCESSABLE_ENTITY => ("invalid", "The request body does not hold what it must"),
            StatusCode::SERVICE_UNAVAILABLE => ("unavailable", "This cannot be answered now"),
            status if status.is_client_error() => ("refused", "The request is refused"),
            _ => ("internal", "Something went wrong here"),
        };
        Self::new(status, code, title)
    }

    /// 401, the same in every byte whatever was wrong with the credential (G24), with its challenge (RFC 9110, 11.6.1).
    pub fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "A valid credential is needed")
            .header(http::header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"gatewatch\""))
    }

    /// Adds what is particular to this occurrence, for people. It must hold nothing that the caller may not know.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// Adds a header to the response.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.insert(name, value);
        self
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// What programs read.
    pub fn code(&self) -> &'static str {
        self.0.code
    }

    /// The document, with the request id if there is one by now.
    pub(super) fn document(&self, request_id: Option<&str>) -> Vec<u8> {
        let document = Document {
            kind: format!("/problems/{}", self.0.code),
            title: self.0.title,
            status: self.0.status.as_u16(),
            code: self.0.code,
            detail: self.0.detail.as_deref(),
            request_id,
        };
        serde_json::to_vec(&document).expect("strings and a number are always JSON")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.document(None)));
        *response.status_mut() = self.0.status;
        *response.headers_mut() = self.0.headers.clone();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        // The layer that knows the request id writes the document anew.
        response.extensions_mut().insert(self);
        response
    }
}
