//! The layer that asks who the client is, counts how it was found, and lets nothing inside ask again.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::HeaderMap;
use http::header::HeaderName;
use tokio::time::Instant;

use super::{AddressFault, Client, OverTls, asked_over_https, resolve};
use crate::edge::EdgeState;
use crate::edge::clean::Unfit;
use crate::model::Peer;
use crate::telemetry::AddressSource;

/// Between two lines of the log about clients that are load balancers (G8).
const WARN_EVERY: Duration = Duration::from_secs(60);

/// What the layer remembers between requests: when it last warned.
#[derive(Debug, Default)]
pub(in crate::edge) struct Located(Mutex<Option<Instant>>);

impl Located {
    /// Whether a warning is due at `now`; if so, the next one is not before a minute later.
    fn warn_is_due(&self, now: Instant) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| now.duration_since(last) >= WARN_EVERY);
        if due {
            *last = Some(now);
        }
        due
    }
}

/// Puts [`Client`] into the request's extensions, and [`Unfit`] if it is not known who that is, and takes out every header that names a
/// client, read or not: nothing inside can believe one of them.
pub(in crate::edge) async fn locate(State(edge): State<EdgeState>, mut request: Request, next: Next) -> Response {
    let extensions = request.extensions();
    let peer = extensions
        .get::<Peer>()
        .copied()
        .or_else(|| extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(socket)| Peer::direct(*socket)));
    let found =
        peer.ok_or(AddressFault::NoPeer).and_then(|peer| resolve(&peer, request.headers(), &edge.settings().proxy));
    let rules = &edge.settings().proxy;
    let https = peer.is_some_and(|peer| asked_over_https(&peer, request.headers(), rules));
    request.extensions_mut().insert(OverTls(edge.settings().tls || https));
    forget_forwarded(request.headers_mut());
    match found {
        Ok(client) => {
            count(&edge, &client, Instant::now());
            request.extensions_mut().insert(client);
        }
        Err(fault) => {
            Unfit::leave(request.extensions_mut(), fault.into());
            // It counts for who sent it: without a client it would meet no limit (G9).
            if let Some(peer) = peer {
                request.extensions_mut().insert(Client::new(peer.address(), AddressSource::Trusted));
            }
        }
    }
    next.run(request).await
}

fn count(edge: &EdgeState, client: &Client, now: Instant) {
    let metrics = edge.limit_metrics();
    metrics.addresses.of(client.source).inc();
    if client.garbled {
        metrics.forwarded_errors.inc();
    }
    if client.source == AddressSource::Trusted && edge.located().warn_is_due(now) {
        tracing::warn!(
            client = %client.ip,
            "requests count for a trusted load balancer itself: it names no client, or proxy.trusted holds its clients too"
        );
    }
}

fn forget_forwarded(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers.keys().filter(|name| names_a_client(name.as_str())).cloned().collect();
    for name in named {
        headers.remove(name);
    }
}

/// Whether a header of this name is one that proxies name clients in, or tell of the request they got.
fn names_a_client(name: &str) -> bool {
    const NAMES: [&str; 7] = [
        "forwarded",
        "x-real-ip",
        "x-client-ip",
        "true-client-ip",
        "cf-connecting-ip",
        "cf-connecting-ipv6",
        "x-cluster-client-ip",
    ];
    NAMES.contains(&name) || name.starts_with("x-forwarded-")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Located, WARN_EVERY};

    #[test]
    fn g8_the_log_tells_of_a_misnamed_load_balancer_once_a_minute() {
        let (located, now) = (Located::default(), Instant::now());
        assert!(located.warn_is_due(now));
        assert!(!located.warn_is_due(now + WARN_EVERY - Duration::from_millis(1)));
        assert!(located.warn_is_due(now + WARN_EVERY));
        assert!(!located.warn_is_due(now + WARN_EVERY + Duration::from_secs(1)));
    }
}
