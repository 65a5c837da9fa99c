//! Who the client of a request is: decided once, before anything asks (G1 to G10).
//!
//! `resolve` is pure; `hops.rs` reads the forwarding headers; `locate.rs` is the layer.

mod hops;
mod locate;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use axum::extract::FromRequestParts;
use http::header::HeaderName;
use http::request::Parts;
use http::{HeaderMap, StatusCode};

use self::hops::{Entries, address_in};
use super::Problem;
use crate::config::{Cidr, ForwardedHeader, ProxyConfig};
use crate::model::{ClientKey, Peer};
use crate::telemetry::AddressSource;

pub(super) use self::locate::{Located, locate};

/// Entries of a forwarding header; one more is refused (G4).
const MAX_ENTRIES: usize = 32;
/// Bytes of a forwarding header, all its lines together; one more is refused (G4).
const MAX_BYTES: usize = 4096;
/// In which load balancers that end TLS say so.
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Whose forwarding headers are believed, and which one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyRules {
    /// Ranges of load balancers. None: every client is the other end of its connection (G7).
    pub trusted: Vec<Cidr>,
    /// The one header that they name clients in; no other is ever read (G10).
    pub header: ForwardedHeader,
}

impl Default for ProxyRules {
    fn default() -> Self {
        Self { trusted: Vec::new(), header: ForwardedHeader::XForwardedFor }
    }
}

impl From<&ProxyConfig> for ProxyRules {
    fn from(config: &ProxyConfig) -> Self {
        Self { trusted: config.trusted.clone(), header: config.header }
    }
}

impl ProxyRules {
    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|range| range.contains(address))
    }
}

/// Who a request is from; an extension of every request that a handler sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its address; an IPv4 address is never written as IPv6 (G6).
    pub ip: IpAddr,
    /// What limits count it by.
    pub key: ClientKey,
    /// How the address was found.
    pub source: AddressSource,
    /// The walk along the forwarding header ended at an entry that is no address (G3).
    pub garbled: bool,
}

impl Client {
    /// A client at `ip`, found in the way that `source` says.
    pub fn new(ip: IpAddr, source: AddressSource) -> Self {
        let ip = ip.to_canonical();
        Self { ip, key: ClientKey::of(ip), source, garbled: false }
    }
}

impl<S: Sync> FromRequestParts<S> for Client {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get().copied().ok_or_else(|| AddressFault::NoPeer.into())
    }
}

/// Whether the client's own connection is encrypted, by us or by a trusted load balancer; an extension of every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OverTls(pub(super) bool);

impl OverTls {
    /// As [`locate`] found it; without it, as we listen.
    pub(super) fn of(extensions: &http::Extensions, edge: &super::EdgeState) -> bool {
        extensions.get::<Self>().map_or(edge.settings().tls, |Self(tls)| *tls)
    }
}

/// Whether a trusted peer says that it was asked over https. Of several values the last one is its own.
fn asked_over_https(peer: &Peer, headers: &HeaderMap, rules: &ProxyRules) -> bool {
    let said = headers.get_all(X_FORWARDED_PROTO).iter().next_back().and_then(|value| value.to_str().ok());
    let last = said.and_then(|said| said.rsplit(',').next()).unwrap_or_default();
    rules.trusts(peer.address()) && last.trim().eq_ignore_ascii_case("https")
}

/// Why a request has no client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressFault {
    /// Nothing says where the connection comes from. An empty key would make all of them one client (G9).
    NoPeer,
    /// The forwarding header has more than 32 entries or 4 KiB (G4).
    TooLong,
}

impl From<AddressFault> for Problem {
    fn from(fault: AddressFault) -> Self {
        match fault {
            AddressFault::NoPeer => {
                Self::new(StatusCode::BAD_REQUEST, "no_client_address", "It is not known where this request comes from")
            }
            AddressFault::TooLong => {
                Self::new(StatusCode::BAD_REQUEST, "forwarded_too_long", "The forwarding header is too long")
                    .detail(format!("At most {MAX_ENTRIES} entries and {MAX_BYTES} bytes are read."))
            }
        }
    }
}

/// The client of a request that came from `peer` with `headers`.
///
/// Only a trusted peer's header is read. Each proxy writes to the right of what it was given, so the walk goes from the
/// right, and the first address that is no trusted proxy is the client: what stands left of it was written by the client
/// itself and changes nothing (G2). An entry that is no address ends the walk at the hop before: to pass over it would
/// reach what a client wrote (G3).
///
/// # Errors
/// If the header is too long to be read.
pub fn resolve(peer: &Peer, headers: &HeaderMap, rules: &ProxyRules) -> Result<Client, AddressFault> {
    let from = peer.address();
    if !rules.trusts(from) {
        let source = if peer.proxied.is_some() { AddressSource::Proxy } else { AddressSource::Socket };
        return Ok(Client::new(from, source));
    }
    let mut last = Client::new(from, AddressSource::Trusted);
    for entry in Entries::from_the_right(headers, rules.header)?.as_slice() {
        match address_in(entry, rules.header) {
            None => return Ok(Client { garbled: true, ..last }),
            Some(ip) if rules.trusts(ip) => last = Client::new(ip, AddressSource::Trusted),
            Some(ip) => return Ok(Client::new(ip, AddressSource::Header)),
        }
    }
    Ok(last)
}
