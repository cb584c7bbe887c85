//! Folds the changes of keyed rows into one outcome per key, before anything reaches the target.
//!
//! Invariant: values that the source did not send are taken from where they last were: an earlier
//! row of the same fold (also under the key that it moved from), else the row that the target
//! holds under that key before the fold is applied. They are never taken as NULL.

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{interleave, take};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::row::{Row, RowConverter, Rows, SortField};
use cdc_api::Op;
use hashbrown::HashMap;

/// Rows of one table as the target stores them.
#[derive(Debug, Clone)]
pub(crate) struct Staged {
    /// The stored columns.
    pub(crate) rows: RecordBatch,
    /// One op code a row.
    pub(crate) ops: Vec<u8>,
    /// Per stored column, set where the source did not send the value; empty: nowhere.
    pub(crate) absent: Vec<Option<BooleanBuffer>>,
}

impl Staged {
    fn is_absent(&self, column: usize, row: usize) -> bool {
        self.absent
            .get(column)
            .and_then(Option::as_ref)
            .is_some_and(|bits| bits.value(row))
    }

    fn has_absent(&self, row: usize) -> bool {
        self.absent.iter().flatten().any(|bits| bits.value(row))
    }

    /// Bytes of just these rows, also where they are a slice of more.
    pub(crate) fn bytes(&self) -> usize {
        self.rows
            .columns()
            .iter()
            .map(|column| {
                let data = column.to_data();
                data.get_slice_memory_size()
                    .unwrap_or_else(|_| column.get_buffer_memory_size())
            })
            .sum()
    }

    pub(crate) fn op(&self, row: usize) -> Op {
        Op::from_code(self.ops[row]).unwrap_or(Op::Read)
    }
}

/// Which value: batch and row.
type Place = (usize, usize);

/// Where the value of one column is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cell {
    At(Place),
    /// In the row that the target holds under [`Content::base`].
    Base,
}

/// A row's content.
#[derive(Debug, Clone)]
struct Content {
    /// Where values are, but for those that `cells` places elsewhere.
    place: Place,
    /// One per column; `None`: all at `place`.
    cells: Option<Box<[Cell]>>,
    /// The place of the key whose row in the target has the `Base` cells.
    base: Place,
    deleted: bool,
}

impl Content {
    fn whole(place: Place) -> Self {
        Self {
            place,
            cells: None,
            base: place,
            deleted: false,
        }
    }

    fn cell(&self, column: usize) -> Cell {
        self.cells
            .as_ref()
            .map_or(Cell::At(self.place), |cells| cells[column])
    }

    fn needs_base(&self) -> bool {
        self.cells
            .as_ref()
            .is_some_and(|cells| cells.contains(&Cell::Base))
    }
}

/// What a fold knows of a key.
#[derive(Debug, Clone)]
enum Known {
    /// There is no row.
    Gone,
    Row(Content),
}

/// A row that is not whole: the rows and what they lack.
#[derive(Debug)]
pub(crate) struct Partial {
    /// The stored columns; null where absent.
    pub(crate) rows: RecordBatch,
    /// The key columns of the base rows.
    pub(crate) base: Vec<ArrayRef>,
    /// The columns that any row lacks, with a flag per row.
    pub(crate) absent: Vec<(usize, BooleanArray)>,
    /// Whether the row is marked deleted.
    pub(crate) deleted: BooleanArray,
    /// How many rows there must be a base row for: all but those that are deleted anyway.
    pub(crate) required: usize,
}

/// The outcome of a fold.
#[derive(Debug)]
pub(crate) struct Folded {
    /// The keys whose rows in the target are replaced or removed.
    pub(crate) keys: Vec<ArrayRef>,
    /// Whole rows to insert.
    pub(crate) rows: RecordBatch,
    /// Which of them are marked deleted.
    pub(crate) deleted: BooleanArray,
    /// Rows to insert after taking what they lack from the target.
    pub(crate) partial: Option<Partial>,
}

/// Why rows cannot be folded.
#[derive(Debug)]
pub(crate) enum Unfoldable {
    /// A value was not sent, and the row that would have it is gone.
    NoBase,
    Arrow(ArrowError),
}

