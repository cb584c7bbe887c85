//! Reads a lake's folders as a reader with a glob does: whatever lies in a table's folder under
//! `*.parquet`, with nothing but the `parquet` crate.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, DurationMicrosecondArray, IntervalMonthDayNanoArray,
    RecordBatch, Time64MicrosecondArray, TimestampMicrosecondArray, new_null_array,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Field, IntervalMonthDayNano, Schema, TimeUnit, TimestampMicrosecondType,
    UInt32Type,
};
use cdc_api::TableSchema;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// The files that a glob for Parquet files finds in a folder.
pub(super) fn glob(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("listed").path())
        .filter(|path| path.extension().is_some_and(|it| it == "parquet"))
        .collect();
    files.sort();
    files
}

/// All rows of a folder's files, file by file.
pub(super) fn batches(folder: &Path) -> Vec<RecordBatch> {
    glob(folder)
        .iter()
        .flat_map(|path| {
            let file = File::open(path).expect("a listed file opens");
            let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("a whole file");
            reader
                .build()
                .expect("reads")
                .map(|batch| batch.expect("a whole batch"))
        })
        .collect()
}

/// A batch with the table's columns in their own types, and the lake's beside them; a batch for
/// each shape that its rows have.
pub(super) fn as_table(
    batch: &RecordBatch,
    table: &TableSchema,
    shapes: &[Arc<TableSchema>],
) -> Vec<RecordBatch> {
    let versions = batch
        .column_by_name("_cdc_schema_version")
        .expect("in every file");
    let versions = versions.as_primitive::<UInt32Type>().values();
    let mut parts = Vec::new();
    let mut start = 0;
    for end in 1..=versions.len() {
        if end == versions.len() || versions[end] != versions[start] {
            let shape = shapes.iter().find(|shape| shape.version == versions[start]);
            let shape = shape.expect("the manifest knows every shape");
            parts.push(of_shape(&batch.slice(start, end - start), table, shape));
            start = end;
        }
    }
    parts
}

fn of_shape(batch: &RecordBatch, table: &TableSchema, shape: &TableSchema) -> RecordBatch {
    let mut fields = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    for column in &table.columns {
        let was = shape.columns.iter().find(|was| match (was.id, column.id) {
            (Some(a), Some(b)) => a == b,
            _ => was.name == column.name,
        });
        let values = was.map_or_else(
            || new_null_array(&column.data_type, batch.num_rows()),
            |was| {
                let values = batch.column_by_name(&was.name).expect("in its file");
                as_source(values, &was.name, &column.data_type, batch)
            },
        );
        fields.push(Field::new(&column.name, values.data_type().clone(), true));
        columns.push(values);
    }
    for name in ["_cdc_op", "_cdc_seq"] {
        let values = batch.column_by_name(name).expect("in every file");
        fields.push(Field::new(name, values.data_type().clone(), true));
        columns.push(Arc::clone(values));
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("fits")
}

/// What the documentation says a reader has to do for a value in its full meaning.
fn as_source(values: &ArrayRef, name: &str, wanted: &DataType, batch: &RecordBatch) -> ArrayRef {
    let special = |row: usize| -> Option<String> {
        let map = batch
            .column_by_name("_cdc_special")
            .expect("there")
            .as_map();
        if map.is_null(row) {
            return None;
        }
        let entries = map.value(row);
        let keys = entries.column(0).as_string::<i32>();
        let at = (0..keys.len()).find(|&at| keys.value(at) == name)?;
        Some(entries.column(1).as_string::<i32>().value(at).to_owned())
    };
    let text = |row: usize| values.as_string::<i32>().value(row).to_owned();
    let rows = 0..values.len();
    match wanted {
        DataType::Interval(_) if values.data_type() == &DataType::Utf8 => {
            Arc::new(IntervalMonthDayNanoArray::from_iter(
                rows.map(|row| values.is_valid(row).then(|| interval(&text(row)))),
            ))
        }
        DataType::Duration(_) if values.data_type() == &DataType::Utf8 => {
            Arc::new(DurationMicrosecondArray::from_iter(rows.map(|row| {
                values.is_valid(row).then(|| clock(&text(row)) / 1_000)
            })))
        }
        DataType::Date32 => {
            let array = values.as_primitive::<Date32Type>();
            Arc::new(Date32Array::from_iter(rows.map(|row| match special(row) {
                Some(sign) if sign == "infinity" => Some(i32::MAX),
                Some(sign) if sign == "-infinity" => Some(i32::MIN),
                _ => array.is_valid(row).then(|| array.value(row)),
            })))
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let array = values.as_primitive::<TimestampMicrosecondType>();
            let array = TimestampMicrosecondArray::from_iter(rows.map(|row| match special(row) {
                Some(sign) if sign == "infinity" => Some(i64::MAX),
                Some(sign) if sign == "-infinity" => Some(i64::MIN),
                _ => array.is_valid(row).then(|| array.value(row)),
            }));
            Arc::new(array.with_timezone_opt(zone.clone()))
        }
        DataType::Time64(_) if values.data_type() == &DataType::Utf8 => {
            Arc::new(Time64MicrosecondArray::from_iter(rows.map(|row| {
                values.is_valid(row).then(|| clock(&text(row)) / 1_000)
            })))
        }
        _ if values.data_type() == &DataType::Utf8 => Arc::clone(values),
        DataType::Binary | DataType::LargeBinary | DataType::List(_) => Arc::clone(values),
        _ => cast(values, wanted).expect("the same values"),
    }
}

/// `[-]hh:mm:ss[.f…]` in nanoseconds.
fn clock(text: &str) -> i64 {
    let (sign, text) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let mut parts = text.split(':');
    let mut next = || parts.next().expect("three parts");
    let (hours, minutes, seconds) = (next(), next(), next());
    let (seconds, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let number = |text: &str| text.parse::<i64>().expect("a number");
    let nanos = number(&format!("{fraction:0<9}"));
    sign * (((number(hours) * 60 + number(minutes)) * 60 + number(seconds)) * 1_000_000_000 + nanos)
}

fn interval(text: &str) -> IntervalMonthDayNano {
    let (mut months, mut days, mut nanos) = (0, 0, 0);
    let mut words = text.split(' ');
    while let Some(word) = words.next() {
        if word.contains(':') {
            nanos = clock(word);
            continue;
        }
        let number: i32 = word.parse().expect("a number");
        match words.next().expect("a unit").trim_end_matches('s') {
            "year" => months += 12 * number,
            "mon" => months += number,
            "day" => days = number,
            unit => panic!("{unit} is no unit"),
        }
    }
    IntervalMonthDayNano::new(months, days, nanos)
}
