//! Clients come back with any of their earlier ids while a writer commits as fast as the journal takes it: each gets
//! exactly what it missed, in order, and then what is new.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gatewatch::hub::HubConfig;
use gatewatch::journal::{EmbeddedConfig, EmbeddedJournal, Journal, MemoryJournal, MemoryJournalConfig, Retention};
use gatewatch::model::Timestamp;
use gatewatch::telemetry::Metrics;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::faults::{BareHub, Target, now, say, seed};
use crate::support::Sse;

const CLIENTS: u64 = 12;
/// Fewer than the hub replays one by one.
const EVENTS: u64 = 6_000;
/// So many events are committed at full speed, then the writer rests.
const BURST: u64 = 500;
const BETWEEN: Duration = Duration::from_millis(50);
/// A stream that stands still for so long has lost something.
const PATIENCE: Duration = Duration::from_secs(30);

/// One client: the ids that it was given, by the number of the event that each came with.
struct Client {
    target: Target,
    random: StdRng,
    /// Id and number; the first is where it began.
    line: Vec<(String, u64)>,
    /// Resumes that began while the writer was at work.
    raced: u64,
    replayed: u64,
}

impl Client {
    async fn open(&self, id: Option<&str>) -> Sse {
        let request = self.target.client.get(format!("{}/api/benchmark-sse", self.target.url));
        let request = match id {
            Some(id) => request.header("Last-Event-ID", id),
            None => request,
        };
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
        Sse::new(answer)
    }

    /// Goes back to one of its ids and reads on from there, until it has read `further` events or the last one.
    async fn resume(&mut self, further: u64) {
        let from = self.random.random_range(0..self.line.len());
        let (id, mut number) = self.line[from].clone();
        let newest = self.line.last().expect("where it began").1;
        let mut stream = self.open(Some(&id)).await;
        let until = (newest + further).min(EVENTS);
        while number < until {
            let frame = timeout(PATIENCE, stream.next()).await;
            let frame = frame.unwrap_or_else(|_| panic!("nothing after {number}")).expect("the stream goes on");
            assert_ne!(frame.event, "reset", "{frame:?}");
            if frame.event != "task_complete" {
                continue;
            }
            number += 1;
            assert_eq!(frame.data["key"], format!("key-{number}"), "after {id}");
            self.replayed += u64::from(number <= newest);
            if number > newest {
                self.line.push((frame.id.expect("an id"), number));
            }
        }
    }
}

/// The race on any journal.
async fn race(journal: Arc<dyn Journal>, seed: u64) {
    let hub = Arc::new(BareHub::start(journal, HubConfig::default()).await);
    let begin = hub.commit(1..2).await;
    let over = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for n in 0..CLIENTS {
        let (over, line) = (Arc::clone(&over), vec![(begin.clone(), 1)]);
        let random = StdRng::seed_from_u64(seed.wrapping_add(n));
        let mut client = Client { target: hub.target(), random, line, raced: 0, replayed: 0 };
        clients.spawn(async move {
            while client.line.last().is_some_and(|(_, number)| *number < EVENTS) {
                let writes = !over.load(Ordering::Relaxed);
                let further = if writes { client.random.random_range(1..=EVENTS / 40) } else { EVENTS };
                client.resume(further).await;
                client.raced += u64::from(writes);
            }
            (client.raced, client.replayed)
        });
    }
    let mut random = StdRng::seed_from_u64(seed);
    let mut next = 2;
    while next <= EVENTS {
        let end = (next + random.random_range(1..=8)).min(EVENTS + 1);
        hub.commit(next..end).await;
        let rests = next / BURST != end / BURST;
        next = end;
        if rests {
            // The clients are tasks of this very runtime: a journal in memory would be full before the first reads.
            sleep(BETWEEN).await;
        }
    }
    over.store(true, Ordering::Relaxed);
    let (mut raced, mut replayed) = (0, 0);
    while let Some(client) = clients.join_next().await {
        let (times, events) = client.expect("no client found anything wrong");
        raced += times;
        replayed += events;
    }
    say(&format!("{EVENTS} events, {CLIENTS} clients, {raced} resumes while they came, {replayed} events replayed"));
    assert!(raced > 2 * CLIENTS && replayed > EVENTS, "this was no race: {raced} resumes, {replayed} replayed");
}

#[tokio::test(flavor = "multi_thread")]
async fn replay_against_a_writer_at_full_speed_is_exact_on_the_journal_in_memory() {
    let seed = seed("replay from memory");
    race(Arc::new(MemoryJournal::new(MemoryJournalConfig::default())), seed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replay_against_a_writer_at_full_speed_is_exact_on_the_embedded_journal() {
    let seed = seed("replay from SQLite");
    let dir = tempfile::tempdir().expect("a folder");
    let retention = Retention::new(Duration::from_secs(30 * 24 * 3600), 1_000_000);
    let config = EmbeddedConfig { path: dir.path().join("journal.db"), retention };
    let journal = EmbeddedJournal::open(config, Metrics::new().journal, Timestamp(now())).expect("it opens");
    let journal = Arc::new(journal);
    race(Arc::clone(&journal) as Arc<dyn Journal>, seed).await;
    journal.close().await.expect("it closes in order");
}
