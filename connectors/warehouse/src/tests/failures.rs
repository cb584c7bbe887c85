//! What goes wrong around a sink: each with its remedy, and nothing lost.

use std::sync::Arc;

use cdc_api::{ErrorKind, Op, Severity, Sink};

use super::scene::{Scene, batch, change, checkpoint, is, items, join, lines};
use crate::{Mode, Warehouse};

#[tokio::test]
async fn a_file_is_open_once_in_a_process() {
    let scene = Scene::new(Mode::Upsert);
    let mut sink = scene.open().await;
    let mut second = Warehouse::new(scene.config.clone()).unwrap();
    let error = second.open().await.unwrap_err();
    assert!(error.is_transient() && error.hint_text().is_some());
    let findings = second.check().await.unwrap();
    assert!(
        findings
            .iter()
            .all(|finding| finding.severity != Severity::Error)
    );
    // Opening again is safe, and what is not committed is gone.
    let reader = sink.reader().unwrap();
    sink.open().await.unwrap();
    assert!(reader.query("SELECT 1").await.is_ok());
    drop(sink);
    second.open().await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_no_database_and_a_folder_that_is_not_there_are_told() {
    let mut scene = Scene::new(Mode::Upsert);
    std::fs::write(
        &scene.path,
        "this is a text, and long enough to have a header of its own ".repeat(100),
    )
    .unwrap();
    let mut sink = Warehouse::new(scene.config.clone()).unwrap();
    let error = sink.open().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(error.hint_text().is_some());
    let findings = sink.check().await.unwrap();
    assert!(
        findings
            .iter()
            .any(|finding| finding.severity == Severity::Error && finding.remedy.is_some())
    );

    scene.config.path = scene.path.with_file_name("nowhere").join("shop.duckdb");
    let mut sink = Warehouse::new(scene.config.clone()).unwrap();
    let error = sink.open().await.unwrap_err();
    assert!(
        error
            .hint_text()
            .is_some_and(|hint| hint.starts_with("mkdir -p "))
    );
    let findings = sink.check().await.unwrap();
    assert!(
        findings[0]
            .remedy
            .as_ref()
            .is_some_and(|remedy| remedy.starts_with("mkdir -p "))
    );
}

#[tokio::test]
async fn a_check_leaves_no_file_behind_and_changes_none() {
    let scene = Scene::new(Mode::Upsert);
    let mut sink = Warehouse::new(scene.config.clone()).unwrap();
    let findings = sink.check().await.unwrap();
    assert!(
        findings
            .iter()
            .all(|finding| finding.severity != Severity::Error),
        "{findings:?}"
    );
    assert!(!scene.path.exists());
    drop(scene.open().await);
    let mut other = Scene::new(Mode::Append);
    other.config.path.clone_from(&scene.path);
    let mut sink = Warehouse::new(other.config.clone()).unwrap();
    let findings = sink.check().await.unwrap();
    assert!(
        findings
            .iter()
            .any(|finding| finding.message.contains("mode `upsert`"))
    );
    let error = sink.open().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(
        error
            .hint_text()
            .is_some_and(|hint| hint.contains("mode: upsert"))
    );
}

#[tokio::test]
async fn a_wrong_memory_limit_names_the_setting() {
    let mut scene = Scene::new(Mode::Upsert);
    scene.config.memory_limit = "plenty".to_owned();
    let error = Warehouse::new(scene.config.clone())
        .unwrap()
        .open()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(
        error
            .hint_text()
            .is_some_and(|hint| hint.contains("memory_limit")),
        "{error}"
    );
}

#[tokio::test]
async fn a_failed_commit_leaves_the_earlier_one_and_can_be_given_again() {
    let scene = Scene::new(Mode::Upsert);
    let table = Arc::new(items());
    let mut sink = scene.open().await;
    join(&mut sink, &table, 1, 1, &[vec![is(1), is(1), is("x")]]).await;
    let good = batch(
        &table,
        2,
        &[change(Op::Insert, vec![is(2), is(2), is("y")])],
    );
    let bad = batch(
        &table,
        3,
        &[change(
            Op::Update,
            vec![is(9), is(2), super::scene::Cell::Absent],
        )],
    );
    sink.write(&good).await.unwrap();
    sink.write(&bad).await.unwrap();
    assert!(sink.commit(&checkpoint(3)).await.is_err());
    sink.rollback().await.unwrap();
    sink.rollback().await.unwrap();
    assert_eq!(sink.committed().await.unwrap(), Some(checkpoint(1)));
    assert_eq!(lines(&sink, "FROM public.items").await, ["1|1|x"]);
    sink.write(&good).await.unwrap();
    sink.commit(&checkpoint(2)).await.unwrap();
    assert_eq!(
        lines(&sink, "FROM public.items ORDER BY id").await,
        ["1|1|x", "2|2|y"]
    );
}

#[tokio::test]
async fn a_transaction_larger_than_memory_is_applied_in_parts_and_seen_whole() {
    let scene = Scene::new(Mode::Upsert);
    let table = Arc::new(items());
    let mut sink = scene.open().await;
    join(&mut sink, &table, 1, 1, &[]).await;
    let text = "x".repeat(20_000);
    let mut seq = 1;
    // 100 MB, over the same keys again and again.
    for round in 0..50 {
        let changes: Vec<_> = (0..100)
            .map(|id| {
                let op = if round == 0 { Op::Insert } else { Op::Update };
                change(op, vec![is(id), is(round), is(&text)])
            })
            .collect();
        sink.write(&batch(&table, seq + 1, &changes)).await.unwrap();
        seq += 100;
    }
    assert_eq!(
        lines(&sink, "SELECT count(*) FROM public.items").await,
        ["0"]
    );
    sink.commit(&checkpoint(seq)).await.unwrap();
    assert_eq!(
        lines(
            &sink,
            "SELECT count(*), min(a), max(a), min(length(t)) FROM public.items"
        )
        .await,
        ["100|49|49|20000"]
    );
}

#[tokio::test]
async fn after_a_teardown_tables_stay_and_a_new_pipeline_takes_their_place() {
    let scene = Scene::new(Mode::Upsert);
    let table = Arc::new(items());
    let mut sink = scene.open().await;
    join(&mut sink, &table, 1, 1, &[vec![is(1), is(1), is("x")]]).await;
    drop(sink.copy(&table, cdc_api::CopyId(2)).await.unwrap());
    let removed = sink.teardown().await.unwrap();
    assert_eq!(removed.len(), 2, "{removed:?}");
    assert_eq!(
        lines(&sink, "SELECT count(*) FROM public.items").await,
        ["1"]
    );
    drop(sink);
    let mut sink = scene.open().await;
    assert!(sink.committed().await.unwrap().is_none());
    assert!(sink.joined().await.unwrap().is_empty());
    let rows = [vec![is(2), is(1), is("x")], vec![is(3), is(1), is("y")]];
    join(&mut sink, &table, 3, 1, &rows).await;
    assert_eq!(
        lines(&sink, "SELECT count(*) FROM public.items").await,
        ["2"]
    );
}
