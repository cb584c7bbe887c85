//! Many tables at once: streams that begin with changes of all of them, made while their shapes change.

use cdc_integration::mysql::{FLAVORS, Wanted};
use cdc_integration::scene::LIMIT;
use cdc_integration::server::Server as _;

use crate::streaming;

const TABLES: u32 = 40;

/// Some rows of every table, in transactions of their own.
fn rows(round: u32, part: u32) -> String {
    let first = round * 100 + part * 10;
    let of = |n| {
        format!(
            "INSERT INTO shop.t{n} (id, a, b) SELECT {first} + i, CONCAT('a', i), CONCAT('b', i) FROM work.n WHERE i < 5; \
             UPDATE shop.t{n} SET a = CONCAT(a, '!') WHERE id % 3 = 0; "
        )
    };
    (1..=TABLES).map(of).collect()
}

/// Rows of every table; of some the columns exchange their names in between, others get one more or lose one.
fn changes(round: u32) -> String {
    let alter = |rest: u32, what: &str| -> String {
        (1..=TABLES)
            .filter(|n| n % 10 == rest)
            .map(|n| format!("ALTER TABLE shop.t{n} {what}; "))
            .collect()
    };
    [
        rows(round, 0),
        alter(0, "RENAME COLUMN a TO neither"),
        alter(0, "RENAME COLUMN b TO a"),
        alter(0, "RENAME COLUMN neither TO b"),
        alter(
            1,
            &format!("ADD COLUMN c{round} int NOT NULL DEFAULT {round}"),
        ),
        alter(2, &format!("ADD COLUMN d{round} text")),
        rows(round, 1),
        alter(2, &format!("DROP COLUMN d{round}")),
        rows(round, 2),
    ]
    .concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_tables_of_a_backlog_are_not_looked_up_one_by_one_and_keep_their_rows_while_they_change()
 {
    for flavor in FLAVORS {
        let tables: String = (1..=TABLES)
            .map(|n| {
                format!(
                    "CREATE TABLE shop.t{n} (id bigint PRIMARY KEY, a varchar(60), b varchar(60)); "
                )
            })
            .collect();
        let mut scene = streaming(Wanted::flavor(flavor), &tables).await;
        scene.daemon.kill();
        scene.execute(&rows(1, 0)).await;
        scene
            .execute("SET GLOBAL log_output = 'TABLE'; SET GLOBAL general_log = ON")
            .await;
        scene.daemon.start();
        scene.daemon.caught_up(LIMIT).await;
        let readings = "SELECT COUNT(*) FROM mysql.general_log WHERE CONVERT(argument USING utf8mb4) \
            LIKE 'SELECT TABLE_SCHEMA%FROM information_schema.COLUMNS%'";
        let readings = scene.server.value(readings).await.expect("a number");
        let readings: u32 = readings.parse().expect("a number");
        assert!((1..TABLES / 2).contains(&readings), "{flavor}: {readings}");
        scene.execute("SET GLOBAL general_log = OFF").await;
        scene.daemon.kill();
        // A backlog, in which some tables have a shape that they had not before and have no more.
        scene.execute(&changes(2)).await;
        scene.daemon.start();
        // And more of it while the stream begins, which ends in the middle of that.
        scene.execute_while_killed(&changes(3)).await;
        scene.daemon.start();
        scene.execute(&changes(4)).await;
        scene.assert_equal_by_statement().await;
    }
}
