//! Readers of a sink that tell which rows they hold, until they are told to end.

use std::path::PathBuf;
use std::time::Duration;

use duckdb::Connection;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;

use super::Ticks;
use crate::commands::Commands;

/// How a sink is read.
#[derive(Debug)]
pub(super) enum Reader {
    /// A consumer of committed records.
    Kafka { brokers: String, topic: String },
    /// DuckDB over the table's files.
    Parquet(PathBuf),
    /// `cdc query`.
    Query(Commands),
}

impl Reader {
    /// Reads until it is over.
    ///
    /// # Errors
    ///
    /// In words, when the sink cannot be read.
    pub(super) fn run(self, ticks: &Ticks) -> Result<(), String> {
        match self {
            Self::Kafka { brokers, topic } => consume(&brokers, &topic, ticks),
            Self::Parquet(folder) => {
                let database = Connection::open_in_memory().map_err(|e| e.to_string())?;
                ask(ticks, Duration::from_millis(20), |from| {
                    scan(&database, &folder, from)
                })
            }
            Self::Query(commands) => ask(ticks, Duration::ZERO, |from| {
                let rows =
                    commands.query(&format!("SELECT id FROM shop.tick WHERE id >= {from}"))?;
                let ids = rows.into_iter().filter_map(|row| row.into_iter().next()?);
                Ok(ids.filter_map(|id| id.parse().ok()).collect())
            }),
        }
    }
}

/// Asks again and again for the rows that were not seen yet.
fn ask(
    ticks: &Ticks,
    rest: Duration,
    rows: impl Fn(usize) -> Result<Vec<usize>, String>,
) -> Result<(), String> {
    let mut from = 0;
    while !ticks.over() {
        for number in rows(from)? {
            ticks.see(number);
        }
        from = ticks.complete(from);
        std::thread::sleep(rest);
    }
    Ok(())
}

fn scan(
    database: &Connection,
    folder: &std::path::Path,
    from: usize,
) -> Result<Vec<usize>, String> {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let files = files.map(|file| file.path());
    if !files
        .into_iter()
        .any(|path| path.extension().is_some_and(|it| it == "parquet"))
    {
        return Ok(Vec::new());
    }
    let query = format!(
        "SELECT id FROM read_parquet('{}/*.parquet') WHERE id >= {from}",
        folder.display()
    );
    let read = || -> duckdb::Result<Vec<u64>> {
        let mut statement = database.prepare(&query)?;
        let rows = statement.query_map([], |row| row.get::<_, u64>(0))?;
        rows.collect()
    };
    // A file that was listed may be merged into another before it is opened.
    let rows = read().unwrap_or_default();
    Ok(rows
        .into_iter()
        .filter_map(|id| usize::try_from(id).ok())
        .collect())
}

fn consume(brokers: &str, topic: &str, ticks: &Ticks) -> Result<(), String> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "latency")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("fetch.wait.max.ms", "500")
        .set("fetch.min.bytes", "1")
        .set("log_level", "0")
        .create()
        .map_err(|e| e.to_string())?;
    let mut assignment = TopicPartitionList::new();
    assignment
        .add_partition_offset(topic, 0, Offset::Beginning)
        .and_then(|()| consumer.assign(&assignment))
        .map_err(|e| e.to_string())?;
    while !ticks.over() {
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else {
            continue;
        };
        let value = message.payload().map(serde_json::from_slice::<Value>);
        let id = value.and_then(|value| value.ok()?.get("after")?.get("id")?.as_u64());
        if let Some(number) = id.and_then(|id| usize::try_from(id).ok()) {
            ticks.see(number);
        }
    }
    Ok(())
}
