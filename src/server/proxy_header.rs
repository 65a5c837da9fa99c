//! The PROXY protocol header, versions 1 and 2, as values (HAProxy's proxy-protocol.txt; G11).

use std::net::SocketAddr;

use ppp::{v1, v2};

/// The longest line of version 1 with its CRLF (section 2.1).
const V1_MOST: usize = 107;
/// What version 2 begins with, up to and with the length of the rest (section 2.2).
const V2_FIXED: usize = 16;
/// The longest rest of version 2 that is taken, in bytes: addresses, and TLVs that nobody here reads.
const V2_REST_MOST: usize = 1024;
/// The longest header of all.
pub(super) const HEADER_MOST: usize = V2_FIXED + V2_REST_MOST;
/// The byte of version 2 that says LOCAL.
const V2_LOCAL: u8 = 0x20;

/// What the bytes at the beginning of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The beginning of a header, and nothing else.
    Partial,
    /// A header, and how many bytes it has; what follows is the client's.
    Whole(usize, Said),
    /// No header, whatever follows.
    Malformed,
}

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Whom the load balancer speaks for.
    Client(SocketAddr),
    /// That it speaks for itself (LOCAL, for its health checks), or for somebody without an IP address (UNKNOWN,
    /// AF_UNSPEC, AF_UNIX).
    NoAddress,
}

/// What `bytes`, the first of a connection, are. More bytes behind them change the answer only if it is `Partial`.
pub(super) fn progress(bytes: &[u8]) -> Progress {
    let begins = |prefix: &[u8]| bytes.iter().zip(prefix).all(|(byte, wanted)| byte == wanted);
    if begins(v2::PROTOCOL_PREFIX) {
        binary(bytes)
    } else if begins(b"PROXY ") {
        text(bytes)
    } else {
        Progress::Malformed
    }
}

fn text(bytes: &[u8]) -> Progress {
    let line = &bytes[..bytes.len().min(V1_MOST)];
    let Some(end) = line.iter().position(|byte| *byte == b'\n') else {
        return if line.len() < V1_MOST { Progress::Partial } else { Progress::Malformed };
    };
    // Ports are digits; the parser of numbers behind it would take a sign too.
    let line = &line[..=end];
    match v1::Header::try_from(line) {
        Ok(header) if header.header.len() == line.len() && !line.contains(&b'+') => {
            let said = match header.addresses {
                v1::Addresses::Tcp4(ip) => Said::Client((ip.source_address, ip.source_port).into()),
                v1::Addresses::Tcp6(ip) => Said::Client((ip.source_address, ip.source_port).into()),
                v1::Addresses::Unknown => Said::NoAddress,
            };
            Progress::Whole(line.len(), said)
        }
        _ => Progress::Malformed,
    }
}

