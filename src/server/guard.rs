//! The bounds that hyper has not: on a peer that takes no bytes or asks for none (G51), and on an idle HTTP/2 connection
//! (G53).

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::Connection;
use super::caps::Slot;
use super::connection::{Pause, Why};
use crate::model::Peer;
use crate::telemetry::ServerMetrics;

/// The bounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct GuardLimits {
    /// For a write of which the peer takes no byte, and for a whole answer of which it asks for none.
    pub(super) write_stall: Duration,
    /// From the end of the last request to the next. HTTP/1 has a shorter one of its own.
    pub(super) idle: Duration,
}

/// A connection that fails once a write has been pending, a whole answer was not taken, or no request was under way, for
/// too long.
///
/// Timers exist only in such times: a connection whose peer reads a stream costs
/// nothing. The connection's place under the caps and in the gauge of open connections lives here too, so that it ends
/// with the socket.
#[derive(Debug)]
pub(super) struct Guarded<I> {
    inner: I,
    peer: Peer,
    limits: GuardLimits,
    stalled: Option<Pin<Box<Sleep>>>,
    paused: Option<Paused>,
    connection: Connection,
    metrics: ServerMetrics,
    _slot: Slot,
}

/// How long nothing may go on.
#[derive(Debug)]
struct Paused {
    pause: Pause,
    timer: Pin<Box<Sleep>>,
}

impl<I> Guarded<I> {
    pub(super) fn new(
        inner: I,
        peer: Peer,
        limits: GuardLimits,
        connection: Connection,
        slot: Slot,
        metrics: ServerMetrics,
    ) -> Self {
        metrics.connections.inc();
        Self { inner, peer, limits, stalled: None, paused: None, connection, metrics, _slot: slot }
    }

    #[cfg(test)]
    pub(super) fn get_ref(&self) -> &I {
        &self.inner
    }

    /// An error if the connection is to end.
    fn stands(&self, cx: &Context<'_>) -> io::Result<()> {
        if self.connection.is_cut(cx) {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the connection is cut"));
        }
        Ok(())
    }

    /// An error if nothing went on for too long. The last of an answer may still be on its way to a slow reader of an
    /// idle connection, as much of it as buffers hold.
    ///
    /// An HTTP/2 peer that grants no window leaves no write pending, and its requests stay under way.
    fn in_use(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Some(pause) = self.connection.pause() else {
            self.paused = None;
            return Ok(());
        };
        let limit = match pause.why {
            Why::Untaken => self.limits.write_stall,
            Why::Idle => self.limits.idle,
        };
        let paused = match self.paused.take().filter(|paused| paused.pause == pause) {
            Some(paused) => paused,
            None => Paused { pause, timer: Box::pin(tokio::time::sleep(limit)) },
        };
        if self.paused.insert(paused).timer.as_mut().poll(cx).is_pending() {
            return Ok(());
        }
        if pause.why == Why::Untaken {
            return Err(self.takes_nothing());
        }
        tracing::debug!(peer = %self.peer.address(), ?limit, "connection closed: it is idle");
        Err(io::Error::new(io::ErrorKind::TimedOut, "the connection is idle"))
    }

    /// The error for a peer that took nothing for too long.
    fn takes_nothing(&self) -> io::Error {
        let limit = self.limits.write_stall;
        self.metrics.write_stalls.inc();
        tracing::info!(peer = %self.peer.address(), ?limit, "connection closed: its peer takes no bytes");
        io::Error::new(io::ErrorKind::TimedOut, "the peer takes no bytes")
    }

    /// Passes on what a write said, and fails it instead if it has been pending for too long.
    fn watch<T>(&mut self, cx: &mut Context<'_>, wrote: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if wrote.is_ready() {
            self.stalled = None;
            return wrote;
        }
        let limit = self.limits.write_stall;
        let timer = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(timer.as_mut().poll(cx));
        self.stalled = None;
        Poll::Ready(Err(self.takes_nothing()))
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
        self.in_use(cx)?;
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

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::Instant;

    use super::{Connection, GuardLimits, Guarded, Peer};
    use crate::model::ClientKey;
    use crate::server::ConnectionCaps;
    use crate::telemetry::{Metrics, ServerMetrics};

    const LIMIT: Duration = Duration::from_secs(60);
    const SECOND: Duration = Duration::from_secs(1);

    struct Both {
        guarded: Guarded<DuplexStream>,
        client: DuplexStream,
        connection: Connection,
        metrics: ServerMetrics,
    }

