//! Load balancers in front.

use ppp::v2;

use super::by_hand::{Way, ask};
use super::issued::Ca;
use super::*;
use crate::config::{ForwardedHeader, ProxyConfig, ProxyProtocol};
use crate::telemetry::{HandshakeOutcome, Limit, ProxyOutcome};

const V1: &[u8] = b"PROXY TCP4 203.0.113.9 127.0.0.1 4711 443\r\n";
const ASK: &[u8] = b"GET /peer HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

fn behind(range: &str, protocol: ProxyProtocol) -> ProxySettings {
    let config = ProxyConfig { trusted: vec![range.parse().unwrap()], protocol, header: ForwardedHeader::Forwarded };
    ProxySettings::from(&config)
}

fn trusting(protocol: ProxyProtocol) -> Setup {
    Setup { proxy: behind("127.0.0.0/8", protocol), limits: short(), ..Setup::default() }
}

fn v2_of(command: v2::Command, source: &str) -> Vec<u8> {
    let addresses: (SocketAddr, SocketAddr) = (source.parse().unwrap(), "[2001:db8::2]:443".parse().unwrap());
    v2::Builder::with_addresses(v2::Version::Two | command, v2::Protocol::Stream, addresses)
        .write_tlv(v2::Type::Authority, b"gateway.test")
        .and_then(v2::Builder::build)
        .unwrap()
}

fn outcome(server: &Running, outcome: ProxyOutcome) -> u64 {
    server.metrics.server.proxy_headers.of(outcome).get()
}

async fn say(server: &Running, parts: &[&[u8]]) -> String {
    until_closed(server.addr, &parts.concat()).await.1
}