fn binary(bytes: &[u8]) -> Progress {
    let Some(fixed) = bytes.get(..V2_FIXED) else { return Progress::Partial };
    let rest = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if rest > V2_REST_MOST {
        return Progress::Malformed;
    }
    let length = V2_FIXED + rest;
    // Of LOCAL the addresses are to be skipped whatever they are (section 2.2); the crate would judge them.
    let local = fixed[12] == V2_LOCAL;
    match v2::Header::try_from(&bytes[..bytes.len().min(length)]) {
        _ if local => {
            if bytes.len() < length {
                Progress::Partial
            } else {
                Progress::Whole(length, Said::NoAddress)
            }
        }
        Ok(header) => {
            let said = match header.addresses {
                v2::Addresses::IPv4(ip) => Said::Client((ip.source_address, ip.source_port).into()),
                v2::Addresses::IPv6(ip) => Said::Client((ip.source_address, ip.source_port).into()),
                v2::Addresses::Unix(_) | v2::Addresses::Unspecified => Said::NoAddress,
            };
            Progress::Whole(length, said)
        }
        Err(v2::ParseError::Incomplete(_) | v2::ParseError::Partial(..)) => Progress::Partial,
        Err(_) => Progress::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use ppp::v2;
    use proptest::prelude::*;

    use super::{HEADER_MOST, Progress, Said, progress};

    /// A header of version 1 for a connection from `source` to `destination`.
    fn text(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
        let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
        let (from, to) = (source.ip(), destination.ip());
        format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port()).into_bytes()
    }

    /// One of version 2, with a TLV of `padding` bytes.
    fn binary(source: SocketAddr, destination: SocketAddr, padding: usize) -> Vec<u8> {
        let command = v2::Version::Two | v2::Command::Proxy;
        v2::Builder::with_addresses(command, v2::Protocol::Stream, (source, destination))
            .write_tlv(v2::Type::NoOp, &vec![b'\n'; padding])
            .and_then(v2::Builder::build)
            .unwrap()
    }

    fn raw(version_command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = v2::PROTOCOL_PREFIX.to_vec();
        bytes.extend([version_command, family]);
        bytes.extend((rest.len() as u16).to_be_bytes());
        bytes.extend(rest);
        bytes
    }

    fn addresses() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
        let v4 = any::<([u8; 4], u16, [u8; 4], u16)>();
        let v6 = any::<([u8; 16], u16, [u8; 16], u16)>();
        prop_oneof![
            v4.prop_map(|(a, p, b, q)| (SocketAddr::from((a, p)), SocketAddr::from((b, q)))),
            v6.prop_map(|(a, p, b, q)| (SocketAddr::from((a, p)), SocketAddr::from((b, q)))),
        ]
    }

    #[test]
    fn g11_a_header_without_an_address_keeps_that_of_the_socket() {
        let unix = [b'x'; 216];
        for header in [
            b"PROXY UNKNOWN\r\n".to_vec(),
            b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(),
            raw(0x20, 0x00, b""),
            raw(0x20, 0x11, b""),
            raw(0x20, 0x11, &[127, 0, 0, 1, 127, 0, 0, 2, 0, 1, 0, 2]),
            raw(0x20, 0xff, b"whatever it is"),
            raw(0x21, 0x00, b""),
            raw(0x21, 0x31, &unix),
        ] {
            assert_eq!(progress(&header), Progress::Whole(header.len(), Said::NoAddress), "{header:?}");
        }
    }

    #[test]
    fn g11_what_is_no_header_is_malformed_and_no_longer_waited_for() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(92));
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"\x16\x03\x01",
            b"PROXZ",
            b"proxy ",
            b"PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n",
            b"PROXY TCP4 1.2.3.256 1.2.3.4 1 2\r\n",
            b"PROXY TCP4 ::1 ::1 1 2\r\n",
            b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
            b"PROXY UNKNOWN\r \n",
            long.as_bytes(),
            &raw(0x11, 0x11, &[0; 12]),
            &raw(0x22, 0x11, &[0; 12]),
            &raw(0x21, 0x41, &[0; 12]),
            &raw(0x21, 0x13, &[0; 12]),
            &raw(0x21, 0x11, &[0; 11]),
            &raw(0x21, 0x00, &[0; 1025])[..16],
            &raw(0x20, 0x00, &[0; 1025])[..16],
            b"\r\n\r\n\0\r\nQUIX",
        ] {
            assert_eq!(progress(bytes), Progress::Malformed, "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn g11_the_longest_headers_are_taken() {
        let worst = SocketAddr::from(([0xffff; 8], 65535));
        let line = text(worst, worst);
        assert_eq!(progress(&line), Progress::Whole(line.len(), Said::Client(worst)));
        let unknown = format!("PROXY UNKNOWN {}\r\n", "x".repeat(91));
        assert_eq!(unknown.len(), 107);
        assert_eq!(progress(unknown.as_bytes()), Progress::Whole(107, Said::NoAddress));
        let padded = binary(worst, worst, 1024 - 36 - 3);
        assert_eq!(padded.len(), HEADER_MOST);
        assert_eq!(progress(&padded), Progress::Whole(HEADER_MOST, Said::Client(worst)));
    }

    /// Every length in which something is decided, and some of the others.
    fn lengths(most: usize) -> impl Iterator<Item = usize> {
        (0..=most).filter(move |length| *length < 130 || length % 53 == 0 || *length == most)
    }

    proptest! {
        #[test]
        fn g11_every_header_says_its_source_and_takes_no_byte_more(
            (source, destination) in addresses(), padding in 0_usize..900, after in any::<Vec<u8>>(),
        ) {
            for header in [text(source, destination), binary(source, destination, padding)] {
                let whole = [&header[..], &after].concat();
                prop_assert_eq!(progress(&whole), Progress::Whole(header.len(), Said::Client(source)));
                for cut in lengths(header.len() - 1) {
                    prop_assert_eq!(progress(&header[..cut]), Progress::Partial);
                }
            }
        }

        #[test]
        fn g11_no_bytes_panic_the_parser_and_more_bytes_change_only_what_was_partial(
            start in prop_oneof![
                Just(Vec::new()), Just(b"PROXY ".to_vec()), Just(b"PROXY TCP4 1.".to_vec()),
                Just(v2::PROTOCOL_PREFIX.to_vec()), Just([v2::PROTOCOL_PREFIX, &[0x21, 0x11, 0]].concat()),
            ],
            rest in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b' '), Just(b'\r'), Just(b'\n')], 0..1200),
        ) {
            let bytes = [start, rest].concat();
            let mut before = Progress::Partial;
            for length in lengths(bytes.len()) {
                let now = progress(&bytes[..length]);
                prop_assert!(before == Progress::Partial || before == now, "{:?} became {:?}", before, now);
                before = now;
            }
            prop_assert!(bytes.len() < HEADER_MOST || before != Progress::Partial, "nobody is waited for that long");
        }
    }
}
