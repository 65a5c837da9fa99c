//! Ranges of addresses.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The bits that an IPv4 address written as IPv6 (`::ffff:10.0.0.1`) has before it.
const MAPPED: u8 = 96;

/// A range such as `10.0.0.0/8` or `2001:db8::/32`; a single address is a range of one. One of IPv4 addresses written
/// as IPv6 (`::ffff:10.0.0.0/104`) is the range of IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    network: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// Its first address.
    pub fn first(&self) -> IpAddr {
        self.network
    }

    /// How many leading bits are fixed: 0 to 32, or 0 to 128.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether `address` lies in the range. An IPv4 address written as IPv6 (`::ffff:10.0.0.1`) counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.network, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                leading(u32::from(network).into(), 32, self.prefix)
                    == leading(u32::from(address).into(), 32, self.prefix)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                leading(network.into(), 128, self.prefix) == leading(address.into(), 128, self.prefix)
            }
            _ => false,
        }
    }
}

/// The first `prefix` of the lowest `width` bits.
fn leading(bits: u128, width: u32, prefix: u8) -> u128 {
    bits.checked_shr(width - u32::from(prefix).min(width)).unwrap_or(0)
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const NOT: &str = "is not a range such as 10.0.0.0/8 or 2001:db8::/32";
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let network: IpAddr = address.parse().map_err(|_| NOT.to_owned())?;
        let width: u8 = if network.is_ipv4() { 32 } else { 128 };
        let digits = |prefix: &str| prefix.bytes().all(|b| b.is_ascii_digit());
        let prefix = match prefix {
            None => width,
            Some(prefix) => match prefix.parse() {
                Ok(bits) if bits <= width && digits(prefix) => bits,
                _ => return Err(NOT.to_owned()),
            },
        };
        let bits = match network {
            IpAddr::V4(v4) => u128::from(u32::from(v4)),
            IpAddr::V6(v6) => v6.into(),
        };
        let free = u32::from(width - prefix);
        if bits.trailing_zeros().min(u32::from(width)) < free {
            return Err(format!("has bits set after its first {prefix}: a range is written by its first address"));
        }
        if network.is_ipv6() && network.to_canonical().is_ipv4() {
            // Peers are compared as IPv4, so it would hold nobody.
            let prefix = prefix.checked_sub(MAPPED).ok_or_else(|| NOT.to_owned())?;
            return Ok(Self { network: network.to_canonical(), prefix });
        }
        Ok(Self { network, prefix })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::Cidr;

    #[test]
    fn a_range_holds_its_own_addresses_only() {
        for (range, address, held) in [
            ("10.0.0.0/8", "10.255.255.255", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("10.0.0.0/8", "::1", false),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "::2", false),
            ("::/0", "2001:db8::1", true),
            ("2001:db8::/32", "2001:db8:ffff::", true),
            ("2001:db8::/32", "2001:db9::", false),
            ("2001:db8::1", "2001:db8::1", true),
            ("::ffff:10.0.0.0/104", "10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "::ffff:10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "11.0.0.0", false),
            ("::ffff:192.0.2.1", "192.0.2.1", true),
            ("::ffff:0.0.0.0/96", "203.0.113.9", true),
        ] {
            let range: Cidr = range.parse().expect("a range");
            assert_eq!(range.contains(address.parse().expect("an address")), held, "{range} {address}");
        }
    }

    #[test]
    fn what_is_not_a_range_is_refused() {
        for bad in [
            "",
            "/",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10.0.0.1/8",
            "::1/64",
            "::/129",
            "a/8",
            "10.0.0/8",
            "::ffff:0.0.0.0/95",
            "::ffff:0:0/80",
            "::ffff:10.0.0.1/104",
            "::ffff:10.0.0.0/129",
            "10.0.0.0/8 ",
        ] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad:?}");
        }
    }
}
