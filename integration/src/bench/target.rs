//! What the daemon writes into, and a daemon that does.

use super::wish::USAGE;
use crate::daemon::Daemon;
use crate::kafka::Kafka;

/// What the daemon writes into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Nothing: the changes are decoded and journaled.
    Blackhole,
    /// Files of Parquet.
    Parquet,
    /// A file of DuckDB that mirrors the tables.
    DuckDb,
    /// Kafka, exactly once.
    Kafka,
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Blackhole, Self::Parquet, Self::DuckDb, Self::Kafka];

    /// As the configuration calls it.
    ///
    /// # Errors
    ///
    /// The usage.
    pub fn named(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|target| target.name() == name);
        found.ok_or_else(|| USAGE.to_owned())
    }

    /// As the configuration calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Blackhole => "blackhole",
            Self::Parquet => "parquet",
            Self::DuckDb => "duckdb",
            Self::Kafka => "kafka",
        }
    }

    /// As a table of figures calls our own line.
    pub(super) fn title(self) -> String {
        format!("cdc, {}", self.name())
    }

    fn section(self, number: usize, brokers: &str) -> String {
        let rest = match self {
            Self::Blackhole => format!("path: nothing{number}.json"),
            Self::Parquet => format!("url: ./lake{number}"),
            Self::DuckDb => format!("path: warehouse{number}.duckdb"),
            Self::Kafka => format!("brokers: {brokers}\n    topic_prefix: t{number}"),
        };
        // Read by `cdc query` under this name.
        let name = if self == Self::DuckDb && number == 0 {
            "warehouse".to_owned()
        } else {
            format!("{}{number}", self.name())
        };
        format!("  {name}:\n    type: {}\n    {rest}\n", self.name())
    }
}

/// A broker if any target wants one.
pub(super) async fn broker(targets: &[Target]) -> Option<Kafka> {
    if targets.contains(&Target::Kafka) {
        Some(Kafka::start().await)
    } else {
        None
    }
}

/// The topic into which the only sink of the daemon `name` writes a table.
pub(super) fn topic(name: &str, table: &str) -> String {
    format!("{name}.0.{table}")
}

/// A daemon that is configured and not started. `name` names the slot and the topics.
pub(super) fn daemon(name: &str, url: &str, targets: &[Target], broker: Option<&Kafka>) -> Daemon {
    let brokers = broker.map(Kafka::brokers).unwrap_or_default();
    let kind = url.split(':').next().unwrap_or_default();
    let sinks = targets.iter().enumerate();
    let sinks: String = sinks.map(|(n, it)| it.section(n, &brokers)).collect();
    let sinks = sinks.replace("topic_prefix: t", &format!("topic_prefix: {name}."));
    Daemon::with_config(&format!(
        "name: {name}\ndata_dir: ./data\nsource:\n  type: {kind}\n  url: {url}\n  tables: [\"shop.*\"]\n\
         sinks:\n{sinks}admin:\n  listen: 127.0.0.1:{}\n",
        crate::free_port()
    ))
}
