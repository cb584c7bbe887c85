//! What the workload's tables are on PostgreSQL, and the statements that a transaction consists of.

use rand::Rng;

use super::Script;
use super::writer::Writer;
use crate::daemon::USER_DATA;

pub(crate) const SCRIPT: Script = Script {
    schema,
    begin: "SET lock_timeout = '5s'",
    unit,
    many,
    truncates: &[
        "TRUNCATE shop.visit",
        "TRUNCATE shop.visit, shop.page",
        "TRUNCATE shop.measure",
        "INSERT INTO shop.page VALUES (-1, 1, 'before') ON CONFLICT DO NOTHING; TRUNCATE shop.page; \
         INSERT INTO shop.page VALUES (-1, 2, 'after')",
    ],
    alterations,
    touches: &[
        "INSERT INTO shop.item (a, b, n) VALUES (-1, 'k', 0) ON CONFLICT (a, b) DO UPDATE SET n = shop.item.n + 1",
        "INSERT INTO shop.customer (id, name, phone, score) VALUES (900000, 'x', 'x', 0) \
         ON CONFLICT (id) DO UPDATE SET score = shop.customer.score + 1",
        "INSERT INTO shop.measure (id, day, v) VALUES (-1, '2024-01-01', 0) \
         ON CONFLICT (id, day) DO UPDATE SET v = shop.measure.v + 1",
        "INSERT INTO renamed.label VALUES (-1, 0, 'x', 'x', 'x') ON CONFLICT (id) DO UPDATE SET n = renamed.label.n + 1",
    ],
};

