//! Topics: what they are called, and how they come to be.
//!
//! Invariant: a topic that is there is never altered.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use cdc_api::{Error, Result, TableId, TableName, TableSchema};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaErrorCode as Code;

use crate::client::{ANSWER, Reader, Reports, meaning, of_topic};
use crate::config::KafkaConfig;

/// The topics of one sink.
pub(crate) struct Topics {
    config: std::sync::Arc<KafkaConfig>,
    prefix: String,
    admin: AdminClient<Reports>,
    /// Topics that were found or made, with their partitions, and whose table each is.
    known: Mutex<HashMap<String, Known>>,
}

#[derive(Clone)]
struct Known {
    partitions: usize,
    table: TableId,
    name: TableName,
}

/// What a topic of ours is for.
pub(crate) enum Purpose {
    /// The checkpoint: compacted, one partition.
    Checkpoint,
    /// Rows of a copy under way: kept until it is removed, one partition.
    Copy,
    /// Records that are of no table: one partition.
    Notices,
}

/// The topic of a table: what Kafka does not take in a name becomes `_`, as Debezium does.
pub(crate) fn name(prefix: &str, table: &TableName) -> String {
    format!("{prefix}.{}.{}", table.schema, table.table)
        .chars()
        .map(letter)
        .collect()
}

/// A letter of a topic's name.
pub(crate) fn letter(it: char) -> char {
    match it {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '_' | '-' => it,
        _ => '_',
    }
}

impl Topics {
    pub(crate) fn new(config: &std::sync::Arc<KafkaConfig>, prefix: &str) -> Result<Self> {
        let admin = config
            .client()
            .create_with_context(Reports::default())
            .map_err(|error| meaning("starting a client", &error))?;
        Ok(Self {
            config: std::sync::Arc::clone(config),
            prefix: prefix.to_owned(),
            admin,
            known: Mutex::default(),
        })
    }

    /// The partitions of a table's topic, there from now on.
    pub(crate) fn of_table(&self, reader: &Reader, table: &TableSchema) -> Result<usize> {
        let topic = name(&self.prefix, &table.name);
        if topic.len() > 249 {
            return Err(Error::unsupported(format!(
                "the topic of {} would have a name of more than 249 characters",
                table.name
            ))
            .hint("set a shorter `topic_prefix`, or leave the table out with `tables`")
            .for_table(table.id));
        }
        if let Some(known) = self.known().get_mut(&topic) {
            if known.name == table.name {
                // Dropped and created again, it is another table of the same name.
                known.table = table.id;
                return Ok(known.partitions);
            }
            return Err(Error::unsupported(format!(
                "{} would have the topic {topic}, which another table has",
                table.name
            ))
            .hint("leave one of the two out with the sink's `tables`, or give it a sink with another `topic_prefix`")
            .for_table(table.id));
        }
        let partitions = match reader.partitions(&topic)? {
            Some(partitions) => partitions,
            None if self.config.topics.create => self.create_for_rows(&topic)?,
            None => {
                return Err(Error::unsupported(format!("there is no topic {topic}"))
                    .hint(format!(
                        "kafka-topics.sh --create --topic {topic} --partitions 1, then cdc snapshot \
                         {}; or set `topics.create: true`",
                        table.name
                    ))
                    .for_table(table.id));
            }
        };
        self.known().insert(
            topic.clone(),
            Known {
                partitions,
                table: table.id,
                name: table.name.clone(),
            },
        );
        Ok(partitions)
    }

    /// The partitions of a topic that records name themselves, there from now on.
    pub(crate) fn of_name(&self, reader: &Reader, topic: &str) -> Result<usize> {
        match reader.partitions(topic)? {
            Some(partitions) => Ok(partitions),
            None if self.config.topics.create => self.create_for_rows(topic),
            None => Err(missing(topic)),
        }
    }

    fn create_for_rows(&self, topic: &str) -> Result<usize> {
        let config = self.config.topics.config.iter();
        let config: Vec<(&str, &str)> = config
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        let partitions = self.config.topics.partitions;
        self.create(topic, i32::from(partitions), &config)?;
        Ok(usize::from(partitions))
    }

    /// Bytes of a batch that the topic takes, at most, where we may ask.
    pub(crate) fn limit(&self, topic: &str) -> Option<usize> {
        let options = AdminOptions::new().request_timeout(Some(ANSWER));
        let asked = [ResourceSpecifier::Topic(topic)];
        let answers = wait(self.admin.describe_configs(&asked, &options)).ok()?;
        let found = answers.into_iter().next()?.ok()?;
        found.get("max.message.bytes")?.value.as_ref()?.parse().ok()
    }

