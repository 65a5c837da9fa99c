//! The closed sets of label values.

use super::family::LabelSet;
use crate::model::Whose;

macro_rules! label_set {
    ($(#[doc = $about:literal])+ $name:ident { $( $(#[doc = $doc:literal])+ $value:ident = $text:literal, )+ }) => {
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $( $(#[doc = $doc])+ $value, )+ }

        impl LabelSet for $name {
            const ALL: &'static [Self] = &[$(Self::$value),+];

            fn as_str(self) -> &'static str {
                match self { $(Self::$value => $text),+ }
            }

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

label_set! {
    /// How a poll ended.
    PollOutcome {
        /// The VM answered.
        Ok = "ok",
        /// The VM's fault.
        Vm = "vm",
        /// The fault of what lies between.
        Network = "network",
        /// The fault of this process, its configuration or its machine.
        Local = "local",
    }
}

impl From<Whose> for PollOutcome {
    fn from(whose: Whose) -> Self {
        match whose {
            Whose::Vm => Self::Vm,
            Whose::Network => Self::Network,
            // No client takes part in a poll; what claims so is a fault of ours.
            Whose::Local | Whose::Client => Self::Local,
        }
    }
}

label_set! {
    /// What became of a reload.
    ReloadOutcome {
        /// The new files are in force.
        Ok = "ok",
        /// One of them was refused; the old state stays.
        Refused = "refused",
    }
}

label_set! {
    /// What credential a request showed.
    AuthMethod {
        /// None.
        None = "none",
        /// An API key as `Authorization: Bearer`.
        Bearer = "bearer",
        /// An API key as `X-API-Key`.
        ApiKey = "x_api_key",
        /// A session cookie.
        Session = "session",
        /// A login code.
        LoginCode = "login_code",
        /// Something in the query.
        Query = "query",
        /// Several that differ.
        Several = "several",
        /// Nobody is asked: authentication is off.
        Open = "open",
    }
}

label_set! {
    /// What became of it.
    AuthOutcome {
        /// Let in.
        Ok = "ok",
        /// Nothing shown where something is needed.
        Missing = "missing",
        /// Not of the form of a credential.
        Malformed = "malformed",
        /// No such credential.
        Unknown = "unknown",
        /// The id exists, the secret is another.
        Wrong = "wrong",
        /// It was valid once.
        Expired = "expired",
        /// Shown in a place or a number in which no credential is taken.
        Refused = "refused",
        /// Valid, but without the scope that the route needs.
        Forbidden = "forbidden",
        /// Valid, but sent by a page of another origin.
        CrossSite = "cross_site",
    }
}

label_set! {
    /// How a TLS handshake ended.
    HandshakeOutcome {
        /// Done.
        Ok = "ok",
        /// The peer took longer than the handshake limit.
        Timeout = "timeout",
        /// The peer hung up.
        Closed = "closed",
        /// The peer sent an alert: most often it does not trust the certificate.
        Alert = "alert",
        /// No version, cipher or protocol in common.
        Incompatible = "incompatible",
        /// What came was not TLS.
        NotTls = "not_tls",
        /// Anything else.
        Failed = "failed",
    }
}
