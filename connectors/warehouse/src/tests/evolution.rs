//! Schema changes that random histories do not reach: refusals, policies, names.

use std::sync::Arc;

use arrow::datatypes::DataType;
use cdc_api::{Column, CopyId, ErrorKind, Identity, Op, Sink, TableId, TableName, TableSchema};

use super::scene::{Cell, Scene, batch, change, checkpoint, column, is, items, join, lines};
use crate::{Keyless, Mode, SchemaPolicy, Warehouse};

fn changed(table: &TableSchema, alter: impl FnOnce(&mut Vec<Column>)) -> Arc<TableSchema> {
    let mut columns = table.columns.clone();
    alter(&mut columns);
    Arc::new(TableSchema::new(
        table.id,
        table.name.clone(),
        table.version + 1,
        columns,
        table.key.clone(),
        table.identity,
    ))
}

fn renamed(table: &TableSchema, schema: &str, name: &str) -> Arc<TableSchema> {
    let mut table = table.clone().with_version(table.version + 1);
    table.name = TableName::new(schema, name);
    Arc::new(table)
}

async fn refused(sink: &mut Warehouse, table: &Arc<TableSchema>) {
    let error = sink.apply_schema(table).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert_eq!(error.table(), Some(table.id), "{error}");
    assert!(
        error
            .hint_text()
            .is_some_and(|hint| hint.contains("cdc snapshot public.items")),
        "{error}"
    );
}

#[tokio::test]
async fn what_cannot_be_followed_stops_the_table_and_the_others_go_on() {
    let scene = Scene::new(Mode::Upsert);
    let table = Arc::new(items());
    let mut sink = scene.open().await;
    join(&mut sink, &table, 1, 1, &[vec![is(1), is(1), is("x")]]).await;
    refused(
        &mut sink,
        &changed(&table, |columns| columns[0].data_type = DataType::Int32),
    )
    .await;
    refused(
        &mut sink,
        &changed(&table, |columns| columns[1].data_type = DataType::Utf8),
    )
    .await;
    refused(
        &mut sink,
        &changed(&table, |columns| columns[1].data_type = DataType::UInt64),
    )
    .await;
    let mut key = (*table).clone().with_version(2);
    key.key = vec![1];
    refused(&mut sink, &Arc::new(key)).await;
    // Nothing was begun: the table goes on as it is.
    sink.write(&batch(
        &table,
        2,
        &[change(Op::Insert, vec![is(2), is(2), is("y")])],
    ))
    .await
    .unwrap();
    sink.commit(&checkpoint(2)).await.unwrap();
    assert_eq!(
        lines(&sink, "FROM public.items ORDER BY id").await,
        ["1|1|x", "2|2|y"]
    );
}

#[tokio::test]
async fn policies_ignore_and_fail_do_as_they_say() {
    let mut scene = Scene::new(Mode::Upsert);
    scene.config.schema_changes = SchemaPolicy::Ignore;
    let table = Arc::new(items());
    let mut sink = scene.open().await;
    join(&mut sink, &table, 1, 1, &[vec![is(1), is(1), is("x")]]).await;
    // `a` gets another name, `t` goes, `more` comes.
    let next = changed(&table, |columns| {
        columns[1].name = "b".to_owned();
        columns[2] = column(4, "more", DataType::Int64);
    });
    sink.apply_schema(&next).await.unwrap();
    sink.write(&batch(
        &next,
        2,
        &[
            change(Op::Insert, vec![is(2), is(2), is(22)]),
            change(Op::Update, vec![is(1), is(11), Cell::Absent]),
        ],
    ))
    .await
    .unwrap();
    sink.commit(&checkpoint(3)).await.unwrap();
    assert_eq!(
        lines(&sink, "SELECT id, a, t FROM public.items ORDER BY id").await,
        ["1|11|NULL", "2|2|NULL"]
    );
    refused(
        &mut sink,
        &changed(&next, |columns| columns[1].data_type = DataType::Int64),
    )
    .await;

    let mut scene = Scene::new(Mode::Upsert);
    scene.config.schema_changes = SchemaPolicy::Fail;
    let mut sink = scene.open().await;
    join(&mut sink, &table, 1, 1, &[]).await;
    sink.apply_schema(&Arc::new((*table).clone().with_version(9)))
        .await
        .unwrap();
    refused(&mut sink, &next).await;
}

