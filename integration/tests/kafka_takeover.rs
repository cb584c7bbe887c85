//! Moving over from Debezium: its connector stops, wherever it is, and ours goes on in the same topics. What a
//! consumer then has is what Debezium alone would have sent: no gap, no repeat, in the same order.

use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use cdc_integration::daemon::Daemon;
use cdc_integration::kafka::debezium::{Debezium, Event};
use cdc_integration::kafka::{Kafka, consume, produce};
use cdc_integration::mysql::{Flavor, Mysql};
use cdc_integration::postgres::{Postgres, Wanted};
use cdc_integration::scene::{LIMIT, Scene};
use cdc_integration::server::{Server, Session as _};
use cdc_integration::{eventually, free_port};
use serde_json::Value;
use tokio::sync::Mutex;

/// One server and one connector at a time.
static TURN: Mutex<()> = Mutex::const_new(());

/// How many places the connector is stopped at.
const STOPS: usize = 11;

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

/// Debezium's records of a topic, told apart.
fn changes(events: &[Event], topic: &str) -> Vec<Change> {
    let of_it = events.iter().filter(|event| event.topic == topic);
    of_it
        .map(|event| change(event.key.as_ref(), event.value.as_ref()))
        .collect()
}

/// Rows that are there before, and so records of the connector's snapshot.
const ROWS: usize = 6;

/// What a connector reads, and how ours is told to go on.
struct Case<'a, S: Server> {
    scene: &'a Scene<S>,
    /// The connector's settings, but for what tells two of them apart.
    connector: Vec<(&'static str, String)>,
    /// What does: of the first, and of another beside it.
    own: [(&'static str, &'static str); 2],
    /// Four rows, from `{id}` on.
    insert: &'static str,
}

impl<S: Server> Case<'_, S> {
    /// Debezium's engine, `number` of two, which stores its offsets as often as that says.
    fn debezium(&self, number: usize, flush: &str) -> Debezium {
        let mut settings = vec![
            ("name", "engine"),
            (
                "offset.storage",
                "org.apache.kafka.connect.storage.FileOffsetBackingStore",
            ),
            ("offset.storage.file.filename", "offsets"),
            ("offset.flush.interval.ms", flush),
            ("database.hostname", "127.0.0.1"),
            ("topic.prefix", "shop"),
            ("provide.transaction.metadata", "true"),
            ("key.converter.schemas.enable", "false"),
            ("value.converter.schemas.enable", "false"),
            ("converter.schemas.enable", "false"),
            self.own[number],
        ];
        settings.extend(
            self.connector
                .iter()
                .map(|(key, value)| (*key, value.as_str())),
        );
        let program =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kafka_debezium/Engine.java");
        Debezium::start(&program, &settings)
    }
}

const ROWS_A: &str = "CREATE TABLE shop.a (id int PRIMARY KEY, v varchar(20)); \
    CREATE TABLE shop.b (id int PRIMARY KEY, n int); \
    INSERT INTO shop.a VALUES (1, 'x'), (2, 'x'), (3, 'x'), (4, 'x'), (5, 'x'); INSERT INTO shop.b VALUES (0, 0)";

fn postgres(scene: &Scene) -> Case<'_, Postgres> {
    let fixed = [
        (
            "connector.class",
            "io.debezium.connector.postgresql.PostgresConnector",
        ),
        ("database.user", "postgres"),
        ("database.password", "x"),
        ("database.dbname", "postgres"),
        ("schema.include.list", "shop"),
        ("plugin.name", "pgoutput"),
    ];
    let mut connector: Vec<_> = fixed.map(|(key, value)| (key, value.to_owned())).into();
    connector.push(("database.port", scene.server.port().to_string()));
    Case {
        scene,
        connector,
        own: [("slot.name", "debezium"), ("slot.name", "beside")],
        insert: "INSERT INTO shop.a SELECT i, 'one' FROM generate_series({id}, {id} + 3) i; \
                 SELECT pg_logical_emit_message(true, 'app', 'done')",
    }
}

