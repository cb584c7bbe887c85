//! Both engines on one server: existing rows, then changes, then the records side by side, in several modes at once.
//!
//! Invariant: a difference that is not listed fails, and so does a listed one that is none.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use cdc_integration::kafka::debezium::{Debezium, Event};
use cdc_integration::kafka::{self, connect, consume};
use cdc_integration::scene::Scene;
use cdc_integration::server::Server;
use cdc_integration::{eventually, free_port};

/// How long some hundred tables may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(400);

/// A type, and values of it as SQL.
pub(crate) type Type = (&'static str, &'static [&'static str]);

/// What is compared.
pub(crate) struct Case {
    pub(crate) types: &'static [Type],
    pub(crate) changes: Vec<String>,
    /// The source's type and URL in our configuration.
    pub(crate) source: (&'static str, String),
    /// The connector's settings.
    pub(crate) connector: Vec<(&'static str, String)>,
    /// Those that two connectors may not share; each has the connector's number put behind it.
    pub(crate) own: &'static [(&'static str, &'static str)],
    /// What differs, and why.
    pub(crate) differ: &'static [(&'static str, &'static str)],
    /// What differs where records carry their schema, and why.
    pub(crate) schemas_differ: &'static [(&'static str, &'static str)],
}

/// How both are told to write.
pub(crate) struct Modes {
    /// What its topics' names begin with.
    pub(crate) prefix: &'static str,
    pub(crate) format: &'static str,
    pub(crate) theirs: &'static [(&'static str, &'static str)],
    pub(crate) ours: &'static str,
}

impl Modes {
    fn schemas(&self) -> bool {
        self.format != "json"
    }
}

/// The table of a type.
pub(crate) fn table(number: usize) -> String {
    format!("t{number:02}")
}

/// Key and value.
type Record = (Option<String>, Option<String>);

/// # Panics
/// With the differences.
pub(crate) async fn compare<S: Server + Sync>(mut scene: Scene<S>, case: &Case, modes: &[Modes]) {
    let brokers = kafka::shared();
    let debezium = debezium(case, modes);
    let sinks: String = modes
        .iter()
        .map(|it| {
            format!(
                "  {0}:\n    type: kafka\n    brokers: {brokers}\n    topic_prefix: {0}\n    format: {1}\n{2}",
                it.prefix, it.format, it.ours
            )
        })
        .collect();
    scene.daemon.configure(&format!(
        "name: {0}\ndata_dir: ./data\nsource:\n  type: {0}\n  url: {1}\n  tables: [\"shop.*\"]\nsinks:\n{sinks}\
         admin:\n  listen: 127.0.0.1:{2}\n",
        case.source.0,
        case.source.1,
        free_port()
    ));
    scene.daemon.start();
    scene.daemon.caught_up(LIMIT).await;
    let rows: usize = case.types.iter().map(|(_, values)| values.len()).sum();
    wait_for(&debezium, modes, "the existing rows", (1, rows)).await;
    for statement in &case.changes {
        scene.server.execute(statement).await;
    }
    scene.daemon.caught_up(LIMIT).await;
    wait_for(&debezium, modes, "the changes", (2, rows)).await;
    let mut theirs: BTreeMap<String, Vec<Record>> = BTreeMap::new();
    // A tombstone without a key says nothing; we write none.
    let says = |event: &Event| event.key.is_some() || event.value.is_some();
    for event in debezium.events().into_iter().filter(says) {
        let record = (event.key, event.value.as_deref().map(masked));
        theirs.entry(event.topic).or_default().push(record);
    }
    drop(debezium);
    let mut differences = String::new();
    // What we wrote, without schemas and with them.
    let mut written: [Vec<(String, String)>; 2] = Default::default();
    for mode in modes {
        let own = format!("{}.shop.", mode.prefix);
        let topics = theirs.iter().filter(|(topic, _)| topic.starts_with(&own));
        let mut compared = 0;
        for (topic, theirs) in topics {
            let ours = consume(&brokers, topic)
                .expect("the broker answers")
                .unwrap_or_default();
            let texts = ours.iter().flat_map(|it| [&it.key, &it.value]).flatten();
            let texts = texts.map(|text| (topic.clone(), text.clone()));
            written[usize::from(mode.schemas())].extend(texts);
            let ours: Vec<Record> = ours
                .into_iter()
                .map(|record| (record.key, record.value.as_deref().map(masked)))
                .collect();
            compared += 1;
            differences.push_str(&difference(case, mode, topic, &ours, theirs));
        }
        assert!(
            compared >= case.types.len(),
            "{}: only {compared} topics",
            mode.prefix
        );
    }
    assert!(differences.is_empty(), "{differences}");
    let [plain, with_schemas] = written;
    for (schemas, written) in [(false, plain), (true, with_schemas)] {
        converts(case, schemas, &written);
    }
}

/// Starts an engine for each mode.
fn debezium(case: &Case, modes: &[Modes]) -> Debezium {
    let mut settings = Vec::new();
    for (number, mode) in modes.iter().enumerate() {
        let mut own = vec![
            ("name", mode.prefix.to_owned()),
            (
                "offset.storage",
                "org.apache.kafka.connect.storage.MemoryOffsetBackingStore".to_owned(),
            ),
            ("offset.flush.interval.ms", "0".to_owned()),
            ("database.hostname", "127.0.0.1".to_owned()),
            ("topic.prefix", mode.prefix.to_owned()),
        ];
        for key in [
            "key.converter.schemas.enable",
            "value.converter.schemas.enable",
            "converter.schemas.enable",
        ] {
            own.push((key, mode.schemas().to_string()));
        }
        own.extend_from_slice(&case.connector);
        let numbered = |(key, value): &(&'static str, &str)| (*key, format!("{value}{number}"));
        own.extend(case.own.iter().map(numbered));
        let told = |(key, value): &(&'static str, &str)| (*key, (*value).to_owned());
        own.extend(mode.theirs.iter().map(told));
        settings.extend(
            own.into_iter()
                .map(|(key, value)| (format!("{number}.{key}"), value)),
        );
    }
    let settings: Vec<(&str, &str)> = settings
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kafka_debezium/Engines.java");
    Debezium::start(&program, &settings)
}

/// What is wrong with a topic, in words; nothing where all is well.
fn difference(
    case: &Case,
    mode: &Modes,
    topic: &str,
    ours: &[Record],
    theirs: &[Record],
) -> String {
    let name = name(case, topic);
    let among = |list: &[(&str, &str)]| list.iter().any(|(differs, _)| *differs == name);
    let known = among(case.differ) || mode.schemas() && among(case.schemas_differ);
    if (ours == theirs) != known {
        return String::new();
    }
    let what = if known { "is equal" } else { "differs" };
    let mut text = format!("{topic} ({name}): {what}\n");
    for index in 0..ours.len().max(theirs.len()) {
        let (a, b) = (ours.get(index), theirs.get(index));
        if a != b {
            text.push_str(&format!("  ours   {a:?}\n  theirs {b:?}\n"));
        }
    }
    text
}

/// Connect's own converter reads what we wrote, and would write the same: without a schema its structures are maps,
/// whose members have no order.
fn converts(case: &Case, schemas: bool, written: &[(String, String)]) {
    let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kafka_debezium/Converter.java");
    let again = connect::converted(&program, schemas, written);
    for ((topic, text), again) in written.iter().zip(&again) {
        let same = match schemas {
            true => read(case, topic, text) == *again,
            false => value(text) == value(again),
        };
        assert!(
            same,
            "{topic}: JsonConverter reads something else\n  {text}\n  {again}"
        );
    }
    assert_eq!(written.len(), again.len(), "JsonConverter reads all");
}

/// What JsonConverter takes a record for: of floating numbers it reads what is no number, which is text, as 0.0. It
/// does so with Debezium's own records, too.
fn read(case: &Case, topic: &str, text: &str) -> String {
    let floating = ["real", "double precision"].contains(&name(case, topic));
    let words = ["\"NaN\"", "\"Infinity\"", "\"-Infinity\""];
    let words = words.iter().filter(|_| floating);
    words.fold(text.to_owned(), |text, word| text.replace(word, "0.0"))
}

/// The type whose table has this topic; of other tables the name.
fn name<'a>(case: &Case, topic: &'a str) -> &'a str {
    let table = topic.split_once('.').map_or(topic, |(_, table)| table);
    let number = table.strip_prefix("shop.t");
    let number = number.and_then(|it| it.parse::<usize>().ok());
    number.map_or(table, |number| case.types[number].0)
}

/// Waits until of each mode the last table has so many records, and all have so many at least.
async fn wait_for(
    debezium: &Debezium,
    modes: &[Modes],
    what: &str,
    (last, records): (usize, usize),
) {
    eventually(&format!("Debezium has read {what}"), LIMIT, || async {
        let seen = debezium.events();
        for mode in modes {
            let own = format!("{}.", mode.prefix);
            let topics = seen.iter().filter_map(|it| it.topic.strip_prefix(&own));
            let topics: Vec<&str> = topics.collect();
            let found = topics.iter().filter(|it| **it == "shop.last").count();
            if found < last || topics.len() < records {
                let log = tail(&debezium.log());
                return Err(format!("{own} {} records\n{log}", topics.len()));
            }
        }
        Ok(())
    })
    .await;
}

fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().rev().take(15).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

/// A value without what differs by nature.
fn masked(value: &str) -> String {
    let mut text = value.to_owned();
    let snapshot = text.contains("\"op\":\"r\"");
    mask(&mut text, "\"version\":\"", "\"");
    // The times at the end are those of the record's making.
    if let Some(at) = text.rfind(",\"ts_ms\":") {
        let end = if text.ends_with("}}") { "}}" } else { "}" };
        text.truncate(at);
        text.push_str(end);
    }
    if text.contains("\"connector\":\"mysql\"") {
        // What is known of the log's files, and of who wrote, is not in the change.
        for (from, to) in [
            ("\"server_id\":", ","),
            ("\"file\":", ","),
            ("\"pos\":", ","),
            ("\"row\":", ","),
            ("\"thread\":", ","),
        ] {
            mask_in_source(&mut text, from, to);
        }
    }
    if snapshot {
        for (from, to) in [
            ("\"ts_ms\":", ","),
            ("\"ts_us\":", ","),
            ("\"ts_ns\":", ","),
            ("\"snapshot\":", ","),
            ("\"sequence\":", "\"ts_us\""),
            ("\"txId\":", ","),
            ("\"lsn\":", ","),
        ] {
            mask_in_source(&mut text, from, to);
        }
    } else if text.contains("\"op\":\"t\"") {
        // Of a truncate only the time is known.
        mask_in_source(&mut text, "\"sequence\":", "\"ts_us\"");
        mask_in_source(&mut text, "\"txId\":", ",");
        mask_in_source(&mut text, "\"lsn\":", ",");
    } else {
        mask_in_source(&mut text, "\"sequence\":\"[", ",");
    }
    text
}

/// Replaces what stands between `from` and `to` in the payload's source block.
fn mask_in_source(text: &mut String, from: &str, to: &str) {
    let Some(start) = text.rfind("\"source\":{\"version\"") else {
        return;
    };
    let mut block = text.split_off(start);
    mask(&mut block, from, to);
    text.push_str(&block);
}

fn mask(text: &mut String, from: &str, to: &str) {
    let Some(start) = text.rfind(from).map(|at| at + from.len()) else {
        return;
    };
    let Some(length) = text[start..].find(to) else {
        return;
    };
    text.replace_range(start..start + length, "*");
}
