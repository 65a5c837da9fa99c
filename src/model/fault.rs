//! What can go wrong, whose fault it is, and whether trying again helps.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Whose fault a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Whose {
    /// The VM, its container or its log.
    Vm,
    /// What lies between.
    Network,
    /// This process, its configuration or its machine.
    Local,
    /// The caller of the API.
    Client,
}

impl Whose {
    /// The word on the wire, in metrics and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Vm => "vm",
            Self::Network => "network",
            Self::Local => "local",
            Self::Client => "client",
        }
    }
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! error_codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal, $whose:ident, $retry:literal;)+) => {
        /// The closed list of codes that an `error` event carries.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum ErrorCode {
            $($(#[doc = $doc])+ #[serde(rename = $code)] $name,)+
        }

        impl ErrorCode {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The code as on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code),+ }
            }

            /// Whose fault it is.
            pub fn whose(self) -> Whose {
                match self { $(Self::$name => Whose::$whose),+ }
            }

            /// Whether gatewatch (or, for stream errors, the client) should simply try again.
            pub fn retryable(self) -> bool {
                match self { $(Self::$name => $retry),+ }
            }

            /// One line for people, the same as in the API document.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+).trim_ascii()),+ }
            }
        }
    };
}

error_codes! {
    /// The VM did not answer within the poll timeout.
    SshTimeout = "ssh_timeout", Network, true;
    /// No TCP connection to the VM's sshd (refused, no route, name not found).
    SshUnreachable = "ssh_unreachable", Network, true;
    /// The kept SSH connection ended under a poll.
    SshLost = "ssh_lost", Network, true;
    /// The VM's sshd rejected the key or the user.
    SshAuth = "ssh_auth", Local, true;
    /// The VM's host key is unknown or differs from the known one; nothing was sent.
    HostKey = "host_key", Vm, false;
    /// ssh itself could not be started or set up on this machine.
    SshSetup = "ssh_setup", Local, true;
    /// The poll's reply was empty, cut short or not framed as asked.
    ReplyMalformed = "reply_malformed", Vm, true;
    /// The poll's reply was larger than the cap and was cut.
    ReplyTooLarge = "reply_too_large", Vm, true;
    /// Docker on the VM does not answer (any more).
    DockerUnavailable = "docker_unavailable", Vm, true;
    /// The container that was there is gone.
    ContainerMissing = "container_missing", Vm, true;
    /// The container exists but does not run.
    ContainerStopped = "container_stopped", Vm, true;
    /// Whether the benchmark process runs could not be found out.
    ProcessCheck = "process_check", Vm, true;
    /// The benchmark log exists but could not be read.
    LogUnreadable = "log_unreadable", Vm, true;
    /// Bytes of the benchmark log went before they could be read.
    LogGap = "log_gap", Vm, false;
    /// The benchmark log has lines that cannot be what they claim (absurd numbers, endless lines, binary).
    LogFormat = "log_format", Vm, false;
    /// The power command failed or said nothing that can be understood.
    PowerFailed = "power_failed", Local, true;
    /// The journal could not commit; events wait, none is lost while the VM keeps its log.
    JournalFailed = "journal_failed", Local, true;
    /// The credential of this stream expired.
    Expired = "expired", Client, false;
    /// The credential of this stream was revoked.
    Revoked = "revoked", Client, false;
    /// This replica is stopping; reconnect after the `retry` given.
    Stopping = "stopping", Local, true;
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A poll that saw nothing, and why. It is a report too.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct PollFailure {
    /// Which of the closed list.
    pub code: ErrorCode,
    /// What happened and what to do about it, for people; at most 500 characters, no control characters.
    pub message: String,
}

impl PollFailure {
    /// A failure whose message is cleaned of control characters and cut at 500 characters.
    pub fn new(code: ErrorCode, message: impl AsRef<str>) -> Self {
        let message = message.as_ref().trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect();
        Self { code, message }
    }
}

#[cfg(test)]
mod tests {
    use super::Whose;

    #[test]
    fn whose_fault_it_is_has_one_word_everywhere() {
        for whose in [Whose::Vm, Whose::Network, Whose::Local, Whose::Client] {
            assert_eq!(serde_json::to_value(whose).expect("JSON"), whose.to_string());
        }
    }
}
