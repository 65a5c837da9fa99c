//! The connection to NATS, and the stream: reached, checked, made if there is none.

use std::time::Duration;

use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{
    Config as StreamConfig, DiscardPolicy, LastRawMessageErrorKind, RawMessageErrorKind, RetentionPolicy, State,
    StorageType, Stream,
};
use async_nats::jetstream::{self, Context, ErrorCode};
use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::credentials;
use super::names::{Names, Topic};
use crate::config::NatsConfig;
use crate::journal::JournalError;
use crate::model::Secret;

/// The least version of a NATS server: buckets and markers as they are used here came with it.
const LEAST_VERSION: (u64, u64) = (2, 11);

/// How long one question to the engine may take. While a cluster elects another leader none is answered; the shorter this
/// is, the sooner it is seen that there is one.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// How long one try to connect may take.
const CONNECTED_WITHIN: Duration = Duration::from_secs(2);

/// How long a start waits for NATS: its servers may be starting too, and a cluster of them elects its leaders first.
pub(super) const REACHED_WITHIN: Duration = Duration::from_secs(20);

/// How often it is said meanwhile that it waits.
const TOLD_EVERY: Duration = Duration::from_secs(5);

/// Between two tries to reach it.
pub(super) const AGAIN_AFTER: Duration = Duration::from_millis(250);

/// Why the engine cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Nobody answers, or not yet; a later start may succeed.
    #[error("NATS cannot be reached ({0}): see journal.servers, and whether a server runs there with JetStream")]
    Away(String),
    /// It lets nobody in with these credentials.
    #[error("NATS refuses the credentials ({0}): see journal.credentials, nkey, token or the URLs of journal.servers")]
    Refused(String),
    /// A file of the configuration.
    #[error("{0}")]
    File(String),
    /// The server.
    #[error("the NATS server {name} is version {version}; {}.{} is the least", LEAST_VERSION.0, LEAST_VERSION.1)]
    TooOld {
        /// Which.
        name: String,
        /// What it says that it is.
        version: String,
    },
    /// JetStream, in words.
    #[error("NATS does not make {what}: {why}")]
    NotMade {
        /// A stream or bucket.
        what: String,
        /// What the server says.
        why: String,
    },
    /// Somebody made or changed what is there; it is left as it is.
    #[error(
        "{what} is not as this configuration makes it: {}; it was not changed. Change it, or the configuration",
        differences.join(", ")
    )]
    Differs {
        /// A stream or bucket.
        what: String,
        /// Each setting that differs, as it is and as it should be.
        differences: Vec<String>,
    },
    /// An import that did not come to its end.
    #[error("the stream {0} has entries and no beginning: an import was interrupted; delete it and import again")]
    Unfinished(String),
}

/// A connection, and the stream.
#[derive(Clone, Debug)]
pub struct Engine {
    client: Client,
    context: Context,
    stream: Stream,
    names: Names,
    replicas: usize,
    connected: watch::Receiver<bool>,
}

impl Engine {
    /// Connects as `client_name`, checks the server, and makes the stream if there is none. Waits for servers that start
    /// meanwhile, 20 s at most.
    ///
    /// # Errors
    /// If it cannot be reached, is too old, lets nobody in, or has another stream of that name.
    pub async fn open(config: &NatsConfig, client_name: &str) -> Result<Self, EngineError> {
        let (end, mut told) = (Instant::now() + REACHED_WITHIN, None);
        loop {
            match Self::try_open(config, client_name).await {
                Err(EngineError::Away(cause)) if Instant::now() < end => {
                    if told.is_none_or(|told: Instant| told.elapsed() >= TOLD_EVERY) {
                        tracing::info!(cause, "NATS is not ready yet; trying again");
                        told = Some(Instant::now());
                    }
                    sleep(AGAIN_AFTER).await;
                }
                opened => return opened,
            }
        }
    }

    async fn try_open(config: &NatsConfig, client_name: &str) -> Result<Self, EngineError> {
        let (told, connected) = watch::channel(true);
        let client = connect(config, client_name, told).await?;
        let info = client.server_info();
        if version(&info.version).is_none_or(|version| version < LEAST_VERSION) {
            return Err(EngineError::TooOld { name: info.server_name, version: info.version });
        }
        let mut context = jetstream::new(client.clone());
        context.set_timeout(ANSWER_WITHIN);
        let names = Names::new(&config.fleet);
        let stream = settle(&context, wanted(&names, config.replicas)).await?;
        Ok(Self { client, context, stream, names, replicas: config.replicas, connected })
    }

    /// The connection.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// JetStream.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// What things are called.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// On how many servers things are kept.
    pub fn replicas(&self) -> usize {
        self.replicas
    }

