//! Shapes: what the log says of a change of a table, and what it leaves out.

use cdc_integration::mysql::{FLAVORS, Flavor, Wanted};
use cdc_integration::scene::LIMIT;

use crate::{equal_or_mended, streaming};

#[tokio::test(flavor = "multi_thread")]
async fn members_of_an_enum_and_columns_that_change_places_while_the_daemon_is_down() {
    for flavor in FLAVORS {
        let more = "CREATE TABLE shop.e (id int PRIMARY KEY, a varchar(10), b varchar(10), m enum('x', 'y', 'z'), s set('p', 'q')); \
                    INSERT INTO shop.e SELECT i, 'a', 'b', 'y', 'q' FROM work.n WHERE i < 100;";
        let mut scene = streaming(Wanted::flavor(flavor), more).await;
        scene.assert_equal().await;
        scene.daemon.kill();
        let change = "UPDATE shop.e SET m = 'x', s = 'p' WHERE id = 1; \
             ALTER TABLE shop.e MODIFY m enum('z', 'y', 'x', 'w'), MODIFY s set('q', 'p', 'r'); \
             UPDATE shop.e SET m = 'w', s = 'q,r' WHERE id = 2; UPDATE shop.e SET a = 'before' WHERE id = 3; \
             ALTER TABLE shop.e MODIFY a varchar(10) AFTER b; UPDATE shop.e SET a = 'after' WHERE id = 4; \
             ALTER TABLE shop.e RENAME COLUMN a TO t, RENAME COLUMN b TO a; ALTER TABLE shop.e RENAME COLUMN t TO b; \
             UPDATE shop.e SET a = 'A', b = 'B' WHERE id = 5";
        scene.execute(change).await;
        scene.daemon.start_streaming().await;
        scene.assert_equal_by_statement().await;
    }
}

/// As gh-ost and pt-online-schema-change do it: a shadow table is filled and takes the table's name.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_exchanged_for_its_shadow_is_the_shadow_or_stops() {
    for flavor in FLAVORS {
        let mut scene = streaming(Wanted::flavor(flavor), "").await;
        let change = "CREATE TABLE shop.`_t_gho` LIKE shop.t; ALTER TABLE shop.`_t_gho` ADD COLUMN filled int NOT NULL DEFAULT 0; \
             INSERT INTO shop.`_t_gho` (id, v, w, filled) SELECT id, v, w, id * 2 FROM shop.t; \
             UPDATE shop.t SET v = 'late' WHERE id = 5; REPLACE INTO shop.`_t_gho` (id, v, w, filled) SELECT id, v, w, 10 FROM shop.t WHERE id = 5; \
             RENAME TABLE shop.t TO work.`_t_del`, shop.`_t_gho` TO shop.t; UPDATE shop.t SET filled = -1 WHERE id = 6";
        equal_or_mended(&mut scene, "shop.t", change).await;
    }
}

/// Nothing was committed between the copy and the end of the daemon.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_statement_about_a_table_may_come_after_a_restart() {
    for flavor in FLAVORS {
        let mut scene = streaming(Wanted::flavor(flavor), "").await;
        scene.assert_equal().await;
        scene.daemon.kill();
        scene.execute("TRUNCATE shop.t").await;
        scene.daemon.start_streaming().await;
        scene.assert_equal().await;
    }
}

