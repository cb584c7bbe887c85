//! What the workload's tables are on MySQL and MariaDB, and the statements that a transaction consists of.
//!
//! Statements find rows by an index: what reads a table through waits for the rows that other sessions hold.

use rand::Rng;

use super::Script;
use super::writer::Writer;
use crate::daemon::USER_DATA;
use crate::mysql::NUMBERS;

pub(crate) const SCRIPT: Script = Script {
    schema,
    begin: "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; \
            SET SESSION innodb_lock_wait_timeout = 2, lock_wait_timeout = 5, \
            sql_mode = CONCAT(@@sql_mode, ',NO_BACKSLASH_ESCAPES')",
    unit,
    many,
    truncates: &[
        "TRUNCATE shop.visit",
        "TRUNCATE shop.visit; TRUNCATE shop.page",
        "TRUNCATE shop.measure",
        "INSERT IGNORE INTO shop.page (id, hits, path) VALUES (-1, 1, 'before'); TRUNCATE shop.page; \
         INSERT INTO shop.page (id, hits, path) VALUES (-1, 2, 'after')",
    ],
    alterations,
    touches: &[
        "INSERT INTO shop.item (a, b, n) VALUES (-1, 'k', 0) ON DUPLICATE KEY UPDATE n = n + 1",
        "INSERT INTO shop.customer (id, name, phone, score) VALUES (900000, 'x', 'x', 0) ON DUPLICATE KEY UPDATE score = score + 1",
        "INSERT INTO shop.measure (id, day, v) VALUES (-1, '2024-01-01', 0) ON DUPLICATE KEY UPDATE v = v + 1",
        "INSERT INTO renamed.label VALUES (-1, 0, 'x', 'x', 'x') ON DUPLICATE KEY UPDATE n = n + 1",
    ],
};

fn schema(accounts: i64) -> Vec<String> {
    let mut statements: Vec<String> = [
        "CREATE SCHEMA shop CHARACTER SET utf8mb4",
        "CREATE SCHEMA `Odd \"Schema` CHARACTER SET utf8mb4",
        NUMBERS,
        "CREATE TABLE shop.account (id int PRIMARY KEY, balance bigint NOT NULL)",
        "CREATE TABLE shop.vault (id int PRIMARY KEY, balance bigint NOT NULL)",
        "CREATE TABLE shop.customer (id bigint unsigned PRIMARY KEY, name varchar(80) NOT NULL, phone text NOT NULL, \
           doc json, score double, seen timestamp(6) NULL, ref binary(16), mood enum('sad', 'ok', 'happy'), \
           tags set('a', 'b', 'c'), old varchar(60) CHARACTER SET latin1, flags bit(12))",
        "CREATE TABLE shop.item (a int, b varchar(40), n mediumint, price decimal(12,3), free decimal(40,10), \
           body mediumtext, raw mediumblob, PRIMARY KEY (a, b))",
        "CREATE TABLE shop.swap (id int PRIMARY KEY, v text, big mediumtext)",
        "CREATE TABLE shop.loose (v int, w text, f float, KEY (v))",
        "CREATE TABLE shop.whole (id int PRIMARY KEY, v text, big mediumtext)",
        "CREATE TABLE shop.coded (code varchar(60) PRIMARY KEY, id bigint, v int, big mediumtext, KEY (id))",
        "CREATE TABLE shop.measure (id int, day date, v double, note text, PRIMARY KEY (id, day)) \
           PARTITION BY RANGE COLUMNS (day) (PARTITION p1 VALUES LESS THAN ('2024-02-01'), \
           PARTITION p2 VALUES LESS THAN ('2024-03-01'), PARTITION p3 VALUES LESS THAN (MAXVALUE))",
        "CREATE TABLE shop.visit (id bigint PRIMARY KEY, page int, at datetime(6), ip varchar(43), stay time(3))",
        "CREATE TABLE shop.page (id int PRIMARY KEY, hits int, path text)",
        "CREATE SCHEMA renamed CHARACTER SET utf8mb4",
        "CREATE TABLE renamed.label (id int PRIMARY KEY, n int, first text, second text, big mediumtext)",
        "CREATE TABLE `Odd \"Schema`.`Mixed Case ?` (`select` int PRIMARY KEY, `Größe` text, `a-b` boolean)",
    ]
    .map(String::from)
    .into();
    let numbers = |n: i64| format!("FROM work.n WHERE i BETWEEN 1 AND {n}");
    statements.extend([
        format!("INSERT INTO shop.account SELECT i, 1000 {}", numbers(accounts)),
        format!("INSERT INTO shop.vault SELECT i, 1000 {}", numbers(accounts)),
        format!(
            "INSERT INTO shop.customer SELECT i, CONCAT('{USER_DATA} ', i), i, JSON_OBJECT('n', i), i / 7.0, \
               timestamp '2024-01-01 00:00:00' + INTERVAL i MINUTE, UNHEX(LPAD(HEX(i * 256), 32, '0')), 'ok', 'a,c', \
               CONCAT('{USER_DATA} é€', i), i {}",
            numbers(3000)
        ),
        format!(
            "INSERT INTO shop.item SELECT i, CONCAT('k', i % 7), i, i / 8.0, i / 3.0, repeat(CONCAT('{USER_DATA}', i), 400), \
               repeat(UNHEX(LPAD(HEX(i), 8, '0')), 400) {}",
            numbers(300)
        ),
        format!(
            "INSERT INTO shop.swap SELECT i, CONCAT('{USER_DATA} ', i), repeat(CONCAT('{USER_DATA}', i), 500) {}",
            numbers(60)
        ),
        format!("INSERT INTO shop.loose SELECT i % 30, '{USER_DATA}', i % 3 {}", numbers(300)),
        format!(
            "INSERT INTO shop.whole SELECT i, '{USER_DATA}', repeat(CONCAT('{USER_DATA}', i), 500) {}",
            numbers(60)
        ),
        format!(
            "INSERT INTO shop.coded SELECT CONCAT('c', i), i, i, repeat(CONCAT('{USER_DATA}', i), 500) {}",
            numbers(60)
        ),
        format!(
            "INSERT INTO shop.measure SELECT i, date '2024-01-01' + INTERVAL i % 90 DAY, i, 'n' {}",
            numbers(3000)
        ),
        format!(
            "INSERT INTO renamed.label SELECT i, i, CONCAT('a', i), CONCAT('b', i), repeat(CONCAT('{USER_DATA}', i), 500) {}",
            numbers(60)
        ),
        format!("INSERT INTO shop.page SELECT i, 0, CONCAT('/p/', i) {}", numbers(200)),
    ]);
    statements
}

