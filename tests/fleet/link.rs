//! The way from one replica to one server of NATS, which can be cut.

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// How a link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Bytes pass.
    Open,
    /// Connections break, new ones are closed at once.
    Broken,
    /// Connections stay open and nothing passes, as when the network swallows every packet.
    Silent,
}

/// A port of loopback that leads to another one.
pub struct Link {
    /// Where to connect.
    pub port: u16,
    way: watch::Sender<Way>,
    task: JoinHandle<()>,
}

impl Link {
    /// A link to `target` that is open.
    pub async fn to(target: u16) -> Self {
        let port = crate::support::free_port();
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("a free port");
        let (way, watched) = watch::channel(Way::Open);
        Self { port, way, task: tokio::spawn(accept(listener, target, watched)) }
    }

    /// Opens or cuts it.
    pub fn set(&self, way: Way) {
        self.way.send_replace(way);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, target: u16, way: watch::Receiver<Way>) {
    let mut passing = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    passing.spawn(pass(stream, target, way.clone()));
                }
            }
            Some(_) = passing.join_next() => {}
        }
    }
}

/// One connection, for as long as the link stays open; dropped, it is closed.
async fn pass(mut near: TcpStream, target: u16, mut way: watch::Receiver<Way>) {
    let now = *way.borrow_and_update();
    let mut far = None;
    if now == Way::Open {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", target)).await else { return };
        tokio::select! {
            _ = copy_bidirectional(&mut near, &mut stream) => return,
            _ = way.wait_for(|way| *way != Way::Open) => far = Some(stream),
        }
    }
    if *way.borrow_and_update() == Way::Silent {
        // What was swallowed never comes: the connection is of no use any more.
        let _ = way.wait_for(|way| *way != Way::Silent).await;
    }
    drop(far);
}
