//! Copies: killed, while rows change.

use cdc_integration::daemon::standard_config;
use cdc_integration::mysql::{FLAVORS, Mysql, NUMBERS, Wanted};
use cdc_integration::scene::Scene;
use cdc_integration::server::Server as _;

use crate::TABLE;

/// A copy that is killed goes on, and does not lose what changed behind it.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_killed_again_and_again_ends_equal() {
    for flavor in FLAVORS {
        let more = "CREATE TABLE shop.wide (id varchar(20) PRIMARY KEY, v text, w mediumtext); \
            INSERT INTO shop.wide SELECT CONCAT('k', i), 'Zaphod', repeat('Zaphod', 300) FROM work.n; \
            CREATE TABLE shop.two (a int, b binary(4), v int, PRIMARY KEY (a, b)); \
            INSERT INTO shop.two SELECT i % 13, UNHEX(LPAD(HEX(i * 256), 8, '0')), i FROM work.n; \
            CREATE TABLE shop.bare (v int, w text); INSERT INTO shop.bare SELECT i % 100, 'Zaphod' FROM work.n;";
        let server = Wanted::flavor(flavor).start().await;
        let mut scene = Scene::on(server, &format!("{NUMBERS} {TABLE} {more}")).await;
        let url = Mysql::url_at(scene.server.port());
        let config = standard_config(&url, r#"["shop.*"]"#);
        scene
            .daemon
            .configure(&config.replace("chunk_bytes: 1MiB", "chunk_bytes: 64KiB"));
        for round in 0..6 {
            scene.daemon.start();
            // The copy is under way, or over.
            scene
                .daemon
                .until("a copy began", cdc_integration::scene::LIMIT, |status| {
                    let began = status.sinks.iter().flat_map(|s| &s.tables);
                    if began.clone().any(|t| t.state != "pending") {
                        Ok(())
                    } else {
                        Err(format!("{} tables", began.count()))
                    }
                })
                .await;
            scene
                .execute(&format!(
                    "UPDATE shop.wide SET id = CONCAT('moved', id) WHERE id LIKE 'k%{round}7'; \
                     DELETE FROM shop.two WHERE a = {round}; UPDATE shop.bare SET v = -v WHERE v = {round} + 10; \
                     INSERT INTO shop.wide VALUES ('a{round}', 'first', ''), ('z{round}', 'last', '')"
                ))
                .await;
            scene.daemon.kill();
        }
        scene.daemon.start_streaming().await;
        scene.assert_equal().await;
    }
}
