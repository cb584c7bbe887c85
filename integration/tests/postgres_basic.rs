//! Existing rows, later changes, restarts: the plain way, on every version.

use cdc_integration::compare;
use cdc_integration::postgres::Wanted;
use cdc_integration::scene::{SCHEMA, Scene, versions};
use cdc_integration::server::Server as _;

const TABLES: &str = "
    CREATE TABLE shop.customer (id bigint PRIMARY KEY, name text, seen timestamptz);
    CREATE TABLE shop.purchase (customer bigint, n int, amount numeric(12,2), PRIMARY KEY (customer, n));
    INSERT INTO shop.customer SELECT i, 'Zaphod ' || i, '2024-01-01 00:00:00+00' FROM generate_series(1, 20000) i;
    INSERT INTO shop.purchase SELECT i, i % 3, i / 4.0 FROM generate_series(1, 5000) i;";

#[tokio::test(flavor = "multi_thread")]
async fn existing_rows_and_later_changes_arrive_in_both_sinks() {
    for version in versions() {
        let mut scene = Scene::streaming(version, TABLES).await;
        scene.assert_equal().await;
        scene
            .execute(
                "UPDATE shop.customer SET name = 'Zaphod, again' WHERE id % 100 = 0;
                 DELETE FROM shop.customer WHERE id % 1000 = 7;
                 INSERT INTO shop.customer VALUES (-1, NULL, NULL);
                 UPDATE shop.purchase SET n = n + 10 WHERE customer < 50",
            )
            .await;
        scene.assert_equal().await;
        assert!(scene.daemon.terminate().await.success());
        let client = scene.server.client().await;
        let file = scene.daemon.path("warehouse.duckdb");
        compare::warehouse_file_equal(&client, &file, &[SCHEMA])
            .await
            .expect("the file alone is equal too");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_made_while_the_daemon_was_down_are_caught_up() {
    for version in versions() {
        let mut scene = Scene::streaming(version, TABLES).await;
        assert!(scene.daemon.terminate().await.success());
        scene.execute("DELETE FROM shop.purchase WHERE n = 1; INSERT INTO shop.purchase VALUES (1, 99, 0.01)").await;
        scene.daemon.start_streaming().await;
        scene.assert_equal().await;
        scene.daemon.kill();
        scene
            .execute("UPDATE shop.customer SET seen = NULL WHERE id < 100")
            .await;
        scene.daemon.start_streaming().await;
        scene.assert_equal().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_created_later_is_found_and_copied_while_others_stream() {
    for version in versions() {
        let mut scene = Scene::streaming(version, TABLES).await;
        scene
            .execute(
                "CREATE TABLE shop.later (id int PRIMARY KEY, v text);
                 INSERT INTO shop.later SELECT i, 'Zaphod' FROM generate_series(1, 1000) i",
            )
            .await;
        // Tables of a pattern are looked for at a reload, too.
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
    let mut scene = Scene::streaming(15, TABLES).await;
    for _ in 0..3 {
        scene
            .daemon
            .succeed(&["snapshot", "--detach", "shop.customer"])
            .expect("a re-snapshot is accepted");
        let readable = scene
            .daemon
            .value("SELECT count(*) >= 20000 AS c0 FROM shop.customer")
            .expect("the old content stays readable");
        assert_eq!(readable.as_deref(), Some("true"));
        scene
            .execute("UPDATE shop.customer SET name = name || '!' WHERE id % 10 = 0")
            .await;
        scene.daemon.streaming().await;
        scene.assert_equal().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_daemons_on_one_data_directory_are_refused() {
    let scene = Scene::streaming(15, TABLES).await;
    // On a port of its own, so that the data directory alone is in the way.
    scene.configure("postgres", "");
    let second = scene.daemon.cdc(&["run"]);
    assert!(!second.status.success());
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains("data"), "names the data directory: {said}");
    assert!(scene.daemon.status().is_ok(), "the first one goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn teardown_leaves_nothing_on_the_server() {
    for version in versions() {
        let mut scene = Scene::streaming(version, TABLES).await;
        assert!(scene.daemon.terminate().await.success());
        scene
            .daemon
            .succeed(&["teardown", "--yes"])
            .expect("teardown");
        assert_eq!(
            scene
                .server
                .value("SELECT count(*) FROM pg_replication_slots")
                .await
                .as_deref(),
            Some("0")
        );
        assert_eq!(
            scene
                .server
                .value("SELECT count(*) FROM pg_publication")
                .await
                .as_deref(),
            Some("0")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn teardown_of_what_never_ran_makes_no_file() {
    let scene = Scene::new(Wanted::version(versions()[0]), TABLES).await;
    scene
        .daemon
        .succeed(&["teardown", "--yes"])
        .expect("there is nothing to remove");
    assert!(!scene.daemon.path("warehouse.duckdb").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_finds_a_row_that_was_changed_behind_our_back() {
    let mut scene = Scene::streaming(15, TABLES).await;
    scene
        .assert_verify_finds("UPDATE shop.customer SET name = 'Trillian' WHERE id = 77")
        .await;
}
