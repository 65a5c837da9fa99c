//! The one place where a refusal becomes a response.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::edge::Problem;
use crate::hub::OpenError;
use crate::model::VmName;

/// Seconds that a client waits before it asks again, at least; a random part keeps clients from coming back as one.
const RETRY_AFTER_SECONDS: std::ops::RangeInclusive<u32> = 3..=10;

/// Why a request is refused. Every text may be shown to the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ApiError {
    /// `interval` is no number.
    InvalidInterval,
    /// A parameter that may be given once was given again.
    RepeatedParameter(&'static str),
    /// A parameter has a value that it cannot have; and what it may have.
    InvalidParameter(&'static str, &'static str),
    /// No such run, or of a VM that is not granted: the two are not told apart.
    UnknownRun,
    /// No such VM, or not granted: the two are not told apart.
    UnknownVm(Option<VmName>),
    /// The path names nothing.
    NoSuchRoute,
    /// The path exists, the method does not.
    WrongMethod,
    /// No credential was shown.
    Unauthenticated,
    /// The credential may not register a VM of this name.
    NotGranted(VmName),
    /// The body is not `application/json`.
    NotJson,
    /// The body is larger than the limit, or ended early.
    UnreadableBody(StatusCode, String),
    /// The body is no JSON.
    MalformedBody(String),
    /// The body is JSON but describes no VM.
    InvalidVm(String),
    /// The name is taken.
    VmExists(VmName),
    /// What should answer does not, now.
    Unavailable(String),
    /// The process is stopping.
    Stopping,
    /// No key of the keys file has this id.
    UnknownKey,
    /// The key is the last one.
    LastKey(String),
    /// No room for another stream.
    TooManyStreams,
    /// No room for another export.
    TooManyExports,
}

impl ApiError {
    /// Status, code and title: the parts that never vary.
    fn kind(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::InvalidInterval => (StatusCode::BAD_REQUEST, "invalid_interval", "The interval is not a number"),
            Self::RepeatedParameter(_) => {
                (StatusCode::BAD_REQUEST, "repeated_parameter", "A parameter is given more than once")
            }
            Self::InvalidParameter(..) => {
                (StatusCode::BAD_REQUEST, "invalid_parameter", "A parameter has a value that it cannot have")
            }
            Self::UnknownRun => (StatusCode::NOT_FOUND, "unknown_run", "Unknown run"),
            Self::UnknownVm(_) => (StatusCode::NOT_FOUND, "unknown_vm", "Unknown VM"),
            Self::NoSuchRoute => (StatusCode::NOT_FOUND, "not_found", "There is nothing at this path"),
            Self::WrongMethod => {
                (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "This path does not take this method")
            }
            Self::Unauthenticated => (StatusCode::UNAUTHORIZED, "unauthorized", "A valid credential is needed"),
            Self::NotGranted(_) => {
                (StatusCode::FORBIDDEN, "vm_not_granted", "The credential does not cover a VM of this name")
            }
            Self::NotJson => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "The body must be application/json")
            }
            Self::UnreadableBody(status, _) => (*status, "unreadable_body", "The body could not be read"),
            Self::MalformedBody(_) => (StatusCode::BAD_REQUEST, "malformed_body", "The body is not JSON"),
            Self::InvalidVm(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_vm", "The body does not describe a VM"),
            Self::VmExists(_) => (StatusCode::CONFLICT, "vm_exists", "The name is taken"),
            Self::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not possible now"),
            Self::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping", "This replica is stopping"),
            Self::UnknownKey => (StatusCode::NOT_FOUND, "unknown_key", "Unknown key"),
            Self::LastKey(_) => (StatusCode::CONFLICT, "last_key", "The last key is not revoked from here"),
            Self::TooManyStreams => (StatusCode::SERVICE_UNAVAILABLE, "too_many_streams", "No room for another stream"),
            Self::TooManyExports => (StatusCode::SERVICE_UNAVAILABLE, "too_many_exports", "No room for another export"),
        }
    }

    /// What is wrong with this request, and what to do about it.
    fn detail(&self) -> String {
        match self {
            Self::InvalidInterval => {
                "interval is a number of seconds; below 1 it becomes 1, above 60 it becomes 60".into()
            }
            Self::RepeatedParameter(name) => format!("{name} may be given once"),
            Self::InvalidParameter(name, allowed) => format!("{name} is {allowed}"),
            Self::UnknownRun => "this credential sees no run of this id".into(),
            // Nothing here tells a VM that is not granted from one that is not there.
            Self::UnknownVm(Some(vm)) => format!("this credential sees no VM named {vm}"),
            Self::UnknownVm(None) => crate::model::InvalidName.to_string(),
            Self::NoSuchRoute => "docs/API.md lists every path".into(),
            Self::WrongMethod => "the Allow header lists the methods it takes".into(),
            Self::Unauthenticated => "send an API key or a token".into(),
            Self::NotGranted(vm) => format!("{vm} matches none of the VM patterns of this credential"),
            Self::NotJson => "set Content-Type to application/json".into(),
            Self::VmExists(vm) => format!("a VM named {vm} exists"),
            Self::UnreadableBody(_, why) | Self::MalformedBody(why) | Self::InvalidVm(why) | Self::Unavailable(why) => {
                why.clone()
            }
            Self::Stopping => "connect again; another replica or the next start will answer".into(),
            Self::UnknownKey => "the keys file has no key of this id".into(),
            Self::LastKey(why) => format!("{why}; make another one first, or use the command line"),
            Self::TooManyStreams => "close a stream, or try again later".into(),
            Self::TooManyExports => "wait until another export is over, or ask for pages".into(),
        }
    }
}

impl From<OpenError> for ApiError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::UnknownVm(vm) => Self::UnknownVm(Some(vm)),
            OpenError::Stopping => Self::Stopping,
            OpenError::TooManyStreams => Self::TooManyStreams,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if self == Self::Unauthenticated {
            // The same in every byte as what the edge answers (G24).
            return Problem::unauthorized().into_response();
        }
        let (status, code, title) = self.kind();
        let mut response = Problem::new(status, code, title).detail(self.detail()).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            let wait = rand::random_range(RETRY_AFTER_SECONDS);
            response.headers_mut().insert(header::RETRY_AFTER, wait.into());
        }
        response
    }
}

#[cfg(test)]
pub(super) fn every_code() -> Vec<&'static str> {
    let vm = || VmName::new("a").expect("a name");
    [
        ApiError::InvalidInterval,
        ApiError::RepeatedParameter("interval"),
        ApiError::InvalidParameter("limit", "a number"),
        ApiError::UnknownRun,
        ApiError::UnknownVm(None),
        ApiError::NoSuchRoute,
        ApiError::WrongMethod,
        ApiError::Unauthenticated,
        ApiError::NotGranted(vm()),
        ApiError::NotJson,
        ApiError::UnreadableBody(StatusCode::PAYLOAD_TOO_LARGE, String::new()),
        ApiError::MalformedBody(String::new()),
        ApiError::InvalidVm(String::new()),
        ApiError::VmExists(vm()),
        ApiError::Unavailable(String::new()),
        ApiError::Stopping,
        ApiError::UnknownKey,
        ApiError::LastKey(String::new()),
        ApiError::TooManyStreams,
        ApiError::TooManyExports,
    ]
    .map(|error| error.kind().1)
    .to_vec()
}
