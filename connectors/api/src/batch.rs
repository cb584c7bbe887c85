//! Row changes of one table, in columns.
//!
//! Invariant: a batch never crosses a table, a schema version or a truncate; its rows are in
//! source order and its `seq` rises strictly.

use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::buffer::{BooleanBuffer, ScalarBuffer};

use crate::TableSchema;

/// What happened to a row.
///
/// A key change is a pair of adjacent rows in the same batch, [`Op::MoveOut`] with the old key
/// and [`Op::MoveIn`] with the new row: a sink may take them as a delete and an insert, and can
/// still tell that they are one update. In a table without a key every update is such a pair of
/// whole rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Op {
    /// An existing row, read by a snapshot.
    Read = 0,
    /// A new row.
    Insert = 1,
    /// A changed row whose key stayed the same.
    Update = 2,
    /// A removed row.
    Delete = 3,
    /// The old half of a key change: a delete.
    MoveOut = 4,
    /// The new half of a key change: an insert, whose unchanged columns live under the old key,
    /// the row just before it.
    MoveIn = 5,
}

impl Op {
    /// The op of a code, or `None` for a number that is no op.
    pub fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Read,
            1 => Self::Insert,
            2 => Self::Update,
            3 => Self::Delete,
            4 => Self::MoveOut,
            5 => Self::MoveIn,
            _ => return None,
        })
    }

    /// The number in [`ChangeBatch::ops`].
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The name that users see: `read`, `insert`, `update`, `delete`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Insert | Self::MoveIn => "insert",
            Self::Update => "update",
            Self::Delete | Self::MoveOut => "delete",
        }
    }

    /// Whether the row is gone afterwards (`Delete`, `MoveOut`).
    pub fn removes(self) -> bool {
        matches!(self, Self::Delete | Self::MoveOut)
    }
}

/// A transaction's name in its source.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
pub enum TransactionId {
    /// PostgreSQL: the xid.
    Number(u64),
    /// MySQL, MariaDB: the GTID.
    Text(Arc<str>),
}

impl std::fmt::Display for TransactionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

/// A run of rows of one transaction within a batch.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TransactionRun {
    /// One past the run's last row in the batch; runs follow each other from row 0.
    pub end: u32,
    /// The transaction.
    pub id: TransactionId,
    /// Where it commits, on the source's scale of bytes.
    pub commit_offset: u64,
    /// When it committed, microseconds since the Unix epoch.
    pub commit_time: i64,
    /// The first `seq` that the transaction takes, whether its row is of this table or not: what
    /// lies between it and a row's own tells the row's place in the transaction.
    pub first_seq: u64,
}

/// Row changes of one table and one schema version, in source order.
///
/// For `Delete` and `MoveOut` rows the row's columns hold the old values as far as the source
/// gives them: all of them under [`crate::Identity::Full`], else only the key columns, the rest
/// being null and without meaning.
#[derive(Debug, Clone)]
pub struct ChangeBatch {
    /// The table, at the version that the rows have.
    pub table: Arc<TableSchema>,
    /// The table's columns, in the order of `table.columns` and with its Arrow schema. Every
    /// field is nullable, whatever the source says: a delete carries only its key.
    pub rows: RecordBatch,
    /// One [`Op`] code a row.
    pub ops: ScalarBuffer<u8>,
    /// Total order of row changes in the pipeline, over all tables. Snapshot rows carry the `seq`
    /// of their snapshot's consistent point, the same for all.
    pub seq: ScalarBuffer<u64>,
    /// Each row's place in the source's log (PostgreSQL: LSN). For people and for Kafka's
    /// envelope; nothing is ordered by it.
    pub offset: ScalarBuffer<u64>,
    /// Per column (or empty: none anywhere), set where the source did not send the value of an
    /// `Update` or `MoveIn`: an unchanged TOAST value, a MINIMAL row image. The column is null
    /// there, and absent is not NULL (invariant 8).
    pub absent: Vec<Option<BooleanBuffer>>,
    /// The old values of `Update` rows, row by row beside `rows` and with the same schema; null
    /// in other rows. Only where the source gives whole old rows (`Identity::Full`).
    pub before: Option<RecordBatch>,
    /// The transactions that the rows belong to; empty for snapshot rows.
    pub transactions: Vec<TransactionRun>,
}

