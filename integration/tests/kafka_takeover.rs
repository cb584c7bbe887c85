//! Moving over from Debezium: its connector stops, wherever it is, and ours goes on in the same topics. What a
//! consumer then has is what Debezium alone would have sent: no gap, no repeat, in the same order.

use std::path::Path;
use std::time::Duration;

use cdc_integration::daemon::Daemon;
use cdc_integration::kafka::debezium::{Debezium, Event};
use cdc_integration::kafka::{Kafka, consume, produce};
use cdc_integration::mysql::{Flavor, Mysql};
use cdc_integration::postgres::Wanted;
use cdc_integration::scene::{LIMIT, Scene};
use cdc_integration::server::{Server, Session as _};
use cdc_integration::{eventually, free_port};
use serde_json::Value;
use tokio::sync::Mutex;

/// One server and one connector at a time.
static TURN: Mutex<()> = Mutex::const_new(());

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

/// Rows that are there before, and so records of the connector's snapshot.
const ROWS: usize = 6;

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_of_postgres_that_stopped_anywhere_is_gone_on_from() {
    let _turn = TURN.lock().await;
    let scene = Scene::new(
        Wanted::version(18),
        "CREATE TABLE shop.a (id int PRIMARY KEY, v text); CREATE TABLE shop.b (id int PRIMARY KEY, n int); \
         INSERT INTO shop.a SELECT i, 'existing' FROM generate_series(1, 5) i; INSERT INTO shop.b VALUES (0, 0)",
    )
    .await;
    let port = scene.server.port().to_string();
    let debezium = connector(&[
        (
            "connector.class",
            "io.debezium.connector.postgresql.PostgresConnector",
        ),
        ("database.port", &port),
        ("database.user", "postgres"),
        ("database.password", "x"),
        ("database.dbname", "postgres"),
        ("schema.include.list", "shop"),
        ("plugin.name", "pgoutput"),
        ("slot.name", "debezium"),
    ]);
    eventually("Debezium streams", Duration::from_secs(240), || async {
        let streams = "SELECT active FROM pg_replication_slots WHERE slot_name = 'debezium'";
        match (
            debezium.events().len(),
            scene.server.value(streams).await.as_deref(),
        ) {
            (ROWS.., Some("t")) => Ok(()),
            (events, _) => Err(format!("{events} records\n{}", debezium.log())),
        }
    })
    .await;
    // Its slot as it is wherever it stops below: not beyond what it has stored.
    for number in 0..STOPS {
        let copy = format!("SELECT pg_copy_logical_replication_slot('debezium', 'cut{number}')");
        scene.execute(&copy).await;
    }
    let insert = "INSERT INTO shop.a SELECT i, 'one' FROM generate_series({id}, {id} + 3) i";
    traffic(&scene.server, insert).await;
    let events = all_of(&debezium).await;
    drop(debezium);
    eventually("its slot is free", LIMIT, || async {
        let active = "SELECT active FROM pg_replication_slots WHERE slot_name = 'debezium'";
        match scene.server.value(active).await.as_deref() {
            Some("f") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let url = scene.server.url("postgres", "postgres");
    gone_on_from(&events, |number| {
        format!(
            "type: postgres\n  url: {url}\n  slot: cut{number}\n  publication: dbz_publication\n  \
             manage_slot: given\n  manage_publication: given"
        )
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_of_mysql_that_stopped_anywhere_is_gone_on_from() {
    let _turn = TURN.lock().await;
    let scene = Scene::on(
        Mysql::start(Flavor::MySql).await,
        "CREATE TABLE shop.a (id int PRIMARY KEY, v text); CREATE TABLE shop.b (id int PRIMARY KEY, n int); \
         INSERT INTO shop.a VALUES (1, 'x'), (2, 'x'), (3, 'x'), (4, 'x'), (5, 'x'); INSERT INTO shop.b VALUES (0, 0)",
    )
    .await;
    let port = scene.server.port().to_string();
    let debezium = connector(&[
        (
            "connector.class",
            "io.debezium.connector.mysql.MySqlConnector",
        ),
        ("database.port", &port),
        ("database.user", "root"),
        ("database.server.id", "7777"),
        ("database.include.list", "shop"),
        ("include.schema.changes", "false"),
        ("driver.allowPublicKeyRetrieval", "true"),
        (
            "schema.history.internal",
            "io.debezium.relational.history.MemorySchemaHistory",
        ),
    ]);
    eventually("Debezium streams", Duration::from_secs(240), || async {
        let log = debezium.log();
        match (
            debezium.events().len(),
            log.contains("BinaryLogClient connect\nINFO: Connected"),
        ) {
            (ROWS.., true) => Ok(()),
            (events, _) => Err(format!("{events} records\n{log}")),
        }
    })
    .await;
    let insert = "INSERT INTO shop.a VALUES ({id}, 'one'), ({id} + 1, 'one'), ({id} + 2, 'one'), ({id} + 3, 'one')";
    traffic(&scene.server, insert).await;
    let events = all_of(&debezium).await;
    drop(debezium);
    let url = Mysql::url_at(scene.server.port());
    gone_on_from(&events, |_| format!("type: mysql\n  url: {url}")).await;
}

/// Debezium's engine, which never says to the server that it has stored anything.
fn connector(own: &[(&str, &str)]) -> Debezium {
    let mut settings = vec![
        ("name", "engine"),
        (
            "offset.storage",
            "org.apache.kafka.connect.storage.MemoryOffsetBackingStore",
        ),
        ("offset.flush.interval.ms", "3600000"),
        ("database.hostname", "127.0.0.1"),
        ("topic.prefix", "shop"),
        ("key.converter.schemas.enable", "false"),
        ("value.converter.schemas.enable", "false"),
        ("converter.schemas.enable", "false"),
    ];
    settings.extend_from_slice(own);
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kafka_debezium/Engine.java");
    Debezium::start(&program, &settings)
}

/// The connector's records, the last of which has the key 9999.
async fn all_of(debezium: &Debezium) -> Vec<Event> {
    eventually(
        "Debezium has sent all",
        Duration::from_secs(240),
        || async {
            let events = debezium.events();
            let last = events
                .iter()
                .any(|it| it.key.as_deref() == Some(r#"{"id":9999}"#));
            if last {
                Ok(events)
            } else {
                Err(format!("{} records", events.len()))
            }
        },
    )
    .await
}

/// The daemon goes on after its snapshot, in the middle of transactions, at the ends of some, and at the very end.
async fn gone_on_from(events: &[Event], source: impl Fn(usize) -> String) {
    let broker = Kafka::start().await;
    let all = events.len();
    let stops: [usize; STOPS] = [
        ROWS,
        ROWS + 1,
        ROWS + 9,
        ROWS + 23,
        ROWS + 24,
        ROWS + 31,
        all - 7,
        all - 1,
        all,
    ];
    for (number, stop) in stops.into_iter().enumerate() {
        goes_on(&source(number), &broker, events, (number, stop)).await;
    }
}

/// Transactions over both tables, some of them side by side, and at the end one that is known.
async fn traffic<S: Server + Sync>(server: &S, insert: &str) {
    let (one, two) = (Server::session(server).await, Server::session(server).await);
    for round in 1..=8 {
        let id = round * 100;
        let insert = insert.replace("{id}", &id.to_string());
        for (session, statements) in [
            (&one, format!("BEGIN; {insert}")),
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
            let done = session.execute(&statements).await;
            done.unwrap_or_else(|refusal| panic!("{statements}: {}", refusal.text));
        }
    }
    server.execute("INSERT INTO shop.b VALUES (9999, 0)").await;
}

/// Debezium's first `stop` records are in topics; the daemon brings the rest.
async fn goes_on(source: &str, broker: &Kafka, events: &[Event], (number, stop): (usize, usize)) {
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
        "name: {name}\ndata_dir: ./data\nsource:\n  {source}\n  tables: [\"shop.*\"]\n  debezium_offset: {}\n\
         sinks:\n  events:\n    type: kafka\n    brokers: {}\n    snapshot:\n      initial: false\n\
         admin:\n  listen: 127.0.0.1:{}\n",
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
