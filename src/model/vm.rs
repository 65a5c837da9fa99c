//! Names and identities of VMs and runs.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A VM's name for people and grants: `[a-z0-9][a-z0-9-]{0,62}`. It may change; [`VmId`] does not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VmName(Arc<str>);

/// Why a string is not a VM name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a VM name is 1 to 63 characters of a-z, 0-9 and '-', and does not begin with '-'")]
pub struct InvalidName;

impl VmName {
    /// Checks `name` against `[a-z0-9][a-z0-9-]{0,62}`.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        let bytes = name.as_bytes();
        let fits = (1..=63).contains(&bytes.len());
        let plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        if fits && bytes.iter().all(|b| plain(b) || *b == b'-') && plain(&bytes[0]) {
            Ok(Self(name.into()))
        } else {
            Err(InvalidName)
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VmName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for VmName {
    type Error = InvalidName;
    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::new(&name)
    }
}

impl From<VmName> for String {
    fn from(name: VmName) -> Self {
        name.0.as_ref().to_owned()
    }
}

/// The name of the VM that stands for the files of `[files]`; a grant that covers it covers them.
pub const LOCAL_VM: &str = "local";

/// A VM's immutable identity, made at first sight and kept in the journal. It keys cursor, lease and subject.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VmId(Arc<str>);

impl VmId {
    /// Wraps an identity that a journal gave.
    pub fn from_journal(id: &str) -> Self {
        Self(id.into())
    }

    /// The identity as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What ssh dials: a host name or an IP literal, without a port. It can never be taken for an option or a command (G65).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SshHost(Arc<str>);

/// Why a string is not an [`SshHost`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a host is an IP address, or 1 to 253 characters of A-Z, a-z, 0-9, '.' and '-' that begin and end with a letter or digit"
)]
pub struct InvalidHost;

impl SshHost {
    /// Checks `host`: an IPv4 or IPv6 literal (no brackets, no zone), or `[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?`.
    pub fn new(host: &str) -> Result<Self, InvalidHost> {
        let bytes = host.as_bytes();
        let inner = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-');
        let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
        let name = bytes.len() <= 253 && edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(inner);
        // A colon is only ever part of an IPv6 literal: `host:22` would be dialled as a host of that name.
        if name || host.parse::<IpAddr>().is_ok() { Ok(Self(host.into())) } else { Err(InvalidHost) }
    }

    /// The host as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host as it stands in a URL: an IPv6 literal in brackets.
    pub fn in_url(&self) -> String {
        if self.0.contains(':') { format!("[{}]", self.0) } else { self.0.as_ref().to_owned() }
    }
}

/// A remote user: `[a-z_][a-z0-9_-]*`, at most 32 characters (G65).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SshUser(Arc<str>);

/// Why a string is not an [`SshUser`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a user is 1 to 32 characters of a-z, 0-9, '_' and '-', and begins with a letter or '_'")]
pub struct InvalidUser;

impl SshUser {
    /// Checks `user` against `[a-z_][a-z0-9_-]{0,31}`.
    pub fn new(user: &str) -> Result<Self, InvalidUser> {
        let bytes = user.as_bytes();
        let first = |b: &u8| b.is_ascii_lowercase() || *b == b'_';
        let plain = |b: &u8| first(b) || b.is_ascii_digit() || *b == b'-';
        if bytes.len() <= 32 && bytes.first().is_some_and(first) && bytes.iter().all(plain) {
            Ok(Self(user.into()))
        } else {
            Err(InvalidUser)
        }
    }

    /// The user as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! checked_text {
    ($($name:ident or $error:ident;)+) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = $error;
            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::new(&text)
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> Self {
                text.0.as_ref().to_owned()
            }
        }
    )+};
}

checked_text! {
    SshHost or InvalidHost;
    SshUser or InvalidUser;
}

/// One benchmark run: a short hash of (VM, log file, generation, offset of the line that opened it).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(Arc<str>);

impl RunId {
    /// Wraps a run's hash.
    pub fn from_hash(hash: &str) -> Self {
        Self(hash.into())
    }

    /// The hash as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A VM as `POST /api/vms/register` names it, in the field names of the server this replaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegisteredVm {
    /// Name for people; must be free.
    pub name: VmName,
    /// Host name or IP literal that ssh dials.
    pub ssh_host: String,
    /// Remote user; empty: the one that `register.user` of the configuration names.
    #[serde(default)]
    pub ssh_user: String,
    /// Port of the VNC page on the VM.
    #[serde(default = "default_vnc_port")]
    pub vnc_port: u16,
    /// Port of the benchmark server's `/probe`.
    #[serde(default = "default_waa_port")]
    pub waa_port: u16,
    /// Name of the container.
    #[serde(default = "default_container")]
    pub docker_container: String,
    /// Address of the benchmark server as seen from the VM.
    #[serde(default = "default_internal_ip")]
    pub internal_ip: String,
}

fn default_vnc_port() -> u16 {
    8006
}
fn default_waa_port() -> u16 {
    5000
}
fn default_container() -> String {
    "winarena".to_owned()
}
fn default_internal_ip() -> String {
    "172.30.0.2".to_owned()
}

#[cfg(test)]
mod tests {
    use super::{RegisteredVm, SshHost, SshUser, VmName};

    #[test]
    fn g65_a_host_that_ssh_could_read_as_an_option_or_a_command_is_refused() {
        let long = "a".repeat(254);
        for bad in [
            "",
            "-oProxyCommand=id",
            "a b",
            "a;id",
            "a\n",
            "a\0",
            "$(id)",
            "user@host",
            "host:22",
            "[::1]",
            "fe80::1%eth0",
            "ä.example",
            "a.",
            ".a",
            "a-",
            "ssh://a",
            "a/b",
            "::g",
            long.as_str(),
        ] {
            assert!(SshHost::new(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "A9", "192.0.2.10", "::1", "2001:db8::7", "waa-1.example.org", &"a".repeat(253)] {
            assert_eq!(SshHost::new(good).map(|host| host.to_string()).as_deref(), Ok(good));
        }
        assert_eq!(SshHost::new("2001:db8::7").expect("a host").in_url(), "[2001:db8::7]");
    }

    #[test]
    fn g65_a_user_that_ssh_could_read_as_an_option_or_a_command_is_refused() {
        for bad in ["", "-l", "a b", "a@b", "a;id", "Admin", "9a", "a\n", "ä", &"a".repeat(33)] {
            assert!(SshUser::new(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "_", "azureuser", "svc_waa-1", &"a".repeat(32)] {
            assert_eq!(SshUser::new(good).map(|user| user.to_string()).as_deref(), Ok(good));
        }
    }

    #[test]
    fn a_registration_needs_a_name_and_a_host_only() {
        let vm: RegisteredVm =
            serde_json::from_str(r#"{"name":"waa-1","ssh_host":"192.0.2.10"}"#).expect("a registration");
        assert_eq!((vm.ssh_user.as_str(), vm.vnc_port, vm.waa_port), ("", 8006, 5000));
        assert_eq!((vm.docker_container.as_str(), vm.internal_ip.as_str()), ("winarena", "172.30.0.2"));
    }

    #[test]
    fn g65_a_name_that_a_shell_could_read_is_refused() {
        for bad in ["", "a; rm -rf /", "-a", "A", "a_b", "a.b", "ä", &"a".repeat(64), "a\n"] {
            assert!(VmName::new(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "0", "waa-eval-vm", &"a".repeat(63), "a-"] {
            assert!(VmName::new(good).is_ok(), "{good:?}");
        }
    }
}
