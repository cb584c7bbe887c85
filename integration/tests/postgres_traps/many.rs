//! Many tables at once: streams that begin with changes of all of them, made while their shapes change.

use cdc_integration::scene::{LIMIT, Scene, versions};

const TABLES: u32 = 80;

/// Rows of every table, in transactions of their own; of some the columns exchange their names in between, others get
/// one more or lose one.
fn changes(round: u32) -> String {
    let insert = |part: u32| {
        let first = round * 100 + part * 10;
        format!(
            "EXECUTE format('INSERT INTO shop.t%s (id, a, b) SELECT {first} + i, ''a'' || i, ''b'' || i \
             FROM generate_series(0, 4) i', n); \
             EXECUTE format('UPDATE shop.t%s SET a = a || ''!'' WHERE id %% 3 = 0', n); COMMIT; "
        )
    };
    let alter = |rest: u32, what: &str| {
        format!("IF n % 5 = {rest} THEN EXECUTE format('ALTER TABLE shop.t%s {what}', n); END IF; ")
    };
    let shapes = [
        alter(0, "RENAME a TO neither"),
        alter(0, "RENAME b TO a"),
        alter(0, "RENAME neither TO b"),
        alter(
            1,
            &format!("ADD COLUMN c{round} int NOT NULL DEFAULT {round}"),
        ),
        alter(2, &format!("ADD COLUMN d{round} text")),
    ]
    .concat();
    let (before, between, after) = (insert(0), insert(1), insert(2));
    let drop = alter(2, &format!("DROP COLUMN d{round}"));
    format!(
        "DO $do$ BEGIN FOR n IN 1..{TABLES} LOOP {before} {shapes} COMMIT; {between} {drop} {after} END LOOP; END $do$"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn many_tables_keep_their_rows_where_each_is_looked_up_under_load_and_the_daemon_is_killed() {
    for version in versions() {
        let tables: String = (1..=TABLES)
            .map(|n| format!("CREATE TABLE shop.t{n} (id bigint PRIMARY KEY, a text, b text); "))
            .collect();
        let mut scene = Scene::streaming(version, &tables).await;
        scene.execute(&changes(1)).await;
        scene.daemon.kill();
        // A backlog, in which every table has a shape that it had not before and has no more.
        scene.execute(&changes(2)).await;
        scene.daemon.start();
        // And more of it while the stream begins, which ends in the middle of that.
        scene.execute_while_killed(&changes(3)).await;
        scene.daemon.start();
        scene.execute(&changes(4)).await;
        scene.daemon.caught_up(LIMIT).await;
        scene.assert_equal_by_statement().await;
    }
}
