//! Copies: chunks side by side, resumed, caught up, compared, swapped in.

use std::sync::Arc;

use cdc_api::{CopyId, CopyProgress, ErrorKind, Identity, Op, Sink};

use super::scene::{
    Cell, NULL, Scene, batch, change, checkpoint, existing, is, items, join, lines,
};
use crate::Mode;

fn item(id: i64, a: i64, t: &str) -> Vec<Cell> {
    vec![is(id), is(a), is(t)]
}

#[tokio::test]
async fn a_copy_resumes_by_chunk_and_shows_itself_only_when_joined() {
    let scene = Scene::new(Mode::Upsert);
    let table = Arc::new(items());
    let mut sink = scene.open().await;
    {
        let mut copy = sink.copy(&table, CopyId(3)).await.unwrap();
        let mut first = copy.chunk(0).await.unwrap();
        let mut second = copy.chunk(1).await.unwrap();
        let mut third = copy.chunk(2).await.unwrap();
        first
            .write(&existing(&table, 5, &[item(1, 1, "x")]))
            .await
            .unwrap();
        second
            .write(&existing(&table, 5, &[item(2, 2, "y")]))
            .await
            .unwrap();
        third
            .write(&existing(&table, 5, &[item(3, 3, "z")]))
            .await
            .unwrap();
        second.finish(5).await.unwrap();
        first.finish(5).await.unwrap();
        // The third is never finished.
        drop(third);
        assert!(
            lines(
                &sink,
                "SELECT table_name FROM duckdb_tables() WHERE table_name = 'items'"
            )
            .await
            .is_empty()
        );
    }
    drop(sink);
    let mut sink = scene.open().await;
    assert!(sink.joined().await.unwrap().is_empty());
    let mut copy = sink.copy(&table, CopyId(3)).await.unwrap();
    assert_eq!(
        copy.progress().await.unwrap(),
        CopyProgress {
            chunks: vec![(0, 5), (1, 5)],
            caught_up: None,
        }
    );
    let mut third = copy.chunk(2).await.unwrap();
    third
        .write(&existing(&table, 8, &[item(3, 33, "z")]))
        .await
        .unwrap();
    third.finish(8).await.unwrap();
    // Everything since the oldest chunk comes, also what the newest has already.
    copy.write(&batch(
        &table,
        6,
        &[
            change(Op::Update, vec![is(1), is(11), Cell::Absent]),
            change(Op::Update, vec![is(3), is(33), Cell::Absent]),
            change(Op::MoveOut, vec![is(2), NULL, NULL]),
            change(Op::MoveIn, vec![is(4), is(2), Cell::Absent]),
        ],
    ))
    .await
    .unwrap();
    copy.commit(9).await.unwrap();
    assert_eq!(copy.progress().await.unwrap().caught_up, Some(9));
    drop(copy);
    sink.join(&table, CopyId(3)).await.unwrap();
    assert!(
        lines(
            &sink,
            "SELECT table_name FROM duckdb_tables() WHERE table_name = 'items'"
        )
        .await
        .is_empty()
    );
    sink.commit(&checkpoint(9)).await.unwrap();
    assert_eq!(
        lines(&sink, "FROM public.items ORDER BY id").await,
        ["1|11|x", "3|33|z", "4|2|y"]
    );
    let joined = sink.joined().await.unwrap();
    assert_eq!(joined.len(), 1);
    assert_eq!(joined[0].copy, CopyId(3));
    assert_eq!(*joined[0].table, *table);
}

#[tokio::test]
async fn an_uncommitted_catch_up_and_an_uncommitted_join_leave_nothing() {
    let scene = Scene::new(Mode::Upsert);
    let table = Arc::new(items());
    let mut sink = scene.open().await;
    join(&mut sink, &table, 1, 5, &[item(1, 1, "old")]).await;
    let mut copy = sink.copy(&table, CopyId(2)).await.unwrap();
    let mut chunk = copy.chunk(0).await.unwrap();
    chunk
        .write(&existing(&table, 6, &[item(1, 1, "new")]))
        .await
        .unwrap();
    chunk.finish(6).await.unwrap();
    copy.write(&batch(&table, 7, &[change(Op::Insert, item(2, 2, "lost"))]))
        .await
        .unwrap();
    drop(copy);
    let mut copy = sink.copy(&table, CopyId(2)).await.unwrap();
    assert_eq!(copy.progress().await.unwrap().caught_up, None);
    copy.commit(6).await.unwrap();
    drop(copy);
    sink.join(&table, CopyId(2)).await.unwrap();
    sink.rollback().await.unwrap();
    assert_eq!(lines(&sink, "FROM public.items").await, ["1|1|old"]);
    assert_eq!(sink.joined().await.unwrap()[0].copy, CopyId(1));
    sink.join(&table, CopyId(2)).await.unwrap();
    drop(sink);
    let mut sink = scene.open().await;
    assert_eq!(lines(&sink, "FROM public.items").await, ["1|1|old"]);
    sink.join(&table, CopyId(2)).await.unwrap();
    sink.commit(&checkpoint(6)).await.unwrap();
    assert_eq!(lines(&sink, "FROM public.items").await, ["1|1|new"]);
    assert_eq!(sink.joined().await.unwrap()[0].copy, CopyId(2));
}

