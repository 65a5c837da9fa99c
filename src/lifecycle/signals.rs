//! What the outside asks of the process. Tests feed it, so that none sends a signal to the test runner.

use std::io;

use tokio::signal::unix::{self, SignalKind};
use tokio::sync::mpsc;

/// How many fed signals may wait to be read.
const FEED_CAPACITY: usize = 16;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Stop in stages (the first SIGTERM or SIGINT).
    Stop,
    /// Exit now (the second one).
    StopNow,
    /// Read the configuration again (SIGHUP).
    Reload,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Raw {
    Stop,
    Reload,
}

/// The signals of the process, in order of arrival.
#[derive(Debug)]
pub struct Signals {
    source: Source,
    stopping: bool,
}

#[derive(Debug)]
enum Source {
    Process {
        term: unix::Signal,
        int: unix::Signal,
        hup: unix::Signal,
        /// Nobody waits for it: taken over, so that a file that may not grow fails its write, not the process.
        _xfsz: unix::Signal,
    },
    Fed(mpsc::Receiver<Raw>),
}

/// Where a test, or the code of the process itself, puts signals in. Dropping every feed asks for nothing.
#[derive(Clone, Debug)]
pub struct SignalFeed(mpsc::Sender<Raw>);

impl Signals {
    /// Takes over SIGTERM, SIGINT, SIGHUP and SIGXFSZ of this process. Fails if the kernel refuses; needs a tokio runtime.
    pub fn install() -> io::Result<Self> {
        Ok(Self {
            source: Source::Process {
                term: unix::signal(SignalKind::terminate())?,
                int: unix::signal(SignalKind::interrupt())?,
                hup: unix::signal(SignalKind::hangup())?,
                _xfsz: unix::signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?,
            },
            stopping: false,
        })
    }

    /// Signals that come from the returned feed alone.
    pub fn fed() -> (SignalFeed, Self) {
        let (sender, receiver) = mpsc::channel(FEED_CAPACITY);
        (SignalFeed(sender), Self { source: Source::Fed(receiver), stopping: false })
    }

    /// Waits for the next signal. Safe to cancel.
    pub async fn next(&mut self) -> Signal {
        let raw = match &mut self.source {
            Source::Process { term, int, hup, .. } => tokio::select! {
                _ = term.recv() => Raw::Stop,
                _ = int.recv() => Raw::Stop,
                _ = hup.recv() => Raw::Reload,
            },
            Source::Fed(receiver) => match receiver.recv().await {
                Some(raw) => raw,
                None => std::future::pending().await,
            },
        };
        match raw {
            Raw::Reload => Signal::Reload,
            Raw::Stop if self.stopping => Signal::StopNow,
            Raw::Stop => {
                self.stopping = true;
                Signal::Stop
            }
        }
    }
}

impl SignalFeed {
    /// As SIGTERM.
    pub async fn stop(&self) {
        // Nobody left to tell is nobody left to stop.
        let _ = self.0.send(Raw::Stop).await;
    }

    /// As SIGHUP.
    pub async fn reload(&self) {
        let _ = self.0.send(Raw::Reload).await;
    }
}

#[cfg(test)]
mod tests {
    use super::{Signal, Signals};

    #[tokio::test]
    async fn the_second_stop_means_now() {
        let (feed, mut signals) = Signals::fed();
        feed.reload().await;
        feed.stop().await;
        feed.reload().await;
        feed.stop().await;
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.push(signals.next().await);
        }
        assert_eq!(seen, [Signal::Reload, Signal::Stop, Signal::Reload, Signal::StopNow]);
    }
}
