//! Moving over from Debezium: its connector stops, wherever it is, and ours goes on in the same topics. What a
//! consumer then has is what Debezium alone would have sent: no gap, no repeat, in the same order.

use std::path::Path;
use std::time::Duration;

use cdc_integration::daemon::Daemon;
use cdc_integration::kafka::debezium::{Debezium, Event};
use cdc_integration::kafka::{Kafka, consume, produce};
use cdc_integration::postgres::Wanted;
use cdc_integration::scene::{LIMIT, Scene};
use cdc_integration::server::Server;
use cdc_integration::{eventually, free_port};
use serde_json::Value;

/// How many places the connector is stopped at.
const STOPS: usize = 9;

const TABLES: [&str; 2] = ["shop.shop.a", "shop.shop.b"];

/// What counts of a record: its key, what happened, and the row before and after.
type Change = (Option<String>, Option<[Value; 3]>);

fn change(key: Option<&String>, value: Option<&String>) -> Change {
    let value = value.map(|text| {
        let value: Value = serde_json::from_str(text).expect("JSON");
        ["op", "before", "after"].map(|name| value[name].clone())
    });
    (key.cloned(), value)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_that_stopped_anywhere_is_gone_on_from() {
    let scene = Scene::new(
        Wanted::version(18),
        "CREATE TABLE shop.a (id int PRIMARY KEY, v text); CREATE TABLE shop.b (id int PRIMARY KEY, n int); \
         INSERT INTO shop.a SELECT i, 'existing' FROM generate_series(1, 5) i; INSERT INTO shop.b VALUES (0, 0)",
    )
    .await;
    let broker = Kafka::start().await;
    let port = scene.server.port().to_string();
    let settings = [
        ("name", "engine"),
        (
            "connector.class",
            "io.debezium.connector.postgresql.PostgresConnector",
        ),
        (
            "offset.storage",
            "org.apache.kafka.connect.storage.MemoryOffsetBackingStore",
        ),
        // Whatever it stops at below, its slot has not gone beyond.
        ("offset.flush.interval.ms", "3600000"),
        ("database.hostname", "127.0.0.1"),
        ("database.port", &port),
        ("database.user", "postgres"),
        ("database.password", "x"),
        ("database.dbname", "postgres"),
        ("topic.prefix", "shop"),
        ("schema.include.list", "shop"),
        ("plugin.name", "pgoutput"),
        ("slot.name", "debezium"),
        ("key.converter.schemas.enable", "false"),
        ("value.converter.schemas.enable", "false"),
        ("converter.schemas.enable", "false"),
    ];
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kafka_debezium/Engine.java");
    let debezium = Debezium::start(&program, &settings);
    eventually("Debezium streams", Duration::from_secs(240), || async {
        let streams = "SELECT active FROM pg_replication_slots WHERE slot_name = 'debezium'";
        match (
            debezium.events().len(),
            scene.server.value(streams).await.as_deref(),
        ) {
            (6.., Some("t")) => Ok(()),
            (events, _) => Err(format!("{events} records\n{}", debezium.log())),
        }
    })
    .await;
    // Its slot as it is wherever it stops below: not beyond what it has stored.
    for number in 0..STOPS {
        let copy = format!("SELECT pg_copy_logical_replication_slot('debezium', 'cut{number}')");
        scene.execute(&copy).await;
    }
    traffic(&scene).await;
    eventually(
        "Debezium has sent all",
        Duration::from_secs(240),
        || async {
            let events = debezium.events();
            let last = events
                .iter()
                .any(|it| it.key.as_deref() == Some(r#"{"id":9999}"#));
            if last {
                Ok(())
            } else {
                Err(format!("{} records", events.len()))
            }
        },
    )
    .await;
    let events = debezium.events();
    drop(debezium);
    eventually("its slot is free", LIMIT, || async {
        let active = "SELECT active FROM pg_replication_slots WHERE slot_name = 'debezium'";
        match scene.server.value(active).await.as_deref() {
            Some("f") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    // After its snapshot, in the middle of transactions, at the ends of some, and at the very end.
    let (rows, all) = (6, events.len());
    let stops: [usize; STOPS] = [
        rows,
        rows + 1,
        rows + 9,
        rows + 23,
        rows + 24,
        rows + 31,
        all - 7,
        all - 1,
        all,
    ];
    for stop in stops.into_iter().enumerate() {
        goes_on(&scene, &broker, &events, stop).await;
    }
}

/// Transactions over both tables, some of them side by side.
async fn traffic(scene: &Scene) {
    let (one, two) = (scene.server.session().await, scene.server.session().await);
    for round in 1..=8 {
        let id = round * 100;
        for (session, statement) in [
            (
                &one,
                format!(
                    "BEGIN; INSERT INTO shop.a SELECT i, 'one' FROM generate_series({id}, {id} + 3) i"
                ),
            ),
            (
                &two,
                format!(
                    "BEGIN; INSERT INTO shop.b VALUES ({id}, 1); INSERT INTO shop.a VALUES ({id} + 50, 'two')"
                ),
            ),
            (
                &one,
                format!(
                    "UPDATE shop.a SET v = 'again' WHERE id = {id}; INSERT INTO shop.b VALUES ({id} + 1, 1)"
                ),
            ),
            (
                &two,
                format!("UPDATE shop.b SET n = 2 WHERE id = {id}; COMMIT"),
            ),
            (
                &one,
                format!(
                    "UPDATE shop.a SET id = {id} + 60 WHERE id = {id} + 1; DELETE FROM shop.a WHERE id = {id} + 2; COMMIT"
                ),
            ),
            (&two, format!("INSERT INTO shop.b VALUES ({id} + 2, 3)")),
        ] {
            session
                .batch_execute(&statement)
                .await
                .expect("is executed");
        }
    }
    scene.execute("INSERT INTO shop.b VALUES (9999, 0)").await;
}

/// Debezium's first `stop` records are in topics; the daemon brings the rest.
async fn goes_on(scene: &Scene, broker: &Kafka, events: &[Event], (number, stop): (usize, usize)) {
    let name = format!("cut{number}");
    let sent: Vec<_> = events[..stop]
        .iter()
        .map(|event| {
            let topic = event.topic.replacen("shop.", &format!("{name}."), 1);
            (topic, event.key.as_deref(), event.value.as_deref())
        })
        .collect();
    produce(&broker.brokers(), &sent);
    let mut daemon = Daemon::with_config(&format!(
        "name: {name}\ndata_dir: ./data\nsource:\n  type: postgres\n  url: {}\n  tables: [\"shop.*\"]\n  \
         slot: {name}\n  publication: dbz_publication\n  manage_slot: given\n  manage_publication: given\n  \
         debezium_offset: {}\n\
         sinks:\n  events:\n    type: kafka\n    brokers: {}\n    snapshot:\n      initial: false\n\
         admin:\n  listen: 127.0.0.1:{}\n",
        scene.server.url("postgres", "postgres"),
        events[stop - 1].offset.as_deref().expect("is told"),
        broker.brokers(),
        free_port()
    ));
    daemon.start_streaming().await;
    daemon.caught_up(LIMIT).await;
    // A restart begins where it stopped, and nowhere else.
    assert!(daemon.terminate().await.success());
    daemon.start_streaming().await;
    daemon.caught_up(LIMIT).await;
    for topic in TABLES {
        let wanted: Vec<Change> = events
            .iter()
            .filter(|event| event.topic == topic)
            .map(|event| change(event.key.as_ref(), event.value.as_ref()))
            .collect();
        let topic = topic.replacen("shop.", &format!("{name}."), 1);
        let found: Vec<Change> = consume(&broker.brokers(), &topic)
            .expect("the broker answers")
            .unwrap_or_default()
            .iter()
            .map(|record| change(record.key.as_ref(), record.value.as_ref()))
            .collect();
        assert_eq!(found, wanted, "{topic}, {:?}", events[stop - 1].offset);
    }
    assert!(daemon.terminate().await.success());
    daemon.assert_log_clean();
}
