//! What clients are told of limits: `Retry-After`, and `RateLimit` and `RateLimit-Policy` as in
//! draft-ietf-httpapi-ratelimit-headers-10.

use std::fmt::Write as _;
use std::time::Duration;

use http::header::{HeaderName, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::edge::Problem;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// Room for an item of `RateLimit`, bytes.
const TOLD_LENGTH: usize = 48;

/// The title of `too_many_requests`.
const TOO_MANY: &str = "Too many requests";

/// A quota as clients are told of it (the draft's section 3).
#[derive(Clone, Debug)]
pub(super) struct Policy {
    name: &'static str,
    line: HeaderValue,
}

impl Policy {
    /// `quota` requests within `window`.
    pub(super) fn new(name: &'static str, quota: u32, window: Duration) -> Self {
        Self { name, line: value(format!("\"{name}\";q={quota};w={}", seconds(window))) }
    }

    /// `quota` at the same time (the draft's section 3.1.2).
    pub(super) fn at_once(name: &'static str, quota: usize) -> Self {
        Self { name, line: value(format!("\"{name}\";q={quota};qu=\"concurrent-requests\"")) }
    }

    /// Adds both headers: `left` of the quota, and that it is whole again, or some of it free again, in `wait` seconds.
    /// Several quotas may hold for one answer: each adds its item to the list (the draft's section 4).
    pub(super) fn tell(&self, headers: &mut HeaderMap, left: u32, wait: Option<u64>) {
        headers.append(RATE_LIMIT_POLICY, self.line.clone());
        let mut text = String::with_capacity(TOLD_LENGTH);
        // Writing to a String cannot fail.
        let _ = write!(text, "\"{}\";r={left}", self.name);
        if let Some(seconds) = wait {
            let _ = write!(text, ";t={seconds}");
        }
        headers.append(RATE_LIMIT, value(text));
    }
}

fn value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("constants and numbers are visible ASCII")
}

/// 429 with `Retry-After` of `wait` seconds, and with what holds if `headers` (G56).
pub(super) fn too_many(policy: &Policy, wait: u64, headers: bool) -> Problem {
    let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", TOO_MANY);
    limited(problem, policy, wait, Some(wait), headers)
}

/// 429 for one too many at the same time; that it helps to wait `wait` seconds is a guess.
pub(super) fn too_many_at_once(policy: &Policy, wait: u64, headers: bool) -> Problem {
    let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", TOO_MANY);
    limited(problem, policy, wait, None, headers)
}

/// 429 for one stream too many; that it helps to wait `wait` seconds is a guess.
pub(super) fn too_many_streams(policy: &Policy, wait: u64, headers: bool) -> Problem {
    let title = "Too many streams are open";
    let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "stream_limit", title).detail("Close one of them first.");
    limited(problem, policy, wait, None, headers)
}

fn limited(problem: Problem, policy: &Policy, wait: u64, told: Option<u64>, headers: bool) -> Problem {
    let problem = problem.header(RETRY_AFTER, wait.into());
    if !headers {
        return problem;
    }
    let mut more = HeaderMap::new();
    policy.tell(&mut more, 0, told);
    more.into_iter().fold(problem, |problem, (name, value)| match name {
        Some(name) => problem.header(name, value),
        None => problem,
    })
}

/// 503: more is being worked on than is good for all. It is over in a moment, so `Retry-After` is the least there is.
pub(super) fn overloaded() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", "Too much is asked at once")
        .header(RETRY_AFTER, 1.into())
}

/// Whole seconds, rounded up, at least 1: who waits that long waited long enough (G56).
pub(super) fn seconds(wait: Duration) -> u64 {
    let whole = wait.as_secs();
    (whole + u64::from(wait.subsec_nanos() > 0)).max(1)
}
