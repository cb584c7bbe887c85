//! Change rows as the lake's files hold them: the table's columns under their own names, then
//! ours.
//!
//! Invariant: every row of a batch becomes one row, in the same order; a value is written as it is
//! or stands in `_cdc_special`, else the whole batch is an error.

mod stored;
mod text;

use std::sync::Arc;

use arrow::array::{
    ArrayRef, DictionaryArray, Int8Array, Int32Array, ListBuilder, MapBuilder, RecordBatch,
    StringArray, StringBuilder, TimestampMicrosecondArray, UInt32Array, UInt64Array,
    new_null_array,
};
use arrow::datatypes::{DataType, Field, Fields, Int8Type, Int32Type, Schema, SchemaRef, TimeUnit};
use cdc_api::{ChangeBatch, Error, Result, TableSchema};

pub(crate) use stored::{store_one, stored_type, widens};

/// Names of our columns begin with it.
pub(crate) const PREFIX: &str = "_cdc_";
/// `read`, `insert`, `update`, `delete` or `truncate`.
pub(crate) const OP: &str = "_cdc_op";
/// The place in the order of all changes.
pub(crate) const SEQ: &str = "_cdc_seq";
/// When the transaction committed; null for existing rows.
pub(crate) const COMMIT_TIME: &str = "_cdc_commit_time";
/// The transaction's name in the source; null for existing rows and truncates.
pub(crate) const TRANSACTION: &str = "_cdc_transaction";
/// The version of the table's shape that the row has.
pub(crate) const SCHEMA_VERSION: &str = "_cdc_schema_version";
/// Columns whose value the source did not send.
pub(crate) const ABSENT: &str = "_cdc_absent";
/// Values that the column's Parquet type has no place for, by column.
pub(crate) const SPECIAL: &str = "_cdc_special";

const OPS: [&str; 5] = ["read", "insert", "update", "delete", "truncate"];

/// The Arrow schema of a table's files.
pub(crate) fn file_schema(shape: &TableSchema) -> SchemaRef {
    let mut fields: Vec<Field> = shape
        .columns
        .iter()
        .map(|column| {
            let data_type = stored_type(&column.data_type, column.extension.as_deref());
            Field::new(&column.name, data_type, true)
        })
        .collect();
    fields.extend([
        Field::new(OP, dictionary(DataType::Int8), false),
        Field::new(SEQ, DataType::UInt64, false),
        Field::new(
            COMMIT_TIME,
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            true,
        ),
        Field::new(TRANSACTION, dictionary(DataType::Int32), true),
        Field::new(SCHEMA_VERSION, DataType::UInt32, false),
        Field::new(ABSENT, DataType::new_list(DataType::Utf8, true), true),
        Field::new(SPECIAL, special_type(), true),
    ]);
    Arc::new(Schema::new(fields))
}

fn dictionary(keys: DataType) -> DataType {
    DataType::Dictionary(Box::new(keys), Box::new(DataType::Utf8))
}

fn special_type() -> DataType {
    let entries = Fields::from(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", DataType::Utf8, true),
    ]);
    DataType::Map(
        Arc::new(Field::new("entries", DataType::Struct(entries), false)),
        false,
    )
}

/// No column of the table has a name that begins as ours do.
pub(crate) fn check_names(shape: &TableSchema) -> Result<()> {
    let clash = shape
        .columns
        .iter()
        .find(|column| column.name.to_ascii_lowercase().starts_with(PREFIX));
    match clash {
        None => Ok(()),
        Some(column) => Err(Error::unsupported(format!(
            "column `{}` of {} has a name that is kept for the lake's own columns",
            column.name, shape.name
        ))
        .hint(format!(
            "rename the column, or leave the table out with `tables: [\"!{}\"]`",
            shape.name
        ))
        .for_table(shape.id)),
    }
}

/// The batch's rows in the table's stored shape, which may be another than the batch's own: a
/// column that the batch has not is NULL, one that the shape has not is left out.
pub(crate) fn encode(
    shape: &TableSchema,
    schema: &SchemaRef,
    batch: &ChangeBatch,
) -> Result<RecordBatch> {
    let rows = batch.len();
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
    let mut sources: Vec<Option<usize>> = Vec::with_capacity(shape.columns.len());
    let mut special = Vec::new();
    for (index, column) in shape.columns.iter().enumerate() {
        let source = source_of(shape, index, &batch.table);
        sources.push(source);
        let target = schema.field(index).data_type();
        let Some(source) = source else {
            columns.push(new_null_array(target, rows));
            continue;
        };
        let from = &batch.table.columns[source];
        let stored = stored::store(batch.rows.column(source), from.extension.as_deref(), target)
            .map_err(|error| {
                error
                    .context(format!(
                        "writing column `{}` of {}",
                        column.name, shape.name
                    ))
                    .for_table(shape.id)
            })?;
        columns.push(stored.values);
        if !stored.special.is_empty() {
            special.push((index, stored.special));
        }
    }
    let (commit_times, transactions) = transaction_columns(batch);
    columns.push(ops(batch));
    columns.push(Arc::new(UInt64Array::new(batch.seq.clone(), None)));
    columns.push(commit_times);
    columns.push(transactions);
    columns.push(Arc::new(UInt32Array::from(vec![shape.version; rows])));
    columns.push(absent(shape, &sources, batch));
    columns.push(special_column(shape, rows, &special)?);
    RecordBatch::try_new(Arc::clone(schema), columns).map_err(|error| {
        Error::data(format!(
            "rows of {} do not have the table's shape",
            shape.name
        ))
        .caused_by(error)
        .hint(format!("cdc snapshot {}", shape.name))
        .for_table(shape.id)
    })
}

