//! The administration listener: health and metrics on a thread of their own, so that they answer while the main
//! runtime is busy.

use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use axum::Router;
use prometheus::Registry;
use tokio::sync::oneshot;
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
    ended: oneshot::Receiver<()>,
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
        let (say_ended, ended) = oneshot::channel();
        thread::Builder::new().name("admin".to_owned()).spawn(move || {
            // Dropped, and so heard, in whatever way the thread ends.
            let _say_ended = say_ended;
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
    pub async fn ended(&mut self) {
        // The sender is only ever dropped.
        let _ = (&mut self.ended).await;
    }
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