#[tokio::test]
async fn tables_take_new_names_and_change_them_with_each_other() {
    let scene = Scene::new(Mode::Upsert);
    let one = Arc::new(items());
    let mut other = items();
    other.id = TableId(8);
    other.name = TableName::new("public", "Others");
    let other = Arc::new(other);
    let mut sink = scene.open().await;
    join(&mut sink, &one, 1, 1, &[vec![is(1), is(1), is("one")]]).await;
    join(&mut sink, &other, 2, 1, &[vec![is(1), is(1), is("other")]]).await;
    let first = renamed(&one, "public", "Others");
    let second = renamed(&other, "public", "items");
    sink.apply_schema(&first).await.unwrap();
    sink.write(&batch(
        &first,
        2,
        &[change(Op::Insert, vec![is(2), is(2), is("one")])],
    ))
    .await
    .unwrap();
    sink.apply_schema(&second).await.unwrap();
    sink.write(&batch(
        &second,
        3,
        &[change(Op::Insert, vec![is(3), is(3), is("other")])],
    ))
    .await
    .unwrap();
    sink.commit(&checkpoint(3)).await.unwrap();
    assert_eq!(
        lines(&sink, "FROM public.\"Others\" ORDER BY id").await,
        ["1|1|one", "2|2|one"]
    );
    assert_eq!(
        lines(&sink, "FROM public.items ORDER BY id").await,
        ["1|1|other", "3|3|other"]
    );
    // Case alone, and another schema.
    let lower = renamed(&first, "public", "others");
    sink.apply_schema(&lower).await.unwrap();
    let away = renamed(&second, "odd \"schema", "a.b");
    sink.apply_schema(&away).await.unwrap();
    sink.write(&batch(
        &away,
        4,
        &[change(Op::Delete, vec![is(1), Cell::Absent, Cell::Absent])],
    ))
    .await
    .unwrap();
    sink.commit(&checkpoint(4)).await.unwrap();
    drop(sink);
    let sink = scene.open().await;
    let names = "SELECT schema_name, table_name FROM duckdb_tables() WHERE schema_name <> '_cdc' ORDER BY ALL";
    assert_eq!(
        lines(&sink, names).await,
        ["odd \"schema|a.b", "public|others"]
    );
    assert_eq!(
        lines(&sink, "FROM \"odd \"\"schema\".\"a.b\"").await,
        ["3|3|other"]
    );
}

#[tokio::test]
async fn a_table_of_someone_else_is_never_replaced() {
    let scene = Scene::new(Mode::Upsert);
    {
        let connection = duckdb::Connection::open(&scene.path).unwrap();
        connection
            .execute_batch("CREATE SCHEMA public; CREATE TABLE public.Items (mine INTEGER); INSERT INTO public.items VALUES (1)")
            .unwrap();
    }
    let table = Arc::new(items());
    let mut sink = scene.open().await;
    let mut copy = sink.copy(&table, CopyId(1)).await.unwrap();
    copy.chunk(0).await.unwrap().finish(1).await.unwrap();
    copy.commit(1).await.unwrap();
    drop(copy);
    let error = sink.join(&table, CopyId(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(error.table(), Some(table.id));
    assert!(
        error
            .hint_text()
            .is_some_and(|hint| hint.contains("DROP TABLE \"public\".\"items\""))
    );
    sink.rollback().await.unwrap();
    assert_eq!(lines(&sink, "FROM public.items").await, ["1"]);
}

#[tokio::test]
async fn names_that_would_be_one_are_refused() {
    let scene = Scene::new(Mode::SoftDelete);
    let mut sink = scene.open().await;
    for name in ["ID", "_CDC_deleted"] {
        let table = changed(&items(), |columns| columns[2].name = name.to_owned());
        let error = sink.copy(&table, CopyId(1)).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert_eq!(error.table(), Some(table.id));
        assert!(
            error
                .hint_text()
                .is_some_and(|hint| hint.contains("exclude"))
        );
    }
    let reserved = renamed(&items(), "_cdc", "items");
    assert!(sink.copy(&reserved, CopyId(1)).await.is_err());
}

#[tokio::test]
async fn a_table_whose_rows_nothing_tells_apart_is_refused_or_taken_as_a_log() {
    let mut table = items();
    table.key.clear();
    table.identity = Identity::None;
    let table = Arc::new(table);
    let mut scene = Scene::new(Mode::Upsert);
    let mut sink = scene.open().await;
    assert!(!sink.capabilities().keyless_append);
    let error = sink.copy(&table, CopyId(1)).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.hint_text().is_some_and(|hint| {
        hint.starts_with("ALTER TABLE \"public\".\"items\" REPLICA IDENTITY FULL")
    }));
    drop(sink);
    scene.config.keyless = Keyless::Append;
    let mut sink = scene.open().await;
    assert!(sink.capabilities().keyless_append);
    join(&mut sink, &table, 1, 1, &[vec![is(1), is(1), is("x")]]).await;
    sink.write(&batch(
        &table,
        2,
        &[change(Op::Insert, vec![is(1), is(1), is("x")])],
    ))
    .await
    .unwrap();
    sink.commit(&checkpoint(2)).await.unwrap();
    assert_eq!(
        lines(
            &sink,
            "SELECT id, _cdc_op FROM public.items ORDER BY _cdc_seq"
        )
        .await,
        ["1|read", "1|insert"]
    );
}

#[tokio::test]
async fn a_template_names_tables_and_a_schema_named_as_the_file_is_told_apart() {
    let mut scene = Scene::new(Mode::Upsert);
    scene.config.names.schema = "shop".to_owned();
    scene.config.names.table = "{schema}__{table}".to_owned();
    let table = Arc::new(items());
    let mut sink = scene.open().await;
    join(&mut sink, &table, 1, 1, &[vec![is(1), is(1), is("x")]]).await;
    assert_eq!(lines(&sink, "FROM shop.public__items").await, ["1|1|x"]);
}