impl From<ArrowError> for Unfoldable {
    fn from(error: ArrowError) -> Self {
        Self::Arrow(error)
    }
}

/// Folds batches of one shape, none of them empty; `key` are indices into the stored columns.
/// With `keep_deleted` a delete keeps its row, marked.
pub(crate) fn fold(
    batches: &[Staged],
    key: &[usize],
    keep_deleted: bool,
) -> Result<Folded, Unfoldable> {
    let keys = encode_keys(batches, key)?;
    let columns = batches.first().map_or(0, |batch| batch.rows.num_columns());
    let capacity = batches.iter().map(|batch| batch.ops.len()).sum();
    let mut index: HashMap<Row<'_>, usize> = HashMap::with_capacity(capacity);
    let mut entries: Vec<(Place, Known)> = Vec::with_capacity(capacity);
    let mut moved: Option<Known> = None;
    for (batch_index, (batch, keys)) in batches.iter().zip(&keys).enumerate() {
        for row in 0..batch.ops.len() {
            let place = (batch_index, row);
            let op = batch.op(row);
            let entry = *index.entry(keys.row(row)).or_insert(entries.len());
            let known = entries.get(entry).map(|(_, known)| known);
            // What is below the fold, where this is the first that is heard of the key.
            let below = || {
                let cells = (0..columns)
                    .map(|column| {
                        if key.contains(&column) {
                            Cell::At(place)
                        } else {
                            Cell::Base
                        }
                    })
                    .collect();
                Known::Row(Content {
                    cells: Some(cells),
                    ..Content::whole(place)
                })
            };
            let outcome = match op {
                Op::Read | Op::Insert => Known::Row(Content::whole(place)),
                Op::Update | Op::MoveIn => {
                    let source = if op == Op::MoveIn { moved.take() } else { None };
                    if batch.has_absent(row) {
                        let before = match (source, known) {
                            (Some(source), _) => source,
                            (None, Some(known)) => known.clone(),
                            (None, None) => below(),
                        };
                        let Known::Row(before) = before else {
                            return Err(Unfoldable::NoBase);
                        };
                        let cells = (0..columns)
                            .map(|column| {
                                if batch.is_absent(column, row) {
                                    before.cell(column)
                                } else {
                                    Cell::At(place)
                                }
                            })
                            .collect();
                        Known::Row(Content {
                            place,
                            cells: Some(cells),
                            base: before.base,
                            deleted: false,
                        })
                    } else {
                        Known::Row(Content::whole(place))
                    }
                }
                Op::Delete | Op::MoveOut => {
                    let need = op == Op::MoveOut || keep_deleted;
                    let before = need.then(|| known.cloned().unwrap_or_else(below));
                    let outcome = match &before {
                        Some(Known::Row(content)) if keep_deleted => Known::Row(Content {
                            deleted: true,
                            ..content.clone()
                        }),
                        _ => Known::Gone,
                    };
                    if op == Op::MoveOut {
                        moved = before;
                    }
                    outcome
                }
            };
            match entries.get_mut(entry) {
                Some((_, known)) => *known = outcome,
                None => entries.push((place, outcome)),
            }
        }
    }
    gather(batches, key, &entries)
}

fn gather(
    batches: &[Staged],
    key: &[usize],
    entries: &[(Place, Known)],
) -> Result<Folded, Unfoldable> {
    let key_places: Vec<Place> = entries.iter().map(|(place, _)| *place).collect();
    let mut whole = Vec::with_capacity(entries.len());
    let mut partial = Vec::new();
    for (_, known) in entries {
        match known {
            Known::Gone => {}
            Known::Row(content) if content.needs_base() => partial.push(content),
            Known::Row(content) => whole.push(content),
        }
    }
    let partial = if partial.is_empty() {
        None
    } else {
        Some(gather_partial(batches, key, &partial)?)
    };
    Ok(Folded {
        keys: gather_keys(batches, key, &key_places)?,
        rows: gather_rows(batches, &whole)?,
        deleted: whole.iter().map(|content| Some(content.deleted)).collect(),
        partial,
    })
}

fn gather_keys(
    batches: &[Staged],
    key: &[usize],
    places: &[Place],
) -> Result<Vec<ArrayRef>, ArrowError> {
    key.iter()
        .map(|&column| pick(batches, column, places))
        .collect()
}

