//! The one place that spawns: a task has a name, a span and an owner that waits for it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::Instrument;

use super::{Gate, Readiness};

/// How long aborted tasks get to drop what they hold, beyond the deadline of [`Tasks::shutdown`].
const ABORT_GRACE: Duration = Duration::from_millis(100);

/// The owner of tasks. Clones are handles to the same owner; a task that ended leaves nothing behind.
#[derive(Clone, Debug)]
pub struct Tasks(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    readiness: Readiness,
    tracker: TaskTracker,
    stopping: CancellationToken,
    running: Mutex<Running>,
}

#[derive(Debug, Default)]
struct Running {
    next: u64,
    /// The handle is there once the task was spawned.
    tasks: BTreeMap<u64, (Cow<'static, str>, Option<AbortHandle>)>,
    /// The deadline of `shutdown` passed: what is spawned now ends at once.
    over: bool,
}

impl Tasks {
    /// An owner of nothing yet, which says the failure of essential tasks to `readiness`.
    pub fn new(readiness: &Readiness) -> Self {
        Self(Arc::new(Shared {
            readiness: readiness.clone(),
            tracker: TaskTracker::new(),
            stopping: CancellationToken::new(),
            running: Mutex::default(),
        }))
    }

    /// Spawns a task that may end by itself. A panic in it is logged as an error with its name.
    pub fn spawn<F>(&self, name: impl Into<Cow<'static, str>>, work: F) -> AbortHandle
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.start(name.into(), None, work)
    }

    /// Spawns a task without which the process is not ready: if it panics, is aborted, or returns before the stop
    /// began, readiness turns false (as `task NAME`) and an error is logged.
    pub fn spawn_essential<F>(&self, name: impl Into<Cow<'static, str>>, work: F) -> AbortHandle
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let name = name.into();
        let gate = self.0.readiness.gate(format!("task {name}"), "ended");
        gate.ready();
        self.start(name, Some(gate), work)
    }

    /// Cancelled when [`Tasks::shutdown`] begins; a task that watches it can end in order.
    pub fn stopping(&self) -> CancellationToken {
        self.0.stopping.clone()
    }

    /// The stop begins: from now on an essential task may return. [`Tasks::shutdown`] does this too; a stop in stages
    /// ends some tasks before that.
    pub fn begin_stop(&self) {
        self.0.stopping.cancel();
    }

    /// Names of the tasks that run now, in the order in which they were spawned.
    pub fn running(&self) -> Vec<String> {
        self.0.lock().tasks.values().map(|(name, _)| name.to_string()).collect()
    }

    /// How many tasks run now.
    pub fn alive(&self) -> usize {
        self.0.lock().tasks.len()
    }

