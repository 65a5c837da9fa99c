//! The HTTP server that answers `/probe` on the VM, as the benchmark's server in Windows does.

use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::{Lab, Result, until};

/// What Windows Agent Arena's server says.
pub const BODY: &str = r#"{"status": "Probe successful", "message": "Service is operational"}"#;
/// The longest that one connection is kept.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the port may stay taken after the server ended.
const BIND_TIMEOUT: Duration = Duration::from_secs(5);

/// How the server answers.
#[derive(Clone, Debug)]
pub enum Answer {
    /// With this HTTP status and body.
    Says(u16, String),
    /// It takes the connection and says nothing, as Windows does while it boots.
    Hangs,
}

/// The server, if it is on. It has a thread and a runtime of its own: it answers whatever the test's runtime does.
#[derive(Default)]
pub struct Probe {
    on: Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>>,
    asked: Asked,
}

/// When it was asked.
type Asked = Arc<Mutex<Vec<SystemTime>>>;

impl Probe {
    fn off(&self) -> Result<()> {
        let mut on = self.on.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((stop, thread)) = on.take() {
            drop(stop);
            thread.join().map_err(|_| "the probe server panicked")?;
        }
        Ok(())
    }

    async fn on(&self, port: u16, answer: Answer) -> Result<()> {
        self.off()?;
        // A child that another thread has just forked holds a copy of the old socket until it becomes its program.
        let listener = until(BIND_TIMEOUT, async || TcpListener::bind(("127.0.0.1", port)).ok()).await;
        let listener = listener.ok_or("the port of /probe is taken")?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let asked = Arc::clone(&self.asked);
        let thread = std::thread::Builder::new().name("lab-probe".into()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = serve(listener, &answer, &asked) => {}
                    _ = stopped => {}
                }
            });
        })?;
        *self.on.lock().unwrap_or_else(PoisonError::into_inner) = Some((stop, thread));
        Ok(())
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let _ = self.off();
    }
}

async fn serve(listener: TcpListener, answer: &Answer, asked: &Asked) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    asked.lock().unwrap_or_else(PoisonError::into_inner).push(SystemTime::now());
                    connections.spawn(tokio::time::timeout(CONNECTION_TIMEOUT, reply(stream, answer.clone())));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn reply(mut stream: TcpStream, answer: Answer) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < 8192 {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let (status, body) = match answer {
        Answer::Hangs => return std::future::pending().await,
        Answer::Says(status, body) if head.starts_with(b"GET /probe ") => (status, body),
        Answer::Says(..) => (404, String::new()),
    };
    let length = body.len();
    let head = format!("HTTP/1.1 {status} Lab\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n");
    stream.write_all(format!("{head}Connection: close\r\n\r\n{body}").as_bytes()).await?;
    stream.shutdown().await
}

impl Lab {
    /// `/probe` answers with 200 and the body that the benchmark's server has.
    pub async fn probe_on(&self) -> Result<()> {
        self.probe_answers(Answer::Says(200, BODY.to_owned())).await
    }

    /// `/probe` answers in this way.
    pub async fn probe_answers(&self, answer: Answer) -> Result<()> {
        self.probe.on(self.probe_port, answer).await
    }

    /// When `/probe` was asked, while it was on: the VM's own count of polls.
    pub fn probe_asked(&self) -> Vec<SystemTime> {
        self.probe.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Connections to `/probe` are refused.
    pub fn probe_off(&self) -> Result<()> {
        self.probe.off()
    }
}
