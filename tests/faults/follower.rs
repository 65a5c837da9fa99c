//! A client that comes back with the last id it saw, however its connection ended.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::{Ledger, Verdict, now};
use crate::support::Sse;

/// How long a client waits that nobody answers.
const UNANSWERED: Duration = Duration::from_millis(20);
/// A head that does not come in this time never does.
const HEAD_WITHIN: Duration = Duration::from_secs(20);

/// Where a client connects.
#[derive(Clone)]
pub struct Target {
    /// Scheme, host and port.
    pub url: String,
    /// Its key.
    pub key: String,
    /// What it connects with.
    pub client: reqwest::Client,
}

/// Where a client says how far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The header `Last-Event-ID`, as an `EventSource` does by itself.
    Header,
    /// The parameter `lastEventId`, as a page that makes a new `EventSource`.
    Parameter,
}

/// How long a client waits before it comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// As its last `retry:` said.
    AsTold,
    /// So short that it meets a server that is about to start.
    None,
}

/// A client at work; it ends with the value.
pub struct Follower {
    /// What it calls itself in messages.
    pub name: String,
    ledger: Arc<Mutex<Ledger>>,
    task: JoinHandle<()>,
}

impl Follower {
    /// Starts one that asks for `query`.
    pub fn start(name: &str, target: Target, query: &str, place: Place, pause: Pause) -> Self {
        Self::start_from(name, target, query, place, pause, None)
    }

    /// Starts one that begins with the id of somebody else.
    pub fn start_from(
        name: &str,
        target: Target,
        query: &str,
        place: Place,
        pause: Pause,
        from: Option<String>,
    ) -> Self {
        let ledger = Arc::new(Mutex::new(Ledger::from(from)));
        let task = tokio::spawn(follow(target, query.to_owned(), place, pause, Arc::clone(&ledger)));
        Self { name: name.to_owned(), ledger, task }
    }

    /// What it was told so far.
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("no follower panicked")
    }

    /// Waits until it was told all of `written`, or until nothing new came for `patience`; then says how it stands.
    pub async fn settled(&self, written: &[String], patience: Duration) -> Verdict {
        let (mut events, mut since) = (0, Instant::now());
        loop {
            let now = self.ledger().completions.len();
            if now != events {
                (events, since) = (now, Instant::now());
            }
            // Judging is work: only when there can be nothing missing, or no more comes.
            if now >= written.len() || since.elapsed() > patience {
                return self.ledger().judge(written);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(target: Target, query: String, place: Place, pause: Pause, ledger: Arc<Mutex<Ledger>>) {
    let book = || ledger.lock().expect("one task at a time");
    loop {
        let last = book().last_id.clone();
        let Some(answer) = connect(&target, &query, place, last).await else {
            tokio::time::sleep(UNANSWERED).await;
            continue;
        };
        if answer.status() != 200 {
            *book().refusals.entry(answer.status().as_u16()).or_default() += 1;
            tokio::time::sleep(UNANSWERED).await;
            continue;
        }
        let mut stream = Sse::new(answer);
        let mut first = true;
        while let Some(frame) = stream.next().await {
            let mut book = book();
            book.connections += usize::from(std::mem::take(&mut first));
            book.take(&frame, now());
        }
        let told = stream.retry().map_or(UNANSWERED, Duration::from_millis);
        tokio::time::sleep(if pause == Pause::AsTold { told } else { UNANSWERED }).await;
    }
}

async fn connect(target: &Target, query: &str, place: Place, last: Option<String>) -> Option<reqwest::Response> {
    let mut url = format!("{}/api/benchmark-sse?{query}", target.url);
    if let (Place::Parameter, Some(last)) = (place, &last) {
        url = format!("{url}&lastEventId={last}");
    }
    let mut request = target.client.get(url).bearer_auth(&target.key);
    if let (Place::Header, Some(last)) = (place, &last) {
        request = request.header("Last-Event-ID", last);
    }
    tokio::time::timeout(HEAD_WITHIN, request.send()).await.ok()?.ok()
}
