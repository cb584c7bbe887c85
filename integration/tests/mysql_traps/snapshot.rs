//! Copies under traffic: no lock, a short lock, a change of shape meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cdc_integration::daemon::standard_config;
use cdc_integration::mysql::{FLAVORS, Flavor, Mysql, NUMBERS, Wanted};
use cdc_integration::scene::Scene;
use cdc_integration::server::{Server, Session as _};

use crate::TABLE;

/// Sessions that go on changing rows, keys and all, until they are dropped.
struct Writers {
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<u64>>,
}

impl Writers {
    async fn start(server: &Mysql, table: &'static str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = Vec::new();
        for writer in 0..4_u64 {
            let session = server.session().await;
            let stopped = Arc::clone(&stop);
            tasks.push(tokio::spawn(async move {
                let mut n = 0;
                while !stopped.load(Ordering::Relaxed) {
                    n += 1;
                    let id = (n * 37 + writer * 211) % 5000;
                    // Deadlocks and lost sessions are the server's right.
                    let _ = session
                        .execute(&format!(
                            "BEGIN; UPDATE {table} SET v = CONCAT('w', {n}) WHERE id = {id}; \
                             DELETE FROM {table} WHERE id = {id} + 1; INSERT IGNORE INTO {table} (id, v) VALUES ({id} + 2, 'new'); \
                             UPDATE IGNORE {table} SET id = id + 20000 WHERE id = {id} + 3; COMMIT"
                        ))
                        .await;
                }
                n
            }));
        }
        Self { stop, tasks }
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            assert!(
                task.await.expect("a writer") > 5,
                "hardly anything was written"
            );
        }
    }
}

/// The log may be ahead of what a view shows, and behind it.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_under_traffic_meets_the_stream_without_a_gap_whatever_the_lock() {
    for flavor in FLAVORS {
        for lock in ["auto", "tables", "global", "none"] {
            let mut wanted = Wanted::flavor(flavor);
            wanted = match flavor {
                Flavor::MySql => wanted.set("binlog-group-commit-sync-delay", "2000"),
                Flavor::MariaDb => wanted
                    .set("binlog-commit-wait-count", "4")
                    .set("binlog-commit-wait-usec", "2000"),
            };
            let more = "INSERT INTO shop.t SELECT i, 'Zaphod', repeat('Zaphod', 100) FROM work.n WHERE i BETWEEN 1000 AND 6000;";
            let mut scene =
                Scene::on(wanted.start().await, &format!("{NUMBERS} {TABLE} {more}")).await;
            let url = Mysql::url_at(scene.server.port());
            let config = standard_config(&url, r#"["shop.*"]"#);
            scene.daemon.configure(
                &config
                    .replace("  tables:", &format!("  snapshot_lock: {lock}\n  tables:"))
                    .replace("chunk_bytes: 1MiB", "chunk_bytes: 64KiB"),
            );
            let writers = Writers::start(&scene.server, "shop.t").await;
            scene.daemon.start_streaming().await;
            scene
                .daemon
                .succeed(&["snapshot", "--detach", "shop.t"])
                .expect("a second copy");
            scene.daemon.streaming().await;
            scene.daemon.kill();
            scene.daemon.start_streaming().await;
            writers.end().await;
            scene.assert_equal().await;
        }
    }
}

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
            scene.daemon.copying().await;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_truncate_and_a_change_of_shape_during_a_copy_are_not_lost_and_not_held_up_for_long() {
    for flavor in FLAVORS {
        for change in [
            "TRUNCATE shop.t",
            "ALTER TABLE shop.t ADD COLUMN n int DEFAULT 5 FIRST",
            "ALTER TABLE shop.t MODIFY v varchar(200)",
        ] {
            let more = "INSERT INTO shop.t SELECT i, 'Zaphod', repeat('Zaphod', 400) FROM work.n WHERE i >= 1000;";
            let server = Wanted::flavor(flavor).start().await;
            let mut scene = Scene::on(server, &format!("{NUMBERS} {TABLE} {more}")).await;
            let url = Mysql::url_at(scene.server.port());
            let config = standard_config(&url, r#"["shop.*"]"#);
            scene
                .daemon
                .configure(&config.replace("chunk_bytes: 1MiB", "chunk_bytes: 64KiB"));
            scene.daemon.start();
            scene.daemon.copying().await;
            // Our readers hold the table's metadata while they copy; an application gives up after its own time.
            scene
                .execute(&format!("SET SESSION lock_wait_timeout = 30; {change}"))
                .await;
            scene
                .execute("INSERT INTO shop.t (id, v) VALUES (-5, 'after')")
                .await;
            scene.daemon.streaming().await;
            scene.assert_equal().await;
        }
    }
}
