//! `config/reference.yaml`: every key that any part reads, and every value its default.

use std::path::Path;

use cdc::config::Config;
use cdc_mysql::MysqlConfig;
use cdc_postgres::PostgresConfig;
use serde::de::DeserializeOwned;

use super::outline::{Entry, children, outline};
use super::{connectors, read, refusal};

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(path).expect("the reference is there")
}

pub(crate) fn text() -> String {
    file("config/reference.yaml")
}

/// The section `source` for MySQL and MariaDB, with what else is required.
pub(crate) fn mysql() -> String {
    file("config/reference.mysql.yaml")
}

/// Keys that have no default.
const REQUIRED: [&[&str]; 14] = [
    &["name"],
    &["source"],
    &["source", "type"],
    &["source", "url"],
    &["source", "tables"],
    &["sinks"],
    &["sinks", "warehouse", "type"],
    &["sinks", "warehouse", "path"],
    &["sinks", "lake", "type"],
    &["sinks", "lake", "url"],
    &["sinks", "events", "type"],
    &["sinks", "events", "brokers"],
    &["sinks", "nothing", "type"],
    &["sinks", "nothing", "path"],
];

fn is_required(entry: &Entry) -> bool {
    REQUIRED.iter().any(|path| entry.path == *path)
}

#[test]
fn it_is_valid() {
    for text in [text(), mysql()] {
        connectors(&read(&text).expect("the engine takes it")).expect("the connectors take it");
    }
}

/// What is known is asked of the program itself, by a key that nobody knows.
#[test]
fn it_has_every_key_that_is_known() {
    assert!(ask(&text(), &[]) >= 60);
    assert!(ask(&mysql(), &["source"]) >= 8);
}

/// Compares the keys below `within` and says how many there are.
fn ask(text: &str, within: &[&str]) -> usize {
    let lines: Vec<_> = text.lines().collect();
    let entries = outline(text);
    let mut mappings: Vec<(Vec<String>, usize, usize)> = Vec::new();
    if within.is_empty() {
        mappings.push((Vec::new(), 0, 0));
    }
    for entry in entries.iter().filter(|entry| entry.is_mapping()) {
        if !within.iter().zip(&entry.path).all(|(a, b)| a == b) {
            continue;
        }
        mappings.push((entry.path.clone(), entry.line + 1, entry.indent + 2));
    }
    let mut asked = 0;
    for (path, line, indent) in mappings.iter().filter(|(path, ..)| *path != ["sinks"]) {
        let mut changed: Vec<String> = lines.iter().map(ToString::to_string).collect();
        changed.insert(*line, format!("{}zzz: 1", " ".repeat(*indent)));
        let said = refusal(&changed.join("\n"));
        assert!(said.contains("unknown key `zzz`"), "{path:?}: {said}");
        assert!(
            said.starts_with(&format!("cdc.yaml:{}: ", line + 1)),
            "{path:?}: {said}"
        );
        let (_, known) = said
            .rsplit_once("known keys here: ")
            .expect("the hint lists them");
        let mut known: Vec<_> = known.split(", ").collect();
        let mut given: Vec<_> = children(&entries, path)
            .iter()
            .map(|entry| entry.name())
            .collect();
        known.sort_unstable();
        given.sort_unstable();
        assert_eq!(given, known, "keys of {path:?}");
        asked += known.len();
    }
    asked
}

#[test]
fn every_optional_key_can_be_left_out() {
    leave_out(&text(), &[]);
    leave_out(&mysql(), &["source"]);
}

/// Leaves out each key below `within`, one after another.
fn leave_out(text: &str, within: &[&str]) {
    let lines: Vec<_> = text.lines().collect();
    for entry in outline(text) {
        if !within.iter().zip(&entry.path).all(|(a, b)| a == b) {
            continue;
        }
        let mut changed: Vec<String> = lines.iter().map(ToString::to_string).collect();
        changed.drain(entry.line..entry.end);
        let outcome = read(&changed.join("\n")).and_then(|config| connectors(&config));
        let required = is_required(&entry);
        assert_eq!(outcome.is_err(), required, "{:?}: {outcome:?}", entry.path);
        let says_so =
            entry.comment.ends_with("Required.") || entry.comment.contains("Required, at");
        assert_eq!(says_so, required, "the comment of {:?}", entry.path);
    }
}

