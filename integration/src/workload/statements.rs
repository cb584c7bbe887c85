//! What the workload's tables are, and the statements that a transaction consists of.
//!
//! Every statement succeeds whatever rows there are, and touches only keys of its session, so that the only
//! failure left is a lost server. Text values carry [`USER_DATA`], which no log line may show.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use crate::daemon::USER_DATA;

/// Creates and fills the tables.
pub(super) fn schema(accounts: i64) -> Vec<String> {
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
    ]);
    statements
}

/// `BEGIN`, some statements, `COMMIT` or now and then `ROLLBACK`.
pub(super) fn transaction(
    random: &mut StdRng,
    session: u64,
    sessions: u64,
    accounts: i64,
    big: bool,
) -> Vec<String> {
    let mut write = Writer {
        random,
        session,
        sessions,
        accounts,
    };
    let mut statements = vec!["BEGIN".to_owned()];
    let units = if write.random.random_ratio(1, 10) {
        12
    } else {
        write.random.random_range(1..5)
    };
    for _ in 0..units {
        if write.random.random_ratio(1, 8) {
            statements.push("SAVEPOINT s".into());
            statements.extend(write.unit());
            let end = if write.random.random_ratio(2, 3) {
                "ROLLBACK TO SAVEPOINT s"
            } else {
                "RELEASE SAVEPOINT s"
            };
            statements.push(end.into());
        } else {
            statements.extend(write.unit());
        }
    }
    if big && write.random.random_ratio(1, 60) {
        statements.extend(write.many());
    }
    let end = if write.random.random_ratio(1, 12) {
        "ROLLBACK"
    } else {
        "COMMIT"
    };
    statements.push(end.into());
    statements
}

/// Changes of a table's shape that a sink is to follow; `n` makes names unique.
pub(super) fn alterations(n: u32) -> Vec<String> {
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
        "ALTER TABLE shop.page ALTER COLUMN hits TYPE bigint".into(),
        "ALTER TABLE shop.customer ALTER COLUMN name TYPE text".into(),
        "ALTER TABLE shop.customer ALTER COLUMN phone DROP NOT NULL".into(),
    ]
}

struct Writer<'r> {
    random: &'r mut StdRng,
    session: u64,
    sessions: u64,
    accounts: i64,
}

