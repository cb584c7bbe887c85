//! Outbox tables, beside Debezium's `EventRouter`.

use cdc_integration::kafka::consume;
use serde_json::Value;

use crate::beside::{self, ENGINES, Pair, Wishes};

const SCHEMA: &str = "CREATE TABLE shop.outbox (id uuid PRIMARY KEY, aggregatetype text NOT NULL, aggregateid text NOT NULL, type text NOT NULL, payload jsonb); \
     INSERT INTO shop.outbox VALUES ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a10', 'order', '7', 'created', '{\"a\": 1}'); \
     CREATE TABLE shop.t (id int PRIMARY KEY);";

const CHANGES: &[&str] = &[
    "BEGIN; INSERT INTO shop.t VALUES (1); INSERT INTO shop.outbox VALUES ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'order', '8', 'created', '{\"b\": \"x\\\"ü🦆\"}'); COMMIT",
    "INSERT INTO shop.outbox VALUES ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12', 'customer', '9', 'gone', NULL)",
    "UPDATE shop.outbox SET type = 'z'",
    "DELETE FROM shop.outbox",
];

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_an_outbox_are_the_events_that_debezium_routes() {
    let outcome = beside::run(
        Wishes {
            schema: SCHEMA,
            changes: CHANGES,
            pairs: &[Pair {
                prefix: "routed",
            theirs: &[
                ("key.converter.schemas.enable", "false"),
                ("value.converter.schemas.enable", "false"),
                ("converter.schemas.enable", "false"),
                ("transforms", "outbox"),
                (
                    "transforms.outbox.type",
                    "io.debezium.transforms.outbox.EventRouter",
                ),
                ("transforms.outbox.predicate", "own"),
                ("predicates", "own"),
                (
                    "predicates.own.type",
                    "org.apache.kafka.connect.transforms.predicates.TopicNameMatches",
                ),
                ("predicates.own.pattern", "routed.shop.outbox"),
            ],
                ours: "    outbox:\n      tables: [shop.outbox]\n      headers: {type: eventType}\n",
            }],
            program: ENGINES,
            jars: &[],
        },
        None,
    )
    .await;
    // Debezium's engine has them as JSON, we as they are.
    let text = |json: &str| {
        serde_json::from_str::<Value>(json)
            .expect("JSON")
            .as_str()
            .expect("text")
            .to_owned()
    };
    for (topic, wanted) in [("outbox.event.order", 2), ("outbox.event.customer", 1)] {
        let ours = outcome.ours(topic);
        let theirs = &outcome.theirs[topic];
        assert_eq!((ours.len(), theirs.len()), (wanted, wanted), "{topic}");
        for (ours, theirs) in ours.iter().zip(theirs) {
            assert_eq!(ours.key, theirs.key.as_deref().map(text));
            assert_eq!(ours.value, theirs.value.as_deref().map(text));
        }
    }
    let order = &outcome.ours("outbox.event.order")[1];
    assert_eq!(order.headers["id"], b"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11");
    assert_eq!(order.headers["eventType"], b"created");
    // Other tables are as ever, and the outbox has no topic of its own.
    assert_eq!(outcome.ours("routed.shop.t").len(), 1);
    let own = consume(&outcome.brokers, "routed.shop.outbox").expect("it answers");
    assert_eq!(own, None);
}
