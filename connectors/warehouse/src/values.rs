//! Values as the target stores them: what Arrow and the target's types say differently.
//!
//! Invariant: a value is stored exactly or refused with its column's name; none is clamped,
//! rounded or made NULL. Types that need nothing are passed on without copying.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StringArray};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, DurationMicrosecondType, Field, IntervalMonthDayNanoType, IntervalUnit,
    Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};

use crate::dialect::duckdb::MAX_PRECISION;

/// 24:00:00.
const DAY: i64 = 86_400_000_000;
/// DuckDB's first timestamp, 290309-12-22 (BC) 00:00:00.
const FIRST_TIMESTAMP: i64 = -9_223_372_022_400_000_000;

/// The Arrow type that values of `from` are stored from, or `None` if it is not known here.
pub(crate) fn stored_type(from: &DataType) -> Option<DataType> {
    Some(match from {
        // The way from Arrow's intervals to DuckDB's loses NULL (duckdb 1.10506); as text there is
        // nothing to lose, and the column's own type reads it.
        DataType::Duration(TimeUnit::Microsecond)
        | DataType::Interval(IntervalUnit::MonthDayNano) => DataType::Utf8,
        DataType::Decimal256(precision, scale) | DataType::Decimal128(precision, scale) => {
            let fits = *precision <= MAX_PRECISION
                && u8::try_from(*scale).is_ok_and(|scale| scale <= *precision);
            if fits {
                DataType::Decimal128(*precision, *scale)
            } else {
                DataType::Utf8
            }
        }
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            DataType::List(Arc::new(stored_field(field)?))
        }
        DataType::Struct(_)
        | DataType::Map(..)
        | DataType::Union(..)
        | DataType::Dictionary(..)
        | DataType::RunEndEncoded(..) => return None,
        other => other.clone(),
    })
}

fn stored_field(field: &Field) -> Option<Field> {
    Some(
        Field::new(field.name(), stored_type(field.data_type())?, true)
            .with_metadata(field.metadata().clone()),
    )
}

/// Why a value cannot be stored; never holds the value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused(pub(crate) &'static str);

/// The column as it is stored, of the type that [`stored_type`] names.
pub(crate) fn stored(array: &ArrayRef) -> Result<ArrayRef, Refused> {
    Ok(match array.data_type() {
        DataType::Date32 => {
            let dates = array.as_primitive::<Date32Type>();
            if dates.values().iter().all(|&day| day > i32::MIN + 1) {
                return Ok(Arc::clone(array));
            }
            Arc::new(dates.try_unary::<_, Date32Type, Refused>(|day| match day {
                i32::MIN => Ok(i32::MIN + 1),
                day if day == i32::MIN + 1 => Err(Refused("a date out of range")),
                day => Ok(day),
            })?)
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let times = array.as_primitive::<TimestampMicrosecondType>();
            if times.values().iter().all(|&time| time >= FIRST_TIMESTAMP) {
                return Ok(Arc::clone(array));
            }
            let mapped =
                times.try_unary::<_, TimestampMicrosecondType, Refused>(|time| match time {
                    i64::MIN => Ok(-i64::MAX),
                    time if time < FIRST_TIMESTAMP => Err(Refused("a timestamp out of range")),
                    time => Ok(time),
                })?;
            Arc::new(mapped.with_timezone_opt(zone.clone()))
        }
        DataType::Time64(TimeUnit::Microsecond) => {
            let times = array.as_primitive::<Time64MicrosecondType>();
            times.try_unary::<_, Time64MicrosecondType, Refused>(|time| {
                if (0..=DAY).contains(&time) {
                    Ok(time)
                } else {
                    Err(Refused("a time of day beyond 24:00:00"))
                }
            })?;
            Arc::clone(array)
        }
        DataType::Duration(TimeUnit::Microsecond) => {
            let values = array.as_primitive::<DurationMicrosecondType>();
            Arc::new(
                values
                    .iter()
                    .map(|value| value.map(time_text))
                    .collect::<StringArray>(),
            )
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let values = array.as_primitive::<IntervalMonthDayNanoType>();
            if values
                .iter()
                .flatten()
                .any(|value| value.nanoseconds % 1000 != 0)
            {
                return Err(Refused(
                    "an interval that is infinite or finer than a microsecond",
                ));
            }
            Arc::new(
                values
                    .iter()
                    .map(|value| {
                        value.map(|value| {
                            let time = time_text(value.nanoseconds / 1000);
                            format!("{} months {} days {time}", value.months, value.days)
                        })
                    })
                    .collect::<StringArray>(),
            )
        }
        DataType::Decimal128(..) | DataType::Decimal256(..) => {
            let to = stored_type(array.data_type()).unwrap_or(DataType::Utf8);
            if to == *array.data_type() {
                return Ok(Arc::clone(array));
            }
            let decimals = cast(array, &to).map_err(|_| Refused("a decimal out of range"))?;
            if decimals.null_count() != array.null_count() {
                return Err(Refused("a decimal out of range"));
            }
            decimals
        }
        DataType::List(_) => stored_list(array.as_list::<i32>())?,
        DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            let list = cast(array, &DataType::List(Arc::clone(field)))
                .map_err(|_| Refused("a list that is too long"))?;
            stored_list(list.as_list::<i32>())?
        }
        _ => Arc::clone(array),
    })
}

/// In two parts, as the least number of microseconds has no positive to be read from.
fn time_text(micros: i64) -> String {
    format!(
        "{} seconds {} microseconds",
        micros / 1_000_000,
        micros % 1_000_000
    )
}

fn stored_list(list: &ListArray) -> Result<ArrayRef, Refused> {
    let DataType::List(field) = list.data_type() else {
        return Err(Refused("a list of another layout"));
    };
    // A slice of a list still has the values of all of it.
    let offsets = list.value_offsets();
    let (start, end) = (offsets[0], offsets[list.len()]);
    let (Ok(first), Ok(count)) = (usize::try_from(start), usize::try_from(end - start)) else {
        return Err(Refused("a list of another layout"));
    };
    let values = stored(&list.values().slice(first, count))?;
    let offsets = offsets.iter().map(|offset| offset - start).collect();
    let field = stored_field(field).ok_or(Refused("a list of an unknown type"))?;
    ListArray::try_new(
        Arc::new(field),
        OffsetBuffer::new(offsets),
        values,
        list.nulls().cloned(),
    )
    .map(|list| Arc::new(list) as ArrayRef)
    .map_err(|_| Refused("a list of another layout"))
}
