//! Avro: schemas in a real registry are the converter's text, and what Avro's own reader makes of the bytes are the
//! same values.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use cdc_integration::kafka::debezium::answer;
use cdc_integration::kafka::registry::Registry;
use cdc_integration::kafka::{Kafka, consume};
use cdc_integration::postgres::Wanted;
use cdc_integration::scene::Scene;
use cdc_integration::{eventually, free_port};
use serde_json::Value;

use crate::beside::{self, Pair, Wishes, masked};

const TYPES: &[(&str, &[&str])] = &[
    ("boolean", &["true"]),
    ("smallint", &["-32768"]),
    ("integer", &["-2147483648"]),
    ("bigint", &["-9223372036854775808"]),
    ("real", &["1.1", "'NaN'"]),
    ("double precision", &["0.1", "'-Infinity'"]),
    ("numeric(10,2)", &["-12345678.90", "0"]),
    (
        "numeric(50,10)",
        &["1234567890123456789012345678901234567890.5"],
    ),
    ("numeric", &["-123456789012345678901234567890.000000001"]),
    ("money", &["-1234567.89"]),
    ("bit", &["B'1'"]),
    ("bit(11)", &["B'10000000011'"]),
    (
        "text",
        &["'ünï \" \\ / 漢字 🦆'", "''", "repeat('x', 5000)"],
    ),
    ("bytea", &["'\\x00ff10'"]),
    ("uuid", &["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"]),
    ("jsonb", &["'{\"b\":1}'"]),
    ("xml", &["'<a>b</a>'"]),
    ("date", &["'0001-01-01'"]),
    ("time", &["'13:14:15.123456'"]),
    ("time(3)", &["'13:14:15.123'"]),
    ("timestamp", &["'2024-01-02 03:04:05.123456'", "'infinity'"]),
    ("timestamp(3)", &["'2024-01-02 03:04:05.123'"]),
    (
        "timestamptz",
        &["'2024-01-02 03:04:05.123456+02'", "'infinity'"],
    ),
    ("timetz", &["'04:05:06.789-03:30'"]),
    ("interval", &["'1 year 2 months -3 days 04:05:06.7'"]),
    ("inet", &["'192.168.1.1'"]),
    ("int4range", &["'[1,5)'"]),
    ("point", &["'(1.5,-2)'"]),
    ("citext", &["'MiXed'"]),
    ("hstore", &["'a=>1, \"b c\"=>NULL'", "''"]),
    ("ltree", &["'a.b.c'"]),
    ("integer[]", &["'{1,NULL,-3}'", "'{}'"]),
    ("text[]", &["'{a,NULL}'"]),
    ("numeric[]", &["'{1.10,-2}'"]),
    ("timestamptz[]", &["'{2024-01-02 03:04:05.1+02}'"]),
];

/// A row of all types; where a type has fewer values than others its last comes again.
fn row(id: usize, at: usize) -> String {
    let values = TYPES
        .iter()
        .map(|(_, values)| values[at.min(values.len() - 1)]);
    let values: Vec<&str> = values.flat_map(|value| [value, value]).collect();
    format!(
        "INSERT INTO shop.kinds VALUES ({id}, {})",
        values.join(", ")
    )
}