fn alterations(n: u32) -> Vec<String> {
    let dropped = format!("extra_{}", n.saturating_sub(2));
    vec![
        format!("ALTER TABLE shop.item ADD COLUMN extra_{n} int DEFAULT {n} FIRST"),
        format!(
            "ALTER TABLE shop.item ADD COLUMN extra_{n} varchar(50) AFTER b; \
             UPDATE shop.item SET extra_{n} = '{USER_DATA}' WHERE a % 3 = 0"
        ),
        format!(
            "ALTER TABLE shop.customer ADD COLUMN extra_{n} datetime(3) NOT NULL DEFAULT '2020-02-02 02:02:02.5' AFTER name"
        ),
        format!("ALTER TABLE shop.measure ADD COLUMN extra_{n} bigint unsigned DEFAULT 7 AFTER id"),
        // MySQL has no IF EXISTS for columns.
        prepared(&format!(
            "IF((SELECT count(*) FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = 'shop' AND TABLE_NAME = 'item' \
             AND COLUMN_NAME = '{dropped}'), 'ALTER TABLE shop.item DROP COLUMN {dropped}', 'DO 0')"
        )),
        prepared(&format!(
            "CONCAT('ALTER TABLE renamed.label RENAME COLUMN `', {}, '` TO name_{n}')",
            label_column(3 + n % 3)
        )),
        // Two columns take each other's name.
        prepared(&format!(
            "CONCAT('ALTER TABLE renamed.label RENAME COLUMN `', {one}, '` TO `', {two}, '`, RENAME COLUMN `', {two}, '` TO `', {one}, '`')",
            one = label_column(3),
            two = label_column(4)
        )),
        "ALTER TABLE shop.page MODIFY hits bigint".into(),
        "ALTER TABLE shop.customer MODIFY name text NOT NULL".into(),
        "ALTER TABLE shop.customer MODIFY phone text NULL".into(),
    ]
}

/// Executes the statement that an expression gives.
fn prepared(statement: &str) -> String {
    format!("SET @s = {statement}; PREPARE s FROM @s; EXECUTE s; DEALLOCATE PREPARE s")
}

/// What the column at a place of the table is called by now.
fn label_column(place: u32) -> String {
    format!(
        "(SELECT COLUMN_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = 'renamed' AND TABLE_NAME = 'label' AND ORDINAL_POSITION = {place})"
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
            "UPDATE shop.customer SET tags = 'b', flags = b'101', doc = JSON_SET(doc, '$.x', JSON_ARRAY(1, null, {number})) WHERE id = {id}"
        ),
        2 => {
            format!("UPDATE IGNORE shop.customer SET id = id + 60000, mood = NULL WHERE id = {id}")
        }
        _ => format!(
            "INSERT INTO shop.customer (id, name, phone, doc, score, seen, ref, mood, tags, old, flags) VALUES ({id}, left({name}, 80), \
             {phone}, JSON_OBJECT('t', {tag}, 'd', {number}), {number} / 3.0e0, now(6), UNHEX(LPAD(HEX({id}), 32, '0')), 'sad', '', \
             'ÿ', {id} % 4096) ON DUPLICATE KEY UPDATE name = VALUES(name), seen = VALUES(seen), score = VALUES(score)"
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
            "INSERT INTO shop.item (a, b, n, price, free, body, raw) VALUES ({a}, 'k{n}', {n}, {number}, {number}, {long}, {long}) \
             ON DUPLICATE KEY UPDATE n = n + 1"
        ),
    }
}

