//! What a user can set of a Kafka sink, each key with its default. Checks values when the sink is
//! made, so that a wrong one stops the start and not the first commit.
//!
//! Invariant: settings on which the guarantee rests (acknowledgements, idempotence, transactions)
//! cannot be set from outside.

mod record;
mod target;

use std::collections::BTreeMap;

use cdc_api::{Error, Result};
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use serde::{Deserialize, Serialize};

pub use record::{
    Binary, Decimals, Envelope, FlatConfig, Flattened, Format, Hstore, Intervals, Names, Operation,
    OutboxConfig, Times, UnsignedBigint,
};
pub use target::{
    Compression, Delivery, Oversized, Partitioner, Register, RegistryConfig, Subjects, TopicsConfig,
};

/// Settings of a Kafka sink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaConfig {
    /// The brokers to begin with, `host:port`, separated by commas.
    pub brokers: String,
    /// First part of every topic's name, and the `name` of the envelope's source block; `None`:
    /// the pipeline's name.
    #[serde(default)]
    pub topic_prefix: Option<String>,
    /// Whether a read-committed consumer sees every change once, or may see some again.
    #[serde(default)]
    pub delivery: Delivery,
    /// Names this sink to the brokers: whoever opens it last fences the others. `None`:
    /// `cdc.<pipeline>.<sink>`.
    #[serde(default)]
    pub transactional_id: Option<String>,
    /// Where the checkpoint is kept; `None`: `__cdc.<pipeline>.<sink>`. Copies under way are kept
    /// in topics whose names begin with it.
    #[serde(default)]
    pub checkpoint_topic: Option<String>,
    /// How long a Kafka transaction may take, in seconds; the broker's
    /// `transaction.max.timeout.ms` bounds it.
    #[serde(default = "default_transaction_timeout")]
    pub transaction_timeout_seconds: u32,
    /// What a record's value looks like.
    #[serde(default)]
    pub format: Format,
    /// Where Avro's schemas are kept; required with `format: avro`.
    #[serde(default)]
    pub schema_registry: RegistryConfig,
    /// How names become such as Avro takes; `None`: as the format needs.
    #[serde(default)]
    pub names: Option<Names>,
    /// Whether a value says what happened, or is the row alone.
    #[serde(default)]
    pub envelope: Envelope,
    /// What a row that stands alone says beside its columns.
    #[serde(default)]
    pub flat: FlatConfig,
    /// Whether a change says which transaction it is of and where in it, and topic
    /// `<prefix>.transaction` has each one's begin and end.
    #[serde(default)]
    pub transaction_metadata: bool,
    /// How often a heartbeat goes into topic `__debezium-heartbeat.<prefix>`, in seconds, at most:
    /// with a commit; 0: never.
    #[serde(default)]
    pub heartbeat_seconds: u32,
    /// Whether a delete is followed by a record without a value, which lets compaction forget the
    /// key.
    #[serde(default = "yes")]
    pub tombstones: bool,
    /// Changes that are left out.
    #[serde(default = "default_skipped")]
    pub skipped_operations: Vec<Operation>,
    /// What stands for a value that the source did not send (unchanged TOAST).
    #[serde(default = "default_unavailable")]
    pub unavailable_value: String,
    /// How exact decimals are written.
    #[serde(default)]
    pub decimals: Decimals,
    /// How bytes are written.
    #[serde(default)]
    pub binary: Binary,
    /// How dates and times are written.
    #[serde(default)]
    pub times: Times,
    /// How intervals are written.
    #[serde(default)]
    pub intervals: Intervals,
    /// How unsigned 64-bit numbers are written.
    #[serde(default)]
    pub unsigned_bigint: UnsignedBigint,
    /// How hstore is written.
    #[serde(default)]
    pub hstore: Hstore,
    /// Whether every record has headers `cdc.seq`, the number of its change (8 bytes, big-endian),
    /// and `cdc.schema_version`, which shape of the table it has (4 bytes).
    #[serde(default)]
    pub change_headers: bool,
    /// What becomes of a record that is larger than one may be.
    #[serde(default)]
    pub on_oversized: Oversized,
    /// Where such a record's key goes, with headers that say why; `None`: `<prefix>.dead_letter`.
    #[serde(default)]
    pub dead_letter_topic: Option<String>,
    /// Tables whose rows are events.
    #[serde(default)]
    pub outbox: OutboxConfig,
    /// How batches are compressed.
    #[serde(default)]
    pub compression: Compression,
    /// How a key chooses its partition.
    #[serde(default)]
    pub partitioner: Partitioner,
    /// How topics come to be.
    #[serde(default)]
    pub topics: TopicsConfig,
    /// librdkafka's own settings: TLS, SASL, timeouts.
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
}