fn schema(accounts: i64) -> Vec<String> {
    let mut statements: Vec<String> = [
        "CREATE SCHEMA shop",
        r#"CREATE SCHEMA "Odd ""Schema""#,
        "CREATE TYPE shop.mood AS ENUM ('sad', 'ok', 'happy')",
        "CREATE TABLE shop.account (id int PRIMARY KEY, balance bigint NOT NULL)",
        "CREATE TABLE shop.vault (id int PRIMARY KEY, balance bigint NOT NULL)",
        "CREATE TABLE shop.customer (id bigint PRIMARY KEY, name varchar(80) NOT NULL, phone text NOT NULL, tags text[], \
           doc jsonb, score double precision, seen timestamptz, ref uuid, mood shop.mood, numbers int[])",
        "CREATE TABLE shop.item (a int, b text, n int, price numeric(12,3), free numeric, body text, blob bytea, \
           PRIMARY KEY (a, b))",
        "ALTER TABLE shop.item ALTER body SET STORAGE EXTERNAL, ALTER blob SET STORAGE EXTERNAL",
        "CREATE TABLE shop.swap (id int PRIMARY KEY, v text, big text)",
        "ALTER TABLE shop.swap ALTER big SET STORAGE EXTERNAL",
        "CREATE TABLE shop.loose (v int, w text, f real)",
        "ALTER TABLE shop.loose REPLICA IDENTITY FULL",
        "CREATE TABLE shop.whole (id int PRIMARY KEY, v text, big text)",
        "ALTER TABLE shop.whole REPLICA IDENTITY FULL, ALTER big SET STORAGE EXTERNAL",
        "CREATE TABLE shop.coded (id bigint, code text NOT NULL, v int, big text)",
        "CREATE UNIQUE INDEX coded_code ON shop.coded (code)",
        "ALTER TABLE shop.coded REPLICA IDENTITY USING INDEX coded_code, ALTER big SET STORAGE EXTERNAL",
        "CREATE TABLE shop.measure (id int, day date, v double precision, note text, PRIMARY KEY (id, day)) \
           PARTITION BY RANGE (day)",
        "CREATE TABLE shop.measure_1 PARTITION OF shop.measure FOR VALUES FROM ('2024-01-01') TO ('2024-02-01')",
        // Another order of columns than the parent's.
        "CREATE TABLE shop.measure_2 (note text, v double precision, day date NOT NULL, id int NOT NULL)",
        "ALTER TABLE shop.measure ATTACH PARTITION shop.measure_2 FOR VALUES FROM ('2024-02-01') TO ('2024-03-01')",
        "CREATE TABLE shop.measure_3 PARTITION OF shop.measure DEFAULT",
        "CREATE TABLE shop.visit (id bigint PRIMARY KEY, page int, at timestamp, ip inet, stay interval)",
        "CREATE TABLE shop.page (id int PRIMARY KEY, hits int, path text)",
        "CREATE SCHEMA renamed",
        "CREATE TABLE renamed.label (id int PRIMARY KEY, n int, first text, second text, big text)",
        "ALTER TABLE renamed.label ALTER big SET STORAGE EXTERNAL",
        r#"CREATE TABLE "Odd ""Schema"."Mixed Case ?" ("select" int PRIMARY KEY, "Größe" text, "a-b" boolean)"#,
    ]
    .map(String::from)
    .into();
    statements.extend([
        format!("INSERT INTO shop.account SELECT i, 1000 FROM generate_series(1, {accounts}) i"),
        format!("INSERT INTO shop.vault SELECT i, 1000 FROM generate_series(1, {accounts}) i"),
        format!(
            "INSERT INTO shop.customer SELECT i, '{USER_DATA} ' || i, i::text, ARRAY['a', NULL, i::text], \
               jsonb_build_object('n', i), i / 7.0, timestamptz '2024-01-01 00:00:00+00' + i * interval '1 minute', \
               md5(i::text)::uuid, 'ok', ARRAY[i, NULL] FROM generate_series(1, 3000) i"
        ),
        format!(
            "INSERT INTO shop.item SELECT i, 'k' || i % 7, i, i / 8.0, i / 3.0, repeat('{USER_DATA}' || i, 400), \
               decode(repeat(md5(i::text), 80), 'hex') FROM generate_series(1, 300) i"
        ),
        format!("INSERT INTO shop.swap SELECT i, '{USER_DATA} ' || i, repeat('{USER_DATA}' || i, 500) FROM generate_series(1, 60) i"),
        format!("INSERT INTO shop.loose SELECT i % 30, '{USER_DATA}', i % 3 FROM generate_series(1, 300) i"),
        format!("INSERT INTO shop.whole SELECT i, '{USER_DATA}', repeat('{USER_DATA}' || i, 500) FROM generate_series(1, 60) i"),
        format!("INSERT INTO shop.coded SELECT i, 'c' || i, i, repeat('{USER_DATA}' || i, 500) FROM generate_series(1, 60) i"),
        "INSERT INTO shop.measure SELECT i, date '2024-01-01' + i % 90, i, 'n' FROM generate_series(1, 3000) i".into(),
        "INSERT INTO shop.page SELECT i, 0, '/p/' || i FROM generate_series(1, 200) i".into(),
        format!("INSERT INTO renamed.label SELECT i, i, 'a' || i, 'b' || i, repeat('{USER_DATA}' || i, 500) FROM generate_series(1, 60) i"),
    ]);
    statements
}

