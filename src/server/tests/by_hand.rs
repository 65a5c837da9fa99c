//! A TLS client whose bytes are in the test's hands.

use rustls::pki_types::ServerName;

use super::*;

/// What goes out before TLS, and how TLS goes out.
#[derive(Clone, Copy, Default)]
pub(super) struct Way<'a> {
    /// Before TLS.
    pub(super) first: &'a [u8],
    /// Each byte of the ClientHello in a TLS record of its own.
    pub(super) record_per_byte: bool,
    /// Each byte of that, and of what is before TLS, in a write of its own.
    pub(super) write_per_byte: bool,
}

/// What came of it.
pub(super) struct Spoken {
    pub(super) answer: String,
    /// What the server showed, leaf first.
    pub(super) shown: Vec<Vec<u8>>,
    pub(super) group: Option<rustls::NamedGroup>,
}

/// Asks for `path` at `addr` under the name `name` over HTTP/1.1; an error is what ended it before an answer.
pub(super) async fn ask(
    addr: SocketAddr,
    config: rustls::ClientConfig,
    name: &str,
    path: &str,
    way: Way<'_>,
) -> Result<Spoken, String> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let tls = rustls::ClientConnection::new(std::sync::Arc::new(config), name).unwrap();
    timeout(PATIENCE, conversation(addr, tls, path, way)).await.expect("the server answers or hangs up")
}

async fn conversation(
    addr: SocketAddr,
    mut tls: rustls::ClientConnection,
    path: &str,
    way: Way<'_>,
) -> Result<Spoken, String> {
    use std::io::{Read, Write};
    let text = |error: std::io::Error| error.to_string();
    let mut tcp = TcpStream::connect(addr).await.map_err(text)?;
    tcp.set_nodelay(true).map_err(text)?;
    send(&mut tcp, way.first, way.write_per_byte).await.map_err(text)?;
    write!(tls.writer(), "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").map_err(text)?;
    let mut hello = true;
    let mut plain = Vec::new();
    loop {
        while tls.wants_write() {
            let mut out = Vec::new();
            tls.write_tls(&mut out).map_err(text)?;
            let hello = std::mem::take(&mut hello);
            if hello && way.record_per_byte {
                out = record_per_byte(&out);
            }
            send(&mut tcp, &out, hello && way.write_per_byte).await.map_err(text)?;
        }
        let mut got = [0; 4096];
        let found = tcp.read(&mut got).await.map_err(text)?;
        let mut rest = &got[..found];
        // No bytes are told too: rustls knows the end of a connection from a cut.
        loop {
            tls.read_tls(&mut rest).map_err(text)?;
            tls.process_new_packets().map_err(|error| error.to_string())?;
            if rest.is_empty() {
                break;
            }
        }
        let mut some = [0; 4096];
        while let Ok(read @ 1..) = tls.reader().read(&mut some) {
            plain.extend_from_slice(&some[..read]);
        }
        if found == 0 || String::from_utf8_lossy(&plain).contains("\r\n\r\n") {
            break;
        }
    }
    if plain.is_empty() {
        return Err("closed without an answer".to_owned());
    }
    Ok(Spoken {
        answer: String::from_utf8_lossy(&plain).into_owned(),
        shown: tls.peer_certificates().unwrap_or_default().iter().map(|der| der.to_vec()).collect(),
        group: tls.negotiated_key_exchange_group().map(|group| group.name()),
    })
}

async fn send(tcp: &mut TcpStream, bytes: &[u8], write_per_byte: bool) -> std::io::Result<()> {
    if !write_per_byte {
        return tcp.write_all(bytes).await;
    }
    for byte in bytes {
        tcp.write_all(&[*byte]).await?;
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// The same handshake message, in records of one byte each (RFC 8446, section 5.1).
fn record_per_byte(record: &[u8]) -> Vec<u8> {
    let (head, message) = record.split_at(5);
    assert_eq!(usize::from(u16::from_be_bytes([head[3], head[4]])), message.len(), "one record");
    message.iter().flat_map(|byte| [head[0], head[1], head[2], 0, 1, *byte]).collect()
}
