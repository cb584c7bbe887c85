//! Reading single partitions, and asking what there is.
//!
//! Invariant: what the brokers refuse for good is told at once, that none is there after some patience.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cdc_api::Result;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Offset, TopicPartitionList};

use super::ANSWER;
use super::meaning::{self, is_passing, meaning};
use super::reports::{Reports, Seen, lock};

/// A reader of single partitions, in no group.
pub(crate) struct Reader {
    consumer: BaseConsumer<Reports>,
    seen: Arc<Mutex<Seen>>,
}

impl Reader {
    /// A reader; `committed`: of committed records only.
    pub(crate) fn new(settings: &ClientConfig, committed: bool) -> Result<Self> {
        let mut settings = settings.clone();
        settings
            .set("group.id", "cdc")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "earliest")
            .set("queued.max.messages.kbytes", "16384")
            // Otherwise a queue that was full once is filled again a second later.
            .set("fetch.queue.backoff.ms", "5")
            .set("fetch.wait.max.ms", "5")
            .set(
                "isolation.level",
                if committed {
                    "read_committed"
                } else {
                    "read_uncommitted"
                },
            );
        let seen = Arc::<Mutex<Seen>>::default();
        let consumer: BaseConsumer<Reports> = settings
            .create_with_context(Reports {
                seen: Arc::clone(&seen),
            })
            .map_err(|error| meaning("starting a reader", &error))?;
        Ok(Self { consumer, seen })
    }

    /// Asks the brokers. What they refuse is told at once; that none is there, after `patience`.
    fn ask<T>(
        &self,
        doing: &str,
        patience: Duration,
        call: impl Fn(Duration) -> rdkafka::error::KafkaResult<T>,
    ) -> Result<T> {
        let start = Instant::now();
        self.listen();
        lock(&self.seen).forget();
        loop {
            let error = match call(Duration::from_secs(5)) {
                Ok(answer) => {
                    lock(&self.seen).answered = true;
                    return Ok(answer);
                }
                Err(error) => error,
            };
            self.listen();
            if let Some(refusal) = lock(&self.seen).refused {
                return Err(refusal.error(doing));
            }
            if !is_passing(&error) || start.elapsed() > patience {
                let why = lock(&self.seen).unreached.clone();
                return Err(match why {
                    Some(why) if is_passing(&error) => meaning::unreachable(doing, Some(&why)),
                    _ => meaning(doing, &error),
                });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Serves the library's reports, and its wish for a token (OAUTHBEARER), which only polling
    /// does. Nothing is assigned: no record is lost by it.
    fn listen(&self) {
        // A poll that has served a report looks the same as one that found none.
        for _ in 0..64 {
            let _ = self.consumer.poll(Duration::ZERO);
        }
    }

    /// The topic's partitions; none where there is no such topic.
    pub(crate) fn partitions(&self, topic: &str) -> Result<Option<usize>> {
        let metadata = self.ask("asking the brokers", ANSWER, |patience| {
            self.consumer.fetch_metadata(Some(topic), patience)
        })?;
        let Some(found) = metadata.topics().iter().find(|it| it.name() == topic) else {
            return Ok(None);
        };
        match found.error().map(RDKafkaErrorCode::from) {
            None => Ok(Some(found.partitions().len()).filter(|count| *count > 0)),
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                Ok(None)
            }
            Some(code) => {
                let error = KafkaError::MetadataFetch(code);
                Err(meaning::of_topic("asking for", topic, &error))
            }
        }
    }

    /// Every topic whose name begins so.
    pub(crate) fn topics(&self, prefix: &str) -> Result<Vec<String>> {
        let metadata = self.ask("asking the brokers", ANSWER, |patience| {
            self.consumer.fetch_metadata(None, patience)
        })?;
        let names = metadata.topics().iter().map(|it| it.name());
        Ok(names
            .filter(|name| name.starts_with(prefix))
            .map(str::to_owned)
            .collect())
    }

    /// How many brokers there are.
    pub(crate) fn brokers(&self) -> Result<usize> {
        let metadata = self.ask("asking the brokers", ANSWER / 3, |patience| {
            self.consumer.fetch_metadata(Some("__cdc"), patience)
        })?;
        Ok(metadata.brokers().len())
    }

    /// Whether a partition was ever written to.
    pub(crate) fn is_empty(&self, topic: &str, partition: i32) -> Result<bool> {
        // A topic that was just made is not known everywhere yet: that passes.
        let (_, high) = self.ask("asking for a partition's end", ANSWER, |patience| {
            self.consumer.fetch_watermarks(topic, partition, patience)
        })?;
        Ok(high == 0)
    }

    /// Gives every record of a partition to `take`, from its beginning to its present end.
    pub(crate) fn read(
        &self,
        topic: &str,
        partition: i32,
        mut take: impl FnMut(&BorrowedMessage<'_>) -> Result<()>,
    ) -> Result<()> {
        // Who asks for a topic first is told of it at once, who reads it unasked half a second later.
        self.partitions(topic)?;
        let mut assignment = TopicPartitionList::new();
        // A number where "the beginning" is meant: the library asks the brokers for that, but only
        // half a second after a topic was first heard of. What was removed there is passed over.
        assignment
            .add_partition_offset(topic, partition, Offset::Offset(0))
            .and_then(|()| self.consumer.assign(&assignment))
            .map_err(|error| meaning("reading a partition", &error))?;
        let mut heard = Instant::now();
        loop {
            match self.consumer.poll(Duration::from_millis(200)) {
                Some(Ok(message)) => {
                    heard = Instant::now();
                    take(&message)?;
                }
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    return self
                        .consumer
                        .unassign()
                        .map_err(|error| meaning("reading a partition", &error));
                }
                Some(Err(error)) if is_passing(&error) && heard.elapsed() < ANSWER => {}
                Some(Err(error)) => {
                    return Err(meaning::of_topic("reading", topic, &error));
                }
                None if heard.elapsed() < ANSWER => {}
                None => {
                    return Err(meaning::silent(&format!("reading topic {topic}")));
                }
            }
        }
    }
}
