//! Where change data capture of MySQL and MariaDB loses or bends data silently: one test per trap, named after what
//! must hold.

mod log;
mod many;
mod position;
mod rows;
mod shapes;
mod snapshot;

use std::time::{Duration, Instant};

use cdc_integration::daemon::standard_config;
use cdc_integration::eventually;
use cdc_integration::mysql::{Mysql, NUMBERS, Wanted};
use cdc_integration::scene::{LIMIT, Scene};
use cdc_integration::server::Server as _;

/// A thousand rows to change.
const TABLE: &str = "CREATE TABLE shop.t (id int PRIMARY KEY, v varchar(60), w mediumtext) CHARACTER SET utf8mb4; \
    INSERT INTO shop.t SELECT i, 'Zaphod', repeat('Zaphod', 100) FROM work.n WHERE i < 1000;";

/// A scene with the table above and more, its tables streaming.
async fn streaming(wanted: Wanted, more: &str) -> Scene<Mysql> {
    let statements = format!("{NUMBERS} {TABLE} {more}");
    let scene = Scene::on(wanted.start().await, &statements).await;
    let url = Mysql::url_at(scene.server.port());
    // Tools that change shapes fill tables that begin with an underscore.
    scene
        .daemon
        .configure(&standard_config(&url, r#"["shop.*", "!shop._*"]"#));
    scene.started().await
}

/// What the daemon says when it refuses to go on for one of these remedies; of what it tries again it says something,
/// too, and that does not count.
async fn refused(scene: &mut Scene<Mysql>, remedies: &[&str]) -> String {
    let start = Instant::now();
    loop {
        let said = scene.daemon.refusal(LIMIT).await;
        if remedies.iter().any(|remedy| said.contains(remedy)) {
            scene.daemon.assert_log_clean();
            return said;
        }
        assert!(
            scene.daemon.pid().is_some() && start.elapsed() < LIMIT,
            "the remedy is one of {remedies:?}: {said}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// After a change that the log may not tell whole: the sinks are equal, or the table has stopped in each of them, says
/// why, and a snapshot mends it.
async fn equal_or_mended(scene: &mut Scene<Mysql>, table: &str, change: &str) {
    scene.execute(change).await;
    let commands = scene.daemon.commands();
    let stopped = eventually("equal or stopped", LIMIT, || {
        let waited = commands.succeed(&["wait", "--timeout", "2s"]);
        let status = commands.status();
        async move {
            if waited.is_ok() {
                return Ok(None);
            }
            let status = status?;
            let failed = status.sinks.iter().flat_map(|s| &s.tables);
            let failed: Vec<_> = failed.filter(|t| t.state == "failed").collect();
            if failed.len() < status.sinks.len() {
                return Err(format!("{waited:?}, {} tables have failed", failed.len()));
            }
            let said = failed
                .iter()
                .map(|t| format!("{}.{}: {}", t.schema, t.table, t.error));
            Ok(Some(said.collect::<Vec<_>>()))
        }
    })
    .await;
    for said in stopped.iter().flatten() {
        assert!(said.starts_with(table), "{change}: {said}");
        assert!(said.contains("cdc snapshot"), "{change}: {said}");
    }
    if stopped.is_some() {
        scene
            .daemon
            .succeed(&["snapshot", "--detach", table])
            .expect("a re-snapshot is accepted");
        scene.daemon.streaming().await;
    }
    scene.assert_equal().await;
}
