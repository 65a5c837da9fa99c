//! Connections over a cap.

use super::*;
use crate::telemetry::{HandshakeOutcome, Limit, metrics::LabelSet};

/// How many bytes come before the server hangs up.
async fn hung_up(stream: &mut TcpStream) -> usize {
    let mut got = Vec::new();
    // A reset is a way to hang up too.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut got)).await.expect("the server hangs up");
    got.len()
}

#[tokio::test]
async fn g57_a_connection_over_the_cap_is_closed_before_tls_and_one_gets_in_when_another_left() {
    let (_dir, cert) = dev();
    let server = serving(Setup { tls: Some(tls(&cert)), connections: 2, ..Setup::default() });
    let client = client(&cert).build().unwrap();
    let url = format!("https://localhost:{}/", server.addr.port());
    let mut inside = Vec::new();
    for open in 1..=2 {
        inside.push(TcpStream::connect(server.addr).await.unwrap());
        eventually("it is let in", || server.metrics.server.connections.get() == open).await;
    }
    let mut over = TcpStream::connect(server.addr).await.unwrap();
    assert_eq!(hung_up(&mut over).await, 0);
    assert!(client.get(&url).send().await.is_err());
    let hits = |limit| server.metrics.limits.hits.of(limit).get();
    assert!(hits(Limit::Connections) >= 2, "{}", hits(Limit::Connections));
    assert_eq!(hits(Limit::ConnectionsPerIp), 0);
    for outcome in HandshakeOutcome::ALL {
        assert_eq!(server.metrics.server.handshakes.of(*outcome).get(), 0, "no handshake was begun: {outcome:?}");
    }
    inside.pop();
    eventually("its place is free", || server.metrics.server.connections.get() == 1).await;
    assert_eq!(client.get(&url).send().await.unwrap().text().await.unwrap(), "hello");
}

#[tokio::test]
async fn g57_one_address_has_room_for_a_browser_s_six_connections_and_a_cap_that_can_be_raised() {
    let server = serving(Setup { per_ip: 6, ..Setup::default() });
    let mut inside = Vec::new();
    for _ in 0..6 {
        let mut stream = TcpStream::connect(server.addr).await.unwrap();
        stream.write_all(b"GET /quiet HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut some = [0; 12];
        stream.read_exact(&mut some).await.unwrap();
        assert_eq!(&some, b"HTTP/1.1 200");
        inside.push(stream);
    }
    assert_eq!(hung_up(&mut TcpStream::connect(server.addr).await.unwrap()).await, 0);
    assert_eq!(server.metrics.limits.hits.of(Limit::ConnectionsPerIp).get(), 1);
    server.caps.set(1000, 7);
    let (_, answer) = until_closed(server.addr, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(answer.ends_with("hello"), "{answer}");
}
