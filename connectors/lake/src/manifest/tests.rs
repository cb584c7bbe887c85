//! States as entries add up to them.

use arrow::datatypes::DataType;
use cdc_api::{Column, Identity, Position, TableName};
use tempfile::TempDir;

use super::*;
use crate::storage::Storage;
use crate::storage::local::LocalDisk;

fn shape(id: u64, version: u32, name: &str) -> Arc<TableSchema> {
    Arc::new(TableSchema::new(
        TableId(id),
        TableName::new("s", name),
        version,
        vec![Column::new("id", DataType::Int64, "int8")],
        vec![0],
        Identity::Key,
    ))
}

fn file(name: &str, first_seq: u64) -> DataFile {
    DataFile {
        name: name.to_owned(),
        shape: 1,
        rows: 1,
        bytes: 10,
        first_seq,
        last_seq: first_seq,
    }
}

fn join(id: u64, copy: u64, name: &str, files: Vec<DataFile>, keep: u32) -> Change {
    Change::Join {
        copy: CopyId(copy),
        folder: format!("s/{name}"),
        shapes: vec![shape(id, 1, name)],
        files,
        keep,
    }
}

fn entry(number: u64, changes: Vec<Change>) -> Entry {
    Entry {
        format: FORMAT,
        number,
        writer: "me".to_owned(),
        pipeline: "shop".to_owned(),
        checkpoint: Some(Checkpoint {
            position: Position::new("p"),
            seq: number,
            offset: 0,
            commit_time: 0,
        }),
        changes,
        state: None,
    }
}

fn names(state: &State, id: u64) -> Vec<&str> {
    state.tables[&TableId(id)]
        .files
        .iter()
        .map(|it| it.name.as_str())
        .collect()
}

#[test]
fn files_are_kept_in_the_order_of_their_rows() {
    let mut state = State::default();
    state.apply(&entry(
        1,
        vec![join(1, 1, "t", vec![file("b", 2), file("a", 1)], 0)],
    ));
    let add = |name, seq| Change::Add {
        table: TableId(1),
        file: file(name, seq),
    };
    state.apply(&entry(2, vec![add("d", 4), add("c", 3)]));
    assert_eq!(names(&state, 1), ["a", "b", "c", "d"]);
    state.apply(&entry(
        3,
        vec![Change::Merge {
            table: TableId(1),
            removed: vec!["b".to_owned(), "c".to_owned()],
            files: vec![file("x", 2)],
        }],
    ));
    assert_eq!(names(&state, 1), ["a", "x", "d"]);
}

#[test]
fn a_join_keeps_so_many_earlier_generations() {
    let mut state = State::default();
    for copy in 1..=4 {
        let name = format!("f{copy}");
        state.apply(&entry(
            copy,
            vec![join(1, copy, "t", vec![file(&name, copy)], 2)],
        ));
    }
    let table = &state.tables[&TableId(1)];
    let kept: Vec<u64> = table.earlier.iter().map(|it| it.copy.0).collect();
    assert_eq!(kept, [2, 3]);
    assert_eq!(
        state.discarded,
        [format!("{}/f1", layout::earlier_folder("s/t", CopyId(1)))]
    );
    assert_eq!(names(&state, 1), ["f4"]);
}

#[test]
fn a_table_of_the_same_name_takes_the_folder_over() {
    let mut state = State::default();
    state.apply(&entry(1, vec![join(1, 1, "t", vec![file("old", 1)], 1)]));
    state.apply(&entry(2, vec![join(2, 2, "t", vec![file("new", 2)], 1)]));
    assert_eq!(state.tables.len(), 1);
    assert_eq!(names(&state, 2), ["new"]);
    assert_eq!(state.tables[&TableId(2)].earlier[0].files[0].name, "old");
}

#[test]
fn entries_read_back_as_they_were_applied() {
    let folder = TempDir::new().expect("a folder");
    let disk = LocalDisk::new(folder.path().to_owned());
    let mut state = State::default();
    for number in 1..=5 {
        let mut entry = entry(
            number,
            vec![join(number, number, &format!("t{number}"), vec![], 0)],
        );
        state.apply(&entry);
        if number == 2 {
            state.whole = number;
            entry.state = Some(Box::new(state.clone()));
        }
        log::append(&disk, &entry).expect("is written");
    }
    log::prune(&disk, 2).expect("prunes");
    let newest = log::load(&disk).expect("reads").expect("there");
    assert_eq!(newest.writer, "me");
    let json = |state: &State| serde_json::to_string(state).expect("is JSON");
    assert_eq!(json(&newest.state), json(&state));
}

#[test]
fn a_damaged_or_missing_entry_is_an_error_with_the_remedy() {
    let folder = TempDir::new().expect("a folder");
    let disk = LocalDisk::new(folder.path().to_owned());
    let mut first = entry(1, vec![]);
    first.state = Some(Box::default());
    log::append(&disk, &first).expect("is written");
    for number in 2..=4 {
        log::append(&disk, &entry(number, vec![])).expect("is written");
    }
    let path = layout::manifest_entry(3);
    let whole = disk.read(&path).expect("reads");
    for broken in [&whole[..whole.len() / 2], b"{}"] {
        disk.put(&path, broken).expect("is written");
        let error = log::load(&disk).err().expect("is damaged");
        assert!(error.hint_text().is_some(), "{error}");
    }
    disk.remove(&path).expect("removes");
    assert!(
        log::load(&disk)
            .err()
            .expect("is missing")
            .hint_text()
            .is_some()
    );
}
