//! Who is calling, and what they may do.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Timestamp, VmName};

/// One right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// Watch events and read the polling routes.
    #[serde(rename = "events:read")]
    EventsRead,
    /// Read `/metrics` on the public listener.
    #[serde(rename = "metrics:read")]
    MetricsRead,
    /// Register VMs.
    #[serde(rename = "vms:write")]
    VmsWrite,
    /// Open the VNC view.
    #[serde(rename = "vnc:view")]
    VncView,
    /// Everything, and the administration page.
    #[serde(rename = "admin")]
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 5] = [Self::EventsRead, Self::MetricsRead, Self::VmsWrite, Self::VncView, Self::Admin];

    /// The scope as on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EventsRead => "events:read",
            Self::MetricsRead => "metrics:read",
            Self::VmsWrite => "vms:write",
            Self::VncView => "vnc:view",
            Self::Admin => "admin",
        }
    }

    /// The scope that `text` names.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of scopes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Scopes(u8);

impl Scopes {
    /// Whether `scope` is granted; `admin` grants all.
    pub fn allow(self, scope: Scope) -> bool {
        self.0 & (1 << scope as u8) != 0 || self.0 & (1 << Scope::Admin as u8) != 0
    }

    /// The scopes that both grant.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Scope::ALL.into_iter().filter(|scope| self.allow(*scope) && other.allow(*scope)).collect()
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |set, scope| set | (1 << scope as u8)))
    }
}

/// What kind of credential was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PrincipalKind {
    /// An API key.
    ApiKey,
    /// A JWT.
    Jwt,
    /// A browser session.
    Session,
    /// A single-use ticket.
    Ticket,
}

/// The VMs that a principal may see: globs over names, in which `*` stands for any run of characters.
///
/// A VM name has only `[a-z0-9-]`, so `*` and literal characters are the whole language.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VmGrant {
    globs: Arc<[Box<str>]>,
    /// And one of these, for a credential that was made out of another for less.
    only: Option<Arc<[Box<str>]>>,
}

impl VmGrant {
    /// Every VM.
    pub fn all() -> Self {
        Self { globs: Arc::from([Box::from("*")]), only: None }
    }

    /// Those that match one of `globs`; none if there are none.
    pub fn from_globs<I: IntoIterator<Item = S>, S: Into<Box<str>>>(globs: I) -> Self {
        Self { globs: globs.into_iter().map(Into::into).collect(), only: None }
    }

    /// Whether `text` is a glob: 1 to 63 of `a-z 0-9 - *`.
    pub fn is_glob(text: &str) -> bool {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'*');
        (1..=63).contains(&text.len()) && text.bytes().all(plain)
    }

    /// The globs.
    pub fn globs(&self) -> &[Box<str>] {
        &self.globs
    }

    /// The globs of which one must match too, if it was narrowed.
    pub fn only(&self) -> Option<&[Box<str>]> {
        self.only.as_deref()
    }

    /// Those of these that match one of the globs of `only` too. A grant is narrowed once: what it was narrowed to before
    /// does not count any more.
    #[must_use]
    pub fn narrowed(&self, only: &Self) -> Self {
        Self { globs: Arc::clone(&self.globs), only: Some(Arc::clone(&only.globs)) }
    }

    /// What `base` grants, narrowed as this is.
    #[must_use]
    pub fn over(&self, base: &Self) -> Self {
        Self { globs: Arc::clone(&base.globs), only: self.only.clone() }
    }

    /// Whether `vm` is among them.
    pub fn allows(&self, vm: &VmName) -> bool {
        let one_of = |globs: &[Box<str>]| globs.iter().any(|glob| matches(glob.as_bytes(), vm.as_str().as_bytes()));
        one_of(&self.globs) && self.only.as_deref().is_none_or(one_of)
    }
}

/// Linear-time match of a glob with `*` only (the last star is the only one worth returning to).
fn matches(glob: &[u8], text: &[u8]) -> bool {
    let (mut g, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if glob.get(g) == Some(&b'*') {
            star = Some((g, t));
            g += 1;
        } else if glob.get(g) == Some(&text[t]) {
            g += 1;
            t += 1;
        } else if let Some((at, from)) = star {
            star = Some((at, from + 1));
            g = at + 1;
            t = from + 1;
        } else {
            return false;
        }
    }
    glob[g..].iter().all(|b| *b == b'*')
}

/// By which secret exactly a principal was let in, so that it ends with that one and not only with its name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Basis {
    /// Which of a key's secrets: the beginning of its hash.
    pub key_secret: Option<u64>,
    /// The browser session.
    pub session: Option<Arc<str>>,
}

/// Who is calling, and what they may do.
#[derive(Clone, Debug, PartialEq)]
pub struct Principal {
    /// What was shown.
    pub kind: PrincipalKind,
    /// Its public name: the id of the key, or `sub@iss` of the JWT, that is shown or stands behind what is shown. A key's
    /// id has no `@`, so the two never meet.
    pub name: Arc<str>,
    /// The `iss` of the JWT that is shown or stands behind what is shown; `None`: it is an API key.
    pub issuer: Option<Arc<str>>,
    /// What it may do.
    pub scopes: Scopes,
    /// The VMs it may see.
    pub vms: VmGrant,
    /// By which secret it was let in.
    pub basis: Basis,
    /// When the credential ends; `None`: never.
    pub expires_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::{Scope, Scopes, VmGrant};
    use crate::model::VmName;

    #[test]
    fn a_grant_allows_what_its_globs_match() {
        let grant = VmGrant::from_globs(["waa-*", "lab", "*-gpu-*x"]);
        for (name, allowed) in [
            ("waa-1", true),
            ("waa-", true),
            ("waa", false),
            ("lab", true),
            ("lab2", false),
            ("a-gpu-bx", true),
            ("a-gpu-b", false),
        ] {
            assert_eq!(grant.allows(&VmName::new(name).expect("a name")), allowed, "{name}");
        }
        assert!(!VmGrant::from_globs(Vec::<String>::new()).allows(&VmName::new("a").expect("a name")));
    }

    #[test]
    fn a_narrowed_grant_allows_what_both_match_and_stays_narrowed_over_another_base() {
        let name = |name| VmName::new(name).expect("a name");
        let narrowed = VmGrant::from_globs(["waa-*"]).narrowed(&VmGrant::from_globs(["*-1", "lab"]));
        for (vm, allowed) in [("waa-1", true), ("waa-2", false), ("lab", false), ("x-1", false)] {
            assert_eq!(narrowed.allows(&name(vm)), allowed, "{vm}");
        }
        let wider = narrowed.over(&VmGrant::all());
        assert!(wider.allows(&name("lab")) && wider.allows(&name("x-1")) && !wider.allows(&name("waa-2")));
    }

    #[test]
    fn what_two_sets_of_scopes_share_is_all_that_and_leaves() {
        let set = |scopes: &[Scope]| scopes.iter().copied().collect::<Scopes>();
        let reader = set(&[Scope::EventsRead, Scope::VncView]);
        assert_eq!(set(&[Scope::Admin]).and(reader), reader);
        assert_eq!(reader.and(set(&[Scope::EventsRead, Scope::MetricsRead])), set(&[Scope::EventsRead]));
    }

    #[test]
    fn admin_includes_every_scope() {
        let admin: Scopes = [Scope::Admin].into_iter().collect();
        let reader: Scopes = [Scope::EventsRead].into_iter().collect();
        assert!(Scope::ALL.iter().all(|scope| admin.allow(*scope)));
        assert!(reader.allow(Scope::EventsRead) && !reader.allow(Scope::VmsWrite));
    }
}
