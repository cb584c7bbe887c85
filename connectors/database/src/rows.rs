//! Rows of one table under construction, column by column.
//!
//! Invariants: every column, op, `seq` and offset of [`Rows`] has [`Rows::len`] entries that count;
//! what a refused change left behind in the columns beyond that is cut off, so nothing may be appended
//! after one. How a row is read is the source's; limits are those of [`batches`](crate::batches).

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanBufferBuilder, RecordBatch, RecordBatchOptions};
use arrow::buffer::BooleanBuffer;
use cdc_api::{ChangeBatch, Error, Op, Result, TableSchema, TransactionRun};

/// A column under construction.
pub trait Column {
    /// Appends NULL.
    fn append_null(&mut self);

    /// The first `rows` values, and nothing of what was appended beyond them.
    fn finish(&mut self, rows: usize) -> ArrayRef;
}

/// Rows of one version of a table under construction.
#[derive(Debug)]
pub struct Rows<C> {
    schema: Arc<TableSchema>,
    columns: Vec<C>,
    /// By column, the rows in which it was not sent.
    absent: Vec<Vec<u32>>,
    before: Option<Before<C>>,
    ops: Vec<u8>,
    seq: Vec<u64>,
    offset: Vec<u64>,
    transactions: Vec<TransactionRun>,
    bytes: usize,
}

/// Old rows beside the new ones; begun with the first update.
#[derive(Debug)]
struct Before<C> {
    columns: Vec<C>,
    rows: usize,
}

/// Marks the values of the next row that were not sent.
#[derive(Debug)]
pub struct Absent<'a> {
    columns: &'a mut [Vec<u32>],
    row: u32,
}

impl Absent<'_> {
    /// The column was not sent; it needs a NULL in its place.
    #[inline]
    pub fn mark(&mut self, column: usize) {
        self.columns[column].push(self.row);
    }
}

impl<C: Column> Rows<C> {
    /// No rows yet of the table `schema`, with its empty columns, and room for `capacity` of them.
    pub fn new(schema: &Arc<TableSchema>, columns: Vec<C>, capacity: usize) -> Self {
        Self {
            absent: vec![Vec::new(); columns.len()],
            columns,
            before: None,
            ops: Vec::with_capacity(capacity),
            seq: Vec::with_capacity(capacity),
            offset: Vec::with_capacity(capacity),
            transactions: Vec::new(),
            bytes: 0,
            schema: Arc::clone(schema),
        }
    }

    /// Rows so far.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Bytes in memory, rather more than less: as many as the values had in the log, and each
    /// row's own.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends the rows of one change, of the transaction that commits at `commit_offset` and is
    /// `run` (whose end does not count).
    ///
    /// # Errors
    /// Of `change`; no row of it counts then.
    #[inline]
    pub fn append<E>(
        &mut self,
        commit_offset: u64,
        run: impl FnOnce() -> TransactionRun,
        change: impl FnOnce(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        let rows = self.len();
        let result = change(self);
        if result.is_err() {
            self.ops.truncate(rows);
            self.seq.truncate(rows);
            self.offset.truncate(rows);
            return result;
        }
        let end = u32::try_from(self.len()).unwrap_or(u32::MAX);
        match self.transactions.last_mut() {
            Some(last) if last.commit_offset == commit_offset => last.end = end,
            _ => self.transactions.push(TransactionRun { end, ..run() }),
        }
        Ok(())
    }

    /// The columns, for the next row's values. Each is to get one.
    #[inline]
    pub fn next_row(&mut self) -> (&mut [C], Absent<'_>) {
        let absent = Absent {
            columns: &mut self.absent,
            row: u32::try_from(self.ops.len()).unwrap_or(u32::MAX),
        };
        (&mut self.columns, absent)
    }

    /// The next row's values are appended: so many bytes, beside `width` that each row has.
    #[inline]
    pub fn add_bytes(&mut self, values: usize, width: usize) {
        self.bytes += values + width;
        if self.before.is_some() {
            self.bytes += width;
        }
    }

    /// The columns for the old values of the next row, made where this is the first to have some.
    /// Each is to get one.
    #[inline]
    pub fn old_row(&mut self, columns: impl FnOnce() -> Vec<C>) -> &mut [C] {
        let before = self.before.get_or_insert_with(|| Before {
            columns: columns(),
            rows: 0,
        });
        before.pad(self.ops.len());
        before.rows += 1;
        &mut before.columns
    }

    /// The old row's values are appended: so many bytes.
    #[inline]
    pub fn add_old_bytes(&mut self, values: usize) {
        self.bytes += values;
    }

    /// The row is whole.
    #[inline]
    pub fn end_row(&mut self, op: Op, seq: u64, offset: u64) {
        self.ops.push(op.code());
        self.seq.push(seq);
        self.offset.push(offset);
    }

    /// The rows as a batch; `None` if there is none.
    ///
    /// # Errors
    /// `Internal`, when schema and columns are not the same.
    pub fn finish(mut self) -> Result<Option<ChangeBatch>> {
        let rows = self.len();
        if rows == 0 {
            return Ok(None);
        }
        let schema = &self.schema;
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
            table: self.schema,
            ops: self.ops.into(),
            seq: self.seq.into(),
            offset: self.offset.into(),
            absent,
            before,
            transactions: self.transactions,
        }))
    }
}

