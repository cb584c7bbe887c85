//! Which connectors there are: the only file that names connector crates, a row for each.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cdc_api::{Error, Result, Sink, Source, TableSelection};
use serde::Deserialize;

use crate::config::load::unknown_kind;
use crate::config::{Config, SinkConfig, SourceConfig};
use crate::pipeline::SinkParts;

/// A sink connector.
struct SinkRow {
    kind: &'static str,
    /// How long a commit gathers when the sink is caught up, where the file does not say.
    linger: Duration,
    make: fn(&SinkConfig, &str) -> Result<Box<dyn Sink>>,
}

/// A source connector.
struct SourceRow {
    kind: &'static str,
    /// Of its section, the pipeline's name, and a folder of its own.
    make: fn(&SourceConfig, &str, &Path) -> Result<Arc<dyn Source>>,
}

const SOURCES: &[SourceRow] = &[
    #[cfg(feature = "postgres")]
    SourceRow {
        kind: "postgres",
        make: |config, pipeline, folder| {
            let config = config.section.parse()?;
            Ok(Arc::new(cdc_postgres::PostgresSource::new(
                config, pipeline, folder,
            )?))
        },
    },
    #[cfg(feature = "mysql")]
    SourceRow {
        kind: "mysql",
        make: |config, pipeline, folder| {
            let config = config.section.parse()?;
            Ok(Arc::new(cdc_mysql::MysqlSource::new(
                config, pipeline, folder,
            )?))
        },
    },
];

const SINKS: &[SinkRow] = &[
    #[cfg(feature = "duckdb")]
    SinkRow {
        kind: "duckdb",
        linger: Duration::from_millis(100),
        make: |config, _| {
            let section = config.section.parse()?;
            Ok(Box::new(cdc_warehouse::Warehouse::new(section)?))
        },
    },
    #[cfg(feature = "parquet")]
    SinkRow {
        kind: "parquet",
        linger: Duration::from_secs(5),
        make: |config, pipeline| {
            let section = config.section.parse()?;
            Ok(Box::new(cdc_lake::Lake::new(section, pipeline)?))
        },
    },
    #[cfg(feature = "kafka")]
    SinkRow {
        kind: "kafka",
        linger: Duration::from_millis(2),
        make: |config, pipeline| {
            let section = config.section.parse()?;
            let (connector, database) = origin(&config.source)?;
            Ok(Box::new(cdc_kafka::Kafka::new(
                section,
                pipeline,
                &config.name,
                connector,
                &database,
            )?))
        },
    },
    #[cfg(feature = "blackhole")]
    SinkRow {
        kind: "blackhole",
        linger: Duration::from_millis(100),
        make: |config, _| {
            let section = config.section.parse()?;
            Ok(Box::new(cdc_blackhole::Blackhole::new(section)))
        },
    },
];

/// Where in the data directory a source keeps what is its own.
pub const SOURCE_FOLDER: &str = "source";

/// The types that a source may have.
pub fn source_kinds() -> Vec<&'static str> {
    SOURCES.iter().map(|row| row.kind).collect()
}

/// The types that a sink may have.
pub fn sink_kinds() -> Vec<&'static str> {
    SINKS.iter().map(|row| row.kind).collect()
}

/// The pipeline's source; nothing is connected yet.
///
/// # Errors
/// `Config`, with file and line.
pub fn source(config: &Config) -> Result<Arc<dyn Source>> {
    let source = &config.source;
    let Some(row) = SOURCES.iter().find(|row| row.kind == source.kind) else {
        return Err(unknown_kind(&source.section, &source.kind, &source_kinds()));
    };
    // What is wrong with the section as a whole is the connector's to say; it knows no lines.
    if let Ok(patterns) = patterns(source) {
        selection(source, patterns)?;
    }
    somebody_goes_on(config)?;
    (row.make)(source, &config.name, &config.data_dir.join(SOURCE_FOLDER))
}

/// Whether the source begins where one of Debezium's connectors has stopped.
pub fn takes_over(source: &SourceConfig) -> bool {
    /// Of a source's section, where that is.
    #[derive(Deserialize)]
    struct Place {
        debezium_offset: Option<serde::de::IgnoredAny>,
    }
    // What is wrong with the section as a whole is the connector's to say.
    let place = source.section.parse::<Place>();
    place.is_ok_and(|place| place.debezium_offset.is_some())
}

/// Refuses to begin where a connector has stopped when nobody goes on in its topics.
fn somebody_goes_on(config: &Config) -> Result<()> {
    let copied = |sink: &SinkConfig| sink.delivery.snapshot.initial;
    if takes_over(&config.source) && config.sinks.iter().all(copied) {
        let error = Error::config(
            "every sink gets a copy of the tables, and so all rows once more",
        )
        .hint("set snapshot: {initial: false} in the sink whose topics the connector has filled");
        let section = &config.source.section;
        return Err(section.refused(Some("debezium_offset"), &error));
    }
    Ok(())
}

/// The tables that a source is to capture.
///
/// # Errors
/// `Config`, with file and line, naming the pattern.
pub fn source_tables(config: &SourceConfig) -> Result<TableSelection> {
    selection(config, patterns(config)?)
}

fn patterns(config: &SourceConfig) -> Result<Vec<String>> {
    /// Of a source's section, what every source has.
    #[derive(Deserialize)]
    struct Tables {
        tables: Vec<String>,
    }
    let section: Tables = config.section.parse()?;
    Ok(section.tables)
}

fn selection(config: &SourceConfig, patterns: Vec<String>) -> Result<TableSelection> {
    TableSelection::parse(patterns).map_err(|error| config.section.refused(Some("tables"), &error))
}

/// Which of Debezium's connectors the source stands for, and the database that it reads.
#[cfg(feature = "kafka")]
fn origin(source: &SourceConfig) -> Result<(cdc_kafka::Connector, String)> {
    /// Of a source's section, where the database is.
    #[derive(Deserialize)]
    struct Place {
        url: String,
    }
    let place: Place = source.section.parse()?;
    let database = url::Url::parse(&place.url).ok().map(|url| {
        let path = url.path().trim_start_matches('/');
        percent_encoding::percent_decode_str(path)
            .decode_utf8_lossy()
            .into_owned()
    });
    let connector = match source.kind.as_str() {
        "mysql" => cdc_kafka::Connector::Mysql,
        _ => cdc_kafka::Connector::Postgresql,
    };
    Ok((connector, database.unwrap_or_default()))
}

/// A sink of pipeline `pipeline`, with what the engine does with it; nothing is connected yet.
///
/// # Errors
/// `Config`, with file and line.
pub fn sink(config: &SinkConfig, pipeline: &str) -> Result<SinkParts> {
    let Some(row) = SINKS.iter().find(|row| row.kind == config.kind) else {
        return Err(unknown_kind(&config.section, &config.kind, &sink_kinds()));
    };
    Ok(SinkParts {
        name: config.name.clone(),
        kind: config.kind.clone(),
        delivery: config.delivery.clone(),
        linger: config.delivery.linger.unwrap_or(row.linger),
        sink: (row.make)(config, pipeline)?,
    })
}
