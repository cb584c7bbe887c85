//! Existing rows, later changes, restarts of either side, changes of shape: the plain way, on MySQL and MariaDB.

use cdc_integration::compare;
use cdc_integration::mysql::{FLAVORS, Flavor, Mysql, NUMBERS, Stop};
use cdc_integration::scene::{LIMIT, SCHEMA, Scene};
use cdc_integration::server::Server as _;

const TABLES: &str = "
    CREATE TABLE shop.customer (id bigint unsigned PRIMARY KEY, name varchar(100), seen timestamp(6) NULL) CHARSET utf8mb4;
    CREATE TABLE shop.purchase (customer bigint, n int, amount decimal(12,2), PRIMARY KEY (customer, n));
    CREATE TABLE shop.loose (v int, w text);
    INSERT INTO shop.customer SELECT 1 + a.i + 10000 * b.i, CONCAT('Zaphod ', a.i), '2024-01-01 00:00:00'
      FROM work.n a, work.n b WHERE b.i < 2;
    INSERT INTO shop.purchase SELECT i, i % 3, i / 4.0 FROM work.n WHERE i < 5000;
    INSERT INTO shop.loose SELECT i % 7, 'Zaphod' FROM work.n WHERE i < 100;";

async fn scene(flavor: Flavor) -> Scene<Mysql> {
    Scene::on(Mysql::start(flavor).await, &format!("{NUMBERS} {TABLES}")).await
}

async fn streaming(flavor: Flavor) -> Scene<Mysql> {
    scene(flavor).await.started().await
}

