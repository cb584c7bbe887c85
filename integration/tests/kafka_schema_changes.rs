//! Statements that change schemas, Debezium's engine and ours on one MySQL: keys and values of the topic `<prefix>` as
//! text, statement by statement, over a crash of ours.
//!
//! A difference that is not listed fails, and so does a listed one that is none. Left out are who made a record and
//! when, and what `source` says of the log's files; Debezium's time of a statement is the one at which it read it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use cdc_integration::daemon::Daemon;
use cdc_integration::kafka::debezium::{Debezium, Event};
use cdc_integration::kafka::{Kafka, consume};
use cdc_integration::mysql::{Flavor, Mysql};
use cdc_integration::scene::Scene;
use cdc_integration::server::{Server as _, Session as _};
use cdc_integration::{eventually, free_port};

/// How long an engine may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(240);

/// Every type, as both read it from the catalog.
const SCHEMA: &str = "CREATE TABLE shop.t (id bigint unsigned NOT NULL AUTO_INCREMENT, v varchar(20) NOT NULL, \
    l char(3) CHARACTER SET latin1, ti tinyint, b tinyint(1), tu tinyint unsigned, si smallint, mi mediumint, i int, \
    iz int(5) unsigned zerofill, f float, fs float(7,4), d double, n decimal(12,3) unsigned, n0 decimal(5,0), bi bit(9), \
    y year, da date, dt datetime, dt3 datetime(3), ts timestamp NULL, ts6 timestamp(6) NULL, tm time, tm2 time(2), \
    bin binary(4), vb varbinary(9), tb tinyblob, bl blob, mb mediumblob, lb longblob, tt tinytext, tx text, \
    mt mediumtext, lt longtext, e enum('a','it''s') NOT NULL, s set('x','y','z'), j json, p point, g geometry, \
    ls linestring, gc geometrycollection, gen int GENERATED ALWAYS AS (i + 1) STORED, PRIMARY KEY (id, v)); \
    CREATE TABLE shop.gone (id int PRIMARY KEY, v varchar(5)); CREATE TABLE shop.moved (id int PRIMARY KEY); \
    CREATE TABLE shop.a (id int PRIMARY KEY); CREATE TABLE shop.b (id int PRIMARY KEY, v int); \
    CREATE TABLE shop.audit_log (id int PRIMARY KEY); \
    CREATE SCHEMA other; CREATE TABLE other.o (id int PRIMARY KEY); \
    CREATE TABLE shop.zz (id int PRIMARY KEY); INSERT INTO shop.zz VALUES (0);";