fn gather_rows(batches: &[Staged], contents: &[&Content]) -> Result<RecordBatch, ArrowError> {
    let Some(first) = batches.first() else {
        return Err(ArrowError::InvalidArgumentError(
            "nothing to fold".to_owned(),
        ));
    };
    let mixed = contents.iter().any(|content| content.cells.is_some());
    let places: Vec<Place> = contents.iter().map(|content| content.place).collect();
    if batches.len() == 1 && !mixed && is_all(&places, first.ops.len()) {
        return Ok(first.rows.clone());
    }
    let columns = (0..first.rows.num_columns())
        .map(|column| {
            if !mixed {
                return pick(batches, column, &places);
            }
            let places: Vec<Place> = contents
                .iter()
                .map(|content| match content.cell(column) {
                    Cell::At(place) => place,
                    // The value there is null, and not used.
                    Cell::Base => content.place,
                })
                .collect();
            pick(batches, column, &places)
        })
        .collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(first.rows.schema(), columns)
}

fn gather_partial(
    batches: &[Staged],
    key: &[usize],
    contents: &[&Content],
) -> Result<Partial, ArrowError> {
    let rows = gather_rows(batches, contents)?;
    let bases: Vec<Place> = contents.iter().map(|content| content.base).collect();
    let absent = (0..rows.num_columns())
        .filter_map(|column| {
            let flags: BooleanArray = contents
                .iter()
                .map(|content| Some(content.cell(column) == Cell::Base))
                .collect();
            (flags.true_count() > 0).then_some((column, flags))
        })
        .collect();
    Ok(Partial {
        rows,
        base: gather_keys(batches, key, &bases)?,
        absent,
        deleted: contents
            .iter()
            .map(|content| Some(content.deleted))
            .collect(),
        required: contents.iter().filter(|content| !content.deleted).count(),
    })
}

fn is_all(places: &[Place], rows: usize) -> bool {
    places.len() == rows && places.iter().enumerate().all(|(row, place)| place.1 == row)
}

/// One column's values at these places.
fn pick(batches: &[Staged], column: usize, places: &[Place]) -> Result<ArrayRef, ArrowError> {
    if let [batch] = batches {
        let rows: UInt32Array = places
            .iter()
            .map(|place| u32::try_from(place.1).ok())
            .collect();
        return take(batch.rows.column(column), &rows, None);
    }
    let arrays: Vec<_> = batches
        .iter()
        .map(|batch| batch.rows.column(column).as_ref())
        .collect();
    interleave(&arrays, places)
}

fn encode_keys(batches: &[Staged], key: &[usize]) -> Result<Vec<Rows>, ArrowError> {
    let Some(first) = batches.first() else {
        return Ok(Vec::new());
    };
    let schema = first.rows.schema();
    let fields = key
        .iter()
        .map(|&column| SortField::new(schema.field(column).data_type().clone()))
        .collect();
    let converter = RowConverter::new(fields)?;
    batches
        .iter()
        .map(|batch| {
            let columns: Vec<ArrayRef> = key
                .iter()
                .map(|&column| one_zero(batch.rows.column(column)))
                .collect();
            converter.convert_columns(&columns)
        })
        .collect()
}

/// In keys `-0.0` is `0.0` and all NaNs are one, as the source's indexes and the target's joins
/// have it.
fn one_zero(array: &ArrayRef) -> ArrayRef {
    use arrow::array::AsArray;
    use arrow::datatypes::{Float32Type, Float64Type};
    use std::sync::Arc;
    match array.data_type() {
        DataType::Float32 => Arc::new(array.as_primitive::<Float32Type>().unary::<_, Float32Type>(
            |value| {
                if value.is_nan() {
                    f32::NAN
                } else {
                    value + 0.0
                }
            },
        )),
        DataType::Float64 => Arc::new(array.as_primitive::<Float64Type>().unary::<_, Float64Type>(
            |value| {
                if value.is_nan() {
                    f64::NAN
                } else {
                    value + 0.0
                }
            },
        )),
        _ => Arc::clone(array),
    }
}