#[tokio::test(flavor = "multi_thread")]
async fn existing_rows_and_later_changes_arrive_in_both_sinks() {
    for flavor in FLAVORS {
        let mut scene = streaming(flavor).await;
        scene.assert_equal().await;
        scene
            .execute(
                "UPDATE shop.customer SET name = 'Zaphod, again' WHERE id % 100 = 0;
                 DELETE FROM shop.customer WHERE id % 1000 = 7;
                 INSERT INTO shop.customer VALUES (18446744073709551615, NULL, NULL);
                 UPDATE shop.purchase SET n = n + 10 WHERE customer < 50;
                 DELETE FROM shop.loose WHERE v = 3 LIMIT 2;
                 UPDATE shop.loose SET w = NULL WHERE v = 4;
                 INSERT INTO shop.loose VALUES (9, 'x'), (9, 'x')",
            )
            .await;
        scene.assert_equal().await;
        assert!(scene.daemon.terminate().await.success());
        let session = scene.server.session().await;
        let file = scene.daemon.path("warehouse.duckdb");
        compare::warehouse_file_equal(&session, &file, &[SCHEMA])
            .await
            .expect("the file alone is equal too");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_made_while_the_daemon_was_down_or_killed_are_caught_up() {
    for flavor in FLAVORS {
        let mut scene = streaming(flavor).await;
        assert!(scene.daemon.terminate().await.success());
        scene
            .execute("DELETE FROM shop.purchase WHERE n = 1; INSERT INTO shop.purchase VALUES (1, 99, 0.01)")
            .await;
        scene.daemon.start_streaming().await;
        scene.assert_equal().await;
        for round in 0..3 {
            scene
                .execute(&format!(
                    "UPDATE shop.customer SET name = CONCAT(name, '!') WHERE id % 10 = {round}"
                ))
                .await;
            scene.daemon.kill();
            scene
                .execute("UPDATE shop.customer SET seen = NULL WHERE id < 100; FLUSH BINARY LOGS")
                .await;
            scene.daemon.start_streaming().await;
        }
        scene.assert_equal().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_goes_on_after_a_restart_of_the_server() {
    for flavor in FLAVORS {
        let mut scene = streaming(flavor).await;
        for how in [Stop::Fast, Stop::Immediate] {
            scene
                .execute("UPDATE shop.customer SET name = 'before' WHERE id % 7 = 0")
                .await;
            scene.server.restart(how).await;
            scene
                .execute("UPDATE shop.customer SET name = 'after' WHERE id % 11 = 0")
                .await;
            scene.assert_equal().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_shape_are_followed() {
    for flavor in FLAVORS {
        let mut scene = streaming(flavor).await;
        let changes = [
            "ALTER TABLE shop.customer ADD COLUMN tier int NOT NULL DEFAULT 7 FIRST",
            "ALTER TABLE shop.customer ADD COLUMN note varchar(20) DEFAULT 'Zaphod' AFTER name",
            "ALTER TABLE shop.purchase ADD COLUMN a int, ADD COLUMN b decimal(8,3) DEFAULT 1.5 AFTER n",
            "ALTER TABLE shop.purchase DROP COLUMN a",
            "ALTER TABLE shop.purchase MODIFY n bigint",
            "ALTER TABLE shop.customer MODIFY name text",
        ];
        for (n, change) in changes.iter().enumerate() {
            // One by one with rows between, half of them while nobody follows.
            if n % 2 == 1 {
                scene.daemon.kill();
            }
            scene.execute(change).await;
            scene
                .execute(&format!(
                    "UPDATE shop.customer SET name = 'x{n}' WHERE id = {n}; DELETE FROM shop.purchase WHERE customer = {n}; \
                     INSERT INTO shop.customer (id, name) VALUES ({n} + 100000, 'Zaphod')"
                ))
                .await;
            if n % 2 == 1 {
                scene.daemon.start_streaming().await;
            }
            scene.assert_equal().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_created_later_is_found_and_copied_while_others_stream() {
    for flavor in FLAVORS {
        let mut scene = streaming(flavor).await;
        scene
            .execute(
                "CREATE TABLE shop.later (id int PRIMARY KEY, v text);
                 INSERT INTO shop.later SELECT i, 'Zaphod' FROM work.n WHERE i < 1000",
            )
            .await;
        scene.daemon.succeed(&["reload"]).expect("reload");
        scene
            .execute("UPDATE shop.customer SET name = 'x' WHERE id = 5")
            .await;
        scene.daemon.streams("later").await;
        scene
            .execute("UPDATE shop.later SET v = NULL WHERE id % 2 = 0")
            .await;
        scene.assert_equal().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_snapshot_again_while_it_streams_stays_equal_and_readable() {
    for flavor in FLAVORS {
        let mut scene = streaming(flavor).await;
        for table in ["shop.customer", "shop.loose", "shop.purchase"] {
            scene
                .daemon
                .succeed(&["snapshot", "--detach", table])
                .expect("a re-snapshot is accepted");
            let readable = scene
                .daemon
                .value("SELECT count(*) >= 20000 AS c0 FROM shop.customer")
                .expect("the old content stays readable");
            assert_eq!(readable.as_deref(), Some("true"));
            scene
                .execute(
                    "UPDATE shop.customer SET name = CONCAT(name, '!') WHERE id % 10 = 0; \
                     UPDATE shop.loose SET w = CONCAT(w, '!') WHERE v = 2",
                )
                .await;
            scene.daemon.streaming().await;
            scene.assert_equal().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_teardown_and_a_new_start_load_the_tables_anew() {
    for flavor in FLAVORS {
        let mut scene = streaming(flavor).await;
        assert!(scene.daemon.terminate().await.success());
        scene
            .daemon
            .succeed(&["teardown", "--yes"])
            .expect("teardown");
        scene
            .execute("DELETE FROM shop.customer WHERE id % 2 = 0")
            .await;
        scene.daemon.start_streaming().await;
        scene.daemon.caught_up(LIMIT).await;
        let session = scene.server.session().await;
        compare::warehouse_equal(&session, &scene.daemon, &[SCHEMA])
            .await
            .expect("the tables of the new pipeline");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_finds_a_row_that_was_changed_behind_our_back() {
    for flavor in FLAVORS {
        let mut scene = streaming(flavor).await;
        scene
            .assert_verify_finds("UPDATE shop.customer SET name = 'Trillian' WHERE id = 77")
            .await;
    }
}
