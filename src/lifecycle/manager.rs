//! What the service manager (systemd) is told of this process: ready, reloading, stopping, alive, and what is not ready.
//!
//! The protocol is sd_notify(3): assignments, one per line, in datagrams to the socket that `NOTIFY_SOCKET` names.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram as StdUnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::net::UnixDatagram;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::NotReady;

/// How often a sign of life is given where the manager does not say how often it wants one.
const BEAT: Duration = Duration::from_secs(10);
/// For how many beats a start that is not over yet may go on after each sign of life.
const BEATS_TO_START: u32 = 3;
/// How long one datagram may wait for a manager that is busy.
const SEND_WITHIN: Duration = Duration::from_secs(1);
/// Turns that may wait to be told.
const TURNS: usize = 8;
/// Parts that are not ready which a status names, and how many characters it spends on each: systemd takes no more than
/// 4096 bytes at once.
const NAMED_PARTS: usize = 6;
const PART_CHARS: usize = 120;

/// A service manager that started this process and wants to be told.
#[derive(Debug)]
pub struct ServiceManager {
    address: SocketAddr,
    /// The time without a sign of life after which it ends this process; `None`: it does not.
    watchdog: Option<Duration>,
}

/// What the process does next. Turns are told in the order in which they are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Reloading { monotonic_usec: i128 },
    Reloaded,
    Stopping,
}

/// Where the process says what it does next. Without a service manager nobody listens, and nothing happens. The telling
/// ends once this is dropped.
#[derive(Debug, Default)]
pub struct Turns(Option<mpsc::Sender<Turn>>);

impl ServiceManager {
    /// The one that the variables `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` tell of, as `variable` gives them;
    /// `None` if there is none.
    ///
    /// # Errors
    /// If a variable is there and cannot be what it should be: whoever set it must be told, since the manager will wait.
    pub fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> io::Result<Option<Self>> {
        let Some(socket) = variable("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else { return Ok(None) };
        let address = match socket.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(&socket)?,
            _ => return Err(invalid("NOTIFY_SOCKET", &socket)),
        };
        let own = |pid: OsString| pid.to_str() == Some(std::process::id().to_string().as_str());
        // A watchdog that a parent was given is not for this process.
        let watched = variable("WATCHDOG_PID").is_none_or(own);
        let watchdog = match variable("WATCHDOG_USEC").filter(|_| watched) {
            None => None,
            Some(text) => {
                let usec = text.to_str().and_then(|text| text.parse().ok()).filter(|usec| *usec > 0);
                Some(Duration::from_micros(usec.ok_or_else(|| invalid("WATCHDOG_USEC", &text))?))
            }
        };
        Ok(Some(Self { address, watchdog }))
    }

    /// The place to say turns, and the work that tells the manager of them and of `readiness`; it ends once the place is
    /// dropped. Since the work gives the signs of life, it must run where the process does its own.
    pub fn telling(self, readiness: watch::Receiver<NotReady>) -> (Turns, impl Future<Output = ()> + Send) {
        let (sender, turns) = mpsc::channel(TURNS);
        (Turns(Some(sender)), self.tell(readiness, turns))
    }

    async fn tell(self, mut readiness: watch::Receiver<NotReady>, mut turns: mpsc::Receiver<Turn>) {
        // Half of what is allowed: one that comes late is still in time.
        let beat = self.watchdog.map_or(BEAT, |watchdog| watchdog / 2).max(Duration::from_millis(1));
        let mut told = Told { beat, watched: self.watchdog.is_some(), ..Told::default() };
        let mut beats = interval(beat);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The sender of readiness may go before the process is over.
        let mut asked = true;
        readiness.mark_changed();
        loop {
            let message = tokio::select! {
                biased;
                turn = turns.recv() => match turn {
                    Some(turn) => told.turn(turn),
                    None => return,
                },
                changed = readiness.changed(), if asked => {
                    asked = changed.is_ok();
                    told.readiness(&readiness.borrow_and_update())
                }
                _ = beats.tick() => told.beat(),
            };
            if let Some(message) = message
                && let Err(error) = self.send(&message).await
            {
                tracing::warn!(%error, message = message.replace('\n', " "), "the service manager is not told");
            }
        }
    }

