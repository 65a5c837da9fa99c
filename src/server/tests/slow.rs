//! Peers that are slow, silent or stuck.

use super::*;

#[tokio::test]
async fn g53_clients_that_say_nothing_or_half_a_thing_are_closed() {
    let server = start(None, short());
    for said in [&b""[..], b"P", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let (took, _) = until_closed(server.addr, said).await;
        assert!(took >= Duration::from_millis(250), "{:?} after {took:?}", String::from_utf8_lossy(said));
        assert!(took < Duration::from_secs(5), "{:?} after {took:?}", String::from_utf8_lossy(said));
    }
    // Kept alive after a request, and then silent.
    let (took, answer) = until_closed(server.addr, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(answer.ends_with("hello"), "{answer}");
    assert!(took >= Duration::from_millis(250), "{took:?}");
}

#[tokio::test]
async fn g54_a_request_head_beyond_the_limit_is_refused() {
    let server = start(None, short());
    let head = format!("GET / HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "x".repeat(20_000));
    let (_, answer) = until_closed(server.addr, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn g51_a_client_that_never_reads_is_closed_and_counted() {
    let (_dir, cert) = dev();
    for tls in [None, Some(super::tls(&cert))] {
        let encrypted = tls.is_some();
        let server = start(tls, short());
        let url = format!("{}://localhost:{}/endless", if encrypted { "https" } else { "http" }, server.addr.port());
        // The client's own buffers fill, nobody reads them, and then the kernel's fill.
        let answer = client(&cert).http1_only().build().unwrap().get(&url).send().await.unwrap();
        assert_eq!(server.metrics.server.write_stalls.get(), 0);
        eventually("the stalled connection is closed", || server.metrics.server.write_stalls.get() == 1).await;
        eventually("and frees its place", || server.handle.connections() == 0).await;
        assert_eq!(server.metrics.server.connections.get(), 0);
        drop(answer);
    }
}

#[tokio::test]
async fn g51_a_client_that_has_nothing_to_read_is_not_stalled() {
    let limits = ConnectionLimits { write_stall: Duration::from_millis(200), ..short() };
    let server = start(None, limits);
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    stream.write_all(b"GET /quiet HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut some = [0; 1024];
    while !String::from_utf8_lossy(&some).contains("hi") {
        assert!(stream.read(&mut some).await.unwrap() > 0);
    }
    let closed = timeout(Duration::from_millis(700), stream.read(&mut some)).await;
    assert!(closed.is_err(), "the quiet stream stays open");
    assert_eq!(server.metrics.server.write_stalls.get(), 0);
}

#[tokio::test]
async fn g53_a_head_that_comes_byte_by_byte_is_not_waited_for() {
    let server = start(None, short());
    for before in [&b""[..], b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"] {
        let stream = TcpStream::connect(server.addr).await.unwrap();
        let (mut read, mut write) = stream.into_split();
        write.write_all(before).await.unwrap();
        let drip = async {
            for byte in b"GET / HTTP/1.1\r\nHost: x\r\nX: ".iter().chain(std::iter::repeat(&b'x')) {
                if write.write_all(&[*byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
            std::future::pending().await
        };
        let mut got = Vec::new();
        let closed = tokio::select! {
            closed = timeout(PATIENCE, read.read_to_end(&mut got)) => closed,
            () = drip => unreachable!("it waits for the other"),
        };
        let _ = closed.expect("it is closed although it never falls silent");
    }
}

#[tokio::test]
async fn g53_a_client_that_is_silent_after_its_handshake_is_closed() {
    let (_dir, cert) = dev();
    let server = start(Some(super::tls(&cert)), short());
    // reqwest sends its request with the handshake; what is wanted here is nothing behind it.
    let silent = tokio::process::Command::new("openssl")
        .args(["s_client", "-quiet", "-connect", &server.addr.to_string()])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn();
    let mut silent = silent.expect("openssl");
    eventually("it shook hands", || {
        server.metrics.server.handshakes.of(crate::telemetry::HandshakeOutcome::Ok).get() == 1
    })
    .await;
    eventually("it is closed", || server.metrics.server.connections.get() == 0).await;
    timeout(PATIENCE, silent.wait()).await.expect("and sees that").unwrap();
}

#[tokio::test]
async fn g53_an_http2_connection_without_a_request_is_closed_and_one_with_a_stream_stays() {
    let (_dir, cert) = dev();
    for encrypted in [true, false] {
        let server = start(encrypted.then(|| super::tls(&cert)), short());
        let scheme = if encrypted { "https" } else { "http" };
        let url = |path: &str| format!("{scheme}://localhost:{}{path}", server.addr.port());
        let build = || {
            let builder = client(&cert);
            let builder = if encrypted { builder } else { builder.http2_prior_knowledge() };
            builder.build().unwrap()
        };
        let (idle, busy) = (build(), build());
        let ticks = busy.get(url("/ticks")).send().await.unwrap();
        assert_eq!(ticks.version(), http::Version::HTTP_2);
        let mut ticks = ticks.bytes_stream();
        let began = Instant::now();
        assert_eq!(idle.get(url("/")).send().await.unwrap().text().await.unwrap(), "hello");
        eventually("two are open", || server.metrics.server.connections.get() == 2).await;
        while server.metrics.server.connections.get() == 2 {
            assert!(began.elapsed() < PATIENCE, "the idle one is closed");
            ticks.next().await.unwrap().unwrap();
        }
        assert!(began.elapsed() >= Duration::from_millis(250), "{:?}", began.elapsed());
        for _ in 0..30 {
            ticks.next().await.expect("the stream goes on, much longer than the limit").unwrap();
        }
        assert_eq!(server.metrics.server.connections.get(), 1);
        drop(ticks);
        eventually("without the stream it is idle too", || server.metrics.server.connections.get() == 0).await;
        // Its client simply connects anew.
        assert_eq!(busy.get(url("/")).send().await.unwrap().text().await.unwrap(), "hello");
    }
}