    /// The table whose topic this is.
    pub(crate) fn table_of(&self, topic: &str) -> Option<TableId> {
        self.known().get(topic).map(|known| known.table)
    }

    /// The table has left: another may have its topic.
    pub(crate) fn release(&self, table: TableId) {
        self.known().retain(|_, known| known.table != table);
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a topic of our own; one that is there stays as it is.
    pub(crate) fn ensure(&self, topic: &str, purpose: &Purpose) -> Result<()> {
        match purpose {
            Purpose::Checkpoint => self.create(
                topic,
                1,
                &[
                    ("cleanup.policy", "compact"),
                    ("segment.bytes", "16777216"),
                    ("min.cleanable.dirty.ratio", "0.1"),
                ],
            ),
            Purpose::Copy => {
                let mut config = vec![
                    ("cleanup.policy", "delete"),
                    ("retention.ms", "-1"),
                    ("retention.bytes", "-1"),
                ];
                // What the table's topic may take waits here first.
                if let Some(bytes) = self.config.properties.get("message.max.bytes") {
                    config.push(("max.message.bytes", bytes));
                }
                self.create(topic, 1, &config)
            }
            Purpose::Notices => self.create(topic, 1, &[]),
        }
    }

    /// A topic for notices, there from now on.
    pub(crate) fn of_notices(&self, reader: &Reader, topic: &str) -> Result<()> {
        match reader.partitions(topic)? {
            Some(_) => Ok(()),
            None if self.config.topics.create => self.ensure(topic, &Purpose::Notices),
            None => Err(missing(topic)),
        }
    }

    fn create(&self, topic: &str, partitions: i32, config: &[(&str, &str)]) -> Result<()> {
        let replication = match self.config.topics.replication {
            0 => -1,
            copies => i32::from(copies),
        };
        let mut wanted = NewTopic::new(topic, partitions, TopicReplication::Fixed(replication));
        for (key, value) in config {
            wanted = wanted.set(key, value);
        }
        let options = AdminOptions::new()
            .request_timeout(Some(ANSWER))
            .operation_timeout(Some(ANSWER));
        let answers = wait(self.admin.create_topics([&wanted], &options))?;
        for answer in answers {
            match answer {
                Ok(_) | Err((_, Code::TopicAlreadyExists)) => {}
                Err((_, code @ (Code::InvalidConfig | Code::PolicyViolation))) => {
                    return Err(Error::config(format!("creating topic {topic}: {code}"))
                        .hint("correct `topics.replication` and `topics.config` of the sink"));
                }
                // Also what a cluster says while its brokers are starting.
                Err((_, code @ Code::InvalidReplicationFactor)) => {
                    return Err(
                        Error::transient(format!("creating topic {topic}: {code}")).hint(
                            "start as many brokers as `topics.replication` of the sink says, or lower it",
                        ),
                    );
                }
                Err((_, code)) => return Err(failed("creating", topic, code)),
            }
        }
        Ok(())
    }

    /// Removes a topic; one that is gone is no error.
    pub(crate) fn delete(&self, topic: &str) -> Result<()> {
        let options = AdminOptions::new()
            .request_timeout(Some(ANSWER))
            .operation_timeout(Some(ANSWER));
        for answer in wait(self.admin.delete_topics(&[topic], &options))? {
            match answer {
                Ok(_) | Err((_, Code::UnknownTopicOrPartition | Code::UnknownTopic)) => {}
                Err((_, code)) => return Err(failed("removing", topic, code)),
            }
        }
        Ok(())
    }
}

fn missing(topic: &str) -> Error {
    Error::config(format!("there is no topic {topic}")).hint(format!(
        "kafka-topics.sh --create --topic {topic} --partitions 1; or set `topics.create: true`"
    ))
}

fn failed(doing: &str, topic: &str, code: RDKafkaErrorCode) -> Error {
    of_topic(doing, topic, &KafkaError::AdminOp(code))
}

/// Waits for an answer on this blocking thread.
fn wait<T>(answer: impl Future<Output = rdkafka::error::KafkaResult<T>>) -> Result<T> {
    tokio::runtime::Handle::current()
        .block_on(answer)
        .map_err(|error| meaning("asking the brokers", &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_as_debezium_makes_them() {
        let name = |schema, table| name("shop", &TableName::new(schema, table));
        assert_eq!(name("public", "orders"), "shop.public.orders");
        assert_eq!(name("Odd \"S\"", "ü.t"), "shop.Odd__S_._.t");
    }
}
