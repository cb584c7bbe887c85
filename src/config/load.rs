//! Finding, reading and validating the file.
//!
//! Invariant: whatever is wrong with a configuration and can be told without a server is told
//! here, with file and line where there is one, before anything is started.

use std::path::{Path, PathBuf};
use std::time::Duration;

use cdc_api::{Error, Result};
use serde::Deserialize;

use super::fault::{Fault, nearest};
use super::reader::read;
use super::section::Section;
use super::tree::{Key, Node, Value};
use super::{
    Acknowledge, AdminConfig, Config, JournalConfig, LogConfig, SinkConfig, SnapshotConfig,
    SourceConfig, reference, units,
};
use crate::registry;

/// The file to read: `given` (`-c`), else `$CDC_CONFIG`, else `./cdc.yaml`.
pub fn find(given: Option<&Path>) -> PathBuf {
    match (given, std::env::var_os("CDC_CONFIG")) {
        (Some(given), _) => given.to_owned(),
        (None, Some(path)) if !path.is_empty() => path.into(),
        _ => "cdc.yaml".into(),
    }
}

/// Reads and validates a configuration.
///
/// # Errors
/// `Config`, naming file, line and key, with the nearest valid word where one was misspelt.
pub fn load(file: &Path) -> Result<Config> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        Error::config(format!("cannot read the configuration: {error}"))
            .context(file.display().to_string())
            .hint(
                "name the file with -c FILE or $CDC_CONFIG, or write one with \
                 `cdc init postgres://user:password@host/database`",
            )
    })?;
    let config = parse(&text, file, &|name| std::env::var(name).ok())?;
    // Connectors that are made touch nothing; what they refuse is to be told now.
    registry::source(&config)?;
    for sink in &config.sinks {
        registry::sink(sink, &config.name)?;
    }
    Ok(config)
}

/// As [`load`], from a text and an environment; connectors' sections are not read yet.
///
/// # Errors
/// As for [`load`].
pub fn parse(text: &str, file: &Path, variable: &dyn Fn(&str) -> Option<String>) -> Result<Config> {
    let located = |fault: Fault| fault.into_error(file);
    let mut root = Node::parse(text).map_err(located)?;
    reference::resolve(&mut root, variable).map_err(located)?;
    let source = root.take("source");
    let sinks = root.take("sinks");
    let rest: Rest = read(&root, &["source", "sinks"]).map_err(located)?;
    check_name(&rest.name).map_err(|fault| located(fault.at(root.line_of("name"))))?;
    let required = |given: Option<(Key, Node)>, key: &str| {
        given.ok_or_else(|| located(Fault::new(format!("key `{key}` is missing")).at(1)))
    };
    let (_, source) = required(source, "source")?;
    let (_, sinks) = required(sinks, "sinks")?;
    let source = source_section(source, file)?;
    let config = Config {
        file: file.to_owned(),
        name: rest.name,
        data_dir: rest.data_dir.unwrap_or_else(|| default_data_dir(variable)),
        sinks: sink_sections(sinks, &source, file)?,
        source,
        acknowledge: rest.acknowledge,
        journal: rest.journal,
        snapshot: rest.snapshot,
        admin: rest.admin,
        log: rest.log,
        shutdown_timeout: rest.shutdown_timeout,
        discover_interval: rest.discover_interval,
    };
    validate(&config)?;
    Ok(config)
}

/// The top level without source and sinks.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rest {
    name: String,
    #[serde(default)]
    data_dir: Option<PathBuf>,
    #[serde(default)]
    acknowledge: Acknowledge,
    #[serde(default)]
    journal: JournalConfig,
    #[serde(default)]
    snapshot: SnapshotConfig,
    #[serde(default)]
    admin: AdminConfig,
    #[serde(default)]
    log: LogConfig,
    #[serde(default = "default_shutdown", deserialize_with = "units::duration")]
    shutdown_timeout: Duration,
    #[serde(default = "default_discover", deserialize_with = "units::duration")]
    discover_interval: Duration,
}

fn default_shutdown() -> Duration {
    Duration::from_secs(30)
}

fn default_discover() -> Duration {
    Duration::from_secs(60)
}

/// systemd's `StateDirectory=`, which may name several with colons; else `./data`.
fn default_data_dir(variable: &dyn Fn(&str) -> Option<String>) -> PathBuf {
    variable("STATE_DIRECTORY")
        .and_then(|list| list.split(':').next().map(PathBuf::from))
        .filter(|path| !path.as_os_str().is_empty())
        .unwrap_or_else(|| "./data".into())
}

fn check_name(name: &str) -> std::result::Result<(), Fault> {
    let good = name.len() <= 40
        && name.starts_with(|char: char| char.is_ascii_lowercase())
        && name
            .chars()
            .all(|char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '_');
    if good {
        return Ok(());
    }
    Err(Fault::new("is not a name that every server takes").within("name").hint(
        "a lower-case letter, then lower-case letters, digits and underscores, at most 40: `name: shop`",
    ))
}

