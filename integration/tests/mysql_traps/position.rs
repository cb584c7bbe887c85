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

/// A replica of MariaDB that was made of a backup has nothing of it in its log, nor of a domain that has been quiet
/// since; one that does not log what it applies has nothing at all. What it applied says how far it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_followed_whose_log_does_not_reach_back_to_every_domain() {
    for logs in ["ON", "OFF"] {
        let wanted = || Wanted::flavor(Flavor::MariaDb).set("log-slave-updates", logs);
        let quiet = "SET SESSION gtid_domain_id = 5; UPDATE shop.t SET v = 'quiet' WHERE id < 20;";
        let statements = format!("{NUMBERS} {TABLE} {quiet}");
        let primary = Scene::on(wanted().start().await, &statements).await;
        let replica = wanted().start().await;
        let position = primary.server.value("SELECT @@gtid_current_pos").await;
        let position = position.expect("a position");
        replica
            .execute(&format!(
                "SET SESSION sql_log_bin = 0; CREATE SCHEMA shop; {statements} SET GLOBAL gtid_slave_pos = '{position}'; \
                 CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {}, MASTER_USER = 'root', \
                   MASTER_USE_GTID = slave_pos; START SLAVE",
                primary.server.port()
            ))
            .await;
        let mut scene = primary.started().await;
        scene
            .execute("UPDATE shop.t SET v = 'before' WHERE id BETWEEN 10 AND 49")
            .await;
        scene.assert_equal().await;
        eventually("the replica has it all", LIMIT, || async {
            let rows = "SELECT count(*) FROM shop.t WHERE v = 'before'";
            match replica.value(rows).await.as_deref() {
                Some("40") => Ok(()),
                rows => Err(format!("{rows:?}")),
            }
        })
        .await;
        scene.server.stop(Stop::Immediate);
        replica.execute("STOP SLAVE; RESET SLAVE ALL").await;
        scene.server = replica;
        scene.daemon.kill();
        scene.daemon.configure(&standard_config(
            &Mysql::url_at(scene.server.port()),
            r#"["shop.*"]"#,
        ));
        // Of the first domain nothing new has been logged, where nothing of it was.
        scene.daemon.start_streaming().await;
        scene.assert_equal().await;
        scene
            .execute("SET SESSION gtid_domain_id = 0; UPDATE shop.t SET v = 'after' WHERE id > 970")
            .await;
        scene.assert_equal().await;
        // The place of a copy does not name the quiet domain.
        let copied = scene.daemon.succeed(&["snapshot", "--detach", "shop.t"]);
        copied.expect("it is copied anew");
        scene.daemon.streaming().await;
        scene.daemon.kill();
        scene
            .execute("SET SESSION gtid_domain_id = 5; UPDATE shop.t SET v = 'quiet no more' WHERE id < 30")
            .await;
        scene.daemon.start_streaming().await;
        scene.assert_equal().await;
    }
}

/// A replica that lags behind in a domain of its own knows nothing of it, and is refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_knows_nothing_of_a_domain_is_refused() {
    let mut scene = streaming(Wanted::flavor(Flavor::MariaDb), "").await;
    scene.assert_equal().await;
    assert!(scene.daemon.terminate().await.success());
    let position = scene.server.value("SELECT @@gtid_current_pos").await;
    scene.server.stop(Stop::Fast);
    let position = position.expect("a position");
    let other = Mysql::start(Flavor::MariaDb).await;
    let applied = position.replace("0-", "4-");
    other
        .execute(&format!("SET GLOBAL gtid_slave_pos = '{applied}'"))
        .await;
    scene.daemon.configure(&standard_config(
        &Mysql::url_at(other.port()),
        r#"["shop.*"]"#,
    ));
    scene.daemon.start();
    let said = refused(&mut scene, &["SET GLOBAL gtid_slave_pos"]).await;
    assert!(said.contains(&position), "{said}");
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
