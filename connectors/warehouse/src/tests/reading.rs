//! The reader: one committed state, nothing written, nothing reached but the database.

use std::sync::Arc;

use cdc_api::{ErrorKind, Op, Sink};

use super::scene::{Scene, batch, change, checkpoint, is, items, join, lines};
use crate::{Mode, Warehouse};

async fn refused(sink: &Warehouse, sql: &str) -> String {
    let reader = sink.reader().unwrap();
    let error = match reader.query(sql).await {
        Err(error) => error,
        Ok(mut batches) => batches.next().await.expect_err("is refused"),
    };
    assert_eq!(error.kind(), ErrorKind::Config, "{sql}: {error}");
    error.to_string()
}

#[tokio::test]
async fn only_what_is_committed_is_seen_and_a_read_stays_at_its_commit() {
    let scene = Scene::new(Mode::Upsert);
    let table = Arc::new(items());
    let mut sink = scene.open().await;
    let many: Vec<_> = (0..20_000).map(|id| vec![is(id), is(1), is("x")]).collect();
    join(&mut sink, &table, 1, 1, &many).await;
    let reader = sink.reader().unwrap();
    let mut running = reader.query("SELECT a FROM public.items").await.unwrap();
    let mut count = running.next().await.unwrap().unwrap().num_rows();
    sink.truncate(&table, 2, 0).await.unwrap();
    assert_eq!(
        lines(&sink, "SELECT count(*) FROM public.items").await,
        ["20000"]
    );
    sink.commit(&checkpoint(2)).await.unwrap();
    assert_eq!(
        lines(&sink, "SELECT count(*) FROM public.items").await,
        ["0"]
    );
    while let Some(rows) = running.next().await.unwrap() {
        count += rows.num_rows();
    }
    assert_eq!(count, 20_000);
}

#[tokio::test]
async fn a_read_can_neither_write_nor_reach_files() {
    let scene = Scene::new(Mode::Upsert);
    let table = Arc::new(items());
    let mut sink = scene.open().await;
    join(&mut sink, &table, 1, 1, &[vec![is(1), is(1), is("it's")]]).await;
    for sql in [
        "DELETE FROM public.items",
        "SELECT 1; DELETE FROM public.items",
        "COMMIT; DELETE FROM public.items; SELECT 1",
        "SELECT 1') ; COMMIT; DELETE FROM public.items; FROM query('SELECT 1",
        "WITH gone AS (DELETE FROM public.items RETURNING *) FROM gone",
        "CREATE TABLE public.more AS SELECT 1",
        "COPY public.items TO '/tmp/items.csv'",
        "ATTACH '/tmp/other.duckdb'",
        "PRAGMA memory_limit='1GB'",
        "SET memory_limit='1GB'",
        "",
    ] {
        refused(&sink, sql).await;
    }
    for sql in [
        "FROM read_text('/etc/passwd')",
        "FROM read_csv('/etc/passwd')",
        "FROM '/etc/passwd'",
        "FROM glob('/etc/*')",
    ] {
        let words = refused(&sink, sql).await;
        assert!(
            words.contains("disabled") || words.contains("does not exist"),
            "{words}"
        );
    }
    assert!(
        refused(&sink, "SELECT nothing FROM public.items")
            .await
            .contains("nothing")
    );
    assert_eq!(
        lines(&sink, "SELECT t FROM public.items WHERE t = 'it''s'").await,
        ["it's"]
    );
}

#[tokio::test]
async fn statements_that_only_look_are_taken_and_empty_results_have_columns() {
    let scene = Scene::new(Mode::Upsert);
    let table = Arc::new(items());
    let mut sink = scene.open().await;
    join(&mut sink, &table, 1, 1, &[]).await;
    let reader = sink.reader().unwrap();
    for sql in [
        "FROM public.items",
        "DESCRIBE public.items",
        "SHOW ALL TABLES",
        "SUMMARIZE public.items",
        "VALUES (1)",
        "WITH one AS (SELECT 1) FROM one;",
        "-- a note\nSELECT 1",
    ] {
        let mut batches = reader.query(sql).await.unwrap();
        let first = batches.next().await.unwrap();
        assert!(first.is_some_and(|batch| batch.num_columns() > 0), "{sql}");
    }
}

#[tokio::test]
async fn an_error_in_the_middle_of_a_read_ends_it_with_duckdbs_words() {
    let scene = Scene::new(Mode::Upsert);
    let sink = scene.open().await;
    refused(
        &sink,
        "SELECT CAST(CASE WHEN range > 0 THEN 'x' ELSE '1' END AS INTEGER) FROM range(5)",
    )
    .await;
}

#[tokio::test]
async fn a_read_that_is_dropped_stops_and_lets_the_file_go() {
    let scene = Scene::new(Mode::Upsert);
    let table = Arc::new(items());
    let mut sink = scene.open().await;
    join(&mut sink, &table, 1, 1, &[]).await;
    let reader = sink.reader().unwrap();
    let mut endless = reader
        .query("SELECT range FROM range(1000000000000)")
        .await
        .unwrap();
    assert!(endless.next().await.unwrap().is_some());
    drop(endless);
    sink.write(&batch(
        &table,
        2,
        &[change(Op::Insert, vec![is(2), is(2), is("y")])],
    ))
    .await
    .unwrap();
    sink.commit(&checkpoint(2)).await.unwrap();
    drop(sink);
    assert!(reader.query("SELECT 1").await.err().unwrap().is_transient());
    // Waits for the interrupted thread to let the file go.
    let mut again = Warehouse::new(scene.config.clone()).unwrap();
    while let Err(error) = again.open().await {
        assert!(error.is_transient(), "{error}");
        tokio::task::yield_now().await;
    }
    assert_eq!(
        lines(&again, "SELECT count(*) FROM public.items").await,
        ["1"]
    );
}