fn yes() -> bool {
    true
}

fn default_transaction_timeout() -> u32 {
    600
}

fn default_skipped() -> Vec<Operation> {
    vec![Operation::Truncate]
}

fn default_unavailable() -> String {
    "__debezium_unavailable_value".to_owned()
}

/// What a user's properties may not say, for the guarantee rests on it.
const OURS: &[&str] = &[
    "acks",
    "request.required.acks",
    "enable.idempotence",
    "enable.gapless.guarantee",
    "transactional.id",
    "transaction.timeout.ms",
    "bootstrap.servers",
    "metadata.broker.list",
    "isolation.level",
    "partitioner",
    "compression.type",
    "compression.codec",
    "enable.auto.commit",
    "enable.partition.eof",
    "group.id",
    "message.timeout.ms",
    "delivery.timeout.ms",
];

impl KafkaConfig {
    /// A sink for these brokers, all else by default.
    pub fn new(brokers: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            topic_prefix: None,
            delivery: Delivery::default(),
            transactional_id: None,
            checkpoint_topic: None,
            transaction_timeout_seconds: default_transaction_timeout(),
            format: Format::default(),
            schema_registry: RegistryConfig::default(),
            names: None,
            envelope: Envelope::default(),
            flat: FlatConfig::default(),
            transaction_metadata: false,
            heartbeat_seconds: 0,
            tombstones: true,
            skipped_operations: default_skipped(),
            unavailable_value: default_unavailable(),
            decimals: Decimals::default(),
            binary: Binary::default(),
            times: Times::default(),
            intervals: Intervals::default(),
            unsigned_bigint: UnsignedBigint::default(),
            hstore: Hstore::default(),
            change_headers: false,
            on_oversized: Oversized::default(),
            dead_letter_topic: None,
            outbox: OutboxConfig::default(),
            compression: Compression::default(),
            partitioner: Partitioner::default(),
            topics: TopicsConfig::default(),
            properties: BTreeMap::new(),
        }
    }

    /// The values make sense.
    pub(crate) fn validate(&self) -> Result<()> {
        let wrong = |message: String, hint: String| Err(Error::config(message).hint(hint));
        if self.brokers.trim().is_empty() {
            return wrong(
                "kafka setting `brokers` names no broker".to_owned(),
                "set `brokers: host:9092`".to_owned(),
            );
        }
        for (key, name) in [
            ("topic_prefix", &self.topic_prefix),
            ("checkpoint_topic", &self.checkpoint_topic),
            ("dead_letter_topic", &self.dead_letter_topic),
        ] {
            if name.as_deref().is_some_and(|name| !is_topic_name(name)) {
                return wrong(
                    format!("kafka setting `{key}` is no topic name"),
                    format!("use letters, digits, `.`, `_` and `-` in `{key}`, at most 200"),
                );
            }
        }
        if self.format == Format::Avro && self.names == Some(Names::AsIs) {
            return wrong(
                "kafka settings `names: as_is` and `format: avro` do not go together".to_owned(),
                "leave `names` out, or set `names: avro_unicode`".to_owned(),
            );
        }
        if self.topics.partitions == 0 {
            return wrong(
                "kafka setting `topics.partitions` is 0".to_owned(),
                "set `topics.partitions` to 1 or more".to_owned(),
            );
        }
        if self.transaction_timeout_seconds == 0 {
            return wrong(
                "kafka setting `transaction_timeout_seconds` is 0".to_owned(),
                "set `transaction_timeout_seconds` to 1 or more".to_owned(),
            );
        }
        if let Some(key) = self
            .properties
            .keys()
            .find(|key| OURS.contains(&key.as_str()))
        {
            return wrong(
                format!("kafka property `{key}` is not for setting: the guarantee rests on it"),
                format!("leave `properties.{key}` out"),
            );
        }
        self.client()
            .create_native_config()
            .map(|_| ())
            .map_err(|error| {
                // The library's own text has the value in it, which may be a secret.
                let (key, what) = match &error {
                    KafkaError::ClientConfig(_, what, key, _) => (key.as_str(), what.as_str()),
                    _ => ("", "is refused"),
                };
                let what = what.split(" for configuration").next().unwrap_or(what);
                let what = what.split(':').next().unwrap_or(what);
                Error::config(format!("kafka property `{key}`: {what}").to_lowercase())
                    .hint("see librdkafka's CONFIGURATION.md for names and values of `properties`")
            })
    }

    /// A client's settings, of producers and consumers alike.
    pub(crate) fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set("client.id", "cdc");
        // Several addresses of one name (localhost) are tried one after the other.
        client.set("broker.address.family", "any");
        client.set("reconnect.backoff.max.ms", "2000");
        // Why a connection ended is logged at this level, and by some of its ends told nowhere else.
        client.set_log_level(RDKafkaLogLevel::Info);
        for (key, value) in &self.properties {
            client.set(key, value);
        }
        client.set("bootstrap.servers", &self.brokers);
        client
    }

    /// Settings of producers.
    pub(crate) fn producer(&self) -> ClientConfig {
        let mut client = self.client();
        let compression = match self.compression {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        };
        let partitioner = match self.partitioner {
            Partitioner::Murmur2 => "murmur2",
            Partitioner::Consistent => "consistent",
            Partitioner::Fnv1a => "fnv1a",
        };
        // Room for any record: one that does not fit into the queue would wait for ever.
        let record = self.properties.get("message.max.bytes");
        let record: u64 = record.and_then(|it| it.parse().ok()).unwrap_or(1_000_000);
        let queue = record.saturating_mul(2).max(4 << 20) >> 10;
        for (key, value) in [
            // A commit sends what lingers, and under load batches are full before.
            ("linger.ms", "20".to_owned()),
            ("queue.buffering.max.kbytes", queue.to_string()),
            ("queue.buffering.max.messages", "200000".to_owned()),
            // Of records that were taken nobody asks; a flush tells when all are answered for.
            ("delivery.report.only.error", "true".to_owned()),
        ] {
            if !self.properties.contains_key(key) {
                client.set(key, value);
            }
        }
        client
            .set("enable.idempotence", "true")
            .set("compression.type", compression)
            .set("partitioner", partitioner);
        client
    }

    /// How names become such as the format takes.
    pub(crate) fn names(&self) -> Names {
        self.names.unwrap_or(match self.format {
            Format::Avro => Names::Avro,
            Format::Json | Format::JsonWithSchema => Names::AsIs,
        })
    }

    pub(crate) fn skips(&self, operation: Operation) -> bool {
        self.skipped_operations.contains(&operation)
    }
}

