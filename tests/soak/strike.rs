//! What happens to the server.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use rand::RngExt;
use rustix::process::Signal;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::faults::{Follower, Pause, Place, Target};
use crate::support::HaProxy;
use crate::world::{World, stranger};

const SLOW: usize = 50;
/// Connections of one wave, and requests with a wrong key.
const FLOOD: usize = 400;
/// Silence after which the impatient proxy cuts; heartbeats come every 15 s.
const IMPATIENT: Duration = Duration::from_secs(3);

/// One kind of fault.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    Nothing,
    Kill,
    Stop,
    SlowReaders,
    ProxyCuts,
    Rotation,
    Truncation,
    Reload,
    Flood,
}

impl Fault {
    /// All that happen to a server with room on its disk.
    pub const ALL: [Self; 9] = [
        Self::Nothing,
        Self::Kill,
        Self::Stop,
        Self::SlowReaders,
        Self::ProxyCuts,
        Self::Rotation,
        Self::Truncation,
        Self::Reload,
        Self::Flood,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Kill => "kill -9",
            Self::Stop => "SIGTERM",
            Self::SlowReaders => "50 that never read",
            Self::ProxyCuts => "a proxy that cuts",
            Self::Rotation => "logs rotated",
            Self::Truncation => "logs emptied",
            Self::Reload => "reload, a VM more or less",
            Self::Flood => "a flood of connects",
        }
    }

    /// Lets it happen again and again until then; says how often.
    pub async fn strike(self, world: &mut World, until: Instant) -> usize {
        let mut times = 0;
        world.quiet_stream();
        while Instant::now() < until {
            match self {
                Self::Nothing => world.play(Duration::from_secs(2)).await,
                Self::Kill => kill(world).await,
                Self::Stop => stop(world).await,
                Self::SlowReaders => slow_readers(world, until).await,
                // One of them is counted below.
                Self::ProxyCuts => times += proxy_cuts(world, until).await - 1,
                Self::Rotation | Self::Truncation => {
                    let span = Duration::from_millis(world.random.random_range(3000..8000));
                    world.play(span).await;
                    world.replace_logs(matches!(self, Self::Truncation)).await;
                }
                Self::Reload => {
                    world.configure(times % 2 == 0);
                    world.served.signal(Signal::HUP);
                    let span = Duration::from_millis(world.random.random_range(1000..4000));
                    world.play(span).await;
                }
                Self::Flood => flood(world).await,
            }
            times += usize::from(!matches!(self, Self::Nothing));
        }
        if self.restarts() {
            world.served.ready().await;
        }
        times
    }

    /// Whether every connection ends with it.
    pub fn restarts(self) -> bool {
        matches!(self, Self::Kill | Self::Stop)
    }
}

async fn kill(world: &mut World) {
    let life = world.random.random_range(0..2500);
    world.play(Duration::from_millis(life)).await;
    assert!(world.served.runs(), "it ended by itself:\n{}", world.served.log());
    world.served.start_again();
}

async fn stop(world: &mut World) {
    world.served.ready().await;
    let life = world.random.random_range(500..4000);
    world.play(Duration::from_millis(life)).await;
    world.served.signal(Signal::TERM);
    world.play(Duration::from_secs(1)).await;
    let ended = world.served.ended(Duration::from_secs(15)).await;
    assert!(ended.success(), "{ended:?}");
    world.served.start_again();
}

/// A request for a stream, over a connection that takes almost nothing.
async fn ask(port: u16, key: &str) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().ok()?;
    socket.set_recv_buffer_size(2048).ok()?;
    socket.bind(([127, 0, 0, 9], 0).into()).ok()?;
    let mut stream = socket.connect(([127, 0, 0, 1], port).into()).await.ok()?;
    let request =
        format!("GET /api/benchmark-sse?interval=1 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    Some(stream)
}

async fn slow_readers(world: &mut World, until: Instant) {
    let mut held = Vec::new();
    for _ in 0..SLOW {
        held.extend(ask(world.served.port, world.served.key()).await);
    }
    assert_eq!(held.len(), SLOW, "each is let in");
    // The server gives them up after 60 s; then come the next.
    let left = until.saturating_duration_since(Instant::now());
    world.play(left.clamp(Duration::from_secs(1), Duration::from_secs(70))).await;
}

/// A client behind a proxy that cuts what is silent, while benchmarks play now and then; says how often it was cut.
async fn proxy_cuts(world: &mut World, until: Instant) -> usize {
    let seconds = IMPATIENT.as_secs();
    let proxy = HaProxy::start(&format!(
        "    {{bind}}\n    mode http\n    timeout client {seconds}s\n    timeout server {seconds}s\n    server one 127.0.0.1:{}\n",
        world.served.port
    ))
    .await;
    let target = Target {
        url: format!("http://127.0.0.1:{}", proxy.port),
        key: world.served.key().to_owned(),
        client: world.served.client(),
    };
    world.settle().await;
    let (known, from) = (world.written(), world.last_id());
    // At this interval nothing but durable events and heartbeats comes for a minute.
    let follower = Follower::start_from("cut", target, "interval=60", Place::Header, Pause::AsTold, from);
    while Instant::now() < until {
        let quiet = world.random.random_range(0..3 * seconds);
        tokio::time::sleep(Duration::from_secs(quiet)).await;
        world.play(Duration::from_secs(2)).await;
        world.settle().await;
    }
    let known: HashSet<String> = known.into_iter().collect();
    let written: Vec<String> = world.written().into_iter().filter(|id| !known.contains(id)).collect();
    let verdict = follower.settled(&written, Duration::from_secs(45)).await;
    assert!(verdict.is_clean() && verdict.events == written.len(), "behind the proxy: {verdict:#?}");
    let cuts = follower.ledger().connections.saturating_sub(1);
    assert!(cuts > 0, "the proxy never cut: nothing was tried");
    cuts
}

/// Half-open requests and wrong keys from another address.
async fn flood(world: &mut World) {
    let mut held = Vec::new();
    for _ in 0..FLOOD {
        let connecting = TcpSocket::new_v4().expect("a socket");
        connecting.bind(([127, 0, 0, 9], 0).into()).expect("an address of loopback");
        let connecting = connecting.connect(([127, 0, 0, 1], world.served.port).into());
        if let Ok(Ok(mut stream)) = tokio::time::timeout(Duration::from_secs(2), connecting).await {
            // One over the cap is closed at once, which is no error here.
            let _ = stream.write_all(b"GET /api/benchmark-sse HTTP/1.1\r\n").await;
            held.push(stream);
        }
    }
    let client = stranger();
    for _ in 0..FLOOD / 4 {
        let request = client.get(world.served.url("/api/vms")).bearer_auth("gw_abcdefgh_wrong");
        // Refused, throttled or not let in at all: that is the server's to choose.
        let _ = tokio::time::timeout(Duration::from_secs(2), request.send()).await;
    }
    world.play(Duration::from_secs(3)).await;
    drop(held);
    world.play(Duration::from_secs(2)).await;
}
