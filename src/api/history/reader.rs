//! Rows from the journal, a page at a time: nothing is held but the page, and between two of them nothing is open.

use std::collections::VecDeque;
use std::future::Future;
use std::time::Duration;

use tokio::time::timeout;

use super::TaskRow;
use crate::event::{EventId, Position};
use crate::journal::{Journal, JournalError, RunPage, RunQuery, RunSummary};
use crate::model::RunId;

/// The most tasks that a page for programs holds.
pub const MAX_TASKS_PAGE: usize = 1000;

/// Tasks that an export asks for at once; as many events as a stream's read.
const TASKS: usize = 256;

/// A read that takes longer failed.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the history cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum HistoryError {
    /// The journal failed; the same question may be answered later.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A completion is there and does not say what each one says: a fault of this program.
    #[error("the completion {0} cannot be read")]
    Unreadable(EventId),
}

/// What rows are wanted.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// The runs of a query, from the newest to the oldest.
    Runs(RunQuery),
    /// The tasks of these runs: run by run, those of one run in the order in which they closed.
    TasksOf(RunQuery),
    /// The tasks of one run.
    Tasks(RunId),
}

impl Wanted {
    /// Whether its rows are tasks.
    pub fn tasks(&self) -> bool {
        !matches!(self, Self::Runs(_))
    }
}

/// Rows of one kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Rows {
    /// Runs.
    Runs(Vec<RunSummary>),
    /// Tasks.
    Tasks(Vec<TaskRow>),
}

impl Rows {
    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Self::Runs(rows) => rows.len(),
            Self::Tasks(rows) => rows.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One page of runs.
pub(super) async fn runs_page(journal: &dyn Journal, query: &RunQuery) -> Result<RunPage, HistoryError> {
    in_time(journal.runs(query)).await
}

/// One run.
pub(super) async fn run(journal: &dyn Journal, run: &RunId) -> Result<Option<RunSummary>, HistoryError> {
    in_time(journal.run(run)).await
}

/// Up to `limit` tasks of `run` after `after` and up to `upto`; and where to go on, if there are more.
pub(super) async fn tasks_page(
    journal: &dyn Journal,
    run: &RunId,
    (after, upto): (Position, Position),
    limit: usize,
) -> Result<(Vec<TaskRow>, Option<Position>), HistoryError> {
    let page = in_time(journal.read_runs(std::slice::from_ref(run), after, upto, limit)).await?;
    let next = page.events.last().map(|last| last.position).filter(|_| page.more);
    let epoch = journal.epoch();
    let row = |stored: &crate::journal::StoredEvent| {
        let id = || EventId { epoch: epoch.clone(), position: stored.position };
        TaskRow::of(epoch, stored).ok_or_else(|| HistoryError::Unreadable(id()))
    };
    let rows = page.events.iter().map(|stored| row(stored)).collect::<Result<_, _>>()?;
    Ok((rows, next))
}

async fn in_time<T>(read: impl Future<Output = Result<T, JournalError>>) -> Result<T, HistoryError> {
    let slow = || Err(JournalError::Store("no answer in time".into()));
    Ok(timeout(READ_TIMEOUT, read).await.unwrap_or_else(|_| slow())?)
}

/// All rows of a [`Wanted`], page by page. What the journal takes in after the first page is not among them.
pub struct Reader<'j> {
    journal: &'j dyn Journal,
    /// Runs still to be listed; `None`: there are no more.
    runs: Option<RunQuery>,
    /// Whether the tasks of runs are wanted, or the runs themselves.
    tasks: bool,
    /// Runs that are listed and whose tasks are still to be read; a page of them at most.
    waiting: VecDeque<RunId>,
    /// How far the tasks of the first of these are read.
    after: Position,
    /// The newest event when the reading began.
    upto: Position,
}

impl<'j> Reader<'j> {
    /// Begins.
    pub fn new(journal: &'j dyn Journal, wanted: Wanted) -> Self {
        let (tasks, upto) = (wanted.tasks(), journal.bounds().newest);
        let (runs, waiting) = match wanted {
            Wanted::Runs(query) | Wanted::TasksOf(query) => (Some(query), VecDeque::new()),
            Wanted::Tasks(run) => (None, VecDeque::from([run])),
        };
        Self { journal, runs, tasks, waiting, after: Position::START, upto }
    }

    /// The next rows, which may be none; `None` once there are no more.
    ///
    /// # Errors
    /// If the journal cannot be read. The same call may succeed later.
    pub async fn next(&mut self) -> Result<Option<Rows>, HistoryError> {
        if let Some(run) = self.waiting.front() {
            let (rows, next) = tasks_page(self.journal, run, (self.after, self.upto), TASKS).await?;
            self.after = next.unwrap_or(Position::START);
            if next.is_none() {
                self.waiting.pop_front();
            }
            return Ok(Some(Rows::Tasks(rows)));
        }
        let Some(query) = &mut self.runs else { return Ok(None) };
        let page = runs_page(self.journal, query).await?;
        match page.next {
            Some(next) => query.before = Some(next),
            None => self.runs = None,
        }
        if !self.tasks {
            return Ok(Some(Rows::Runs(page.runs)));
        }
        self.waiting.extend(page.runs.into_iter().map(|run| run.run));
        Ok(Some(Rows::Tasks(Vec::new())))
    }
}
