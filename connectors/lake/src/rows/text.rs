//! Exact text for values that Parquet's readers have no common type for.
//!
//! - UUID: lower case with hyphens.
//! - Interval: nearly as PostgreSQL prints it, `1 year 2 mons -3 days 00:00:04.5`; PostgreSQL and
//!   DuckDB read it (a `+` after a negative part, which PostgreSQL adds, DuckDB would not).
//! - Duration and time of day: `[-]hh:mm:ss[.f…]`.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeBinaryArray, StringBuilder};
use arrow::datatypes::{
    DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType, DurationSecondType,
    IntervalDayTimeType, IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType,
    Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimeUnit,
};

pub(super) fn uuids(values: &FixedSizeBinaryArray) -> ArrayRef {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut builder = StringBuilder::with_capacity(values.len(), values.len() * 36);
    let mut text = String::with_capacity(36);
    for value in values {
        let Some(value) = value else {
            builder.append_null();
            continue;
        };
        text.clear();
        for (index, byte) in value.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                text.push('-');
            }
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        builder.append_value(&text);
    }
    Arc::new(builder.finish())
}

pub(super) fn intervals(values: &ArrayRef, unit: IntervalUnit) -> ArrayRef {
    match unit {
        IntervalUnit::MonthDayNano => {
            let values = values.as_primitive::<IntervalMonthDayNanoType>();
            texts(values.iter().map(|value| {
                value.map(|it| interval(it.months, it.days, i128::from(it.nanoseconds)))
            }))
        }
        IntervalUnit::DayTime => {
            let values = values.as_primitive::<IntervalDayTimeType>();
            texts(values.iter().map(|value| {
                value.map(|it| interval(0, it.days, i128::from(it.milliseconds) * 1_000_000))
            }))
        }
        IntervalUnit::YearMonth => {
            let values = values.as_primitive::<IntervalYearMonthType>();
            texts(
                values
                    .iter()
                    .map(|value| value.map(|months| interval(months, 0, 0))),
            )
        }
    }
}

pub(super) fn durations(values: &ArrayRef, unit: TimeUnit) -> ArrayRef {
    match unit {
        TimeUnit::Second => all(
            values.as_primitive::<DurationSecondType>().iter(),
            1_000_000_000,
        ),
        TimeUnit::Millisecond => all(
            values.as_primitive::<DurationMillisecondType>().iter(),
            1_000_000,
        ),
        TimeUnit::Microsecond => all(
            values.as_primitive::<DurationMicrosecondType>().iter(),
            1_000,
        ),
        TimeUnit::Nanosecond => all(values.as_primitive::<DurationNanosecondType>().iter(), 1),
    }
}

/// Times of day.
pub(super) fn clocks(values: &ArrayRef, unit: TimeUnit) -> ArrayRef {
    let wide = |value: Option<i32>| value.map(i64::from);
    match unit {
        TimeUnit::Second => {
            let values = values.as_primitive::<Time32SecondType>();
            all(values.iter().map(wide), 1_000_000_000)
        }
        TimeUnit::Millisecond => {
            let values = values.as_primitive::<Time32MillisecondType>();
            all(values.iter().map(wide), 1_000_000)
        }
        TimeUnit::Microsecond => all(values.as_primitive::<Time64MicrosecondType>().iter(), 1_000),
        TimeUnit::Nanosecond => all(values.as_primitive::<Time64NanosecondType>().iter(), 1),
    }
}

/// Values of so many nanoseconds each.
fn all(values: impl Iterator<Item = Option<i64>>, nanos: i128) -> ArrayRef {
    texts(values.map(|value| value.map(|value| clock_of(i128::from(value) * nanos))))
}

fn texts(values: impl Iterator<Item = Option<String>>) -> ArrayRef {
    let mut builder = StringBuilder::new();
    values.for_each(|value| builder.append_option(value));
    Arc::new(builder.finish())
}

fn interval(months: i32, days: i32, nanos: i128) -> String {
    // PostgreSQL 17's infinite intervals are its three extremes together.
    if (months, days) == (i32::MAX, i32::MAX) && nanos >= i128::from(i64::MAX) / 1_000 * 1_000 {
        return "infinity".to_owned();
    }
    if (months, days) == (i32::MIN, i32::MIN) && nanos <= i128::from(i64::MIN) / 1_000 * 1_000 {
        return "-infinity".to_owned();
    }
    let mut text = String::new();
    for (value, unit) in [(months / 12, "year"), (months % 12, "mon"), (days, "day")] {
        if value == 0 {
            continue;
        }
        let space = if text.is_empty() { "" } else { " " };
        let plural = if value == 1 { "" } else { "s" };
        // Writing to a String cannot fail.
        let _ = write!(text, "{space}{value} {unit}{plural}");
    }
    if text.is_empty() {
        return clock_of(nanos);
    }
    if nanos != 0 {
        text.push(' ');
        text.push_str(&clock_of(nanos));
    }
    text
}

fn clock_of(nanos: i128) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let all = nanos.unsigned_abs();
    let (seconds, part) = (all / 1_000_000_000, all % 1_000_000_000);
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let mut text = format!("{sign}{hours:02}:{minutes:02}:{seconds:02}");
    if part != 0 {
        let _ = write!(text, ".{part:09}");
        text.truncate(text.trim_end_matches('0').len());
    }
    text
}
