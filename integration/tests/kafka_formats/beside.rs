//! Debezium's engine and ours on one database, with the same settings in the words of each.
//!
//! Invariant: both have read the existing rows before the first change, and all changes at the end.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use cdc_integration::kafka::debezium::{Debezium, Event};
use cdc_integration::kafka::registry::Registry;
use cdc_integration::kafka::{Consumed, Kafka, consume};
use cdc_integration::postgres::Wanted;
use cdc_integration::scene::Scene;
use cdc_integration::server::Server;
use cdc_integration::{eventually, free_port};

const LIMIT: Duration = Duration::from_secs(240);

/// What is the same for both.
pub(crate) struct Wishes<'a> {
    /// SQL in schema `shop` before either is started.
    pub(crate) schema: &'a str,
    /// Statements after both have read the existing rows.
    pub(crate) changes: &'a [&'a str],
    /// Debezium's settings.
    pub(crate) theirs: &'a [(&'a str, &'a str)],
    /// The sink's, as YAML.
    pub(crate) ours: &'a str,
    /// The engine's program in Java, and other programs whose jars it needs.
    pub(crate) program: &'a str,
    pub(crate) jars: &'a [&'a str],
}

/// What both have written.
pub(crate) struct Outcome {
    pub(crate) theirs: BTreeMap<String, Vec<Event>>,
    pub(crate) brokers: String,
    pub(crate) scene: Scene,
    _broker: Kafka,
}

impl Outcome {
    /// Our records in a topic.
    pub(crate) fn ours(&self, topic: &str) -> Vec<Consumed> {
        consume(&self.brokers, topic)
            .expect("the broker answers")
            .unwrap_or_default()
    }
}

/// One at a time: each is several programs in Java.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Runs both.
pub(crate) async fn run(wishes: Wishes<'_>, registry: Option<&Registry>) -> Outcome {
    let _turn = TURN.lock().await;
    let broker = Kafka::start().await;
    let schema = format!(
        "{} CREATE TABLE shop.zlast (id int PRIMARY KEY); INSERT INTO shop.zlast VALUES (0);",
        wishes.schema
    );
    let mut scene = Scene::new(Wanted::version(18), &schema).await;
    let port = scene.server.port().to_string();
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut settings = vec![
        ("name", "engine"),
        (
            "connector.class",
            "io.debezium.connector.postgresql.PostgresConnector",
        ),
        (
            "offset.storage",
            "org.apache.kafka.connect.storage.MemoryOffsetBackingStore",
        ),
        ("offset.flush.interval.ms", "0"),
        ("database.hostname", "127.0.0.1"),
        ("database.port", &port),
        ("database.user", "postgres"),
        ("database.password", "x"),
        ("database.dbname", "postgres"),
        ("topic.prefix", "shop"),
        ("schema.include.list", "shop"),
        ("plugin.name", "pgoutput"),
        ("slot.name", "debezium"),
        ("publication.name", "debezium"),
    ];
    settings.extend_from_slice(wishes.theirs);
    let debezium = Debezium::start_with(&tests.join(wishes.program), wishes.jars, &settings);
    let registry = registry.map_or_else(String::new, |registry| {
        format!("    schema_registry:\n      url: {}\n", registry.url())
    });
    let config = format!(
        "name: shop\ndata_dir: ./data\nsource:\n  type: postgres\n  url: {}\n  tables: [\"shop.*\"]\n\
         sinks:\n  events:\n    type: kafka\n    brokers: {}\n{}{registry}admin:\n  listen: 127.0.0.1:{}\n",
        scene.server.url("postgres", "postgres"),
        broker.brokers(),
        wishes.ours,
        free_port()
    );
    scene.daemon.configure(&config);
    scene.daemon.start_streaming().await;
    let reached = |wanted: usize| {
        let seen = debezium.events();
        let last = seen.iter().filter(|it| it.topic == "shop.shop.zlast");
        let last = last.count();
        let log = debezium.log();
        let end = &log[log.len().saturating_sub(3000)..];
        if last >= wanted {
            Ok(())
        } else {
            Err(format!("{} records\n{end}", seen.len()))
        }
    };
    eventually("Debezium has read the existing rows", LIMIT, || async {
        reached(1)?;
        let slots = "SELECT active FROM pg_replication_slots WHERE slot_name = 'debezium'";
        match scene.server.value(slots).await.as_deref() {
            Some("t") => Ok(()),
            other => Err(format!("its slot is active: {other:?}")),
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
        brokers: broker.brokers(),
        scene,
        _broker: broker,
    }
}

/// An envelope without what differs by nature: versions, the times at which records were made, and of existing rows
/// their place.
pub(crate) fn masked(mut value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    let Some(envelope) = value.as_object_mut() else {
        return value;
    };
    if !envelope.contains_key("source") {
        return value;
    }
    let existing = envelope.get("op").and_then(Value::as_str) == Some("r");
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
    } else if let Some(sequence) = source.get_mut("sequence") {
        let own = sequence.as_str().and_then(|it| it.split_once(','));
        *sequence = own.map_or(Value::Null, |(_, own)| Value::from(own));
    }
    value
}
