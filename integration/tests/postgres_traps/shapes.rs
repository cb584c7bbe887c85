//! Shapes that change without a row being sent: defaults, rewrites, partitions, publications.

use cdc_integration::commands::Status;
use cdc_integration::daemon::standard_config;
use cdc_integration::eventually;
use cdc_integration::postgres::Wanted;
use cdc_integration::scene::{LIMIT, Scene, versions};
use cdc_integration::server::Server as _;

#[tokio::test(flavor = "multi_thread")]
async fn existing_rows_carry_the_default_of_an_added_column() {
    for version in versions() {
        let mut scene = Scene::streaming(
            version,
            "CREATE TABLE shop.t (id int PRIMARY KEY, v int); INSERT INTO shop.t SELECT i, i FROM generate_series(1, 1000) i;",
        )
        .await;
        scene
            .execute(
                "ALTER TABLE shop.t ADD COLUMN a int DEFAULT 42, ADD COLUMN b text NOT NULL DEFAULT 'Zaphod ü', ADD COLUMN c numeric(6,2) DEFAULT 1.50,
                   ADD COLUMN d timestamptz DEFAULT '2020-01-01 00:00:00+00', ADD COLUMN e int[] DEFAULT '{1,2}', ADD COLUMN f bool;
                 UPDATE shop.t SET a = NULL WHERE id = 1; INSERT INTO shop.t (id) VALUES (-1);",
            )
            .await;
        scene.assert_equal().await;
        // The default of a column changes for rows to come, not for those there are.
        scene
            .execute(
                "ALTER TABLE shop.t ALTER a SET DEFAULT 43; INSERT INTO shop.t (id) VALUES (-2)",
            )
            .await;
        scene.assert_equal().await;
    }
}

/// The log says names and no attnums, and the catalog is read later, when names have changed again.
#[tokio::test(flavor = "multi_thread")]
async fn columns_that_exchange_their_names_keep_their_values_although_the_daemon_was_down() {
    let swap = |one: &str, other: &str| {
        format!(
            "BEGIN; ALTER TABLE shop.t RENAME {one} TO neither; ALTER TABLE shop.t RENAME {other} TO {one}; \
             ALTER TABLE shop.t RENAME neither TO {other}; COMMIT;"
        )
    };
    for version in versions() {
        let mut scene = Scene::streaming(
            version,
            "CREATE TABLE shop.t (k1 int, gone int, k2 int, a text, b text, c text, PRIMARY KEY (k1, k2));
             INSERT INTO shop.t SELECT i, i, -i, 'a' || i, 'b' || i, 'c' || i FROM generate_series(1, 100) i;",
        )
        .await;
        scene.assert_equal_by_statement().await;
        assert!(scene.daemon.terminate().await.success());
        for (number, (one, other)) in [("a", "b"), ("b", "c"), ("k1", "k2"), ("a", "c")]
            .into_iter()
            .enumerate()
        {
            scene.execute(&swap(one, other)).await;
            let row = format!("abs(k1) = {}", number + 1);
            scene
                .execute(&format!("UPDATE shop.t SET a = 'changed' WHERE {row}"))
                .await;
            if number == 1 {
                scene.execute("ALTER TABLE shop.t DROP gone").await;
            }
        }
        scene.daemon.start();
        scene.assert_equal_by_statement().await;
    }
}

/// Tables keep what they are when they are renamed, also where names change places.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_renamed_keeps_its_rows_under_its_new_name() {
    for version in versions() {
        let mut scene = Scene::streaming(version, REWRITTEN).await;
        scene.assert_equal().await;
        scene
            .execute("ALTER TABLE shop.t RENAME TO u; INSERT INTO shop.u VALUES (-1, 1); UPDATE shop.u SET v = -v WHERE id < 10")
            .await;
        scene.assert_equal().await;
        assert!(scene.daemon.terminate().await.success());
        scene
            .execute(
                "BEGIN; ALTER TABLE shop.u RENAME TO neither; ALTER TABLE shop.other RENAME TO u;
                 ALTER TABLE shop.neither RENAME TO other; INSERT INTO shop.u VALUES (7);
                 INSERT INTO shop.other VALUES (-2, 2); COMMIT",
            )
            .await;
        scene.daemon.start();
        // The warehouse makes room; a lake's folder has one table.
        let said = scene.daemon.refused(&["wait", "--timeout", "60s"]);
        assert!(said.contains("cdc snapshot shop."), "{said}");
        assert!(!said.contains("warehouse"), "{said}");
        let tables = ["shop.u", "shop.other"];
        let mended = [&["snapshot"], tables.as_slice()].concat();
        scene.daemon.succeed(&mended).expect("the remedy works");
        scene.assert_equal().await;
    }
}

