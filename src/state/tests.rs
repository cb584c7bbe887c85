//! What the state remembers over a restart, and what it refuses.

use std::sync::Arc;

use arrow::datatypes::DataType;
use cdc_api::{Chunk, Column, CopyId, ErrorKind, Identity, SourceIdentity};

use super::*;

fn table(id: u64) -> TableState {
    TableState {
        phase: Phase::Copying,
        copy: Some(CopyId(7)),
        chunks: vec![Chunk {
            index: 0,
            range: "(0,0)..(99,0)".to_owned(),
            epoch: "16384".to_owned(),
            rows: 10,
            bytes: 8192,
        }],
        schema: Some(schema(id)),
        from_seq: Some(u64::MAX),
        whole_at: Some(12),
        error: Some(TableError {
            message: "a value does not fit".to_owned(),
            hint: Some("cdc snapshot public.t".to_owned()),
        }),
        failed_seq: Some(3),
        requested: true,
        ..TableState::pending(TableId(id), TableName::new("public", format!("t{id}")))
    }
}

fn schema(id: u64) -> Arc<TableSchema> {
    Arc::new(TableSchema::new(
        TableId(id),
        TableName::new("public", format!("t{id}")),
        3,
        vec![Column::new("id", DataType::Int64, "bigint")],
        vec![0],
        Identity::Key,
    ))
}

fn pipeline() -> PipelineRecord {
    PipelineRecord {
        name: "shop".to_owned(),
        source: SourceIdentity {
            id: "7123".to_owned(),
            version: "PostgreSQL 15".to_owned(),
            database: "shop".to_owned(),
        },
        epoch: 2,
    }
}

#[test]
fn everything_is_there_again_after_a_restart() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let tables = [table(1), table(u64::MAX), table(5)];
    let last_copy;
    {
        let state = State::open(dir.path()).expect("new state");
        assert_eq!(state.pipeline().expect("read"), None);
        assert!(!state.paused().expect("read"));
        assert_eq!(state.schemas().expect("read"), (0, Vec::new()));
        state.set_pipeline(&pipeline()).expect("write");
        state.set_paused(true).expect("write");
        state.save_tables("lake", &tables).expect("write");
        state
            .save_schemas(9, &[schema(5), schema(1)])
            .expect("write");
        state
            .set_value("schedule", Some("2026-01-01"))
            .expect("write");
        last_copy = state.next_copy().expect("write");
    }
    let state = State::open(dir.path()).expect("the state again");
    assert_eq!(state.pipeline().expect("read"), Some(pipeline()));
    assert!(state.paused().expect("read"));
    assert_eq!(
        state.tables("lake").expect("read"),
        [table(1), table(5), table(u64::MAX)]
    );
    assert_eq!(
        state.table("lake", TableId(u64::MAX)).expect("read"),
        Some(table(u64::MAX))
    );
    assert_eq!(
        state.schemas().expect("read"),
        (9, vec![schema(1), schema(5)])
    );
    assert_eq!(
        state.value("schedule").expect("read").as_deref(),
        Some("2026-01-01")
    );
    assert!(state.next_copy().expect("write") > last_copy);
}

#[test]
fn what_is_removed_is_gone_and_the_rest_stays() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let state = State::open(dir.path()).expect("new state");
    state
        .save_tables("lake", &[table(1), table(2)])
        .expect("write");
    state.save_tables("warehouse", &[table(1)]).expect("write");
    assert_eq!(state.sinks().expect("read"), ["lake", "warehouse"]);
    state.remove_table("lake", TableId(1)).expect("write");
    state.remove_table("lake", TableId(99)).expect("write");
    assert_eq!(state.tables("lake").expect("read"), [table(2)]);
    assert_eq!(state.table("lake", TableId(1)).expect("read"), None);
    state.remove_sink("lake").expect("write");
    assert_eq!(state.sinks().expect("read"), ["warehouse"]);
    state.set_paused(true).expect("write");
    state.set_paused(false).expect("write");
    assert!(!state.paused().expect("read"));
    state.set_value("k", Some("v")).expect("write");
    state.set_value("k", None).expect("write");
    assert_eq!(state.value("k").expect("read"), None);
}

#[test]
fn saving_a_table_again_replaces_it() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let state = State::open(dir.path()).expect("new state");
    state.save_tables("lake", &[table(1)]).expect("write");
    let next = TableState {
        phase: Phase::Streaming,
        chunks: Vec::new(),
        error: None,
        ..table(1)
    };
    state
        .save_tables("lake", std::slice::from_ref(&next))
        .expect("write");
    assert_eq!(state.tables("lake").expect("read"), [next]);
}

#[test]
fn a_second_daemon_on_the_directory_is_refused_with_the_pid() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let first = State::open(dir.path()).expect("new state");
    let error = State::open(dir.path()).err().expect("refused");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(
        error.message().contains(&std::process::id().to_string()),
        "{error}"
    );
    assert!(error.hint_text().is_some_and(|hint| hint.contains("stop")));
    drop(first);
    State::open(dir.path()).expect("free again");
}

#[test]
fn a_database_of_a_newer_version_is_refused_untouched() {
    let dir = tempfile::tempdir().expect("temporary directory");
    drop(State::open(dir.path()).expect("new state"));
    let path = dir.path().join("state.db");
    let database = Connection::open(&path).expect("open");
    database
        .pragma_update(None, "user_version", 99)
        .expect("write");
    drop(database);
    let error = State::open(dir.path()).err().expect("refused");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.message().contains("newer"), "{error}");
    let layout: u32 = Connection::open(&path)
        .and_then(|database| database.query_row("PRAGMA user_version", [], |row| row.get(0)))
        .expect("read");
    assert_eq!(layout, 99);
}

#[test]
fn a_damaged_database_names_the_remedy() {
    let dir = tempfile::tempdir().expect("temporary directory");
    {
        let state = State::open(dir.path()).expect("new state");
        let many: Vec<_> = (0..500).map(table).collect();
        state.save_tables("lake", &many).expect("write");
    }
    let path = dir.path().join("state.db");
    let whole = std::fs::read(&path).expect("read");
    assert!(whole.len() > 3 * 4096, "more pages than the damaged ones");
    for range in [0..100, 4096..8192, 8192..whole.len()] {
        let mut bytes = whole.clone();
        bytes[range.clone()].fill(0xA5);
        std::fs::write(&path, bytes).expect("write");
        let error = State::open(dir.path())
            .err()
            .unwrap_or_else(|| panic!("{range:?} opened"));
        assert_eq!(error.kind(), ErrorKind::Data, "{range:?}: {error}");
        assert!(
            error
                .hint_text()
                .is_some_and(|hint| hint.contains("state.db"))
        );
    }
}
