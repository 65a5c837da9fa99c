//! The closed sets of label values.

use super::family::LabelSet;
use crate::model::{Stage, Whose};

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
        /// A JWT as `Authorization: Bearer`.
        Jwt = "jwt",
        /// An API key as `X-API-Key`.
        ApiKey = "x_api_key",
        /// A session cookie.
        Session = "session",
        /// A single-use ticket.
        Ticket = "ticket",
        /// A key or a JWT in the body of a login.
        Login = "login",
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
        /// It will be valid later, or says that it was made later.
        TooEarly = "too_early",
        /// Its key was taken out after it was made.
        Revoked = "revoked",
        /// Signed for somebody else, for something else, or for longer than is allowed.
        Claims = "claims",
        /// Signed in a way that is not accepted of its issuer.
        Algorithm = "algorithm",
        /// Shown in a place or a number in which no credential is taken.
        Refused = "refused",
        /// Valid, but without the scope that the route needs.
        Forbidden = "forbidden",
        /// Valid, but sent by a page of another origin.
        CrossSite = "cross_site",
        /// Not looked at: its address showed too many that were refused.
        Throttled = "throttled",
        /// Nobody could say whether it is valid.
        Unavailable = "unavailable",
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

label_set! {
    /// How the address of a request's client was found.
    AddressSource {
        /// The other end of the socket.
        Socket = "socket",
        /// A PROXY header.
        Proxy = "proxy_protocol",
        /// The header that `proxy.header` names.
        Header = "header",
        /// It is itself a trusted load balancer's: most often one is missing in `proxy.trusted`, or a load balancer does not
        /// name its clients (G8).
        Trusted = "trusted",
    }
}

label_set! {
    /// What was over its limit.
    Limit {
        /// Open connections, all together.
        Connections = "connections",
        /// Open connections of one address.
        ConnectionsPerIp = "connections_per_ip",
        /// Connections that have not sent their PROXY header yet.
        Unidentified = "connections_unidentified",
        /// Requests of one address.
        Requests = "requests",
        /// Requests of an unknown caller while the table of addresses is full.
        RequestsTableFull = "requests_table_full",
        /// Requests of one principal.
        PrincipalRequests = "principal_requests",
        /// Requests that wait for their answer, all together.
        InFlight = "requests_in_flight",
        /// Refused credentials of one address.
        AuthFailures = "auth_failures",
        /// Open streams of one address.
        StreamsPerIp = "streams_per_ip",
        /// Open streams of one principal.
        StreamsPerPrincipal = "streams_per_principal",
        /// Bytes of a request body.
        Body = "body",
        /// Time for a request body.
        BodyTime = "body_time",
    }
}

label_set! {
    /// What became of the beginning of a connection from a load balancer.
    ProxyOutcome {
        /// A header that names the client.
        Ok = "ok",
        /// A header without an address (LOCAL, UNKNOWN, a Unix socket): the load balancer speaks for itself.
        Local = "local",
        /// No header, or one that is not understood.
        Malformed = "malformed",
        /// The header was not whole in time.
        Timeout = "timeout",
        /// The peer is not one that may send a header, and only those may connect.
        Untrusted = "untrusted",
    }
}

label_set! {
    /// What became of a fetch of an issuer's keys.
    FetchOutcome {
        /// The keys are in use.
        Ok = "ok",
        /// No answer, or one without a key that can be used; the keys from before stay.
        Failed = "failed",
    }
}

label_set! {
    /// The protocol version of a handshake that ended well.
    HandshakeVersion {
        /// TLS 1.2.
        Tls12 = "1.2",
        /// TLS 1.3.
        Tls13 = "1.3",
    }
}

label_set! {
    /// What waits for its turn within the process.
    Queue {
        /// Reports of pollers on their way to the hub.
        LiveBus = "live_bus",
        /// Requests to the writer of the journal.
        Journal = "journal",
        /// Questions of streams to the journal.
        Readers = "readers",
    }
}

label_set! {
    /// How an export ended.
    ExportOutcome {
        /// The client has all of it.
        Ok = "ok",
        /// The client left before.
        Left = "left",
        /// The client took nothing for too long.
        Untaken = "untaken",
        /// It lasted longer than an export may.
        TooLong = "too_long",
        /// Its credential stands no more, or allows something else now.
        Revoked = "revoked",
        /// The history could not be read.
        Failed = "failed",
    }
}

label_set! {
    /// What became of a span that was to be sent.
    SpanOutcome {
        /// The trace endpoint took it.
        Sent = "sent",
        /// Too many waited.
        Dropped = "dropped",
        /// The trace endpoint was away, too slow, or did not want it.
        Failed = "failed",
    }
}

label_set! {
    /// How a closed task went.
    TaskOutcome {
        /// Passed.
        Passed = "passed",
        /// Failed.
        Failed = "failed",
        /// The log does not say.
        Unknown = "unknown",
    }
}

impl LabelSet for Stage {
    const ALL: &'static [Self] = &Self::ALL;

    fn as_str(self) -> &'static str {
        Self::as_str(self)
    }

    fn index(self) -> usize {
        self as usize
    }
}
