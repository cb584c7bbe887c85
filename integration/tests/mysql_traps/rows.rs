//! Rows: keys that change, images that lack columns, statements instead of rows, cascades, compression.

use cdc_integration::mysql::{FLAVORS, Flavor, Wanted};

use crate::{equal_or_mended, refused, streaming};

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_key_leaves_no_old_row_and_two_rows_may_swap_keys() {
    for flavor in FLAVORS {
        let more = "CREATE TABLE shop.pair (a varchar(20), b int unsigned, v text, PRIMARY KEY (b, a)); \
                    INSERT INTO shop.pair SELECT CONCAT('Zaphod', i % 3), i, 'x' FROM work.n WHERE i < 100;";
        let mut scene = streaming(Wanted::flavor(flavor), more).await;
        scene
            .execute(
                "UPDATE shop.t SET id = id + 5000 WHERE id < 100;
                 BEGIN; UPDATE shop.t SET id = -1 WHERE id = 500; UPDATE shop.t SET id = 500 WHERE id = 501;
                 UPDATE shop.t SET id = 501 WHERE id = -1; COMMIT;
                 BEGIN; DELETE FROM shop.t WHERE id = 600; INSERT INTO shop.t VALUES (600, 'again', NULL); COMMIT;
                 REPLACE INTO shop.t VALUES (601, 'replaced', '');
                 INSERT INTO shop.t VALUES (602, 'a', 'b') ON DUPLICATE KEY UPDATE id = 9602, v = 'c';
                 UPDATE shop.pair SET a = CONCAT(a, '!'), b = b + 1 ORDER BY b DESC;
                 UPDATE shop.pair SET a = UPPER(a) WHERE b % 2 = 0",
            )
            .await;
        scene.assert_equal().await;
    }
}