/// The row that says that the table was emptied.
pub(crate) fn truncate(
    shape: &TableSchema,
    schema: &SchemaRef,
    seq: u64,
    commit_time: i64,
) -> Result<RecordBatch> {
    let columns = schema
        .fields()
        .iter()
        .map(|field| -> ArrayRef {
            match field.name().as_str() {
                OP => op_column(vec![4]),
                SEQ => Arc::new(UInt64Array::from(vec![seq])),
                COMMIT_TIME => Arc::new(
                    TimestampMicrosecondArray::from(vec![commit_time]).with_timezone("UTC"),
                ),
                SCHEMA_VERSION => Arc::new(UInt32Array::from(vec![shape.version])),
                _ => new_null_array(field.data_type(), 1),
            }
        })
        .collect();
    RecordBatch::try_new(Arc::clone(schema), columns)
        .map_err(|error| Error::internal("a truncate cannot be written").caused_by(error))
}

/// Which column of `from` is column `index` of `shape`.
fn source_of(shape: &TableSchema, index: usize, from: &TableSchema) -> Option<usize> {
    let wanted = &shape.columns[index];
    let same = |column: &cdc_api::Column| match (column.id, wanted.id) {
        (Some(a), Some(b)) => a == b,
        _ => column.name == wanted.name,
    };
    if from.columns.get(index).is_some_and(same) {
        return Some(index);
    }
    from.columns.iter().position(same)
}

fn ops(batch: &ChangeBatch) -> ArrayRef {
    // MoveOut is a delete and MoveIn an insert to a reader of the log.
    const NAMES: [i8; 6] = [0, 1, 2, 3, 3, 1];
    op_column(
        batch
            .ops
            .iter()
            .map(|&code| NAMES.get(usize::from(code)).copied().unwrap_or(0))
            .collect(),
    )
}

fn op_column(codes: Vec<i8>) -> ArrayRef {
    let names = Arc::new(StringArray::from_iter_values(OPS));
    Arc::new(DictionaryArray::<Int8Type>::new(
        Int8Array::from(codes),
        names,
    ))
}

fn transaction_columns(batch: &ChangeBatch) -> (ArrayRef, ArrayRef) {
    let rows = batch.len();
    let mut times = Vec::with_capacity(rows);
    let mut keys = Vec::with_capacity(rows);
    let mut names = StringBuilder::new();
    for (index, run) in batch.transactions.iter().enumerate() {
        names.append_value(run.id.to_string());
        let end = (run.end as usize).min(rows);
        times.resize(end.max(times.len()), Some(run.commit_time));
        keys.resize(end.max(keys.len()), i32::try_from(index).ok());
    }
    times.resize(rows, None);
    keys.resize(rows, None);
    (
        Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC")),
        Arc::new(DictionaryArray::<Int32Type>::new(
            Int32Array::from(keys),
            Arc::new(names.finish()),
        )),
    )
}

fn absent(shape: &TableSchema, sources: &[Option<usize>], batch: &ChangeBatch) -> ArrayRef {
    let rows = batch.len();
    if !batch.has_absent() {
        return new_null_array(&DataType::new_list(DataType::Utf8, true), rows);
    }
    let columns: Vec<_> = sources
        .iter()
        .zip(&shape.columns)
        .filter_map(|(source, column)| {
            let bits = batch.absent.get((*source)?)?.as_ref()?;
            Some((column.name.as_str(), bits))
        })
        .collect();
    let mut builder = ListBuilder::new(StringBuilder::new());
    for row in 0..rows {
        let mut any = false;
        for (name, bits) in &columns {
            if bits.value(row) {
                builder.values().append_value(name);
                any = true;
            }
        }
        builder.append(any);
    }
    Arc::new(builder.finish())
}

fn special_column(
    shape: &TableSchema,
    rows: usize,
    special: &[(usize, Vec<(usize, String)>)],
) -> Result<ArrayRef> {
    if special.is_empty() {
        return Ok(new_null_array(&special_type(), rows));
    }
    let mut by_row: Vec<(usize, usize, &str)> = special
        .iter()
        .flat_map(|(column, values)| {
            values
                .iter()
                .map(|(row, text)| (*row, *column, text.as_str()))
        })
        .collect();
    by_row.sort_unstable();
    let mut values = by_row.into_iter().peekable();
    let names = arrow::array::MapFieldNames {
        entry: "entries".to_owned(),
        key: "key".to_owned(),
        value: "value".to_owned(),
    };
    let mut builder = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for row in 0..rows {
        let mut any = false;
        while let Some((_, column, text)) = values.next_if(|(at, _, _)| *at == row) {
            builder.keys().append_value(&shape.columns[column].name);
            builder.values().append_value(text);
            any = true;
        }
        builder.append(any).map_err(|error| {
            Error::internal("special values cannot be written").caused_by(error)
        })?;
    }
    Ok(Arc::new(builder.finish()))
}

#[cfg(test)]
mod tests;