fn alterations(n: u32) -> Vec<String> {
    vec![
        format!("ALTER TABLE shop.item ADD COLUMN extra_{n} int DEFAULT {n}"),
        format!(
            "ALTER TABLE shop.item ADD COLUMN extra_{n} text; UPDATE shop.item SET extra_{n} = '{USER_DATA}' WHERE a % 3 = 0"
        ),
        format!(
            "ALTER TABLE shop.customer ADD COLUMN extra_{n} timestamptz NOT NULL DEFAULT '2020-02-02 02:02:02+00'"
        ),
        format!("ALTER TABLE shop.measure ADD COLUMN extra_{n} bigint DEFAULT 7"),
        format!(
            "ALTER TABLE shop.item DROP COLUMN IF EXISTS extra_{}",
            n.saturating_sub(2)
        ),
        format!(
            "DO $$ BEGIN EXECUTE format('ALTER TABLE renamed.label RENAME %I TO name_{n}', {}); END $$",
            label_column(3 + n % 3)
        ),
        // Two columns take each other's name.
        format!(
            "DO $$ DECLARE one text := {}; two text := {}; BEGIN \
             EXECUTE format('ALTER TABLE renamed.label RENAME %I TO neither', one); \
             EXECUTE format('ALTER TABLE renamed.label RENAME %I TO %I', two, one); \
             EXECUTE format('ALTER TABLE renamed.label RENAME neither TO %I', two); END $$",
            label_column(3),
            label_column(4)
        ),
        "ALTER TABLE shop.page ALTER COLUMN hits TYPE bigint".into(),
        "ALTER TABLE shop.customer ALTER COLUMN name TYPE text".into(),
        "ALTER TABLE shop.customer ALTER COLUMN phone DROP NOT NULL".into(),
    ]
}

/// What the column at a place of the table is called by now.
fn label_column(place: u32) -> String {
    format!(
        "(SELECT attname FROM pg_attribute WHERE attrelid = 'renamed.label'::regclass AND attnum = {place})"
    )
}

fn unit(write: &mut Writer<'_>) -> Vec<String> {
    match write.random.random_range(0..15) {
        0..3 => write.transfer(),
        3 => vec![customer(write)],
        4 => vec![item(write)],
        5 => vec![item_change(write)],
        6 => swap(write),
        7 => vec![loose(write)],
        8 => vec![whole(write)],
        9 => vec![coded(write)],
        10 | 11 => vec![measure(write)],
        12 => vec![visit(write)],
        13 => vec![label(write)],
        _ => vec![odd(write)],
    }
}

fn customer(write: &mut Writer<'_>) -> String {
    let id = write.key(6_000);
    let (name, phone, tag, number) = (write.text(), write.text(), write.text(), write.number());
    match write.random.random_range(0..4) {
        0 => format!("DELETE FROM shop.customer WHERE id = {id}"),
        1 => format!(
            "UPDATE shop.customer SET tags = array_append(tags, {tag}), doc = doc || '{{\"x\": [1, null, {number}]}}' WHERE id = {id}"
        ),
        2 => format!(
            "UPDATE shop.customer SET id = id + 60000, mood = NULL WHERE id = {id} AND NOT EXISTS (SELECT FROM shop.customer WHERE id = {id} + 60000)"
        ),
        _ => format!(
            "INSERT INTO shop.customer (id, name, phone, tags, doc, score, seen, ref, mood, numbers) VALUES ({id}, left({name}, 80), \
             {phone}, ARRAY[{tag}, NULL], jsonb_build_object('t', {tag}::text), {number} / 3.0::float8, now(), md5('{number}')::uuid, 'sad', '{{}}') \
             ON CONFLICT (id) DO UPDATE SET name = excluded.name, seen = excluded.seen, score = excluded.score"
        ),
    }
}

fn item(write: &mut Writer<'_>) -> String {
    let (a, n, number) = (
        write.key(600),
        write.random.random_range(0..7),
        write.number(),
    );
    let long = write.long();
    match write.random.random_range(0..4) {
        0 => format!("DELETE FROM shop.item WHERE a = {a}"),
        1 => format!("UPDATE shop.item SET body = {long}, free = {number} WHERE a = {a}"),
        _ => format!(
            "INSERT INTO shop.item (a, b, n, price, free, body, blob) VALUES ({a}, 'k{n}', {n}, {number}, {number}, {long}, \
             decode(repeat(md5({long}), 90), 'hex')) ON CONFLICT (a, b) DO UPDATE SET n = shop.item.n + 1"
        ),
    }
}

