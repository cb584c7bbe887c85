//! Every type of MySQL and MariaDB: the same rows once through the snapshot and once through the stream give the same
//! values, which are the source's.

use cdc_integration::canonical::Canon;
use cdc_integration::compare;
use cdc_integration::daemon::standard_config;
use cdc_integration::mysql::{FLAVORS, Flavor, Mysql, Wanted};
use cdc_integration::scene::{LIMIT, SCHEMA, Scene};
use cdc_integration::server::{Server as _, Session as _};

/// A type and values as expressions.
type Row = (&'static str, &'static [&'static str]);

const BOTH: &[Row] = &[
    ("bool", &["true", "false", "-128", "127"]),
    ("tinyint", &["-128", "127", "0"]),
    ("tinyint unsigned", &["255", "0"]),
    ("smallint", &["-32768", "32767"]),
    ("smallint unsigned", &["65535"]),
    ("mediumint", &["-8388608", "8388607", "-1"]),
    ("mediumint unsigned", &["16777215", "8388608"]),
    ("int", &["-2147483648", "2147483647"]),
    ("int unsigned", &["4294967295", "2147483648"]),
    ("int(8) zerofill", &["42", "4294967295"]),
    ("bigint", &["-9223372036854775808", "9223372036854775807"]),
    (
        "bigint unsigned",
        &["18446744073709551615", "9223372036854775808", "0"],
    ),
    (
        "float",
        &[
            "0",
            "-0e0",
            "1.5",
            "3.4028234e38",
            "-3.4028234e38",
            "1.17549435e-38",
            "0.1",
            "16777217",
            "1e-45",
        ],
    ),
    ("float unsigned", &["0.1", "3.4e38"]),
    (
        "double",
        &[
            "0",
            "-0e0",
            "0.1",
            "1.7976931348623157e308",
            "2.2250738585072014e-308",
            "5e-324",
            "123456789012345678",
        ],
    ),
    ("double(10,3)", &["1234567.891", "-0.001"]),
    ("decimal(5,2)", &["999.99", "-999.99", "0", "0.01", "-0.01"]),
    ("decimal(10,0)", &["9999999999", "-1"]),
    ("decimal(1,1)", &["0.9", "-0.9"]),
    ("decimal(18,9)", &["999999999.999999999", "-0.000000001"]),
    (
        "decimal(38,10)",
        &["9999999999999999999999999999.9999999999", "-0.0000000001"],
    ),
    (
        "decimal(39,0)",
        &["999999999999999999999999999999999999999", "-1"],
    ),
    (
        "decimal(65,30)",
        &[
            "99999999999999999999999999999999999.999999999999999999999999999999",
            "-99999999999999999999999999999999999.999999999999999999999999999999",
            "0.000000000000000000000000000001",
        ],
    ),
    (
        "decimal(65,0)",
        &["99999999999999999999999999999999999999999999999999999999999999999"],
    ),
    ("decimal(10,5) unsigned", &["99999.99999", "0.00001"]),
    ("bit(1)", &["b'0'", "b'1'"]),
    ("bit(12)", &["b'000000000001'", "b'101010101010'", "4095"]),
    (
        "bit(64)",
        &[
            "18446744073709551615",
            "1",
            "b'1000000000000000000000000000000000000000000000000000000000000000'",
        ],
    ),
    ("year", &["0", "1901", "2155", "2024"]),
    (
        "date",
        &[
            "'1000-01-01'",
            "'9999-12-31'",
            "'1970-01-01'",
            "'1582-10-10'",
            "'2024-02-29'",
        ],
    ),
    (
        "datetime",
        &[
            "'1000-01-01 00:00:00'",
            "'9999-12-31 23:59:59'",
            "'1969-12-31 23:59:59'",
        ],
    ),
    (
        "datetime(3)",
        &["'2024-02-29 12:34:56.789'", "'1900-01-01 00:00:00.001'"],
    ),
    (
        "datetime(6)",
        &[
            "'9999-12-31 23:59:59.999999'",
            "'1000-01-01 00:00:00.000001'",
        ],
    ),
    (
        "timestamp",
        &[
            "'1970-01-01 00:00:01'",
            "'2038-01-19 03:14:07'",
            "'2024-07-01 12:00:00'",
        ],
    ),
    ("timestamp(1)", &["'2024-03-31 02:30:00.5'"]),
    (
        "timestamp(6)",
        &[
            "'2038-01-19 03:14:07.999999'",
            "'2001-09-09 01:46:40.000001'",
        ],
    ),
    (
        "time",
        &[
            "'838:59:59'",
            "'-838:59:59'",
            "'00:00:00'",
            "'24:00:00'",
            "'-00:00:01'",
        ],
    ),
    (
        "time(3)",
        &["'-00:00:00.001'", "'12:34:56.789'", "'-12:34:56.789'"],
    ),
    (
        "time(6)",
        &[
            "'-838:59:58.999999'",
            "'838:59:58.999999'",
            "'-00:00:00.000001'",
            "'23:59:59.999999'",
        ],
    ),
    (
        "char(10)",
        &["'abc'", "''", "' x'", "'trailing  '", "'ü€😀'"],
    ),
    ("char(255)", &["repeat('😀', 255)", "'x'"]),
    (
        "varchar(10)",
        &["'trailing  '", "''", "'\\0\\t\\n'", "'ü€😀'"],
    ),
    ("varchar(300)", &["repeat('é', 300)", "''"]),
    ("varchar(16000)", &["repeat('😀', 16000)"]),
    ("tinytext", &["repeat('x', 255)", "''"]),
    ("text", &["repeat('é', 30000)", "''"]),
    ("mediumtext", &["repeat('Zaphod', 20000)", "''"]),
    ("longtext", &["repeat('Zaphod', 400000)", "'NULL'"]),
    (
        "binary(4)",
        &["x'00000000'", "x'61'", "x'ff00ff00'", "x'00ff'", "''"],
    ),
    (
        "binary(16)",
        &[
            "x'0123456789abcdef0123456789abcd00'",
            "x'000102030405060708090a0b0c0d0e0f'",
        ],
    ),
    ("binary(255)", &["x'00'", "repeat(x'ff', 254)"]),
    (
        "varbinary(20)",
        &["''", "x'00'", "x'6100'", "x'ff'", "x'2020'"],
    ),
    ("varbinary(1000)", &["repeat(x'00', 1000)"]),
    ("tinyblob", &["''", "x'00'", "repeat(x'fe', 255)"]),
    ("blob", &["''", "x'80'", "repeat(x'00', 65535)"]),
    ("mediumblob", &["repeat(x'fe00', 60000)"]),
    ("longblob", &["repeat(x'fe00', 1000000)"]),
    (
        "enum('a','b','é''x','c,d','')",
        &["'a'", "'é''x'", "'c,d'", "5", "'no member'"],
    ),
    ("enum('ä','ö') CHARACTER SET latin1", &["'ö'", "'ä'"]),
    ("set('a','b','c')", &["''", "'a,c'", "'b'", "7"]),
    ("set('ä','ö') CHARACTER SET latin1", &["'ä,ö'"]),
    (
        "json",
        &[
            "'null'",
            "'{}'",
            "'[]'",
            "'\"\"'",
            "'1.5'",
            "'18446744073709551615'",
            "'-9223372036854775808'",
            "'1e100'",
            "'{\"b\": [1, null, true, {\"ä€😀\": \"\\\\\"\\\\n\\\\u0001\"}], \"aa\": false}'",
            "JSON_OBJECT('n', repeat('x', 70000))",
            "'\"plain\"'",
            "'-0.0'",
            "'65536'",
            "'-32769'",
            "'4294967296'",
        ],
    ),
    (
        "geometry",
        &[
            "ST_GeomFromText('POINT(1 2)')",
            "ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 1), LINESTRING(0 0, 1 1))')",
        ],
    ),
    ("point", &["ST_GeomFromText('POINT(-1.5 2.25)', 4326)"]),
    (
        "linestring",
        &["ST_GeomFromText('LINESTRING(0 0, 1 1, 2 4)')"],
    ),
    (
        "polygon",
        &["ST_GeomFromText('POLYGON((0 0, 1 0, 1 1, 0 0))')"],
    ),
    (
        "multipoint",
        &["ST_GeomFromText('MULTIPOINT((0 0), (1 1))')"],
    ),
    (
        "multilinestring",
        &["ST_GeomFromText('MULTILINESTRING((0 0, 1 1), (2 2, 3 3))')"],
    ),
    (
        "multipolygon",
        &["ST_GeomFromText('MULTIPOLYGON(((0 0, 1 0, 1 1, 0 0)))')"],
    ),
    (
        "geometrycollection",
        &["ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 1))')"],
    ),
];

const MYSQL: &[Row] = &[
    (
        "json",
        &[
            "CAST(CAST(1.50 AS DECIMAL(10,2)) AS JSON)",
            "CAST(CAST('-99999999999999999999.000001' AS DECIMAL(40,6)) AS JSON)",
            "CAST(TIMESTAMP'2024-02-29 01:02:03.500000' AS JSON)",
            "CAST(DATE'1000-01-01' AS JSON)",
            "CAST(TIME'-838:59:59' AS JSON)",
            "JSON_OBJECT('d', CAST(1.10 AS DECIMAL(5,2)), 't', CAST('00:00:00.000001' AS TIME(6)), 'y', CAST(2024 AS YEAR))",
            "CAST(x'00ff80' AS JSON)",
            "JSON_ARRAY(x'6162', b'101')",
            "JSON_OBJECT('p', ST_GeomFromText('POINT(1 2)'))",
            "JSON_ARRAY(1.0e0, 1e15, 1e16, 0.1e0, -0e0, 1e-7, 123456789012345678e0, 5e-324, 1.7976931348623157e308)",
            "JSON_OBJECT('k', JSON_ARRAY(1, -1, 127, 128, 32767, 32768, 2147483647, 2147483648, 9223372036854775807))",
            "JSON_ARRAY('\u{7f}\u{2028}', '/', '<', '\\b\\f\\r')",
        ],
    ),
    (
        "vector(3)",
        &[
            "STRING_TO_VECTOR('[1, -2.5, 3e-7]')",
            "STRING_TO_VECTOR('[1]')",
        ],
    ),
    ("geometry", &["ST_GeomFromText('GEOMETRYCOLLECTION()')"]),
    ("varchar(20) CHARACTER SET gb18030", &["'中文😀'"]),
];

const MARIADB: &[Row] = &[
    (
        "uuid",
        &[
            "'00000000-0000-0000-0000-000000000000'",
            "'123e4567-e89b-12d3-a456-426655440000'",
            "'ffffffff-ffff-ffff-ffff-ffffffffff00'",
            "'01890a5d-ac96-774b-bcce-b302099a8057'",
            "'6ccd780c-baba-1026-9564-5b8c656024db'",
            "'6ccd780c-baba-4026-9564-5b8c65602400'",
        ],
    ),
    (
        "inet6",
        &[
            "'::'",
            "'::1'",
            "'::ffff:192.168.0.1'",
            "'2001:db8::ff00:42:8300'",
            "'ff00::'",
            "'::1.2.3.4'",
            "'1:0:0:2:0:0:0:3'",
        ],
    ),
    (
        "inet4",
        &["'0.0.0.0'", "'192.168.1.0'", "'255.255.255.255'"],
    ),
    (
        "varchar(1000) COMPRESSED",
        &["repeat('Zaphod', 160)", "''", "'x'"],
    ),
    ("text COMPRESSED", &["repeat('é', 20000)", "''", "'short'"]),
    (
        "varbinary(1000) COMPRESSED",
        &["repeat(x'00ff', 400)", "''"],
    ),
    ("longblob COMPRESSED", &["repeat(x'00', 200000)", "x'61'"]),
];

fn types(flavor: Flavor) -> Vec<(String, String, Vec<String>)> {
    let own = match flavor {
        Flavor::MySql => MYSQL,
        Flavor::MariaDb => MARIADB,
    };
    let rows = BOTH.iter().chain(own).enumerate();
    rows.map(|(n, (sql_type, values))| {
        let values = values.iter().map(|v| (*v).to_owned()).collect();
        (format!("t{n:03}"), (*sql_type).to_owned(), values)
    })
    .collect()
}

/// Tables of one column `v` for each type, half of the rows copied and half streamed; what differs, as text.
async fn differences(
    server: Mysql,
    types: &[(String, String, Vec<String>)],
    more: &str,
) -> (Scene<Mysql>, String) {
    let mut statements = String::from("SET SESSION sql_mode = '', time_zone = '+00:00';");
    for (table, sql_type, values) in types {
        statements.push_str(&format!(
            "CREATE TABLE shop.{table} (id int PRIMARY KEY, v {sql_type} NULL);"
        ));
        for (n, value) in values.iter().enumerate() {
            statements.push_str(&format!("INSERT INTO shop.{table} VALUES ({n}, {value});"));
        }
        statements.push_str(&format!("INSERT INTO shop.{table} VALUES (999, NULL);"));
    }
    let mut scene = Scene::on(server, &statements).await;
    let url = Mysql::url_at(scene.server.port());
    let tables = format!("{more}  tables:");
    scene
        .daemon
        .configure(&standard_config(&url, r#"["shop.*"]"#).replace("  tables:", &tables));
    scene.daemon.start();
    // Not `streaming()`: of a type that is refused the others are compared all the same.
    scene.daemon.settled().await;
    for (table, _, _) in types {
        scene
            .execute(&format!(
                "SET SESSION sql_mode = ''; \
                 INSERT INTO shop.{table} SELECT id + 1000, v FROM shop.{table} WHERE id < 1000; \
                 INSERT INTO shop.{table} SELECT id + 2000, NULL FROM shop.{table} WHERE id < 1000; \
                 UPDATE shop.{table} a JOIN shop.{table} b ON b.id = a.id - 2000 SET a.v = b.v WHERE a.id >= 2000"
            ))
            .await;
    }
    let status = scene.daemon.status().expect("status");
    let mut wrong = String::new();
    for sink in &status.sinks {
        for failed in sink.tables.iter().filter(|t| t.state == "failed") {
            let sql_type = name_of(types, &failed.table);
            wrong.push_str(&format!(
                "{sql_type}: {} failed: {}\n",
                sink.name, failed.error
            ));
        }
    }
    if !wrong.is_empty() {
        return (scene, wrong);
    }
    scene.daemon.caught_up(LIMIT).await;
    let session = scene.server.session().await;
    for mut table in session.tables(&[SCHEMA]).await.expect("the catalog") {
        if more.contains("zero_dates: text") {
            // Every side has the source's text.
            table.columns[1].canon = Canon::Text;
        }
        let sql_type = name_of(types, &table.name);
        let source = compare::source(&session, &table).await.expect("the source");
        let lake = scene.daemon.path("lake");
        for (sink, content) in [
            ("warehouse", compare::warehouse(&scene.daemon, &table)),
            ("lake", cdc_integration::lake::content(&lake, &table)),
        ] {
            match content {
                Ok(content) => {
                    if let Some(difference) = table.difference(&source, &content) {
                        wrong.push_str(&format!("{sink}, {sql_type}: {difference}"));
                    }
                }
                Err(error) => wrong.push_str(&format!("{sink}, {sql_type}: {error}\n")),
            }
        }
    }
    scene.daemon.assert_log_clean();
    (scene, wrong)
}

fn name_of<'t>(types: &'t [(String, String, Vec<String>)], table: &str) -> &'t str {
    types
        .iter()
        .find(|(name, _, _)| name == table)
        .map_or("?", |(_, sql_type, _)| sql_type)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_is_the_same_by_snapshot_and_stream_and_at_the_source() {
    for flavor in FLAVORS {
        every_type(Wanted::flavor(flavor)).await;
    }
}

/// Names, signs, character sets and members are then what the snapshot has said.
#[tokio::test(flavor = "multi_thread")]
async fn every_type_is_the_same_where_the_log_does_not_say_what_columns_are() {
    for flavor in FLAVORS {
        every_type(Wanted::flavor(flavor).unset("binlog-row-metadata")).await;
    }
}

async fn every_type(server: Wanted) {
    // The server's own zone and character set must not change what arrives.
    let server = server
        .set("default-time-zone", "+05:30")
        .set("character-set-server", "latin1")
        .set("max-allowed-packet", "64M")
        .start()
        .await;
    let flavor = server.flavor();
    let (_, wrong) = differences(server, &utf8(types(flavor)), "").await;
    assert!(wrong.is_empty(), "{flavor}:\n{wrong}");
}

/// Text columns of the type table are meant to be in UTF-8 unless they say otherwise.
fn utf8(types: Vec<(String, String, Vec<String>)>) -> Vec<(String, String, Vec<String>)> {
    let texts = [
        "char",
        "varchar",
        "tinytext",
        "text",
        "mediumtext",
        "longtext",
        "enum",
        "set",
    ];
    let spelled = |sql_type: String| {
        let name: String = sql_type
            .chars()
            .take_while(char::is_ascii_lowercase)
            .collect();
        if !texts.contains(&name.as_str()) || sql_type.contains("CHARACTER SET") {
            return sql_type;
        }
        match sql_type.strip_suffix(" COMPRESSED") {
            Some(plain) => format!("{plain} COMPRESSED CHARACTER SET utf8mb4"),
            None => format!("{sql_type} CHARACTER SET utf8mb4"),
        }
    };
    types
        .into_iter()
        .map(|(name, sql_type, values)| (name, spelled(sql_type), values))
        .collect()
}

/// Of one byte each all of them, of the others what they have of many scripts.
#[tokio::test(flavor = "multi_thread")]
async fn every_character_set_is_the_same_by_snapshot_and_stream_and_at_the_source() {
    let servers = FLAVORS.map(Wanted::flavor).into_iter();
    // Of MariaDB's logs the default says nothing of them.
    let silent = Wanted::flavor(Flavor::MariaDb).unset("binlog-row-metadata");
    for server in servers.chain([silent]) {
        let server = server.start().await;
        let flavor = server.flavor();
        let session = server.session().await;
        let query = "SELECT CHARACTER_SET_NAME, MAXLEN FROM information_schema.CHARACTER_SETS \
                     WHERE CHARACTER_SET_NAME NOT IN ('binary', 'filename') ORDER BY 1";
        let mut types = Vec::new();
        for row in session.rows(query).await.expect("the catalog") {
            let [Some(name), Some(width)] = row.as_slice() else {
                panic!("the catalog gave a NULL");
            };
            let mut values = vec![format!(
                "CONVERT('a é ß Ж Ω א ع ก 中文 日本語 カナ 한국어 ｱ ¥ ~ € 😀' USING {name})"
            )];
            if width == "1" {
                let bytes: String = (1..=255).map(|byte| format!("{byte:02x}")).collect();
                values.push(format!("CONVERT(x'{bytes}' USING {name})"));
            }
            types.push((
                name.clone(),
                format!("varchar(400) CHARACTER SET {name}"),
                values,
            ));
        }
        drop(session);
        assert!(types.len() > 35, "{}", types.len());
        let (_, wrong) = differences(server, &types, "").await;
        assert!(wrong.is_empty(), "{flavor}:\n{wrong}");
    }
}

const DATES: &[Row] = &[
    (
        "date",
        &[
            "'0000-00-00'",
            "'2024-00-10'",
            "'2024-02-00'",
            "'2024-02-29'",
            "'0001-01-01'",
        ],
    ),
    (
        "datetime(6)",
        &[
            "'0000-00-00 00:00:00'",
            "'2024-00-00 01:02:03.5'",
            "'2024-02-29 01:02:03.5'",
        ],
    ),
    (
        "timestamp(3)",
        &["'0000-00-00 00:00:00'", "'2024-02-29 01:02:03.5'"],
    ),
];

fn dates() -> Vec<(String, String, Vec<String>)> {
    let rows = DATES.iter().enumerate();
    rows.map(|(n, (sql_type, values))| {
        let values = values.iter().map(|v| (*v).to_owned()).collect();
        (format!("t{n:03}"), (*sql_type).to_owned(), values)
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn dates_that_no_calendar_has_are_text_null_or_an_error_as_the_configuration_says() {
    for flavor in FLAVORS {
        let text = "  types:\n    zero_dates: text\n";
        let (_, wrong) = differences(Mysql::start(flavor).await, &dates(), text).await;
        assert!(wrong.is_empty(), "{flavor}:\n{wrong}");

        let null = "  types:\n    zero_dates: \"null\"\n";
        let (scene, wrong) = differences(Mysql::start(flavor).await, &dates(), null).await;
        assert!(
            wrong.contains("'0000-00-00'") && !wrong.contains("failed"),
            "{flavor}: they are not as the source prints them:\n{wrong}"
        );
        let count = "SELECT count(*) AS c0 FROM shop.t000 WHERE v IS NULL";
        assert_eq!(scene.daemon.value(count), Ok(Some("12".into())), "{wrong}");

        let (scene, wrong) = differences(Mysql::start(flavor).await, &dates(), "").await;
        assert!(
            wrong.contains("zero_dates") && wrong.contains("failed"),
            "{flavor}:\n{wrong}"
        );
        drop(scene);
    }
}

/// MariaDB's older format of times does not say in the log how many digits they have: those without any are read, and
/// of those with some only the table is refused.
#[tokio::test(flavor = "multi_thread")]
async fn times_in_the_old_format_are_read_or_refused_alone() {
    for metadata in ["FULL", "NO_LOG"] {
        let server = Wanted::flavor(Flavor::MariaDb)
            .set("mysql56-temporal-format", "OFF")
            .set("binlog-row-metadata", metadata)
            .start()
            .await;
        let create = "CREATE TABLE shop.plain (id int PRIMARY KEY, t time, d datetime, s timestamp NULL); \
            INSERT INTO shop.plain VALUES (1, '-838:59:59', '2024-02-29 01:02:03', '2024-02-29 01:02:03'); \
            CREATE TABLE shop.digits (id int PRIMARY KEY, t time(3), d datetime(6), s timestamp(1) NULL); \
            INSERT INTO shop.digits VALUES (1, '12:34:56.789', '2024-02-29 01:02:03.5', NULL); \
            CREATE TABLE shop.becomes (id int PRIMARY KEY, t time); INSERT INTO shop.becomes VALUES (1, '01:00:00'); \
            CREATE SCHEMA other; CREATE TABLE other.digits (id int PRIMARY KEY, d datetime(6));";
        let mut scene = Scene::on(server, create).await;
        scene.daemon.start();
        scene.daemon.settled().await;
        // Its changes are in the log, of everybody's tables.
        let change = "INSERT INTO other.digits VALUES (1, '2024-02-29 01:02:03.123456'), (2, NULL); \
            UPDATE shop.digits SET d = NULL; \
            INSERT INTO shop.plain VALUES (2, '838:59:59', '1000-01-01 00:00:00', '2038-01-19 03:14:07'), \
              (3, '00:00:00', NULL, NULL), (4, '-00:00:01', '9999-12-31 23:59:58', '1970-01-01 00:00:01'); \
            UPDATE shop.plain SET d = d + INTERVAL 1 SECOND; \
            ALTER TABLE shop.becomes MODIFY t time(3); INSERT INTO shop.becomes VALUES (2, '02:00:00.123')";
        scene.execute(change).await;
        scene
            .reads("SELECT count(*) AS c0 FROM shop.plain", "4")
            .await;
        scene
            .daemon
            .until("those with digits have stopped", LIMIT, |status| {
                for table in status.sinks.iter().flat_map(|sink| &sink.tables) {
                    let said = table.error.to_string();
                    let wanted = match table.table.as_str() {
                        "plain" => table.state == "streaming",
                        _ => {
                            table.state == "failed" && said.contains("mysql56_temporal_format = ON")
                        }
                    };
                    if !wanted {
                        return Err(format!("{} is {}: {said}", table.table, table.state));
                    }
                }
                match status.sinks.iter().all(|sink| sink.tables.len() == 3) {
                    true => Ok(()),
                    false => Err("a sink has no tables yet".to_owned()),
                }
            })
            .await;
        let mend = "SET GLOBAL mysql56_temporal_format = ON; ALTER TABLE shop.digits FORCE; ALTER TABLE shop.becomes FORCE";
        scene.execute(mend).await;
        for table in ["shop.digits", "shop.becomes"] {
            let copied = scene.daemon.succeed(&["snapshot", "--detach", table]);
            copied.expect("it can be captured now");
        }
        scene.daemon.streaming().await;
        scene
            .execute("INSERT INTO shop.digits VALUES (2, '-12:34:56.789', '2024-02-29 01:02:03.123456', '2024-02-29 01:02:03.5')")
            .await;
        scene.assert_equal().await;
    }
}
