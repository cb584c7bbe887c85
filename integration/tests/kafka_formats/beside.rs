//! Debezium's engines and ours on one database, with the same settings in the words of each, several at once.
//!
//! Invariant: all have read the existing rows before the first change, and all changes at the end.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use cdc_integration::kafka::debezium::{Debezium, Event};
use cdc_integration::kafka::registry::Registry;
use cdc_integration::kafka::{self, Consumed, consume};
use cdc_integration::postgres::Wanted;
use cdc_integration::scene::Scene;
use cdc_integration::server::Server;
use cdc_integration::{eventually, free_port};

const LIMIT: Duration = Duration::from_secs(240);

/// What is the same for all.
pub(crate) struct Wishes<'a> {
    /// SQL in schema `shop` before any is started.
    pub(crate) schema: &'a str,
    /// Statements after all have read the existing rows.
    pub(crate) changes: &'a [&'a str],
    pub(crate) pairs: &'a [Pair<'a>],
    /// The engines' program in Java, and other programs whose jars it needs.
    pub(crate) program: &'a str,
    pub(crate) jars: &'a [&'a str],
}

/// A connector of Debezium's and a sink of ours.
#[derive(Clone, Copy)]
pub(crate) struct Pair<'a> {
    /// What the names of their topics begin with; no other test's do.
    pub(crate) prefix: &'a str,
    /// Debezium's settings.
    pub(crate) theirs: &'a [(&'a str, &'a str)],
    /// The sink's, as YAML.
    pub(crate) ours: &'a str,
}

/// The engines' program, where records are JSON.
pub(crate) const ENGINES: &str = "kafka_debezium/Engines.java";

/// What all have written.
pub(crate) struct Outcome {
    pub(crate) theirs: BTreeMap<String, Vec<Event>>,
    pub(crate) brokers: String,
    pub(crate) scene: Scene,
}

impl Outcome {
    /// Our records in a topic.
    pub(crate) fn ours(&self, topic: &str) -> Vec<Consumed> {
        consume(&self.brokers, topic)
            .expect("the broker answers")
            .unwrap_or_default()
    }
}

/// Runs all.
pub(crate) async fn run(wishes: Wishes<'_>, registry: Option<&Registry>) -> Outcome {
    let brokers = kafka::shared();
    let schema = format!(
        "{} CREATE TABLE shop.zlast (id int PRIMARY KEY); INSERT INTO shop.zlast VALUES (0);",
        wishes.schema
    );
    let mut scene = Scene::new(Wanted::version(18), &schema).await;
    let debezium = debezium(&wishes, scene.server.port());
    let registry = registry.map_or_else(String::new, |registry| {
        format!("    schema_registry:\n      url: {}\n", registry.url())
    });
    let sinks = wishes.pairs.iter().map(|pair| {
        format!(
            "  {0}:\n    type: kafka\n    brokers: {brokers}\n    topic_prefix: {0}\n{1}{registry}",
            pair.prefix, pair.ours
        )
    });
    // Names of topics of its own are the sinks'.
    scene.daemon.configure(&format!(
        "name: formats\ndata_dir: ./data\nsource:\n  type: postgres\n  url: {}\n  tables: [\"shop.*\"]\n\
         sinks:\n{}admin:\n  listen: 127.0.0.1:{}\n",
        scene.server.url("postgres", "postgres"),
        sinks.collect::<String>(),
        free_port()
    ));
    scene.daemon.start_streaming().await;
    let reached = |wanted: usize| {
        let seen = debezium.events();
        for pair in wishes.pairs {
            let last = format!("{}.shop.zlast", pair.prefix);
            if seen.iter().filter(|it| it.topic == last).count() < wanted {
                let log = debezium.log();
                let end = &log[log.len().saturating_sub(3000)..];
                return Err(format!("{last} of {} records\n{end}", seen.len()));
            }
        }
        Ok(())
    };
    eventually("Debezium has read the existing rows", LIMIT, || async {
        reached(1)?;
        let slots =
            "SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'debezium%' AND active";
        let active = scene.server.value(slots).await;
        match active == Some(wishes.pairs.len().to_string()) {
            true => Ok(()),
            false => Err(format!("slots that are active: {active:?}")),
        }
    })
    .await;
    let end = "INSERT INTO shop.zlast VALUES (1)";
    for statement in wishes.changes.iter().chain([&end]) {
        scene.server.execute(statement).await;
    }
    scene.daemon.caught_up(LIMIT).await;
    eventually("Debezium has read the changes", LIMIT, || async {
        reached(2)
    })
    .await;
    let mut theirs: BTreeMap<String, Vec<Event>> = BTreeMap::new();
    for event in debezium.events() {
        theirs.entry(event.topic.clone()).or_default().push(event);
    }
    Outcome {
        theirs,
        brokers,
        scene,
    }
}

