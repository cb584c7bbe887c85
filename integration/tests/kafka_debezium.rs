//! Debezium's own engine and ours on the same PostgreSQL database: keys and values compared as text, one table a
//! type, for existing rows and for changes.
//!
//! Left out of the comparison is what the sink's documentation lists: `version`, `snapshot` and the places of
//! existing rows in `source`, the first half of `sequence`, and the times at which a record was made.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use cdc_integration::kafka::debezium::{Debezium, Event};
use cdc_integration::kafka::{Consumed, Kafka, consume};
use cdc_integration::postgres::Wanted;
use cdc_integration::scene::Scene;
use cdc_integration::server::Server;
use cdc_integration::{eventually, free_port};

/// A type, and values of it as SQL.
const TYPES: &[(&str, &[&str])] = &[
    ("boolean", &["true", "false"]),
    ("smallint", &["-32768", "32767"]),
    ("integer", &["-2147483648", "2147483647"]),
    ("bigint", &["-9223372036854775808", "9223372036854775807"]),
    ("oid", &["4294967295"]),
    (
        "real",
        &[
            "1.1",
            "-1.5e30",
            "1e-5",
            "0.001",
            "1e7",
            "3.4028235e38",
            "'NaN'",
            "'-Infinity'",
        ],
    ),
    (
        "double precision",
        &[
            "0.1",
            "1e10",
            "1e-7",
            "123456.789",
            "9999999",
            "1e7",
            "'NaN'",
            "'Infinity'",
        ],
    ),
    (
        "numeric(10,2)",
        &["0", "1.5", "-12345678.90", "99999999.99"],
    ),
    ("numeric(5)", &["-128", "99999"]),
    (
        "numeric(50,10)",
        &[
            "1234567890123456789012345678901234567890.0123456789",
            "-0.0000000001",
        ],
    ),
    (
        "numeric",
        &[
            "0",
            "1.10",
            "-123456789012345678901234567890.000000001",
            "1e20",
        ],
    ),
    ("money", &["12.34", "-1234567.89"]),
    ("bit", &["B'1'", "B'0'"]),
    ("bit(11)", &["B'10000000011'"]),
    ("bit varying(20)", &["B'101'", "B'1111000011110000'"]),
    ("text", &["''", "'ünï \" \\ / 漢字 🦆'", "E'\\n\\t\\x01'"]),
    ("varchar(20)", &["'v'"]),
    ("char(5)", &["'ab'"]),
    ("bytea", &["'\\x00ff10'", "''"]),
    ("uuid", &["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"]),
    ("json", &["'{\"a\": [1, null]}'"]),
    ("jsonb", &["'{\"b\":1,\"a\": \"x\"}'"]),
    ("xml", &["'<a>b</a>'"]),
    ("date", &["'1970-01-01'", "'2024-02-29'", "'0001-01-01'"]),
    ("time", &["'00:00:00'", "'13:14:15.123456'"]),
    ("time(3)", &["'13:14:15.123'"]),
    ("time(0)", &["'13:14:15'"]),
    (
        "timestamp",
        &[
            "'2024-01-02 03:04:05.123456'",
            "'1969-12-31 23:59:59.999999'",
            "'infinity'",
            "'-infinity'",
        ],
    ),
    ("timestamp(3)", &["'2024-01-02 03:04:05.123'"]),
    ("timestamp(0)", &["'2024-01-02 03:04:05'"]),
    (
        "timestamptz",
        &[
            "'2024-01-02 03:04:05.123456+02'",
            "'2024-01-02 03:04:05.1+00'",
            "'2024-01-02 03:04:05+00'",
            "'infinity'",
            "'-infinity'",
        ],
    ),
    ("timestamptz(3)", &["'2024-01-02 03:04:05.12+02'"]),
    ("timestamptz(0)", &["'2024-01-02 03:04:05+02'"]),
    ("timetz", &["'04:05:06.789-03:30'", "'00:00:00+02'"]),
    (
        "interval",
        &["'1 year 2 months -3 days 04:05:06.7'", "'-1 second'", "'0'"],
    ),
    ("inet", &["'192.168.1.1'", "'10.0.0.0/8'"]),
    ("cidr", &["'10.0.0.0/8'"]),
    ("macaddr", &["'08:00:2b:01:02:03'"]),
    ("macaddr8", &["'08:00:2b:01:02:03:04:05'"]),
    ("int4range", &["'[1,5)'", "'empty'"]),
    ("int8range", &["'[1,)'"]),
    ("numrange", &["'(1.5,2.5]'"]),
    ("daterange", &["'[2024-01-01,2024-02-01)'"]),
    ("tsrange", &["'[2024-01-01 00:00,2024-02-01 12:30)'"]),
    ("tsvector", &["'a fat cat'"]),
    ("point", &["'(1.5,-2)'"]),
    ("shop.mood", &["'sad'", "'happy'"]),
    ("shop.small", &["1", "9"]),
    ("citext", &["'MiXed'"]),
    ("hstore", &["'a=>1, \"b c\"=>NULL, q=>\"x\\\"y\"'", "''"]),
    ("ltree", &["'a.b.c'"]),
    ("integer[]", &["'{1,NULL,-3}'", "'{}'"]),
    ("bigint[]", &["'{1}'"]),
    ("boolean[]", &["'{t,f}'"]),
    ("text[]", &["'{a,NULL,\"it''s, \\\"b\\\"\"}'"]),
    ("varchar(5)[]", &["'{a}'"]),
    ("uuid[]", &["'{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}'"]),
    ("double precision[]", &["'{1.5,1e10}'"]),
    ("numeric(10,2)[]", &["'{1.10,-2}'"]),
    ("numeric[]", &["'{1.10,-2}'"]),
    ("date[]", &["'{2024-01-01}'"]),
    ("timestamp[]", &["'{2024-01-02 03:04:05.123456}'"]),
    ("timestamptz[]", &["'{2024-01-02 03:04:05.1+02}'"]),
    ("jsonb[]", &["ARRAY['{\"a\":1}'::jsonb]"]),
    ("inet[]", &["'{10.0.0.1}'"]),
];

