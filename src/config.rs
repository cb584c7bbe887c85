//! The configuration: the shape of the YAML file, and how it is found and loaded.
//!
//! Invariant: a [`Config`] that exists is valid; whoever holds one need not check it again. What
//! belongs to one connector stays a [`Section`], which the registry gives to that connector's
//! crate; errors in it name the same file and line as ours.
//!
//! Code map: [`mod@load`] file, environment, validation · `tree` YAML with line numbers · `reference`
//! `${ENV}` and `file:` · `reader` from the tree to Rust types · `fault` what is wrong and where,
//! with the nearest word · [`section`] what a connector reads · [`units`] durations, sizes,
//! schedules.

mod fault;
pub mod load;
mod reader;
mod reference;
pub mod section;
mod tree;
pub mod units;

use std::path::PathBuf;
use std::time::Duration;

use cdc_api::TableSelection;
use serde::Deserialize;

use crate::journal::Compression;
pub use load::{find, load};
pub use section::Section;
pub use units::{ByteSize, Schedule};

/// One pipeline: a source and its sinks.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file that it was read from.
    pub file: PathBuf,
    /// Names the pipeline on the source's server and in every sink: a lower-case letter, then
    /// lower-case letters, digits and underscores, at most 40 in all.
    pub name: String,
    /// Where journal, state and control socket live.
    pub data_dir: PathBuf,
    /// What is read.
    pub source: SourceConfig,
    /// What is written, in the file's order; at least one.
    pub sinks: Vec<SinkConfig>,
    /// When the source may drop its log.
    pub acknowledge: Acknowledge,
    /// The journal on local disk.
    pub journal: JournalConfig,
    /// How existing rows are read.
    pub snapshot: SnapshotConfig,
    /// The TCP listener for health, metrics and status.
    pub admin: AdminConfig,
    /// Log lines on stderr.
    pub log: LogConfig,
    /// How long a stop may take before it is cut short; nothing is lost either way.
    pub shutdown_timeout: Duration,
    /// How often the source is asked for tables that match the patterns since.
    pub discover_interval: Duration,
}

impl Config {
    /// The sink with this name.
    pub fn sink(&self, name: &str) -> Option<&SinkConfig> {
        self.sinks.iter().find(|sink| sink.name == name)
    }
}

/// The source: its type, and the section that its connector reads (`tables` included).
#[derive(Debug, Clone)]
pub struct SourceConfig {
    /// `type`: which connector.
    pub kind: String,
    /// All other keys.
    pub section: Section,
}

/// A sink: what the engine does with it, and the section that its connector reads.
#[derive(Debug, Clone)]
pub struct SinkConfig {
    /// Its key in `sinks`.
    pub name: String,
    /// `type`: which connector.
    pub kind: String,
    /// What the pipeline reads: records say where they come from.
    pub source: SourceConfig,
    /// What the engine does with it.
    pub delivery: Delivery,
    /// The connector's own keys.
    pub section: Section,
}

impl SinkConfig {
    /// Whether this sink takes the table at all.
    pub fn takes(&self, table: &cdc_api::TableName) -> bool {
        match &self.delivery.tables {
            Some(selection) => selection.matches(table),
            None => true,
        }
    }
}

/// How the engine serves a sink: the keys that every sink has beside its connector's own.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Delivery {
    /// Of the source's tables only those that match; `None`: all.
    #[serde(deserialize_with = "units::table_selection")]
    pub tables: Option<TableSelection>,
    /// How long a commit gathers transactions at most when the sink is caught up; under backlog
    /// the limits below decide. `None`: as the connector likes it best (the registry knows).
    #[serde(deserialize_with = "units::optional_duration")]
    pub linger: Option<Duration>,
    /// Rows in a commit, about at most: a transaction is never cut.
    pub max_rows: u64,
    /// Bytes in a commit, about at most: a transaction is never cut.
    pub max_bytes: ByteSize,
    /// Snapshots that are taken by the clock.
    pub snapshot: SinkSnapshot,
    /// What happens to the sink when one of its tables fails.
    pub on_table_error: OnTableError,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            tables: None,
            linger: None,
            max_rows: 1_000_000,
            max_bytes: ByteSize::mebibytes(256),
            snapshot: SinkSnapshot::default(),
            on_table_error: OnTableError::Continue,
        }
    }
}

/// Which snapshots a sink is given unasked.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SinkSnapshot {
    /// Whether a new sink gets the existing rows of the tables that there are; else their changes
    /// alone. Tables that are found later are copied all the same.
    pub initial: bool,
    /// When every table is copied anew; `None`: only when asked.
    #[serde(deserialize_with = "units::optional_schedule")]
    pub schedule: Option<Schedule>,
}

impl Default for SinkSnapshot {
    fn default() -> Self {
        Self {
            initial: true,
            schedule: None,
        }
    }
}

/// What happens to a sink when one of its tables fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnTableError {
    /// The table stops, the others go on.
    Continue,
    /// The sink stops at the last commit before the failure.
    Stop,
}

/// When the source may drop its log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Acknowledge {
    /// When every sink has committed.
    #[default]
    Sinks,
    /// When the journal is on disk: for a persistent volume.
    Journal,
}

/// The journal on local disk, in `<data_dir>/journal`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JournalConfig {
    /// A segment file is closed at about this size.
    pub segment_bytes: ByteSize,
    /// Changes kept in memory at most, from which caught-up sinks are fed; also what may wait for
    /// the disk.
    pub memory_bytes: ByteSize,
    /// When what the sinks still need is this large on disk, reading from the source waits until
    /// they have caught up; `None`: no bound.
    pub max_bytes: Option<ByteSize>,
    /// How long changes are kept that every sink has, within `max_bytes`.
    #[serde(deserialize_with = "units::duration")]
    pub keep: Duration,
    /// How changes are compressed on disk.
    pub compression: Compression,
}

impl Default for JournalConfig {
    fn default() -> Self {
        Self {
            segment_bytes: ByteSize::mebibytes(64),
            memory_bytes: ByteSize::mebibytes(8),
            max_bytes: Some(ByteSize::mebibytes(10 * 1024)),
            keep: Duration::ZERO,
            compression: Compression::Lz4,
        }
    }
}

/// How existing rows are read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SnapshotConfig {
    /// Readers at a time, over all tables; each takes a connection.
    pub workers: u64,
    /// Bytes of a chunk: the unit of progress that survives a crash.
    pub chunk_bytes: ByteSize,
}

impl Default for SnapshotConfig {
    fn default() -> Self {
        Self {
            workers: 4,
            chunk_bytes: ByteSize::mebibytes(64),
        }
    }
}

/// The TCP listener for health, metrics and status.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// `host:port`; `None` where the file says `off`.
    #[serde(deserialize_with = "units::listen")]
    pub listen: Option<String>,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            listen: Some("127.0.0.1:7010".to_owned()),
        }
    }
}

/// Log lines on stderr.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// For people or for collectors.
    pub format: LogFormat,
    /// A level, or directives such as `info,cdc::pipeline=debug`; `RUST_LOG` wins.
    pub level: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            level: "info".to_owned(),
        }
    }
}

/// The shape of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}
