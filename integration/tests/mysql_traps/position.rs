//! Position: numbers given twice, logs purged, servers exchanged, failover.

use cdc_integration::daemon::standard_config;
use cdc_integration::eventually;
use cdc_integration::mysql::{FLAVORS, Flavor, Mysql, NUMBERS, Stop, Wanted};
use cdc_integration::scene::{LIMIT, Scene};
use cdc_integration::server::Server as _;

use crate::{TABLE, refused, streaming};

/// A refusal of the position, after which the way that it names leads back to equal sinks.
async fn refused_and_mended(mut scene: Scene<Mysql>) {
    let said = refused(&mut scene, &["cdc teardown"]).await;
    scene.daemon.kill();
    scene
        .daemon
        .succeed(&["teardown", "--yes"])
        .unwrap_or_else(|error| panic!("{error}\n{said}"));
    scene.daemon.start_streaming().await;
    scene
        .execute("UPDATE shop.t SET v = 'mended' WHERE id = 5")
        .await;
    scene.daemon.caught_up(LIMIT).await;
    let session = scene.server.session().await;
    cdc_integration::compare::warehouse_equal(&session, &scene.daemon, &["shop"])
        .await
        .expect("equal again");
}

fn reset(flavor: Flavor) -> &'static str {
    match flavor {
        Flavor::MySql => "RESET BINARY LOGS AND GTIDS",
        Flavor::MariaDb => "RESET MASTER",
    }
}

