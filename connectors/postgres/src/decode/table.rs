//! Rows of one version of a table, under construction.
//!
//! Rows go field by field from the wire into Arrow builders. Invariants: every column, op, `seq`
//! and offset of [`Rows`] has [`Rows::len`] entries that count; what a refused row left behind in
//! the builders beyond that is cut off. Leaves order and limits to `decoder`.

mod version;

use std::iter::zip;
use std::sync::Arc;

use arrow::array::{BooleanBufferBuilder, RecordBatch, RecordBatchOptions};
use arrow::buffer::BooleanBuffer;
use cdc_api::{
    ChangeBatch, Error, Identity, Op, Result, TableSchema, TransactionId, TransactionRun,
};

use super::pgoutput::{Field, Old, Tuple};
use crate::types::ValueError;
use crate::types::append::Appender;
pub(crate) use version::TableVersion;

/// Why a row was not taken.
#[derive(Debug)]
pub(crate) enum RowError {
    /// The stream cannot be read on.
    Stream(Error),
    /// A value cannot be represented: the table is to stop.
    Value(ValueError),
}

impl From<Error> for RowError {
    fn from(error: Error) -> Self {
        Self::Stream(error)
    }
}

impl From<ValueError> for RowError {
    fn from(error: ValueError) -> Self {
        Self::Value(error)
    }
}

/// A change of one row.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RowChange<'a> {
    /// A new row.
    Insert(Tuple<'a>),
    /// A changed row, with its old one or the old key where that was sent.
    Update(Option<Old<'a>>, Tuple<'a>),
    /// A removed row.
    Delete(Old<'a>),
}

impl RowChange<'_> {
    /// How many numbers of the total order the change takes: two for an update that brings its
    /// old row, whether or not it turns out to move the key. So numbers depend on the log alone,
    /// not on which tables are captured, nor on what the catalog says of their keys today.
    pub(crate) fn numbers(&self) -> u64 {
        match self {
            Self::Update(Some(_), _) => 2,
            _ => 1,
        }
    }
}

/// What to make of values that a row leaves out because they did not change.
#[derive(Debug, Clone, Copy)]
enum Lacking<'a> {
    /// The row should be whole.
    Nothing,
    /// They are marked absent.
    Absent,
    /// They are taken from the whole old row.
    Taken(Tuple<'a>),
}

/// The transaction that a row belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Transaction {
    /// Its number.
    pub(crate) xid: u32,
    /// Where its commit record begins.
    pub(crate) commit_lsn: u64,
    /// Microseconds since the Unix epoch.
    pub(crate) commit_time: i64,
    /// The first number that it takes.
    pub(crate) first_seq: u64,
    /// Whether it is known from before the start.
    pub(crate) known: bool,
}

/// Rows of one table version under construction.
#[derive(Debug)]
pub(crate) struct Rows {
    version: Arc<TableVersion>,
    columns: Vec<Appender>,
    /// By column, the rows in which it was not sent.
    absent: Vec<Vec<u32>>,
    before: Option<Before>,
    ops: Vec<u8>,
    seq: Vec<u64>,
    offset: Vec<u64>,
    transactions: Vec<TransactionRun>,
    bytes: usize,
}

/// Old rows beside the new ones; begun with the first update.
#[derive(Debug)]
struct Before {
    columns: Vec<Appender>,
    rows: usize,
}

impl Rows {
    /// No rows yet, with room for `capacity` of them.
    pub(crate) fn new(version: &Arc<TableVersion>, capacity: usize) -> Self {
        Self {
            columns: appenders(version, capacity),
            absent: vec![Vec::new(); version.types.len()],
            before: None,
            ops: Vec::with_capacity(capacity),
            seq: Vec::with_capacity(capacity),
            offset: Vec::with_capacity(capacity),
            transactions: Vec::new(),
            bytes: 0,
            version: Arc::clone(version),
        }
    }

