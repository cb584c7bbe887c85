//! PostgreSQL's types, and what is done to tables of them.

use super::compare::{Type, table};

/// Types, and values of each as SQL.
pub(crate) const TYPES: &[Type] = &[
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

/// The tables with their existing rows.
pub(crate) fn schema() -> String {
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
