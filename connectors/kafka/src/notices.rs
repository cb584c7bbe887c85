//! What is told beside the tables: logical messages, statements that change schemas, and with a commit
//! which transactions it holds and that the pipeline is alive.
//!
//! Invariant: a transaction is told of in the Kafka transaction that holds its changes.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cdc_api::{Error, Notice, Result, Said};

use crate::client::{Outgoing, Producer, Refused};
use crate::envelope::{Commits, Messages, Notices, Statements};
use crate::session::{Session, Site};

/// Sends the notices of one opening of the sink.
pub(crate) struct Announcer {
    site: Arc<Site>,
    transactions: Option<Notices>,
    heartbeats: Option<Notices>,
    /// Made ready for the first one, as those that follow.
    messages: Option<Messages>,
    statements: Option<Statements>,
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
            statements: None,
            beaten: None,
        })
    }

    /// Queues what a notice says.
    ///
    /// # Errors
    /// `Config` where its topic has to exist and does not, or a registry refuses its schema; of the
    /// producer.
    pub(crate) fn notice(
        &mut self,
        session: &Session,
        producer: &Producer,
        notice: &Notice,
        commits: &mut Commits,
    ) -> Result<()> {
        let (origin, config) = (&self.site.origin, &self.site.config);
        match &notice.said {
            Said::Message { prefix, content } => {
                let messages = match &mut self.messages {
                    Some(messages) => messages,
                    None => {
                        let mut messages = Messages::new(origin, config);
                        ready(session, &mut messages.notices)?;
                        self.messages.insert(messages)
                    }
                };
                let topic = messages.notices.topic().to_owned();
                let (key, value) = messages.message(notice, (prefix, content), commits);
                send(producer, (&topic, None), key, value)
            }
            Said::Schema(changes) => {
                let statements = match &mut self.statements {
                    Some(statements) => statements,
                    None => {
                        let mut statements = Statements::new(origin, config);
                        ready(session, &mut statements.notices)?;
                        self.statements.insert(statements)
                    }
                };
                let topic = statements.notices.topic().to_owned();
                for change in changes {
                    let (key, value) = statements.change(notice, changes, change, commits);
                    // In one partition, so that they stay in their order.
                    send(producer, (&topic, Some(0)), key, value)?;
                }
                Ok(())
            }
        }
    }

    /// Queues what is to be told with this commit.
    pub(crate) fn announce(&mut self, producer: &Producer, commits: &Commits) -> Result<()> {
        if let Some(notices) = &mut self.transactions {
            let topic = notices.topic().to_owned();
            for (at, told) in commits.told() {
                for end in [false, true] {
                    let (key, value) = notices.transaction(*at, told, end);
                    send(producer, (&topic, None), key, value)?;
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
            send(producer, (&topic, None), key, value)?;
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

/// Queues a record for a topic, and perhaps a partition.
fn send(
    producer: &Producer,
    (topic, partition): (&str, Option<i32>),
    key: &[u8],
    value: &[u8],
) -> Result<()> {
    let sent = producer.send(Outgoing {
        topic,
        partition,
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
