//! Which Parquet type stands for which Arrow type, and the values that it has no place for.
//!
//! What all of DuckDB, pyarrow and Spark read as it is stays as it is. The rest is exact text:
//! decimals beyond 38 digits, intervals, durations, UUIDs, and times of day (Spark refuses Parquet's
//! TIME, which has no 24:00:00 either). Infinite dates and timestamps are NULL in their column and
//! stand in `_cdc_special`.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanBufferBuilder, GenericListArray, OffsetSizeTrait,
    PrimitiveArray,
};
use arrow::buffer::NullBuffer;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    ArrowPrimitiveType, DECIMAL128_MAX_PRECISION, DataType, Date32Type, Field, TimeUnit,
    TimestampMicrosecondType,
};
use cdc_api::{Error, Result};

use super::text;

/// A column as it is written.
pub(super) struct Stored {
    pub(super) values: ArrayRef,
    /// Row and text of each value that the type has no place for; the column is null there.
    pub(super) special: Vec<(usize, String)>,
}

/// The type that a column of this type is written as.
pub(crate) fn stored_type(data_type: &DataType, extension: Option<&str>) -> DataType {
    match data_type {
        DataType::FixedSizeBinary(16) if extension == Some("arrow.uuid") => DataType::Utf8,
        DataType::Decimal128(precision, scale) => decimal(*precision, *scale),
        DataType::Decimal256(_, _)
        | DataType::Interval(_)
        | DataType::Duration(_)
        | DataType::Time32(_)
        | DataType::Time64(_) => DataType::Utf8,

        DataType::Timestamp(TimeUnit::Second | TimeUnit::Millisecond, zone) => {
            DataType::Timestamp(TimeUnit::Microsecond, zone.clone())
        }
        DataType::Date64 => DataType::Date32,
        DataType::Float16 => DataType::Float32,
        DataType::Null | DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        DataType::Dictionary(_, values) => stored_type(values, extension),
        DataType::List(element)
        | DataType::LargeList(element)
        | DataType::ListView(element)
        | DataType::LargeListView(element)
        | DataType::FixedSizeList(element, _) => {
            let extension = element.metadata().get("ARROW:extension:name");
            let inner = stored_type(element.data_type(), extension.map(String::as_str));
            DataType::List(Arc::new(Field::new("element", inner, true)))
        }
        other => other.clone(),
    }
}

/// Parquet wants 0 ≤ scale ≤ precision.
fn decimal(precision: u8, scale: i8) -> DataType {
    let wanted = if scale < 0 {
        (precision.saturating_add(scale.unsigned_abs()), 0)
    } else {
        (precision.max(scale.unsigned_abs()), scale)
    };
    if wanted.0 > DECIMAL128_MAX_PRECISION {
        return DataType::Utf8;
    }
    DataType::Decimal128(wanted.0, wanted.1)
}

/// Whether every value of `from` is the same value in `to`, so that readers unite the two.
pub(crate) fn widens(from: &DataType, to: &DataType) -> bool {
    use DataType::{
        Decimal128, Float32, Float64, Int8, Int16, Int32, Int64, List, UInt8, UInt16, UInt32,
        UInt64,
    };
    match (from, to) {
        _ if from == to => true,
        (Int8, Int16 | Int32 | Int64)
        | (Int16, Int32 | Int64)
        | (Int32, Int64)
        | (UInt8, UInt16 | UInt32 | UInt64 | Int16 | Int32 | Int64)
        | (UInt16, UInt32 | UInt64 | Int32 | Int64)
        | (UInt32, UInt64 | Int64)
        | (Float32 | Int8 | Int16 | Int32 | UInt8 | UInt16 | UInt32, Float64)
        | (Int8 | Int16 | UInt8 | UInt16, Float32) => true,
        (Decimal128(p, s), Decimal128(q, t)) => {
            s <= t && i16::from(*p) - i16::from(*s) <= i16::from(*q) - i16::from(*t)
        }
        (List(a), List(b)) => widens(a.data_type(), b.data_type()),
        _ => false,
    }
}