impl Writer<'_> {
    /// A key of this session in 1..=limit.
    fn key(&mut self, limit: u64) -> u64 {
        let slots = limit / self.sessions;
        self.random.random_range(0..slots) * self.sessions + self.session + 1
    }

    fn text(&mut self) -> String {
        let quirks = ["", " ", "''", "\\", "ü€😀", "\t", "\"", "NULL", "\n", "$1"];
        let quirk = quirks.choose(self.random).copied().unwrap_or_default();
        format!("'{USER_DATA} {:x}{quirk}'", self.random.random::<u32>())
    }

    /// Long enough to be stored out of line.
    fn long(&mut self) -> String {
        let times = if self.random.random_ratio(1, 30) {
            40_000
        } else {
            self.random.random_range(300..2_000)
        };
        format!(
            "repeat('{USER_DATA}{:x}', {times})",
            self.random.random::<u16>()
        )
    }

    fn number(&mut self) -> String {
        let n = self.random.random_range(-1_000_000..1_000_000);
        let shift = self.random.random_range(0..4);
        format!("{}", f64::from(n) / 10_f64.powi(shift))
    }

    /// What belongs together: a savepoint takes it back as a whole.
    fn unit(&mut self) -> Vec<String> {
        match self.random.random_range(0..14) {
            0..3 => self.transfer(),
            3 => vec![self.customer()],
            4 => vec![self.item()],
            5 => vec![self.item_change()],
            6 => self.swap(),
            7 => vec![self.loose()],
            8 => vec![self.whole()],
            9 => vec![self.coded()],
            10 | 11 => vec![self.measure()],
            12 => vec![self.visit()],
            _ => vec![self.odd()],
        }
    }

    fn transfer(&mut self) -> Vec<String> {
        let accounts = self.accounts.unsigned_abs();
        let (from, to) = (self.key(accounts), self.key(accounts));
        let amount = self.random.random_range(1..100);
        let sign = if self.random.random() { 1 } else { -1 };
        vec![
            format!(
                "UPDATE shop.account SET balance = balance - {} WHERE id = {from}",
                amount * sign
            ),
            format!(
                "UPDATE shop.vault SET balance = balance + {} WHERE id = {to}",
                amount * sign
            ),
        ]
    }

    fn customer(&mut self) -> String {
        let id = self.key(6_000);
        let (name, phone, tag, number) = (self.text(), self.text(), self.text(), self.number());
        match self.random.random_range(0..4) {
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

    fn item(&mut self) -> String {
        let (a, n, number) = (self.key(600), self.random.random_range(0..7), self.number());
        let long = self.long();
        match self.random.random_range(0..4) {
            0 => format!("DELETE FROM shop.item WHERE a = {a}"),
            1 => format!("UPDATE shop.item SET body = {long}, free = {number} WHERE a = {a}"),
            _ => format!(
                "INSERT INTO shop.item (a, b, n, price, free, body, blob) VALUES ({a}, 'k{n}', {n}, {number}, {number}, {long}, \
                 decode(repeat(md5({long}), 90), 'hex')) ON CONFLICT (a, b) DO UPDATE SET n = shop.item.n + 1"
            ),
        }
    }

    /// Leaves the long values alone, which the source then does not send.
    fn item_change(&mut self) -> String {
        let (a, other) = (self.key(600), self.random.random_range(0..1000));
        match self.random.random_range(0..4) {
            0 => format!("UPDATE shop.item SET n = n + 1 WHERE a = {a}"),
            1 => format!("UPDATE shop.item SET price = NULL, blob = NULL WHERE a = {a}"),
            2 => {
                format!("UPDATE shop.item SET b = b || '{other}' WHERE a = {a} AND length(b) < 20")
            }
            _ => format!(
                "UPDATE shop.item SET n = -n WHERE a % {} = {}",
                self.sessions,
                (self.session + 1) % self.sessions
            ),
        }
    }

    /// Two rows take each other's key; long values stay where they are.
    fn swap(&mut self) -> Vec<String> {
        let (x, y, text) = (self.key(60), self.key(60), self.text());
        if x == y {
            return vec![format!("UPDATE shop.swap SET v = {text} WHERE id = {x}")];
        }
        vec![
            format!("UPDATE shop.swap SET id = -{x} WHERE id = {x}"),
            format!("UPDATE shop.swap SET id = {x} WHERE id = {y}"),
            format!("UPDATE shop.swap SET id = {y} WHERE id = -{x}"),
        ]
    }

    fn loose(&mut self) -> String {
        let (v, text) = (self.key(30), self.text());
        match self.random.random_range(0..5) {
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

    fn whole(&mut self) -> String {
        let (id, text, long) = (self.key(90), self.text(), self.long());
        match self.random.random_range(0..5) {
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

    fn coded(&mut self) -> String {
        let (id, salt, long) = (self.key(90), self.random.random::<u16>(), self.long());
        match self.random.random_range(0..5) {
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

    fn measure(&mut self) -> String {
        let (id, day, number) = (
            self.key(4_000),
            self.random.random_range(0..90),
            self.number(),
        );
        match self.random.random_range(0..4) {
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

    fn visit(&mut self) -> String {
        let (id, page) = (self.key(900_000), self.random.random_range(1..200));
        if self.random.random_ratio(1, 3) {
            let page = self.key(200);
            return format!(
                "INSERT INTO shop.page VALUES ({page}, 1, {}) ON CONFLICT (id) DO UPDATE SET hits = shop.page.hits + 1",
                self.text()
            );
        }
        format!(
            "INSERT INTO shop.visit VALUES ({id}, {page}, now(), '10.0.{}.1/24', interval '1 month 2 days 3.5 s' * {page}) \
             ON CONFLICT DO NOTHING",
            page % 200
        )
    }

    fn odd(&mut self) -> String {
        let (id, text, flag) = (self.key(300), self.text(), self.random.random::<bool>());
        let table = r#""Odd ""Schema"."Mixed Case ?""#;
        if self.random.random_ratio(1, 4) {
            return format!(r#"DELETE FROM {table} WHERE "select" = {id}"#);
        }
        format!(
            r#"INSERT INTO {table} VALUES ({id}, {text}, {flag}) ON CONFLICT ("select") DO UPDATE SET "Größe" = excluded."Größe", "a-b" = NULL"#
        )
    }

    /// Larger than what the server decodes in memory, with a part taken back.
    fn many(&mut self) -> Vec<String> {
        let base = self.random.random_range(1..1_000_000_u64) * 300_000;
        let (step, start) = (self.sessions, self.session + 1);
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
}
