//! Interleaved, large and aborted transactions; kills inside them.

use std::net::SocketAddr;
use std::time::Duration;

use cdc_integration::daemon::{Daemon, standard_config};
use cdc_integration::postgres::Wanted;
use cdc_integration::proxy::Proxy;
use cdc_integration::scene::{LIMIT, Scene, versions};
use cdc_integration::server::Server as _;
use cdc_integration::{compare, eventually};

/// Every transaction of some size is spilled or streamed by the server at once.
fn small_memory(version: u32) -> Wanted {
    Wanted::version(version).set("logical_decoding_work_mem", "64kB")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_transaction_around_a_short_one_survives_a_restart_between_their_commits() {
    for version in versions() {
        let mut scene =
            Scene::streaming(version, "CREATE TABLE shop.t (id int PRIMARY KEY, v text);").await;
        let long = scene.server.client().await;
        long.batch_execute("BEGIN; INSERT INTO shop.t VALUES (1, 'long, early')")
            .await
            .expect("the long one begins");
        scene
            .execute("INSERT INTO shop.t VALUES (2, 'short')")
            .await;
        scene.daemon.caught_up(LIMIT).await;
        scene.daemon.kill();
        scene.daemon.start_streaming().await;
        long.batch_execute("INSERT INTO shop.t VALUES (3, 'long, late')")
            .await
            .expect("it goes on");
        scene.daemon.kill();
        long.batch_execute("COMMIT").await.expect("it commits");
        scene.daemon.start_streaming().await;
        scene.assert_equal().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_savepoint_took_back_and_what_a_ddl_inside_changed_is_right_in_a_large_transaction()
{
    for version in versions() {
        let mut scene = Scene::new(
            small_memory(version),
            "CREATE TABLE shop.t (id int PRIMARY KEY, v text); INSERT INTO shop.t VALUES (0, 'first');",
        )
        .await;
        scene.daemon.start_streaming().await;
        scene
            .execute(
                "BEGIN;
                 INSERT INTO shop.t SELECT i, repeat('Zaphod', 30) FROM generate_series(1, 5000) i;
                 SAVEPOINT a;
                 INSERT INTO shop.t SELECT i, repeat('gone', 30) FROM generate_series(5001, 9000) i;
                 UPDATE shop.t SET v = 'gone' WHERE id < 100;
                 ROLLBACK TO SAVEPOINT a;
                 ALTER TABLE shop.t ADD COLUMN w int DEFAULT 5;
                 INSERT INTO shop.t SELECT i, 'wide', i FROM generate_series(10001, 15000) i;
                 SAVEPOINT b;
                 DELETE FROM shop.t WHERE id BETWEEN 10 AND 20;
                 RELEASE SAVEPOINT b;
                 COMMIT;
                 BEGIN; INSERT INTO shop.t SELECT i, 'never', 1 FROM generate_series(20001, 25000) i; ROLLBACK;",
            )
            .await;
        scene.assert_equal().await;
        // A shape that was only there in a transaction taken back.
        scene
            .execute(
                "BEGIN; INSERT INTO shop.t SELECT i, 'x', 1 FROM generate_series(30001, 33000) i;
                 SAVEPOINT c; ALTER TABLE shop.t ADD COLUMN ghost text; UPDATE shop.t SET ghost = 'boo' WHERE id > 10000;
                 ROLLBACK TO SAVEPOINT c; INSERT INTO shop.t VALUES (-7, 'after the ghost', 7); COMMIT;",
            )
            .await;
        scene.assert_equal().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disconnect_in_the_middle_of_a_large_transaction_neither_loses_nor_doubles_it() {
    for version in versions() {
        let server = small_memory(version).start().await;
        server.execute("CREATE SCHEMA shop; CREATE TABLE shop.t (v int, w text); ALTER TABLE shop.t REPLICA IDENTITY FULL").await;
        let proxy = Proxy::to(SocketAddr::from(([127, 0, 0, 1], server.port()))).await;
        let url = format!("postgres://postgres@127.0.0.1:{}/postgres", proxy.port());
        let daemon = Daemon::with_config(&standard_config(&url, r#"["shop.*"]"#));
        let mut scene = Scene { server, daemon };
        scene.daemon.start_streaming().await;
        let writer = scene.server.client().await;
        writer.batch_execute("BEGIN").await.expect("begin");
        for n in 0..6 {
            let insert = format!(
                "INSERT INTO shop.t SELECT i % 50, repeat('Zaphod', 20) FROM generate_series({n}, 4000) i"
            );
            writer.batch_execute(&insert).await.expect("an insert");
            if n % 2 == 0 {
                proxy.cut()
            } else {
                proxy.reset()
            }
        }
        writer.batch_execute("COMMIT").await.expect("commit");
        proxy.cut();
        scene.assert_equal().await;
    }
}

/// Visible at once or not at all, whatever its size, and memory does not grow with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_huge_transaction_is_seen_whole_or_not_at_all_in_bounded_memory() {
    const ROWS: u64 = 600_000;
    let mut scene = Scene::new(
        Wanted::version(18),
        "CREATE TABLE shop.t (id int PRIMARY KEY, v text);",
    )
    .await;
    scene.daemon.start_streaming().await;
    let writer = scene.server.client().await;
    let insert = format!(
        "INSERT INTO shop.t SELECT i, repeat('Zaphod', 60) FROM generate_series(1, {ROWS}) i"
    );
    let written = tokio::spawn(async move { writer.batch_execute(&insert).await });
    let commands = scene.daemon.commands();
    let mut seen = Vec::new();
    let server = &scene.server;
    eventually("the transaction is there", LIMIT, || {
        let count = commands
            .value("SELECT count(*) AS c0 FROM shop.t")
            .expect("the table can be read");
        let count: u64 = count.and_then(|n| n.parse().ok()).expect("a number");
        seen.push(count);
        async move {
            assert!(
                count == 0 || count == ROWS,
                "half a transaction: {count} rows"
            );
            // The server goes on serving others meanwhile.
            server.execute("SELECT 1").await;
            if count == ROWS {
                Ok(())
            } else {
                Err("not yet".into())
            }
        }
    })
    .await;
    written
        .await
        .expect("the writer ends")
        .expect("the insert succeeds");
    // 216 MB of text; DuckDB alone may take 512 MB.
    let peak = scene.daemon.peak_memory();
    assert!(peak < 900 << 20, "{} MB", peak >> 20);
    scene.daemon.caught_up(LIMIT).await;
    let client = scene.server.client().await;
    compare::warehouse_equal(&client, &scene.daemon, &["shop"])
        .await
        .expect("equal");
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_inside_a_large_transaction_lose_nothing() {
    for version in versions() {
        let mut scene = Scene::new(
            small_memory(version),
            "CREATE TABLE shop.t (id int PRIMARY KEY, v text);",
        )
        .await;
        scene.daemon.start_streaming().await;
        for round in 0..5 {
            let from = round * 20_000;
            scene
                .execute(&format!(
                    "INSERT INTO shop.t SELECT i, repeat('Zaphod', 10) FROM generate_series({from}, {from} + 19999) i;
                     UPDATE shop.t SET v = v || '!' WHERE id % 7 = 0 AND id >= {from}"
                ))
                .await;
            // A little later each time, so that different stages are hit.
            tokio::time::sleep(Duration::from_millis(round * 60)).await;
            scene.daemon.kill();
            scene.daemon.start();
        }
        scene.daemon.streaming().await;
        scene.assert_equal().await;
    }
}

/// The change of shape and the rows after it are one with the checkpoint, or come again and change nothing.
#[tokio::test(flavor = "multi_thread")]
async fn kills_around_changes_of_shape_converge() {
    let mut scene = Scene::streaming(
        15,
        "CREATE TABLE shop.t (id int PRIMARY KEY, v int); INSERT INTO shop.t SELECT i, i FROM generate_series(1, 200) i;",
    )
    .await;
    for round in 0..8 {
        scene
            .execute(&format!(
                "INSERT INTO shop.t (id, v) VALUES ({0}, 0); ALTER TABLE shop.t ADD COLUMN c{round} int DEFAULT {round};
                 UPDATE shop.t SET c{round} = -1 WHERE id % 5 = 0; INSERT INTO shop.t (id, v, c{round}) VALUES ({0} + 1, 1, 1);",
                1_000 + round * 10
            ))
            .await;
        tokio::time::sleep(Duration::from_millis(round * 40)).await;
        scene.daemon.kill();
        scene.daemon.start();
    }
    scene.daemon.streaming().await;
    scene.assert_equal().await;
}
