//! The audit log: who came in and by what, who was kept out and why in truth, and who may come in from now on.
//!
//! Lines of the target `gatewatch::audit`, one each, with an `event`: `login`, `logout`, `ticket`, `revoke`, `refused`, `keys`, `reload`,
//! `reload_refused`. What a request did carries its request id, which the client has too. No line holds a secret: a key is
//! named by its id (G62).

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::auth::KeyChanges;
use crate::telemetry::metrics::LabelSet;
use crate::telemetry::{AuthMethod, AuthOutcome};

/// Refusals for one reason that the limit on failed logins does not hold back (nothing was shown, or what was shown was not
/// looked at) and that are written in one [`WINDOW`], from all addresses together. The others are counted, and the next line
/// says how many.
const UNLIMITED_LINES: u32 = 60;
/// What [`UNLIMITED_LINES`] counts in.
const WINDOW: Duration = Duration::from_secs(60);

/// What a request did that an audit asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// A browser session was opened.
    Login,
    /// A browser session was ended.
    Logout,
    /// A ticket was made.
    Ticket,
    /// An API key was revoked.
    Revoke,
}

impl Act {
    fn as_str(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Logout => "logout",
            Self::Ticket => "ticket",
            Self::Revoke => "revoke",
        }
    }
}

/// A request, as far as an audit asks about it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'a> {
    pub(super) method: AuthMethod,
    pub(super) outcome: Option<AuthOutcome>,
    /// Who was let in.
    pub(super) principal: Option<&'a str>,
    /// Who it was said to be, where nobody was let in: the id of the key that was shown.
    pub(super) claimed: Option<&'a str>,
    pub(super) act: Option<Act>,
    pub(super) client: Option<IpAddr>,
    pub(super) request_id: Option<&'a str>,
    /// The route of the table.
    pub(super) route: &'a str,
    pub(super) status: u16,
}

impl Seen<'_> {
    /// Why it was refused, if auth did that.
    fn refusal(&self) -> Option<AuthOutcome> {
        let outcome = self.outcome.filter(|outcome| *outcome != AuthOutcome::Ok)?;
        let refused = match self.status {
            401 | 403 | 429 => true,
            400 => outcome == AuthOutcome::Refused,
            // Such as a page that was served although the browser sent a cookie of long ago with its request.
            _ => false,
        };
        refused.then_some(outcome)
    }
}

/// Writes what requests did. One for the whole edge.
#[derive(Debug, Default)]
pub(super) struct Audit(Mutex<[Budget; AuthOutcome::ALL.len()]>);

/// Whether the limit on failed logins holds refusals of this kind back, so that none of them need be left out: what was
/// looked at, and was no cookie.
fn held_back(method: AuthMethod, reason: AuthOutcome) -> bool {
    use AuthOutcome::{Algorithm, Claims, Expired, Revoked, TooEarly, Unknown, Wrong};
    method != AuthMethod::Session
        && matches!(reason, Unknown | Wrong | Expired | TooEarly | Revoked | Claims | Algorithm)
}

impl Audit {
    /// Writes the line of a request, if an audit asks for one.
    pub(super) fn request(&self, seen: &Seen<'_>, now: Instant) {
        if let Some(reason) = seen.refusal() {
            let suppressed = if held_back(seen.method, reason) {
                0
            } else {
                // Every change is a whole one: a panic cannot leave it half done.
                let mut budgets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                match budgets[reason.index()].take(now) {
                    Some(suppressed) => suppressed,
                    None => return,
                }
            };
            tracing::warn!(
                target: "gatewatch::audit",
                event = "refused",
                reason = reason.as_str(),
                method = seen.method.as_str(),
                principal = seen.principal,
                claimed = seen.claimed,
                client = seen.client.map(tracing::field::display),
                route = seen.route,
                status = seen.status,
                request_id = seen.request_id,
                suppressed = (suppressed > 0).then_some(suppressed),
            );
        }
        if let Some(act) = seen.act {
            tracing::info!(
                target: "gatewatch::audit",
                event = act.as_str(),
                method = seen.method.as_str(),
                principal = seen.principal,
                client = seen.client.map(tracing::field::display),
                request_id = seen.request_id,
            );
        }
    }
}

/// Which keys came, went and changed; nothing if none did.
pub fn keys_changed(changes: &KeyChanges) {
    if changes.is_empty() {
        return;
    }
    tracing::info!(
        target: "gatewatch::audit",
        event = "keys",
        added = changes.added.join(" "),
        removed = changes.removed.join(" "),
        changed = changes.changed.join(" "),
    );
}

/// Everything was read anew and is in force; `waiting` names the sections that a restart must bring in force.
pub fn reloaded(waiting: &[&str]) {
    tracing::info!(target: "gatewatch::audit", event = "reload", needs_restart = waiting.join(" "));
}

/// What was read anew is refused, and everything stays as it was.
pub fn reload_refused(why: &str) {
    tracing::warn!(target: "gatewatch::audit", event = "reload_refused", reason = why);
}

/// How many lines may be written still.
#[derive(Debug, Default)]
struct Budget {
    /// The window, and the lines written in it.
    window: Option<(Instant, u32)>,
    suppressed: u64,
}

impl Budget {
    /// Takes a line at `now`: how many were not written since the last one; `None`: this one is not either.
    fn take(&mut self, now: Instant) -> Option<u64> {
        let (began, written) = self.window.filter(|(began, _)| now < *began + WINDOW).unwrap_or((now, 0));
        if written >= UNLIMITED_LINES {
            self.suppressed += 1;
            return None;
        }
        self.window = Some((began, written + 1));
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Budget, Seen, UNLIMITED_LINES, WINDOW};
    use crate::telemetry::{AuthMethod, AuthOutcome};

    #[test]
    fn a_flood_is_counted_and_does_not_fill_the_log() {
        let mut budget = Budget::default();
        let began = Instant::now();
        let written = (0..1000).filter(|n| budget.take(began + Duration::from_millis(*n)).is_some()).count();
        assert_eq!(written, UNLIMITED_LINES as usize);
        assert_eq!(budget.take(began + WINDOW), Some(1000 - u64::from(UNLIMITED_LINES)));
        assert_eq!(budget.take(began + WINDOW), Some(0));
    }

    #[test]
    fn only_what_auth_refused_is_a_refusal() {
        let refused = |outcome, status| {
            let seen = Seen {
                method: AuthMethod::Session,
                outcome,
                principal: None,
                claimed: None,
                act: None,
                client: None,
                request_id: None,
                route: "/",
                status,
            };
            seen.refusal().is_some()
        };
        for (outcome, status, expected) in [
            (AuthOutcome::Missing, 401, true),
            (AuthOutcome::Forbidden, 403, true),
            (AuthOutcome::Throttled, 429, true),
            (AuthOutcome::Refused, 400, true),
            (AuthOutcome::Unknown, 200, false),
            (AuthOutcome::Unknown, 400, false),
            (AuthOutcome::Ok, 403, false),
        ] {
            assert_eq!(refused(Some(outcome), status), expected, "{outcome:?} {status}");
        }
        assert!(!refused(None, 404));
    }
}
