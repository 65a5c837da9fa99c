//! Reading the journal for streams: asked by the streams, done in tasks that the hub's own task owns.
//!
//! A stream's body is polled only while its connection takes bytes, so a read made inside it could keep one of the few
//! places for as long as a client likes. Here a read goes on and gives its place back whoever waits for it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::event::Position;
use crate::journal::{Journal, JournalError, Page};
use crate::model::RunId;

/// Readers at work at most (SEMANTICS 5).
pub(super) const READERS: usize = 8;

/// Events a read asks for at most (SEMANTICS 5).
pub(super) const PAGE: usize = 256;

/// A read that takes longer failed.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// How many of the latest questions are searched for the same one.
const ALIKE: usize = 32;

/// What a stream asks.
#[derive(Debug, PartialEq)]
pub(super) enum Question {
    /// How many events follow, counting to the cap.
    Count(Position, usize),
    /// The events after, and up to.
    Missed(Position, Position),
    /// The completions of runs after, and up to.
    Completions(Arc<[RunId]>, Position, Position),
}

/// What it gets.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Count(usize),
    Page(Arc<Page>),
}

pub(super) type Pending = oneshot::Receiver<Result<Answer, JournalError>>;

/// One question and where its answer goes: to all who asked it while it waited. After a restart thousands of streams
/// want the same completions.
#[derive(Debug)]
struct Job {
    question: Question,
    replies: Vec<oneshot::Sender<Result<Answer, JournalError>>>,
}

/// The questions that wait. Each open stream has one at most.
#[derive(Debug)]
pub(super) struct Readers {
    /// `None`: the hub stopped, nothing is read any more.
    jobs: Mutex<Option<VecDeque<Job>>>,
    asked: Notify,
    /// Beyond it, questions whose streams have gone are thrown out.
    limit: usize,
}

impl Readers {
    /// For at most `streams` open at once.
    pub(super) fn new(streams: usize) -> Self {
        Self { jobs: Mutex::new(Some(VecDeque::new())), asked: Notify::new(), limit: streams }
    }

    /// Puts a question. The answer's sender is dropped if the hub stops.
    pub(super) fn ask(&self, question: Question) -> Pending {
        let (reply, pending) = oneshot::channel();
        if let Some(jobs) = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            if let Some(job) = jobs.iter_mut().rev().take(ALIKE).find(|job| job.question == question) {
                if job.replies.len() >= self.limit {
                    job.replies.retain(|reply| !reply.is_closed());
                }
                job.replies.push(reply);
                return pending;
            }
            if jobs.len() >= self.limit {
                jobs.retain(Job::wanted);
            }
            jobs.push_back(Job { question, replies: vec![reply] });
        }
        self.asked.notify_one();
        pending
    }

    /// How many questions wait.
    pub(super) fn waiting(&self) -> usize {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map_or(0, VecDeque::len)
    }

    /// Returns when a question may wait.
    pub(super) async fn asked(&self) {
        self.asked.notified().await;
    }

    /// Fills the free places among `at_work`.
    pub(super) fn employ(&self, at_work: &mut JoinSet<()>, journal: &Arc<dyn Journal>) {
        while at_work.len() < READERS {
            let job = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).as_mut().and_then(VecDeque::pop_front);
            let Some(job) = job else { return };
            if job.wanted() {
                at_work.spawn(job.run(Arc::clone(journal)));
            }
        }
    }

    /// Ends all waiting, now and later.
    pub(super) fn close(&self) {
        *self.jobs.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Job {
    fn wanted(&self) -> bool {
        self.replies.iter().any(|reply| !reply.is_closed())
    }

    async fn run(self, journal: Arc<dyn Journal>) {
        let page = |page| Answer::Page(Arc::new(page));
        let read = async {
            match self.question {
                Question::Count(after, cap) => journal.count_after(after, cap).await.map(Answer::Count),
                Question::Missed(after, upto) => journal.read(after, upto, PAGE).await.map(page),
                Question::Completions(runs, after, upto) => journal.read_runs(&runs, after, upto, PAGE).await.map(page),
            }
        };
        let slow = || Err(JournalError::Store("no answer in time".into()));
        let answer = timeout(READ_TIMEOUT, read).await.unwrap_or_else(|_| slow());
        for reply in self.replies {
            // Its stream may have gone meanwhile.
            let _ = reply.send(answer.clone());
        }
    }
}