/// After a reset the same numbers are given again: followed blindly, those changes would be skipped.
#[tokio::test(flavor = "multi_thread")]
async fn numbers_that_are_given_again_are_refused() {
    for flavor in FLAVORS {
        let mut scene = streaming(Wanted::flavor(flavor), "").await;
        scene.assert_equal().await;
        assert!(scene.daemon.terminate().await.success());
        scene.execute(reset(flavor)).await;
        for n in 0..60 {
            scene
                .execute(&format!("UPDATE shop.t SET v = 'again' WHERE id = {n}"))
                .await;
        }
        scene.daemon.start();
        refused_and_mended(scene).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_under_the_running_daemon_is_refused() {
    for flavor in FLAVORS {
        let mut scene = streaming(Wanted::flavor(flavor), "").await;
        scene.assert_equal().await;
        // MySQL does not reset under a reader's eyes without a new connection; the restart makes one.
        scene.execute(reset(flavor)).await;
        for n in 0..60 {
            scene
                .execute(&format!("UPDATE shop.t SET v = 'again' WHERE id = {n}"))
                .await;
        }
        scene.server.restart(Stop::Fast).await;
        refused_and_mended(scene).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purged_position_is_refused() {
    for flavor in FLAVORS {
        let mut scene = streaming(Wanted::flavor(flavor), "").await;
        scene.assert_equal().await;
        assert!(scene.daemon.terminate().await.success());
        scene
            .execute("UPDATE shop.t SET v = 'purged' WHERE id = 7; FLUSH BINARY LOGS; UPDATE shop.t SET v = 'kept' WHERE id = 8; FLUSH BINARY LOGS")
            .await;
        scene.server.purge_logs().await;
        scene.daemon.start();
        refused_and_mended(scene).await;
    }
}

/// What was purged has been read: nothing is missing.
#[tokio::test(flavor = "multi_thread")]
async fn a_purge_of_what_has_been_read_harms_nothing() {
    for flavor in FLAVORS {
        let mut scene = streaming(Wanted::flavor(flavor), "").await;
        scene
            .execute("UPDATE shop.t SET v = 'read' WHERE id = 7")
            .await;
        scene.assert_equal().await;
        assert!(scene.daemon.terminate().await.success());
        scene.execute("FLUSH BINARY LOGS").await;
        scene.server.purge_logs().await;
        scene
            .execute("UPDATE shop.t SET v = 'later' WHERE id = 8")
            .await;
        scene.daemon.start_streaming().await;
        scene.assert_equal().await;
    }
}

/// Another server at the same address, with tables of the same names.
#[tokio::test(flavor = "multi_thread")]
async fn another_server_is_refused() {
    for flavor in FLAVORS {
        let mut scene = streaming(Wanted::flavor(flavor), "").await;
        scene.assert_equal().await;
        assert!(scene.daemon.terminate().await.success());
        let other = Scene::on(Mysql::start(flavor).await, &format!("{NUMBERS} {TABLE}")).await;
        for n in 0..60 {
            other
                .execute(&format!("UPDATE shop.t SET v = 'other' WHERE id = {n}"))
                .await;
        }
        scene.daemon.configure(&standard_config(
            &Mysql::url_at(other.server.port()),
            r#"["shop.*"]"#,
        ));
        scene.daemon.start();
        refused(&mut scene, &["source.url", "cdc teardown"]).await;
    }
}

/// Files of the log are numbered beyond six digits and beyond each other's names.
#[tokio::test(flavor = "multi_thread")]
async fn many_files_of_the_log_are_read_in_order() {
    for flavor in FLAVORS {
        let mut scene = streaming(Wanted::flavor(flavor), "").await;
        for n in 0..25 {
            if n == 12 {
                scene.daemon.kill();
            }
            scene
                .execute(&format!(
                    "UPDATE shop.t SET v = '{n}' WHERE id % 25 = {n}; FLUSH BINARY LOGS"
                ))
                .await;
        }
        scene.daemon.start_streaming().await;
        scene.assert_equal().await;
    }
}
/// A replica that has applied all that was read goes on where the primary was.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_promoted_is_followed() {
    for flavor in FLAVORS {
        let wanted = || match flavor {
            Flavor::MySql => Wanted::flavor(flavor).set("log-replica-updates", "ON"),
            Flavor::MariaDb => Wanted::flavor(flavor).set("log-slave-updates", "ON"),
        };
        let replica = wanted().start().await;
        let primary = wanted().start().await;
        let (source, start, wait) = match flavor {
            Flavor::MySql => (
                format!(
                    "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {}, SOURCE_USER = 'root', \
                     SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1",
                    primary.port()
                ),
                "START REPLICA",
                "STOP REPLICA; RESET REPLICA ALL",
            ),
            Flavor::MariaDb => (
                format!(
                    "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {}, MASTER_USER = 'root', MASTER_USE_GTID = slave_pos",
                    primary.port()
                ),
                "START SLAVE",
                "STOP SLAVE; RESET SLAVE ALL",
            ),
        };
        replica.execute(&format!("{source}; {start}")).await;
        let mut scene = Scene::on(primary, &format!("{NUMBERS} {TABLE}"))
            .await
            .started()
            .await;
        // Some transactions of MySQL have a tag in their names.
        let (tag, untag) = match flavor {
            Flavor::MySql => (
                "SET SESSION gtid_next = 'AUTOMATIC:cdc';",
                "SET SESSION gtid_next = 'AUTOMATIC';",
            ),
            Flavor::MariaDb => ("", ""),
        };
        scene
            .execute(&format!(
                "{tag} UPDATE shop.t SET v = 'tagged' WHERE id < 60; {untag} UPDATE shop.t SET v = 'before' WHERE id < 50"
            ))
            .await;
        scene.assert_equal().await;
        eventually("the replica has it all", LIMIT, || async {
            let count =
                "SELECT count(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'shop'";
            if replica.value(count).await.as_deref() != Some("1") {
                return Err("no table yet".to_owned());
            }
            let rows = replica
                .value("SELECT count(*) FROM shop.t WHERE v = 'before'")
                .await;
            if rows.as_deref() == Some("50") {
                Ok(())
            } else {
                Err(format!("{rows:?}"))
            }
        })
        .await;
        scene.server.stop(Stop::Immediate);
        replica.execute(wait).await;
        scene.server = replica;
        scene
            .execute(&format!(
                "{tag} UPDATE shop.t SET v = 'after' WHERE id > 970; {untag}"
            ))
            .await;
        scene.daemon.kill();
        scene.daemon.configure(&standard_config(
            &Mysql::url_at(scene.server.port()),
            r#"["shop.*"]"#,
        ));
        scene.daemon.start_streaming().await;
        scene.assert_equal().await;
    }
}

/// Names with tags count beside those without, and each tag by itself.
#[tokio::test(flavor = "multi_thread")]
async fn transactions_with_tags_in_their_names_are_read_once() {
    let mut scene = streaming(Wanted::flavor(Flavor::MySql), "").await;
    for (number, tag) in [
        "AUTOMATIC:one",
        "AUTOMATIC",
        "AUTOMATIC:two",
        "AUTOMATIC:one",
    ]
    .into_iter()
    .enumerate()
    {
        if number % 2 == 1 {
            scene.assert_equal().await;
            scene.daemon.kill();
        }
        scene
            .execute(&format!(
                "SET SESSION gtid_next = '{tag}'; INSERT INTO shop.t VALUES ({}, '{tag}', 'w'); \
                 UPDATE shop.t SET v = '{tag}' WHERE id % 7 = {number}; SET SESSION gtid_next = 'AUTOMATIC'; \
                 UPDATE shop.t SET w = '{number}' WHERE id % 5 = {number}",
                20_000 + number
            ))
            .await;
        if number % 2 == 1 {
            scene.daemon.start_streaming().await;
        }
    }
    scene.assert_equal().await;
    let position = scene.daemon.log();
    assert!(position.contains(":one:"), "the position has the tag");
}
