//! Whether every unchanged column in a catch-up has a row in the copy that holds its value.
//!
//! With all chunks of one consistent point that is so by itself. A copy that was resumed has chunks
//! of several points, and a row may have moved in between to where it was read by none: then its
//! next change, if it leaves a column out, has nothing to rely on, and the copy must begin again.
//! Invariant: only changes up to the newest point can be such, and only their keys are kept.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::row::{OwnedRow, RowConverter, Rows, SortField};
use cdc_api::{ChangeBatch, Error, Op, Result, TableSchema};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::encode::broken;
use crate::rows;
use crate::storage::{Storage, failed};

/// Keys in a catch-up that rely on a row of the copy.
pub(super) struct Bases {
    /// The newest point, if there are several.
    newest: Option<u64>,
    converter: Option<(Vec<DataType>, RowConverter)>,
    /// Keys whose row the catch-up itself holds.
    held: HashSet<OwnedRow>,
    wanted: HashSet<OwnedRow>,
}

impl Bases {
    /// For a copy whose chunks were read at these points.
    pub(super) fn between(points: impl Iterator<Item = u64> + Clone) -> Self {
        let newest = points.clone().max();
        Self {
            newest: newest.filter(|_| points.min() != newest),
            converter: None,
            held: HashSet::new(),
            wanted: HashSet::new(),
        }
    }

    pub(super) fn wants_any(&self) -> bool {
        !self.wanted.is_empty()
    }

    /// Notes what a batch of the catch-up relies on; `rows` are its rows as written.
    pub(super) fn take(
        &mut self,
        shape: &TableSchema,
        batch: &ChangeBatch,
        rows: &RecordBatch,
    ) -> Result<()> {
        let first = batch.seq.first().copied();
        if shape.key.is_empty()
            || self
                .newest
                .is_none_or(|newest| first.is_none_or(|first| first > newest))
        {
            return Ok(());
        }
        let keys = self.keys(
            shape
                .key
                .iter()
                .map(|&index| Arc::clone(rows.column(index)))
                .collect(),
        )?;
        for row in 0..batch.len() {
            let absent = (0..batch.absent.len()).any(|column| batch.is_absent(column, row));
            let key = keys.row(row).owned();
            match batch.op(row) {
                Op::Read | Op::Insert => {
                    self.held.insert(key);
                }
                Op::Update if !absent => {
                    self.held.insert(key);
                }
                Op::Update => self.want(key),
                Op::Delete => {
                    self.held.remove(&key);
                }
                Op::MoveOut => {}
                Op::MoveIn => {
                    // The row before is the old half, with the old key.
                    if row > 0 {
                        let old = keys.row(row - 1).owned();
                        if absent {
                            self.want(old.clone());
                        }
                        self.held.remove(&old);
                    }
                    self.held.insert(key);
                }
            }
        }
        Ok(())
    }

    fn want(&mut self, key: OwnedRow) {
        if !self.held.contains(&key) {
            self.wanted.insert(key);
        }
    }

    fn keys(&mut self, mut columns: Vec<ArrayRef>) -> Result<Rows> {
        let wrong = |error| Error::internal("keys cannot be compared").caused_by(error);
        let (types, converter) = match &mut self.converter {
            Some(converter) => converter,
            none => {
                let types: Vec<DataType> =
                    columns.iter().map(|it| it.data_type().clone()).collect();
                let fields = types.iter().cloned().map(SortField::new).collect();
                none.insert((types, RowConverter::new(fields).map_err(wrong)?))
            }
        };
        for (column, wanted) in columns.iter_mut().zip(types) {
            // A key may have become wider meanwhile.
            if column.data_type() != wanted {
                *column = cast(column, wanted).map_err(wrong)?;
            }
        }
        converter.convert_columns(&columns).map_err(wrong)
    }

    /// Finds wanted keys in a file of the copy.
    pub(super) fn look(
        &mut self,
        storage: &dyn Storage,
        shape: &TableSchema,
        path: &str,
    ) -> Result<()> {
        let file = storage
            .open(path)
            .map_err(|error| failed("opening a file of the copy", error))?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).map_err(broken)?;
        let names: Vec<&str> = shape
            .key_columns()
            .map(|column| column.name.as_str())
            .collect();
        let roots: Vec<usize> = reader
            .schema()
            .fields()
            .iter()
            .enumerate()
            .filter(|(_, field)| field.name() == rows::OP || names.contains(&field.name().as_str()))
            .map(|(index, _)| index)
            .collect();
        let mask = ProjectionMask::roots(reader.parquet_schema(), roots);
        let reader = reader.with_projection(mask).build().map_err(broken)?;
        let damaged = || {
            Error::data("a file of the copy is damaged")
                .hint(format!("cdc snapshot {}", shape.name))
                .for_table(shape.id)
        };
        for batch in reader {
            let batch = batch.map_err(|_| damaged())?;
            let column = |name: &str| batch.column_by_name(name).cloned().ok_or_else(damaged);
            let columns = names
                .iter()
                .map(|name| column(name))
                .collect::<Result<Vec<_>>>()?;
            let ops = cast(&column(rows::OP)?, &DataType::Utf8).map_err(|_| damaged())?;
            let ops = ops.as_string::<i32>();
            let keys = self.keys(columns)?;
            for row in 0..batch.num_rows() {
                if ops.value(row) != "delete" {
                    self.wanted.remove(&keys.row(row).owned());
                }
            }
        }
        Ok(())
    }
}
