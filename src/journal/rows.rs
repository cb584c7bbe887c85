//! The body of a frame of rows.
//!
//! One Arrow IPC record batch holds everything that is per row: the table's columns, the old
//! values, a Boolean column for each column with absent values, the ops, and the steps of `seq`
//! and `offset` from row to row (steps are small and alike, so they pack to nothing). After the
//! batch's buffers come its IPC metadata, then what is not per row (transactions, which columns
//! have absent values), then the lengths of the two parts before. The buffers come first so that
//! they lie aligned and are read without copying.
//!
//! Invariant: every part of a [`ChangeBatch`] comes back equal. The Arrow schema is not stored: it
//! is the table's, at the version that the frame's header names.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, UInt8Array,
    UInt64Array,
};
use arrow::buffer::{BooleanBuffer, Buffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, UInt8Type, UInt64Type};
use arrow::error::ArrowError;
use arrow::ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteOptions};
use cdc_api::{ChangeBatch, Error, Result, TableSchema, TransactionId, TransactionRun};

use super::varint;

/// Bytes of the two lengths at the end.
const LENGTHS: usize = 8;

fn arrow_failed(error: ArrowError) -> Error {
    // Arrow's own words may quote values.
    let _ = error;
    Error::internal("a batch does not fit the Arrow format")
}

fn malformed() -> Error {
    Error::internal("a sound frame of rows is malformed")
}

/// Refuses a batch whose parts do not fit together.
pub(super) fn validate(batch: &ChangeBatch) -> Result<()> {
    let rows = batch.ops.len();
    let fits = |values: &RecordBatch| {
        let arrow = batch.table.arrow();
        values.num_rows() == rows
            && (Arc::ptr_eq(values.schema_ref(), arrow)
                || values.num_columns() == arrow.fields().len()
                    && values
                        .columns()
                        .iter()
                        .zip(arrow.fields())
                        .all(|(column, field)| column.data_type() == field.data_type()))
    };
    let sound = fits(&batch.rows)
        && batch.before.as_ref().is_none_or(fits)
        && batch.seq.len() == rows
        && batch.offset.len() == rows
        && (batch.absent.is_empty() || batch.absent.len() == batch.rows.num_columns())
        && batch.absent.iter().flatten().all(|bits| bits.len() == rows)
        && batch
            .transactions
            .last()
            .is_none_or(|run| run.end as usize == rows)
        && u32::try_from(rows).is_ok();
    if sound {
        Ok(())
    } else {
        Err(Error::internal(format!(
            "a batch of table {} does not fit together",
            batch.table.name
        )))
    }
}

/// Encodes a valid batch.
pub(super) fn encode(batch: &ChangeBatch) -> Result<Vec<u8>> {
    let rows = batch.len();
    let absent: Vec<usize> = batch
        .absent
        .iter()
        .enumerate()
        .filter(|(_, bits)| bits.is_some())
        .map(|(column, _)| column)
        .collect();
    let mut columns: Vec<ArrayRef> = batch.rows.columns().to_vec();
    if let Some(before) = &batch.before {
        columns.extend_from_slice(before.columns());
    }
    for bits in batch.absent.iter().flatten() {
        columns.push(Arc::new(BooleanArray::new(bits.clone(), None)));
    }
    columns.push(Arc::new(UInt8Array::new(batch.ops.clone(), None)));
    columns.push(Arc::new(steps(&batch.seq)));
    columns.push(Arc::new(steps(&batch.offset)));
    let schema = layout(&batch.table, batch.before.is_some(), absent.len());
    let all = RecordBatch::try_new(Arc::new(schema), columns).map_err(arrow_failed)?;
    let (_, encoded) = IpcDataGenerator::default()
        .encode(
            &all,
            &mut DictionaryTracker::new(false),
            &IpcWriteOptions::default(),
            &mut Default::default(),
        )
        .map_err(arrow_failed)?;

    let mut body = encoded.arrow_data;
    let too_long = |_| Error::data("a batch of more than 4 GiB does not fit into a frame");
    let buffers = u32::try_from(body.len()).map_err(too_long)?;
    let metadata = u32::try_from(encoded.ipc_message.len()).map_err(too_long)?;
    body.extend_from_slice(&encoded.ipc_message);
    varint::put(&mut body, rows as u64);
    varint::put(&mut body, u64::from(batch.before.is_some()));
    varint::put(&mut body, batch.absent.len() as u64);
    varint::put(&mut body, absent.len() as u64);
    for column in absent {
        varint::put(&mut body, column as u64);
    }
    put_transactions(&mut body, &batch.transactions);
    body.extend_from_slice(&buffers.to_le_bytes());
    body.extend_from_slice(&metadata.to_le_bytes());
    Ok(body)
}