fn schema() -> String {
    let mut sql =
        String::from("CREATE EXTENSION citext; CREATE EXTENSION hstore; CREATE EXTENSION ltree;");
    let columns: Vec<String> = TYPES
        .iter()
        .enumerate()
        .map(|(number, (kind, _))| format!("v{number:02} {kind}, n{number:02} {kind} NOT NULL"))
        .collect();
    sql.push_str(&format!(
        "CREATE TABLE shop.kinds (id int PRIMARY KEY, {});",
        columns.join(", ")
    ));
    sql.push_str(&format!("{};", row(0, 0)));
    sql.push_str(
        "CREATE TABLE shop.\"Odd-Name\" (\"1d\" int, \"grö ße\" text, \"b\" smallint, PRIMARY KEY (b, \"1d\")); \
         INSERT INTO shop.\"Odd-Name\" VALUES (1, 'x', 2);\
         CREATE TABLE shop.bag (v text, n int); ALTER TABLE shop.bag REPLICA IDENTITY FULL; \
         INSERT INTO shop.bag VALUES ('a', 1);\
         CREATE TABLE shop.toast (id int PRIMARY KEY, n int, body text, blob bytea, tags text[], numbers int[], \
           ids uuid[], whole text NOT NULL, map hstore); \
         ALTER TABLE shop.toast ALTER body SET STORAGE EXTERNAL, ALTER blob SET STORAGE EXTERNAL, \
           ALTER tags SET STORAGE EXTERNAL, ALTER numbers SET STORAGE EXTERNAL, ALTER ids SET STORAGE EXTERNAL, \
           ALTER whole SET STORAGE EXTERNAL, ALTER map SET STORAGE EXTERNAL; \
         INSERT INTO shop.toast SELECT 1, 1, repeat('x', 5000), decode(repeat('ab', 5000), 'hex'), \
           ARRAY[repeat('y', 5000)], array_agg(g), array_agg(gen_random_uuid()), repeat('z', 5000), \
           hstore('k', repeat('w', 5000)) FROM generate_series(1, 3000) g;",
    );
    sql
}

fn changes() -> Vec<String> {
    let nulls: Vec<String> = (0..TYPES.len())
        .map(|number| format!("v{number:02} = NULL"))
        .collect();
    let mut statements = vec![
        row(100, 0),
        row(101, 1),
        row(102, 2),
        format!("UPDATE shop.kinds SET {} WHERE id = 100", nulls.join(", ")),
        "DELETE FROM shop.kinds WHERE id = 100".to_owned(),
    ];
    for statement in [
        "UPDATE shop.\"Odd-Name\" SET \"1d\" = 7",
        "DELETE FROM shop.\"Odd-Name\"",
        "UPDATE shop.bag SET n = 2",
        "INSERT INTO shop.bag VALUES (NULL, NULL)",
        "DELETE FROM shop.bag",
        "UPDATE shop.toast SET n = 2",
        "TRUNCATE shop.bag",
    ] {
        statements.push(statement.to_owned());
    }
    statements
}

/// Key and value of a record, each as the schema's text, a bar, and the bytes in base64.
type Written = (Option<String>, Option<String>);

/// The same with what the bytes say.
type Said = (Option<(String, Value)>, Option<(String, Value)>);