/// What cannot be copied may be changed back: until then its rows are not passed over in silence.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_can_be_captured_no_longer_stops() {
    for flavor in FLAVORS {
        let mut scene = streaming(Wanted::flavor(flavor), "").await;
        scene
            .execute(
                "ALTER TABLE shop.t ENGINE = MyISAM; UPDATE shop.t SET v = 'later' WHERE id = 3",
            )
            .await;
        scene
            .daemon
            .until("the table has stopped", LIMIT, |status| {
                let mut tables = status.sinks.iter().flat_map(|s| &s.tables);
                match tables.find(|t| t.state != "failed") {
                    Some(table) => Err(table.state.clone()),
                    None => Ok(()),
                }
            })
            .await;
        scene
            .execute(
                "ALTER TABLE shop.t ENGINE = InnoDB; UPDATE shop.t SET v = 'again' WHERE id = 4",
            )
            .await;
        scene
            .daemon
            .succeed(&["snapshot", "--detach", "shop.t"])
            .expect("it can be captured again");
        scene.daemon.streaming().await;
        scene.assert_equal().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_dropped_and_made_again_or_filled_by_a_select_is_whole() {
    for flavor in FLAVORS {
        for change in [
            "DROP TABLE shop.t; CREATE TABLE shop.t (id int PRIMARY KEY, other text); INSERT INTO shop.t VALUES (1, 'x')",
            "DROP TABLE shop.t; CREATE TABLE shop.t (PRIMARY KEY (id)) AS SELECT i AS id, 'Zaphod' AS v FROM work.n WHERE i < 50",
            "RENAME TABLE shop.t TO work.t; CREATE TABLE shop.t (id int PRIMARY KEY, v text); INSERT INTO shop.t VALUES (2, 'y')",
        ] {
            let mut scene = streaming(Wanted::flavor(flavor), "").await;
            equal_or_mended(&mut scene, "shop.t", change).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_single_partitions_are_applied_or_stop_their_table() {
    let more = "CREATE TABLE shop.p (id int, day date, v text, PRIMARY KEY (id, day)) PARTITION BY RANGE COLUMNS (day) \
          (PARTITION p1 VALUES LESS THAN ('2024-02-01'), PARTITION p2 VALUES LESS THAN ('2024-03-01'), PARTITION p3 VALUES LESS THAN ('2024-04-01')); \
        INSERT INTO shop.p SELECT i, date '2024-01-01' + INTERVAL i % 90 DAY, 'Zaphod' FROM work.n WHERE i < 900; \
        CREATE TABLE work.x (id int, day date, v text, PRIMARY KEY (id, day)); INSERT INTO work.x VALUES (9001, '2024-01-05', 'exchanged');";
    for flavor in FLAVORS {
        for change in [
            "ALTER TABLE shop.p TRUNCATE PARTITION p1",
            "ALTER TABLE shop.p DROP PARTITION p2",
            "ALTER TABLE shop.p EXCHANGE PARTITION p1 WITH TABLE work.x",
            "ALTER TABLE shop.p ADD PARTITION (PARTITION p4 VALUES LESS THAN (MAXVALUE))",
            "ALTER TABLE shop.p REORGANIZE PARTITION p1, p2 INTO (PARTITION p12 VALUES LESS THAN ('2024-03-01'))",
            "ALTER TABLE shop.p REMOVE PARTITIONING",
        ] {
            let mut scene = streaming(Wanted::flavor(flavor), more).await;
            let change = format!("{change}; UPDATE shop.p SET v = 'x' WHERE id = 850");
            equal_or_mended(&mut scene, "shop.p", &change).await;
        }
    }
}

/// Columns that `SELECT *` does not show are in the log all the same, and the other way round.
#[tokio::test(flavor = "multi_thread")]
async fn invisible_and_generated_columns_are_the_same_by_snapshot_and_stream() {
    for flavor in FLAVORS {
        let more = match flavor {
            Flavor::MySql => {
                "CREATE TABLE shop.i (id int PRIMARY KEY, hidden int INVISIBLE DEFAULT 5, s int AS (id + 1) STORED, \
                   v int AS (id + 2) VIRTUAL, last text); INSERT INTO shop.i (id, last) SELECT i, 'x' FROM work.n WHERE i < 50; \
                 SET SESSION sql_generate_invisible_primary_key = ON; CREATE TABLE shop.g (v int); INSERT INTO shop.g VALUES (1), (2);"
            }
            Flavor::MariaDb => {
                "CREATE TABLE shop.i (id int PRIMARY KEY, hidden int INVISIBLE DEFAULT 5, s int AS (id + 1) STORED, \
                   v int AS (id + 2) VIRTUAL, last text); INSERT INTO shop.i (id, last) SELECT i, 'x' FROM work.n WHERE i < 50;"
            }
        };
        let mut scene = streaming(Wanted::flavor(flavor), more).await;
        scene.assert_equal().await;
        scene
            .execute("INSERT INTO shop.i (id, hidden, last) VALUES (100, 7, 'y'); UPDATE shop.i SET id = id + 1000 WHERE id < 5")
            .await;
        if flavor == Flavor::MySql {
            scene
                .execute("INSERT INTO shop.g (v) VALUES (3); UPDATE shop.g SET v = 9 WHERE v = 1")
                .await;
        }
        scene.assert_equal().await;
    }
}

/// Statements of which no row is logged, each the first thing about its table after a restart, and whether the sinks
/// follow it: those that they cannot follow stop their table.
const WITHOUT_ROWS: &[(&str, bool)] = &[
    ("ADD COLUMN a int NOT NULL DEFAULT 7", true),
    (
        "ADD COLUMN a int, ADD COLUMN b char(3) NOT NULL DEFAULT 'x' FIRST",
        true,
    ),
    ("ADD COLUMN a int NOT NULL AFTER id", true),
    ("DROP COLUMN w", true),
    ("DROP COLUMN n, ADD COLUMN a int DEFAULT 3", true),
    ("MODIFY n bigint DEFAULT 1", true),
    ("MODIFY v varchar(200)", true),
    ("MODIFY v varchar(60) DEFAULT 'q' COMMENT 'c'", true),
    ("MODIFY m enum('x', 'y', 'z')", true),
    ("MODIFY m enum('y', 'x')", true),
    ("ALTER COLUMN n SET DEFAULT 9", true),
    ("COMMENT = 'c', ADD INDEX (n)", true),
    ("CONVERT TO CHARACTER SET latin1", true),
    ("CONVERT TO CHARACTER SET utf8mb3", true),
    ("MODIFY w mediumtext AFTER id", true),
    ("ENGINE = InnoDB", true),
    ("RENAME COLUMN v TO renamed", true),
    ("CHANGE v again varchar(60)", true),
    ("CHANGE n number bigint FIRST, CHANGE v n varchar(99)", true),
    ("RENAME COLUMN v TO w, RENAME COLUMN w TO v", true),
    ("RENAME COLUMN id TO key_", true),
    (
        "ADD COLUMN a int NOT NULL DEFAULT 7, RENAME COLUMN n TO other",
        true,
    ),
    ("DROP COLUMN n, ADD COLUMN n int DEFAULT 3", true),
    ("DROP COLUMN n, RENAME COLUMN v TO n", true),
    (
        "ADD COLUMN a timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)",
        false,
    ),
    ("ADD COLUMN a bigint NOT NULL DEFAULT (id * 2)", false),
    (
        "ADD COLUMN a int GENERATED ALWAYS AS (id * 2) STORED",
        false,
    ),
    (
        "ADD COLUMN a int GENERATED ALWAYS AS (id * 3) VIRTUAL",
        false,
    ),
    ("ADD COLUMN a bigint AUTO_INCREMENT UNIQUE", false),
    ("DROP PRIMARY KEY, ADD PRIMARY KEY (id, n)", false),
    ("MODIFY v varchar(3)", false),
];

#[tokio::test(flavor = "multi_thread")]
async fn changes_without_rows_are_followed_or_stop_their_table_right_after_a_restart() {
    for flavor in FLAVORS {
        let table = |place: usize| format!("shop.c{place:02}");
        let mut more = String::new();
        for place in 0..WITHOUT_ROWS.len() {
            more.push_str(&format!(
                "CREATE TABLE {t} (id int PRIMARY KEY, v varchar(60), w mediumtext, m enum('x', 'y'), n int DEFAULT 1) \
                   CHARACTER SET utf8mb4; \
                 INSERT INTO {t} SELECT i, 'Zaphod', 'w', 'y', i FROM work.n WHERE i < 20;",
                t = table(place)
            ));
        }
        let mut scene = streaming(Wanted::flavor(flavor), &more).await;
        scene.assert_equal().await;
        scene.daemon.kill();
        for (place, (change, _)) in WITHOUT_ROWS.iter().enumerate() {
            let t = table(place);
            // What does not fit is cut there, and refused elsewhere.
            let mode = match change.contains("varchar(3)") {
                true => "SET SESSION sql_mode = ''",
                false => "SET SESSION sql_mode = 'STRICT_TRANS_TABLES'",
            };
            let key = match change.contains("key_") {
                true => "key_",
                false => "id",
            };
            let rows =
                format!("UPDATE {t} SET m = 'x' WHERE {key} = 3; DELETE FROM {t} WHERE {key} = 4");
            scene
                .execute(&format!("{mode}; ALTER TABLE {t} {change}; {rows}"))
                .await;
        }
        scene.daemon.start();
        let mut stopped = Vec::new();
        scene
            .daemon
            .until("what cannot be followed has stopped", LIMIT, |status| {
                stopped.clear();
                for known in status.sinks.iter().flat_map(|sink| &sink.tables) {
                    let follows = match known.table.strip_prefix('c') {
                        Some(place) => WITHOUT_ROWS[place.parse::<usize>().expect("a place")].1,
                        None => true,
                    };
                    let name = format!("{}.{}", known.schema, known.table);
                    let said = known.error.to_string();
                    match (known.state.as_str(), follows) {
                        ("streaming", true) => {}
                        ("failed", false) if said.contains(&format!("cdc snapshot {name}")) => {
                            stopped.push(name);
                        }
                        (state, _) => return Err(format!("{name} is {state}: {said}")),
                    }
                }
                // In each of the sinks.
                let wanted = 2 * WITHOUT_ROWS.iter().filter(|(_, follows)| !follows).count();
                match stopped.len() == wanted {
                    true => Ok(()),
                    false => Err(format!("{} of {wanted} have stopped", stopped.len())),
                }
            })
            .await;
        stopped.sort();
        stopped.dedup();
        for name in &stopped {
            let copied = scene.daemon.succeed(&["snapshot", "--detach", name]);
            copied.expect("it is copied anew");
        }
        scene.daemon.streaming().await;
        scene.assert_equal_by_statement().await;
    }
}

/// Each statement is about a table whose columns have other names since the last one, at times without a row between.
#[tokio::test(flavor = "multi_thread")]
async fn renamed_columns_keep_their_values() {
    let changes = [
        "RENAME COLUMN v TO a",
        "RENAME COLUMN a TO w, RENAME COLUMN w TO a",
        "CHANGE n v bigint AFTER id, ADD COLUMN n int DEFAULT 5",
        "RENAME COLUMN n TO m",
        "DROP COLUMN a, RENAME COLUMN w TO a",
        "CHANGE a A varchar(60)",
        "ADD COLUMN late int NOT NULL DEFAULT 3",
        "RENAME COLUMN late TO later",
        "RENAME COLUMN id TO v, RENAME COLUMN v TO id",
    ];
    for flavor in FLAVORS {
        for metadata in ["FULL", "MINIMAL"] {
            let more = "CREATE TABLE shop.r (id int PRIMARY KEY, v varchar(60), w mediumtext, n int) CHARACTER SET utf8mb4; \
                INSERT INTO shop.r SELECT i, concat('v', i), concat('w', i), i * 7 FROM work.n WHERE i < 50;";
            let wanted = Wanted::flavor(flavor).set("binlog-row-metadata", metadata);
            let mut scene = streaming(wanted, more).await;
            let mut next = 1000;
            for (number, change) in changes.iter().enumerate() {
                if number % 3 == 2 {
                    scene.daemon.kill();
                }
                scene.execute(&format!("ALTER TABLE shop.r {change}")).await;
                // Also without rows between this one and the next.
                if number % 2 == 0 {
                    next += 1;
                    let key = match number {
                        8 => "v",
                        _ => "id",
                    };
                    scene
                        .execute(&format!(
                            "INSERT INTO shop.r ({key}) VALUES ({next}); DELETE FROM shop.r WHERE {key} = {number}"
                        ))
                        .await;
                }
                if number % 3 == 2 {
                    scene.daemon.start_streaming().await;
                }
                if number == 4 {
                    let copied = scene.daemon.succeed(&["snapshot", "--detach", "shop.r"]);
                    copied.expect("it is copied anew");
                    scene.daemon.streaming().await;
                }
                if number % 2 == 0 {
                    scene.assert_equal_by_statement().await;
                }
            }
            let status = scene.daemon.status().expect("a status");
            for table in status.sinks.iter().flat_map(|sink| &sink.tables) {
                assert_eq!(table.state, "streaming", "{}", table.error);
            }
            let count = "SELECT count(*) AS c0 FROM shop.r WHERE later = 3 AND id IS NOT NULL";
            let count = scene.daemon.value(count).expect("a count");
            assert_ne!(count, Some("0".into()));
        }
    }
}

/// MySQL 9.7 takes the bytes of members for text of the new character set, also in rows from before.
#[tokio::test(flavor = "multi_thread")]
async fn members_that_a_conversion_makes_others_are_followed_or_stop_their_table() {
    for flavor in FLAVORS {
        for (old, new) in [
            ("utf8mb4", "latin1"),
            ("latin1", "utf8mb4"),
            ("utf8mb4", "utf8mb3"),
            ("latin1", "latin2"),
        ] {
            let members = match old {
                "utf8mb4" => "'a', 'é', 'ß'",
                _ => "'a', 'b', 'c'",
            };
            let more = format!(
                "CREATE TABLE shop.m (id int PRIMARY KEY, e enum({members}), s set({members})) CHARACTER SET {old}; \
                 INSERT INTO shop.m SELECT i, 1, i % 2 FROM work.n WHERE i < 30;"
            );
            let mut scene = streaming(Wanted::flavor(flavor), &more).await;
            let change = format!(
                "ALTER TABLE shop.m CONVERT TO CHARACTER SET {new}; UPDATE shop.m SET e = 2 WHERE id = 3"
            );
            equal_or_mended(&mut scene, "shop.m", &change).await;
            scene.execute("UPDATE shop.m SET s = 5 WHERE id = 4").await;
            scene.assert_equal().await;
        }
    }
}

/// A server may take names in any case for the same, and log statements as they were written.
#[tokio::test(flavor = "multi_thread")]
async fn names_of_tables_are_understood_in_the_case_that_the_server_keeps() {
    let wanted = Wanted::flavor(Flavor::MariaDb).set("lower-case-table-names", "1");
    let mut scene = streaming(wanted, "").await;
    scene.assert_equal().await;
    scene
        .execute(
            "TRUNCATE Shop.T; INSERT INTO SHOP.t VALUES (1, 'v', 'w'); \
             ALTER TABLE sHop.T ADD COLUMN x int NOT NULL DEFAULT 7; INSERT INTO shop.T VALUES (2, 'v', 'w', 8)",
        )
        .await;
    scene.assert_equal().await;
    let count = "SELECT count(*) AS c0 FROM shop.t WHERE x IS NOT NULL";
    assert_eq!(scene.daemon.value(count), Ok(Some("2".into())));
}