/// Decodes what [`encode`] made of a batch of `table`.
pub(super) fn decode(body: &Buffer, table: &Arc<TableSchema>) -> Result<ChangeBatch> {
    let lengths = body.len().checked_sub(LENGTHS).ok_or_else(malformed)?;
    let length_at = |at: usize| {
        let mut word = [0; 4];
        word.copy_from_slice(&body[at..at + 4]);
        u32::from_le_bytes(word) as usize
    };
    let buffers = length_at(lengths);
    let metadata_end = buffers + length_at(lengths + 4);
    if metadata_end > lengths {
        return Err(malformed());
    }
    let mut rest = &body[metadata_end..lengths];
    let mut number = || varint::take(&mut rest).ok_or_else(malformed);
    let rows = number()? as usize;
    let has_before = number()? != 0;
    let absent_columns = number()? as usize;
    let absent = (0..number()?)
        .map(|_| number())
        .collect::<Result<Vec<u64>>>()?;
    let transactions = take_transactions(&mut rest).ok_or_else(malformed)?;

    let width = table.columns.len();
    let message =
        arrow::ipc::root_as_message(&body[buffers..metadata_end]).map_err(|_| malformed())?;
    let all = arrow::ipc::reader::read_record_batch(
        &body.slice_with_length(0, buffers),
        message.header_as_record_batch().ok_or_else(malformed)?,
        Arc::new(layout(table, has_before, absent.len())),
        &HashMap::new(),
        None,
        &message.version(),
    )
    .map_err(arrow_failed)?;
    let mut columns = all.columns().iter();
    let mut values = || -> Result<RecordBatch> {
        RecordBatch::try_new_with_options(
            Arc::clone(table.arrow()),
            columns.by_ref().take(width).cloned().collect(),
            &RecordBatchOptions::new().with_row_count(Some(rows)),
        )
        .map_err(arrow_failed)
    };
    let row_values = values()?;
    let before = has_before.then(&mut values).transpose()?;
    let mut bits: Vec<Option<BooleanBuffer>> = vec![None; absent_columns];
    for column in absent {
        let place = bits.get_mut(column as usize).ok_or_else(malformed)?;
        *place = columns
            .next()
            .map(|column| column.as_boolean().values().clone());
    }
    let mut last = || columns.next().ok_or_else(malformed);
    Ok(ChangeBatch {
        table: Arc::clone(table),
        rows: row_values,
        ops: last()?.as_primitive::<UInt8Type>().values().clone(),
        seq: sums(last()?.as_primitive::<UInt64Type>()),
        offset: sums(last()?.as_primitive::<UInt64Type>()),
        absent: bits,
        before,
        transactions,
    })
}

/// The Arrow schema of a frame.
fn layout(table: &TableSchema, before: bool, absent: usize) -> Schema {
    let of_table = table.arrow().fields();
    let mut fields: Vec<FieldRef> = Vec::with_capacity(of_table.len() * 2 + absent + 3);
    fields.extend(of_table.iter().cloned());
    if before {
        fields.extend(of_table.iter().cloned());
    }
    let field = |name: &str, kind| Arc::new(Field::new(name, kind, false));
    fields.extend((0..absent).map(|_| field("absent", DataType::Boolean)));
    fields.push(field("op", DataType::UInt8));
    fields.push(field("seq", DataType::UInt64));
    fields.push(field("offset", DataType::UInt64));
    Schema::new(fields)
}

fn steps(values: &ScalarBuffer<u64>) -> UInt64Array {
    let mut last = 0;
    values
        .iter()
        .map(|&value| {
            let step = value.wrapping_sub(last);
            last = value;
            step
        })
        .collect::<Vec<_>>()
        .into()
}

fn sums(steps: &UInt64Array) -> ScalarBuffer<u64> {
    let mut sum = 0u64;
    steps
        .values()
        .iter()
        .map(|&step| {
            sum = sum.wrapping_add(step);
            sum
        })
        .collect()
}

fn put_transactions(out: &mut Vec<u8>, runs: &[TransactionRun]) {
    varint::put(out, runs.len() as u64);
    let (mut end, mut offset, mut time) = (0, 0u64, 0i64);
    for run in runs {
        varint::put_signed(out, i64::from(run.end) - end);
        match &run.id {
            TransactionId::Number(number) => {
                varint::put(out, 0);
                varint::put(out, *number);
            }
            TransactionId::Text(text) => {
                varint::put(out, text.len() as u64 + 1);
                out.extend_from_slice(text.as_bytes());
            }
        }
        varint::put_signed(out, run.commit_offset.wrapping_sub(offset).cast_signed());
        varint::put_signed(out, run.commit_time.wrapping_sub(time));
        (end, offset, time) = (i64::from(run.end), run.commit_offset, run.commit_time);
    }
    let mut seq = 0u64;
    for run in runs {
        varint::put_signed(out, run.first_seq.wrapping_sub(seq).cast_signed());
        seq = run.first_seq;
    }
}

fn take_transactions(bytes: &mut &[u8]) -> Option<Vec<TransactionRun>> {
    let count = varint::take(bytes)? as usize;
    // Each run takes four bytes at least: a false count reserves no memory.
    let mut runs = Vec::with_capacity(count.min(bytes.len() / 4));
    let (mut end, mut offset, mut time) = (0i64, 0u64, 0i64);
    for _ in 0..count {
        end = end.checked_add(varint::take_signed(bytes)?)?;
        let id = match varint::take(bytes)? {
            0 => TransactionId::Number(varint::take(bytes)?),
            length => {
                let (text, rest) = bytes.split_at_checked(length as usize - 1)?;
                *bytes = rest;
                TransactionId::Text(std::str::from_utf8(text).ok()?.into())
            }
        };
        offset = offset.wrapping_add(varint::take_signed(bytes)?.cast_unsigned());
        time = time.wrapping_add(varint::take_signed(bytes)?);
        runs.push(TransactionRun {
            end: u32::try_from(end).ok()?,
            id,
            commit_offset: offset,
            commit_time: time,
            first_seq: 0,
        });
    }
    // Frames of earlier versions end here.
    let mut seq = 0u64;
    for run in &mut runs {
        if bytes.is_empty() {
            break;
        }
        seq = seq.wrapping_add(varint::take_signed(bytes)?.cast_unsigned());
        run.first_seq = seq;
    }
    Some(runs)
}
