//! What a user can set of the target: delivery, topics, and where schemas are.
//!
//! Invariant: every default keeps the guarantee.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a read-committed consumer can rely on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// Every change once, whole transactions only.
    #[default]
    ExactlyOnce,
    /// Every change, some perhaps again after an interruption; no transactions.
    AtLeastOnce,
}

/// Where Avro's schemas are kept: a registry with Confluent's interface.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RegistryConfig {
    /// `http://host:8081`, with the path under which `/subjects` is; `None`: there is none.
    pub url: Option<String>,
    /// User of basic authentication.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<String>,
    /// PEM file of the authority that signed the registry's certificate; `None`: the well-known
    /// ones.
    pub ca_file: Option<String>,
    /// PEM file of our own certificate, where the registry asks for one.
    pub certificate_file: Option<String>,
    /// PEM file of its key.
    pub key_file: Option<String>,
    /// What a schema is filed under.
    pub subjects: Subjects,
    /// How a schema gets its number.
    pub schemas: Register,
}

/// What a schema is filed under.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subjects {
    /// `<topic>-key`, `<topic>-value`.
    #[default]
    Topic,
    /// The schema's own name.
    Record,
    /// `<topic>-<the schema's own name>`.
    TopicRecord,
}

/// How a schema gets its number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Register {
    /// It is registered where it is not.
    #[default]
    Auto,
    /// It has to be registered already.
    Existing,
    /// The subject's latest is used; it has to have the same fields.
    Latest,
}

/// What becomes of a record that is larger than one may be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Oversized {
    /// Its table stops; the others go on.
    #[default]
    Stop,
    /// Its key goes into the dead letter topic, and the table goes on without it.
    DeadLetter,
}

/// How batches are compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Not.
    None,
    /// By gzip.
    Gzip,
    /// By Snappy.
    Snappy,
    /// By LZ4.
    #[default]
    Lz4,
    /// By Zstandard.
    Zstd,
}

/// How a key chooses its partition. Records without a key all go to partition 0, so that their
/// order stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Partitioner {
    /// As Java's producers and Debezium do.
    #[default]
    Murmur2,
    /// As librdkafka's own default does (CRC32).
    Consistent,
    /// FNV-1a, as Sarama's default does.
    Fnv1a,
}

/// How topics come to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TopicsConfig {
    /// Whether a topic that is not there is created; else its table stops.
    pub create: bool,
    /// Partitions of a topic that is created.
    pub partitions: u16,
    /// Copies of a topic that is created, the checkpoint's too; 0: as the broker has it.
    pub replication: u16,
    /// Settings of a table's topic that is created, such as `cleanup.policy: compact`.
    pub config: BTreeMap<String, String>,
}

impl Default for TopicsConfig {
    fn default() -> Self {
        Self {
            create: true,
            partitions: 1,
            replication: 0,
            config: BTreeMap::new(),
        }
    }
}