/// Leaves the long values alone, which the source then does not send.
fn item_change(write: &mut Writer<'_>) -> String {
    let (a, other) = (write.key(600), write.random.random_range(0..1000));
    match write.random.random_range(0..4) {
        0 => format!("UPDATE shop.item SET n = n + 1 WHERE a = {a}"),
        1 => format!("UPDATE shop.item SET price = NULL, blob = NULL WHERE a = {a}"),
        2 => {
            format!("UPDATE shop.item SET b = b || '{other}' WHERE a = {a} AND length(b) < 20")
        }
        _ => format!(
            "UPDATE shop.item SET n = -n WHERE a % {} = {}",
            write.sessions,
            (write.session + 1) % write.sessions
        ),
    }
}

/// Two rows take each other's key; long values stay where they are.
fn swap(write: &mut Writer<'_>) -> Vec<String> {
    let (x, y, text) = (write.key(60), write.key(60), write.text());
    if x == y {
        return vec![format!("UPDATE shop.swap SET v = {text} WHERE id = {x}")];
    }
    vec![
        format!("UPDATE shop.swap SET id = -{x} WHERE id = {x}"),
        format!("UPDATE shop.swap SET id = {x} WHERE id = {y}"),
        format!("UPDATE shop.swap SET id = {y} WHERE id = -{x}"),
    ]
}

fn loose(write: &mut Writer<'_>) -> String {
    let (v, text) = (write.key(30), write.text());
    match write.random.random_range(0..5) {
        0 => format!(
            "INSERT INTO shop.loose VALUES ({v}, {text}, {v} / 3.0), ({v}, {text}, {v} / 3.0)"
        ),
        1 => format!("INSERT INTO shop.loose VALUES ({v}, NULL, NULL), ({v}, NULL, NULL)"),
        2 => format!(
            "DELETE FROM shop.loose WHERE ctid = (SELECT ctid FROM shop.loose WHERE v = {v} LIMIT 1)"
        ),
        3 => format!(
            "UPDATE shop.loose SET w = {text} WHERE ctid = (SELECT ctid FROM shop.loose WHERE v = {v} LIMIT 1)"
        ),
        _ => format!("DELETE FROM shop.loose WHERE v = {v}"),
    }
}

fn whole(write: &mut Writer<'_>) -> String {
    let (id, text, long) = (write.key(90), write.text(), write.long());
    match write.random.random_range(0..5) {
        0 => format!("DELETE FROM shop.whole WHERE id = {id}"),
        1 => format!("UPDATE shop.whole SET v = {text} WHERE id = {id}"),
        2 => format!("UPDATE shop.whole SET big = {long} WHERE id = {id}"),
        3 => format!(
            "UPDATE shop.whole SET id = id + 300 WHERE id = {id} AND NOT EXISTS (SELECT FROM shop.whole WHERE id = {id} + 300)"
        ),
        _ => format!(
            "INSERT INTO shop.whole VALUES ({id}, {text}, {long}) ON CONFLICT (id) DO UPDATE SET v = excluded.v"
        ),
    }
}

fn coded(write: &mut Writer<'_>) -> String {
    let (id, salt, long) = (write.key(90), write.random.random::<u16>(), write.long());
    match write.random.random_range(0..5) {
        0 => format!("DELETE FROM shop.coded WHERE id = {id}"),
        1 => format!("UPDATE shop.coded SET v = v + 1 WHERE id = {id}"),
        2 => format!("UPDATE shop.coded SET big = {long} WHERE id = {id}"),
        3 => format!(
            "UPDATE shop.coded SET code = 'c' || id || '-' || md5(code || '{salt}') WHERE id = {id}"
        ),
        _ => format!(
            "INSERT INTO shop.coded VALUES ({id}, 'c{id}', 0, {long}) ON CONFLICT (code) DO UPDATE SET v = shop.coded.v - 1"
        ),
    }
}

