//! The bound on a peer that takes no bytes: hyper has no write timeout, and a stream has no end (G51).

use std::future::Future;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::Connection;
use crate::telemetry::ServerMetrics;

/// A connection that fails once a write has been pending for `limit` without a byte taken.
///
/// The timer exists only while a write is stalled: a connection whose peer reads costs nothing. The connection's
/// place in the gauge of open connections lives here too, so that it ends with the socket.
#[derive(Debug)]
pub(super) struct Guarded<I> {
    inner: I,
    peer: SocketAddr,
    limit: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
    connection: Connection,
    metrics: ServerMetrics,
}

impl<I> Guarded<I> {
    pub(super) fn new(
        inner: I,
        peer: SocketAddr,
        limit: Duration,
        connection: Connection,
        metrics: ServerMetrics,
    ) -> Self {
        metrics.connections.inc();
        Self { inner, peer, limit, stalled: None, connection, metrics }
    }

    /// An error if the connection is to end.
    fn stands(&self, cx: &Context<'_>) -> io::Result<()> {
        if self.connection.is_cut(cx) {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the connection is cut"));
        }
        Ok(())
    }

    /// Passes on what a write said, and fails it instead if it has been pending for too long.
    fn watch<T>(&mut self, cx: &mut Context<'_>, wrote: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if wrote.is_ready() {
            self.stalled = None;
            return wrote;
        }
        let limit = self.limit;
        let timer = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(timer.as_mut().poll(cx));
        self.stalled = None;
        self.metrics.write_stalls.inc();
        tracing::info!(peer = %self.peer, ?limit, "connection closed: its peer takes no bytes");
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer takes no bytes")))
    }
}

impl<I> Drop for Guarded<I> {
    fn drop(&mut self) {
        self.metrics.connections.dec();
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Guarded<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.stands(cx)?;
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Guarded<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stands(cx)?;
        let wrote = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.watch(cx, wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stands(cx)?;
        let wrote = Pin::new(&mut self.inner).poll_write_vectored(cx, parts);
        self.watch(cx, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::Instant;

    use super::{Connection, Guarded};
    use crate::telemetry::Metrics;

    const LIMIT: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_reads_now_and_then_is_kept_and_one_that_stops_is_closed() {
        let metrics = Metrics::new().server;
        let (server, mut client) = duplex(1000);
        let mut guarded =
            Guarded::new(server, SocketAddr::from(([127, 0, 0, 1], 1)), LIMIT, Connection::default(), metrics.clone());
        assert_eq!(metrics.connections.get(), 1);

        let began = Instant::now();
        let (failed, ()) = tokio::join!(
            async {
                let outcome = guarded.write_all(&[0; 10_000]).await;
                (outcome.map_err(|error| error.kind()), began.elapsed())
            },
            async {
                let mut some = [0; 1000];
                for _ in 0..3 {
                    tokio::time::sleep(LIMIT - Duration::from_secs(1)).await;
                    client.read_exact(&mut some).await.unwrap();
                }
                tokio::time::sleep(LIMIT * 2).await;
            },
        );
        let kept = 3 * (LIMIT - Duration::from_secs(1));
        assert_eq!(failed, (Err(std::io::ErrorKind::TimedOut), kept + LIMIT));
        assert_eq!(metrics.write_stalls.get(), 1);
        assert!(guarded.stalled.is_none(), "no timer is kept");
        drop(guarded);
        assert_eq!(metrics.connections.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_is_cut_ends_although_nothing_is_read_or_written() {
        let (server, _client) = duplex(1000);
        let connection = Connection::default();
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let mut guarded = Guarded::new(server, peer, LIMIT, connection.clone(), Metrics::new().server);
        let mut byte = [0];
        let (read, ()) = tokio::join!(guarded.read(&mut byte), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            connection.cut();
        });
        assert_eq!(read.map_err(|error| error.kind()), Err(std::io::ErrorKind::ConnectionAborted));
        assert!(guarded.write(b"x").await.is_err());
    }
}
