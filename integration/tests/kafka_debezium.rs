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

/// One at a time: each is two programs in Java and some sixty tables.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test(flavor = "multi_thread")]
async fn records_are_debeziums_to_the_letter() {
    postgres("json", &[], "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_with_their_schema_are_debeziums_to_the_letter() {
    postgres("json_with_schema", &[], "").await;
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
    postgres("json", &theirs, ours).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_in_connects_own_types_are_debeziums_to_the_letter() {
    let theirs = [
        ("decimal.handling.mode", "double"),
        ("time.precision.mode", "connect"),
    ];
    let ours = "    decimals: double\n    times: connect\n";
    postgres("json_with_schema", &theirs, ours).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn times_in_every_other_form_are_debeziums_to_the_letter() {
    let mode = |mode: &'static str| {
        (
            [("time.precision.mode", mode)],
            format!("    times: {mode}\n"),
        )
    };
    let (theirs, ours) = mode("microseconds");
    postgres("json", &theirs, &ours).await;
    mysql("json", &theirs, &ours).await;
    // Of MySQL's times that are none of a day Debezium makes no text: it stops.
    let (theirs, ours) = mode("isostring");
    postgres("json", &theirs, &ours).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_mysql_are_debeziums_to_the_letter() {
    mysql("json", &[], "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_mysql_with_their_schema_are_debeziums_to_the_letter() {
    let theirs = [("bigint.unsigned.handling.mode", "precise")];
    mysql(
        "json_with_schema",
        &theirs,
        "    unsigned_bigint: precise\n",
    )
    .await;
}

async fn postgres(format: &str, theirs: &[(&str, &str)], ours: &str) {
    let _turn = TURN.lock().await;
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
            ("slot.name", "debezium"),
            ("publication.name", "debezium"),
        ]
        .map(own)
        .to_vec(),
        differ: &[],
        schemas_differ: &[
            (
                "shop.mood",
                "an enum is plain text, without the labels that it allows",
            ),
            ("shop.shop.whole", "schemas carry no defaults of columns"),
        ],
    };
    let modes = Modes {
        format,
        theirs,
        ours,
    };
    compare::compare(scene, &case, &modes).await;
}

async fn mysql(format: &str, theirs: &[(&str, &str)], ours: &str) {
    let _turn = TURN.lock().await;
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
            ("database.server.id", "7777"),
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
            ("shop.shop.whole", "schemas carry no defaults of columns"),
        ],
    };
    let modes = Modes {
        format,
        theirs,
        ours,
    };
    compare::compare(scene, &case, &modes).await;
}