/// Its rows begin with other values, and nothing in the log tells the two apart.
#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_is_dropped_and_added_again_stops_the_table_with_the_remedy() {
    for version in versions() {
        let mut scene = Scene::streaming(version, REWRITTEN).await;
        scene.execute("INSERT INTO shop.t VALUES (0, 0)").await;
        scene.assert_equal().await;
        scene
            .execute(
                "ALTER TABLE shop.t DROP v; ALTER TABLE shop.t ADD v int DEFAULT 7;
                 INSERT INTO shop.t (id) VALUES (-1); INSERT INTO shop.other VALUES (1)",
            )
            .await;
        let said = scene.daemon.refused(&["wait", "--timeout", "60s"]);
        assert!(
            said.contains("`v` was dropped and is there again"),
            "{said}"
        );
        equal_or_mended(&mut scene, "shop.t", "dropped and added").await;
        // Of another type it is known.
        scene
            .execute(
                "ALTER TABLE shop.t DROP v; ALTER TABLE shop.t ADD v text DEFAULT 'Zaphod';
                 INSERT INTO shop.t (id) VALUES (-2)",
            )
            .await;
        scene.assert_equal_by_statement().await;
    }
}

/// A commit is sent as soon as it is in the log, and its shape is not in the catalog before it has ended: here it waits
/// for a standby.
#[tokio::test(flavor = "multi_thread")]
async fn a_shape_that_is_sent_before_the_catalog_shows_it_is_waited_for() {
    for version in versions() {
        let mut scene = Scene::streaming(version, REWRITTEN).await;
        scene.execute("INSERT INTO shop.t VALUES (0, 0)").await;
        scene.assert_equal().await;
        scene
            .execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
            .await;
        scene.execute("SELECT pg_reload_conf()").await;
        let server = &scene.server;
        let is = async |query: &str, wanted: &str| match server.value(query).await {
            Some(value) if value == wanted => Ok(()),
            other => Err(format!("{other:?}")),
        };
        eventually("the setting is in force", LIMIT, async || {
            is("SHOW synchronous_standby_names", "nobody").await
        })
        .await;
        let hanging = server.client().await;
        let commit = tokio::spawn(async move {
            let statements = "ALTER TABLE shop.t DROP v; ALTER TABLE shop.t ADD v text DEFAULT 'Zaphod'; \
                INSERT INTO shop.t (id) VALUES (-2)";
            hanging.batch_execute(statements).await
        });
        eventually("the daemon waits for the commit", LIMIT, async || {
            let asks = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_current_snapshot()'";
            is(asks, "1").await
        })
        .await;
        scene
            .execute("ALTER SYSTEM RESET synchronous_standby_names")
            .await;
        scene.execute("SELECT pg_reload_conf()").await;
        commit.await.expect("no panic").expect("it commits");
        scene.assert_equal_by_statement().await;
    }
}

/// Statements after which every existing row of `shop.t` has another value, none of which is in the log.
const REWRITES: [(u32, &str); 3] = [
    (
        15,
        "ALTER TABLE shop.t ADD COLUMN r double precision DEFAULT random()",
    ),
    (
        18,
        "ALTER TABLE shop.t ALTER COLUMN v TYPE text USING 'was ' || v",
    ),
    (15, "ALTER TABLE shop.t ALTER COLUMN v TYPE int USING -v"),
];

const REWRITTEN: &str = "CREATE TABLE shop.t (id int PRIMARY KEY, v int); INSERT INTO shop.t SELECT i, i FROM generate_series(1, 1000) i;
    CREATE TABLE shop.other (id int PRIMARY KEY);";

