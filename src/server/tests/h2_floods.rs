//! HTTP/2 clients that attack with frames (G54), written by hand over clear text.

use super::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// The setting of RFC 9113, section 6.5.2.
const INITIAL_WINDOW_SIZE: u16 = 4;
/// The error code of RFC 9113, section 7.
const ENHANCE_YOUR_CALM: u32 = 11;
/// How often an attack is tried; far more than a server may put up with.
const MANY: u32 = 20_000;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// `:method`, `:scheme` http, `:path`, `:authority` x, in HPACK.
fn head(method: u8, path: &str) -> Vec<u8> {
    let length = u8::try_from(path.len()).unwrap();
    [&[method, 0x86, 0x44, length], path.as_bytes(), &[0x41, 1, b'x']].concat()
}

const GET: u8 = 0x82;
const POST: u8 = 0x83;

/// The frames in `bytes` as (kind, payload); the last may be cut.
fn frames(mut bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let mut found = Vec::new();
    while bytes.len() >= 9 {
        let length = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]) as usize;
        let end = (9 + length).min(bytes.len());
        found.push((bytes[3], &bytes[9..end]));
        bytes = &bytes[end..];
    }
    found
}

/// Sends `first` and then `again` with each number, for as long as the server lets it; gives what the server said.
async fn attack(addr: SocketAddr, first: &[u8], again: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    let (mut read, mut write) = TcpStream::connect(addr).await.unwrap().into_split();
    let mut said = Vec::new();
    let send = async {
        write.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[]), first].concat()).await.ok();
        for n in 0..MANY {
            if write.write_all(&again(n)).await.is_err() {
                break;
            }
        }
    };
    // A reset may come instead of an end.
    let both = async { tokio::join!(send, read.read_to_end(&mut said)) };
    let _ = timeout(PATIENCE, both).await.expect("the server ends the connection");
    said
}

/// The error code of the GOAWAY in `said`, if there is one.
fn goaway(said: &[u8]) -> Option<u32> {
    let (_, payload) = frames(said).into_iter().find(|(kind, _)| *kind == GOAWAY)?;
    payload.get(4..8).map(|code| u32::from_be_bytes([code[0], code[1], code[2], code[3]]))
}

/// A server that no limit of time helps here.
fn patient() -> Running {
    install_crypto();
    let hour = Duration::from_secs(3600);
    let limits =
        ConnectionLimits { first_request: hour, header_read: hour, h2_ping: hour, ..ConnectionLimits::default() };
    start(None, limits)
}

async fn others_are_served(server: &Running) {
    let url = format!("http://{}/", server.addr);
    let client = reqwest::Client::builder().tls_certs_only([]).no_proxy().http2_prior_knowledge().build().unwrap();
    assert_eq!(client.get(url).send().await.unwrap().text().await.unwrap(), "hello");
    eventually("the attacker is gone", || server.metrics.server.connections.get() <= 1).await;
}

#[tokio::test]
async fn g54_a_client_that_takes_its_requests_back_is_told_to_go() {
    let server = patient();
    let said = attack(server.addr, &[], |n| {
        let stream = 2 * n + 1;
        let reset = frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
        [frame(HEADERS, END_HEADERS | END_STREAM, stream, &head(GET, "/quiet")), reset].concat()
    })
    .await;
    assert_eq!(goaway(&said), Some(ENHANCE_YOUR_CALM), "{:?}", frames(&said));
    others_are_served(&server).await;
}

#[tokio::test]
async fn g54_a_head_that_never_ends_is_cut_off() {
    let server = patient();
    let begin = frame(HEADERS, END_STREAM, 1, &head(GET, "/"));
    for payload in [&b""[..], &[0x40, 1, b'a', 1, b'b'], &[0x40; 4096]] {
        let said = attack(server.addr, &begin, |_| frame(CONTINUATION, 0, 1, payload)).await;
        assert_ne!(goaway(&said).unwrap_or(ENHANCE_YOUR_CALM), 0, "{:?}", frames(&said));
        assert!(frames(&said).iter().all(|(kind, _)| *kind != HEADERS), "no request was answered");
        others_are_served(&server).await;
    }
}

#[tokio::test]
async fn g54_empty_frames_of_a_body_are_not_read_for_ever() {
    let server = patient();
    let begin = frame(HEADERS, END_HEADERS, 1, &head(POST, "/eat"));
    let said = attack(server.addr, &begin, |_| frame(DATA, 0, 1, &[])).await;
    assert_eq!(goaway(&said).unwrap_or(ENHANCE_YOUR_CALM), ENHANCE_YOUR_CALM, "{:?}", frames(&said));
    others_are_served(&server).await;
}

#[tokio::test]
async fn g54_one_connection_has_at_most_a_hundred_requests_and_16_kib_of_head() {
    let server = patient();
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await.unwrap();
    let mut first = [0; 9];
    timeout(PATIENCE, stream.read_exact(&mut first)).await.expect("its settings").unwrap();
    assert_eq!(first[3], SETTINGS);
    let mut payload = vec![0; usize::from(first[2])];
    stream.read_exact(&mut payload).await.unwrap();
    let setting = |id: u16| {
        let found = payload.chunks_exact(6).find(|entry| entry[..2] == id.to_be_bytes());
        found.map(|entry| u32::from_be_bytes([entry[2], entry[3], entry[4], entry[5]]))
    };
    assert_eq!((setting(3), setting(6)), (Some(100), Some(16 * 1024)));
}

/// Asks for `path` many times, takes not a byte of the answers and answers every ping; gives how long the server bore it.
async fn take_nothing(server: &Running, path: &str) -> Duration {
    let began = Instant::now();
    let no_window = [&INITIAL_WINDOW_SIZE.to_be_bytes()[..], &0_u32.to_be_bytes()].concat();
    let mut said = [PREFACE, &frame(SETTINGS, 0, 0, &no_window)].concat();
    for n in 0..99 {
        said.extend(frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &head(GET, path)));
    }
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    stream.write_all(&said).await.unwrap();
    loop {
        let mut begin = [0; 9];
        if stream.read_exact(&mut begin).await.is_err() {
            return began.elapsed();
        }
        let mut payload = vec![0; u32::from_be_bytes([0, begin[0], begin[1], begin[2]]) as usize];
        stream.read_exact(&mut payload).await.unwrap();
        if begin[3] == PING && begin[4] & ACK == 0 {
            // The server may be gone by now, which the next read sees.
            let _ = stream.write_all(&frame(PING, ACK, 0, &payload)).await;
        }
    }
}

#[tokio::test]
async fn g51_a_client_that_grants_no_window_does_not_hold_its_connection() {
    install_crypto();
    let limits = ConnectionLimits { h2_ping: Duration::from_millis(200), ..short() };
    let stall = limits.write_stall;
    let server = start(None, limits);
    let took = timeout(PATIENCE, take_nothing(&server, "/")).await.expect("the server hangs up");
    assert!(took >= stall, "{took:?}");
    assert_eq!(server.metrics.server.write_stalls.get(), 1);
    eventually("its place is free", || server.metrics.server.connections.get() == 0).await;

    // A stream of events is ended by those who know whose it is.
    assert!(timeout(stall * 3, take_nothing(&server, "/quiet")).await.is_err(), "it is not cut here");
    assert_eq!(server.metrics.server.write_stalls.get(), 1);
}
