//! Where a record goes: into its table's topic, into one that it names itself, or, where no broker
//! would take it, among the dead letters.
//!
//! Invariant: which records are too large is known before they are sent wherever they may be
//! diverted, so that no transaction is lost to one.

use std::collections::HashMap;

use cdc_api::{Error, Result, TableId, TableSchema};
use rdkafka::message::{OwnedHeaders, ToBytes};

use crate::client::{Outgoing, Producer, Refused, header};
use crate::config::{KafkaConfig, Oversized};
use crate::envelope::Record;
use crate::session::{Session, Site};

/// In a copy's topic: where a record goes that does not go to its table's.
pub(crate) const TOPIC: &str = "cdc.topic";

/// What a record takes beside its key, value and headers, rather more than less.
const AROUND: usize = 256;

/// A topic as far as records for it are concerned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) partitions: usize,
    /// Bytes of a record, at most, where larger ones are diverted.
    pub(crate) limit: Option<usize>,
}

/// A record on its way, encoded.
pub(crate) struct Parcel<'a> {
    /// None: the table's.
    pub(crate) topic: Option<&'a str>,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: Option<OwnedHeaders>,
}

impl<'a> Parcel<'a> {
    /// A record with the headers that consumers see.
    pub(crate) fn new(record: &Record<'a>, changes: bool) -> Self {
        let mut headers = None;
        for (name, value) in record.headers.iter() {
            headers = Some(header(headers, name, value));
        }
        if changes {
            headers = Some(header(headers, "cdc.seq", &record.seq.to_be_bytes()));
            let version = record.version.to_be_bytes();
            headers = Some(header(headers, "cdc.schema_version", &version));
        }
        Self {
            topic: record.topic,
            key: record.key,
            value: record.value,
            headers,
        }
    }

    fn bytes(&self) -> usize {
        self.key.map_or(0, <[u8]>::len) + self.value.map_or(0, <[u8]>::len)
    }

    /// What stands for the record where it is larger than `limit`.
    ///
    /// # Errors
    /// Of the table, where its key alone is too large.
    pub(crate) fn fitting(
        self,
        site: &'a Site,
        table: &TableSchema,
        topic: &str,
        seq: u64,
        limit: Option<usize>,
    ) -> Result<Self> {
        let bytes = self.bytes();
        let Some(limit) = limit.filter(|limit| bytes + AROUND > *limit) else {
            return Ok(self);
        };
        if self.key.map_or(0, <[u8]>::len) + 2 * AROUND > limit {
            return Err(too_large_for(table.id, &table.name.to_string()));
        }
        tracing::warn!(table = %table.name, bytes, limit, "a record that is too large is among the dead letters");
        let text = |value: usize| value.to_string();
        let topic = self.topic.unwrap_or(topic);
        let mut headers = None;
        for (name, value) in [
            ("cdc.dead_letter.reason", "record_too_large"),
            ("cdc.dead_letter.topic", topic),
            ("cdc.dead_letter.table", &table.name.to_string()),
            ("cdc.dead_letter.bytes", &text(bytes)),
            ("cdc.dead_letter.limit", &text(limit)),
            ("cdc.dead_letter.seq", &seq.to_string()),
        ] {
            headers = Some(header(headers, name, value.to_bytes()));
        }
        Ok(Self {
            topic: Some(&site.dead_letter_topic),
            key: self.key,
            value: None,
            headers,
        })
    }
}

/// Sends the records of one table.
pub(crate) struct Route<'a> {
    pub(crate) session: &'a Session,
    pub(crate) producer: &'a Producer,
    pub(crate) table: &'a TableSchema,
    pub(crate) topic: &'a str,
    pub(crate) place: Place,
    /// The partitions of topics that records name themselves.
    pub(crate) others: &'a mut HashMap<String, usize>,
}

impl Route<'_> {
    /// Queues a record.
    ///
    /// # Errors
    /// Of the table, where the record is too large or its topic is not there.
    pub(crate) fn send(&mut self, parcel: Parcel<'_>, seq: u64) -> Result<()> {
        let site = &self.session.site;
        let limit = self.place.limit;
        let parcel = parcel.fitting(site, self.table, self.topic, seq, limit)?;
        let (topic, partitions) = match parcel.topic {
            None => (self.topic, self.place.partitions),
            Some(topic) => (topic, self.partitions(topic)?),
        };
        let sent = self.producer.send(Outgoing {
            topic,
            partition: partition(parcel.key, partitions),
            key: parcel.key,
            value: parcel.value,
            headers: parcel.headers,
        });
        sent.map_err(|refused| too_large(refused, self.table))
    }

    fn partitions(&mut self, topic: &str) -> Result<usize> {
        if let Some(partitions) = self.others.get(topic) {
            return Ok(*partitions);
        }
        let partitions = self.session.topic_by_name(topic).map_err(|error| {
            match error.kind() {
                // Others go on.
                cdc_api::ErrorKind::Config => error.for_table(self.table.id),
                _ => error,
            }
        })?;
        self.others.insert(topic.to_owned(), partitions);
        Ok(partitions)
    }
}

/// Records without a key all go to one partition, so that their order stands.
pub(crate) fn partition(key: Option<&[u8]>, partitions: usize) -> Option<i32> {
    (key.is_none() || partitions == 1).then_some(0)
}

/// How large a record may be, where larger ones are diverted: as the client has it, and the topic.
///
/// # Errors
/// `Config`, where batches would be larger than the topic takes.
pub(crate) fn limit(
    config: &KafkaConfig,
    topic: &str,
    own: Option<usize>,
) -> Result<Option<usize>> {
    if config.on_oversized == Oversized::Stop {
        return Ok(None);
    }
    let property = |key: &str, default: usize| {
        let value = config.properties.get(key);
        value.and_then(|it| it.parse().ok()).unwrap_or(default)
    };
    let client = property("message.max.bytes", 1_000_000);
    let Some(own) = own else {
        return Ok(Some(client));
    };
    // What is compressed into less than the limit would pass, but not every batch is.
    if property("batch.size", 1_000_000).min(client) > own {
        return Err(Error::config(format!(
            "batches of records would be larger than topic {topic} takes ({own} bytes)"
        ))
        .hint(format!(
            "set `batch.size: {own}` in `properties`, or raise max.message.bytes of the topic"
        )));
    }
    Ok(Some(client.min(own)))
}

/// A record that is too large stops its table.
pub(crate) fn too_large(refused: Refused, table: &TableSchema) -> Error {
    match refused {
        Refused::TooLarge => too_large_for(table.id, &table.name.to_string()),
        Refused::Other(error) => error,
    }
}

pub(crate) fn too_large_for(table: TableId, name: &str) -> Error {
    Error::data(format!("a row of {name} is larger than a record may be"))
        .hint(format!(
            "raise `message.max.bytes` in the sink's `properties` and max.message.bytes of the \
             topic, or set `on_oversized: dead_letter`, then cdc snapshot {name}"
        ))
        .for_table(table)
}