    /// Whether there is a connection.
    pub fn connected(&self) -> watch::Receiver<bool> {
        self.connected.clone()
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Where the stream stands, as its leader says.
    pub(super) async fn state(&self) -> Result<State, JournalError> {
        self.stream.get_info().await.map(|info| info.state).map_err(away)
    }

    /// Whether there is no such stream any more.
    pub(super) async fn is_gone(&self) -> bool {
        let found = self.context.get_stream(self.names.stream()).await.map_err(|error| error.kind());
        matches!(found, Err(GetStreamErrorKind::JetStream(refusal)) if refusal.error_code() == ErrorCode::STREAM_NOT_FOUND)
    }

    /// The last entry about `topic`, as the stream's leader has it: a follower may be behind.
    pub(super) async fn last(&self, topic: &Topic) -> Result<Option<StreamMessage>, JournalError> {
        match self.stream.get_last_raw_message_by_subject(&self.names.subject(topic)).await {
            Ok(message) => Ok(Some(message)),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(away(error)),
        }
    }

    /// The entry at `seq`; `None` if it is no longer kept, or never was.
    pub(super) async fn entry(&self, seq: u64) -> Result<Option<StreamMessage>, JournalError> {
        match self.stream.get_raw_message(seq).await {
            Ok(message) => Ok(Some(message)),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(away(error)),
        }
    }
}

/// What the engine did not do now; the same may succeed later.
pub(super) fn away(error: impl std::fmt::Display) -> JournalError {
    JournalError::Store(format!("NATS: {error}").into())
}

async fn connect(config: &NatsConfig, name: &str, told: watch::Sender<bool>) -> Result<Client, EngineError> {
    let mut options = ConnectOptions::new()
        .name(name)
        .connection_timeout(CONNECTED_WITHIN)
        .request_timeout(Some(ANSWER_WITHIN))
        // What this process tells the others it knows.
        .no_echo()
        // A server that hangs is left after twice this.
        .ping_interval(Duration::from_secs(2))
        .event_callback(move |event| {
            tell(&event, &told);
            std::future::ready(())
        });
    if let Some(ca) = &config.ca {
        options = options.add_root_certificates(ca.clone());
    }
    if let Some(files) = &config.certificate {
        options = options.add_client_certificate(files.cert.clone(), files.key.clone());
    }
    options = credentials::shown(options, config).await?;
    let servers: Vec<&str> = config.servers.iter().map(Secret::expose).collect();
    options.connect(servers.as_slice()).await.map_err(|error| match error.kind() {
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
            EngineError::Refused(error.to_string())
        }
        _ => EngineError::Away(error.to_string()),
    })
}

fn tell(event: &Event, told: &watch::Sender<bool>) {
    match event {
        Event::Connected => {
            told.send_replace(true);
            tracing::info!("connected to NATS");
        }
        Event::Disconnected => {
            told.send_replace(false);
            tracing::warn!("the connection to NATS is lost; trying again");
        }
        Event::SlowConsumer(_) => tracing::warn!("messages of NATS were dropped here: this process is too slow"),
        Event::LameDuckMode | Event::Draining | Event::Closed => tracing::debug!(%event, "NATS"),
        // Each try of a connection that is lost says one: the loss itself was said.
        Event::ServerError(_) | Event::ClientError(_) if !*told.borrow() => tracing::debug!(%event, "NATS"),
        Event::ServerError(_) | Event::ClientError(_) => tracing::warn!(%event, "NATS"),
    }
}

/// Major and minor number.
fn version(text: &str) -> Option<(u64, u64)> {
    let mut parts = text.trim_start_matches('v').split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// The stream as it is made.
fn wanted(names: &Names, replicas: usize) -> StreamConfig {
    StreamConfig {
        name: names.stream(),
        description: Some("The journal of a fleet of gatewatch: remove nothing by hand".to_owned()),
        subjects: vec![names.entries()],
        retention: RetentionPolicy::Limits,
        // A stream that is full refuses, and what is to be told waits in the VMs' own logs.
        discard: DiscardPolicy::New,
        storage: StorageType::File,
        num_replicas: replicas,
        ..StreamConfig::default()
    }
}

/// The stream of `wanted`'s name, made if there is none.
pub(super) async fn settle(context: &Context, wanted: StreamConfig) -> Result<Stream, EngineError> {
    let what = format!("the stream {}", wanted.name);
    let stream = match context.get_stream(&wanted.name).await {
        Ok(stream) => stream,
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(refusal) if refusal.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                match context.create_stream(wanted.clone()).await {
                    Ok(stream) => stream,
                    Err(error) => return Err(not_made(&what, &error.kind(), error.to_string())),
                }
            }
            GetStreamErrorKind::JetStream(refusal) if is_passing(refusal.error_code()) => {
                return Err(EngineError::Away(refusal.to_string()));
            }
            GetStreamErrorKind::JetStream(refusal) => {
                return Err(EngineError::NotMade { what, why: refusal.to_string() });
            }
            _ => return Err(EngineError::Away(error.to_string())),
        },
    };
    let differences = differences(&stream.cached_info().config, &wanted);
    if differences.is_empty() { Ok(stream) } else { Err(EngineError::Differs { what, differences }) }
}