/// The values of a column as `target`, which is the stored type of its own type or a wider one.
pub(super) fn store(
    values: &ArrayRef,
    extension: Option<&str>,
    target: &DataType,
) -> Result<Stored> {
    let plain = |values: ArrayRef| {
        Ok(Stored {
            values,
            special: Vec::new(),
        })
    };
    match values.data_type() {
        DataType::FixedSizeBinary(16) if extension == Some("arrow.uuid") => {
            plain(text::uuids(values.as_fixed_size_binary()))
        }
        DataType::Interval(unit) => plain(text::intervals(values, *unit)),
        DataType::Duration(unit) => plain(text::durations(values, *unit)),
        DataType::Date32 => Ok(special::<Date32Type>(
            values,
            |days| matches!(days, i32::MAX | i32::MIN),
            |days| infinity(days > 0),
        )),
        DataType::Timestamp(TimeUnit::Microsecond, _) => Ok(special::<TimestampMicrosecondType>(
            values,
            |at| matches!(at, i64::MAX | i64::MIN),
            |at| infinity(at > 0),
        )),
        DataType::Time32(unit) | DataType::Time64(unit) => plain(text::clocks(values, *unit)),
        DataType::List(_) => plain(list::<i32>(values, target)?),
        DataType::LargeList(_) => plain(list::<i64>(values, target)?),
        own if own == target => plain(Arc::clone(values)),
        _ => plain(cast(values, target)?),
    }
}

fn infinity(positive: bool) -> String {
    if positive { "infinity" } else { "-infinity" }.to_owned()
}

/// Takes the values for which `is_special` out of the column.
fn special<T: ArrowPrimitiveType>(
    values: &ArrayRef,
    is_special: impl Fn(T::Native) -> bool,
    name: impl Fn(T::Native) -> String,
) -> Stored {
    let array: &PrimitiveArray<T> = values.as_primitive();
    if !array.values().iter().any(|&value| is_special(value)) {
        return Stored {
            values: Arc::clone(values),
            special: Vec::new(),
        };
    }
    let mut found = Vec::new();
    let mut valid = BooleanBufferBuilder::new(array.len());
    for (row, &value) in array.values().iter().enumerate() {
        let taken = array.is_valid(row) && is_special(value);
        if taken {
            found.push((row, name(value)));
        }
        valid.append(array.is_valid(row) && !taken);
    }
    let kept = PrimitiveArray::<T>::new(
        array.values().clone(),
        Some(NullBuffer::new(valid.finish())),
    );
    Stored {
        values: Arc::new(kept.with_data_type(values.data_type().clone())),
        special: found,
    }
}

fn list<O: OffsetSizeTrait>(values: &ArrayRef, target: &DataType) -> Result<ArrayRef> {
    let array: &GenericListArray<O> = values.as_list();
    let (DataType::List(from) | DataType::LargeList(from), DataType::List(to)) =
        (array.data_type(), target)
    else {
        return cast(values, target);
    };
    let extension = from.metadata().get("ARROW:extension:name");
    let elements = store(
        array.values(),
        extension.map(String::as_str),
        to.data_type(),
    )?;
    if !elements.special.is_empty() {
        return Err(Error::data(
            "an array holds an infinite date or timestamp, which has no place in Parquet",
        )
        .hint("leave the table out of the source's `tables`, or replace these array elements at the source"));
    }
    let stored = GenericListArray::<O>::try_new(
        Arc::clone(to),
        array.offsets().clone(),
        elements.values,
        array.nulls().cloned(),
    )
    .map_err(|error| Error::data("an array column is not well formed").caused_by(error))?;
    let stored: ArrayRef = Arc::new(stored);
    if stored.data_type() == target {
        Ok(stored)
    } else {
        cast(&stored, target)
    }
}

fn cast(values: &ArrayRef, target: &DataType) -> Result<ArrayRef> {
    // Not safe means not silent: a value that does not fit is an error, never NULL.
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(values, target, &options).map_err(|_| {
        // Arrow's own words hold the value.
        Error::data(format!(
            "a value of {} cannot be written as {target}",
            values.data_type()
        ))
        .hint("take a new copy of the table: cdc snapshot SCHEMA.TABLE")
    })
}

/// The one value of an array as it is stored, and the text that stands for it where its type has no place for it.
///
/// # Errors
/// As [`store`].
pub(crate) fn store_one(
    value: &ArrayRef,
    extension: Option<&str>,
) -> Result<(ArrayRef, Option<String>)> {
    let target = stored_type(value.data_type(), extension);
    let stored = store(value, extension, &target)?;
    let special = stored.special.into_iter().next().map(|(_, text)| text);
    Ok((stored.values, special))
}
