//! What tests are told in: a sink on a file of its own, batches written by hand, content as text.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::DataType;
use cdc_api::{
    ChangeBatch, Checkpoint, Column, CopyId, Identity, Op, Position, Sink, TableId, TableName,
    TableSchema, TransactionId, TransactionRun,
};

use crate::{Mode, Warehouse, WarehouseConfig};

/// A value, or an unchanged value that is not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cell {
    Is(Option<String>),
    Absent,
}

/// A row that changes.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) op: Op,
    pub(crate) cells: Vec<Cell>,
}

pub(crate) fn is(text: impl ToString) -> Cell {
    Cell::Is(Some(text.to_string()))
}

pub(crate) const NULL: Cell = Cell::Is(None);

pub(crate) fn change(op: Op, cells: Vec<Cell>) -> Change {
    Change { op, cells }
}

/// A folder that goes with the test, and the settings of a sink in it.
pub(crate) struct Scene {
    _folder: tempfile::TempDir,
    pub(crate) config: WarehouseConfig,
    pub(crate) path: PathBuf,
}

impl Scene {
    pub(crate) fn new(mode: Mode) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shop.duckdb");
        let mut config = WarehouseConfig::new(&path);
        config.mode = mode;
        config.threads = Some(2);
        Self {
            _folder: folder,
            config,
            path,
        }
    }

    pub(crate) async fn open(&self) -> Warehouse {
        let mut sink = Warehouse::new(self.config.clone()).unwrap();
        sink.open().await.unwrap();
        sink
    }
}

pub(crate) fn column(id: u64, name: &str, data_type: DataType) -> Column {
    Column {
        id: Some(id),
        ..Column::new(name, data_type, "t")
    }
}

/// `public.items (id bigint, a int, t text)`, keyed by `id`.
pub(crate) fn items() -> TableSchema {
    TableSchema::new(
        TableId(7),
        TableName::new("public", "items"),
        1,
        vec![
            Column {
                nullable: false,
                ..column(1, "id", DataType::Int64)
            },
            column(2, "a", DataType::Int32),
            column(3, "t", DataType::Utf8),
        ],
        vec![0],
        Identity::Key,
    )
}

pub(crate) fn checkpoint(seq: u64) -> Checkpoint {
    Checkpoint {
        position: Position::new(format!("{{\"at\":{seq}}}")),
        seq,
        offset: seq * 10,
        commit_time: 1_700_000_000_000_000,
    }
}

fn array(data_type: &DataType, values: &[Option<String>]) -> ArrayRef {
    let values = values.iter().map(Option::as_deref);
    match data_type {
        DataType::Int32 => Arc::new(
            values
                .map(|value| value.map(|value| value.parse().unwrap()))
                .collect::<Int32Array>(),
        ),
        DataType::Int64 => Arc::new(
            values
                .map(|value| value.map(|value| value.parse().unwrap()))
                .collect::<Int64Array>(),
        ),
        DataType::Utf8 => Arc::new(values.collect::<StringArray>()),
        other => panic!("no values of {other} here"),
    }
}

/// Changes as a batch; the first has `seq`.
pub(crate) fn batch(table: &Arc<TableSchema>, seq: u64, changes: &[Change]) -> ChangeBatch {
    let count = changes.len();
    let mut columns = Vec::new();
    let mut absent = Vec::new();
    for (index, column) in table.columns.iter().enumerate() {
        let values: Vec<Option<String>> = changes
            .iter()
            .map(|change| match change.cells.get(index) {
                Some(Cell::Is(value)) => value.clone(),
                _ => None,
            })
            .collect();
        columns.push(array(&column.data_type, &values));
        let bits: BooleanBuffer = changes
            .iter()
            .map(|change| change.cells.get(index) == Some(&Cell::Absent))
            .collect();
        absent.push((bits.count_set_bits() > 0).then_some(bits));
    }
    ChangeBatch {
        table: Arc::clone(table),
        rows: RecordBatch::try_new(Arc::clone(table.arrow()), columns).unwrap(),
        ops: changes
            .iter()
            .map(|change| change.op.code())
            .collect::<Vec<_>>()
            .into(),
        seq: (seq..).take(count).collect::<Vec<_>>().into(),
        offset: vec![0; count].into(),
        absent,
        before: None,
        transactions: vec![TransactionRun {
            end: u32::try_from(count).unwrap(),
            id: TransactionId::Number(77),
            commit_offset: 0,
            commit_time: 1_700_000_000_000_000,
            first_seq: 1,
        }],
    }
}

/// Existing rows as a batch.
pub(crate) fn existing(table: &Arc<TableSchema>, seq: u64, rows: &[Vec<Cell>]) -> ChangeBatch {
    let changes: Vec<Change> = rows
        .iter()
        .map(|cells| change(Op::Read, cells.clone()))
        .collect();
    let rows = batch(table, seq, &changes).rows;
    ChangeBatch::of_snapshot(Arc::clone(table), rows, seq, 0)
}

/// Copies rows as one chunk and joins the table at `seq`.
pub(crate) async fn join(
    sink: &mut Warehouse,
    table: &Arc<TableSchema>,
    copy: u64,
    seq: u64,
    rows: &[Vec<Cell>],
) {
    let copy = CopyId(copy);
    let mut copying = sink.copy(table, copy).await.unwrap();
    let mut chunk = copying.chunk(0).await.unwrap();
    if !rows.is_empty() {
        chunk.write(&existing(table, seq, rows)).await.unwrap();
    }
    chunk.finish(seq).await.unwrap();
    copying.commit(seq).await.unwrap();
    drop(copying);
    sink.join(table, copy).await.unwrap();
    sink.commit(&checkpoint(seq)).await.unwrap();
}

/// What a statement gives, every value as text.
pub(crate) async fn rows(sink: &Warehouse, sql: &str) -> Vec<Vec<Option<String>>> {
    let sql = format!("SELECT CAST(COLUMNS(*) AS VARCHAR) FROM ({sql})");
    let mut batches = sink.reader().unwrap().query(&sql).await.unwrap();
    let mut rows = Vec::new();
    while let Some(batch) = batches.next().await.unwrap() {
        use arrow::array::{Array, AsArray};
        for row in 0..batch.num_rows() {
            rows.push(
                batch
                    .columns()
                    .iter()
                    .map(|column| {
                        let column = column.as_string::<i32>();
                        column.is_valid(row).then(|| column.value(row).to_owned())
                    })
                    .collect(),
            );
        }
    }
    rows
}

/// Rows written short: `1|x|NULL`.
pub(crate) async fn lines(sink: &Warehouse, sql: &str) -> Vec<String> {
    rows(sink, sql)
        .await
        .into_iter()
        .map(|row| {
            row.into_iter()
                .map(|value| value.unwrap_or_else(|| "NULL".to_owned()))
                .collect::<Vec<_>>()
                .join("|")
        })
        .collect()
}
