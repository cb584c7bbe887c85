//! What is acknowledged, and what happens when the log, the slot or the server is not what it was.

use std::time::Duration;

use cdc_integration::eventually;
use cdc_integration::postgres::{Stop, Wanted};
use cdc_integration::scene::{LIMIT, Scene, versions};
use cdc_integration::server::Server as _;

const TABLE: &str = "CREATE TABLE shop.t (id int PRIMARY KEY, v text); INSERT INTO shop.t SELECT i, 'Zaphod' FROM generate_series(1, 1000) i;";

/// With `acknowledge: sinks` the source still has all that the sinks lack, so that a lost journal is no loss.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_acknowledged_before_the_sinks_have_it() {
    let mut scene = Scene::streaming(15, TABLE).await;
    for round in 0..4 {
        for n in 0..40 {
            let id = 10_000 + round * 10_000 + n * 100;
            scene
                .execute(&format!(
                    "INSERT INTO shop.t SELECT {id} + i, 'Zaphod' FROM generate_series(0, 99) i"
                ))
                .await;
        }
        scene.daemon.kill();
        let journal = scene.daemon.path("data").join("journal");
        assert!(journal.is_dir(), "the journal is at {}", journal.display());
        std::fs::remove_dir_all(&journal).expect("nobody uses it now");
        scene.daemon.start_streaming().await;
        scene.assert_equal().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_stop_in_mid_load_acknowledges_nothing_that_is_not_in_the_sinks() {
    let mut scene = Scene::streaming(15, TABLE).await;
    for round in 1..4 {
        for n in 0..30 {
            let id = round * 100_000 + n * 1_000;
            scene
                .execute(&format!(
                    "INSERT INTO shop.t SELECT {id} + i, 'Zaphod' FROM generate_series(0, 999) i"
                ))
                .await;
        }
        assert!(scene.daemon.terminate().await.success());
        std::fs::remove_dir_all(scene.daemon.path("data").join("journal"))
            .expect("nobody uses it now");
        scene.daemon.start_streaming().await;
        scene.assert_equal().await;
    }
}

/// The journal held what the source has dropped since: a gap, which is named and not papered over.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_journal_that_was_acknowledged_is_a_gap() {
    let mut scene = Scene::new(Wanted::version(15), TABLE).await;
    scene.configure("postgres", "acknowledge: journal\n");
    scene.daemon.start_streaming().await;
    scene.assert_equal().await;
    scene.daemon.kill();
    // The sinks cannot move on from here, the journal can.
    let before = scene.confirmed().await;
    let lake = scene.daemon.path("lake");
    let aside = scene.daemon.path("lake.aside");
    std::fs::rename(&lake, &aside).expect("the lake can be moved away");
    std::fs::write(&lake, "a file in the way").expect("a file");
    scene.daemon.start();
    let server = &scene.server;
    eventually("the source is acknowledged beyond the sinks", LIMIT, || {
        let before = before.clone();
        async move {
            server
                .execute("INSERT INTO shop.t SELECT coalesce(max(id), 0) + 1, 'Zaphod' FROM shop.t")
                .await;
            let now = server
                .value("SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE NOT temporary")
                .await;
            if now != before {
                Ok(())
            } else {
                Err(format!("still {now:?}"))
            }
        }
    })
    .await;
    scene.daemon.kill();
    std::fs::remove_dir_all(scene.daemon.path("data").join("journal")).expect("nobody uses it now");
    std::fs::remove_file(&lake).expect("the file in the way");
    std::fs::rename(&aside, &lake).expect("the lake is back");
    scene.daemon.start();
    let said = scene.daemon.refusal(LIMIT).await;
    assert!(said.contains("cdc teardown"), "names the remedy: {said}");
}