/// Any session may choose another image: what is absent is not NULL.
#[tokio::test(flavor = "multi_thread")]
async fn smaller_row_images_are_merged_right_or_stop_their_table() {
    for flavor in FLAVORS {
        for image in ["MINIMAL", "NOBLOB"] {
            let mut scene = streaming(Wanted::flavor(flavor), "").await;
            for change in [
                "UPDATE shop.t SET v = 'x' WHERE id < 10",
                "UPDATE shop.t SET w = NULL WHERE id = 20; UPDATE shop.t SET id = 5020 WHERE id = 20",
                "DELETE FROM shop.t WHERE id BETWEEN 30 AND 40",
                "INSERT INTO shop.t (id, v) VALUES (7000, 'y')",
            ] {
                let change = format!("SET SESSION binlog_row_image = {image}; {change}");
                equal_or_mended(&mut scene, "shop.t", &change).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_json_values_are_merged_right_or_stop_their_table() {
    let more = "CREATE TABLE shop.doc (id int PRIMARY KEY, d json); \
                INSERT INTO shop.doc SELECT i, JSON_OBJECT('n', i, 'text', repeat('Zaphod', 50)) FROM work.n WHERE i < 100;";
    let mut scene = streaming(Wanted::flavor(Flavor::MySql), more).await;
    for change in [
        "UPDATE shop.doc SET d = JSON_SET(d, '$.n', 'other') WHERE id < 10",
        "UPDATE shop.doc SET d = JSON_REPLACE(d, '$.text', 'x') WHERE id = 20",
        "UPDATE shop.doc SET d = JSON_REMOVE(d, '$.n') WHERE id = 30",
    ] {
        let change = format!("SET SESSION binlog_row_value_options = PARTIAL_JSON; {change}");
        equal_or_mended(&mut scene, "shop.doc", &change).await;
    }
}

/// Where the log holds a statement, nobody knows the rows.
#[tokio::test(flavor = "multi_thread")]
async fn a_statement_in_place_of_rows_stops_the_stream() {
    for flavor in FLAVORS {
        let mut scene = streaming(Wanted::flavor(flavor), "").await;
        scene
            .execute(
                "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ; SET SESSION binlog_format = STATEMENT; \
                 UPDATE shop.t SET v = 'Zaphod by statement' WHERE id < 10",
            )
            .await;
        refused(&mut scene, &["binlog_format", "cdc snapshot"]).await;
    }
}

/// The child's rows change beside the log before MySQL 9.6 and on MariaDB.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_foreign_key_changes_are_in_the_sinks_or_their_table_is_refused() {
    let tables = "CREATE TABLE shop.parent (id int PRIMARY KEY); \
         CREATE TABLE shop.child (id int PRIMARY KEY, parent int, \
           FOREIGN KEY (parent) REFERENCES shop.parent (id) ON DELETE CASCADE ON UPDATE CASCADE); \
         CREATE TABLE shop.orphan (id int PRIMARY KEY, parent int, \
           FOREIGN KEY (parent) REFERENCES shop.parent (id) ON DELETE SET NULL); \
         INSERT INTO shop.parent SELECT i FROM work.n WHERE i < 50; \
         INSERT INTO shop.child SELECT i, i % 50 FROM work.n WHERE i < 500; \
         INSERT INTO shop.orphan SELECT i, i % 50 FROM work.n WHERE i BETWEEN 0 AND 49;";
    let mut scene = streaming(Wanted::flavor(Flavor::MySql), tables).await;
    scene
        .execute("DELETE FROM shop.parent WHERE id = 7; UPDATE shop.parent SET id = 1008 WHERE id = 8 AND 0")
        .await;
    scene.assert_equal().await;

    let server = Wanted::flavor(Flavor::MariaDb).start().await;
    let statements = format!("{} {tables}", cdc_integration::mysql::NUMBERS);
    let mut scene = cdc_integration::scene::Scene::on(server, &statements).await;
    scene.daemon.start();
    let said = refused(&mut scene, &["allow_cascades"]).await;
    assert!(said.contains("child") || said.contains("orphan"), "{said}");
    // The others go on.
    scene.execute("INSERT INTO shop.parent VALUES (77)").await;
    scene
        .reads("SELECT count(*) AS c0 FROM shop.parent WHERE id = 77", "1")
        .await;
}

/// Values and whole transactions that the server compresses.
#[tokio::test(flavor = "multi_thread")]
async fn compressed_transactions_and_rows_are_read() {
    for flavor in FLAVORS {
        let wanted = match flavor {
            Flavor::MySql => Wanted::flavor(flavor).set("binlog-transaction-compression", "ON"),
            Flavor::MariaDb => Wanted::flavor(flavor)
                .set("log-bin-compress", "ON")
                .set("log-bin-compress-min-len", "10")
                .set("binlog-row-event-max-size", "8192"),
        };
        let mut scene = streaming(wanted, "").await;
        for round in 0..3 {
            scene
                .execute(&format!(
                    "UPDATE shop.t SET w = repeat('{round}', 3000) WHERE id % 3 = {round}; \
                     INSERT INTO shop.t SELECT i + {round} * 10000 + 10000, 'Zaphod', repeat('x', 50) FROM work.n; \
                     DELETE FROM shop.t WHERE id % 17 = {round}"
                ))
                .await;
            scene.daemon.kill();
            scene.daemon.start_streaming().await;
        }
        scene.assert_equal().await;
    }
}

/// Larger than what is kept in memory, whole or not at all.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_compressed_transaction_neither_tears_nor_grows_the_daemon() {
    let wanted = Wanted::flavor(Flavor::MySql).set("binlog-transaction-compression", "ON");
    let mut scene = streaming(wanted, "").await;
    scene
        .execute(
            "BEGIN; INSERT INTO shop.t SELECT a.i + 10000 * b.i + 10000, 'Zaphod', repeat('Zaphod', 250) \
             FROM work.n a, work.n b WHERE b.i < 20; COMMIT",
        )
        .await;
    scene.daemon.caught_up(cdc_integration::scene::LIMIT).await;
    let peak = scene.daemon.peak_memory() >> 20;
    scene.assert_equal().await;
    // 300 MB of rows; DuckDB's own limit is 512 MB.
    assert!(peak < 1100, "{peak} MB");
}