fn is_topic_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 200
        && name != "."
        && name != ".."
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_alone_give_the_defaults() {
        let config: KafkaConfig =
            serde_json::from_str(r#"{"brokers":"localhost:9092"}"#).expect("parses");
        assert_eq!(config, KafkaConfig::new("localhost:9092"));
        config.validate().expect("the defaults are valid");
    }

    #[test]
    fn the_queue_has_room_for_any_record() {
        let mut config = KafkaConfig::new("localhost:9092");
        let queue = |config: &KafkaConfig| {
            let kilobytes = config
                .producer()
                .get("queue.buffering.max.kbytes")
                .map(str::parse);
            kilobytes.expect("is set").unwrap_or(0) << 10
        };
        assert!(queue(&config) >= 2_000_000);
        config
            .properties
            .insert("message.max.bytes".into(), "20000000".into());
        let room: u64 = queue(&config);
        assert!(room >= 39_000_000, "{room}");
    }

    #[test]
    fn what_the_guarantee_rests_on_cannot_be_set() {
        let mut config = KafkaConfig::new("localhost:9092");
        config.properties.insert("acks".into(), "0".into());
        let error = config.validate().expect_err("refused");
        assert!(error.to_string().contains("`acks`"), "{error}");
    }

    #[test]
    fn a_wrong_property_is_named_and_its_value_is_not_told() {
        let mut config = KafkaConfig::new("localhost:9092");
        config
            .properties
            .insert("sasl.mechanism".into(), "hunter2".into());
        config
            .properties
            .insert("no.such.setting".into(), "hunter2".into());
        let error = config.validate().expect_err("refused");
        assert!(error.to_string().contains("no.such.setting"), "{error}");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }

    #[test]
    fn names_that_are_no_topics_are_refused() {
        let mut config = KafkaConfig::new("localhost:9092");
        config.topic_prefix = Some("a b".into());
        let error = config.validate().expect_err("refused");
        assert!(error.to_string().contains("topic_prefix"), "{error}");
    }
}