/// Has Avro's own reader read all records of all topics.
fn read(topics: &BTreeMap<String, Vec<Written>>) -> BTreeMap<String, Vec<Said>> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kafka_formats/Read.java");
    let parts = topics
        .values()
        .flatten()
        .flat_map(|(key, value)| key.iter().chain(value));
    let lines: Vec<&str> = parts.map(String::as_str).collect();
    let answers = answer(&program, &(lines.join("\n") + "\n"));
    let mut answers = answers.lines();
    let mut said = |topic: &str, part: &Option<String>| {
        let (schema, _) = part.as_deref()?.rsplit_once('|').expect("both");
        let line = answers.next().expect("an answer for each");
        let value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let mut value = masked(value);
        // An update with its whole old row takes two places in its transaction.
        if topic.ends_with(".bag")
            && value["op"] == "u"
            && let Some(order) = value.pointer_mut("/transaction/total_order")
        {
            *order = Value::Null;
        }
        Some((schema.to_owned(), value))
    };
    topics
        .iter()
        .map(|(topic, records)| {
            let records = records
                .iter()
                .map(|(key, value)| (said(topic, key), said(topic, value)));
            (topic.clone(), records.collect())
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_and_values_are_the_converters() {
    let registry = Registry::start().await;
    let (schema, changes) = (schema(), changes());
    let changes: Vec<&str> = changes.iter().map(String::as_str).collect();
    let outcome = beside::run(
        Wishes {
            schema: &schema,
            changes: &changes,
            pairs: &[Pair {
                prefix: "avro",
                theirs: &[
                    ("schema.name.adjustment.mode", "avro"),
                    ("field.name.adjustment.mode", "avro"),
                    ("skipped.operations", "none"),
                    ("provide.transaction.metadata", "true"),
                ],
                ours: "    format: avro\n    skipped_operations: []\n    transaction_metadata: true\n",
            }],
            program: "kafka_formats/Avro.java",
            jars: &["avro-2"],
        },
        Some(&registry),
    )
    .await;
    let mut texts: BTreeMap<u32, String> = BTreeMap::new();
    let mut ours: BTreeMap<String, Vec<Written>> = BTreeMap::new();
    let mut theirs: BTreeMap<String, Vec<Written>> = BTreeMap::new();
    for (topic, events) in &outcome.theirs {
        if topic.starts_with("avro.shop.") {
            let events = events.iter().map(|it| (it.key.clone(), it.value.clone()));
            let says = |it: &Written| it.0.is_some() || it.1.is_some();
            theirs.insert(topic.clone(), events.filter(says).collect());
            let mut part = |bytes: &Option<Vec<u8>>| {
                let bytes = bytes.as_deref()?;
                assert_eq!(bytes[0], 0, "the magic byte");
                let id = u32::from_be_bytes(bytes[1..5].try_into().expect("four"));
                let text = texts.entry(id).or_insert_with(|| registry.schema(id));
                Some(format!("{text}|{}", BASE64.encode(&bytes[5..])))
            };
            let records = outcome.ours(topic);
            let records = records
                .iter()
                .map(|it| (part(&it.bytes.0), part(&it.bytes.1)));
            ours.insert(topic.clone(), records.collect());
        }
    }
    let (ours, theirs) = (read(&ours), read(&theirs));
    let mut differences = String::new();
    let mut compared = 0;
    for (topic, theirs) in &theirs {
        let ours = &ours[topic];
        compared += ours.len();
        if ours != theirs {
            differences.push_str(&format!("{topic}: {} and {}\n", ours.len(), theirs.len()));
            let mut places = 0..ours.len().max(theirs.len());
            if let Some(at) = places.find(|&at| ours.get(at) != theirs.get(at)) {
                let (ours, theirs) = (ours.get(at), theirs.get(at));
                differences.push_str(&format!("  ours   {ours:?}\n  theirs {theirs:?}\n"));
            }
        }
    }
    assert!(differences.is_empty(), "{differences}");
    assert!(compared >= 20, "only {compared} records");
    let subjects = registry.subjects();
    for subject in [
        "avro.shop.kinds-key",
        "avro.shop.kinds-value",
        "avro.shop.bag-value",
    ] {
        assert!(
            subjects.iter().any(|it| it == subject),
            "{subject} in {subjects:?}"
        );
    }
    assert!(
        !subjects.iter().any(|it| it == "avro.shop.bag-key"),
        "there is no key"
    );
    outcome.scene.daemon.assert_log_clean();
}

/// A daemon that writes Avro into a broker, and the schema of its two tables.
async fn scene(broker: &Kafka, more: &str) -> Scene {
    let sql = "CREATE TABLE shop.a (id int PRIMARY KEY, v int); INSERT INTO shop.a VALUES (1, 1); \
               CREATE TABLE shop.b (id int PRIMARY KEY, v int); INSERT INTO shop.b VALUES (1, 1);";
    let scene = Scene::new(Wanted::version(18), sql).await;
    scene.daemon.configure(&format!(
        "name: shop\ndata_dir: ./data\nsource:\n  type: postgres\n  url: {}\n  tables: [\"shop.*\"]\nsinks:\n  \
         events:\n    type: kafka\n    brokers: {}\n    format: avro\n{more}admin:\n  listen: 127.0.0.1:{}\n",
        scene.server.url("postgres", "postgres"),
        broker.brokers(),
        free_port()
    ));
    scene
}

const LIMIT: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_is_not_compatible_stops_its_table_with_the_remedy_and_the_others_go_on() {
    let (broker, registry) = (Kafka::start().await, Registry::start().await);
    let url = format!(
        "    schema_registry:\n      url: {}\n      subjects: topic_record\n",
        registry.url()
    );
    let mut scene = scene(&broker, &url).await;
    scene.daemon.start_streaming().await;
    scene
        .execute("ALTER TABLE shop.a ADD w text; INSERT INTO shop.a VALUES (2, 2, 'x')")
        .await;
    scene.daemon.caught_up(LIMIT).await;
    assert_eq!(
        consume(&broker.brokers(), "shop.shop.a")
            .expect("it answers")
            .expect("is there")
            .len(),
        2
    );
    scene
        .execute("ALTER TABLE shop.a ALTER v TYPE text; INSERT INTO shop.a VALUES (3, '3', 'x'); INSERT INTO shop.b VALUES (2, 2)")
        .await;
    let commands = scene.daemon.commands();
    eventually("table a has stopped and b has gone on", LIMIT, || async {
        let status = commands.status()?;
        let table = |name: &str| status.sinks[0].tables.iter().find(|it| it.table == name);
        let (a, b) = (table("a").ok_or("no a")?, table("b").ok_or("no b")?);
        let records = consume(&broker.brokers(), "shop.shop.b")?.unwrap_or_default();
        if (a.state.as_str(), b.state.as_str(), records.len()) == ("failed", "streaming", 2) {
            let said = a.error.to_string();
            for wanted in [
                "is not compatible with what subject shop.shop.a-shop.shop.a.Envelope has",
                "compatibility",
                "cdc snapshot shop.a",
            ] {
                assert!(said.contains(wanted), "{said}");
            }
            return Ok(());
        }
        Err(format!("{a:?} {b:?} {}", records.len()))
    })
    .await;
    // The remedy that it names, in this registry's way: it has no NONE for one subject.
    let (status, _) = registry
        .ask("PUT", "/config", "{\"compatibility\":\"NONE\"}")
        .expect("it answers");
    assert_eq!(status, 200);
    commands
        .succeed(&["snapshot", "shop.a"])
        .expect("is copied");
    scene.daemon.caught_up(LIMIT).await;
    // Two records, and three existing rows.
    assert_eq!(
        consume(&broker.brokers(), "shop.shop.a")
            .expect("it answers")
            .expect("is there")
            .len(),
        5
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_not_there_is_told_and_waited_for() {
    let (broker, port) = (Kafka::start().await, free_port());
    let more =
        format!("    schema_registry:\n      url: http://127.0.0.1:{port}/apis/ccompat/v7\n");
    let mut scene = scene(&broker, &more).await;
    let commands = scene.daemon.commands();
    let checked = commands.cdc(&["check"]);
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(
        !checked.status.success() && said.contains("schema_registry"),
        "{said}"
    );
    scene.daemon.start();
    eventually("the sink waits", LIMIT, || async {
        let status = commands.status()?;
        let said = status.sinks[0].error.to_string();
        if said.contains("schema registry")
            || status.sinks[0]
                .tables
                .iter()
                .any(|it| it.error.to_string().contains("schema registry"))
        {
            return Ok(());
        }
        Err(format!("{status:?}"))
    })
    .await;
    let _registry = Registry::start_at(port, &[]).await;
    scene.daemon.caught_up(LIMIT).await;
    assert_eq!(
        consume(&broker.brokers(), "shop.shop.a")
            .expect("it answers")
            .expect("is there")
            .len(),
        1
    );
    assert!(commands.cdc(&["check"]).status.success());
}
