//! The row alone, beside Debezium's `ExtractNewRecordState`.

use crate::beside::{self, ENGINES, Pair, Wishes};

const SCHEMA: &str = "CREATE TABLE shop.t (id int PRIMARY KEY, v text, n int NOT NULL); INSERT INTO shop.t VALUES (1, 'a', 1); \
     CREATE TABLE shop.w (id int PRIMARY KEY, v text); ALTER TABLE shop.w REPLICA IDENTITY FULL; \
     CREATE TABLE shop.bag (v text); ALTER TABLE shop.bag REPLICA IDENTITY FULL;";

const CHANGES: &[&str] = &[
    "BEGIN; INSERT INTO shop.t VALUES (2, 'b', 2); INSERT INTO shop.w VALUES (1, 'x'); UPDATE shop.t SET v = 'c' WHERE id = 2; COMMIT",
    "UPDATE shop.t SET id = 3 WHERE id = 2",
    "DELETE FROM shop.t WHERE id = 3",
    "UPDATE shop.w SET v = 'y'",
    "DELETE FROM shop.w",
    "INSERT INTO shop.bag VALUES ('a')",
    "UPDATE shop.bag SET v = 'b'",
    "TRUNCATE shop.bag",
];

const PLAIN: [(&str, &str); 3] = [
    ("key.converter.schemas.enable", "false"),
    ("value.converter.schemas.enable", "false"),
    ("converter.schemas.enable", "false"),
];

const DELETES: &str = "transforms.unwrap.delete.tombstone.handling.mode";

const FIELDS: &str = "op,lsn,source.ts_ms,source.version,source.snapshot,txId,transaction.id,transaction.total_order,\
     ts_ms:made";

type Settings = Vec<(&'static str, &'static str)>;

/// By prefix: Debezium's settings beside those that make it write the row alone, and ours.
fn modes() -> [(&'static str, Settings, String); 4] {
    let plain = |more: &[(&'static str, &'static str)]| [&PLAIN, more].concat();
    [
        ("flat", plain(&[]), String::new()),
        (
            "flat_rewritten",
            plain(&[(DELETES, "rewrite")]),
            "    flat:\n      deletes: rewrite\n".to_owned(),
        ),
        (
            "flat_fields",
            vec![
                ("converter.schemas.enable", "true"),
                ("provide.transaction.metadata", "true"),
                (DELETES, "rewrite-with-tombstone"),
                ("transforms.unwrap.add.fields", FIELDS),
            ],
            format!(
                "    format: json_with_schema\n    transaction_metadata: true\n    flat:\n      \
                 deletes: rewrite_with_tombstone\n      add_fields: [{}]\n",
                FIELDS.replace("ts_ms:made", "'ts_ms:made'")
            ),
        ),
        (
            "flat_headers",
            plain(&[(DELETES, "drop")]),
            "    flat:\n      deletes: drop\n      add_headers: [op, source.table, lsn]\n"
                .to_owned(),
        ),
    ]
}

/// All records of tables are the same text. Where rows have members of the envelope beside them, those of existing rows
/// and times of making are left out.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_alone_is_debeziums_and_a_delete_is_a_tombstone_rewritten_or_left_out() {
    let modes = modes().map(|(prefix, own, ours)| {
        let mut theirs = vec![
            ("transforms", "unwrap"),
            (
                "transforms.unwrap.type",
                "io.debezium.transforms.ExtractNewRecordState",
            ),
            ("skipped.operations", "none"),
        ];
        theirs.extend(own);
        let ours = format!("    envelope: flat\n    skipped_operations: []\n{ours}");
        (prefix, theirs, ours)
    });
    let pairs = modes.each_ref().map(|(prefix, theirs, ours)| Pair {
        prefix,
        theirs,
        ours,
    });
    let outcome = beside::run(
        Wishes {
            schema: SCHEMA,
            changes: CHANGES,
            pairs: &pairs,
            program: ENGINES,
            jars: &[],
        },
        None,
    )
    .await;
    for Pair { prefix, .. } in pairs {
        for table in ["t", "w", "bag", "zlast"] {
            let topic = format!("{prefix}.shop.{table}");
            let ours: Vec<_> = outcome
                .ours(&topic)
                .into_iter()
                .map(|it| (it.key, it.value.map(|it| stable(it, table))))
                .collect();
            let theirs = outcome.theirs.get(&topic).into_iter().flatten();
            let theirs: Vec<_> = theirs
                .map(|it| (it.key.clone(), it.value.clone().map(|it| stable(it, table))))
                .filter(|(key, value)| key.is_some() || value.is_some())
                .collect();
            assert_eq!(ours, theirs, "{topic}");
        }
    }
    let values = |topic: &str| {
        let records = outcome.ours(topic).into_iter();
        records.filter_map(|it| it.value).collect::<Vec<_>>()
    };
    assert_eq!(
        values("flat_rewritten.shop.w"),
        [
            r#"{"id":1,"v":"x","__deleted":"false"}"#,
            r#"{"id":1,"v":"y","__deleted":"false"}"#,
            r#"{"id":1,"v":"y","__deleted":"true"}"#,
        ]
    );
    let deleted = values("flat_fields.shop.t");
    let deleted = deleted
        .iter()
        .filter(|it| it.contains("\"__deleted\":\"true\""));
    assert_eq!(deleted.count(), 2);
    for record in outcome.ours("flat_headers.shop.w") {
        let text = |name: &str| String::from_utf8(record.headers[name].clone()).expect("text");
        assert!(["c", "u"].contains(&text("__op").as_str()));
        assert_eq!(text("__source_table"), "w");
        assert!(text("__lsn").parse::<u64>().expect("a number") > 0);
    }
}

/// Without the places of existing rows, the version and the commit before; and without the place in its transaction of an
/// update with its whole old row, which takes two.
fn stable(mut value: String, table: &str) -> String {
    let whole = ["w", "bag"].contains(&table) && value.contains("\"__op\":\"u\"");
    let existing = value.contains("\"__op\":\"r\"");
    let places = [
        "\"__source_lsn\":",
        "\"__lsn\":",
        "\"__source_ts_ms\":",
        "\"__source_snapshot\":",
        "\"__txId\":",
    ];
    let always = [
        "\"__made\":",
        "\"__source_version\":",
        "\"__source_sequence\":",
    ];
    let order = ["\"__transaction_total_order\":"];
    let masks = places.iter().filter(|_| existing).chain(&always);
    let masks = masks.chain(order.iter().filter(|_| whole));
    for label in masks {
        // Of a schema's own text there is none: it says "field":.
        let Some(start) = value.rfind(label).map(|at| at + label.len()) else {
            continue;
        };
        let rest = &value[start..];
        let end = if rest.starts_with("\"[") {
            rest.find("]\"").map(|at| at + 2)
        } else {
            rest.find([',', '}'])
        };
        value.replace_range(start..start + end.expect("an end"), "*");
    }
    value
}