/// Statements, before the crash and after it; and what differs in their records.
const STATEMENTS: [&[(&str, &str)]; 2] = [
    &[
        (
            "ALTER TABLE t ADD COLUMN c1 int, ADD c2 varchar(10) FIRST",
            "",
        ),
        ("ALTER TABLE shop.t DROP COLUMN c1", ""),
        ("ALTER TABLE `t` RENAME COLUMN c2 TO `größe`", ""),
        (
            "ALTER TABLE t CHANGE `größe` c3 char(5) CHARACTER SET latin1 AFTER id",
            "",
        ),
        (
            "ALTER TABLE t MODIFY n decimal(14,4) NOT NULL, MODIFY COLUMN dt3 datetime(6) AFTER y",
            "",
        ),
        (
            "alter table t\n  add (c4 bigint(20) unsigned, c5 enum('ü','y'))",
            "",
        ),
        ("ALTER TABLE t ADD INDEX i2 (mi), COMMENT 'a, b'", ""),
        ("ALTER TABLE t CONVERT TO CHARACTER SET utf8mb4", ""),
        ("ALTER TABLE t DROP PRIMARY KEY, ADD PRIMARY KEY (id)", ""),
        (
            "/* before */ ALTER TABLE t /* within */ ADD c6 int -- behind",
            "",
        ),
        ("CREATE INDEX i3 ON t (i)", ""),
        ("DROP INDEX i3 ON t", ""),
        ("CREATE UNIQUE INDEX i4 ON t (id, i)", ""),
        ("TRUNCATE TABLE t", ""),
        (
            "ALTER TABLE t ADD c7 integer, ADD c8 numeric(5), ADD c9 bool",
            "types have the catalog's names",
        ),
        ("ALTER TABLE t DROP c7, DROP c8, DROP c9", ""),
        (
            "ALTER TABLE t ADD c10 int DEFAULT 5",
            "defaults are left out",
        ),
        (
            "ALTER TABLE t DEFAULT CHARACTER SET latin1",
            "Debezium does not follow it",
        ),
    ],
    &[
        (
            "CREATE TABLE made (id int NOT NULL AUTO_INCREMENT, v varchar(9), e enum('a') NOT NULL, w text CHARACTER SET \
             latin1, s bigint unsigned, PRIMARY KEY (id), INDEX (v)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
            "",
        ),
        ("CREATE TABLE nokey (a int, b int) CHARACTER SET latin1", ""),
        (
            "CREATE TABLE shop.`Odd Name` (`Id \"q` int PRIMARY KEY, `größe` int) CHARSET utf8mb4",
            "",
        ),
        (
            "CREATE TABLE plain (id int PRIMARY KEY, v varchar(9))",
            "the database's character set is not in the log",
        ),
        (
            "CREATE TABLE uniq (id int NOT NULL, UNIQUE (id)) CHARSET utf8mb4",
            "another unique key is no primary one",
        ),
        ("CREATE TABLE IF NOT EXISTS a (id int)", ""),
        ("DROP TABLE gone", ""),
        ("DROP TABLE IF EXISTS never", ""),
        ("RENAME TABLE moved TO moved2", ""),
        (
            "RENAME TABLE a TO swap, shop.b TO a, swap TO b",
            "the order of the source's tables",
        ),
        (
            "CREATE TABLE audit_more (id int PRIMARY KEY) CHARSET utf8mb4",
            "",
        ),
        (
            "ALTER TABLE audit_log ADD x int",
            "what is not captured is not known",
        ),
        (
            "CREATE TABLE other.more (id int PRIMARY KEY) CHARSET utf8mb4",
            "",
        ),
        ("DROP TABLE other.o, other.more", ""),
        ("CREATE DATABASE third", ""),
        (
            "ALTER DATABASE third CHARACTER SET latin1",
            "its table is empty, not null",
        ),
        ("DROP DATABASE third", ""),
        ("CREATE VIEW seen AS SELECT 1", ""),
        ("CREATE USER someone IDENTIFIED BY 'secret'", ""),
        ("CREATE TABLE last (id int PRIMARY KEY) CHARSET utf8mb4", ""),
    ],
];

/// Key and value.
type Record = (Option<String>, Option<String>);

