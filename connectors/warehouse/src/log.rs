//! Rows of a change log (mode `append`): the source's columns and, beside them, what happened.
//!
//! | column | type | holds |
//! |---|---|---|
//! | `_cdc_op` | VARCHAR | `read`, `insert`, `update`, `delete`, `truncate` |
//! | `_cdc_seq` | UBIGINT | total order over all tables; the same for all rows of one copy |
//! | `_cdc_commit_time` | TIMESTAMPTZ | when the source committed it; NULL for `read` |
//! | `_cdc_transaction` | VARCHAR | the source's transaction; NULL for `read` and `truncate` |
//! | `_cdc_absent` | VARCHAR[] | columns that the source did not send, as their value did not change; NULL: none |
//!
//! A `delete` holds the old row as far as the source sends it: its key, or all of it where the
//! source sends whole old rows. A changed key is a `delete` and an `insert`, one `_cdc_seq` apart.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, ListBuilder, RecordBatch, StringArray, StringBuilder, TimestampMicrosecondArray,
    UInt64Array,
};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Field, Schema};
use cdc_api::{ChangeBatch, Error, Result};

const OP: &str = "_cdc_op";
pub(crate) const SEQ: &str = "_cdc_seq";
const COMMIT_TIME: &str = "_cdc_commit_time";
const TRANSACTION: &str = "_cdc_transaction";
const ABSENT: &str = "_cdc_absent";

/// Our columns: names and types.
pub(crate) fn columns() -> Vec<(String, String)> {
    [
        (OP, "VARCHAR"),
        (SEQ, "UBIGINT"),
        (COMMIT_TIME, "TIMESTAMP WITH TIME ZONE"),
        (TRANSACTION, "VARCHAR"),
        (ABSENT, "VARCHAR[]"),
    ]
    .into_iter()
    .map(|(name, sql_type)| (name.to_owned(), sql_type.to_owned()))
    .collect()
}

fn fields() -> Vec<Field> {
    let time = DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some("UTC".into()));
    vec![
        Field::new(OP, DataType::Utf8, true),
        Field::new(SEQ, DataType::UInt64, true),
        Field::new(COMMIT_TIME, time, true),
        Field::new(TRANSACTION, DataType::Utf8, true),
        Field::new(
            ABSENT,
            DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true))),
            true,
        ),
    ]
}

/// The log's rows of a batch whose columns are laid out already.
pub(crate) fn rows(
    batch: &ChangeBatch,
    stored: RecordBatch,
    absent: &[Option<BooleanBuffer>],
) -> Result<RecordBatch> {
    let count = batch.len();
    let ops: StringArray = (0..count).map(|row| Some(batch.op(row).name())).collect();
    let mut times = TimestampMicrosecondArray::builder(count);
    let mut transactions = StringBuilder::new();
    let mut row = 0;
    for run in &batch.transactions {
        let id = run.id.to_string();
        while row < (run.end as usize).min(count) {
            times.append_value(run.commit_time);
            transactions.append_value(&id);
            row += 1;
        }
    }
    for _ in row..count {
        times.append_null();
        transactions.append_null();
    }
    let schema = stored.schema();
    let mut names = ListBuilder::new(StringBuilder::new());
    for row in 0..count {
        let mut any = false;
        for (field, bits) in schema.fields().iter().zip(absent) {
            if bits.as_ref().is_some_and(|bits| bits.value(row)) {
                names.values().append_value(field.name());
                any = true;
            }
        }
        names.append(any);
    }
    beside(
        stored,
        vec![
            Arc::new(ops),
            Arc::new(UInt64Array::new(batch.seq.clone(), None)),
            Arc::new(times.finish().with_timezone("UTC")),
            Arc::new(transactions.finish()),
            Arc::new(names.finish()),
        ],
    )
}

/// The log's one row of a truncate; the source's columns are left out, and so NULL.
pub(crate) fn truncate(seq: u64, commit_time: i64) -> Result<RecordBatch> {
    let mut names = ListBuilder::new(StringBuilder::new());
    names.append(false);
    beside(
        RecordBatch::new_empty(Arc::new(Schema::empty())),
        vec![
            Arc::new(StringArray::from(vec!["truncate"])),
            Arc::new(UInt64Array::from(vec![seq])),
            Arc::new(TimestampMicrosecondArray::from(vec![commit_time]).with_timezone("UTC")),
            Arc::new(StringArray::from(vec![None::<&str>])),
            Arc::new(names.finish()),
        ],
    )
}

fn beside(stored: RecordBatch, ours: Vec<ArrayRef>) -> Result<RecordBatch> {
    let mut all: Vec<_> = stored.schema().fields().iter().cloned().collect();
    all.extend(fields().into_iter().map(Arc::new));
    let mut columns = stored.columns().to_vec();
    columns.extend(ours);
    RecordBatch::try_new(Arc::new(Schema::new(all)), columns)
        .map_err(|error| Error::internal("rows of the log do not fit").caused_by(error))
}
