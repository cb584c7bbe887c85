//! MySQL's types, and what is done to tables of them.

use super::compare::{Type, table};

/// Types, and values of each as SQL.
pub(crate) const TYPES: &[Type] = &[
    ("bool", &["true", "false"]),
    ("tinyint", &["-128", "127"]),
    ("tinyint unsigned", &["255"]),
    ("smallint", &["-32768", "32767"]),
    ("smallint unsigned", &["65535"]),
    ("mediumint", &["-8388608", "8388607"]),
    ("mediumint unsigned", &["16777215"]),
    ("int", &["-2147483648", "2147483647"]),
    ("int unsigned", &["4294967295"]),
    ("bigint", &["-9223372036854775808", "9223372036854775807"]),
    ("bigint unsigned", &["18446744073709551615", "1"]),
    ("float", &["1.5", "0.1", "3.4028234e38", "1e-5"]),
    ("double", &["0.1", "1e10", "1e-7", "123456.789"]),
    ("decimal(5,2)", &["999.99", "-0.01", "0"]),
    ("decimal(10,0)", &["9999999999", "-1"]),
    (
        "decimal(65,30)",
        &[
            "-0.000000000000000000000000000001",
            "12345678901234567890.5",
        ],
    ),
    ("bit(1)", &["b'0'", "b'1'"]),
    ("bit(12)", &["b'101010101011'", "1"]),
    ("bit(64)", &["18446744073709551615", "1"]),
    ("year", &["1901", "2155"]),
    ("date", &["'1970-01-01'", "'2024-02-29'", "'9999-12-31'"]),
    (
        "datetime",
        &["'2024-02-29 12:34:56'", "'1969-12-31 23:59:59'"],
    ),
    ("datetime(3)", &["'2024-02-29 12:34:56.789'"]),
    (
        "datetime(6)",
        &[
            "'9999-12-31 23:59:59.999999'",
            "'2024-01-02 03:04:05.000001'",
        ],
    ),
    (
        "timestamp",
        &["'1970-01-01 00:00:01'", "'2024-07-01 12:00:00'"],
    ),
    ("timestamp(3)", &["'2024-03-31 02:30:00.5'"]),
    (
        "timestamp(6)",
        &["'2024-03-31 02:30:00.5'", "'2001-09-09 01:46:40.000001'"],
    ),
    (
        "time",
        &["'838:59:59'", "'-838:59:59'", "'24:00:00'", "'-01:01:01'"],
    ),
    ("time(3)", &["'-12:34:56.789'"]),
    ("time(6)", &["'-838:59:58.999999'", "'23:59:59.999999'"]),
    ("char(10)", &["'abc'", "''", "'ü€😀'"]),
    ("varchar(10)", &["'trailing  '", "'ü€😀'"]),
    ("varchar(20) CHARACTER SET latin1", &["'ä€'"]),
    ("text", &["'t'", "''"]),
    ("longtext", &["'l'"]),
    ("binary(4)", &["x'00000000'", "x'61'", "x'ff00ff00'"]),
    ("varbinary(20)", &["''", "x'6100'"]),
    ("blob", &["x'80'", "''"]),
    ("enum('a','b','c')", &["'a'", "'c'"]),
    ("set('a','b','c')", &["''", "'a,c'"]),
    (
        "json",
        &[
            "'{\"b\": [1, null, true], \"aa\": \"x\"}'",
            "'1.5'",
            "'null'",
        ],
    ),
    ("point", &["ST_GeomFromText('POINT(1.5 -2)')"]),
    (
        "geometry",
        &[
            "ST_GeomFromText('LINESTRING(0 0, 1 1)')",
            "ST_GeomFromText('POINT(10 20)', 4326)",
        ],
    ),
];

/// The tables with their existing rows.
pub(crate) fn schema() -> String {
    let mut sql = String::new();
    for (number, (name, values)) in TYPES.iter().enumerate() {
        let table = table(number);
        sql.push_str(&format!(
            "CREATE TABLE shop.{table} (id int PRIMARY KEY, v {name} NULL, n {name} NOT NULL);"
        ));
        for (id, value) in values.iter().enumerate() {
            sql.push_str(&format!(
                "INSERT INTO shop.{table} VALUES ({id}, {value}, {value});"
            ));
        }
    }
    sql.push_str(
        "CREATE TABLE shop.whole (id int PRIMARY KEY, v text, n int NOT NULL DEFAULT 5); \
         INSERT INTO shop.whole (id, v) VALUES (1, 'a');\
         CREATE TABLE shop.pair (b varchar(10), a int, v int, PRIMARY KEY (a, b)); INSERT INTO shop.pair VALUES ('x', 1, 1);\
         CREATE TABLE shop.`Odd Name` (`Id \"q` int PRIMARY KEY, `größe` int); \
         INSERT INTO shop.`Odd Name` VALUES (1, 1);\
         CREATE TABLE shop.last (id int PRIMARY KEY); INSERT INTO shop.last VALUES (0);",
    );
    sql
}

/// Changes of every table, statement by statement.
pub(crate) fn changes() -> Vec<String> {
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
        "UPDATE shop.pair SET v = 2",
        "UPDATE shop.pair SET a = 2",
        "DELETE FROM shop.pair",
        "UPDATE shop.`Odd Name` SET `größe` = 2",
        "BEGIN; INSERT INTO shop.whole (id, v) VALUES (7, 'x'); INSERT INTO shop.pair VALUES ('y', 7, 7); \
         UPDATE shop.whole SET v = 'y' WHERE id = 7; COMMIT",
        "INSERT INTO shop.last VALUES (1)",
    ] {
        statements.push(statement.to_owned());
    }
    statements
}