    /// Stops every task: cancels [`Tasks::stopping`], waits up to `deadline`, aborts what is left and hands back its
    /// names. A task spawned after that ends at once.
    pub async fn shutdown(&self, deadline: Duration) -> Vec<String> {
        self.0.stopping.cancel();
        self.0.tracker.close();
        if tokio::time::timeout(deadline, self.0.tracker.wait()).await.is_ok() {
            self.0.lock().over = true;
            return Vec::new();
        }
        let left: Vec<_> = {
            let mut running = self.0.lock();
            running.over = true;
            running.tasks.values().cloned().collect()
        };
        for (name, task) in &left {
            tracing::warn!(task = %name, "task did not end in time: aborted");
            if let Some(task) = task {
                task.abort();
            }
        }
        // A task that blocks its thread cannot be aborted; it is named above and must not hold up the exit.
        let _ = tokio::time::timeout(ABORT_GRACE, self.0.tracker.wait()).await;
        left.into_iter().map(|(name, _)| name.into_owned()).collect()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the owner that the ban on tokio::spawn points to")]
    fn start<F>(&self, name: Cow<'static, str>, gate: Option<Gate>, work: F) -> AbortHandle
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let span = tracing::info_span!("task", task = %name);
        // Entered before it is spawned, for it may end before `spawn` returns; and no lock is held over the spawn, for
        // a runtime that stops drops the task, and with it `End`, right there.
        let id = {
            let mut running = self.0.lock();
            let id = running.next;
            running.next += 1;
            running.tasks.insert(id, (name, None));
            id
        };
        let end = End { id, gate, shared: Arc::clone(&self.0), said: false, _token: self.0.tracker.token() };
        let run = async move {
            let outcome = AssertUnwindSafe(work).catch_unwind().await;
            end.say(outcome.as_ref().err().map(|panic| panic_text(panic.as_ref())));
        };
        let task = tokio::spawn(run.instrument(span)).abort_handle();
        let over = {
            let mut running = self.0.lock();
            if let Some((_, handle)) = running.tasks.get_mut(&id) {
                *handle = Some(task.clone());
            }
            // Read here, not before the spawn: a `shutdown` in between found no handle to abort.
            running.over
        };
        if over {
            task.abort();
        }
        task
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Running> {
        // Each critical section is one insert or remove; nothing can be left half done by a panic.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs when a task ends in whatever way: finished, panicked, aborted, or dropped with the runtime.
struct End {
    id: u64,
    gate: Option<Gate>,
    shared: Arc<Shared>,
    said: bool,
    _token: TaskTrackerToken,
}

impl End {
    fn say(mut self, panic: Option<String>) {
        self.report(panic, "returned");
    }

    fn report(&mut self, panic: Option<String>, otherwise: &str) {
        self.said = true;
        let name = self.shared.lock().tasks.remove(&self.id).map(|(name, _)| name).unwrap_or_default();
        let essential = self.gate.is_some();
        let why = match (panic, essential) {
            (Some(text), _) => Some(format!("panicked: {text}")),
            (None, true) if !self.shared.stopping.is_cancelled() => Some(format!("{otherwise} unexpectedly")),
            (None, _) => None,
        };
        let gate = self.gate.take();
        let Some(why) = why else {
            // It ended as it was asked to: nothing is missing.
            if let Some(gate) = gate {
                gate.retire();
            }
            return;
        };
        tracing::error!(task = %name, essential, "task {why}");
        if let Some(gate) = gate {
            gate.not_ready(why);
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if !self.said {
            self.report(None, "aborted");
        }
    }
}

/// The text of a panic, as far as it is text.
fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no text").to_owned()
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::time::Duration;

    use tokio::sync::oneshot;
    use tokio::time::Instant;

    use super::super::Readiness;
    use super::Tasks;

    fn ready() -> Readiness {
        let readiness = Readiness::new();
        readiness.started();
        readiness
    }

    async fn settle(tasks: &Tasks, left: usize) {
        while tasks.running().len() > left {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn an_essential_task_that_panics_or_returns_turns_readiness_false() {
        for (panics, why) in [(true, "panicked: lost"), (false, "returned unexpectedly")] {
            let readiness = ready();
            let tasks = Tasks::new(&readiness);
            tasks.spawn_essential("poller", async move { assert!(!panics, "lost") });
            settle(&tasks, 0).await;
            assert_eq!(*readiness.watch().borrow(), [("task poller".to_owned(), why.to_owned())]);
        }
    }

    #[tokio::test]
    async fn an_essential_task_that_is_aborted_turns_readiness_false() {
        let readiness = ready();
        let tasks = Tasks::new(&readiness);
        tasks.spawn_essential("poller", pending()).abort();
        settle(&tasks, 0).await;
        assert_eq!(readiness.watch().borrow()[0].1, "aborted unexpectedly");
    }

    #[tokio::test]
    async fn other_tasks_end_as_they_like() {
        let readiness = ready();
        let tasks = Tasks::new(&readiness);
        tasks.spawn("short", async {});
        tasks.spawn("broken", async { panic!("expected by this test") });
        settle(&tasks, 0).await;
        assert!(readiness.watch().borrow().is_empty());
    }

    #[tokio::test]
    async fn finished_tasks_leave_nothing_behind() {
        let tasks = Tasks::new(&ready());
        for n in 0..1000 {
            tasks.spawn(format!("task {n}"), async {});
        }
        assert_eq!(tasks.alive(), 1000);
        settle(&tasks, 0).await;
        assert!(tasks.running().is_empty());
        assert_eq!((tasks.alive(), tasks.0.tracker.len()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn shutdown_waits_for_those_that_listen_and_names_those_that_do_not() {
        let readiness = ready();
        let tasks = Tasks::new(&readiness);
        let stopping = tasks.stopping();
        tasks.spawn_essential("listens", async move {
            stopping.cancelled().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        });
        let (dropped, mut was_dropped) = oneshot::channel::<()>();
        tasks.spawn("deaf", async move {
            let _held = dropped;
            pending::<()>().await;
        });
        let began = Instant::now();
        assert_eq!(tasks.shutdown(Duration::from_secs(5)).await, ["deaf"]);
        assert!(began.elapsed() <= Duration::from_secs(5) + super::ABORT_GRACE);
        assert!(matches!(was_dropped.try_recv(), Err(oneshot::error::TryRecvError::Closed)), "what it held is free");
        assert!(readiness.watch().borrow().is_empty(), "a task that ends because of the stop is no failure");
        tasks.spawn("late", pending());
        settle(&tasks, 0).await;
    }

    #[test]
    fn a_runtime_that_stops_may_drop_a_task_while_it_is_spawned() {
        struct SpawnsWhenDropped(Tasks);
        impl Drop for SpawnsWhenDropped {
            fn drop(&mut self) {
                self.0.spawn("too late", pending());
            }
        }
        let tasks = Tasks::new(&ready());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let held = SpawnsWhenDropped(tasks.clone());
            tasks.spawn("holder", async move {
                let _held = held;
                pending::<()>().await;
            });
            tokio::task::yield_now().await;
        });
        drop(runtime);
        assert!(tasks.running().is_empty());
    }
}