#[tokio::test(flavor = "multi_thread")]
async fn a_rewritten_table_stops_with_the_remedy_or_is_equal() {
    for (version, rewrite) in REWRITES {
        let mut scene = Scene::streaming(version, REWRITTEN).await;
        scene.assert_equal().await;
        scene.execute(rewrite).await;
        scene
            .execute("INSERT INTO shop.t (id) VALUES (-1); INSERT INTO shop.other VALUES (1)")
            .await;
        equal_or_mended(&mut scene, "shop.t", rewrite).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_without_log_is_noticed_although_the_daemon_was_down_and_nothing_else_happened() {
    let changes = [
        (REWRITTEN, "shop.t", REWRITES[2].1),
        (
            REWRITTEN,
            "shop.t",
            "BEGIN; ALTER TABLE shop.t ADD COLUMN r uuid DEFAULT gen_random_uuid(); ALTER TABLE shop.t ALTER r DROP DEFAULT; COMMIT",
        ),
        (PARTITIONED, "shop.p", "TRUNCATE shop.p1"),
        (PARTITIONED, "shop.p", "DROP TABLE shop.p2"),
    ];
    for (statements, table, change) in changes {
        let mut scene = Scene::streaming(15, statements).await;
        scene.assert_equal().await;
        assert!(scene.daemon.terminate().await.success());
        scene.execute(change).await;
        scene.daemon.start();
        equal_or_mended(&mut scene, table, change).await;
        // Mended for good.
        assert!(scene.daemon.terminate().await.success());
        scene.daemon.start();
        scene.assert_equal().await;
    }
}

/// Files change with these too, and nothing else does.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_log_has_and_what_changes_no_rows_stops_nothing() {
    for version in versions() {
        // A rewrite moves the value of rows older than the column into them.
        let older = "ALTER TABLE shop.t ADD COLUMN old int NOT NULL DEFAULT 7";
        let statements = format!("{PARTITIONED} {REWRITTEN} {older}");
        let mut scene = Scene::streaming(version, &statements).await;
        scene.assert_equal().await;
        let changes: [&[&str]; 10] = [
            &["VACUUM FULL shop.t"],
            &["VACUUM FULL shop.p1"],
            &["CLUSTER shop.t USING t_pkey"],
            &[
                "ALTER TABLE shop.t ALTER v TYPE bigint",
                "UPDATE shop.t SET v = 5000000000 WHERE id = 1",
            ],
            &[
                "TRUNCATE shop.p, shop.t",
                "INSERT INTO shop.p SELECT i, date '2024-01-01' + i % 200, 'anew' FROM generate_series(1, 300) i",
            ],
            &[
                "ALTER TABLE shop.t ADD COLUMN late text",
                "TRUNCATE shop.t, shop.p",
                "ALTER TABLE shop.t ADD COLUMN later text",
                "ALTER TABLE shop.p ADD COLUMN later int DEFAULT 7",
                "INSERT INTO shop.t (id, late) VALUES (1, 'x')",
                "INSERT INTO shop.p SELECT i, date '2024-01-01' + i % 200, 'again' FROM generate_series(1, 300) i",
            ],
            &[
                "CREATE TABLE shop.p4 PARTITION OF shop.p FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')",
                "INSERT INTO shop.p VALUES (-2, '2025-05-05', 'into the new one')",
            ],
            // In one transaction.
            &[
                "CREATE TABLE shop.p5 PARTITION OF shop.p FOR VALUES FROM ('2026-01-01') TO ('2027-01-01'); INSERT INTO shop.p VALUES (-3, '2026-05-05', 'at once')",
            ],
            &[
                "CREATE TABLE shop.p6 (id int NOT NULL, day date NOT NULL, v text, later int)",
                "ALTER TABLE shop.p ATTACH PARTITION shop.p6 FOR VALUES FROM ('2027-01-01') TO ('2028-01-01')",
                "INSERT INTO shop.p6 VALUES (-4, '2027-05-05', 'attached empty')",
            ],
            &[
                "GRANT SELECT ON shop.t, shop.p1 TO PUBLIC; ALTER TABLE shop.t ALTER v SET DEFAULT 3",
            ],
        ];
        for change in changes {
            for statement in change {
                scene.execute(statement).await;
            }
            scene.assert_equal().await;
        }
        // Truncated in the log while the daemon is down, read when the files have changed already.
        assert!(scene.daemon.terminate().await.success());
        scene
            .execute("TRUNCATE shop.p; INSERT INTO shop.p VALUES (1, '2024-01-05', 'x')")
            .await;
        scene.daemon.start();
        scene.assert_equal().await;
        scene.daemon.kill();
        scene.daemon.start();
        scene.assert_equal().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn truncates_reach_every_table_they_name() {
    for version in versions() {
        let mut scene = Scene::streaming(
            version,
            "CREATE TABLE shop.a (id int PRIMARY KEY); CREATE TABLE shop.b (id int PRIMARY KEY REFERENCES shop.a);
             CREATE TABLE shop.c (id int PRIMARY KEY);
             INSERT INTO shop.a SELECT generate_series(1, 100); INSERT INTO shop.b SELECT generate_series(1, 100); INSERT INTO shop.c VALUES (1);",
        )
        .await;
        scene
            .execute(
                "TRUNCATE shop.a CASCADE; INSERT INTO shop.a VALUES (5);
                 BEGIN; INSERT INTO shop.c VALUES (2); TRUNCATE shop.c; INSERT INTO shop.c VALUES (3); COMMIT;
                 BEGIN; TRUNCATE shop.c; ROLLBACK; INSERT INTO shop.c VALUES (4);",
            )
            .await;
        scene.assert_equal().await;
    }
}

const PARTITIONED: &str = "CREATE TABLE shop.p (id int, day date, v text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
    CREATE TABLE shop.p1 PARTITION OF shop.p FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');
    CREATE TABLE shop.p2 (v text, junk int, day date NOT NULL, id int NOT NULL); ALTER TABLE shop.p2 DROP COLUMN junk;
    ALTER TABLE shop.p ATTACH PARTITION shop.p2 FOR VALUES FROM ('2024-02-01') TO ('2024-03-01');
    CREATE TABLE shop.p3 PARTITION OF shop.p FOR VALUES FROM ('2024-03-01') TO ('2025-01-01') PARTITION BY HASH (id);
    CREATE TABLE shop.p3a PARTITION OF shop.p3 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE shop.p3b PARTITION OF shop.p3 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
    INSERT INTO shop.p SELECT i, date '2024-01-01' + i % 200, 'Zaphod' FROM generate_series(1, 2000) i;";

#[tokio::test(flavor = "multi_thread")]
async fn a_partitioned_table_arrives_as_one_table() {
    for version in versions() {
        let mut scene = Scene::streaming(version, PARTITIONED).await;
        scene.assert_equal().await;
        scene
            .execute(
                "UPDATE shop.p SET v = 'changed' WHERE id % 3 = 0; UPDATE shop.p SET day = '2024-06-01' WHERE id % 50 = 1;
                 DELETE FROM shop.p WHERE id % 7 = 0; INSERT INTO shop.p2 (id, day, v) VALUES (-1, '2024-02-03', 'by the leaf');
                 CREATE TABLE shop.p4 PARTITION OF shop.p FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
                 INSERT INTO shop.p VALUES (-2, '2025-05-05', 'into the new one');",
            )
            .await;
        scene.assert_equal().await;
        scene.execute("ALTER TABLE shop.p ADD COLUMN w int DEFAULT 3; UPDATE shop.p SET w = 4 WHERE id % 2 = 0; TRUNCATE shop.p; INSERT INTO shop.p VALUES (1, '2024-01-05', 'x', 9)").await;
        scene.assert_equal().await;
        let tables = scene.daemon.status().expect("status").sinks[0].tables.len();
        assert_eq!(tables, 1, "partitions are no tables of their own");
    }
}

/// Nothing of this is in the log.
#[tokio::test(flavor = "multi_thread")]
async fn partitions_attached_detached_dropped_or_truncated_stop_the_table_with_the_remedy() {
    for change in [
        "TRUNCATE shop.p1",
        "DROP TABLE shop.p2",
        "ALTER TABLE shop.p DETACH PARTITION shop.p1",
        "CREATE TABLE shop.p9 (id int NOT NULL, day date NOT NULL, v text); INSERT INTO shop.p9 VALUES (1, '2030-01-01', 'was here before');
         ALTER TABLE shop.p ATTACH PARTITION shop.p9 FOR VALUES FROM ('2030-01-01') TO ('2031-01-01')",
    ] {
        let mut scene = Scene::streaming(15, PARTITIONED).await;
        scene.assert_equal().await;
        scene.execute(change).await;
        scene.execute("INSERT INTO shop.p VALUES (-5, '2024-03-03', 'after')").await;
        equal_or_mended(&mut scene, "shop.p", change).await;
    }
}

/// A change that the log does not have: either the sinks are equal all the same, or the table has stopped in each of
/// them, `cdc wait` and `cdc status` name the remedy, and the remedy makes it equal.
async fn equal_or_mended(scene: &mut Scene, table: &str, change: &str) {
    let remedy = format!("cdc snapshot {table}");
    let commands = scene.daemon.commands();
    let mut stopped = false;
    cdc_integration::eventually(change, LIMIT, || {
        let waited = commands.succeed(&["wait", "--timeout", "30s"]);
        stopped = waited.is_err();
        let told = waited
            .as_ref()
            .err()
            .is_none_or(|error| error.contains(&remedy));
        async move { if told { Ok(()) } else { waited.map(|_| ()) } }
    })
    .await;
    if !stopped {
        scene.assert_equal().await;
        return;
    }
    cdc_integration::eventually(change, LIMIT, || {
        let status = commands.status();
        let remedy = &remedy;
        async move {
            let status: Status = status?;
            for sink in &status.sinks {
                let named = format!("{}.{}", "shop", table.trim_start_matches("shop."));
                let stopped = sink.tables.iter().any(|it| {
                    named.ends_with(&it.table)
                        && it.state == "failed"
                        && it.error.to_string().contains(remedy)
                });
                if !stopped {
                    return Err(format!("{named} goes on in {sink:?}"));
                }
            }
            Ok(())
        }
    })
    .await;
    scene
        .daemon
        .succeed(&["snapshot", table])
        .expect("the remedy is accepted");
    scene.daemon.streaming().await;
    scene.assert_equal().await;
}

/// Waits until a table either has failed, with the statement that mends it, or streams and is equal.
async fn equal_or_failed(scene: &mut Scene, table: &str, change: &str) {
    let failed = |status: &Status| {
        let tables = status.sinks.iter().flat_map(|s| &s.tables);
        let error = tables
            .filter(|t| t.table == table && t.state == "failed")
            .map(|t| t.error.to_string())
            .next();
        error.or_else(|| (!status.source.error.is_null()).then(|| status.source.error.to_string()))
    };
    scene
        .daemon
        .succeed(&["reload"])
        .expect("reload looks at the catalog");
    let client = scene.server.client().await;
    let commands = scene.daemon.commands();
    cdc_integration::eventually(change, LIMIT, || {
        let status = commands.status();
        let caught_up = commands.succeed(&["wait", "--timeout", "20s"]);
        let client = &client;
        let commands = &commands;
        async move {
            let status = status?;
            if let Some(error) = failed(&status) {
                assert!(error.contains("cdc snapshot"), "names the remedy: {error}");
                return Ok(());
            }
            caught_up?;
            for table in cdc_integration::compare::tables(client, &["shop"]).await? {
                let source = cdc_integration::compare::source(client, &table).await?;
                // A detached partition is a table of its own, found in its own time.
                let sink = cdc_integration::compare::warehouse(commands, &table)?;
                if let Some(difference) = table.difference(&source, &sink) {
                    return Err(difference);
                }
            }
            Ok(())
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_dropped_and_created_again_is_another_table() {
    for version in versions() {
        let mut scene = Scene::streaming(
            version,
            "CREATE TABLE shop.t (id int PRIMARY KEY, v int); INSERT INTO shop.t SELECT i, i FROM generate_series(1, 100) i;
             CREATE TABLE shop.other (id int PRIMARY KEY);",
        )
        .await;
        scene.assert_equal().await;
        scene
            .execute(
                "DROP TABLE shop.t; CREATE TABLE shop.t (id int PRIMARY KEY, w text); INSERT INTO shop.t VALUES (1, 'Zaphod, the second');
                 INSERT INTO shop.other VALUES (1)",
            )
            .await;
        equal_or_failed(&mut scene, "t", "drop and create").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_need_quotes_are_the_same_everywhere() {
    for version in versions() {
        let mut scene = Scene::streaming(
            version,
            r#"CREATE TABLE shop."Mixed ""Case"".? %" ("select" int PRIMARY KEY, "a b" text, "Ä'" int, "x""y" int, at int);
               INSERT INTO shop."Mixed ""Case"".? %" SELECT i, 'Zaphod', i, i, i FROM generate_series(1, 10) i;"#,
        )
        .await;
        scene.assert_equal().await;
        scene.execute(r#"UPDATE shop."Mixed ""Case"".? %" SET "Ä'" = NULL WHERE "select" < 4; ALTER TABLE shop."Mixed ""Case"".? %" ADD "order" text DEFAULT 'o'"#).await;
        scene
            .execute(r#"DELETE FROM shop."Mixed ""Case"".? %" WHERE "select" = 9"#)
            .await;
        scene.assert_equal().await;
    }
}

/// The server does not tell that a table is wanted now: nothing changed there.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_a_given_publication_that_is_wanted_later_is_captured_from_then_on() {
    for version in versions() {
        let mut scene = Scene::new(
            Wanted::version(version),
            "CREATE TABLE shop.t (id int PRIMARY KEY); CREATE TABLE shop.late (id int PRIMARY KEY);
             CREATE PUBLICATION given FOR ALL TABLES WITH (publish_via_partition_root = true);",
        )
        .await;
        let url = scene.server.url("postgres", "postgres");
        let config = |tables: &str| {
            standard_config(&url, tables).replace(
                "  tables:",
                "  publication: given\n  manage_publication: given\n  tables:",
            )
        };
        scene.daemon.configure(&config(r#"["shop.t"]"#));
        scene.daemon.start_streaming().await;
        scene
            .execute("INSERT INTO shop.late VALUES (1); INSERT INTO shop.t VALUES (1)")
            .await;
        scene.daemon.caught_up(LIMIT).await;
        scene
            .daemon
            .configure(&config(r#"["shop.t", "shop.late"]"#));
        scene.daemon.succeed(&["reload"]).expect("is reloaded");
        scene.assert_equal().await;
        scene.execute("INSERT INTO shop.late VALUES (2)").await;
        scene.assert_equal().await;
    }
}

/// From version 18 on a missing publication is only a warning of the server, and an empty stream.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_publication_is_refused_and_one_of_mixed_case_is_found() {
    for version in versions() {
        let mut scene = Scene::new(
            Wanted::version(version),
            r#"CREATE TABLE shop.t (id int PRIMARY KEY); CREATE PUBLICATION "Mixed Case" FOR TABLE shop.t WITH (publish_via_partition_root = true);"#,
        )
        .await;
        let url = scene.server.url("postgres", "postgres");
        let config = |name: &str| {
            standard_config(&url, r#"["shop.*"]"#).replace(
                "  tables:",
                &format!("  publication: {name}\n  manage_publication: given\n  tables:"),
            )
        };
        scene.daemon.configure(&config("mixed case"));
        scene.daemon.start();
        let said = scene.daemon.refusal(LIMIT).await.to_lowercase();
        assert!(
            said.contains("publication"),
            "names what is missing: {said}"
        );
        scene.daemon.kill();
        scene.daemon.configure(&config("Mixed Case"));
        scene.daemon.start_streaming().await;
        scene.execute("INSERT INTO shop.t VALUES (1)").await;
        scene.assert_equal().await;
        // Dropped while the daemon is down: refused again, and not an empty stream.
        assert!(scene.daemon.terminate().await.success());
        scene
            .execute(r#"DROP PUBLICATION "Mixed Case"; INSERT INTO shop.t VALUES (2)"#)
            .await;
        scene.daemon.start();
        let said = scene.daemon.refusal(LIMIT).await.to_lowercase();
        assert!(
            said.contains("publication"),
            "names what is missing: {said}"
        );
    }
}
