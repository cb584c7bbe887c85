//! Debezium's own engine and ours on the same database: keys and values compared as text, one table a type, for
//! existing rows and for changes; and Kafka Connect's converter reads what we wrote.
//!
//! Left out of the comparison is what the sink's documentation lists: `version`, `snapshot` and the places of
//! existing rows in `source`, the first half of `sequence`, what MySQL's `source` says of the log's files, and the
//! times at which a record was made.

#[path = "kafka_debezium/compare.rs"]
mod compare;
#[path = "kafka_debezium/mysql.rs"]
mod mysql;
#[path = "kafka_debezium/postgres.rs"]
mod postgres;

use cdc_integration::mysql::{Flavor, Mysql};
use cdc_integration::postgres::Wanted;
use cdc_integration::scene::Scene;
use cdc_integration::server::Server;
use compare::{Case, Modes};

#[tokio::test(flavor = "multi_thread")]
async fn records_of_postgres_are_debeziums_to_the_letter_in_every_mode() {
    let modes = [
        Modes {
            prefix: "pg_plain",
            format: "json",
            theirs: &[],
            ours: "",
        },
        Modes {
            prefix: "pg_schemas",
            format: "json_with_schema",
            theirs: &[],
            ours: "",
        },
        Modes {
            prefix: "pg_texts",
            format: "json",
            theirs: &[
                ("decimal.handling.mode", "string"),
                ("binary.handling.mode", "hex"),
                ("time.precision.mode", "adaptive_time_microseconds"),
                ("interval.handling.mode", "string"),
                ("hstore.handling.mode", "map"),
                ("tombstones.on.delete", "false"),
                ("skipped.operations", "none"),
                ("unavailable.value.placeholder", "gone"),
            ],
            ours: "    decimals: string\n    binary: hex\n    times: adaptive_time_microseconds\n    \
                   intervals: string\n    hstore: map\n    tombstones: false\n    skipped_operations: []\n    \
                   unavailable_value: gone\n",
        },
        Modes {
            prefix: "pg_connect",
            format: "json_with_schema",
            theirs: &[
                ("decimal.handling.mode", "double"),
                ("time.precision.mode", "connect"),
            ],
            ours: "    decimals: double\n    times: connect\n",
        },
        Modes {
            prefix: "pg_micros",
            format: "json",
            theirs: &[("time.precision.mode", "microseconds")],
            ours: "    times: microseconds\n",
        },
        Modes {
            prefix: "pg_iso",
            format: "json",
            theirs: &[("time.precision.mode", "isostring")],
            ours: "    times: isostring\n",
        },
    ];
    postgres(&modes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_mysql_are_debeziums_to_the_letter_in_every_mode() {
    let modes = [
        Modes {
            prefix: "mysql_plain",
            format: "json",
            theirs: &[],
            ours: "",
        },
        Modes {
            prefix: "mysql_schemas",
            format: "json_with_schema",
            theirs: &[("bigint.unsigned.handling.mode", "precise")],
            ours: "    unsigned_bigint: precise\n",
        },
        // Of times that are none of a day Debezium makes no ISO text: it stops.
        Modes {
            prefix: "mysql_micros",
            format: "json",
            theirs: &[("time.precision.mode", "microseconds")],
            ours: "    times: microseconds\n",
        },
    ];
    mysql(&modes).await;
}

async fn postgres(modes: &[Modes]) {
    let scene = Scene::new(Wanted::version(18), &postgres::schema()).await;
    let own = |(key, value): (&'static str, &str)| (key, value.to_owned());
    let case = Case {
        types: postgres::TYPES,
        changes: postgres::changes(),
        source: ("postgres", scene.server.url("postgres", "postgres")),
        connector: [
            (
                "connector.class",
                "io.debezium.connector.postgresql.PostgresConnector",
            ),
            ("database.port", &scene.server.port().to_string()),
            ("database.user", "postgres"),
            ("database.password", "x"),
            ("database.dbname", "postgres"),
            ("schema.include.list", "shop"),
            ("plugin.name", "pgoutput"),
        ]
        .map(own)
        .to_vec(),
        own: &[("slot.name", "debezium"), ("publication.name", "debezium")],
        differ: &[],
        schemas_differ: &[
            (
                "shop.mood",
                "an enum is plain text, without the labels that it allows",
            ),
            ("shop.whole", "schemas carry no defaults of columns"),
        ],
    };
    compare::compare(scene, &case, modes).await;
}

async fn mysql(modes: &[Modes]) {
    let scene = Scene::on(Mysql::start(Flavor::MySql).await, &mysql::schema()).await;
    let own = |(key, value): (&'static str, &str)| (key, value.to_owned());
    let case = Case {
        types: mysql::TYPES,
        changes: mysql::changes(),
        source: ("mysql", Mysql::url_at(scene.server.port())),
        connector: [
            (
                "connector.class",
                "io.debezium.connector.mysql.MySqlConnector",
            ),
            ("database.port", &scene.server.port().to_string()),
            ("database.user", "root"),
            ("database.include.list", "shop"),
            ("include.schema.changes", "false"),
            ("driver.allowPublicKeyRetrieval", "true"),
            (
                "schema.history.internal",
                "io.debezium.relational.history.MemorySchemaHistory",
            ),
        ]
        .map(own)
        .to_vec(),
        own: &[("database.server.id", "777")],
        differ: &[
            (
                "float",
                "its snapshot has six digits, as the server prints them",
            ),
            (
                "timestamp(3)",
                "its snapshot cuts zeros that its stream leaves",
            ),
            (
                "timestamp(6)",
                "its snapshot cuts zeros that its stream leaves",
            ),
            (
                "json",
                "its stream leaves out the spaces that its snapshot has",
            ),
        ],
        schemas_differ: &[
            ("enum('a','b','c')", "an enum is plain text"),
            ("set('a','b','c')", "a set is plain text"),
            ("shop.whole", "schemas carry no defaults of columns"),
        ],
    };
    compare::compare(scene, &case, modes).await;
}
