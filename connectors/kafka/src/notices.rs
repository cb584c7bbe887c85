//! What is told beside the tables, with a commit: which transactions it holds, and that the pipeline
//! is alive.
//!
//! Invariant: a transaction is told of in the Kafka transaction that holds its changes.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cdc_api::{Error, Result};

use crate::client::{Outgoing, Producer, Refused};
use crate::envelope::{Commits, Notices};
use crate::session::{Session, Site};

/// Sends the notices of one opening of the sink.
pub(crate) struct Announcer {
    site: Arc<Site>,
    transactions: Option<Notices>,
    heartbeats: Option<Notices>,
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
        let ready = |mut notices: Notices| {
            session.topic_of_notices(notices.topic())?;
            if let Some(registry) = &site.registry {
                registry.number_notices(&mut notices)?;
            }
            Ok::<_, Error>(notices)
        };
        let transactions = config
            .transaction_metadata
            .then(|| ready(Notices::transactions(prefix, config)));
        let heartbeats =
            (config.heartbeat_seconds > 0).then(|| ready(Notices::heartbeats(prefix, config)));
        Ok(Self {
            site: Arc::clone(site),
            transactions: transactions.transpose()?,
            heartbeats: heartbeats.transpose()?,
            beaten: None,
        })
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
