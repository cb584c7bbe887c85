//! Rows of a table without a key, as a multiset: whole rows in, whole rows out, duplicates
//! counted.
//!
//! Invariant: rows are the same if every value is the same bit by bit. Within one fold an insert
//! and a delete of the same row cancel out; what remains is rows to add and, with a count each,
//! rows that the target must hold.

use arrow::array::{ArrayRef, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{interleave, take};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, Rows, SortField};
use cdc_api::Op;
use hashbrown::HashMap;

use crate::fold::Staged;

/// What a fold of whole rows comes to.
#[derive(Debug)]
pub(crate) struct Counted {
    /// Rows to add, duplicates repeated.
    pub(crate) added: RecordBatch,
    /// Rows to add that are deleted at once; only where deleted rows are kept.
    pub(crate) added_deleted: RecordBatch,
    /// Distinct rows to remove from the target.
    pub(crate) removed: RecordBatch,
    /// How many of each.
    pub(crate) counts: Int64Array,
}

#[derive(Default)]
struct Tally {
    place: (usize, usize),
    added: usize,
    removed: usize,
}

/// Counts rows of batches of one shape, none of them empty.
pub(crate) fn count(batches: &[Staged]) -> Result<Counted, ArrowError> {
    let Some(first) = batches.first() else {
        return Err(ArrowError::InvalidArgumentError(
            "nothing to count".to_owned(),
        ));
    };
    let schema = first.rows.schema();
    let batches: Vec<(RecordBatch, &Staged)> = batches
        .iter()
        .map(|batch| Ok((completed(batch)?, batch)))
        .collect::<Result<_, ArrowError>>()?;
    let converter = RowConverter::new(
        schema
            .fields()
            .iter()
            .map(|field| SortField::new(field.data_type().clone()))
            .collect(),
    )?;
    let encoded: Vec<Rows> = batches
        .iter()
        .map(|(rows, _)| converter.convert_columns(rows.columns()))
        .collect::<Result<_, _>>()?;
    let mut index = HashMap::new();
    let mut tallies: Vec<Tally> = Vec::new();
    for (batch_index, ((_, batch), encoded)) in batches.iter().zip(&encoded).enumerate() {
        for row in 0..batch.ops.len() {
            let entry = *index.entry(encoded.row(row)).or_insert(tallies.len());
            if entry == tallies.len() {
                tallies.push(Tally {
                    place: (batch_index, row),
                    ..Tally::default()
                });
            }
            let tally = &mut tallies[entry];
            if batch.op(row).removes() {
                tally.removed += 1;
            } else {
                tally.added += 1;
            }
        }
    }
    let (mut added, mut added_deleted, mut removed, mut counts) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for tally in &tallies {
        let both = tally.added.min(tally.removed);
        added.extend(std::iter::repeat_n(tally.place, tally.added - both));
        added_deleted.extend(std::iter::repeat_n(tally.place, both));
        if tally.removed > both {
            removed.push(tally.place);
            counts.push(i64::try_from(tally.removed - both).unwrap_or(i64::MAX));
        }
    }
    let sources: Vec<&RecordBatch> = batches.iter().map(|(rows, _)| rows).collect();
    Ok(Counted {
        added: pick(&sources, &added)?,
        added_deleted: pick(&sources, &added_deleted)?,
        removed: pick(&sources, &removed)?,
        counts: counts.into(),
    })
}

/// The rows with values that were not sent taken from the row before: the old half of the change.
fn completed(batch: &Staged) -> Result<RecordBatch, ArrowError> {
    if batch
        .absent
        .iter()
        .flatten()
        .all(|bits| bits.count_set_bits() == 0)
    {
        return Ok(batch.rows.clone());
    }
    let columns = batch
        .rows
        .columns()
        .iter()
        .enumerate()
        .map(|(column, values)| {
            let Some(bits) = batch.absent.get(column).and_then(Option::as_ref) else {
                return Ok(values.clone());
            };
            let rows: UInt32Array = (0..batch.ops.len())
                .map(|row| {
                    let from_old = bits.value(row) && row > 0 && batch.op(row) == Op::MoveIn;
                    u32::try_from(if from_old { row - 1 } else { row }).ok()
                })
                .collect();
            take(values, &rows, None)
        })
        .collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(batch.rows.schema(), columns)
}

fn pick(batches: &[&RecordBatch], places: &[(usize, usize)]) -> Result<RecordBatch, ArrowError> {
    let schema = batches[0].schema();
    let columns = (0..schema.fields().len())
        .map(|column| {
            let arrays: Vec<_> = batches
                .iter()
                .map(|batch| batch.column(column).as_ref())
                .collect();
            interleave(&arrays, places)
        })
        .collect::<Result<Vec<ArrayRef>, _>>()?;
    RecordBatch::try_new(schema, columns)
}
