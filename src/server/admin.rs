//! The administration listener: health and metrics on a thread of their own, so that they answer while the main
//! runtime is busy.

use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use axum::Router;
use prometheus::Registry;
use tokio_util::sync::CancellationToken;

use super::caps::ConnectionCaps;
use super::listener::{ConnectionLimits, Listener, ServerHandle, Serving, serve};
use super::proxy::ProxySettings;
use crate::telemetry::{LimitMetrics, ServerMetrics};

/// How long open requests get once the thread is told to stop.
const STOP_WITHIN: Duration = Duration::from_millis(500);

/// Connections at once: a few scrapers and health checks.
const CONNECTIONS: usize = 256;

/// The thread of the administration listener. It ends when the token given to it is cancelled, or with the process.
#[derive(Debug)]
pub struct AdminThread {
    local: SocketAddr,
    ended: CancellationToken,
}

impl AdminThread {
    /// Serves `router` on `listener` over plain HTTP. It asks for no key: whoever binds more than loopback puts one in
    /// front.
    pub fn start(listener: Listener, router: Router, stop: CancellationToken) -> io::Result<Self> {
        // Off the registry: the connections that count are those of clients.
        let registry = Registry::new();
        let metrics = ServerMetrics::register(&registry).map_err(io::Error::other)?;
        let limit_metrics = LimitMetrics::register(&registry).map_err(io::Error::other)?;
        let caps = ConnectionCaps::new(CONNECTIONS, CONNECTIONS, limit_metrics);
        let local = listener.local_addr();
        let ended = on_thread(move || {
            // Made and dropped here: a runtime must not be dropped inside another.
            match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime.block_on(run(listener, router, caps, metrics, stop)),
                Err(error) => tracing::error!(%error, "the administration listener has no runtime"),
            }
        })?;
        Ok(Self { local, ended })
    }

    /// The address bound, with its real port.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Waits until the thread ended; before its token was cancelled that is a failure.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        self.ended.clone().cancelled_owned()
    }
}

/// Does `work` on a thread of its own; the token is cancelled in whatever way that ends.
fn on_thread(work: impl FnOnce() + Send + 'static) -> io::Result<CancellationToken> {
    let ended = CancellationToken::new();
    let say_ended = ended.clone().drop_guard();
    thread::Builder::new().name("admin".to_owned()).spawn(move || {
        let _say_ended = say_ended;
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            // What it panicked with has been told where panics are.
            tracing::error!("the thread of the administration listener panicked");
        }
    })?;
    Ok(ended)
}

async fn run(
    listener: Listener,
    router: Router,
    caps: ConnectionCaps,
    metrics: ServerMetrics,
    stop: CancellationToken,
) {
    let handle = ServerHandle::new();
    let serving = Serving {
        tls: None,
        limits: ConnectionLimits::default(),
        caps,
        proxy: ProxySettings::none(),
        metrics,
        handle: handle.clone(),
    };
    let serve = serve(listener, router, serving);
    let stopper = async {
        stop.cancelled().await;
        handle.stop(STOP_WITHIN);
        std::future::pending().await
    };
    tokio::select! {
        served = serve => if let Err(error) = served {
            tracing::error!(%error, "the administration listener failed");
        },
        () = stopper => {}
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::on_thread;

    #[tokio::test]
    async fn a_thread_that_panics_is_heard_to_have_ended() {
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let ended = on_thread(move || {
            wait.recv().expect("the test says when");
            panic!("expected by this test");
        });
        let ended = ended.expect("a thread");
        assert!(timeout(Duration::from_millis(50), ended.cancelled()).await.is_err(), "it goes on");
        go.send(()).expect("it waits");
        timeout(Duration::from_secs(20), ended.cancelled()).await.expect("it is told");
    }
}
