//! Logical messages, Debezium's engine and ours on one database: keys and values of `<prefix>.message` as text, over a
//! crash of ours.

use std::path::Path;
use std::time::Duration;

use cdc_integration::daemon::Daemon;
use cdc_integration::kafka::debezium::Debezium;
use cdc_integration::kafka::{Kafka, consume};
use cdc_integration::postgres::Wanted;
use cdc_integration::scene::{LIMIT, Scene};
use cdc_integration::server::Server as _;
use cdc_integration::{eventually, free_port};

const TOPIC: &str = "shop.message";

/// Before and after the crash. Of two prefixes that were not asked for, one is our own.
const STATEMENTS: [&[&str]; 2] = [
    &[
        "INSERT INTO shop.t VALUES (1, 'first')",
        "BEGIN; INSERT INTO shop.t VALUES (2, 'a'); SELECT pg_logical_emit_message(true, 'app.events', 'within \"é'); \
         INSERT INTO shop.t VALUES (3, 'b'); SELECT pg_logical_emit_message(true, 'app', '\\x00ff80'::bytea); COMMIT",
        "SELECT pg_logical_emit_message(false, 'app.events', 'outside')",
        "SELECT pg_logical_emit_message(false, 'other', 'not asked for')",
        "SELECT pg_logical_emit_message(true, 'cdc.heartbeat', '')",
        "BEGIN; SELECT pg_logical_emit_message(true, 'app.events', 'taken back'); \
         SELECT pg_logical_emit_message(false, 'app.events', 'counts all the same'); ROLLBACK",
    ],
    &[
        "SELECT pg_logical_emit_message(false, 'app.events', 'after the crash')",
        "BEGIN; SELECT pg_logical_emit_message(true, 'app.events', ''); COMMIT",
        "INSERT INTO shop.t VALUES (4, 'c')",
        "SELECT pg_logical_emit_message(true, 'app.last', 'end')",
    ],
];

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_those_of_debezium() {
    for (format, schemas) in [("json", "false"), ("json_with_schema", "true")] {
        compare(format, schemas).await;
    }
}

async fn compare(format: &str, schemas: &str) {
    let broker = Kafka::start().await;
    let scene = Scene::new(
        Wanted::version(18),
        "CREATE TABLE shop.t (id int PRIMARY KEY, v text)",
    )
    .await;
    let port = scene.server.port().to_string();
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kafka_debezium/Engine.java");
    let debezium = Debezium::start(
        &program,
        &[
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
            ("plugin.name", "pgoutput"),
            ("slot.name", "debezium"),
            ("topic.prefix", "shop"),
            ("message.prefix.include.list", "app.*"),
            ("provide.transaction.metadata", "true"),
            ("key.converter.schemas.enable", schemas),
            ("value.converter.schemas.enable", schemas),
            ("converter.schemas.enable", schemas),
        ],
    );
    let url = scene.server.url("postgres", "postgres");
    let mut daemon = Daemon::with_config(&format!(
        "name: shop\ndata_dir: ./data\nsource:\n  type: postgres\n  url: {url}\n  tables: [\"shop.*\"]\n  \
         messages: [\"app*\"]\nsinks:\n  events:\n    type: kafka\n    brokers: {}\n    format: {format}\n    \
         transaction_metadata: true\n  lake:\n    type: parquet\n    url: ./lake\n\
         admin:\n  listen: 127.0.0.1:{}\n",
        broker.brokers(),
        free_port()
    ));
    daemon.start_streaming().await;
    eventually("Debezium streams", Duration::from_secs(240), || async {
        let streams = "SELECT active FROM pg_replication_slots WHERE slot_name = 'debezium'";
        match scene.server.value(streams).await.as_deref() {
            Some("t") => Ok(()),
            other => Err(format!("{other:?}\n{}", debezium.log())),
        }
    })
    .await;
    for (half, statements) in STATEMENTS.iter().enumerate() {
        for statement in *statements {
            scene.execute(statement).await;
        }
        if half == 0 {
            daemon.kill();
            daemon.start_streaming().await;
        }
    }
    daemon.caught_up(LIMIT).await;
    let theirs = eventually(
        "Debezium has sent all",
        Duration::from_secs(240),
        || async {
            let mut events = debezium.events();
            events.retain(|event| event.topic == TOPIC);
            let last = |event: &_| -> bool {
                let event: &cdc_integration::kafka::debezium::Event = event;
                event
                    .key
                    .as_ref()
                    .is_some_and(|key| key.contains("app.last"))
            };
            match events.iter().any(last) {
                true => Ok(events),
                false => Err(format!("{} messages", events.len())),
            }
        },
    )
    .await;
    let theirs: Vec<_> = theirs
        .iter()
        .map(|event| (event.key.clone(), event.value.as_deref().map(masked)))
        .collect();
    let ours: Vec<_> = consume(&broker.brokers(), TOPIC)
        .expect("the broker answers")
        .expect("the topic is there")
        .iter()
        .map(|record| (record.key.clone(), record.value.as_deref().map(masked)))
        .collect();
    assert_eq!(theirs.len(), 7, "{theirs:?}");
    assert_eq!(ours, theirs, "{format}");
    assert!(daemon.terminate().await.success());
    daemon.assert_log_clean();
}

/// A value without what differs by nature: who made it and when, and of the sequence which commit was seen before.
fn masked(value: &str) -> String {
    let mut text = value.to_owned();
    for (from, to) in [
        ("\"version\":\"", "\""),
        ("\"op\":\"m\",\"ts_ms\":", ","),
        ("\"sequence\":\"[", ","),
    ] {
        let start = text.rfind(from).expect("it has all of these") + from.len();
        let length = text[start..].find(to).expect("it ends");
        text.replace_range(start..start + length, "*");
    }
    text
}
