//! Values that are not sent, keys that change, rows without a key.

use cdc_integration::daemon::standard_config;
use cdc_integration::postgres::Wanted;
use cdc_integration::postgres::text_rows;
use cdc_integration::scene::{LIMIT, Scene, versions};

/// Long values that an update leaves alone are not sent: absent is not NULL.
#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_long_value_survives_updates_under_every_replica_identity() {
    for version in versions() {
        let mut scene = Scene::streaming(
            version,
            "CREATE TABLE shop.plain (id int PRIMARY KEY, n int, big text, more bytea, list text[]);
             CREATE TABLE shop.pair (a int, b text, n int, big text, PRIMARY KEY (a, b));
             CREATE TABLE shop.whole (id int PRIMARY KEY, n int, big text); ALTER TABLE shop.whole REPLICA IDENTITY FULL;
             CREATE TABLE shop.indexed (id int, code text NOT NULL, n int, big text);
             CREATE UNIQUE INDEX code ON shop.indexed (code); ALTER TABLE shop.indexed REPLICA IDENTITY USING INDEX code;
             ALTER TABLE shop.plain ALTER big SET STORAGE EXTERNAL, ALTER more SET STORAGE EXTERNAL, ALTER list SET STORAGE EXTERNAL;
             ALTER TABLE shop.pair ALTER big SET STORAGE EXTERNAL;
             ALTER TABLE shop.whole ALTER big SET STORAGE EXTERNAL;
             ALTER TABLE shop.indexed ALTER big SET STORAGE EXTERNAL;
             INSERT INTO shop.plain SELECT i, i, repeat('Zaphod' || i, 200000), decode(repeat('ab', 50000), 'hex'), ARRAY(SELECT 'x' || generate_series(1, 5000)) FROM generate_series(1, 5) i;",
        )
        .await;
        // Insert and update in one transaction, in one batch, and in different ones.
        scene
            .execute(
                "BEGIN;
                 INSERT INTO shop.plain VALUES (11, 1, repeat('z', 1000000), NULL, NULL);
                 UPDATE shop.plain SET n = 2 WHERE id = 11;
                 UPDATE shop.plain SET n = 3, more = decode(repeat('cd', 9000), 'hex') WHERE id = 11;
                 COMMIT;
                 INSERT INTO shop.pair VALUES (1, 'x', 1, repeat('p', 20000)), (2, 'y', 1, repeat('q', 20000));
                 INSERT INTO shop.whole VALUES (1, 1, repeat('w', 20000)), (2, 1, repeat('w', 20000));
                 INSERT INTO shop.indexed VALUES (1, 'c1', 1, repeat('i', 20000)), (2, 'c2', 1, repeat('i', 20000));",
            )
            .await;
        scene.assert_equal().await;
        scene
            .execute(
                "UPDATE shop.plain SET n = n + 1;
                 UPDATE shop.pair SET n = 5 WHERE a = 1;
                 UPDATE shop.pair SET b = 'moved' WHERE a = 2;
                 UPDATE shop.whole SET n = 7;
                 UPDATE shop.indexed SET n = 7 WHERE id = 1;
                 UPDATE shop.indexed SET code = 'other' WHERE id = 2;
                 UPDATE shop.plain SET id = id + 100 WHERE id < 3;",
            )
            .await;
        scene.assert_equal().await;
        // Set to NULL is another thing than left alone, in one batch with it.
        scene
            .execute(
                "BEGIN; UPDATE shop.plain SET n = 0; UPDATE shop.plain SET big = NULL WHERE id = 4; UPDATE shop.plain SET n = 9; COMMIT;
                 BEGIN; UPDATE shop.plain SET id = 55 WHERE id = 5; UPDATE shop.plain SET n = 1 WHERE id = 55;
                 DELETE FROM shop.plain WHERE id = 11; INSERT INTO shop.plain (id) VALUES (11); COMMIT;",
            )
            .await;
        scene.assert_equal().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_key_leaves_no_stale_row_and_two_rows_may_swap_theirs() {
    for version in versions() {
        let mut scene = Scene::streaming(
            version,
            "CREATE TABLE shop.t (id int PRIMARY KEY, v text, big text); ALTER TABLE shop.t ALTER big SET STORAGE EXTERNAL;
             INSERT INTO shop.t SELECT i, 'Zaphod ' || i, repeat('b' || i, 3000) FROM generate_series(1, 10) i;",
        )
        .await;
        scene
            .execute(
                "UPDATE shop.t SET id = 100 WHERE id = 1;
                 BEGIN; UPDATE shop.t SET id = -1 WHERE id = 2; UPDATE shop.t SET id = 2 WHERE id = 3; UPDATE shop.t SET id = 3 WHERE id = -1; COMMIT;
                 BEGIN; DELETE FROM shop.t WHERE id = 4; UPDATE shop.t SET id = 4 WHERE id = 5; UPDATE shop.t SET v = 'twice' WHERE id = 4; COMMIT;
                 BEGIN; UPDATE shop.t SET id = 60 WHERE id = 6; UPDATE shop.t SET id = 6 WHERE id = 60; COMMIT;
                 BEGIN; UPDATE shop.t SET id = 70 WHERE id = 7; INSERT INTO shop.t VALUES (7, 'new', NULL); COMMIT;",
            )
            .await;
        scene.assert_equal().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_a_key_keeps_its_duplicates() {
    for version in versions() {
        let mut scene = Scene::streaming(
            version,
            "CREATE TABLE shop.t (v int, w text, big text); ALTER TABLE shop.t REPLICA IDENTITY FULL, ALTER big SET STORAGE EXTERNAL;
             INSERT INTO shop.t SELECT i % 3, NULL, NULL FROM generate_series(1, 30) i;",
        )
        .await;
        scene
            .execute(
                "DELETE FROM shop.t WHERE ctid IN (SELECT ctid FROM shop.t WHERE v = 0 LIMIT 3);
                 UPDATE shop.t SET w = 'Zaphod' WHERE ctid IN (SELECT ctid FROM shop.t WHERE v = 1 LIMIT 2);
                 INSERT INTO shop.t VALUES (7, 'same', repeat('s', 9000)), (7, 'same', repeat('s', 9000)), (7, 'same', repeat('s', 9000));
                 BEGIN; INSERT INTO shop.t VALUES (8, 'x', NULL), (8, 'x', NULL); DELETE FROM shop.t WHERE ctid = (SELECT min(ctid) FROM shop.t WHERE v = 8); COMMIT;",
            )
            .await;
        scene.assert_equal().await;
        scene.execute("UPDATE shop.t SET w = 'one of three' WHERE ctid = (SELECT min(ctid) FROM shop.t WHERE v = 7)").await;
        scene
            .execute("DELETE FROM shop.t WHERE ctid = (SELECT max(ctid) FROM shop.t WHERE v = 7)")
            .await;
        scene.assert_equal().await;
    }
}

/// A change log holds every version; the later one of a key wins by `_cdc_seq`, snapshot rows included.
#[tokio::test(flavor = "multi_thread")]
async fn the_highest_seq_of_a_key_is_its_row_in_an_append_sink() {
    let mut scene = Scene::new(
        Wanted::version(15),
        "CREATE TABLE shop.t (id int PRIMARY KEY, v int); INSERT INTO shop.t SELECT i, 0 FROM generate_series(1, 5000) i;",
    )
    .await;
    let config = standard_config(&scene.server.url("postgres", "postgres"), r#"["shop.*"]"#);
    scene
        .daemon
        .configure(&config.replace("mode: upsert", "mode: append"));
    scene.daemon.start();
    for n in 1..20 {
        scene.execute(&format!("UPDATE shop.t SET v = {n} WHERE id % 20 < {n}; DELETE FROM shop.t WHERE id % 97 = {n}")).await;
    }
    scene.daemon.streaming().await;
    scene
        .daemon
        .succeed(&["snapshot", "--detach", "shop.t"])
        .expect("a re-snapshot is accepted");
    scene
        .execute("UPDATE shop.t SET v = v + 1000 WHERE id % 2 = 0")
        .await;
    scene.daemon.streaming().await;
    scene.daemon.caught_up(LIMIT).await;
    let sink = scene
        .daemon
        .query(
            "SELECT CAST(id AS VARCHAR) AS c0, CAST(v AS VARCHAR) AS c1 FROM (SELECT *, row_number() OVER \
             (PARTITION BY id ORDER BY _cdc_seq DESC, CASE _cdc_op WHEN 'delete' THEN 1 ELSE 0 END) AS n FROM shop.t) \
             WHERE n = 1 AND _cdc_op <> 'delete' ORDER BY id",
        )
        .expect("the change log can be read");
    let client = scene.server.client().await;
    let source = text_rows(
        &client,
        "SELECT id::text, v::text FROM shop.t ORDER BY t.id",
    )
    .await
    .expect("the source");
    assert!(
        source == sink,
        "{} rows of the source, {} of the sink, not the same",
        source.len(),
        sink.len()
    );
}

/// NaN in a column whose sink type has none, and a timestamp beyond the sink's range: that table stops, others go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_cannot_be_represented_stops_its_table_alone() {
    for value in ["timestamp '294276-12-31 23:59:59.999999'"] {
        let mut scene = Scene::streaming(
            15,
            "CREATE TABLE shop.edge (id int PRIMARY KEY, v timestamp); CREATE TABLE shop.good (id int PRIMARY KEY);",
        )
        .await;
        scene
            .execute(&format!(
                "INSERT INTO shop.edge VALUES (1, {value}); INSERT INTO shop.good VALUES (1)"
            ))
            .await;
        let said = scene.daemon.refusal(LIMIT).await;
        assert!(said.contains("edge"), "names the table: {said}");
        assert!(!said.contains("294276"), "shows user data: {said}");
        scene.execute("INSERT INTO shop.good VALUES (2)").await;
        scene
            .reads("SELECT count(*) AS c0 FROM shop.good", "2")
            .await;
        // Mended as the error says: the value goes, the table is copied again.
        scene
            .execute("DELETE FROM shop.edge WHERE id = 1; INSERT INTO shop.edge VALUES (2, now())")
            .await;
        scene
            .daemon
            .succeed(&["snapshot", "--detach", "shop.edge"])
            .expect("the remedy is accepted");
        scene.daemon.streaming().await;
        scene.assert_equal().await;
    }
}

/// Exact or refused, never 0: NaN of a constrained numeric.
#[tokio::test(flavor = "multi_thread")]
async fn not_a_number_in_a_constrained_numeric_never_becomes_a_number() {
    let mut scene = Scene::streaming(
        15,
        "CREATE TABLE shop.edge (id int PRIMARY KEY, v numeric(10,2)); CREATE TABLE shop.good (id int PRIMARY KEY);",
    )
    .await;
    scene
        .execute("INSERT INTO shop.edge VALUES (1, 'NaN'); INSERT INTO shop.good VALUES (1)")
        .await;
    let said = scene.daemon.refusal(LIMIT).await;
    assert!(said.contains("edge"), "names the table: {said}");
    scene
        .reads("SELECT count(*) AS c0 FROM shop.good", "1")
        .await;
    scene
        .reads("SELECT count(*) AS c0 FROM shop.edge", "0")
        .await;
}