    fn guarded() -> Both {
        let Metrics { server: metrics, limits, .. } = Metrics::new();
        let (server, client) = duplex(1000);
        let peer = Peer::direct(SocketAddr::from(([127, 0, 0, 1], 1)));
        let slot = ConnectionCaps::new(1, 1, limits).enter(ClientKey::of(peer.address())).unwrap();
        let connection = Connection::default();
        let limits = GuardLimits { write_stall: LIMIT, idle: LIMIT };
        let guarded = Guarded::new(server, peer, limits, connection.clone(), slot, metrics.clone());
        Both { guarded, client, connection, metrics }
    }

    #[tokio::test(start_paused = true)]
    async fn g51_a_peer_that_reads_now_and_then_is_kept_and_one_that_stops_is_closed() {
        let Both { mut guarded, mut client, metrics, .. } = guarded();
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
                    tokio::time::sleep(LIMIT - SECOND).await;
                    client.read_exact(&mut some).await.unwrap();
                }
                tokio::time::sleep(LIMIT * 2).await;
            },
        );
        let kept = 3 * (LIMIT - SECOND);
        assert_eq!(failed, (Err(std::io::ErrorKind::TimedOut), kept + LIMIT));
        assert_eq!(metrics.write_stalls.get(), 1);
        assert!(guarded.stalled.is_none(), "no timer is kept");
        drop(guarded);
        assert_eq!(metrics.connections.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_is_cut_ends_although_nothing_is_read_or_written() {
        let Both { mut guarded, client: _client, connection, .. } = guarded();
        let mut byte = [0];
        let (read, ()) = tokio::join!(guarded.read(&mut byte), async {
            tokio::time::sleep(SECOND).await;
            connection.cut();
        });
        assert_eq!(read.map_err(|error| error.kind()), Err(std::io::ErrorKind::ConnectionAborted));
        assert!(guarded.write(b"x").await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn g53_a_connection_is_closed_when_no_request_was_under_way_for_the_idle_limit() {
        let Both { mut guarded, client: _client, connection, .. } = guarded();
        let mut byte = [0];
        let began = Instant::now();
        let (read, ()) = tokio::join!(guarded.read(&mut byte), async {
            // Before the first request and during a long one nothing counts.
            tokio::time::sleep(10 * LIMIT).await;
            let stream = connection.begin();
            tokio::time::sleep(10 * LIMIT).await;
            let second = connection.begin();
            drop(stream);
            tokio::time::sleep(10 * LIMIT).await;
            drop(second);
            // A short one begins the time anew, although the reader never saw it.
            tokio::time::sleep(LIMIT - SECOND).await;
            drop(connection.begin());
        });
        assert_eq!(read.map_err(|error| error.kind()), Err(std::io::ErrorKind::TimedOut));
        assert_eq!(began.elapsed(), 31 * LIMIT - SECOND + LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn g51_a_connection_whose_answers_are_taken_now_and_then_is_kept_and_then_closed() {
        let Both { mut guarded, client: _client, connection, metrics } = guarded();
        let mut byte = [0];
        let began = Instant::now();
        let (read, _) = tokio::join!(guarded.read(&mut byte), async {
            let stream = connection.begin();
            tokio::time::sleep(10 * LIMIT).await;
            let (first, second) = (connection.begin(), connection.begin());
            let owed = (first.owe(), second.owe());
            tokio::time::sleep(LIMIT - SECOND).await;
            owed.0.step();
            tokio::time::sleep(LIMIT - SECOND).await;
            drop((owed.0, first));
            (stream, owed.1, second)
        });
        assert_eq!(read.map_err(|error| error.kind()), Err(std::io::ErrorKind::TimedOut));
        // The reader sees a step when it is next woken.
        let least = 10 * LIMIT + 2 * (LIMIT - SECOND) + LIMIT;
        assert!((least..=least + 2 * SECOND).contains(&began.elapsed()), "{:?}", began.elapsed());
        assert_eq!(metrics.write_stalls.get(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn g53_an_open_stream_costs_no_timer() {
        let Both { mut guarded, mut client, connection, .. } = guarded();
        let mut byte = [0];
        drop(connection.begin());
        client.write_all(b"a").await.unwrap();
        guarded.read_exact(&mut byte).await.unwrap();
        assert!(guarded.paused.is_some());
        let _stream = connection.begin();
        client.write_all(b"b").await.unwrap();
        guarded.read_exact(&mut byte).await.unwrap();
        assert!(guarded.paused.is_none() && guarded.stalled.is_none());
    }
}
