//! Every type: the same rows once through the snapshot and once through the stream give the same values, which are
//! the source's.

use cdc_integration::compare;
use cdc_integration::daemon::standard_config;
use cdc_integration::postgres::Wanted;
use cdc_integration::scene::{SCHEMA, Scene, versions};

/// A type, the first version that has it, and values in its input syntax.
type Row = (&'static str, u32, &'static [&'static str]);

const TYPES: &[Row] = &[
    ("bool", 13, &["t", "f"]),
    ("int2", 13, &["-32768", "32767", "0"]),
    ("int4", 13, &["-2147483648", "2147483647", "0"]),
    ("int8", 13, &["-9223372036854775808", "9223372036854775807"]),
    ("oid", 13, &["0", "4294967295"]),
    (
        "float4",
        13,
        &[
            "0",
            "-0",
            "1.5",
            "3.4028235e38",
            "1e-45",
            "NaN",
            "Infinity",
            "-Infinity",
            "0.1",
        ],
    ),
    (
        "float8",
        13,
        &[
            "0",
            "-0",
            "0.1",
            "1.7976931348623157e308",
            "5e-324",
            "NaN",
            "Infinity",
            "-Infinity",
        ],
    ),
    ("numeric(5,2)", 13, &["999.99", "-999.99", "0", "0.01"]),
    ("numeric(18,0)", 13, &["999999999999999999", "-1"]),
    (
        "numeric(38,10)",
        13,
        &["9999999999999999999999999999.9999999999", "-0.0000000001"],
    ),
    ("numeric(3,5)", 15, &["0.00999", "-0.00001"]),
    ("numeric(5,-2)", 15, &["9999900", "-100", "0"]),
    (
        "numeric(60,20)",
        13,
        &[
            "9999999999999999999999999999999999999999.99999999999999999999",
            "-1",
        ],
    ),
    (
        "numeric(500,100)",
        13,
        &[
            "1.5",
            "-12345678901234567890123456789012345678901234567890.5",
        ],
    ),
    (
        "numeric",
        13,
        &[
            "0",
            "1.50",
            "1.5",
            "-0.000",
            "NaN",
            "1e1000",
            "1e-1000",
            "123456789012345678901234567890.123456789",
        ],
    ),
    ("numeric", 14, &["Infinity", "-Infinity"]),
    (
        "date",
        13,
        &[
            "2024-02-29",
            "infinity",
            "-infinity",
            "4713-01-01 BC",
            "0001-12-31 BC",
            "9999-12-31",
            "1969-12-31",
        ],
    ),
    (
        "timestamp",
        13,
        &[
            "2024-02-29 23:59:59.999999",
            "infinity",
            "-infinity",
            "4713-01-01 00:00:00 BC",
            "294246-12-31 23:59:59.999999",
            "1969-12-31 23:59:59.999999",
        ],
    ),
    ("timestamp(0)", 13, &["2024-02-29 23:59:59"]),
    (
        "timestamptz",
        13,
        &[
            "2024-02-29 23:59:59.000001+00",
            "infinity",
            "-infinity",
            "4713-01-01 00:00:00+00 BC",
            "1900-01-01 00:00:00+14:30",
        ],
    ),
    (
        "time",
        13,
        &["00:00:00", "24:00:00", "23:59:59.999999", "12:30:00.5"],
    ),
    (
        "timetz",
        13,
        &["00:00:00+00", "24:00:00-15:59", "12:30:00.5+05:30"],
    ),
    (
        "interval",
        13,
        &[
            "0",
            "1 year 2 mons 3 days 04:05:06.000007",
            "-1 year 40 days -25:00:00",
            "1 mon -1 day",
            "00:00:00.000001",
        ],
    ),
    (
        "uuid",
        13,
        &[
            "00000000-0000-0000-0000-000000000000",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        ],
    ),
    ("bytea", 13, &["", "\\x00", "\\x00ff10", "\\xdeadbeef"]),
    ("bit(3)", 13, &["000", "101"]),
    ("varbit", 13, &["", "1", "1011001110001111"]),
    (
        "text",
        13,
        &[
            "",
            " ",
            "NULL",
            "ü€😀",
            "tab\there",
            "line\nbreak",
            "quote'\"",
            "\\N",
            "trailing ",
        ],
    ),
    ("varchar(5)", 13, &["", "abcde", "ü€😀xy"]),
    ("char(5)", 13, &["ab", "", "abcde"]),
    ("\"char\"", 13, &["a", ""]),
    ("name", 13, &["pg_class"]),
    (
        "json",
        13,
        &[
            "null",
            "{}",
            " {\"b\": 1,  \"a\": [1, 2.50, null], \"b\": 2} ",
            "\"ü\\u20ac\"",
            "12345678901234567890.123456789",
        ],
    ),
    (
        "jsonb",
        13,
        &[
            "null",
            "{}",
            "{\"b\": 1, \"a\": [1, 2.50, null]}",
            "1e400",
            "\"\\\\ \\\"\"",
        ],
    ),
    ("shop.mood", 13, &["sad", "happy"]),
    ("shop.positive", 13, &["1", "2147483647"]),
    ("shop.pair", 13, &["(1,two)", "(,\"a,b\")"]),
    ("citext", 13, &["MiXeD"]),
    ("hstore", 13, &["a=>1, \"b c\"=>NULL", ""]),
    (
        "inet",
        13,
        &["10.0.0.1", "10.1.2.3/24", "::1", "fe80::1/64"],
    ),
    ("cidr", 13, &["10.0.0.0/8", "2001:db8::/32"]),
    ("macaddr", 13, &["08:00:2b:01:02:03"]),
    ("macaddr8", 13, &["08:00:2b:01:02:03:04:05"]),
    ("int4range", 13, &["[1,10)", "empty", "(,5)"]),
    ("numrange", 13, &["[1.5,2.50]"]),
    ("tstzrange", 13, &["[2024-01-01 00:00:00+00,infinity)"]),
    ("daterange", 13, &["[2024-01-01,2024-02-01)"]),
    ("int4multirange", 14, &["{[1,3),[5,8)}", "{}"]),
    ("money", 13, &["12.34", "-92233720368547758.08"]),
    ("tsvector", 13, &["'a':1 'b c':2A"]),
    ("tsquery", 13, &["'a' & !'b'"]),
    ("point", 13, &["(1.5,-2)"]),
    ("line", 13, &["{1,2,3}"]),
    ("lseg", 13, &["[(0,0),(1,1)]"]),
    ("box", 13, &["(1,1),(0,0)"]),
    ("path", 13, &["((0,0),(1,1))", "[(0,0),(1,1)]"]),
    ("polygon", 13, &["((0,0),(1,1),(2,0))"]),
    ("circle", 13, &["<(0,0),1>"]),
    ("pg_lsn", 13, &["16/B374D848"]),
    ("jsonpath", 13, &["$.\"a\"[*]"]),
    ("xml", 13, &["<a>1</a>"]),
    ("bool[]", 13, &["{}", "{t,NULL,f}"]),
    ("int2[]", 13, &["{}", "{1,NULL,-32768}"]),
    ("int4[]", 13, &["{}", "{1,NULL,3}"]),
    ("int8[]", 13, &["{9223372036854775807}"]),
    ("float8[]", 13, &["{NaN,-0,1.5,Infinity}"]),
    ("numeric(10,2)[]", 13, &["{1.50,NULL}"]),
    ("numeric[]", 13, &["{1.5,1e40,NULL}"]),
    (
        "text[]",
        13,
        &["{}", "{a,NULL,\"NULL\",\"\",\"q\\\"uote\",\"com,ma\"}"],
    ),
    ("varchar(5)[]", 13, &["{abc}"]),
    ("date[]", 13, &["{2024-02-29,NULL,1969-12-31}"]),
    ("timestamp[]", 13, &["{\"2024-02-29 01:02:03.5\"}"]),
    (
        "timestamptz[]",
        13,
        &["{\"2024-02-29 01:02:03.000001+00\",NULL}"],
    ),
    ("uuid[]", 13, &["{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}"]),
    ("bytea[]", 13, &["{\"\\\\x00ff\",NULL}"]),
    ("jsonb[]", 13, &["{\"{\\\"a\\\": 1}\",NULL}"]),
    ("shop.mood[]", 13, &["{sad,NULL}"]),
    ("interval[]", 13, &["{\"1 mon 2 days\"}"]),
    ("inet[]", 13, &["{10.0.0.1}"]),
];

/// `shop.tN (id, v)`; odd ones out get NULL too.
fn tables(version: u32) -> Vec<(String, Row)> {
    TYPES
        .iter()
        .filter(|(_, since, _)| *since <= version)
        .enumerate()
        .map(|(n, row)| (format!("t{n}"), *row))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshot_and_stream_give_the_source_s_value_for_every_type() {
    for version in versions() {
        every_type(version, true).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_travel_as_text_are_the_same_too() {
    every_type(versions()[0], false).await;
}

async fn every_type(version: u32, binary: bool) {
    let mut statements = String::from(
        "CREATE EXTENSION citext; CREATE EXTENSION hstore; CREATE TYPE shop.mood AS ENUM ('sad', 'happy'); \
         CREATE DOMAIN shop.positive AS int CHECK (value > 0); CREATE TYPE shop.pair AS (a int, b text);",
    );
    for (table, (sql_type, _, values)) in tables(version) {
        statements.push_str(&format!(
            "CREATE TABLE shop.{table} (id int PRIMARY KEY, v {sql_type});"
        ));
        for (n, value) in values.iter().enumerate() {
            statements.push_str(&format!(
                "INSERT INTO shop.{table} VALUES ({n}, {});",
                compare::literal(value)
            ));
        }
        statements.push_str(&format!("INSERT INTO shop.{table} VALUES (999, NULL);"));
    }
    // Settings of the server that change how values are printed must not change what arrives.
    let wanted = Wanted::version(version)
        .set("datestyle", "SQL, DMY")
        .set("intervalstyle", "iso_8601")
        .set("extra_float_digits", "0")
        .set("timezone", "Asia/Kolkata")
        .set("bytea_output", "escape");
    let mut scene = Scene::new(wanted, &statements).await;
    let url = scene.server.url("postgres", "postgres");
    let travel = format!("  binary: {binary}\n  tables:");
    scene
        .daemon
        .configure(&standard_config(&url, r#"["shop.*"]"#).replace("  tables:", &travel));
    scene.daemon.start();
    // Not `streaming()`: of a type that is refused the others are compared all the same.
    scene.daemon.settled().await;
    for (table, _) in tables(version) {
        scene
            .execute(&format!(
                "INSERT INTO shop.{table} SELECT id + 1000, v FROM shop.{table} WHERE id < 1000; \
                 INSERT INTO shop.{table} SELECT id + 2000, NULL FROM shop.{table} WHERE id < 1000; \
                 UPDATE shop.{table} SET v = (SELECT v FROM shop.{table} o WHERE o.id = {table}.id - 2000) WHERE id >= 2000"
            ))
            .await;
    }
    scene.daemon.caught_up(cdc_integration::scene::LIMIT).await;
    let client = scene.server.client().await;
    client
        .batch_execute("SET datestyle = 'ISO, YMD'; SET intervalstyle = 'postgres'; SET extra_float_digits = 1; SET timezone = 'UTC'")
        .await
        .expect("settings of our own session");
    let status = scene.daemon.status().expect("status");
    let mut wrong = String::new();
    for table in compare::tables(&client, &[SCHEMA])
        .await
        .expect("the catalog")
    {
        let sql_type = tables(version)
            .iter()
            .find(|(name, _)| *name == table.name)
            .map_or("?", |(_, row)| row.0);
        for sink in &status.sinks {
            for failed in sink
                .tables
                .iter()
                .filter(|t| t.table == table.name && t.state == "failed")
            {
                wrong.push_str(&format!(
                    "{sql_type}: {} failed: {}\n",
                    sink.name, failed.error
                ));
            }
        }
        let source = compare::source(&client, &table).await.expect("the source");
        match compare::warehouse(&scene.daemon, &table) {
            Ok(sink) => {
                if let Some(difference) = table.difference(&source, &sink) {
                    wrong.push_str(&format!("{sql_type}: {difference}"));
                }
            }
            Err(error) => wrong.push_str(&format!("{sql_type}: {error}\n")),
        }
        let lake = scene.daemon.path("lake");
        match cdc_integration::lake::content(&lake, &table) {
            Ok(sink) => {
                if let Some(difference) = table.difference(&source, &sink) {
                    wrong.push_str(&format!("lake, {sql_type}: {difference}"));
                }
            }
            Err(error) => wrong.push_str(&format!("lake, {sql_type}: {error}\n")),
        }
    }
    assert!(wrong.is_empty(), "PostgreSQL {version}:\n{wrong}");
}