    /// Rows so far.
    pub(crate) fn len(&self) -> usize {
        self.ops.len()
    }

    /// Bytes in memory, rather more than less: as many as the values had on the wire, and each
    /// row's own.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends the rows of a change whose last number is `seq`.
    ///
    /// # Errors
    /// Nothing is appended then.
    pub(crate) fn append(
        &mut self,
        version: &TableVersion,
        change: RowChange<'_>,
        transaction: Transaction,
        seq: u64,
        offset: u64,
    ) -> Result<(), RowError> {
        let rows = self.len();
        let result = self.append_change(version, change, seq, offset);
        if result.is_err() {
            self.ops.truncate(rows);
            self.seq.truncate(rows);
            self.offset.truncate(rows);
            return result;
        }
        let end = u32::try_from(self.len()).unwrap_or(u32::MAX);
        match self.transactions.last_mut() {
            Some(run) if run.commit_offset == transaction.commit_lsn => run.end = end,
            _ => self.transactions.push(TransactionRun {
                end,
                id: TransactionId::Number(u64::from(transaction.xid)),
                commit_offset: transaction.commit_lsn,
                commit_time: transaction.commit_time,
                first_seq: transaction.first_seq,
            }),
        }
        Ok(())
    }

    fn append_change(
        &mut self,
        version: &TableVersion,
        change: RowChange<'_>,
        seq: u64,
        offset: u64,
    ) -> Result<(), RowError> {
        match change {
            RowChange::Insert(new) => {
                self.append_row(version, new, Lacking::Nothing)?;
                self.end_row(Op::Insert, seq, offset);
            }
            RowChange::Delete(old) => {
                self.append_row(version, old.tuple(), Lacking::Nothing)?;
                self.end_row(Op::Delete, seq, offset);
            }
            RowChange::Update(None, new) => {
                self.append_row(version, new, Lacking::Absent)?;
                self.end_row(Op::Update, seq, offset);
            }
            RowChange::Update(Some(old), new) => {
                let lacking = match old {
                    Old::Key(_) => Lacking::Absent,
                    Old::Full(whole) => Lacking::Taken(whole),
                };
                if version.moves(old.tuple(), new)? {
                    self.append_row(version, old.tuple(), Lacking::Nothing)?;
                    self.end_row(Op::MoveOut, seq - 1, offset);
                    self.append_row(version, new, lacking)?;
                    self.end_row(Op::MoveIn, seq, offset);
                } else {
                    self.append_row(version, new, lacking)?;
                    if let Old::Full(old) = old
                        && version.schema.identity == Identity::Full
                    {
                        self.append_before(version, old)?;
                    }
                    self.end_row(Op::Update, seq, offset);
                }
            }
        }
        Ok(())
    }

    fn end_row(&mut self, op: Op, seq: u64, offset: u64) {
        self.ops.push(op.code());
        self.seq.push(seq);
        self.offset.push(offset);
    }

    #[inline]
    fn append_row(
        &mut self,
        version: &TableVersion,
        row: Tuple<'_>,
        lacking: Lacking<'_>,
    ) -> Result<(), RowError> {
        version.check_width(row)?;
        let mut old = match lacking {
            Lacking::Taken(whole) => {
                version.check_width(whole)?;
                Some(whole.fields())
            }
            Lacking::Absent | Lacking::Nothing => None,
        };
        for (field, place) in zip(row.fields(), &version.fields) {
            let mut field = field?;
            if let Some(old) = old.as_mut().and_then(Iterator::next) {
                let old = old?;
                if field == Field::Unchanged {
                    field = old;
                }
            }
            let Some(index) = place.column else {
                continue;
            };
            let column = &mut self.columns[index];
            match field {
                Field::Text(text) => column.append_text(text)?,
                Field::Binary(bytes) => column.append_binary(bytes)?,
                Field::Null => column.append_null(),
                Field::Unchanged if matches!(lacking, Lacking::Nothing) => {
                    return Err(ValueError::Missing.into());
                }
                Field::Unchanged => {
                    column.append_null();
                    self.absent[index].push(u32::try_from(self.ops.len()).unwrap_or(u32::MAX));
                }
            }
        }
        for &index in &version.unsent {
            self.columns[index].append_null();
        }
        self.bytes += row.bytes() + version.width;
        if self.before.is_some() {
            self.bytes += version.width;
        }
        Ok(())
    }