/// What differs where records carry their schema, as the sink's documentation says.
const SCHEMAS_DIFFER: &[(&str, &str)] = &[
    (
        "shop.mood",
        "an enum is plain text, without the labels that it allows",
    ),
    ("shop.shop.whole", "schemas carry no defaults of columns"),
];

fn table(number: usize) -> String {
    format!("t{number:02}")
}

fn schema() -> String {
    let mut sql = String::from(
        "CREATE EXTENSION citext; CREATE EXTENSION hstore; CREATE EXTENSION ltree; \
         CREATE TYPE shop.mood AS ENUM ('sad', 'happy'); CREATE DOMAIN shop.small AS int CHECK (VALUE < 10);",
    );
    for (number, (name, values)) in TYPES.iter().enumerate() {
        let table = table(number);
        sql.push_str(&format!(
            "CREATE TABLE shop.{table} (id int PRIMARY KEY, v {name}, n {name} NOT NULL);"
        ));
        for (id, value) in values.iter().enumerate() {
            sql.push_str(&format!(
                "INSERT INTO shop.{table} VALUES ({id}, {value}, {value});"
            ));
        }
    }
    sql.push_str(
        "CREATE TABLE shop.whole (id int PRIMARY KEY, v text, n int NOT NULL DEFAULT 5); \
         ALTER TABLE shop.whole REPLICA IDENTITY FULL; INSERT INTO shop.whole VALUES (1, 'a');\
         CREATE TABLE shop.bag (v text, n int); ALTER TABLE shop.bag REPLICA IDENTITY FULL; \
         INSERT INTO shop.bag VALUES ('a', 1);\
         CREATE TABLE shop.toast (id int PRIMARY KEY, n int, body text, blob bytea, tags text[]); \
         ALTER TABLE shop.toast ALTER body SET STORAGE EXTERNAL, ALTER blob SET STORAGE EXTERNAL, \
           ALTER tags SET STORAGE EXTERNAL; \
         INSERT INTO shop.toast SELECT 1, 1, repeat('x', 5000), decode(repeat('ab', 5000), 'hex'), \
           ARRAY[repeat('y', 5000)];\
         CREATE TABLE shop.pair (b text, a int, v int, PRIMARY KEY (a, b)); INSERT INTO shop.pair VALUES ('x', 1, 1);\
         CREATE TABLE shop.\"Odd Name\" (\"Id \"\"q\" int PRIMARY KEY, \"größe\" int); \
         INSERT INTO shop.\"Odd Name\" VALUES (1, 1);\
         CREATE TABLE shop.last (id int PRIMARY KEY); INSERT INTO shop.last VALUES (0);",
    );
    sql
}

/// Changes of every table, statement by statement.
fn changes() -> Vec<String> {
    let mut statements = Vec::new();
    for (number, (_, values)) in TYPES.iter().enumerate() {
        let table = table(number);
        for (id, value) in values.iter().enumerate() {
            let id = id + 100;
            statements.push(format!(
                "INSERT INTO shop.{table} VALUES ({id}, {value}, {value})"
            ));
        }
        statements.push(format!("UPDATE shop.{table} SET v = NULL WHERE id = 100"));
        statements.push(format!("DELETE FROM shop.{table} WHERE id = 100"));
    }
    for statement in [
        "UPDATE shop.whole SET v = 'b' WHERE id = 1",
        "UPDATE shop.whole SET id = 2 WHERE id = 1",
        "DELETE FROM shop.whole",
        "UPDATE shop.bag SET n = 2",
        "INSERT INTO shop.bag VALUES (NULL, NULL)",
        "DELETE FROM shop.bag",
        "UPDATE shop.toast SET n = 2",
        "UPDATE shop.toast SET id = 2",
        "DELETE FROM shop.toast",
        "UPDATE shop.pair SET v = 2",
        "UPDATE shop.pair SET a = 2",
        "DELETE FROM shop.pair",
        "UPDATE shop.\"Odd Name\" SET \"größe\" = 2",
        "BEGIN; INSERT INTO shop.whole VALUES (7, 'x'); INSERT INTO shop.pair VALUES ('y', 7, 7); \
         UPDATE shop.whole SET v = 'y' WHERE id = 7; COMMIT",
        "TRUNCATE shop.bag",
        "INSERT INTO shop.last VALUES (1)",
    ] {
        statements.push(statement.to_owned());
    }
    statements
}