/// Only the state database knew that the table was not captured for a while.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_lost_state_database_nothing_that_was_missed_stays_missing() {
    let mut scene = Scene::streaming(15, TABLE).await;
    scene.assert_equal().await;
    scene.daemon.kill();
    for statement in [
        "ALTER PUBLICATION cdc_shop DROP TABLE shop.t",
        "UPDATE shop.t SET v = 'missed' WHERE id = 5",
        "ALTER PUBLICATION cdc_shop ADD TABLE shop.t",
    ] {
        scene.execute(statement).await;
    }
    let data = scene.daemon.path("data");
    for name in ["state.db", "state.db-wal", "state.db-shm"] {
        // Some are not there.
        let _ = std::fs::remove_file(data.join(name));
    }
    scene.daemon.start_streaming().await;
    scene.assert_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_was_advanced_by_another_is_refused() {
    let mut scene = Scene::streaming(15, TABLE).await;
    scene.assert_equal().await;
    assert!(scene.daemon.terminate().await.success());
    scene
        .execute("INSERT INTO shop.t VALUES (-1, 'lost')")
        .await;
    scene
        .execute("SELECT pg_replication_slot_advance(slot_name, pg_current_wal_lsn()) FROM pg_replication_slots")
        .await;
    refused_and_mended(scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_slot_is_refused() {
    let mut scene = Scene::streaming(18, TABLE).await;
    scene.assert_equal().await;
    assert!(scene.daemon.terminate().await.success());
    scene
        .execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")
        .await;
    scene
        .execute("INSERT INTO shop.t VALUES (-1, 'lost')")
        .await;
    refused_and_mended(scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_created_anew_is_refused() {
    let mut scene = Scene::streaming(15, TABLE).await;
    scene.assert_equal().await;
    assert!(scene.daemon.terminate().await.success());
    let name = scene
        .server
        .value("SELECT slot_name FROM pg_replication_slots")
        .await
        .expect("one slot");
    scene
        .execute(&format!("SELECT pg_drop_replication_slot('{name}')"))
        .await;
    scene
        .execute("INSERT INTO shop.t VALUES (-1, 'lost')")
        .await;
    scene
        .execute(&format!(
            "SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')"
        ))
        .await;
    refused_and_mended(scene).await;
}

/// Refuses with the remedy, keeps what the sinks hold, and is equal once the remedy was used.
async fn refused_and_mended(mut scene: Scene) {
    scene.daemon.start();
    let said = scene.daemon.refusal(LIMIT).await;
    assert!(said.contains("cdc teardown"), "names the remedy: {said}");
    scene.daemon.kill();
    scene
        .daemon
        .succeed(&["teardown", "--yes"])
        .expect("the remedy works");
    scene.daemon.start_streaming().await;
    scene
        .execute("INSERT INTO shop.t VALUES (-2, 'after')")
        .await;
    scene.assert_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_server_at_the_same_address_is_refused() {
    let mut scene = Scene::streaming(15, TABLE).await;
    scene.assert_equal().await;
    assert!(scene.daemon.terminate().await.success());
    let other = Scene::new(Wanted::version(15), TABLE).await;
    let slot = scene
        .server
        .value("SELECT slot_name FROM pg_replication_slots")
        .await
        .expect("one slot");
    let publication = scene
        .server
        .value("SELECT pubname FROM pg_publication")
        .await
        .expect("one publication");
    other
        .execute(&format!(
            "SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')"
        ))
        .await;
    other
        .execute(&format!(
            "CREATE PUBLICATION {publication} FOR TABLE shop.t"
        ))
        .await;
    let config = std::fs::read_to_string(scene.daemon.path("cdc.yaml")).expect("the configuration");
    let moved = config.replace(
        &scene.server.port().to_string(),
        &other.server.port().to_string(),
    );
    scene.daemon.configure(&moved);
    scene.daemon.start();
    let said = scene.daemon.refusal(LIMIT).await;
    assert!(
        said.contains("another server"),
        "says what has changed: {said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_server_on_a_new_timeline_is_refused() {
    let mut scene = Scene::streaming(15, TABLE).await;
    scene.assert_equal().await;
    assert!(scene.daemon.terminate().await.success());
    scene.server.promote().await;
    scene.daemon.start();
    let said = scene.daemon.refusal(LIMIT).await;
    assert!(said.contains("timeline"), "says what has changed: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_table_beside_a_busy_one_lets_the_slot_advance() {
    let scene = Scene::streaming(15, &format!("{TABLE} CREATE TABLE public.busy (v int);")).await;
    let before = scene
        .server
        .value("SELECT pg_current_wal_lsn()")
        .await
        .expect("a position");
    scene
        .execute("INSERT INTO public.busy SELECT generate_series(1, 50000)")
        .await;
    let server = &scene.server;
    eventually("the slot advances past what is not ours", LIMIT, || {
        let query = format!("SELECT confirmed_flush_lsn > '{before}'::pg_lsn FROM pg_replication_slots WHERE NOT temporary");
        async move { if server.value(&query).await.as_deref() == Some("t") { Ok(()) } else { Err("not yet".into()) } }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_still_active_after_a_lost_session_is_waited_for() {
    let mut scene = Scene::new(Wanted::version(15).set("wal_sender_timeout", "3s"), TABLE).await;
    scene.daemon.start_streaming().await;
    // The process stops dead, so that the server does not see the session end, and another daemon takes over.
    scene.daemon.signal(rustix::process::Signal::STOP);
    let pid = scene.daemon.pid().expect("it runs");
    scene
        .execute("INSERT INTO shop.t VALUES (-1, 'meanwhile')")
        .await;
    scene.daemon.kill();
    assert!(pid > 0);
    scene.daemon.start_streaming().await;
    scene.assert_equal().await;
}

/// While a sink is down for longer than the server waits for its client, the session stays alive.
#[tokio::test(flavor = "multi_thread")]
async fn a_sink_down_for_longer_than_the_server_s_timeout_loses_neither_session_nor_rows() {
    let mut scene = Scene::new(Wanted::version(15).set("wal_sender_timeout", "2s"), TABLE).await;
    scene.daemon.start_streaming().await;
    scene.assert_equal().await;
    let sender = "SELECT pid FROM pg_stat_replication WHERE application_name NOT LIKE '%tmp%' ORDER BY backend_start LIMIT 1";
    let before = scene.server.value(sender).await.expect("a session");
    let lake = scene.daemon.path("lake");
    let aside = scene.daemon.path("lake.aside");
    std::fs::rename(&lake, &aside).expect("the lake can be moved away");
    std::fs::write(&lake, "a file in the way").expect("a file");
    let until = std::time::Instant::now() + Duration::from_secs(8);
    let mut id = 0;
    while std::time::Instant::now() < until {
        id -= 1;
        scene
            .execute(&format!(
                "INSERT INTO shop.t VALUES ({id}, repeat('Zaphod', 1000))"
            ))
            .await;
    }
    let said = scene.daemon.refusal(LIMIT).await;
    assert!(
        said.contains("lake"),
        "the status says which sink is down: {said}"
    );
    assert_eq!(
        scene.server.value(sender).await,
        Some(before),
        "the session was lost"
    );
    std::fs::remove_file(&lake).expect("the file in the way");
    std::fs::rename(&aside, &lake).expect("the lake is back");
    scene.assert_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_crashes_and_sends_transactions_again_duplicates_nothing() {
    let mut scene = Scene::new(
        Wanted::version(18),
        "CREATE TABLE shop.t (v int); ALTER TABLE shop.t REPLICA IDENTITY FULL;",
    )
    .await;
    scene.daemon.start_streaming().await;
    for round in 0..4 {
        for n in 0..20 {
            scene
                .execute(&format!(
                    "INSERT INTO shop.t VALUES ({}), ({n})",
                    round * 100 + n
                ))
                .await;
        }
        scene.server.restart(Stop::Immediate).await;
    }
    scene.assert_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_from_before_a_change_of_type_are_read_as_they_were_written() {
    for version in versions() {
        let mut scene = Scene::streaming(
            version,
            "CREATE TABLE shop.t (id int PRIMARY KEY, v int, w text); INSERT INTO shop.t SELECT i, i, 'w' || i FROM generate_series(1, 100) i;",
        )
        .await;
        scene.assert_equal().await;
        scene.daemon.kill();
        // The server decodes the first rows when the table has its new shape already.
        scene
            .execute(
                "INSERT INTO shop.t SELECT i, i, 'w' || i FROM generate_series(101, 200) i;
                 UPDATE shop.t SET w = w || ' changed' WHERE id % 3 = 0;",
            )
            .await;
        scene
            .execute("ALTER TABLE shop.t ALTER COLUMN v TYPE bigint")
            .await;
        scene
            .execute("INSERT INTO shop.t SELECT i, i::bigint << 33, 'w' || i FROM generate_series(201, 300) i")
            .await;
        scene.daemon.start();
        scene.assert_equal().await;
    }
}