    /// Sends one datagram. The socket is new each time: a manager that was started anew has another one under that name.
    async fn send(&self, message: &str) -> io::Result<()> {
        let socket = StdUnixDatagram::unbound()?;
        socket.connect_addr(&self.address)?;
        socket.set_nonblocking(true)?;
        let socket = UnixDatagram::from_std(socket)?;
        timeout(SEND_WITHIN, socket.send(message.as_bytes())).await??;
        Ok(())
    }
}

fn invalid(name: &str, value: &OsStr) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("the variable {name} is {value:?}"))
}

impl Turns {
    /// A reload begins.
    pub async fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let monotonic_usec = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
        self.say(Turn::Reloading { monotonic_usec }).await;
    }

    /// A reload is over, whether it was refused or not.
    pub async fn reloaded(&self) {
        self.say(Turn::Reloaded).await;
    }

    /// The stop begins.
    pub async fn stopping(&self) {
        self.say(Turn::Stopping).await;
    }

    async fn say(&self, turn: Turn) {
        if let Some(sender) = &self.0 {
            // A task that panicked was logged as such; it tells nobody any more.
            let _ = sender.send(turn).await;
        }
    }
}

/// What was told so far, which decides what is told next.
#[derive(Debug, Default)]
struct Told {
    beat: Duration,
    watched: bool,
    ready: bool,
    /// A reload was told of, so its end must be.
    reloading: bool,
    stopping: bool,
    status: String,
}

impl Told {
    /// What to tell of a turn, if anything.
    fn turn(&mut self, turn: Turn) -> Option<String> {
        match turn {
            // The end of a reload is told as `READY=1`, which must not be the first one.
            Turn::Reloading { monotonic_usec } if self.ready && !self.stopping => {
                self.reloading = true;
                Some(format!("RELOADING=1\nMONOTONIC_USEC={monotonic_usec}\n"))
            }
            Turn::Reloaded if self.reloading => {
                self.reloading = false;
                Some("READY=1\n".to_owned())
            }
            Turn::Stopping if !self.stopping => {
                self.stopping = true;
                Some("STOPPING=1\n".to_owned())
            }
            Turn::Reloading { .. } | Turn::Reloaded | Turn::Stopping => None,
        }
    }

    /// What to tell of what is not ready, if it is news.
    fn readiness(&mut self, not_ready: &NotReady) -> Option<String> {
        let status = status(not_ready);
        let mut message = String::new();
        if not_ready.is_empty() && !self.ready && !self.stopping {
            self.ready = true;
            message.push_str("READY=1\n");
        }
        if status != self.status {
            message.push_str(&format!("STATUS={status}\n"));
            self.status = status;
        }
        (!message.is_empty()).then_some(message)
    }

    /// The sign of life. A start that waits for a disk or a VM is no dead one, and gets more time with each.
    fn beat(&self) -> Option<String> {
        let mut message = String::new();
        if self.watched {
            message.push_str("WATCHDOG=1\n");
        }
        if !self.ready && !self.stopping {
            message.push_str(&format!("EXTEND_TIMEOUT_USEC={}\n", (self.beat * BEATS_TO_START).as_micros()));
        }
        (!message.is_empty()).then_some(message)
    }
}