#[tokio::test]
async fn an_unchanged_value_without_a_base_row_begins_the_copy_again() {
    let scene = Scene::new(Mode::Upsert);
    let table = Arc::new(items());
    let mut sink = scene.open().await;
    let mut copy = sink.copy(&table, CopyId(1)).await.unwrap();
    copy.chunk(0).await.unwrap().finish(5).await.unwrap();
    copy.write(&batch(
        &table,
        6,
        &[change(Op::Update, vec![is(1), is(2), Cell::Absent])],
    ))
    .await
    .unwrap();
    let error = copy.commit(6).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LogLost);
    assert_eq!(error.table(), Some(table.id));
    // The same in the stream is a defect of the content.
    drop(copy);
    join(&mut sink, &table, 2, 6, &[]).await;
    sink.write(&batch(
        &table,
        7,
        &[change(Op::Update, vec![is(1), is(2), Cell::Absent])],
    ))
    .await
    .unwrap();
    let error = sink.commit(&checkpoint(7)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert_eq!(error.table(), Some(table.id));
    assert_eq!(error.hint_text(), Some("cdc snapshot public.items"));
    sink.rollback().await.unwrap();
    assert_eq!(sink.committed().await.unwrap(), Some(checkpoint(6)));
}

#[tokio::test]
async fn chunks_of_two_snapshots_do_not_make_a_table_without_a_key() {
    let scene = Scene::new(Mode::Upsert);
    let mut table = items();
    table.key.clear();
    table.identity = Identity::Full;
    let table = Arc::new(table);
    let mut sink = scene.open().await;
    let mut copy = sink.copy(&table, CopyId(1)).await.unwrap();
    copy.chunk(0).await.unwrap().finish(5).await.unwrap();
    copy.chunk(1).await.unwrap().finish(6).await.unwrap();
    let error = copy
        .write(&batch(&table, 6, &[change(Op::Insert, item(1, 1, "x"))]))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LogLost);
}

#[tokio::test]
async fn copies_that_are_not_kept_are_discarded_with_all_they_hold() {
    let scene = Scene::new(Mode::Upsert);
    let table = Arc::new(items());
    let mut sink = scene.open().await;
    for copy in [1, 2] {
        let mut copy = sink.copy(&table, CopyId(copy)).await.unwrap();
        let mut chunk = copy.chunk(0).await.unwrap();
        chunk
            .write(&existing(&table, 1, &[item(1, 1, "x")]))
            .await
            .unwrap();
        chunk.finish(1).await.unwrap();
    }
    sink.discard_copies(&[CopyId(2)]).await.unwrap();
    let left = "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'public'";
    assert_eq!(lines(&sink, left).await, ["_cdc_copy_2"]);
    let mut copy = sink.copy(&table, CopyId(1)).await.unwrap();
    assert!(copy.progress().await.unwrap().chunks.is_empty());
    assert!(sink.join(&table, CopyId(9)).await.is_err());
}

#[tokio::test]
async fn a_comparison_names_the_keys_that_differ() {
    for mode in [Mode::Upsert, Mode::SoftDelete] {
        let scene = Scene::new(mode);
        let table = Arc::new(items());
        let mut sink = scene.open().await;
        let rows = [item(1, 1, "x"), item(2, 2, "y"), item(3, 3, "z")];
        join(&mut sink, &table, 1, 1, &rows).await;
        sink.write(&batch(
            &table,
            2,
            &[change(Op::Delete, vec![is(3), NULL, NULL])],
        ))
        .await
        .unwrap();
        sink.commit(&checkpoint(2)).await.unwrap();
        let mut copy = sink.copy(&table, CopyId(2)).await.unwrap();
        let mut chunk = copy.chunk(0).await.unwrap();
        chunk.write(&existing(&table, 2, &rows[..2])).await.unwrap();
        chunk.finish(2).await.unwrap();
        copy.commit(2).await.unwrap();
        let equal = sink.compare(&table, CopyId(2)).await.unwrap();
        assert!(equal.is_equal(), "{equal:?}");
        assert_eq!(equal.rows, 2);
        sink.write(&batch(
            &table,
            3,
            &[
                change(Op::Update, vec![is(1), is(10), is("x")]),
                change(Op::Insert, item(4, 4, "new")),
            ],
        ))
        .await
        .unwrap();
        sink.commit(&checkpoint(4)).await.unwrap();
        let different = sink.compare(&table, CopyId(2)).await.unwrap();
        assert_eq!((different.missing, different.extra), (1, 2));
        let mut examples = different.examples.clone();
        examples.sort();
        assert_eq!(examples, ["{'id': 1}", "{'id': 4}"]);
    }
}

