//! What is told beside the tables: logical messages, and with a commit which transactions it holds and
//! that the pipeline is alive.
//!
//! Invariant: a transaction is told of in the Kafka transaction that holds its changes.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cdc_api::{Error, LogicalMessage, Result};

use crate::client::{Outgoing, Producer, Refused};
use crate::envelope::{Commits, Messages, Notices};
use crate::session::{Session, Site};

/// Sends the notices of one opening of the sink.
pub(crate) struct Announcer {
    site: Arc<Site>,
    transactions: Option<Notices>,
    heartbeats: Option<Notices>,
    /// Made ready for the first one.
    messages: Option<Messages>,
    /// When the last heartbeat was sent.
    beaten: Option<Instant>,
}

impl Announcer {
    /// Makes the topics that the settings ask for.
    ///
    /// # Errors
    /// `Config` where a topic has to exist and does not, or a registry refuses a schema.
    pub(crate) fn new(session: &Session) -> Result<Self> {
        let site = &session.site;
        let (config, prefix) = (&site.config, &site.origin.name);
        let made = |mut notices: Notices| {
            ready(session, &mut notices)?;
            Ok::<_, Error>(notices)
        };
        let transactions = config
            .transaction_metadata
            .then(|| made(Notices::transactions(prefix, config)));
        let heartbeats =
            (config.heartbeat_seconds > 0).then(|| made(Notices::heartbeats(prefix, config)));
        Ok(Self {
            site: Arc::clone(site),
            transactions: transactions.transpose()?,
            heartbeats: heartbeats.transpose()?,
            messages: None,
            beaten: None,
        })
    }

    /// Queues a message.
    ///
    /// # Errors
    /// `Config` where its topic has to exist and does not, or a registry refuses its schema; of the
    /// producer.
    pub(crate) fn message(
        &mut self,
        session: &Session,
        producer: &Producer,
        message: &LogicalMessage,
        commits: &mut Commits,
    ) -> Result<()> {
        let messages = match &mut self.messages {
            Some(messages) => messages,
            None => {
                let mut messages = Messages::new(&self.site.origin, &self.site.config);
                ready(session, &mut messages.notices)?;
                self.messages.insert(messages)
            }
        };
        let topic = messages.notices.topic().to_owned();
        let (key, value) = messages.message(message, commits);
        send(producer, &topic, key, value)
    }

    /// Queues what is to be told with this commit.
    pub(crate) fn announce(&mut self, producer: &Producer, commits: &Commits) -> Result<()> {
        if let Some(notices) = &mut self.transactions {
            let topic = notices.topic().to_owned();
            for (at, told) in commits.told() {
                for end in [false, true] {
                    let (key, value) = notices.transaction(*at, told, end);
                    send(producer, &topic, key, value)?;
                }
            }
        }
        let pause = Duration::from_secs(self.site.config.heartbeat_seconds.into());
        if let Some(notices) = &mut self.heartbeats
            && self.beaten.is_none_or(|beaten| beaten.elapsed() >= pause)
        {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let millis = i64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(i64::MAX);
            let topic = notices.topic().to_owned();
            let (key, value) = notices.heartbeat(&self.site.origin.name, millis);
            send(producer, &topic, key, value)?;
            self.beaten = Some(Instant::now());
        }
        Ok(())
    }
}

/// Sees to the topic of notices, and to their schemas.
fn ready(session: &Session, notices: &mut Notices) -> Result<()> {
    session.topic_of_notices(notices.topic())?;
    match &session.site.registry {
        Some(registry) => registry.number_notices(notices),
        None => Ok(()),
    }
}

fn send(producer: &Producer, topic: &str, key: &[u8], value: &[u8]) -> Result<()> {
    let sent = producer.send(Outgoing {
        topic,
        partition: None,
        key: Some(key),
        value: Some(value),
        headers: None,
    });
    sent.map_err(|refused| match refused {
        Refused::TooLarge => Error::config(format!("a record is too large for topic {topic}"))
            .hint("raise `message.max.bytes` in `properties`, and max.message.bytes of the topic"),
        Refused::Other(error) => error,
    })
}
