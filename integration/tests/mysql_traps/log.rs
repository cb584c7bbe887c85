//! The log: what is damaged in it or not understood stops the stream; XA; savepoints.

use std::path::PathBuf;

use cdc_integration::mysql::{FLAVORS, Flavor, Mysql, Wanted};
use cdc_integration::scene::Scene;
use cdc_integration::server::Server as _;

use crate::{refused, streaming};

/// The file of the log that is written now.
async fn current(scene: &Scene<Mysql>) -> PathBuf {
    let statement = match scene.server.flavor() {
        Flavor::MySql => "SHOW BINARY LOG STATUS",
        Flavor::MariaDb => "SHOW MASTER STATUS",
    };
    let name = scene.server.value(statement).await.expect("there is a log");
    scene.server.data().join(name)
}

/// Changes one byte behind the last place where `mark` is in the log.
async fn damage(scene: &Scene<Mysql>, mark: &[u8], behind: usize) {
    let path = current(scene).await;
    let mut bytes = std::fs::read(&path).expect("the log can be read");
    let place = bytes
        .windows(mark.len())
        .rposition(|window| window == mark)
        .expect("the mark is in the log");
    bytes[place + behind] ^= 0x55;
    std::fs::write(&path, bytes).expect("the log can be written");
}

/// What came behind the damage is not in the warehouse.
fn assert_nothing_later(mut scene: Scene<Mysql>) {
    scene.daemon.kill();
    let connection = duckdb::Connection::open(scene.daemon.path("warehouse.duckdb"));
    let connection = connection.expect("nobody else has it open");
    let query = "SELECT count(*) FROM shop.t WHERE v = 'y'";
    let count: i64 = connection
        .query_row(query, [], |row| row.get(0))
        .expect("the table");
    assert_eq!(count, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_event_stops_the_stream_and_is_not_passed_over() {
    for flavor in FLAVORS {
        let mut scene = streaming(Wanted::flavor(flavor), "").await;
        scene.assert_equal().await;
        scene.daemon.kill();
        scene
            .execute("UPDATE shop.t SET v = 'Zaphod Beeblebrox' WHERE id = 7; UPDATE shop.t SET v = 'y' WHERE id = 8")
            .await;
        damage(&scene, b"Zaphod Beeblebrox", 3).await;
        scene.daemon.start();
        refused(&mut scene, &["checksum", "cdc teardown", "cdc snapshot"]).await;
        assert_nothing_later(scene);
    }
}

/// Without checksums only the compression itself can tell.
#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_transaction_that_does_not_inflate_is_not_taken_for_an_empty_one() {
    let wanted = Wanted::flavor(Flavor::MySql)
        .set("binlog-transaction-compression", "ON")
        .set("binlog-checksum", "NONE");
    let mut scene = streaming(wanted, "").await;
    scene.assert_equal().await;
    scene.daemon.kill();
    scene
        .execute("UPDATE shop.t SET v = 'compressed', w = repeat('Zaphod', 5000) WHERE id = 7; UPDATE shop.t SET v = 'y' WHERE id = 8")
        .await;
    // The second transaction's frame comes last; of the first nothing else is like it.
    let magic = [0x28, 0xb5, 0x2f, 0xfd];
    damage(&scene, &magic, 1).await;
    scene.daemon.start();
    refused(&mut scene, &["cdc teardown", "cdc snapshot", "compress"]).await;
    assert_nothing_later(scene);
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_transactions_count_when_they_are_committed_and_not_before() {
    for flavor in FLAVORS {
        let mut scene = streaming(Wanted::flavor(flavor), "").await;
        // A session that prepares has to be gone before another one may decide.
        for (name, id) in [("one", 1), ("two", 2), ("three", 3)] {
            scene
                .execute(&format!(
                    "XA START '{name}'; UPDATE shop.t SET v = '{name}' WHERE id = {id}; \
                     INSERT INTO shop.t VALUES ({id} + 7000, '{name}', repeat('x', 2000)); XA END '{name}'; XA PREPARE '{name}'"
                ))
                .await;
        }
        scene
            .execute("UPDATE shop.t SET v = 'plain' WHERE id = 100")
            .await;
        scene.assert_equal().await;
        scene.daemon.kill();
        scene
            .execute("UPDATE shop.t SET v = 'plain' WHERE id = 101")
            .await;
        scene.daemon.start_streaming().await;
        scene.execute("XA ROLLBACK 'one'; XA COMMIT 'two'").await;
        scene.assert_equal().await;
        scene.daemon.kill();
        scene
            .execute("FLUSH BINARY LOGS; UPDATE shop.t SET v = 'plain' WHERE id = 102; XA COMMIT 'three'")
            .await;
        scene.daemon.start_streaming().await;
        scene.assert_equal().await;
        assert_eq!(
            scene
                .daemon
                .value("SELECT count(*) AS c0 FROM shop.t WHERE id > 7000"),
            Ok(Some("2".into()))
        );
        // In one go, by one phase, and with nothing in it.
        scene
            .execute(
                "XA START 'four'; UPDATE shop.t SET v = 'four' WHERE id = 4; XA END 'four'; XA COMMIT 'four' ONE PHASE; \
                 XA START 'five'; XA END 'five'; XA PREPARE 'five'; XA ROLLBACK 'five'; \
                 XA START 'six'; UPDATE shop.t SET v = 'six' WHERE id = 6; XA END 'six'; XA ROLLBACK 'six'",
            )
            .await;
        scene.assert_equal().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_savepoint_took_back_is_not_there() {
    for flavor in FLAVORS {
        let mut scene = streaming(Wanted::flavor(flavor), "").await;
        scene
            .execute(
                "BEGIN; UPDATE shop.t SET v = 'a' WHERE id = 1; SAVEPOINT s; UPDATE shop.t SET v = 'b' WHERE id = 2; \
                 ROLLBACK TO SAVEPOINT s; UPDATE shop.t SET v = 'c' WHERE id = 3; COMMIT; \
                 BEGIN; UPDATE shop.t SET v = 'd' WHERE id = 4; ROLLBACK",
            )
            .await;
        scene.assert_equal().await;
    }
}