#[tokio::test]
async fn g11_a_trusted_peer_names_the_client_before_tls_in_either_version() {
    let ca = Ca::new();
    let config = ca.config(&ca.issue("server", &["localhost"], 90));
    let settings = load(&config, &Metrics::new().server).unwrap();
    let limits = ConnectionLimits::default();
    let server = serving(Setup { tls: Some(settings), limits, ..trusting(ProxyProtocol::Required) });
    let binary = v2_of(v2::Command::Proxy, "[2001:db8::9]:4711");
    for (header, peer) in [
        (V1, "203.0.113.9 Some(203.0.113.9:4711)"),
        (&binary, "2001:db8::9 Some([2001:db8::9]:4711)"),
        (&v2_of(v2::Command::Local, "[2001:db8::9]:4711"), "127.0.0.1 None"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1 None"),
    ] {
        for write_per_byte in [false, true] {
            let way = Way { first: header, write_per_byte, ..Way::default() };
            let spoken = ask(server.addr, ca.client(None), "localhost", "/peer", way).await.unwrap();
            assert!(spoken.answer.ends_with(peer), "{peer}: {}", spoken.answer);
        }
    }
    assert_eq!((outcome(&server, ProxyOutcome::Ok), outcome(&server, ProxyOutcome::Local)), (4, 4));
    assert_eq!(server.metrics.server.handshakes.of(HandshakeOutcome::Ok).get(), 8);
}

#[tokio::test]
async fn g11_nothing_behind_the_header_is_lost_and_none_of_it_is_left() {
    let server = serving(trusting(ProxyProtocol::Optional));
    let answer = say(&server, &[V1, ASK]).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("203.0.113.9:4711)"), "{answer}");
    // One header is one: what comes behind it is the client's, and no HTTP.
    let answer = say(&server, &[V1, V1, ASK]).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

#[tokio::test]
async fn g11_a_trusted_peer_without_a_header_is_closed() {
    for protocol in [ProxyProtocol::Optional, ProxyProtocol::Required] {
        let server = serving(trusting(protocol));
        for (n, said) in [ASK, b"PROXY TCP4 nonsense\r\n", b"\x16\x03\x01\x02\x00\x01", b"P"].iter().enumerate() {
            let mut stream = TcpStream::connect(server.addr).await.unwrap();
            stream.write_all(said).await.unwrap();
            // Of the last there is no more to come.
            stream.shutdown().await.unwrap();
            let mut got = Vec::new();
            let _ = timeout(PATIENCE, stream.read_to_end(&mut got)).await.expect("it is closed");
            assert!(got.is_empty(), "{protocol:?}: {}", String::from_utf8_lossy(&got));
            eventually("it is counted", || outcome(&server, ProxyOutcome::Malformed) == n as u64 + 1).await;
        }
        assert_eq!(outcome(&server, ProxyOutcome::Timeout), 0);
    }
}

#[tokio::test]
async fn g11_a_header_that_is_not_whole_in_time_is_not_waited_for() {
    let server = serving(trusting(ProxyProtocol::Required));
    let binary = v2_of(v2::Command::Proxy, "[2001:db8::9]:4711");
    for said in [&b""[..], b"PROXY TCP4 203.0.113.9 ", &binary[..16], &binary[..binary.len() - 1]] {
        let (took, answer) = until_closed(server.addr, said).await;
        assert!(answer.is_empty() && took >= Duration::from_millis(250), "{took:?} {answer}");
    }
    eventually("they are counted", || outcome(&server, ProxyOutcome::Timeout) == 4).await;
    assert_eq!(server.metrics.server.connections.get(), 0);
}

#[tokio::test]
async fn g11_a_peer_that_is_not_trusted_is_direct_or_closed_and_its_header_is_never_believed() {
    let mut setup = trusting(ProxyProtocol::Optional);
    setup.proxy = behind("10.0.0.0/8", ProxyProtocol::Optional);
    let server = serving(setup);
    let answer = say(&server, &[ASK]).await;
    assert!(answer.ends_with("127.0.0.1 None"), "{answer}");
    let answer = say(&server, &[V1, ASK]).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");

    let mut setup = trusting(ProxyProtocol::Required);
    setup.proxy = behind("10.0.0.0/8", ProxyProtocol::Required);
    let server = serving(setup);
    for said in [ASK, &[V1, ASK].concat()] {
        assert_eq!(say(&server, &[said]).await, "");
    }
    assert_eq!(outcome(&server, ProxyOutcome::Untrusted), 2);

    // Without the protocol nobody's header is.
    let server = serving(trusting(ProxyProtocol::Off));
    assert!(say(&server, &[V1, ASK]).await.starts_with("HTTP/1.1 400"));
    assert!(say(&server, &[ASK]).await.ends_with("127.0.0.1 None"));
}

#[tokio::test]
async fn g11_g57_connections_are_counted_by_the_address_in_the_header() {
    let server = serving(Setup { per_ip: 1, limits: ConnectionLimits::default(), ..trusting(ProxyProtocol::Required) });
    let addr = server.addr;
    let open = |header: &'static [u8]| async move {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(&[header, b"GET /quiet HTTP/1.1\r\nHost: x\r\n\r\n"].concat()).await.unwrap();
        let mut head = [0; 12];
        let read = timeout(PATIENCE, stream.read_exact(&mut head)).await.expect("an answer or an end");
        read.map(|_| stream)
    };
    let _first = open(V1).await.expect("the first of 203.0.113.9");
    let _other = open(b"PROXY TCP4 203.0.113.10 127.0.0.1 4711 443\r\n").await.expect("the first of 203.0.113.10");
    assert!(open(b"PROXY TCP4 203.0.113.9 127.0.0.1 4712 443\r\n").await.is_err());
    assert_eq!(server.metrics.limits.hits.of(Limit::ConnectionsPerIp).get(), 1);
}

#[tokio::test]
async fn g57_a_load_balancer_that_names_clients_in_requests_is_not_one_address() {
    let server = serving(Setup { per_ip: 1, ..trusting(ProxyProtocol::Off) });
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(server.addr).await.unwrap();
        stream.write_all(b"GET /quiet HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
        open.push(stream);
    }
}

#[tokio::test]
async fn g11_g57_peers_that_do_not_say_whose_they_are_have_a_cap_of_their_own() {
    let server =
        serving(Setup { connections: 100, limits: ConnectionLimits::default(), ..trusting(ProxyProtocol::Required) });
    let mut silent = Vec::new();
    for _ in 0..64 {
        silent.push(TcpStream::connect(server.addr).await.unwrap());
    }
    eventually("they are all there", || server.handle.connections() == 64).await;
    assert_eq!(say(&server, &[V1, ASK]).await, "");
    assert_eq!(server.metrics.limits.hits.of(Limit::Unidentified).get(), 1);
    silent.pop();
    eventually("one left", || outcome(&server, ProxyOutcome::Malformed) == 1).await;
    assert!(say(&server, &[V1, ASK]).await.ends_with("203.0.113.9:4711)"));
}
