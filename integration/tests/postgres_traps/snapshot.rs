//! Existing rows: what moves, hides or hangs while they are copied.

use std::net::SocketAddr;
use std::time::Duration;

use cdc_integration::daemon::{Daemon, standard_config};
use cdc_integration::eventually;
use cdc_integration::postgres::Wanted;
use cdc_integration::proxy::{Path, Proxy};
use cdc_integration::scene::{LIMIT, Scene, versions};
use cdc_integration::server::Server as _;

const BIG: &str = "CREATE TABLE shop.t (id int PRIMARY KEY, v int, big text); ALTER TABLE shop.t ALTER big SET STORAGE EXTERNAL;
    INSERT INTO shop.t SELECT i, i, repeat('Zaphod', 10) FROM generate_series(1, 100000) i;
    INSERT INTO shop.t SELECT i, i, repeat('Zaphod', 1000) FROM generate_series(100001, 100500) i;";

/// A scene whose path to the server is slow, so that a copy takes a while.
async fn slow(version: u32) -> (Scene, Proxy) {
    let server = Wanted::version(version).start().await;
    server.execute(&format!("CREATE SCHEMA shop; {BIG}")).await;
    let proxy = Proxy::to(SocketAddr::from(([127, 0, 0, 1], server.port()))).await;
    let url = format!("postgres://postgres@127.0.0.1:{}/postgres", proxy.port());
    let daemon = Daemon::with_config(&standard_config(&url, r#"["shop.*"]"#));
    proxy.set(Path::Slow(2_000_000));
    (Scene { server, daemon }, proxy)
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_in_the_middle_of_a_copy_while_rows_move_lose_nothing() {
    for version in versions() {
        let (mut scene, proxy) = slow(version).await;
        scene.daemon.start();
        for round in 0..3 {
            scene.daemon.copying().await;
            // Rows move between chunks, keys change, long values stay where they are.
            scene
                .execute(&format!(
                    "UPDATE shop.t SET v = v + 1 WHERE id % 10 = {round};
                     UPDATE shop.t SET v = -v WHERE id > 100000;
                     UPDATE shop.t SET id = id + 1000000 WHERE id % 1000 = {round} OR id = 100001 + {round};
                     DELETE FROM shop.t WHERE id % 500 = 1 + {round};
                     INSERT INTO shop.t SELECT 5000000 + {round} * 1000 + i, i, 'new' FROM generate_series(1, 100) i;"
                ))
                .await;
            scene.daemon.kill();
            if round == 1 {
                // Moves every row of the table to another place.
                scene.execute("VACUUM FULL shop.t").await;
            }
            scene.daemon.start();
        }
        proxy.set(Path::Open);
        scene.daemon.streaming().await;
        scene.assert_equal().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncate_and_a_rewrite_during_a_copy_are_not_lost() {
    let (mut scene, proxy) = slow(15).await;
    scene.daemon.start();
    scene.daemon.copying().await;
    let client = scene.server.client().await;
    let ddl = tokio::spawn(async move {
        client
            .batch_execute(
                "TRUNCATE shop.t; INSERT INTO shop.t VALUES (1, 1, 'after the truncate')",
            )
            .await
    });
    proxy.set(Path::Open);
    ddl.await
        .expect("the session ends")
        .expect("the truncate succeeds");
    scene.daemon.streaming().await;
    scene.assert_equal().await;
    // And while no daemon runs, between two halves of a copy.
    scene
        .execute("INSERT INTO shop.t SELECT i, i, 'again' FROM generate_series(2, 50000) i")
        .await;
    proxy.set(Path::Slow(500_000));
    scene
        .daemon
        .succeed(&["snapshot", "--detach", "shop.t"])
        .expect("a re-snapshot is accepted");
    scene.daemon.kill();
    scene
        .execute("TRUNCATE shop.t; INSERT INTO shop.t VALUES (7, 7, 'after the kill')")
        .await;
    proxy.set(Path::Open);
    scene.daemon.start_streaming().await;
    scene.assert_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_are_not_blocked_while_a_table_is_copied() {
    let (mut scene, proxy) = slow(15).await;
    scene.daemon.start();
    scene.daemon.copying().await;
    proxy.set(Path::Stalled);
    let client = scene.server.client().await;
    client
        .batch_execute("SET lock_timeout = '1s'; UPDATE shop.t SET v = 0; DELETE FROM shop.t WHERE id < 100; INSERT INTO shop.t VALUES (-1, 1, 'x')")
        .await
        .expect("no write waits for the copy");
    proxy.set(Path::Open);
    scene.daemon.streaming().await;
    scene.assert_equal().await;
}

/// A row-level policy would hide rows from the copy.
#[tokio::test(flavor = "multi_thread")]
async fn a_role_bound_by_a_row_level_policy_is_refused_and_not_given_half_the_rows() {
    let mut scene = Scene::new(
        Wanted::version(15),
        "CREATE TABLE shop.t (id int PRIMARY KEY, owner text); INSERT INTO shop.t SELECT i, 'Zaphod' FROM generate_series(1, 10) i;
         CREATE TABLE shop.open (id int PRIMARY KEY); INSERT INTO shop.open VALUES (1);
         CREATE ROLE bound LOGIN REPLICATION; GRANT USAGE, CREATE ON SCHEMA shop TO bound; GRANT SELECT ON ALL TABLES IN SCHEMA shop TO bound;
         GRANT CREATE ON DATABASE postgres TO bound;
         CREATE POLICY half ON shop.t USING (id < 5); ALTER TABLE shop.t ENABLE ROW LEVEL SECURITY;
         CREATE PUBLICATION given FOR TABLE shop.t, shop.open WITH (publish_via_partition_root = true);",
    )
    .await;
    let url = scene.server.url("bound", "postgres");
    let config = standard_config(&url, r#"["shop.*"]"#).replace(
        "  tables:",
        "  publication: given\n  manage_publication: given\n  tables:",
    );
    scene.daemon.configure(&config);
    scene.daemon.start();
    let said = scene.daemon.refusal(LIMIT).await.to_lowercase();
    assert!(
        said.contains("row security") || said.contains("row-level") || said.contains("bypassrls"),
        "says why: {said}"
    );
    scene.execute("ALTER ROLE bound BYPASSRLS").await;
    let ended = scene.daemon.ended().is_some();
    if ended {
        scene.daemon.start();
    } else {
        // A running daemon is told that it was mended.
        let _ = scene.daemon.cdc(&["snapshot", "--detach", "shop.t"]);
    }
    scene.daemon.streaming().await;
    scene.assert_equal().await;
}

/// A commit is in the log before it is visible to snapshots, for as long as a standby keeps it waiting.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_hangs_in_synchronous_replication_is_neither_lost_nor_doubled() {
    let mut scene = Scene::streaming(
        15,
        "CREATE TABLE shop.t (v int, w text); ALTER TABLE shop.t REPLICA IDENTITY FULL;
         INSERT INTO shop.t SELECT i % 10, 'Zaphod' FROM generate_series(1, 1000) i;",
    )
    .await;
    scene
        .execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        .await;
    scene.execute("SELECT pg_reload_conf()").await;
    let server = &scene.server;
    eventually("the setting is in force", LIMIT, || async {
        match server
            .value("SHOW synchronous_standby_names")
            .await
            .as_deref()
        {
            Some("nobody") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let hanging = scene.server.client().await;
    let commit = tokio::spawn(async move {
        hanging
            .batch_execute("INSERT INTO shop.t VALUES (1, 'hangs'), (1, 'hangs')")
            .await
    });
    eventually("the commit hangs", LIMIT, || async {
        match server
            .value("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
            .await
            .as_deref()
        {
            Some("1") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let commands = scene.daemon.commands();
    let snapshot = std::thread::spawn(move || commands.cdc(&["snapshot", "--detach", "shop.t"]));
    scene.execute("SET synchronous_commit = local; INSERT INTO shop.t VALUES (2, 'does not hang'); DELETE FROM shop.t WHERE v = 3").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    scene
        .execute("ALTER SYSTEM RESET synchronous_standby_names")
        .await;
    scene.execute("SELECT pg_reload_conf()").await;
    commit
        .await
        .expect("the session ends")
        .expect("the commit ends");
    assert!(snapshot.join().expect("the command ends").status.success());
    scene.daemon.streaming().await;
    scene.assert_equal().await;
}
