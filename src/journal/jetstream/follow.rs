//! The task that follows the stream into the mirror, and looks after both.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::{Ordered, OrderedConfig, OrderedError};
use async_nats::jetstream::{Message, consumer};
use futures_util::StreamExt as _;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::engine::{ANSWER_WITHIN, Engine, away};
use super::entry::{self, Unreadable};
use super::mirror::{ApplyError, Gaps, Mirror, Placed};
use super::names::Topic;
use super::{Shared, blocking, settle};
use crate::journal::JournalError;
use crate::journal::store::Retention;
use crate::model::{Timestamp, VmId};

/// Entries that share a transaction of the mirror: 16 MiB of the largest at most.
const TOGETHER: usize = 64;

/// Between two tries to follow a stream that cannot be followed now.
const AGAIN_AFTER: Duration = Duration::from_millis(250);

/// How often the engine is asked where the stream stands. A consumer from which nothing came since the last time,
/// although there is more, is made anew.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How often it is looked what need not be kept any more in the mirror, and in the stream.
const PRUNE_EVERY: Duration = Duration::from_secs(60);
const PURGE_EVERY: Duration = Duration::from_secs(3600);

/// Why following stops.
#[derive(Debug)]
pub(super) enum Halt {
    /// For now.
    Away(JournalError),
    /// For good: the process has to begin anew. One readable line.
    Lost(String),
    /// Between what the mirror has and what the stream has something was removed.
    Gap,
}

impl From<JournalError> for Halt {
    fn from(error: JournalError) -> Self {
        Self::Away(error)
    }
}

/// What follows the stream; to be run by whoever opened the journal.
#[derive(Debug)]
pub struct Follower {
    pub(super) engine: Engine,
    /// Not there while a thread that may block has it.
    pub(super) mirror: Option<Mirror>,
    pub(super) shared: Arc<Shared>,
    pub(super) retention: Retention,
    /// Where the present epoch begins.
    pub(super) epoch_at: u64,
    pub(super) pruned: Option<Instant>,
    pub(super) purged_at: Option<Instant>,
    /// Up to where each VM's commits were removed from the stream.
    pub(super) purged: HashMap<VmId, u64>,
    /// What was applied at the last look at the present consumer.
    pub(super) looked: Option<u64>,
}

type Messages = futures_util::stream::ReadyChunks<Ordered>;