type Records = BTreeMap<String, Vec<(Option<String>, Option<String>)>>;

#[tokio::test(flavor = "multi_thread")]
async fn records_are_debeziums_to_the_letter() {
    compare("json", "false", &[], "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_with_their_schema_are_debeziums_to_the_letter() {
    compare("json_with_schema", "true", &[], "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_in_other_modes_are_debeziums_to_the_letter() {
    let theirs = [
        ("decimal.handling.mode", "string"),
        ("binary.handling.mode", "hex"),
        ("time.precision.mode", "adaptive_time_microseconds"),
        ("interval.handling.mode", "string"),
        ("hstore.handling.mode", "map"),
        ("tombstones.on.delete", "false"),
        ("skipped.operations", "none"),
        ("unavailable.value.placeholder", "gone"),
    ];
    let ours = "    decimals: string\n    binary: hex\n    times: adaptive_time_microseconds\n    \
         intervals: string\n    hstore: map\n    tombstones: false\n    skipped_operations: []\n    \
         unavailable_value: gone\n";
    compare("json", "false", &theirs, ours).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_in_connects_own_types_are_debeziums_to_the_letter() {
    let theirs = [
        ("decimal.handling.mode", "double"),
        ("time.precision.mode", "connect"),
    ];
    let ours = "    decimals: double\n    times: connect\n";
    compare("json_with_schema", "true", &theirs, ours).await;
}

async fn compare(format: &str, schemas: &str, theirs: &[(&str, &str)], ours: &str) {
    // One at a time: each is two programs in Java and seventy tables.
    static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _turn = TURN.lock().await;
    let broker = Kafka::start().await;
    let mut scene = Scene::new(Wanted::version(18), &schema()).await;
    let port = scene.server.port().to_string();
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kafka_debezium/Engine.java");
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
        ("key.converter.schemas.enable", schemas),
        ("value.converter.schemas.enable", schemas),
        ("converter.schemas.enable", schemas),
    ];
    settings.extend_from_slice(theirs);
    let debezium = Debezium::start(&program, &settings);
    let config = format!(
        "name: shop\ndata_dir: ./data\nsource:\n  type: postgres\n  url: {}\n  tables: [\"shop.*\"]\n\
         sinks:\n  events:\n    type: kafka\n    brokers: {}\n    format: {format}\n{ours}\
         admin:\n  listen: 127.0.0.1:{}\n",
        scene.server.url("postgres", "postgres"),
        broker.brokers(),
        free_port()
    );
    scene.daemon.configure(&config);
    scene.daemon.start_streaming().await;
    let limit = Duration::from_secs(180);
    eventually("Debezium has read the existing rows", limit, || async {
        let seen = debezium.events();
        let last = seen
            .iter()
            .filter(|it| it.topic == "shop.shop.last")
            .count();
        let rows: usize = TYPES.iter().map(|(_, values)| values.len()).sum();
        let streams = scene
            .server
            .value("SELECT active FROM pg_replication_slots WHERE slot_name = 'debezium'")
            .await;
        match (last, streams.as_deref()) {
            (1.., Some("t")) if seen.len() >= rows => Ok(()),
            _ => Err(format!("{} records\n{}", seen.len(), tail(&debezium.log()))),
        }
    })
    .await;
    for statement in changes() {
        scene.server.execute(&statement).await;
    }
    scene.daemon.caught_up(limit).await;
    eventually("Debezium has read the changes", limit, || async {
        let seen = debezium.events();
        let last = seen
            .iter()
            .filter(|it| it.topic == "shop.shop.last")
            .count();
        if last == 2 {
            Ok(())
        } else {
            Err(format!("{} records\n{}", seen.len(), tail(&debezium.log())))
        }
    })
    .await;
    let mut theirs = Records::new();
    // A tombstone without a key says nothing; we write none.
    let says = |event: &Event| event.key.is_some() || event.value.is_some();
    for event in debezium.events().into_iter().filter(says) {
        let record = (event.key, event.value.as_deref().map(masked));
        theirs.entry(event.topic).or_default().push(record);
    }
    let mut differences = String::new();
    for (topic, theirs) in &theirs {
        let ours: Vec<Consumed> = consume(&broker.brokers(), topic)
            .expect("the broker answers")
            .unwrap_or_default();
        let ours: Vec<_> = ours
            .into_iter()
            .map(|record| (record.key, record.value.as_deref().map(masked)))
            .collect();
        let number = topic
            .strip_prefix("shop.shop.t")
            .and_then(|it| it.parse::<usize>().ok());
        let name = number.map_or(topic.as_str(), |number| TYPES[number].0);
        let known = schemas == "true" && SCHEMAS_DIFFER.iter().any(|(differs, _)| *differs == name);
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
    assert!(theirs.len() >= TYPES.len(), "only {} topics", theirs.len());
    assert!(differences.is_empty(), "{differences}");
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
