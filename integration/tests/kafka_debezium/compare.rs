//! Both engines on one server: existing rows, then changes, then the records side by side.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use cdc_integration::kafka::debezium::{Debezium, Event};
use cdc_integration::kafka::{Consumed, Kafka, connect, consume};
use cdc_integration::scene::Scene;
use cdc_integration::server::Server;
use cdc_integration::{eventually, free_port};

/// A type, and values of it as SQL.
pub type Type = (&'static str, &'static [&'static str]);

/// What is compared.
pub struct Case {
    pub types: &'static [Type],
    pub changes: Vec<String>,
    /// The source's type and URL in our configuration.
    pub source: (&'static str, String),
    /// The connector's settings.
    pub connector: Vec<(&'static str, String)>,
    /// What differs, and why.
    pub differ: &'static [(&'static str, &'static str)],
    /// What differs where records carry their schema, and why.
    pub schemas_differ: &'static [(&'static str, &'static str)],
}

/// How both are told to write.
pub struct Modes<'a> {
    pub format: &'a str,
    pub theirs: &'a [(&'a str, &'a str)],
    pub ours: &'a str,
}

/// The table of a type.
pub fn table(number: usize) -> String {
    format!("t{number:02}")
}

type Record = (Option<String>, Option<String>);

/// # Panics
/// With the differences.
pub async fn compare<S: Server + Sync>(mut scene: Scene<S>, case: &Case, modes: &Modes<'_>) {
    let broker = Kafka::start().await;
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kafka_debezium/Engine.java");
    let schemas = if modes.format == "json" {
        "false"
    } else {
        "true"
    };
    let mut settings = vec![
        ("name", "engine"),
        (
            "offset.storage",
            "org.apache.kafka.connect.storage.MemoryOffsetBackingStore",
        ),
        ("offset.flush.interval.ms", "0"),
        ("database.hostname", "127.0.0.1"),
        ("topic.prefix", "shop"),
        ("key.converter.schemas.enable", schemas),
        ("value.converter.schemas.enable", schemas),
        ("converter.schemas.enable", schemas),
    ];
    settings.extend(
        case.connector
            .iter()
            .map(|(key, value)| (*key, value.as_str())),
    );
    settings.extend_from_slice(modes.theirs);
    let debezium = Debezium::start(&program, &settings);
    scene.daemon.configure(&format!(
        "name: shop\ndata_dir: ./data\nsource:\n  type: {}\n  url: {}\n  tables: [\"shop.*\"]\n\
         sinks:\n  events:\n    type: kafka\n    brokers: {}\n    format: {}\n{}\
         admin:\n  listen: 127.0.0.1:{}\n",
        case.source.0,
        case.source.1,
        broker.brokers(),
        modes.format,
        modes.ours,
        free_port()
    ));
    scene.daemon.start_streaming().await;
    let rows: usize = case.types.iter().map(|(_, values)| values.len()).sum();
    wait_for(&debezium, "the existing rows", 1, rows).await;
    for statement in &case.changes {
        scene.server.execute(statement).await;
    }
    scene.daemon.caught_up(Duration::from_secs(180)).await;
    wait_for(&debezium, "the changes", 2, rows).await;
    let mut theirs: BTreeMap<String, Vec<Record>> = BTreeMap::new();
    // A tombstone without a key says nothing; we write none.
    let says = |event: &Event| event.key.is_some() || event.value.is_some();
    for event in debezium.events().into_iter().filter(says) {
        let record = (event.key, event.value.as_deref().map(masked));
        theirs.entry(event.topic).or_default().push(record);
    }
    drop(debezium);
    let mut differences = String::new();
    let mut written = Vec::new();
    for (topic, theirs) in &theirs {
        let ours: Vec<Consumed> = consume(&broker.brokers(), topic)
            .expect("the broker answers")
            .unwrap_or_default();
        written.extend(ours.iter().flat_map(|record| {
            let texts = [record.key.clone(), record.value.clone()];
            texts
                .into_iter()
                .flatten()
                .map(|text| (topic.clone(), text))
        }));
        let ours: Vec<_> = ours
            .into_iter()
            .map(|record| (record.key, record.value.as_deref().map(masked)))
            .collect();
        let name = name(case, topic);
        let among = |list: &[(&str, &str)]| list.iter().any(|(differs, _)| *differs == name);
        let known = among(case.differ) || schemas == "true" && among(case.schemas_differ);
        let equal = ours == *theirs;
        if equal == known {
            differences.push_str(&format!(
                "{name}: {}\n",
                if known { "is equal" } else { "differs" }
            ));
            for index in 0..ours.len().max(theirs.len()) {
                let (a, b) = (ours.get(index), theirs.get(index));
                if a != b {
                    differences.push_str(&format!("  ours   {a:?}\n  theirs {b:?}\n"));
                }
            }
        }
    }
    assert!(
        theirs.len() >= case.types.len(),
        "only {} topics",
        theirs.len()
    );
    assert!(differences.is_empty(), "{differences}");
    // Connect's own converter reads what we wrote, and would write the same: without a schema its structures are maps,
    // whose members have no order.
    let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kafka_debezium/Converter.java");
    let again = connect::converted(&program, schemas == "true", &written);
    for ((topic, text), again) in written.iter().zip(&again) {
        let same = match schemas {
            "true" => read(case, topic, text) == *again,
            _ => value(text) == value(again),
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

/// The type whose table has this topic, or the topic.
fn name<'a>(case: &Case, topic: &'a str) -> &'a str {
    let number = topic.strip_prefix("shop.shop.t");
    let number = number.and_then(|it| it.parse::<usize>().ok());
    number.map_or(topic, |number| case.types[number].0)
}

async fn wait_for(debezium: &Debezium, what: &str, last: usize, records: usize) {
    let limit = Duration::from_secs(240);
    eventually(&format!("Debezium has read {what}"), limit, || async {
        let seen = debezium.events();
        let found = seen
            .iter()
            .filter(|it| it.topic == "shop.shop.last")
            .count();
        if found >= last && seen.len() >= records {
            return Ok(());
        }
        Err(format!("{} records\n{}", seen.len(), tail(&debezium.log())))
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