impl<C: Column> Before<C> {
    fn pad(&mut self, rows: usize) {
        while self.rows < rows {
            for column in &mut self.columns {
                column.append_null();
            }
            self.rows += 1;
        }
    }
}

/// A batch of the first `rows` rows of the columns.
///
/// # Errors
/// `Internal`, when schema and columns are not the same.
pub fn record_batch<C: Column>(
    schema: &TableSchema,
    columns: &mut [C],
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

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::{DataType, Int64Type};
    use cdc_api::{BatchLimits, Identity, TableId, TableName, TransactionId};

    use super::*;
    use crate::batches::Batches;

    #[derive(Debug, Default)]
    struct Numbers(Vec<Option<i64>>);

    impl Column for Numbers {
        fn append_null(&mut self) {
            self.0.push(None);
        }

        fn finish(&mut self, rows: usize) -> ArrayRef {
            Arc::new(Int64Array::from(self.0[..rows].to_vec()))
        }
    }

    fn rows(capacity: usize) -> Rows<Numbers> {
        let column = |name| cdc_api::Column::new(name, DataType::Int64, "bigint");
        let schema = TableSchema::new(
            TableId(1),
            TableName::new("public", "t"),
            1,
            vec![column("a"), column("b")],
            vec![0],
            Identity::Key,
        );
        let columns = vec![Numbers::default(), Numbers::default()];
        Rows::new(&Arc::new(schema), columns, capacity)
    }

    fn run() -> TransactionRun {
        TransactionRun {
            end: 0,
            id: TransactionId::Number(7),
            commit_offset: 70,
            commit_time: 0,
            first_seq: 1,
        }
    }

    /// A row of `a`, whose `b` was not sent.
    fn append(rows: &mut Rows<Numbers>, a: i64, seq: u64) {
        let (columns, mut absent) = rows.next_row();
        columns[0].0.push(Some(a));
        columns[1].append_null();
        absent.mark(1);
        rows.add_bytes(8, 17);
        rows.end_row(Op::Update, seq, seq * 10);
    }

    #[test]
    fn what_a_refused_change_left_behind_is_cut_off() {
        let mut rows = rows(0);
        let taken: Result<(), ()> = rows.append(70, run, |rows| {
            append(rows, 1, 1);
            Ok(())
        });
        assert_eq!((taken, rows.len(), rows.bytes()), (Ok(()), 1, 25));
        let refused = rows.append(70, run, |rows| {
            append(rows, 2, 2);
            rows.next_row().0[0].0.push(Some(3));
            Err("no such value")
        });
        assert_eq!((refused, rows.len()), (Err("no such value"), 1));
        let batch = rows.finish().expect("sound").expect("rows");
        assert_eq!((batch.len(), &batch.seq[..]), (1, &[1][..]));
        assert_eq!(
            batch.rows.column(0).as_primitive::<Int64Type>().values(),
            &[1]
        );
        assert!(batch.absent[0].is_none());
        assert!(batch.absent[1].as_ref().is_some_and(|bits| bits.value(0)));
        assert_eq!(batch.transactions, [TransactionRun { end: 1, ..run() }]);
    }

    #[test]
    fn old_rows_stand_beside_the_rows_that_have_them() {
        let mut rows = rows(0);
        let taken: Result<(), ()> = rows.append(70, run, |rows| {
            append(rows, 1, 1);
            append(rows, 2, 2);
            for (column, value) in rows
                .old_row(|| vec![Numbers::default(), Numbers::default()])
                .iter_mut()
                .zip([8, 9])
            {
                column.0.push(Some(value));
            }
            append(rows, 3, 3);
            append(rows, 4, 4);
            Ok(())
        });
        taken.expect("no value is refused");
        let batch = rows.finish().expect("sound").expect("rows");
        let before = batch.before.expect("old rows");
        let old = before.column(1).as_primitive::<Int64Type>();
        assert_eq!(old.iter().collect::<Vec<_>>(), [None, None, Some(9), None]);
    }

    #[test]
    fn batches_come_in_the_order_of_their_first_rows_and_say_when_they_are_full() {
        let limits = BatchLimits {
            rows: 4,
            ..BatchLimits::default()
        };
        let mut batches = Batches::new(limits);
        let mut seq = 0;
        let mut put = |batches: &mut Batches<Numbers>, table| {
            seq += 1;
            let taken: Result<(), ()> = batches.append(table, rows, |rows| {
                rows.append(70, run, |rows| {
                    append(rows, 1, seq);
                    Ok(())
                })
            });
            taken.expect("no value is refused");
        };
        put(&mut batches, 3);
        assert!(!batches.half_full());
        for _ in 0..4 {
            put(&mut batches, 0);
        }
        assert!(batches.half_full() && batches.too_many_rows(0) && !batches.too_many_rows(3));
        put(&mut batches, 1);
        let one = batches.close(0).expect("sound").expect("rows");
        assert_eq!(&one.seq[..], &[2, 3, 4, 5]);
        let rest = batches.close_all().expect("sound");
        let seqs: Vec<_> = rest.iter().map(|batch| batch.seq[0]).collect();
        assert_eq!(seqs, [1, 6]);
        assert!(!batches.half_full());
    }
}