fn measure(write: &mut Writer<'_>) -> String {
    let (id, day, number) = (
        write.key(4_000),
        write.random.random_range(0..90),
        write.number(),
    );
    match write.random.random_range(0..4) {
        0 => format!("DELETE FROM shop.measure WHERE id = {id}"),
        1 => format!("UPDATE shop.measure SET v = {number} WHERE id = {id}"),
        // May move the row to another partition; an id has one day only, so the key stays free.
        2 => format!("UPDATE shop.measure SET day = date '2024-01-01' + {day} WHERE id = {id}"),
        _ => format!(
            "INSERT INTO shop.measure (id, day, v, note) SELECT {id}, date '2024-01-01' + {day}, {number}, 'x' \
             WHERE NOT EXISTS (SELECT FROM shop.measure WHERE id = {id})"
        ),
    }
}

fn visit(write: &mut Writer<'_>) -> String {
    let (id, page) = (write.key(900_000), write.random.random_range(1..200));
    if write.random.random_ratio(1, 3) {
        let page = write.key(200);
        return format!(
            "INSERT INTO shop.page VALUES ({page}, 1, {}) ON CONFLICT (id) DO UPDATE SET hits = shop.page.hits + 1",
            write.text()
        );
    }
    format!(
        "INSERT INTO shop.visit VALUES ({id}, {page}, now(), '10.0.{}.1/24', interval '1 month 2 days 3.5 s' * {page}) \
         ON CONFLICT DO NOTHING",
        page % 200
    )
}

/// Names no column but those that keep their name.
fn label(write: &mut Writer<'_>) -> String {
    let (id, first, second) = (write.key(90), write.text(), write.text());
    let long = write.long();
    match write.random.random_range(0..4) {
        0 => format!("DELETE FROM renamed.label WHERE id = {id}"),
        1 => format!("UPDATE renamed.label SET n = n + 1 WHERE id = {id}"),
        2 => format!(
            "UPDATE renamed.label SET id = id + 300 WHERE id = {id} AND NOT EXISTS (SELECT FROM renamed.label WHERE id = {id} + 300)"
        ),
        _ => format!(
            "INSERT INTO renamed.label VALUES ({id}, 0, {first}, {second}, {long}) ON CONFLICT (id) DO UPDATE SET n = excluded.n - 1"
        ),
    }
}

fn odd(write: &mut Writer<'_>) -> String {
    let (id, text, flag) = (write.key(300), write.text(), write.random.random::<bool>());
    let table = r#""Odd ""Schema"."Mixed Case ?""#;
    if write.random.random_ratio(1, 4) {
        return format!(r#"DELETE FROM {table} WHERE "select" = {id}"#);
    }
    format!(
        r#"INSERT INTO {table} VALUES ({id}, {text}, {flag}) ON CONFLICT ("select") DO UPDATE SET "Größe" = excluded."Größe", "a-b" = NULL"#
    )
}

fn many(write: &mut Writer<'_>) -> Vec<String> {
    let base = write.random.random_range(1..1_000_000_u64) * 300_000;
    let (step, start) = (write.sessions, write.session + 1);
    let rows = |from: u64, n: u64| {
        format!(
            "INSERT INTO shop.visit SELECT {base} + {from} + i * {step} + {start}, i % 200, timestamp '2024-05-05 05:05:05.000005', NULL, NULL \
             FROM generate_series(0, {n}) i ON CONFLICT DO NOTHING"
        )
    };
    vec![
        rows(0, 8_000),
        "SAVEPOINT big".into(),
        rows(30_000, 3_000),
        format!(
            "UPDATE shop.visit SET page = -1 WHERE id BETWEEN {base} AND {base} + 6000 AND id % {step} = {start} % {step}"
        ),
        "ROLLBACK TO SAVEPOINT big".into(),
        format!(
            "DELETE FROM shop.visit WHERE id BETWEEN {base} AND {base} + 3000 AND id % {step} = {start} % {step}"
        ),
        rows(60_000, 3_000),
    ]
}