/// One line that says what is not ready.
fn status(not_ready: &NotReady) -> String {
    if not_ready.is_empty() {
        return "ready".to_owned();
    }
    // The reasons may quote what a VM or a library said; a line break in one would begin an assignment of its own.
    let part = |(name, why): &(String, String)| -> String {
        let text = format!("{name}: {why}");
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(PART_CHARS).collect()
    };
    let parts: Vec<String> = not_ready.iter().take(NAMED_PARTS).map(part).collect();
    let more = match not_ready.len() - parts.len() {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    format!("not ready: {}{more}", parts.join("; "))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::time::Duration;

    use super::super::NotReady;
    use super::{ServiceManager, Told, Turn};

    fn not_ready(parts: &[(&str, &str)]) -> NotReady {
        parts.iter().map(|(name, why)| ((*name).to_owned(), (*why).to_owned())).collect()
    }

    fn of(variables: &[(&str, &str)]) -> std::io::Result<Option<ServiceManager>> {
        ServiceManager::from_variables(|wanted| {
            variables.iter().find(|(name, _)| *name == wanted).map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn without_the_variable_there_is_no_manager_and_a_wrong_one_is_said() {
        assert!(of(&[]).unwrap().is_none());
        assert!(of(&[("NOTIFY_SOCKET", "")]).unwrap().is_none());
        let path = ("NOTIFY_SOCKET", "/run/notify");
        assert_eq!(of(&[path]).unwrap().unwrap().watchdog, None);
        assert!(of(&[("NOTIFY_SOCKET", "@abstract")]).unwrap().is_some());
        for wrong in
            [&[("NOTIFY_SOCKET", "relative")][..], &[path, ("WATCHDOG_USEC", "0")], &[path, ("WATCHDOG_USEC", "x")]]
        {
            assert!(of(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_watchdog_counts_if_it_is_for_this_process() {
        let own = std::process::id().to_string();
        for (pid, watchdog) in [(own.as_str(), Some(Duration::from_secs(30))), ("1", None)] {
            let manager = of(&[("NOTIFY_SOCKET", "/n"), ("WATCHDOG_USEC", "30000000"), ("WATCHDOG_PID", pid)]);
            assert_eq!(manager.unwrap().unwrap().watchdog, watchdog, "{pid}");
        }
    }

    #[test]
    fn ready_is_told_once_and_afterwards_only_as_the_end_of_a_reload_that_was_told() {
        let mut told = Told { beat: Duration::from_secs(10), ..Told::default() };
        let reloading = Turn::Reloading { monotonic_usec: 7 };
        assert_eq!(
            told.readiness(&not_ready(&[("journal", "opening")])).unwrap(),
            "STATUS=not ready: journal: opening\n"
        );
        assert_eq!(told.turn(reloading), None, "a start does not reload");
        assert_eq!(told.readiness(&not_ready(&[])).unwrap(), "READY=1\nSTATUS=ready\n");
        assert_eq!(told.turn(Turn::Reloaded), None, "nothing was told of its begin");
        assert_eq!(told.turn(reloading).unwrap(), "RELOADING=1\nMONOTONIC_USEC=7\n");
        assert_eq!(told.readiness(&not_ready(&[("vm a", "x")])).unwrap(), "STATUS=not ready: vm a: x\n");
        assert_eq!(told.readiness(&not_ready(&[])).unwrap(), "STATUS=ready\n");
        assert_eq!(told.turn(Turn::Reloaded).unwrap(), "READY=1\n");
        assert_eq!(told.turn(Turn::Stopping).unwrap(), "STOPPING=1\n");
        assert_eq!(told.turn(reloading), None);
        assert_eq!(told.turn(Turn::Stopping), None);
    }

    #[test]
    fn a_process_that_stops_before_it_was_ready_never_says_that_it_is() {
        let mut told = Told::default();
        assert_eq!(told.turn(Turn::Stopping).unwrap(), "STOPPING=1\n");
        assert_eq!(told.readiness(&not_ready(&[])).unwrap(), "STATUS=ready\n");
    }

    #[test]
    fn a_start_that_goes_on_asks_for_time_and_a_watchdog_is_fed_all_along() {
        let mut told = Told { beat: Duration::from_secs(10), ..Told::default() };
        assert_eq!(told.beat().unwrap(), "EXTEND_TIMEOUT_USEC=30000000\n");
        told.readiness(&not_ready(&[]));
        assert_eq!(told.beat(), None);
        told.watched = true;
        assert_eq!(told.beat().unwrap(), "WATCHDOG=1\n");
        told.turn(Turn::Stopping);
        assert_eq!(told.beat().unwrap(), "WATCHDOG=1\n");
    }

    #[test]
    fn a_status_is_one_short_line_whatever_the_reasons_say() {
        let mut told = Told::default();
        let hostile = format!("no\nREADY=1\n{}", "long ".repeat(1000));
        let parts: Vec<_> = (0..200).map(|_| ("vm", hostile.as_str())).collect();
        let message = told.readiness(&not_ready(&parts)).unwrap();
        assert!(message.len() < 4096 && message.ends_with("; and 194 more\n"), "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
        assert_eq!(told.readiness(&not_ready(&parts)), None, "no news");
    }
}
