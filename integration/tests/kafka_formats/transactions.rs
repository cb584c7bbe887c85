//! Transactions as consumers are told of them, and heartbeats, beside Debezium's.

use serde_json::Value;

use crate::beside::{self, ENGINES, Pair, Wishes, masked};

const SCHEMA: &str = "CREATE TABLE shop.t (id int PRIMARY KEY, v text); CREATE TABLE shop.u (id int PRIMARY KEY); \
     INSERT INTO shop.u VALUES (0);";

const CHANGES: &[&str] = &[
    "BEGIN; INSERT INTO shop.t VALUES (1, 'a'), (2, 'b'); INSERT INTO shop.u VALUES (1); UPDATE shop.t SET v = 'c' WHERE id = 1; \
     DELETE FROM shop.u WHERE id = 1; COMMIT",
    "UPDATE shop.t SET id = 3 WHERE id = 2",
    "BEGIN; INSERT INTO shop.t VALUES (8, 'x'); ROLLBACK",
    "INSERT INTO shop.u SELECT generate_series(100, 3000)",
];

/// Of an id its transaction; the place is that of another record in ours.
fn transaction(id: &Value) -> &str {
    let id = id.as_str().expect("text");
    id.split_once(':').expect("transaction and place").0
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_say_their_transaction_and_its_begin_and_end_are_told_as_by_debezium() {
    const THEIRS: [(&str, &str); 2] = [
        ("provide.transaction.metadata", "true"),
        ("heartbeat.interval.ms", "1000"),
    ];
    const OURS: &str = "    transaction_metadata: true\n    heartbeat_seconds: 1\n";
    let enabled = |schemas: &'static str| {
        let mut theirs = THEIRS.to_vec();
        theirs.push(("key.converter.schemas.enable", schemas));
        theirs.push(("value.converter.schemas.enable", schemas));
        theirs.push(("converter.schemas.enable", schemas));
        theirs
    };
    let ours = format!("    format: json_with_schema\n{OURS}");
    let outcome = beside::run(
        Wishes {
            schema: SCHEMA,
            changes: CHANGES,
            pairs: &[
                Pair {
                    prefix: "told",
                    theirs: &enabled("false"),
                    ours: OURS,
                },
                Pair {
                    prefix: "told_schemas",
                    theirs: &enabled("true"),
                    ours: &ours,
                },
            ],
            program: ENGINES,
            jars: &[],
        },
        None,
    )
    .await;
    for (prefix, schemas) in [("told", false), ("told_schemas", true)] {
        let json = |text: Option<&str>| -> Value {
            text.map_or(Value::Null, |text| {
                serde_json::from_str(text).expect("JSON")
            })
        };
        let payload = |value: &Value| value.get("payload").unwrap_or(value).clone();
        for table in ["t", "u"] {
            let table = &format!("{prefix}.shop.{table}");
            let ours: Vec<_> = outcome
                .ours(table)
                .iter()
                .map(|it| masked(payload(&json(it.value.as_deref()))))
                .collect();
            let theirs: Vec<_> = outcome.theirs[table]
                .iter()
                .map(|it| masked(payload(&json(it.value.as_deref()))))
                .collect();
            assert_eq!(ours, theirs, "{table}");
        }
        // Keys and values but for the places in ids, which are the same as text.
        let told = |key: Value, value: Value| {
            let (said, mut members) = (payload(&value), value.clone());
            assert_eq!(payload(&key)["id"], said["id"]);
            let schema = members.get_mut("schema").map(Value::take);
            let mut counts: Vec<String> = said["data_collections"]
                .as_array()
                .into_iter()
                .flatten()
                .map(Value::to_string)
                .collect();
            counts.sort();
            (
                key.get("schema").cloned(),
                schema,
                transaction(&said["id"]).to_owned(),
                said["status"].clone(),
                said["event_count"].clone(),
                counts,
                said["ts_ms"].clone(),
            )
        };
        let ours: Vec<_> = outcome
            .ours(&format!("{prefix}.transaction"))
            .iter()
            .map(|it| told(json(it.key.as_deref()), json(it.value.as_deref())))
            .collect();
        let theirs: Vec<_> = outcome.theirs[&format!("{prefix}.transaction")]
            .iter()
            .map(|it| told(json(it.key.as_deref()), json(it.value.as_deref())))
            .collect();
        assert_eq!(ours, theirs);
        assert_eq!(ours.len(), 8);
        let beat = |key: Option<&str>, value: Option<&str>| {
            let mut value = json(value);
            let time = value
                .pointer_mut(if schemas { "/payload/ts_ms" } else { "/ts_ms" })
                .map(Value::take);
            assert!(time.is_some_and(|it| it.as_u64() > Some(1_700_000_000_000)));
            (json(key), value)
        };
        let topic = &format!("__debezium-heartbeat.{prefix}");
        let ours = outcome.ours(topic);
        let theirs = &outcome.theirs[topic][0];
        assert_eq!(
            beat(ours[0].key.as_deref(), ours[0].value.as_deref()),
            beat(theirs.key.as_deref(), theirs.value.as_deref())
        );
    }
}