/// The reference without all that has a default.
fn bare(text: &str) -> Config {
    let mut lines: Vec<_> = text.lines().map(Some).collect();
    for entry in outline(text) {
        let leads_to_required = |path: &&[&str]| {
            path.len() >= entry.path.len() && path.iter().zip(&entry.path).all(|(a, b)| a == b)
        };
        if !REQUIRED.iter().any(leads_to_required) {
            lines[entry.line..entry.end].fill(None);
        }
    }
    let lines: Vec<_> = lines.into_iter().flatten().collect();
    read(&lines.join("\n")).expect("nothing more is required")
}

#[test]
fn every_value_is_the_default() {
    let bare_mysql = bare(&mysql());
    let (full, bare) = (read(&text()).expect("valid"), bare(&text()));
    // The whole of what the engine reads, by its own debug output: no field can be forgotten.
    let engine = |mut config: Config| {
        config.sinks.clear();
        let section = format!("{:?}", config.source.section);
        format!("{config:?}").replace(&section, "")
    };
    assert_eq!(engine(full.clone()), engine(bare.clone()));
    for (full, bare) in full.sinks.iter().zip(&bare.sinks) {
        assert_eq!(full.name, bare.name);
        assert_eq!(full.delivery, bare.delivery);
        assert!(bare.section.keys().len() == 1, "{bare:?}");
    }
    same::<cdc_warehouse::WarehouseConfig>(&full, &bare, "warehouse");
    same::<cdc_lake::LakeConfig>(&full, &bare, "lake");
    same::<cdc_kafka::KafkaConfig>(&full, &bare, "events");
    same::<cdc_blackhole::BlackholeConfig>(&full, &bare, "nothing");
    let section =
        |config: &Config| -> MysqlConfig { config.source.section.parse().expect("valid") };
    let of_mysql = read(&mysql()).expect("valid");
    assert!(section(&of_mysql) == section(&bare_mysql));
    let full: PostgresConfig = full.source.section.parse().expect("valid");
    let bare: PostgresConfig = bare.source.section.parse().expect("valid");
    // A new key makes this incomplete, so that it cannot be forgotten.
    let PostgresConfig {
        url: _,
        tables: _,
        columns,
        rows,
        append_only,
        slot,
        publication,
        manage_slot,
        manage_publication,
        streaming,
        binary,
        failover,
        types,
        debezium_offset,
        messages,
        heartbeat_seconds,
    } = full;
    assert_eq!(columns, bare.columns);
    assert_eq!(rows, bare.rows);
    assert_eq!(append_only, bare.append_only);
    assert_eq!(slot, bare.slot);
    assert_eq!(publication, bare.publication);
    assert_eq!(manage_slot, bare.manage_slot);
    assert_eq!(manage_publication, bare.manage_publication);
    assert_eq!(streaming, bare.streaming);
    assert_eq!(binary, bare.binary);
    assert_eq!(failover, bare.failover);
    assert_eq!(types, bare.types);
    assert_eq!(debezium_offset, bare.debezium_offset);
    assert_eq!(messages, bare.messages);
    assert_eq!(heartbeat_seconds, bare.heartbeat_seconds);
}

fn same<T>(full: &Config, bare: &Config, sink: &str)
where
    T: DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let parse = |config: &Config| -> T {
        let sink = config.sink(sink).expect("it is there");
        sink.section.parse().expect("valid")
    };
    assert_eq!(parse(full), parse(bare));
}

/// A linger that the file leaves to the connector is told in a comment.
#[test]
fn lingers_in_comments_are_true() {
    let config = read(&text()).expect("valid");
    for (sink, said) in [
        ("warehouse", "100ms here"),
        ("lake", "linger is 5s by default"),
        ("events", "linger is 2ms by default"),
    ] {
        assert!(text().contains(said));
        let linger = said
            .split(' ')
            .find_map(|word| cdc::config::units::parse_duration(word).ok());
        let sink = config.sink(sink).expect("it is there");
        let parts = cdc::registry::sink(sink, &config.name).expect("valid");
        assert_eq!(Some(parts.linger), linger);
    }
}