/// Leaves the long values alone.
fn item_change(write: &mut Writer<'_>) -> String {
    let (a, other) = (write.key(600), write.random.random_range(0..1000));
    match write.random.random_range(0..4) {
        0 => format!("UPDATE shop.item SET n = n + 1 WHERE a = {a}"),
        1 => format!("UPDATE shop.item SET price = NULL, raw = NULL WHERE a = {a}"),
        2 => format!(
            "UPDATE shop.item SET b = CONCAT(b, '{other}') WHERE a = {a} AND length(b) < 20"
        ),
        _ => {
            let some: Vec<_> = (0..40).map(|_| write.key(600).to_string()).collect();
            format!(
                "UPDATE shop.item SET n = -n WHERE a IN ({})",
                some.join(", ")
            )
        }
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
        2 => format!("DELETE FROM shop.loose WHERE v = {v} LIMIT 1"),
        3 => format!("UPDATE shop.loose SET w = {text} WHERE v = {v} LIMIT 1"),
        _ => format!("DELETE FROM shop.loose WHERE v = {v}"),
    }
}

fn whole(write: &mut Writer<'_>) -> String {
    let (id, text, long) = (write.key(90), write.text(), write.long());
    match write.random.random_range(0..5) {
        0 => format!("DELETE FROM shop.whole WHERE id = {id}"),
        1 => format!("UPDATE shop.whole SET v = {text} WHERE id = {id}"),
        2 => format!("UPDATE shop.whole SET big = {long} WHERE id = {id}"),
        3 => format!("UPDATE IGNORE shop.whole SET id = id + 300 WHERE id = {id}"),
        // A row that is replaced is deleted and inserted where it is not updated in place.
        _ => format!("REPLACE INTO shop.whole VALUES ({id}, {text}, {long})"),
    }
}

fn coded(write: &mut Writer<'_>) -> String {
    let (id, salt, long) = (write.key(90), write.random.random::<u16>(), write.long());
    match write.random.random_range(0..5) {
        0 => format!("DELETE FROM shop.coded WHERE id = {id}"),
        1 => format!("UPDATE shop.coded SET v = v + 1 WHERE id = {id}"),
        2 => format!("UPDATE shop.coded SET big = {long} WHERE id = {id}"),
        // Several rows may have an id; of each key another one is made.
        3 => format!(
            "UPDATE shop.coded SET code = CONCAT('c', id, '-', LEFT(SHA2(CONCAT(code, '{salt}'), 256), 20)) WHERE id = {id}"
        ),
        _ => format!(
            "INSERT INTO shop.coded VALUES ('c{id}', {id}, 0, {long}) ON DUPLICATE KEY UPDATE v = v - 1"
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
        2 => format!(
            "UPDATE shop.measure SET day = date '2024-01-01' + INTERVAL {day} DAY WHERE id = {id}"
        ),
        _ => format!(
            "INSERT INTO shop.measure (id, day, v, note) SELECT {id}, date '2024-01-01' + INTERVAL {day} DAY, {number}, 'x' \
             FROM dual WHERE NOT EXISTS (SELECT 1 FROM shop.measure WHERE id = {id})"
        ),
    }
}

fn visit(write: &mut Writer<'_>) -> String {
    let (id, page) = (write.key(900_000), write.random.random_range(1..200));
    if write.random.random_ratio(1, 3) {
        let page = write.key(200);
        return format!(
            "INSERT INTO shop.page (id, hits, path) VALUES ({page}, 1, {}) ON DUPLICATE KEY UPDATE hits = hits + 1",
            write.text()
        );
    }
    format!(
        "INSERT IGNORE INTO shop.visit VALUES ({id}, {page}, now(6), '10.0.{}.1/24', SEC_TO_TIME(-3.5 * {page} * 60))",
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
        2 => format!("UPDATE IGNORE renamed.label SET id = id + 300 WHERE id = {id}"),
        _ => format!(
            "INSERT INTO renamed.label VALUES ({id}, 0, {first}, {second}, {long}) ON DUPLICATE KEY UPDATE n = VALUES(n) - 1"
        ),
    }
}

fn odd(write: &mut Writer<'_>) -> String {
    let (id, text, flag) = (write.key(300), write.text(), write.random.random::<bool>());
    let table = "`Odd \"Schema`.`Mixed Case ?`";
    if write.random.random_ratio(1, 4) {
        return format!("DELETE FROM {table} WHERE `select` = {id}");
    }
    format!(
        "INSERT INTO {table} VALUES ({id}, {text}, {flag}) ON DUPLICATE KEY UPDATE `Größe` = VALUES(`Größe`), `a-b` = NULL"
    )
}

fn many(write: &mut Writer<'_>) -> Vec<String> {
    let base = write.random.random_range(1..1_000_000_u64) * 300_000;
    let (step, start) = (write.sessions, write.session + 1);
    let rows = |from: u64, n: u64| {
        format!(
            "INSERT IGNORE INTO shop.visit SELECT {base} + {from} + i * {step} + {start}, i % 200, \
             '2024-05-05 05:05:05.000005', NULL, '-00:00:00.5' FROM work.n WHERE i <= {n}"
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