fn not_made(what: &str, kind: &CreateStreamErrorKind, error: String) -> EngineError {
    match kind {
        // Another replica was faster: what it made is looked at next.
        CreateStreamErrorKind::JetStream(refusal)
            if refusal.error_code() == ErrorCode::STREAM_NAME_EXIST || is_passing(refusal.error_code()) =>
        {
            EngineError::Away(error)
        }
        CreateStreamErrorKind::JetStream(refusal) => {
            EngineError::NotMade { what: what.to_owned(), why: refusal.to_string() }
        }
        _ => EngineError::Away(error),
    }
}

/// Refusals of a cluster whose servers are still starting.
fn is_passing(code: ErrorCode) -> bool {
    [
        ErrorCode::CLUSTER_NOT_AVAILABLE,
        ErrorCode::CLUSTER_NOT_ACTIVE,
        ErrorCode::CLUSTER_NOT_LEADER,
        ErrorCode::CLUSTER_INCOMPLETE,
        ErrorCode::CLUSTER_NO_PEERS,
    ]
    .contains(&code)
}

/// Each setting of `found` on which a promise rests and that is not as `wanted`.
fn differences(found: &StreamConfig, wanted: &StreamConfig) -> Vec<String> {
    let mut said = Vec::new();
    let mut differs = |name: &str, is: String, should: String| {
        if is != should {
            said.push(format!("{name} is {is} instead of {should}"));
        }
    };
    differs("subjects", format!("{:?}", found.subjects), format!("{:?}", wanted.subjects));
    differs("retention", format!("{:?}", found.retention), format!("{:?}", wanted.retention));
    differs("storage", format!("{:?}", found.storage), format!("{:?}", wanted.storage));
    differs("discard", format!("{:?}", found.discard), format!("{:?}", wanted.discard));
    differs("num_replicas", found.num_replicas.to_string(), wanted.num_replicas.to_string());
    differs("max_age", format!("{:?}", found.max_age), format!("{:?}", wanted.max_age));
    // The server writes no limit as -1.
    let limits = |config: &StreamConfig| {
        let limit = |limit: i64| if limit <= 0 { "none".to_owned() } else { limit.to_string() };
        [
            limit(config.max_messages),
            limit(config.max_messages_per_subject),
            limit(config.max_message_size.into()),
            limit(config.max_bytes),
            limit(config.max_consumers.into()),
        ]
    };
    for ((name, is), should) in ["max_msgs", "max_msgs_per_subject", "max_msg_size", "max_bytes", "max_consumers"]
        .into_iter()
        .zip(limits(found))
        .zip(limits(wanted))
    {
        differs(name, is, should);
    }
    let flags = |config: &StreamConfig| {
        let other = config.mirror.is_some() || config.sources.as_ref().is_some_and(|sources| !sources.is_empty());
        [config.sealed, config.no_ack, config.deny_purge, other, config.subject_transform.is_some()]
    };
    for ((name, is), should) in ["sealed", "no_ack", "deny_purge", "a mirror or with sources", "subject_transform"]
        .into_iter()
        .zip(flags(found))
        .zip(flags(wanted))
    {
        differs(name, is.to_string(), should.to_string());
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_compared_by_its_numbers() {
        for (text, enough) in [
            ("2.11.0", true),
            ("2.15.0-beta.1", true),
            ("v3.0.0", true),
            ("2.9.10", false),
            ("2.10.99", false),
            ("", false),
            ("x.y", false),
        ] {
            assert_eq!(version(text).is_some_and(|version| version >= LEAST_VERSION), enough, "{text}");
        }
    }

    #[test]
    fn what_a_promise_rests_on_is_named_with_what_it_is_and_should_be() {
        let wanted = wanted(&Names::new("f"), 3);
        // As a server tells of what was made.
        let made = StreamConfig {
            max_messages: -1,
            max_messages_per_subject: -1,
            max_bytes: -1,
            max_message_size: -1,
            duplicate_window: Duration::from_secs(120),
            ..wanted.clone()
        };
        assert_eq!(differences(&made, &wanted), [""; 0]);
        let other = StreamConfig {
            max_age: Duration::from_secs(60),
            discard: DiscardPolicy::Old,
            num_replicas: 1,
            max_messages: 10,
            no_ack: true,
            ..made
        };
        assert_eq!(
            differences(&other, &wanted),
            [
                "discard is Old instead of New",
                "num_replicas is 1 instead of 3",
                "max_age is 60s instead of 0ns",
                "max_msgs is 10 instead of none",
                "no_ack is true instead of false"
            ]
        );
    }
}
