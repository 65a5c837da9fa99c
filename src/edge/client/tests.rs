use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::{AddressFault, Client, ProxyRules, resolve};
use crate::config::ForwardedHeader;
use crate::model::Peer;
use crate::telemetry::AddressSource;

/// A load balancer of ours.
const TRUSTED: &str = "10.0.0.1:4000";

fn rules(header: ForwardedHeader) -> ProxyRules {
    let ranges = ["10.0.0.0/8", "2001:db8:ffff::/48"];
    ProxyRules { trusted: ranges.iter().map(|range| range.parse().expect("a range")).collect(), header }
}

fn peer(socket: &str) -> Peer {
    Peer::direct(socket.parse().expect("an address"))
}

fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let name: HeaderName = name.parse().expect("a name");
        headers.append(name, HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
    }
    headers
}

fn xff(lines: &[&str]) -> HeaderMap {
    headers(&lines.iter().map(|line| ("x-forwarded-for", *line)).collect::<Vec<_>>())
}

fn found(lines: &[&str]) -> Result<Client, AddressFault> {
    resolve(&peer(TRUSTED), &xff(lines), &rules(ForwardedHeader::XForwardedFor))
}

fn forwarded(line: &str) -> Client {
    resolve(&peer(TRUSTED), &headers(&[("forwarded", line)]), &rules(ForwardedHeader::Forwarded)).expect("short enough")
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn g1_headers_of_a_peer_that_is_not_trusted_are_ignored() {
    let claims = headers(&[
        ("x-forwarded-for", "198.51.100.7"),
        ("forwarded", "for=198.51.100.7"),
        ("x-real-ip", "198.51.100.7"),
        ("cf-connecting-ip", "198.51.100.7"),
    ]);
    for header in [ForwardedHeader::XForwardedFor, ForwardedHeader::Forwarded] {
        let client = resolve(&peer("203.0.113.5:1"), &claims, &rules(header)).expect("a client");
        assert_eq!((client.ip, client.source), (ip("203.0.113.5"), AddressSource::Socket));
    }
    // As a peer that would be trusted if anybody were.
    let client = resolve(&peer(TRUSTED), &claims, &ProxyRules::default()).expect("a client");
    assert_eq!(client.ip, ip("10.0.0.1"));
}

#[test]
fn g1_a_proxy_header_speaks_for_the_socket_and_may_itself_be_a_trusted_hop() {
    let socket: SocketAddr = TRUSTED.parse().expect("an address");
    let from = |proxied: &str| {
        let peer = Peer { socket, proxied: Some(proxied.parse().expect("an address")) };
        resolve(&peer, &xff(&["198.51.100.7"]), &rules(ForwardedHeader::XForwardedFor)).expect("a client")
    };
    let client = from("203.0.113.5:9");
    assert_eq!((client.ip, client.source), (ip("203.0.113.5"), AddressSource::Proxy));
    let client = from("10.9.9.9:9");
    assert_eq!((client.ip, client.source), (ip("198.51.100.7"), AddressSource::Header));
}

#[test]
fn g2_the_first_from_the_right_that_is_not_trusted_is_the_client() {
    for (lines, client) in [
        (&["198.51.100.7"][..], "198.51.100.7"),
        (&["1.1.1.1, 198.51.100.7, 10.0.0.2"], "198.51.100.7"),
        (&["1.1.1.1", "198.51.100.7", "10.0.0.2, 10.0.0.3"], "198.51.100.7"),
        (&["198.51.100.7, 1.1.1.1"], "1.1.1.1"),
        (&["nonsense, 198.51.100.7"], "198.51.100.7"),
    ] {
        let found = found(lines).expect("a client");
        assert_eq!((found.ip, found.source, found.garbled), (ip(client), AddressSource::Header, false), "{lines:?}");
    }
}

#[test]
fn g3_an_entry_that_is_no_address_ends_the_walk_at_the_last_good_hop() {
    for (lines, last) in [
        (&["198.51.100.7, unknown"][..], "10.0.0.1"),
        (&["198.51.100.7, x, 10.0.0.2"], "10.0.0.2"),
        (&["198.51.100.7, , 10.0.0.2"], "10.0.0.2"),
        (&["198.51.100.7", "10.0.0.300", "10.0.0.2"], "10.0.0.2"),
        (&["198.51.100.7, \u{e9}"], "10.0.0.1"),
    ] {
        let found = found(lines).expect("a client");
        assert_eq!((found.ip, found.source, found.garbled), (ip(last), AddressSource::Trusted, true), "{lines:?}");
    }
}

#[test]
fn g4_a_header_of_too_many_entries_or_bytes_is_refused() {
    let entries = |n: usize| vec!["10.0.0.2"; n].join(",");
    assert!(found(&[&entries(32)]).is_ok());
    assert_eq!(found(&[&entries(33)]), Err(AddressFault::TooLong));
    assert_eq!(found(&[&entries(20), &entries(13)]), Err(AddressFault::TooLong), "over several lines");
    let padded = format!("{}198.51.100.7", " ".repeat(4096 - 12));
    assert!(found(&[&padded]).is_ok());
    assert_eq!(found(&[&padded, " "]), Err(AddressFault::TooLong));
}

#[test]
fn g5_if_all_are_trusted_it_is_the_left_most_and_an_empty_header_is_none() {
    for (lines, client) in [
        (&["10.1.1.1, 10.0.0.2"][..], "10.1.1.1"),
        (&[][..], "10.0.0.1"),
        (&[""], "10.0.0.1"),
        (&[" ", "\t"], "10.0.0.1"),
    ] {
        let found = found(lines).expect("a client");
        // G8: that the client is a load balancer is counted as such.
        assert_eq!((found.ip, found.source, found.garbled), (ip(client), AddressSource::Trusted, false), "{lines:?}");
    }
    let found = found(&["198.51.100.7", ""]).expect("a client");
    assert_eq!(found.ip, ip("198.51.100.7"), "an empty line names nobody");
}

#[test]
fn g6_addresses_are_read_with_ports_and_canonical_and_without_zones() {
    for (entry, client) in [
        ("198.51.100.7:4711", "198.51.100.7"),
        ("  198.51.100.7  ", "198.51.100.7"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("[::ffff:198.51.100.7]:1", "198.51.100.7"),
        // Mapped before it is matched: this is a trusted hop, and the one left of it the client.
        ("198.51.100.7, ::ffff:10.0.0.2", "198.51.100.7"),
        ("198.51.100.7, [2001:db8:ffff::1]:80", "198.51.100.7"),
    ] {
        let found = found(&[entry]).expect("a client");
        assert_eq!((found.ip, found.source), (ip(client), AddressSource::Header), "{entry}");
    }
    for entry in [
        "fe80::1%eth0",
        "[fe80::1%1]:80",
        "[2001:db8::1",
        "2001:db8::1]:80",
        "[198.51.100.7]",
        "198.51.100.7:",
        "198.51.100.7:65536",
        "198.51.100.7:+80",
        "198.51.100.7 80",
        "0198.51.100.7",
        "\"198.51.100.7\"",
    ] {
        let found = found(&[entry]).expect("a client");
        assert!(found.garbled && found.ip == ip("10.0.0.1"), "{entry}: {found:?}");
    }
    let mapped =
        resolve(&peer("[::ffff:10.0.0.1]:4000"), &xff(&["198.51.100.7"]), &rules(ForwardedHeader::XForwardedFor));
    assert_eq!(mapped.expect("a client").ip, ip("198.51.100.7"), "the socket's own address too");
}

#[test]
fn g10_forwarded_is_read_as_rfc_7239_defines_it() {
    for (line, client) in [
        ("for=198.51.100.7", "198.51.100.7"),
        ("For=\"198.51.100.7\"", "198.51.100.7"),
        ("for=\"198.51.100.7:80\"", "198.51.100.7"),
        ("for=\"198.51.100.7:_secret\"", "198.51.100.7"),
        ("for=\"[2001:db8::1]:4711\"", "2001:db8::1"),
        ("for=\"[2001:db8::1]\"", "2001:db8::1"),
        ("for=\"\\198.51.100.7\"", "198.51.100.7"),
        ("by=203.0.113.43; for=198.51.100.7;proto=https ; host=\"a,b;for=1.1.1.1\"", "198.51.100.7"),
        ("for=1.1.1.1, for=198.51.100.7;by=\"_a\\\",b\", for=10.0.0.2", "198.51.100.7"),
    ] {
        let found = forwarded(line);
        assert_eq!((found.ip, found.source, found.garbled), (ip(client), AddressSource::Header, false), "{line}");
    }
}

#[test]
fn g10_unknown_hidden_and_malformed_nodes_of_forwarded_end_the_walk() {
    for line in [
        "for=unknown",
        "for=_hidden",
        "for=\"_hidden:80\"",
        "proto=https",
        "198.51.100.7",
        "for=",
        "for=198.51.100.7:80",
        "for=[2001:db8::1]",
        "for=\"2001:db8::1\"",
        "for=\"[2001:db8::1\"",
        "for=\"[fe80::1%1]\"",
        "for=198.51.100.7;for=198.51.100.8",
        "for=198.51.100.7 for=198.51.100.8",
        "for=198.51.100.7;",
        "for = 198.51.100.7",
        "for=198.51.100.7, for=\"198.51.100.8",
    ] {
        let found = forwarded(line);
        assert!(found.garbled && found.ip == ip("10.0.0.1"), "{line}: {found:?}");
    }
}

#[test]
fn g10_the_header_that_is_not_configured_is_never_read() {
    let both = headers(&[("x-forwarded-for", "198.51.100.7"), ("forwarded", "for=198.51.100.8")]);
    for (header, client) in
        [(ForwardedHeader::XForwardedFor, "198.51.100.7"), (ForwardedHeader::Forwarded, "198.51.100.8")]
    {
        assert_eq!(resolve(&peer(TRUSTED), &both, &rules(header)).expect("a client").ip, ip(client));
    }
}

proptest! {
    #[test]
    fn g2_nothing_left_of_the_client_changes_who_it_is(
        left in "[ -~]{0,200}", lines in prop::collection::vec("[ -~]{0,60}", 0..3),
    ) {
        for (header, name, right) in [
            (ForwardedHeader::XForwardedFor, "x-forwarded-for", "198.51.100.7, 10.0.0.2"),
            (ForwardedHeader::Forwarded, "forwarded", "for=198.51.100.7;proto=https, for=\"10.0.0.2:80\""),
        ] {
            let joined = format!("{left},{right}");
            let mut all: Vec<(&str, &str)> = lines.iter().map(|line| (name, line.as_str())).collect();
            all.push((name, &joined));
            match resolve(&peer(TRUSTED), &headers(&all), &rules(header)) {
                Ok(client) => prop_assert_eq!((client.ip, client.garbled), (ip("198.51.100.7"), false)),
                Err(fault) => {
                    let commas = all.iter().map(|(_, line)| line.matches(',').count() + 1).sum::<usize>();
                    prop_assert!(fault == AddressFault::TooLong && commas > 32);
                }
            }
        }
    }

    #[test]
    fn g3_no_bytes_make_the_walk_panic_or_leave_the_header(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let bytes: Vec<u8> = bytes.into_iter().map(|b| if b < 32 || b == 127 { b' ' } else { b }).collect();
        for (header, name) in [(ForwardedHeader::XForwardedFor, "x-forwarded-for"), (ForwardedHeader::Forwarded, "forwarded")] {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_bytes(&bytes).expect("visible bytes"));
            let _ = resolve(&peer(TRUSTED), &headers, &rules(header));
        }
    }
}