/// How ours goes on from a slot.
fn from_slot(scene: &Scene, slot: &str) -> String {
    let url = scene.server.url("postgres", "postgres");
    format!(
        "type: postgres\n  url: {url}\n  slot: {slot}\n  publication: dbz_publication\n  \
         manage_slot: given\n  manage_publication: given"
    )
}

async fn postgres_streams(scene: &Scene, debezium: &Debezium, slot: &str) {
    eventually("Debezium streams", Duration::from_secs(240), || async {
        let streams = format!("SELECT active FROM pg_replication_slots WHERE slot_name = '{slot}'");
        match (
            debezium.events().len(),
            scene.server.value(&streams).await.as_deref(),
        ) {
            (ROWS.., Some("t")) => Ok(()),
            (events, _) => Err(format!("{events} records\n{}", debezium.log())),
        }
    })
    .await;
}

async fn slot_is_free(scene: &Scene) {
    eventually("its slot is free", LIMIT, || async {
        let active = "SELECT active FROM pg_replication_slots WHERE slot_name = 'debezium'";
        match scene.server.value(active).await.as_deref() {
            Some("f") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_of_postgres_that_stopped_anywhere_is_gone_on_from() {
    let _turn = TURN.lock().await;
    let scene = Scene::new(Wanted::version(18), ROWS_A).await;
    let case = postgres(&scene);
    let debezium = case.debezium(0, NEVER);
    postgres_streams(&scene, &debezium, "debezium").await;
    // Its slot as it is wherever it stops below: not beyond what it has stored.
    for number in 0..STOPS {
        let copy = format!("SELECT pg_copy_logical_replication_slot('debezium', 'cut{number}')");
        scene.execute(&copy).await;
    }
    traffic(&scene.server, case.insert, 1..=8).await;
    let events = all_of(&debezium).await;
    drop(debezium);
    gone_on_from(&events, |number| from_slot(&scene, &format!("cut{number}"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_of_mysql_that_stopped_anywhere_is_gone_on_from() {
    let _turn = TURN.lock().await;
    let scene = Scene::on(Mysql::start(Flavor::MySql).await, ROWS_A).await;
    let case = mysql(&scene);
    let debezium = case.debezium(0, NEVER);
    mysql_streams(&debezium).await;
    traffic(&scene.server, case.insert, 1..=8).await;
    let events = all_of(&debezium).await;
    drop(debezium);
    let url = Mysql::url_at(scene.server.port());
    gone_on_from(&events, |_| format!("type: mysql\n  url: {url}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_of_postgres_that_is_stopped_or_killed_under_load_is_gone_on_from() {
    let _turn = TURN.lock().await;
    for end in [End::Stopped, End::Killed] {
        let scene = Scene::new(Wanted::version(18), ROWS_A).await;
        let case = postgres(&scene);
        let (debezium, beside) = (case.debezium(0, end.flush()), case.debezium(1, NEVER));
        postgres_streams(&scene, &debezium, "debezium").await;
        postgres_streams(&scene, &beside, "beside").await;
        let ended = under_load(&case, debezium, &beside, end).await;
        slot_is_free(&scene).await;
        ended.gone_on_from(&from_slot(&scene, "debezium")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_of_mysql_that_is_stopped_or_killed_under_load_is_gone_on_from() {
    let _turn = TURN.lock().await;
    for end in [End::Stopped, End::Killed] {
        let scene = Scene::on(Mysql::start(Flavor::MySql).await, ROWS_A).await;
        let case = mysql(&scene);
        let (debezium, beside) = (case.debezium(0, end.flush()), case.debezium(1, NEVER));
        mysql_streams(&debezium).await;
        mysql_streams(&beside).await;
        let ended = under_load(&case, debezium, &beside, end).await;
        let url = Mysql::url_at(scene.server.port());
        ended
            .gone_on_from(&format!("type: mysql\n  url: {url}"))
            .await;
    }
}

fn mysql(scene: &Scene<Mysql>) -> Case<'_, Mysql> {
    let fixed = [
        (
            "connector.class",
            "io.debezium.connector.mysql.MySqlConnector",
        ),
        ("database.user", "root"),
        ("database.include.list", "shop"),
        ("include.schema.changes", "false"),
        ("driver.allowPublicKeyRetrieval", "true"),
        (
            "schema.history.internal",
            "io.debezium.relational.history.MemorySchemaHistory",
        ),
    ];
    let mut connector: Vec<_> = fixed.map(|(key, value)| (key, value.to_owned())).into();
    connector.push(("database.port", scene.server.port().to_string()));
    Case {
        scene,
        connector,
        own: [
            ("database.server.id", "7777"),
            ("database.server.id", "7778"),
        ],
        insert: "INSERT INTO shop.a VALUES ({id}, 'one'), ({id} + 1, 'one'), ({id} + 2, 'one'), ({id} + 3, 'one')",
    }
}

async fn mysql_streams(debezium: &Debezium) {
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
}

/// An offset that is stored at the end alone.
const NEVER: &str = "3600000";

/// How a connector ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Stopped,
    Killed,
}

impl End {
    fn flush(self) -> &'static str {
        match self {
            Self::Stopped => NEVER,
            Self::Killed => "0",
        }
    }
}

/// A connector that has ended under load.
struct Ended {
    end: End,
    /// What it has sent.
    sent: Vec<Event>,
    /// What it has stored.
    offset: String,
    /// What one sends that does not end.
    all: Vec<Event>,
}

/// The connector ends while transactions are committed, and another one goes on to the end.
async fn under_load<S: Server + Sync>(
    case: &Case<'_, S>,
    mut debezium: Debezium,
    beside: &Debezium,
    end: End,
) -> Ended {
    let ending = async {
        eventually("it sends changes", LIMIT, || async {
            match debezium.events().len() {
                count if count > ROWS + 5 => Ok(()),
                count => Err(format!("{count} records")),
            }
        })
        .await;
        match end {
            End::Stopped => debezium.stop().await,
            End::Killed => debezium.kill(),
        }
        debezium
    };
    let ((), debezium) = tokio::join!(traffic(&case.scene.server, case.insert, 11..=40), ending);
    Ended {
        end,
        sent: debezium.events(),
        offset: debezium.stored_offset().expect("it has stored one"),
        all: all_of(beside).await,
    }
}

impl Ended {
    /// Ours brings the rest: no gap, and a repeat only of what the connector has not stored.
    async fn gone_on_from(&self, source: &str) {
        let broker = Kafka::start().await;
        produce_as(&broker, "ended", &self.sent);
        let mut daemon = Daemon::with_config(&config("ended", source, &self.offset, &broker));
        daemon.start_streaming().await;
        daemon.caught_up(LIMIT).await;
        let mut again = 0;
        for topic in TABLES {
            let (sent, all) = (changes(&self.sent, topic), changes(&self.all, topic));
            assert_eq!(sent, all[..sent.len()], "{topic}");
            let found = found(&broker, "ended", topic);
            let ours = found.strip_prefix(sent.as_slice()).expect("what was sent");
            let rest = all.len() - ours.len();
            assert_eq!(ours, &all[rest..], "{topic}, {:?}", self.offset);
            assert!(rest <= sent.len(), "{topic}: a gap, {:?}", self.offset);
            again += sent.len() - rest;
        }
        // A connector that was killed has sent more than it has stored, and would send it again.
        if self.end == End::Stopped {
            assert_eq!(again, 0, "{:?}", self.offset);
        }
        assert!(daemon.terminate().await.success());
        daemon.assert_log_clean();
    }
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
    // Of the first round: a transaction's begin, its first row, its end; of the one after it the begin, a row, and what
    // follows its rows, on PostgreSQL a logical message.
    let stops: [usize; STOPS] = [
        ROWS,
        ROWS + 1,
        ROWS + 2,
        ROWS + 5,
        ROWS + 6,
        ROWS + 8,
        ROWS + 11,
        ROWS + 12,
        ROWS + 52,
        all - 1,
        all,
    ];
    for (number, stop) in stops.into_iter().enumerate() {
        goes_on(&source(number), &broker, events, (number, stop)).await;
    }
}

/// Transactions over both tables, some of them side by side, and at the end one that is known. Of the changes that
/// are several records in one place of the log, only in the first ten rounds.
async fn traffic<S: Server + Sync>(server: &S, insert: &str, rounds: RangeInclusive<u32>) {
    let (one, two) = (Server::session(server).await, Server::session(server).await);
    for round in rounds {
        let id = round * 100;
        let insert = insert.replace("{id}", &id.to_string());
        let several = if round > 10 {
            String::new()
        } else {
            format!(
                "UPDATE shop.a SET id = {id} + 60 WHERE id = {id} + 1; DELETE FROM shop.a WHERE id = {id} + 2;"
            )
        };
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
            (&one, format!("{several} COMMIT")),
            (&two, format!("INSERT INTO shop.b VALUES ({id} + 2, 3)")),
        ] {
            let done = session.execute(&statements).await;
            done.unwrap_or_else(|refusal| panic!("{statements}: {}", refusal.text));
        }
    }
    server.execute("INSERT INTO shop.b VALUES (9999, 0)").await;
}

/// What the connector has sent, in topics of another prefix.
fn produce_as(broker: &Kafka, prefix: &str, events: &[Event]) {
    let sent: Vec<_> = events
        .iter()
        .map(|event| {
            let topic = event.topic.replacen("shop.", &format!("{prefix}."), 1);
            (topic, event.key.as_deref(), event.value.as_deref())
        })
        .collect();
    produce(&broker.brokers(), &sent);
}

/// What a consumer of committed records finds in a topic of that prefix.
fn found(broker: &Kafka, prefix: &str, topic: &str) -> Vec<Change> {
    let topic = topic.replacen("shop.", &format!("{prefix}."), 1);
    consume(&broker.brokers(), &topic)
        .expect("the broker answers")
        .unwrap_or_default()
        .iter()
        .map(|record| change(record.key.as_ref(), record.value.as_ref()))
        .collect()
}

/// A pipeline that goes on at an offset.
fn config(name: &str, source: &str, offset: &str, broker: &Kafka) -> String {
    format!(
        "name: {name}\ndata_dir: ./data\nsource:\n  {source}\n  tables: [\"shop.*\"]\n  debezium_offset: {offset}\n\
         sinks:\n  events:\n    type: kafka\n    brokers: {}\n    snapshot:\n      initial: false\n\
         admin:\n  listen: 127.0.0.1:{}\n",
        broker.brokers(),
        free_port()
    )
}

/// Debezium's first `stop` records are in topics; the daemon brings the rest.
async fn goes_on(source: &str, broker: &Kafka, events: &[Event], (number, stop): (usize, usize)) {
    let name = format!("cut{number}");
    produce_as(broker, &name, &events[..stop]);
    let offset = events[stop - 1].offset.as_deref().expect("is told");
    let mut daemon = Daemon::with_config(&config(&name, source, offset, broker));
    let said = daemon.commands().succeed(&["check"]).expect("is well");
    assert!(said.contains("a new pipeline goes on"), "{said}");
    daemon.start_streaming().await;
    daemon.caught_up(LIMIT).await;
    // A restart begins where it stopped, and nowhere else.
    assert!(daemon.terminate().await.success());
    daemon.start_streaming().await;
    daemon.caught_up(LIMIT).await;
    for topic in TABLES {
        let wanted = changes(events, topic);
        assert_eq!(found(broker, &name, topic), wanted, "{topic}, {offset:?}");
    }
    assert!(daemon.terminate().await.success());
    daemon.assert_log_clean();
}
