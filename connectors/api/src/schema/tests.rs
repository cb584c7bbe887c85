//! Schemas survive being written down, and their diffs tell renames from replacements.

use std::sync::Arc;

use arrow::array::Int32Array;
use arrow::datatypes::DataType;

use super::diff::{ColumnChange, SchemaDiff};
use super::*;

fn column(id: u64, name: &str, data_type: DataType) -> Column {
    Column {
        id: Some(id),
        ..Column::new(name, data_type, "t")
    }
}

fn table(columns: Vec<Column>) -> TableSchema {
    TableSchema::new(
        TableId(7),
        TableName::new("public", "orders"),
        1,
        columns,
        vec![0],
        Identity::Key,
    )
}

#[test]
fn a_schema_with_an_existing_value_survives_json() {
    let mut added = column(2, "qty", DataType::Int32);
    added.existing = Some(ExistingValue(Arc::new(Int32Array::from(vec![42]))));
    let schema = table(vec![column(1, "id", DataType::Int64), added]);
    let text = serde_json::to_string(&schema).expect("serialises");
    let back: TableSchema = serde_json::from_str(&text).expect("deserialises");
    assert_eq!(back, schema);
    assert_eq!(back.arrow(), schema.arrow());
}

#[test]
fn names_are_quoted_only_where_a_pattern_needs_it() {
    assert_eq!(
        TableName::new("public", "orders").to_string(),
        "public.orders"
    );
    assert_eq!(
        TableName::new("odd \"s", "a.b").to_string(),
        "\"odd \"\"s\".\"a.b\""
    );
}

#[test]
fn a_column_with_the_same_id_and_another_name_is_a_rename() {
    let old = table(vec![
        column(1, "id", DataType::Int64),
        column(2, "a", DataType::Utf8),
    ]);
    let new = table(vec![
        column(1, "id", DataType::Int64),
        column(2, "b", DataType::Utf8),
    ]);
    let diff = SchemaDiff::between(&old, &new);
    assert_eq!(
        diff.columns,
        vec![ColumnChange::Rename {
            from: "a".into(),
            to: "b".into()
        }]
    );
}

#[test]
fn a_column_dropped_and_added_again_is_not_the_same_column() {
    let old = table(vec![
        column(1, "id", DataType::Int64),
        column(2, "a", DataType::Utf8),
    ]);
    let new = table(vec![
        column(1, "id", DataType::Int64),
        column(3, "a", DataType::Int32),
    ]);
    let diff = SchemaDiff::between(&old, &new);
    assert!(matches!(diff.columns[0], ColumnChange::Drop { .. }));
    assert!(matches!(diff.columns[1], ColumnChange::Add { .. }));
}

#[test]
fn without_ids_columns_are_matched_by_name() {
    let old = table(vec![
        Column::new("id", DataType::Int64, "int8"),
        Column::new("a", DataType::Int16, "int2"),
    ]);
    let new = table(vec![
        Column::new("id", DataType::Int64, "int8"),
        Column::new("a", DataType::Int32, "int4"),
    ]);
    let diff = SchemaDiff::between(&old, &new);
    assert!(matches!(
        &diff.columns[..],
        [ColumnChange::Retype { name, .. }] if name == "a"
    ));
}

#[test]
fn a_key_of_other_columns_is_a_changed_key_and_a_renamed_key_column_is_not() {
    let old = table(vec![
        column(1, "id", DataType::Int64),
        column(2, "a", DataType::Int64),
    ]);
    let mut new = old.clone();
    new.key = vec![1];
    assert!(SchemaDiff::between(&old, &new).key_changed);
    let renamed = table(vec![
        column(1, "uid", DataType::Int64),
        column(2, "a", DataType::Int64),
    ]);
    assert!(!SchemaDiff::between(&old, &renamed).key_changed);
}
