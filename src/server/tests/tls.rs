//! Handshakes.

use super::by_hand::{Way, ask};
use super::issued::Ca;
use super::*;
use crate::telemetry::{HandshakeOutcome, HandshakeVersion};

fn only_tls13(cert: &DevCertificate) -> TlsSettings {
    let config = TlsConfig { min_version: TlsVersion::V1_3, ..with_files(cert) };
    load(&config, &Metrics::new().server).unwrap()
}

#[tokio::test]
async fn g21_a_browser_gets_http2_and_an_old_client_http1_over_tls() {
    let (_dir, cert) = dev();
    let server = start(Some(tls(&cert)), ConnectionLimits::default());
    let port = server.addr.port();
    for (builder, host, version) in [
        (client(&cert), "localhost", http::Version::HTTP_2),
        (client(&cert).http1_only(), "127.0.0.1", http::Version::HTTP_11),
        (client(&cert).tls_version_max(reqwest::tls::Version::TLS_1_2), "localhost", http::Version::HTTP_2),
    ] {
        let answer = builder.build().unwrap().get(format!("https://{host}:{port}/")).send().await.unwrap();
        assert_eq!(answer.version(), version);
        assert_eq!(answer.text().await.unwrap(), "hello");
    }
    assert_eq!(server.metrics.server.handshakes.of(HandshakeOutcome::Ok).get(), 3);
    let versions = [HandshakeVersion::Tls12, HandshakeVersion::Tls13];
    assert_eq!(versions.map(|version| server.metrics.server.versions.of(version).get()), [1, 2]);
    eventually("the gauge falls with the connections", || server.metrics.server.connections.get() == 0).await;
}

#[tokio::test]
async fn g53_handshakes_are_counted_by_how_they_end() {
    let (_dir, cert) = dev();
    let (_other_dir, other) = dev();
    let server = start(Some(only_tls13(&cert)), short());
    let url = format!("https://localhost:{}/", server.addr.port());
    let count = |outcome| server.metrics.server.handshakes.of(outcome).get();

    assert!(client(&other).build().unwrap().get(&url).send().await.is_err());
    eventually("a client that does not trust us says so", || count(HandshakeOutcome::Alert) == 1).await;

    let old = client(&cert).tls_version_max(reqwest::tls::Version::TLS_1_2).build().unwrap();
    assert!(old.get(&url).send().await.is_err());
    eventually("TLS 1.2 is refused", || count(HandshakeOutcome::Incompatible) == 1).await;
    assert_eq!(server.metrics.server.versions.of(HandshakeVersion::Tls12).get(), 0, "nothing was agreed on");

    until_closed(server.addr, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    eventually("plain HTTP is not TLS", || count(HandshakeOutcome::NotTls) == 1).await;

    // The first bytes of a ClientHello, and then nothing.
    let (took, _) = until_closed(server.addr, &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).await;
    assert!(took >= Duration::from_millis(250), "{took:?}");
    eventually("a half handshake times out", || count(HandshakeOutcome::Timeout) == 1).await;

    drop(TcpStream::connect(server.addr).await.unwrap());
    eventually("a peer may hang up", || count(HandshakeOutcome::Closed) == 1).await;
}

#[tokio::test]
async fn g17_a_client_hello_in_pieces_is_judged_as_a_whole_one_is() {
    let ca = Ca::new();
    let files = ca.issue("server", &["localhost"], 90);
    let own = ca.issue("client", &["client.test"], 90);
    let config = TlsConfig { client_ca: Some(ca.cert.clone()), ..ca.config(&files) };
    let server = start(Some(load(&config, &Metrics::new().server).unwrap()), ConnectionLimits::default());
    for (record_per_byte, write_per_byte) in [(false, false), (false, true), (true, false), (true, true)] {
        let way = Way { record_per_byte, write_per_byte, ..Way::default() };
        let known = ask(server.addr, ca.client(Some(&own)), "localhost", "/", way).await.unwrap();
        assert!(known.answer.starts_with("HTTP/1.1 200"), "{}", known.answer);
        let why =
            ask(server.addr, ca.client(None), "localhost", "/", way).await.err().expect("no certificate, no way in");
        assert!(why.contains("CertificateRequired"), "{record_per_byte} {write_per_byte}: {why}");
    }
    assert_eq!(server.metrics.server.handshakes.of(HandshakeOutcome::Ok).get(), 4);
}

#[tokio::test]
async fn g21_keys_are_agreed_on_with_a_post_quantum_group_and_nothing_is_taken_early() {
    let ca = Ca::new();
    let settings = load(&ca.config(&ca.issue("server", &["localhost"], 90)), &Metrics::new().server).unwrap();
    let config = settings.config().get_inner();
    assert_eq!(config.max_early_data_size, 0);
    assert_eq!(config.alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
    for suite in &config.crypto_provider().cipher_suites {
        let name = format!("{:?}", suite.suite());
        assert!(name.starts_with("TLS13_") || name.starts_with("TLS_ECDHE_"), "{name}");
        assert!(name.contains("_GCM_") || name.contains("_CHACHA20_POLY1305_"), "{name}");
    }
    let server = start(Some(settings), ConnectionLimits::default());
    let spoken = ask(server.addr, ca.client(None), "localhost", "/", Way::default()).await.unwrap();
    assert_eq!(spoken.group, Some(rustls::NamedGroup::X25519MLKEM768));
}