#[tokio::test]
async fn a_new_copy_keeps_what_only_the_old_table_has() {
    let scene = Scene::new(Mode::SoftDelete);
    let table = Arc::new(items());
    let mut sink = scene.open().await;
    join(
        &mut sink,
        &table,
        1,
        1,
        &[item(1, 1, "x"), item(2, 2, "y"), item(3, 3, "z")],
    )
    .await;
    sink.write(&batch(
        &table,
        2,
        &[change(Op::Delete, vec![is(3), NULL, NULL])],
    ))
    .await
    .unwrap();
    sink.commit(&checkpoint(2)).await.unwrap();
    // 2 is deleted while nobody listens, 3 comes back.
    join(
        &mut sink,
        &table,
        2,
        5,
        &[item(1, 1, "x"), item(3, 30, "zz")],
    )
    .await;
    assert_eq!(
        lines(&sink, "FROM public.items ORDER BY id").await,
        ["1|1|x|false", "2|2|y|true", "3|30|zz|false"]
    );

    let scene = Scene::new(Mode::Append);
    let mut sink = scene.open().await;
    join(&mut sink, &table, 1, 1, &[item(1, 1, "x")]).await;
    sink.write(&batch(
        &table,
        2,
        &[change(Op::Delete, vec![is(1), NULL, NULL])],
    ))
    .await
    .unwrap();
    sink.commit(&checkpoint(2)).await.unwrap();
    join(&mut sink, &table, 2, 5, &[item(7, 7, "again")]).await;
    assert_eq!(
        lines(&sink, "SELECT _cdc_seq, _cdc_op, id FROM public.items").await,
        ["5|read|7"]
    );
    let earlier = "SELECT _cdc_seq, _cdc_op, id FROM public._cdc_earlier_1_items ORDER BY 1";
    assert_eq!(lines(&sink, earlier).await, ["1|read|1", "2|delete|1"]);
}

#[tokio::test]
async fn a_table_that_left_stays_readable_until_a_new_copy_replaces_it() {
    let scene = Scene::new(Mode::Upsert);
    let table = Arc::new(items());
    let mut sink = scene.open().await;
    join(&mut sink, &table, 1, 1, &[item(1, 1, "x")]).await;
    sink.write(&batch(
        &table,
        2,
        &[change(Op::Insert, item(2, 2, "not applied"))],
    ))
    .await
    .unwrap();
    sink.leave(table.id).await.unwrap();
    assert!(sink.joined().await.unwrap().is_empty());
    sink.rollback().await.unwrap();
    assert_eq!(sink.joined().await.unwrap().len(), 1);
    sink.leave(table.id).await.unwrap();
    sink.commit(&checkpoint(2)).await.unwrap();
    sink.leave(table.id).await.unwrap();
    drop(sink);
    let mut sink = scene.open().await;
    assert!(sink.joined().await.unwrap().is_empty());
    assert_eq!(lines(&sink, "FROM public.items").await, ["1|1|x"]);
    join(&mut sink, &table, 2, 3, &[item(2, 2, "y")]).await;
    assert_eq!(lines(&sink, "FROM public.items").await, ["2|2|y"]);
}

#[tokio::test]
async fn a_change_log_says_what_happened_and_what_was_not_sent() {
    let scene = Scene::new(Mode::Append);
    let table = Arc::new(items());
    let mut sink = scene.open().await;
    join(&mut sink, &table, 1, 1, &[item(1, 1, "x")]).await;
    sink.write(&batch(
        &table,
        2,
        &[
            change(Op::Update, vec![is(1), is(2), Cell::Absent]),
            change(Op::MoveOut, vec![is(1), NULL, NULL]),
            change(Op::MoveIn, vec![is(5), Cell::Absent, Cell::Absent]),
            change(Op::Delete, vec![is(5), NULL, NULL]),
        ],
    ))
    .await
    .unwrap();
    sink.truncate(&table, 6, 1_700_000_000_000_000)
        .await
        .unwrap();
    sink.commit(&checkpoint(6)).await.unwrap();
    assert_eq!(
        lines(&sink, "FROM public.items ORDER BY _cdc_seq").await,
        [
            "1|1|x|read|1|NULL|NULL|NULL",
            "1|2|NULL|update|2|2023-11-14 22:13:20+00|77|[t]",
            "1|NULL|NULL|delete|3|2023-11-14 22:13:20+00|77|NULL",
            "5|NULL|NULL|insert|4|2023-11-14 22:13:20+00|77|[a, t]",
            "5|NULL|NULL|delete|5|2023-11-14 22:13:20+00|77|NULL",
            "NULL|NULL|NULL|truncate|6|2023-11-14 22:13:20+00|NULL|NULL"
        ]
    );
}
