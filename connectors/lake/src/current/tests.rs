//! The rules of the statement, followed in Rust over files of a random history, give the source's
//! tables; and the statement itself says what it should.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, UInt32Type, UInt64Type};
use cdc_api::testing::canonical::{self, Cell, Row};
use cdc_api::testing::database::{Database, Mix, Workload, batch_of};
use cdc_api::testing::source::ScriptedSource;
use cdc_api::testing::trace::Trace;
use cdc_api::{
    BatchLimits, ChangeBatch, ChangeEvent, Checkpoint, Column, CopyId, Identity, Sink, Source,
    TableId, TableName, TableSchema,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tempfile::TempDir;

use super::*;
use crate::manifest::log;
use crate::storage::local::LocalDisk;
use crate::{Compression, Lake, LakeConfig};

/// A row of the log: in the columns of today, `None` where it says nothing.
struct Logged {
    seq: u64,
    op: String,
    cells: Vec<Option<Cell>>,
    moved: bool,
}

fn batches(root: &Path, folder: &str) -> Vec<RecordBatch> {
    let mut batches = Vec::new();
    for entry in std::fs::read_dir(root.join(folder)).expect("there") {
        let file = std::fs::File::open(entry.expect("listed").path()).expect("opens");
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("is Parquet");
        batches.extend(
            reader
                .build()
                .expect("reads")
                .map(|batch| batch.expect("is whole")),
        );
    }
    batches
}

fn rows_of(batch: &RecordBatch, shapes: &[Arc<TableSchema>]) -> Vec<Logged> {
    let column = |name: &str| Arc::clone(batch.column_by_name(name).expect("in every file"));
    let seq = column("_cdc_seq");
    let op = cast(&column("_cdc_op"), &DataType::Utf8).expect("text");
    let version = column("_cdc_schema_version");
    let absent = column("_cdc_absent");
    let now = shapes.last().expect("has one");
    (0..batch.num_rows())
        .map(|row| {
            let version = version.as_primitive::<UInt32Type>().value(row);
            let at = shapes
                .iter()
                .position(|shape| shape.version == version)
                .expect("known");
            let op = op.as_string::<i32>().value(row).to_owned();
            let names: Vec<String> = if absent.is_null(row) {
                Vec::new()
            } else {
                let names = absent.as_list::<i32>().value(row);
                let names = names.as_string::<i32>();
                names.iter().flatten().map(str::to_owned).collect()
            };
            let cells = now
                .columns
                .iter()
                .enumerate()
                .map(|(index, column)| {
                    let was = shapes[at].columns.iter().find(|was| was.id == column.id);
                    if op == "delete" && !now.key.contains(&index) && !now.key.is_empty() {
                        return None;
                    }
                    match was {
                        Some(was) if names.contains(&was.name) => None,
                        Some(was) => {
                            let values = batch.column_by_name(&was.name).expect("in its file");
                            Some(canonical::cell(values.as_ref(), row))
                        }
                        None => {
                            let first = shapes[at..].iter().find_map(|shape| {
                                shape.columns.iter().find(|it| it.id == column.id)
                            });
                            let existing = first.and_then(|it| it.existing.as_ref());
                            Some(existing.and_then(|it| canonical::cell(it.0.as_ref(), 0)))
                        }
                    }
                })
                .collect();
            Logged {
                seq: seq.as_primitive::<UInt64Type>().value(row),
                moved: op == "insert" && !names.is_empty(),
                op,
                cells,
            }
        })
        .collect()
}

/// What the statement computes, row by row.
fn materialise(mut rows: Vec<Logged>, shape: &TableSchema) -> Vec<Row> {
    rows.sort_by_key(|row| (row.seq, row.op == "read"));
    let emptied = rows
        .iter()
        .filter(|row| row.op == "truncate")
        .map(|row| row.seq)
        .max();
    rows.retain(|row| {
        let after = emptied.is_none_or(|at| row.seq > at || (row.seq == at && row.op == "read"));
        row.op != "truncate" && after
    });
    let mut bag: BTreeMap<Row, usize> = BTreeMap::new();
    let mut keyed: BTreeMap<Row, Row> = BTreeMap::new();
    let mut before: Option<Row> = None;
    for row in rows {
        let whole = |base: Option<&Row>| -> Row {
            let cells = row.cells.iter().enumerate();
            cells
                .map(|(index, cell)| match cell {
                    Some(cell) => cell.clone(),
                    None => {
                        base.expect("an unchanged column has a row that holds it")[index].clone()
                    }
                })
                .collect()
        };
        if shape.key.is_empty() {
            let row_now = whole(None);
            let count = bag.entry(row_now).or_default();
            *count = if row.op == "delete" {
                *count - 1
            } else {
                *count + 1
            };
            continue;
        }
        let key: Row = shape
            .key
            .iter()
            .map(|&index| row.cells[index].clone().expect("keys are always there"))
            .collect();
        let now = match row.op.as_str() {
            "delete" => {
                before = keyed.remove(&key);
                continue;
            }
            "insert" if row.moved => whole(before.as_ref()),
            "update" => whole(keyed.get(&key)),
            _ => whole(None),
        };
        keyed.insert(key, now);
    }
    let repeated = bag.into_iter().flat_map(|(row, count)| vec![row; count]);
    let mut all: Vec<Row> = repeated.chain(keyed.into_values()).collect();
    all.sort();
    all
}

async fn random_history(seed: u64) {
    let folder = TempDir::new().expect("a folder");
    let root = folder.path().join("lake");
    let mut config = LakeConfig::new(root.display().to_string());
    config.compaction.min_files = 3;
    config.compression = Compression::None;
    let disk = LocalDisk::volatile(root.clone());
    let mut sink = Lake::on(Box::new(disk), config, "shop").expect("a lake");
    sink.open().await.expect("opens");

    let database = Database::new();
    let source = ScriptedSource::new(&database, seed, &Trace::new());
    let mix = Mix {
        table: 0,
        schema: 8,
        ..Mix::default()
    };
    let mut workload = Workload::new(&database, seed, mix);
    source.origin().await.expect("is given");
    for _ in 0..20 {
        workload.step();
    }
    let start = database.head();
    let tables: Vec<Arc<TableSchema>> = database
        .state(start)
        .tables
        .values()
        .map(|table| Arc::clone(&table.schema))
        .collect();
    source.capture(&tables).await.expect("captures");
    let checkpoint = Checkpoint {
        position: Database::position(start),
        seq: database.seq(start).expect("there"),
        offset: 0,
        commit_time: 0,
    };
    for (number, table) in (1..).zip(&tables) {
        let content = database.content(table.id, start).expect("there");
        let rows: Vec<_> = content
            .rows
            .values()
            .map(|row| Some(row.as_slice()))
            .collect();
        let batch =
            ChangeBatch::of_snapshot(Arc::clone(table), batch_of(table, &rows), checkpoint.seq, 0);
        let mut copy = sink.copy(table, CopyId(number)).await.expect("begins");
        let mut chunk = copy.chunk(0).await.expect("opens");
        chunk.write(&batch).await.expect("is taken");
        chunk.finish(checkpoint.seq).await.expect("is finished");
        sink.join(table, CopyId(number)).await.expect("joins");
    }
    sink.commit(&checkpoint).await.expect("holds");

    for _ in 0..200 {
        workload.step();
    }
    let mut stream = source
        .start(&checkpoint, &tables, BatchLimits::default())
        .await
        .expect("starts");
    let mut shapes: BTreeMap<TableId, Arc<TableSchema>> = tables
        .iter()
        .map(|table| (table.id, Arc::clone(table)))
        .collect();
    loop {
        match stream.next().await.expect("no faults") {
            ChangeEvent::Schema(shape) => {
                sink.apply_schema(&shape).await.expect("is followed");
                shapes.insert(shape.id, shape);
            }
            ChangeEvent::Rows(batch) => sink.write(&batch).await.expect("is taken"),
            ChangeEvent::Truncate {
                tables,
                seq,
                commit_time,
            } => {
                for table in tables {
                    sink.truncate(&shapes[&table], seq, commit_time)
                        .await
                        .expect("is taken");
                }
            }
            ChangeEvent::Commit(checkpoint) => {
                sink.commit(&checkpoint).await.expect("holds");
                sink.maintain().await.expect("merges");
                if Database::commit_of(&checkpoint.position) == Some(database.head()) {
                    break;
                }
            }
            ChangeEvent::Notice(_) | ChangeEvent::Failed { .. } | ChangeEvent::Mark { .. } => {}
        }
    }
    // A source tells a shape with the first row that has it; here the last ones are told too.
    let last = database.state(database.head());
    for id in shapes.keys() {
        sink.apply_schema(&last.tables[id].schema)
            .await
            .expect("is followed");
    }
    let committed = sink
        .committed()
        .await
        .expect("asked")
        .expect("there is one");
    sink.commit(&committed).await.expect("holds");
    let state = log::load(&LocalDisk::new(root.clone()))
        .expect("reads")
        .expect("there")
        .state;
    for (id, table) in &state.tables {
        let rows = batches(&root, &table.folder)
            .iter()
            .flat_map(|batch| rows_of(batch, &table.shapes))
            .collect();
        let shape = table.shape().expect("has one");
        let content = database.content(*id, database.head()).expect("there");
        assert_eq!(
            materialise(rows, shape),
            content.cells(),
            "seed {seed}, {}",
            shape.name
        );
    }
}

#[tokio::test]
async fn the_log_amounts_to_the_sources_tables() {
    for seed in 0..6 {
        random_history(seed).await;
    }
}

fn shape(version: u32, columns: Vec<Column>, key: Vec<usize>) -> Arc<TableSchema> {
    Arc::new(TableSchema::new(
        TableId(1),
        TableName::new("s", "t"),
        version,
        columns,
        key,
        Identity::Full,
    ))
}

fn column(id: u64, name: &str, data_type: DataType) -> Column {
    Column {
        id: Some(id),
        ..Column::new(name, data_type, "")
    }
}

#[test]
fn renamed_and_added_columns_are_found_in_files_of_their_time() {
    let mut added = column(3, "it's", DataType::Utf8);
    added.existing = Some(cdc_api::ExistingValue(Arc::new(
        arrow::array::StringArray::from(vec!["o'k"]),
    )));
    let shapes = [
        shape(
            1,
            vec![
                column(1, "id", DataType::Int32),
                column(2, "old", DataType::Date32),
            ],
            vec![],
        ),
        shape(
            4,
            vec![
                column(1, "id", DataType::Int64),
                column(2, "new", DataType::Date32),
                added,
            ],
            vec![],
        ),
    ];
    let sql = statement(&shapes, &BTreeSet::from([1, 4]), "/lake/s/t/*.parquet");
    let sql = sql.expect("is written").expect("has shapes");
    for part in [
        r#"CAST("id" AS BIGINT) AS "id""#,
        r#"WHEN _cdc_schema_version IN (4) THEN coalesce(CAST("new" AS DATE), CAST(_cdc_special['new'] AS DATE))"#,
        r#"WHEN _cdc_schema_version IN (1) THEN coalesce(CAST("old" AS DATE), CAST(_cdc_special['old'] AS DATE))"#,
        r#"WHEN _cdc_schema_version IN (1) THEN CAST('o''k' AS VARCHAR)"#,
        r#"read_parquet('/lake/s/t/*.parquet', union_by_name = true)"#,
    ] {
        assert!(sql.contains(part), "{part} is not in\n{sql}");
    }
}

#[test]
fn columns_that_no_file_has_are_not_asked_for() {
    let shapes = [
        shape(1, vec![column(1, "id", DataType::Int32)], vec![0]),
        shape(
            2,
            vec![
                column(1, "id", DataType::Int32),
                column(2, "x", DataType::Int32),
            ],
            vec![0],
        ),
    ];
    let sql = statement(&shapes, &BTreeSet::from([1]), "f");
    let sql = sql.expect("is written").expect("has shapes");
    assert!(!sql.contains(r#"CAST("x""#), "{sql}");
    assert!(sql.contains(r#"CAST(NULL AS INTEGER)"#), "{sql}");
}

#[test]
fn the_value_of_rows_that_are_older_than_a_column_is_a_constant_of_its_type() {
    use arrow::array::{
        ArrayRef, BinaryArray, Date32Array, Float64Array, ListArray, StringArray,
        TimestampMicrosecondArray,
    };
    use arrow::datatypes::Int32Type;
    let moment = TimestampMicrosecondArray::from(vec![1_580_608_922_500_000]);
    let words = ListArray::new(
        Arc::new(arrow::datatypes::Field::new("item", DataType::Utf8, true)),
        arrow::buffer::OffsetBuffer::from_lengths([3]),
        Arc::new(StringArray::from(vec![Some("a, b"), None, Some("it's")])),
        None,
    );
    let numbers = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), Some(2)])]);
    let cases: [(ArrayRef, &str); 8] = [
        (
            Arc::new(moment.clone().with_timezone("UTC")),
            "CAST('2020-02-02T02:02:02.500+00' AS TIMESTAMPTZ)",
        ),
        (
            Arc::new(moment),
            "CAST('2020-02-02T02:02:02.500' AS TIMESTAMP)",
        ),
        (
            Arc::new(TimestampMicrosecondArray::from(vec![i64::MAX]).with_timezone("UTC")),
            "CAST('infinity' AS TIMESTAMPTZ)",
        ),
        (
            Arc::new(Date32Array::from(vec![0])),
            "CAST('1970-01-01' AS DATE)",
        ),
        (
            Arc::new(BinaryArray::from_vec(vec![b"\x00\xff"])),
            "from_hex('00ff')",
        ),
        (
            Arc::new(Float64Array::from(vec![f64::NAN])),
            "CAST('NaN' AS DOUBLE)",
        ),
        (
            Arc::new(words),
            "CAST([CAST('a, b' AS VARCHAR), CAST(NULL AS VARCHAR), CAST('it''s' AS VARCHAR)] AS VARCHAR[])",
        ),
        (
            Arc::new(numbers),
            "CAST([CAST('1' AS INTEGER), CAST('2' AS INTEGER)] AS INTEGER[])",
        ),
    ];
    for (value, wanted) in cases {
        let mut column = column(3, "added", value.data_type().clone());
        let target = sql_type(&column);
        column.existing = Some(cdc_api::ExistingValue(value));
        let written = before_it_was_added(&column, &target, false);
        assert_eq!(written.expect("is written"), wanted);
    }
}
