//! Where a request comes from.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The two ends that a connection may name; an extension of every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The other end of the socket: a client, or the load balancer in front.
    pub socket: SocketAddr,
    /// Whom a trusted load balancer named in its PROXY header.
    pub proxied: Option<SocketAddr>,
}

impl Peer {
    /// A peer that no PROXY header spoke of.
    pub fn direct(socket: SocketAddr) -> Self {
        Self { socket, proxied: None }
    }

    /// Who the connection is from, as far as the connection itself tells.
    pub fn address(&self) -> IpAddr {
        self.proxied.unwrap_or(self.socket).ip().to_canonical()
    }
}

/// What limits count by: one IPv4 address, or the /64 that one IPv6 host can choose its addresses from (G9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientKey(IpAddr);

impl ClientKey {
    /// The key of `address`; an IPv4 address written as IPv6 counts as IPv4.
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX))),
            v4 => v4,
        })
    }
}

impl fmt::Display for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(v4) => v4.fmt(f),
            IpAddr::V6(v6) => write!(f, "{v6}/64"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ClientKey;

    #[test]
    fn g9_an_ipv6_host_is_its_64_and_a_mapped_address_is_ipv4() {
        for (address, key) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ] {
            assert_eq!(ClientKey::of(address.parse().expect("an address")).to_string(), key, "{address}");
        }
    }
}