/// Starts an engine for each pair.
fn debezium(wishes: &Wishes<'_>, port: u16) -> Debezium {
    let mut settings = Vec::new();
    for (number, pair) in wishes.pairs.iter().enumerate() {
        let own = [
            ("name", pair.prefix.to_owned()),
            (
                "connector.class",
                "io.debezium.connector.postgresql.PostgresConnector".to_owned(),
            ),
            (
                "offset.storage",
                "org.apache.kafka.connect.storage.MemoryOffsetBackingStore".to_owned(),
            ),
            ("offset.flush.interval.ms", "0".to_owned()),
            ("database.hostname", "127.0.0.1".to_owned()),
            ("database.port", port.to_string()),
            ("database.user", "postgres".to_owned()),
            ("database.password", "x".to_owned()),
            ("database.dbname", "postgres".to_owned()),
            ("topic.prefix", pair.prefix.to_owned()),
            ("schema.include.list", "shop".to_owned()),
            ("plugin.name", "pgoutput".to_owned()),
            ("slot.name", format!("debezium{number}")),
            ("publication.name", format!("debezium{number}")),
        ];
        let told = pair
            .theirs
            .iter()
            .map(|(key, value)| (*key, (*value).to_owned()));
        let all = own.into_iter().chain(told);
        settings.extend(all.map(|(key, value)| (format!("{number}.{key}"), value)));
    }
    let settings: Vec<(&str, &str)> = settings
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    let program = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(wishes.program);
    Debezium::start_with(&program, wishes.jars, &settings)
}

/// An envelope without what differs by nature: versions, the times at which records were made, and of existing rows
/// and truncates their place.
pub(crate) fn masked(mut value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    let Some(envelope) = value.as_object_mut() else {
        return value;
    };
    if !envelope.contains_key("source") {
        return value;
    }
    let operation = envelope.get("op").and_then(Value::as_str);
    let (existing, emptied) = (operation == Some("r"), operation == Some("t"));
    if emptied {
        envelope.insert("transaction".to_owned(), Value::Null);
    }
    for made in ["ts_ms", "ts_us", "ts_ns"] {
        envelope.insert(made.to_owned(), Value::Null);
    }
    let source = envelope.get_mut("source").and_then(Value::as_object_mut);
    let source = source.expect("a structure");
    source.insert("version".to_owned(), Value::Null);
    if existing {
        for place in [
            "ts_ms", "ts_us", "ts_ns", "snapshot", "sequence", "txId", "lsn",
        ] {
            source.insert(place.to_owned(), Value::Null);
        }
    } else if emptied {
        // Of a truncate only the time is known.
        for place in ["sequence", "txId", "lsn"] {
            source.insert(place.to_owned(), Value::Null);
        }
    } else if let Some(sequence) = source.get_mut("sequence") {
        let own = sequence.as_str().and_then(|it| it.split_once(','));
        *sequence = own.map_or(Value::Null, |(_, own)| Value::from(own));
    }
    value
}
