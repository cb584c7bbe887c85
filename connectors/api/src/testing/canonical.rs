//! Values as text, the same for every way in which a target may keep them.
//!
//! Invariant: two values of one source column have the same text if and only if they are equal.
//! The text is for comparing; it is nobody's output format.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, StructArray};
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, DurationMicrosecondType, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, IntervalMonthDayNanoType, IntervalUnit, Time64MicrosecondType,
    Time64NanosecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::util::display::array_value_to_string;

use crate::Column;

/// A value's text; `None` is NULL.
pub type Cell = Option<Arc<str>>;

/// A row's cells, in the order of the table's columns.
pub type Row = Vec<Cell>;

/// The cells of row `row` of a batch.
pub fn row(batch: &RecordBatch, row: usize) -> Row {
    batch
        .columns()
        .iter()
        .map(|array| cell(array.as_ref(), row))
        .collect()
}

/// One line for a row, for showing and for sorting.
pub fn line(row: &[Cell]) -> String {
    let mut line = String::new();
    for (index, cell) in row.iter().enumerate() {
        if index > 0 {
            line.push_str(" | ");
        }
        line.push_str(cell.as_deref().unwrap_or("∅"));
    }
    line
}

/// The rows that a target gave, as cells of the columns wanted, found by name. A target may keep
/// a value in another type than the source's as long as nothing of it is lost: text for a wide
/// decimal, text for a UUID, nanoseconds for microseconds.
///
/// # Errors
/// With the name of a column that a batch does not have.
pub fn rows(batches: &[RecordBatch], wanted: &[Column]) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    for batch in batches {
        let arrays = wanted
            .iter()
            .map(|column| {
                batch.column_by_name(&column.name).ok_or_else(|| {
                    format!(
                        "there is no column `{}` among {:?}",
                        column.name,
                        batch
                            .schema()
                            .fields()
                            .iter()
                            .map(|field| field.name().clone())
                            .collect::<Vec<_>>()
                    )
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            rows.push(
                wanted
                    .iter()
                    .zip(&arrays)
                    .map(|(column, array)| {
                        cell(array.as_ref(), row).map(|text| as_column(column, text))
                    })
                    .collect(),
            );
        }
    }
    Ok(rows)
}

/// Evens out what a target may write in other words: a UUID's dashes, a decimal's zeros.
fn as_column(column: &Column, text: Arc<str>) -> Arc<str> {
    match &column.data_type {
        DataType::FixedSizeBinary(16) if text.contains('-') => text.replace('-', "").into(),
        DataType::Decimal128(..) | DataType::Decimal256(..) => decimal(&text).into(),
        _ => text,
    }
}

/// A decimal without the zeros that say nothing.
fn decimal(text: &str) -> String {
    let text = match text.split_once('.') {
        Some((whole, fraction)) => {
            let fraction = fraction.trim_end_matches('0');
            if fraction.is_empty() {
                whole.to_owned()
            } else {
                format!("{whole}.{fraction}")
            }
        }
        None => text.to_owned(),
    };
    if text == "-0" { "0".to_owned() } else { text }
}

/// A value's text.
///
/// # Panics
/// If `row` is out of range.
pub fn cell(array: &dyn Array, row: usize) -> Cell {
    if array.is_null(row) {
        return None;
    }
    Some(text(array, row).into())
}

fn text(array: &dyn Array, row: usize) -> String {
    match array.data_type() {
        DataType::Boolean => array.as_boolean().value(row).to_string(),
        DataType::Int8 => array.as_primitive::<Int8Type>().value(row).to_string(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(row).to_string(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).to_string(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::UInt8 => array.as_primitive::<UInt8Type>().value(row).to_string(),
        DataType::UInt16 => array.as_primitive::<UInt16Type>().value(row).to_string(),
        DataType::UInt32 => array.as_primitive::<UInt32Type>().value(row).to_string(),
        DataType::UInt64 => array.as_primitive::<UInt64Type>().value(row).to_string(),
        DataType::Float32 => {
            let value = array.as_primitive::<Float32Type>().value(row);
            format!("{value:?}")
        }
        DataType::Float64 => {
            let value = array.as_primitive::<Float64Type>().value(row);
            format!("{value:?}")
        }
        DataType::Decimal128(..) | DataType::Decimal256(..) => {
            decimal(&array_value_to_string(array, row).unwrap_or_default())
        }
        DataType::Utf8 => array.as_string::<i32>().value(row).to_owned(),
        DataType::LargeUtf8 => array.as_string::<i64>().value(row).to_owned(),
        DataType::Utf8View => array.as_string_view().value(row).to_owned(),
        DataType::Binary => hex(array.as_binary::<i32>().value(row)),
        DataType::LargeBinary => hex(array.as_binary::<i64>().value(row)),
        DataType::BinaryView => hex(array.as_binary_view().value(row)),
        DataType::FixedSizeBinary(_) => hex(array.as_fixed_size_binary().value(row)),
        DataType::Date32 => i64::from(array.as_primitive::<Date32Type>().value(row)).to_string(),
        DataType::Date64 => {
            (array.as_primitive::<Date64Type>().value(row) / 86_400_000).to_string()
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let value = array.as_primitive::<TimestampMicrosecondType>().value(row);
            value.to_string()
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            let value = array.as_primitive::<TimestampMillisecondType>().value(row);
            (value * 1000).to_string()
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            let value = array.as_primitive::<TimestampNanosecondType>().value(row);
            thousandth(value)
        }
        DataType::Time64(TimeUnit::Microsecond) => {
            let value = array.as_primitive::<Time64MicrosecondType>().value(row);
            value.to_string()
        }
        DataType::Time64(TimeUnit::Nanosecond) => {
            thousandth(array.as_primitive::<Time64NanosecondType>().value(row))
        }
        DataType::Duration(TimeUnit::Microsecond) => {
            let value = array.as_primitive::<DurationMicrosecondType>().value(row);
            value.to_string()
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let value = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
            format!(
                "{} months {} days {} ns",
                value.months, value.days, value.nanoseconds
            )
        }
        DataType::List(_) => list(array.as_list::<i32>().value(row).as_ref()),
        DataType::LargeList(_) => list(array.as_list::<i64>().value(row).as_ref()),
        DataType::Struct(_) => fields(array.as_struct(), row),
        _ => {
            array_value_to_string(array, row).unwrap_or_else(|_| format!("<{}>", array.data_type()))
        }
    }
}

/// Nanoseconds as microseconds, with what is below them if there is any.
fn thousandth(nanoseconds: i64) -> String {
    match nanoseconds.rem_euclid(1000) {
        0 => nanoseconds.div_euclid(1000).to_string(),
        rest => format!("{} + {rest} ns", nanoseconds.div_euclid(1000)),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn list(values: &dyn Array) -> String {
    let items: Vec<String> = (0..values.len())
        .map(|row| match cell(values, row) {
            Some(text) => format!("{text:?}"),
            None => "∅".to_owned(),
        })
        .collect();
    format!("[{}]", items.join(", "))
}

fn fields(array: &StructArray, row: usize) -> String {
    let items: Vec<String> = array
        .column_names()
        .iter()
        .zip(array.columns())
        .map(|(name, column)| format!("{name}: {:?}", cell(column.as_ref(), row)))
        .collect();
    format!("{{{}}}", items.join(", "))
}