impl Follower {
    /// Follows until `stop`. If that cannot go on it is told through [`super::JetstreamJournal::lost`].
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            match self.follow(&stop).await {
                Ok(()) => break,
                Err(Halt::Away(error)) => {
                    self.shared.fails(&error);
                    if timeout(AGAIN_AFTER, stop.cancelled()).await.is_ok() {
                        break;
                    }
                }
                Err(Halt::Lost(why)) => {
                    self.shared.lose(&why);
                    stop.cancelled().await;
                    break;
                }
                Err(Halt::Gap) => {
                    self.shared.lose("the stream no longer has what this replica had not read yet");
                    stop.cancelled().await;
                    break;
                }
            }
        }
        let closed = match self.mirror.take() {
            Some(mirror) => blocking(move || mirror.close()).await,
            None => Ok(()),
        };
        if let Err(error) = closed {
            tracing::warn!(%error, "the mirror of the stream was not closed in order; what it lacks is read again");
        }
    }

    /// Follows until `stop` from where the mirror stands, which is the end of the stream or near it.
    async fn follow(&mut self, stop: &CancellationToken) -> Result<(), Halt> {
        let mut connected = self.engine.connected();
        connected.mark_unchanged();
        // Before anything is applied: a server that comes back may have lost what it had acknowledged.
        self.verify().await?;
        let (_, mut messages) = self.messages().await?;
        // One that was just made had no time to bring anything.
        self.looked = None;
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Nothing is dropped half done: what is taken is applied before the next look at `stop`.
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                Ok(()) = connected.changed() => return Err(Halt::Away(away("the connection was made anew"))),
                batch = messages.next() => {
                    if connected.has_changed().unwrap_or(false) {
                        return Err(Halt::Away(away("the connection was made anew")));
                    }
                    self.take(batch, Gaps::None).await?;
                }
                _ = ticks.tick() => self.look().await?,
            }
        }
    }

    /// Reads on until nothing more is there. Over what was removed a mirror that begins goes on, any other begins anew.
    pub(super) async fn catch_up(&mut self) -> Result<(), Halt> {
        let began = Instant::now();
        match self.read_on().await {
            Err(Halt::Gap) => {
                tracing::info!("the stream no longer has all that this mirror lacks: it is made anew");
                let epoch = self.shared.epoch.clone();
                self.with(move |mirror| Ok(mirror.reset(&epoch)?)).await?;
                self.read_on().await?;
            }
            done => done?,
        }
        let head = self.with(|mirror| Ok(mirror.head()?)).await?;
        self.shared.begin(&head);
        let (took, seq) = (began.elapsed().as_secs_f64(), head.seq);
        tracing::info!(seq, seconds = took, "the mirror has what the stream has");
        Ok(())
    }

    async fn read_on(&mut self) -> Result<(), Halt> {
        let last = self.engine.state().await?.last_sequence;
        let begins = self.with(|mirror| Ok(mirror.head()?.seq)).await?;
        self.shared.stands(begins);
        let gaps = if begins == 0 { Gaps::Removed } else { Gaps::None };
        let (mut pending, mut messages) = self.messages().await?;
        while self.applied() < last && pending > 0 {
            let batch = timeout(ANSWER_WITHIN, messages.next()).await.map_err(|_| away("the stream is silent"))?;
            if let Some(Ok(message)) = batch.as_ref().and_then(|batch| batch.last()) {
                pending = message.info().map_err(away)?.pending;
            }
            self.take(batch, gaps).await?;
        }
        // Of what was removed at its very end nothing comes.
        if self.applied() < last {
            if gaps == Gaps::None {
                return Err(Halt::Gap);
            }
            let applied = self.with(move |mirror| Ok(mirror.pass_over(last)?)).await?;
            self.shared.apply(&applied);
        }
        Ok(())
    }

    fn applied(&self) -> u64 {
        *self.shared.applied.borrow()
    }

    /// What comes after what is applied, and how much of it is there now.
    async fn messages(&mut self) -> Result<(u64, Messages), Halt> {
        let config = OrderedConfig {
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: self.applied() + 1 },
            ..OrderedConfig::default()
        };
        let consumer: consumer::Consumer<OrderedConfig> =
            self.engine.stream().create_consumer(config).await.map_err(away)?;
        let pending = consumer.cached_info().num_pending;
        let messages = consumer.messages().await.map_err(away)?;
        Ok((pending, messages.ready_chunks(TOGETHER)))
    }

    async fn take(&mut self, batch: Option<Vec<Result<Message, OrderedError>>>, gaps: Gaps) -> Result<(), Halt> {
        let batch = batch.ok_or_else(|| away("the stream's consumer ended"))?;
        let (mut placed, mut failed) = (Vec::with_capacity(batch.len()), None);
        for message in batch {
            match message {
                Ok(message) => placed.push(self.place(&message)?),
                Err(error) => {
                    failed = Some(away(error));
                    break;
                }
            }
        }
        let epoch_at = self.epoch_at;
        let mut mirror = self.mirror.take().ok_or_else(|| away("the mirror is gone"))?;
        let (mirror, applied) = blocking(move || {
            let applied = mirror.apply(&placed, epoch_at, gaps);
            Ok((mirror, applied))
        })
        .await?;
        self.mirror = Some(mirror);
        match applied {
            Ok(applied) => self.shared.apply(&applied),
            Err(ApplyError::Jump { expected, found }) => {
                tracing::warn!(expected, found, "a part of the stream is missing");
                return Err(Halt::Gap);
            }
            Err(error @ ApplyError::Diverged { .. }) => {
                self.with(|mirror| Ok(mirror.doubt()?)).await?;
                return Err(Halt::Lost(error.to_string()));
            }
            Err(error @ ApplyError::Epoch(_)) => return Err(Halt::Lost(error.to_string())),
            Err(ApplyError::Store(error)) => {
                return Err(Halt::Away(JournalError::Store(format!("its local copy: {error}").into())));
            }
        }
        failed.map_or(Ok(()), |error| Err(Halt::Away(error)))
    }

    fn place(&self, message: &Message) -> Result<Placed, Halt> {
        let info = message.info().map_err(away)?;
        let (seq, nanos) = (info.stream_sequence, info.published.unix_timestamp_nanos());
        let topic = self.engine.names().topic(&message.subject);
        let entry = match topic.map(|topic| entry::read(&topic, &message.payload)) {
            Some(Ok(entry)) => Some(entry),
            Some(Err(error @ Unreadable::Newer(_))) => return Err(Halt::Lost(error.to_string())),
            Some(Err(Unreadable::Foreign(why))) => {
                tracing::error!(seq, why, "an entry of the stream is none of ours: it is passed over");
                None
            }
            None => {
                tracing::error!(seq, "an entry of the stream has a subject that is none of ours: it is passed over");
                None
            }
        };
        Ok(Placed { seq, nanos, entry })
    }

    /// Does something with the mirror, on a thread that may block.
    async fn with<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Mirror) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, Halt> {
        let mut mirror = self.mirror.take().ok_or_else(|| away("the mirror is gone"))?;
        let (mirror, done) = blocking(move || {
            let done = work(&mut mirror);
            Ok((mirror, done))
        })
        .await?;
        self.mirror = Some(mirror);
        done.map_err(Halt::Away)
    }

    /// What has to be done from time to time.
    async fn look(&mut self) -> Result<(), Halt> {
        let last = self.verify().await?;
        let applied = self.applied();
        let silent = last > applied && self.looked == Some(applied);
        let goes_on = applied >= last || self.looked.is_some_and(|looked| applied > looked);
        self.looked = Some(applied);
        self.shared.announce(last);
        if silent {
            return Err(Halt::Away(away("the stream goes on, but nothing of it comes")));
        }
        // One that was just begun to be followed, and is behind, has not shown yet that it is.
        if goes_on {
            self.shared.follows();
        }
        self.keep_house().await
    }

    /// Whether the stream is the one that the mirror followed so far, and where it stands. One that was restored, or lost
    /// what it had acknowledged, gives sequences anew that were given before: nothing of it may be applied, and the next
    /// start begins another epoch (SEMANTICS, section 4).
    ///
    /// A leader that was elected just now may still be behind what it has: only what stays so is believed.
    async fn verify(&mut self) -> Result<u64, Halt> {
        let end = Instant::now() + settle::BELIEVED_AFTER;
        loop {
            match self.compare().await? {
                Ok(last) => return Ok(last),
                Err(_) if Instant::now() < end => sleep(AGAIN_AFTER).await,
                Err(why) => {
                    self.with(|mirror| Ok(mirror.doubt()?)).await?;
                    return Err(Halt::Lost(why));
                }
            }
        }
    }

    /// Where the stream stands, or why it is not the one that was followed.
    async fn compare(&mut self) -> Result<Result<u64, String>, Halt> {
        let last = match self.engine.state().await {
            Ok(state) => state.last_sequence,
            Err(_) if self.engine.is_gone().await => return Ok(Err("the stream is gone".to_owned())),
            Err(error) => return Err(Halt::Away(error)),
        };
        let head = self.with(|mirror| Ok(mirror.head()?)).await?;
        if last < head.seq {
            return Ok(Err(format!("the stream was restored: it stands at {last}, and was at {}", head.seq)));
        }
        let epoch_at = self.engine.last(&Topic::Epoch).await?.map(|found| found.sequence);
        if epoch_at != Some(self.epoch_at) {
            return Ok(Err("the stream was emptied, or another one took its place".to_owned()));
        }
        if !settle::is_there(&self.engine, head.seq, &head.tokens[0]).await? {
            return Ok(Err(format!("the stream was restored: entry {} is another one than it was", head.seq)));
        }
        Ok(Ok(last))
    }

    async fn keep_house(&mut self) -> Result<(), Halt> {
        let due = |at: Option<Instant>, every| at.is_none_or(|at| at.elapsed() >= every);
        if due(self.pruned, PRUNE_EVERY) {
            let retention = self.retention;
            let pruned = self
                .with(move |mirror| {
                    let pruned = mirror.prune(&retention, Timestamp::from(SystemTime::now()))?;
                    mirror.checkpoint()?;
                    Ok((pruned, mirror.kept()?, mirror.path().to_owned()))
                })
                .await?;
            let (pruned, kept, path) = pruned;
            self.shared.prune(&pruned, kept, &path);
            // A step at a time: what comes meanwhile is applied in between.
            self.pruned = (!pruned.more).then(Instant::now);
        } else if due(self.purged_at, PURGE_EVERY) {
            self.purged_at = Some(Instant::now());
            self.purge().await?;
        }
        Ok(())
    }

    /// Removes from the stream what no mirror keeps. Every replica does, so that it does not matter which ones are there.
    async fn purge(&mut self) -> Result<(), Halt> {
        let floor = self.shared.bounds().floor.seq;
        if floor == 0 {
            return Ok(());
        }
        let needed = self.with(|mirror| mirror.oldest_needed()).await?;
        for (vm_id, seq) in needed {
            // Before the floor only: a hole behind it would make every new mirror believe that more is missing.
            let upto = seq.min(floor + 1);
            if self.purged.get(&vm_id).is_some_and(|purged| *purged >= upto) {
                continue;
            }
            let subject = self.engine.names().subject(&Topic::Commit(vm_id.clone()));
            self.engine.stream().purge().filter(subject).sequence(upto).await.map_err(away)?;
            self.purged.insert(vm_id, upto);
        }
        Ok(())
    }
}