    fn append_before(&mut self, version: &TableVersion, old: Tuple<'_>) -> Result<(), RowError> {
        let rows = self.ops.len();
        let before = self.before.get_or_insert_with(|| Before {
            columns: appenders(version, 0),
            rows: 0,
        });
        before.pad(rows);
        for (field, place) in zip(old.fields(), &version.fields) {
            let field = field?;
            let Some(index) = place.column else {
                continue;
            };
            let column = &mut before.columns[index];
            match field {
                Field::Text(text) => column.append_text(text)?,
                Field::Binary(bytes) => column.append_binary(bytes)?,
                Field::Null => column.append_null(),
                Field::Unchanged => return Err(ValueError::Missing.into()),
            }
        }
        for &index in &version.unsent {
            before.columns[index].append_null();
        }
        before.rows += 1;
        self.bytes += old.bytes();
        Ok(())
    }

    /// The rows as a batch; `None` if there is none.
    ///
    /// # Errors
    /// `Internal`, when schema and types are not the same.
    pub(crate) fn finish(mut self) -> Result<Option<ChangeBatch>> {
        let rows = self.len();
        if rows == 0 {
            return Ok(None);
        }
        let schema = &self.version.schema;
        let before = match self.before.as_mut() {
            None => None,
            Some(before) => {
                before.pad(rows);
                Some(record_batch(schema, &mut before.columns, rows)?)
            }
        };
        let absent = if self.absent.iter().all(Vec::is_empty) {
            Vec::new()
        } else {
            self.absent.iter().map(|list| bitmap(list, rows)).collect()
        };
        Ok(Some(ChangeBatch {
            rows: record_batch(schema, &mut self.columns, rows)?,
            table: Arc::clone(schema),
            ops: self.ops.into(),
            seq: self.seq.into(),
            offset: self.offset.into(),
            absent,
            before,
            transactions: self.transactions,
        }))
    }
}

impl Before {
    fn pad(&mut self, rows: usize) {
        while self.rows < rows {
            for column in &mut self.columns {
                column.append_null();
            }
            self.rows += 1;
        }
    }
}

fn appenders(version: &TableVersion, capacity: usize) -> Vec<Appender> {
    version
        .types
        .iter()
        .map(|column| Appender::new(column, capacity))
        .collect()
}

/// A batch of the first `rows` rows of the columns.
pub(crate) fn record_batch(
    schema: &TableSchema,
    columns: &mut [Appender],
    rows: usize,
) -> Result<RecordBatch> {
    RecordBatch::try_new_with_options(
        Arc::clone(schema.arrow()),
        columns
            .iter_mut()
            .map(|column| column.finish(rows))
            .collect(),
        &RecordBatchOptions::new().with_row_count(Some(rows)),
    )
    .map_err(|error| {
        Error::internal(format!(
            "the columns of {} are not its schema's",
            schema.name
        ))
        .for_table(schema.id)
        .caused_by(error)
    })
}

fn bitmap(set: &[u32], rows: usize) -> Option<BooleanBuffer> {
    if set.is_empty() {
        return None;
    }
    let mut bits = BooleanBufferBuilder::new(rows);
    bits.append_n(rows, false);
    for &row in set {
        // A refused row may be listed, beyond the end.
        if (row as usize) < rows {
            bits.set_bit(row as usize, true);
        }
    }
    Some(bits.finish())
}