#[tokio::test(flavor = "multi_thread")]
async fn statements_of_the_whole_server_are_those_of_debezium() {
    compare("all", ("json", "false"), "false").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_of_captured_tables_are_those_of_debezium_with_their_schemas() {
    compare("captured", ("json_with_schema", "true"), "true").await;
}

/// Debezium's MySQL connector does not read MariaDB: what ours tells of it.
#[tokio::test(flavor = "multi_thread")]
async fn statements_of_mariadb_are_told_as_those_of_mysql() {
    let broker = Kafka::start().await;
    let tables = "CREATE TABLE shop.t (id int AUTO_INCREMENT PRIMARY KEY, u uuid, v varchar(9) CHARACTER SET utf8mb4); \
                  CREATE TABLE shop.zz (id int PRIMARY KEY)";
    let scene = Scene::on(Mysql::start(Flavor::MariaDb).await, tables).await;
    let mut daemon = daemon(&scene.server, &broker, ("captured", "json"));
    daemon.start_streaming().await;
    for (statement, _, _) in MARIADB {
        scene.execute(statement).await;
    }
    let brokers = broker.brokers();
    let told = eventually("all is written", LIMIT, || async {
        let records = consume(&brokers, "shop")?.unwrap_or_default();
        let values = records.iter().filter_map(|it| it.value.as_deref());
        let told: Vec<serde_json::Value> = values
            .map(|value| serde_json::from_str(value).expect("JSON"))
            .collect();
        match told.iter().any(|it| it["source"]["table"] == "last") {
            true => Ok(told),
            false => Err(format!("{} records\n{}", told.len(), daemon.log_end())),
        }
    })
    .await;
    let shown = |value: &serde_json::Value| {
        let change = &value["tableChanges"][0];
        let columns = change["table"]["columns"].as_array().into_iter().flatten();
        let columns = columns.map(|it| format!(" {}:{}", text(&it["name"]), text(&it["typeName"])));
        let columns: String = columns.collect();
        let told = format!("{} {}{columns}", text(&change["type"]), text(&change["id"]));
        (text(&value["ddl"]).to_owned(), told)
    };
    let told: Vec<_> = told.iter().map(shown).collect();
    let wanted = MARIADB.map(|(_, ddl, told)| (ddl.to_owned(), told.to_owned()));
    assert_eq!(told, wanted);
    assert!(daemon.terminate().await.success());
}

/// What MariaDB runs, how it is told, and what it does.
const MARIADB: [(&str, &str, &str); 5] = [
    (
        "ALTER TABLE shop.t ADD COLUMN b bigint unsigned FIRST, DROP v",
        "ALTER TABLE shop.t ADD COLUMN b bigint unsigned FIRST, DROP v",
        "ALTER \"shop\".\"t\" b:BIGINT UNSIGNED id:INT u:UUID",
    ),
    (
        "CREATE OR REPLACE TABLE shop.n (id int PRIMARY KEY) CHARSET latin1",
        "CREATE OR REPLACE TABLE shop.n (id int PRIMARY KEY) CHARSET latin1",
        "CREATE \"shop\".\"n\" id:INT",
    ),
    (
        "RENAME TABLE shop.t TO shop.u",
        "RENAME TABLE shop.t TO shop.u",
        "ALTER \"shop\".\"u\" b:BIGINT UNSIGNED id:INT u:UUID",
    ),
    (
        "DROP TABLE shop.n",
        "DROP TABLE `shop`.`n`",
        "DROP \"shop\".\"n\"",
    ),
    (
        "CREATE TABLE shop.last (id int PRIMARY KEY)",
        "CREATE TABLE shop.last (id int PRIMARY KEY)",
        "CREATE \"shop\".\"last\" id:INT",
    ),
];

fn text(value: &serde_json::Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Ours on a server, into a broker and a lake, which passes statements over.
fn daemon(server: &Mysql, broker: &Kafka, (asked, format): (&str, &str)) -> Daemon {
    Daemon::with_config(&format!(
        "name: shop\ndata_dir: ./data\nsource:\n  type: mysql\n  url: {}\n  tables: [\"shop.*\", \"!shop.audit_*\"]\n  \
         schema_changes: {asked}\nsinks:\n  events:\n    type: kafka\n    brokers: {}\n    format: {format}\n    \
         transaction_metadata: true\n  lake:\n    type: parquet\n    url: ./lake\n\
         admin:\n  listen: 127.0.0.1:{}\n",
        Mysql::url_at(server.port()),
        broker.brokers(),
        free_port()
    ))
}

async fn compare(asked: &str, (format, schemas): (&str, &str), only_captured: &str) {
    let broker = Kafka::start().await;
    let scene = Scene::on(Mysql::start(Flavor::MySql).await, SCHEMA).await;
    let mut daemon = daemon(&scene.server, &broker, (asked, format));
    daemon.start_streaming().await;
    let debezium = debezium(scene.server.port(), schemas, only_captured);
    eventually("Debezium has its snapshot", LIMIT, || async {
        let mut events = debezium.events().into_iter();
        match events.any(|event| event.topic == "shop.shop.zz") {
            true => Ok(()),
            false => Err(debezium.log()),
        }
    })
    .await;
    let session = scene.server.session().await;
    session.execute("USE shop").await.expect("it is there");
    let done = executed(&session).await;
    for (half, statements) in STATEMENTS.iter().enumerate() {
        for (statement, _) in *statements {
            session.execute(statement).await.expect(statement);
        }
        if half == 0 {
            daemon.kill();
            daemon.start_streaming().await;
        }
    }
    let statements = STATEMENTS.concat();
    let end = done + statements.len() as u64;
    assert_eq!(executed(&session).await, end, "one transaction each");
    let theirs = eventually("Debezium has read all", LIMIT, || async {
        whole(
            by_statement(
                debezium
                    .events()
                    .iter()
                    .filter(|it| it.topic == "shop")
                    .map(of_event),
            ),
            end,
        )
    })
    .await;
    let brokers = broker.brokers();
    let ours = eventually("we have written all", LIMIT, || async {
        let records = consume(&brokers, "shop")?.unwrap_or_default();
        let records = records.into_iter().map(|it| (it.key, it.value));
        whole(by_statement(records), end).map_err(|what| format!("{what}\n{}", daemon.log_end()))
    })
    .await;
    let mut differences = String::new();
    for (number, (statement, why)) in (done + 1..).zip(&statements) {
        let (ours, theirs) = (ours.get(&number), theirs.get(&number));
        // What is not captured is equal where neither tells it.
        let listed = !why.is_empty() && (ours.is_some() || theirs.is_some());
        if (ours == theirs) == listed {
            let what = if listed { "is equal" } else { "differs" };
            differences.push_str(&format!(
                "{statement} {what}\n  ours   {ours:?}\n  theirs {theirs:?}\n"
            ));
        }
    }
    assert!(differences.is_empty(), "{differences}");
    assert!(ours.len() > 20, "{}", ours.len());
    assert!(daemon.terminate().await.success());
}

/// Starts the engine.
fn debezium(port: u16, schemas: &str, only_captured: &str) -> Debezium {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kafka_debezium/Engine.java");
    Debezium::start(
        &program,
        &[
            ("name", "engine"),
            (
                "connector.class",
                "io.debezium.connector.mysql.MySqlConnector",
            ),
            (
                "offset.storage",
                "org.apache.kafka.connect.storage.MemoryOffsetBackingStore",
            ),
            ("offset.flush.interval.ms", "0"),
            ("database.hostname", "127.0.0.1"),
            ("database.port", &port.to_string()),
            ("database.user", "root"),
            ("database.server.id", "777"),
            ("database.include.list", "shop"),
            ("table.exclude.list", "shop.audit_.*"),
            ("driver.allowPublicKeyRetrieval", "true"),
            ("topic.prefix", "shop"),
            (
                "schema.history.internal",
                "io.debezium.relational.history.MemorySchemaHistory",
            ),
            (
                "schema.history.internal.store.only.captured.tables.ddl",
                only_captured,
            ),
            ("key.converter.schemas.enable", schemas),
            ("value.converter.schemas.enable", schemas),
            ("converter.schemas.enable", schemas),
        ],
    )
}

/// The number of the server's last transaction.
async fn executed(session: &cdc_integration::mysql::Client) -> u64 {
    let rows = session.rows("SELECT @@GLOBAL.gtid_executed").await;
    let set = rows.expect("it is told")[0][0].clone().expect("it has one");
    let last = set.rsplit(['-', ':']).next().expect("a number");
    last.parse().expect("a number")
}

fn of_event(event: &Event) -> Record {
    (event.key.clone(), event.value.clone())
}

/// Records by the number of their transaction, those of a snapshot left out.
fn by_statement(records: impl Iterator<Item = Record>) -> BTreeMap<u64, Vec<Record>> {
    let mut found: BTreeMap<u64, Vec<Record>> = BTreeMap::new();
    for (key, value) in records {
        let value = value.expect("none is empty");
        let Some((_, gtid)) = value.split_once("\"gtid\":\"") else {
            continue;
        };
        let (gtid, _) = gtid.split_once('"').expect("it ends");
        let number = gtid.rsplit(':').next().and_then(|it| it.parse().ok());
        let number = number.expect("a number");
        let records = found.entry(number).or_default();
        records.push((key, Some(masked(&value))));
    }
    found
}

/// All of them, once those of the last statement are there.
fn whole(
    records: BTreeMap<u64, Vec<Record>>,
    end: u64,
) -> Result<BTreeMap<u64, Vec<Record>>, String> {
    match records.contains_key(&end) {
        true => Ok(records),
        false => Err(format!("{:?} of {end}", records.keys())),
    }
}

/// A value without what differs by nature.
fn masked(value: &str) -> String {
    let mut text = value.to_owned();
    let mut at = text.rfind("\"source\":{\"version\"").expect("its source");
    for (from, to) in [
        ("\"version\":\"", "\""),
        ("\"ts_ms\":", ","),
        ("\"ts_us\":", ","),
        ("\"ts_ns\":", ","),
        ("\"server_id\":", ","),
        ("\"file\":\"", "\""),
        ("\"pos\":", ","),
        ("\"row\":", ","),
        ("\"thread\":", ","),
        // That of the record's making.
        ("},\"ts_ms\":", ","),
    ] {
        at += text[at..].find(from).expect("it has all of these") + from.len();
        let length = text[at..].find(to).expect("it ends");
        text.replace_range(at..at + length, "*");
    }
    text
}
