//! What is wrong with a MySQL or MariaDB source is said with its remedy, and nothing is lost once it is mended.

use cdc_integration::daemon::{PASSWORD, standard_config};
use cdc_integration::mysql::{FLAVORS, Flavor, Mysql, NUMBERS, Stop, Wanted};
use cdc_integration::scene::{LIMIT, Scene};
use cdc_integration::server::Server as _;

const TABLE: &str = "CREATE TABLE shop.t (id int PRIMARY KEY, v text); INSERT INTO shop.t SELECT i, 'Zaphod' FROM work.n WHERE i < 1000;";

async fn scene(wanted: Wanted, more: &str) -> Scene<Mysql> {
    Scene::on(wanted.start().await, &format!("{NUMBERS} {TABLE} {more}")).await
}

/// The daemon starts, and a change arrives.
async fn follows(scene: &mut Scene<Mysql>) {
    scene.daemon.start_streaming().await;
    scene
        .execute("UPDATE shop.t SET v = 'x' WHERE id = 1")
        .await;
    scene.assert_equal().await;
}

/// The configuration of a user other than root.
fn configure(scene: &Scene<Mysql>, user: &str) {
    let url = scene.server.url(user, "shop");
    scene
        .daemon
        .configure(&standard_config(&url, r#"["shop.*"]"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_bend_the_log_are_refused_with_the_statement_that_mends_them() {
    for flavor in FLAVORS {
        for (name, value) in [
            ("binlog_format", "STATEMENT"),
            ("binlog_format", "MIXED"),
            ("binlog_row_image", "MINIMAL"),
        ] {
            let mut scene = scene(Wanted::flavor(flavor), "").await;
            scene.execute(&format!("SET GLOBAL {name} = {value}")).await;
            let said = scene.daemon.refused(&["check"]);
            assert!(said.contains(name) && said.contains("SET "), "{said}");
            scene.daemon.start();
            let said = scene.daemon.refusal(LIMIT).await;
            assert!(said.contains(name), "{said}");
            scene.daemon.kill();
            let good = if name == "binlog_format" {
                "ROW"
            } else {
                "FULL"
            };
            scene.execute(&format!("SET GLOBAL {name} = {good}")).await;
            scene.daemon.succeed(&["check"]).expect("mended");
            follows(&mut scene).await;
        }
    }
}

/// Also while the daemon streams.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_says_less_of_columns_is_warned_of_and_followed() {
    for flavor in FLAVORS {
        let mut scene = scene(Wanted::flavor(flavor), "").await;
        scene.daemon.start_streaming().await;
        scene.assert_equal().await;
        let less = match flavor {
            Flavor::MySql => "MINIMAL",
            Flavor::MariaDb => "NO_LOG",
        };
        scene
            .execute(&format!("SET GLOBAL binlog_row_metadata = {less}"))
            .await;
        let output = scene.daemon.cdc(&["check"]);
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(output.status.success(), "{said}");
        assert!(said.contains("binlog_row_metadata = FULL"), "{said}");
        let change = "ALTER TABLE shop.t ADD COLUMN u int unsigned NOT NULL DEFAULT 4294967295 FIRST; \
            UPDATE shop.t SET v = 'less' WHERE id = 1";
        scene.execute(change).await;
        scene.assert_equal().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_a_binlog_is_refused_with_the_setting() {
    for flavor in FLAVORS {
        let wanted = Wanted::flavor(flavor).unset("log-bin");
        let wanted = match flavor {
            Flavor::MySql => wanted.set("skip-log-bin", "1").set("gtid-mode", "OFF"),
            Flavor::MariaDb => wanted,
        };
        let mut scene = scene(wanted, "").await;
        let said = scene.daemon.refused(&["check"]);
        assert!(said.contains("log_bin"), "{said}");
        scene.daemon.start();
        let said = scene.daemon.refusal(LIMIT).await;
        assert!(said.contains("log_bin"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_privileges_are_named_with_the_statements_that_grant_them() {
    for flavor in FLAVORS {
        let mut scene = scene(
            Wanted::flavor(flavor),
            "CREATE USER cdc@'%' IDENTIFIED BY '';",
        )
        .await;
        configure(&scene, "cdc");
        let url = Mysql::url_at(scene.server.port()).replace("root", "cdc");
        scene
            .daemon
            .configure(&standard_config(&url, r#"["shop.*"]"#));
        for privilege in [
            "REPLICATION SLAVE ON *.*",
            match flavor {
                Flavor::MySql => "REPLICATION CLIENT ON *.*",
                Flavor::MariaDb => "BINLOG MONITOR ON *.*",
            },
            "SELECT ON shop.*",
        ] {
            let said = scene.daemon.refused(&["check"]).to_uppercase();
            let word = privilege.split(" ON").next().expect("a first part");
            assert!(
                said.contains("GRANT")
                    && (said.contains(word) || said.contains("REPLICATION CLIENT")),
                "{word}: {said}"
            );
            scene
                .execute(&format!("GRANT {privilege} TO cdc@'%'"))
                .await;
        }
        // Without the right to lock there is another way.
        scene
            .daemon
            .succeed(&["check"])
            .expect("nothing is missing now");
        follows(&mut scene).await;
        scene.daemon.kill();
        scene
            .execute("REVOKE REPLICATION SLAVE ON *.* FROM cdc@'%'")
            .await;
        scene.daemon.start();
        let said = scene.daemon.refusal(LIMIT).await;
        assert!(said.contains("REPLICATION SLAVE"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_said_and_not_shown() {
    for flavor in FLAVORS {
        let user = format!(
            "CREATE USER cdc@'%' IDENTIFIED BY '{PASSWORD}'; GRANT ALL PRIVILEGES ON *.* TO cdc@'%';"
        );
        let mut scene = scene(Wanted::flavor(flavor), &user).await;
        configure(&scene, "cdc:${DB_PASSWORD}");
        scene.assert_password_matters().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_verified_as_the_url_says() {
    for flavor in FLAVORS {
        let mut scene = scene(Wanted::flavor(flavor).tls(), "").await;
        let plain = scene.server.url("root", "shop");
        let with = |parameters: &str| {
            let url = format!("{plain}?{parameters}");
            scene
                .daemon
                .configure(&standard_config(&url, r#"["shop.*"]"#));
        };
        with("sslmode=verify-full");
        let said = scene.daemon.refused(&["check"]);
        assert!(
            said.contains("certificate") && said.contains("sslrootcert"),
            "{said}"
        );
        let authority = scene.server.certificate();
        with(&format!(
            "sslmode=verify-full&sslrootcert={}",
            authority.display()
        ));
        scene
            .execute("CREATE USER tls@'%' IDENTIFIED BY '' REQUIRE SSL")
            .await;
        scene.daemon.succeed(&["check"]).expect("verified");
        follows(&mut scene).await;
    }
}

/// No answer is no reason to give up.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_down_is_waited_for() {
    for flavor in FLAVORS {
        let mut scene = scene(Wanted::flavor(flavor), "").await;
        scene.server.stop(Stop::Fast);
        let said = scene.daemon.refused(&["check"]);
        assert!(said.contains("127.0.0.1"), "{said}");
        scene.daemon.start();
        let said = scene.daemon.refusal(LIMIT).await;
        assert!(said.contains("127.0.0.1"), "{said}");
        scene.server.boot().await;
        scene.daemon.streaming().await;
        scene.assert_equal().await;
    }
}