/// Takes `type` out of a connector's section.
fn kind(node: &mut Node, path: &str, file: &Path) -> Result<String> {
    #[derive(Deserialize)]
    struct Kind(String);
    let line = node.line;
    if !matches!(node.value, Value::Map(_)) {
        return Err(Fault::new("expected a mapping of keys")
            .at(line)
            .within(path)
            .into_error(file));
    }
    let Some((key, value)) = node.take("type") else {
        return Err(Fault::new("key `type` is missing")
            .at(line)
            .within(path)
            .into_error(file));
    };
    if value.is_referenced() {
        return Err(Fault::new("is to be written out")
            .at(key.line)
            .within("type")
            .within(path)
            .into_error(file));
    }
    read::<Kind>(&value, &[])
        .map(|kind| kind.0)
        .map_err(|fault| {
            fault
                .at(key.line)
                .within("type")
                .within(path)
                .into_error(file)
        })
}

fn source_section(mut node: Node, file: &Path) -> Result<SourceConfig> {
    let kind = kind(&mut node, "source", file)?;
    Ok(SourceConfig {
        kind,
        section: Section {
            node,
            path: "source".to_owned(),
            file: file.to_owned(),
            beside: vec!["type"],
        },
    })
}

/// The keys of [`Delivery`], which every sink has.
pub(crate) const DELIVERY_KEYS: [&str; 6] = [
    "tables",
    "linger",
    "max_rows",
    "max_bytes",
    "snapshot",
    "on_table_error",
];

fn sink_sections(node: Node, source: &SourceConfig, file: &Path) -> Result<Vec<SinkConfig>> {
    let line = node.line;
    let entries = match node.value {
        Value::Map(entries) if !entries.is_empty() => entries,
        _ => {
            return Err(Fault::new("expected at least one sink under its name")
                .at(line)
                .within("sinks")
                .hint("sinks: {warehouse: {type: duckdb, path: shop.duckdb}}")
                .into_error(file));
        }
    };
    entries
        .into_iter()
        .map(|(key, node)| sink_section(&key, node, source, file))
        .collect()
}

fn sink_section(
    key: &Key,
    mut node: Node,
    source: &SourceConfig,
    file: &Path,
) -> Result<SinkConfig> {
    let path = format!("sinks.{}", key.name);
    check_name(&key.name).map_err(|_| {
        Fault::new(format!("`{}` is not a name for a sink", key.name))
            .at(key.line)
            .within("sinks")
            .hint(
                "a lower-case letter, then lower-case letters, digits and underscores, at most 40",
            )
            .into_error(file)
    })?;
    let kind = kind(&mut node, &path, file)?;
    let mut ours = Node {
        value: Value::Map(Vec::new()),
        line: node.line,
    };
    if let Value::Map(entries) = &mut ours.value {
        entries.extend(DELIVERY_KEYS.iter().filter_map(|name| node.take(name)));
    }
    let delivery = read(&ours, &[]).map_err(|fault: Fault| fault.within(&path).into_error(file))?;
    Ok(SinkConfig {
        name: key.name.clone(),
        kind,
        source: source.clone(),
        delivery,
        section: Section {
            node,
            path,
            file: file.to_owned(),
            beside: [&["type"], DELIVERY_KEYS.as_slice()].concat(),
        },
    })
}

/// An error about a `type` that no connector has.
///
/// For the registry: names file, line, and the nearest of `known`.
pub fn unknown_kind(section: &Section, kind: &str, known: &[&str]) -> Error {
    let error = section.error(
        Some("type"),
        format!("`{kind}` is not one of {}", known.join(", ")),
    );
    match nearest(kind, known) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error,
    }
}

/// What no type can tell.
fn validate(config: &Config) -> Result<()> {
    let refused = |what: String, hint: &str| {
        Err(Error::config(what)
            .context(config.file.display().to_string())
            .hint(hint))
    };
    let at_least = |value: u64, least: u64, key: &str| {
        if value >= least {
            return Ok(());
        }
        refused(
            format!("`{key}` is below {least}"),
            &format!("set {key} to {least} or more, or leave it out"),
        )
    };
    at_least(config.snapshot.workers, 1, "snapshot.workers")?;
    at_least(
        config.snapshot.chunk_bytes.0,
        1 << 16,
        "snapshot.chunk_bytes",
    )?;
    at_least(
        config.journal.segment_bytes.0,
        1 << 16,
        "journal.segment_bytes",
    )?;
    if let Some(max) = config.journal.max_bytes {
        at_least(max.0, 1 << 20, "journal.max_bytes")?;
    }
    for sink in &config.sinks {
        let key = |name: &str| format!("sinks.{}.{name}", sink.name);
        at_least(sink.delivery.max_rows, 1, &key("max_rows"))?;
        at_least(sink.delivery.max_bytes.0, 1 << 16, &key("max_bytes"))?;
    }
    if tracing_subscriber::EnvFilter::try_new(&config.log.level).is_err() {
        return refused(
            "`log.level` is neither a level nor a list of directives".to_owned(),
            "log: {level: info}, or {level: \"info,cdc::pipeline=debug\"}",
        );
    }
    if config.discover_interval.is_zero() {
        return refused(
            "`discover_interval` is 0: the source would be asked for new tables without end"
                .to_owned(),
            "set discover_interval to 1s or more, or leave it out",
        );
    }
    Ok(())
}