impl ChangeBatch {
    /// A batch of snapshot rows: `op` read, every row with the same `seq`.
    pub fn of_snapshot(table: Arc<TableSchema>, rows: RecordBatch, seq: u64, offset: u64) -> Self {
        let count = rows.num_rows();
        Self {
            table,
            rows,
            ops: vec![Op::Read.code(); count].into(),
            seq: vec![seq; count].into(),
            offset: vec![offset; count].into(),
            absent: Vec::new(),
            before: None,
            transactions: Vec::new(),
        }
    }

    /// Rows in the batch.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// The op of row `row`.
    ///
    /// # Panics
    /// If `row` is out of range; a code that is no op reads as `Read`.
    pub fn op(&self, row: usize) -> Op {
        Op::from_code(self.ops[row]).unwrap_or(Op::Read)
    }

    /// Whether the source did not send column `column` of row `row`.
    pub fn is_absent(&self, column: usize, row: usize) -> bool {
        self.absent
            .get(column)
            .and_then(Option::as_ref)
            .is_some_and(|bits| bits.value(row))
    }

    /// Whether any value of the batch was not sent.
    pub fn has_absent(&self) -> bool {
        self.absent
            .iter()
            .flatten()
            .any(|bits| bits.count_set_bits() > 0)
    }

    /// The `seq` of the first and the last row, or `None` when empty.
    pub fn seq_range(&self) -> Option<(u64, u64)> {
        Some((*self.seq.first()?, *self.seq.last()?))
    }

    /// Bytes that the batch's own rows take in memory, nearly; also where its buffers are slices
    /// of larger ones (a part of a batch, a batch read back from the journal).
    pub fn bytes(&self) -> usize {
        let columns = |batch: &RecordBatch| -> usize {
            batch
                .columns()
                .iter()
                .map(|column| {
                    let own = column.to_data().get_slice_memory_size();
                    own.unwrap_or_else(|_| column.get_buffer_memory_size())
                })
                .sum()
        };
        columns(&self.rows) + self.before.as_ref().map_or(0, columns) + self.len() * 17
    }

    /// `length` rows from `start`, without copying.
    ///
    /// # Panics
    /// If the range is not within the batch.
    #[must_use]
    pub fn slice(&self, start: usize, length: usize) -> Self {
        let end = start + length;
        let mut transactions = Vec::new();
        let mut run_start = 0usize;
        for run in &self.transactions {
            let run_end = run.end as usize;
            if run_end > start && run_start < end {
                let mut run = run.clone();
                run.end = u32::try_from(run_end.min(end) - start).unwrap_or(u32::MAX);
                transactions.push(run);
            }
            run_start = run_end;
        }
        Self {
            table: Arc::clone(&self.table),
            rows: self.rows.slice(start, length),
            ops: self.ops.slice(start, length),
            seq: self.seq.slice(start, length),
            offset: self.offset.slice(start, length),
            absent: self
                .absent
                .iter()
                .map(|bits| bits.as_ref().map(|bits| bits.slice(start, length)))
                .collect(),
            before: self.before.as_ref().map(|rows| rows.slice(start, length)),
            transactions,
        }
    }

    /// The rows with a `seq` above `seq`, or `None` if there is none: what a restart must still
    /// apply.
    #[must_use]
    pub fn after(self, seq: u64) -> Option<Self> {
        let start = self.seq.partition_point(|&row| row <= seq);
        if start == 0 {
            return (!self.is_empty()).then_some(self);
        }
        (start < self.len()).then(|| self.slice(start, self.len() - start))
    }

    /// The rows with a `seq` up to `seq`, or `None` if there is none.
    #[must_use]
    pub fn up_to(self, seq: u64) -> Option<Self> {
        let end = self.seq.partition_point(|&row| row <= seq);
        if end == self.len() {
            return (end > 0).then_some(self);
        }
        (end > 0).then(|| self.slice(0, end))
    }
}
