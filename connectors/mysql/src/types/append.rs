//! Values out of the log or the binary protocol, appended to an Arrow array under construction.
//!
//! One appender a column; the type is dispatched on once a value, nothing is boxed and nothing
//! allocated but by the growing array. Invariants: a successful call adds exactly one row; after an
//! error the last row may be there or not, and [`Appender::finish`] cuts it off. A value gives the
//! same row by [`Appender::append_logged`] and by [`Appender::append_protocol`].

mod logged;
mod protocol;
mod text;

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryBuilder, Date32Builder, Decimal128Builder, Decimal256Builder,
    DurationMicrosecondBuilder, FixedSizeBinaryBuilder, Float32Builder, Float64Builder,
    Int8Builder, Int16Builder, Int32Builder, Int64Builder, ListBuilder, StringBuilder,
    TimestampMicrosecondBuilder, UInt8Builder, UInt16Builder, UInt32Builder, UInt64Builder,
};
use cdc_api::{Error, ExistingValue, Result};
use cdc_database::rows::Column;

use super::temporal::Civil;
use super::{Charset, ColumnKind, ColumnType, ValueError, ZeroDates};

pub(crate) use logged::{Form, FormKind, Size};

type Appended = Result<(), ValueError>;

/// A column under construction.
#[derive(Debug)]
pub(crate) struct Appender {
    values: Values,
    scratch: String,
    zero_dates: ZeroDates,
}

#[derive(Debug)]
enum Values {
    Int8(Int8Builder),
    Int16(Int16Builder),
    /// INT and MEDIUMINT.
    Int32(Int32Builder),
    Int64(Int64Builder),
    UInt8(UInt8Builder),
    UInt16(UInt16Builder),
    UInt32(UInt32Builder),
    UInt64(UInt64Builder),
    Float(Float32Builder),
    Double(Float64Builder),
    Decimal128(Decimal128Builder, u8, u8),
    Decimal256(Box<Decimal256Builder>, u8, u8),
    Bit(StringBuilder, u8),
    Year(UInt16Builder),
    Date(Date32Builder),
    DateText(StringBuilder),
    DateTime(TimestampMicrosecondBuilder),
    DateTimeText(StringBuilder, u8),
    Timestamp(TimestampMicrosecondBuilder),
    TimestampText(StringBuilder, u8),
    Time(DurationMicrosecondBuilder),
    Text(StringBuilder, Charset),
    Bytes(BinaryBuilder),
    /// BINARY(n), padded to n bytes.
    Padded(BinaryBuilder, usize),
    Enum(StringBuilder, Arc<[Box<str>]>),
    Set(StringBuilder, Arc<[Box<str>]>),
    Json(StringBuilder),
    Vector(Box<ListBuilder<Float32Builder>>),
    Uuid(FixedSizeBinaryBuilder),
    Inet6(StringBuilder),
    Inet4(StringBuilder),
}

macro_rules! with_builder {
    ($values:expr, $builder:ident => $do:expr) => {
        match $values {
            Values::Int8($builder) => $do,
            Values::Int16($builder) => $do,
            Values::Int32($builder) => $do,
            Values::Int64($builder) => $do,
            Values::UInt8($builder) => $do,
            Values::UInt16($builder) | Values::Year($builder) => $do,
            Values::UInt32($builder) => $do,
            Values::UInt64($builder) => $do,
            Values::Float($builder) => $do,
            Values::Double($builder) => $do,
            Values::Decimal128($builder, ..) => $do,
            Values::Decimal256($builder, ..) => $do,
            Values::Date($builder) => $do,
            Values::DateTime($builder) | Values::Timestamp($builder) => $do,
            Values::Time($builder) => $do,
            Values::Bytes($builder) | Values::Padded($builder, _) => $do,
            Values::Vector($builder) => $do,
            Values::Uuid($builder) => $do,
            Values::Bit($builder, _)
            | Values::DateText($builder)
            | Values::DateTimeText($builder, _)
            | Values::TimestampText($builder, _)
            | Values::Text($builder, _)
            | Values::Enum($builder, _)
            | Values::Set($builder, _)
            | Values::Json($builder)
            | Values::Inet6($builder)
            | Values::Inet4($builder) => $do,
        }
    };
}

impl Appender {
    /// An empty column of the type, with room for `rows` values of fixed width; it grows by
    /// itself.
    pub(crate) fn new(column: &ColumnType, rows: usize) -> Self {
        let data_type = column.data_type();
        let string = || StringBuilder::with_capacity(rows, 0);
        let bytes = || BinaryBuilder::with_capacity(rows, 0);
        let as_text = column.zero_dates == ZeroDates::Text;
        let moment =
            || TimestampMicrosecondBuilder::with_capacity(rows).with_data_type(column.data_type());
        let values = match &column.kind {
            ColumnKind::Integer { width, unsigned } => match (width, unsigned) {
                (1, false) => Values::Int8(Int8Builder::with_capacity(rows)),
                (1, true) => Values::UInt8(UInt8Builder::with_capacity(rows)),
                (2, false) => Values::Int16(Int16Builder::with_capacity(rows)),
                (2, true) => Values::UInt16(UInt16Builder::with_capacity(rows)),
                (3 | 4, false) => Values::Int32(Int32Builder::with_capacity(rows)),
                (3 | 4, true) => Values::UInt32(UInt32Builder::with_capacity(rows)),
                (_, false) => Values::Int64(Int64Builder::with_capacity(rows)),
                (_, true) => Values::UInt64(UInt64Builder::with_capacity(rows)),
            },
            ColumnKind::Float { .. } => Values::Float(Float32Builder::with_capacity(rows)),
            ColumnKind::Double { .. } => Values::Double(Float64Builder::with_capacity(rows)),
            ColumnKind::Decimal {
                precision, scale, ..
            } if *precision <= 38 => Values::Decimal128(
                Decimal128Builder::with_capacity(rows).with_data_type(data_type),
                *precision,
                *scale,
            ),
            ColumnKind::Decimal {
                precision, scale, ..
            } => Values::Decimal256(
                Box::new(Decimal256Builder::with_capacity(rows).with_data_type(data_type)),
                *precision,
                *scale,
            ),
            ColumnKind::Bit { bits } => Values::Bit(string(), *bits),
            ColumnKind::Year => Values::Year(UInt16Builder::with_capacity(rows)),
            ColumnKind::Date if as_text => Values::DateText(string()),
            ColumnKind::Date => Values::Date(Date32Builder::with_capacity(rows)),
            ColumnKind::DateTime { digits } if as_text => Values::DateTimeText(string(), *digits),
            ColumnKind::DateTime { .. } => Values::DateTime(moment()),
            ColumnKind::Timestamp { digits } if as_text => Values::TimestampText(string(), *digits),
            ColumnKind::Timestamp { .. } => Values::Timestamp(moment()),
            ColumnKind::Time { .. } => {
                Values::Time(DurationMicrosecondBuilder::with_capacity(rows))
            }
            ColumnKind::Char { charset, .. }
            | ColumnKind::Varchar { charset, .. }
            | ColumnKind::Text { charset, .. } => Values::Text(string(), *charset),
            ColumnKind::Binary { length } => {
                Values::Padded(bytes(), usize::try_from(*length).unwrap_or(0))
            }
            ColumnKind::Varbinary { .. } | ColumnKind::Blob { .. } | ColumnKind::Geometry(_) => {
                Values::Bytes(bytes())
            }
            ColumnKind::Enum { members } => Values::Enum(string(), Arc::clone(members)),
            ColumnKind::Set { members } => Values::Set(string(), Arc::clone(members)),
            ColumnKind::Json => Values::Json(string()),
            ColumnKind::Vector { .. } => {
                Values::Vector(Box::new(ListBuilder::new(Float32Builder::new())))
            }
            ColumnKind::Uuid => Values::Uuid(FixedSizeBinaryBuilder::with_capacity(rows, 16)),
            ColumnKind::Inet6 => Values::Inet6(string()),
            ColumnKind::Inet4 => Values::Inet4(string()),
        };
        Self {
            values,
            scratch: String::new(),
            zero_dates: column.zero_dates,
        }
    }
}

impl Column for Appender {
    fn append_null(&mut self) {
        with_builder!(&mut self.values, builder => builder.append_null());
    }

    /// The appender starts again, empty.
    ///
    /// # Panics
    /// If fewer rows were appended.
    fn finish(&mut self, rows: usize) -> ArrayRef {
        let array: ArrayRef =
            with_builder!(&mut self.values, builder => Arc::new(builder.finish()));
        if array.len() == rows {
            array
        } else {
            array.slice(0, rows)
        }
    }
}

/// A value of a builder, where the calendar has the date.
#[inline]
fn dated<T>(value: Option<T>, policy: ZeroDates) -> Result<Option<T>, ValueError> {
    match value {
        None if policy == ZeroDates::Error => Err(ValueError::ZeroDate),
        value => Ok(value),
    }
}

/// Appends a date and time of day to a column of moments.
#[inline]
fn append_moment(
    builder: &mut TimestampMicrosecondBuilder,
    civil: Civil,
    policy: ZeroDates,
) -> Appended {
    builder.append_option(dated(civil.micros(), policy)?);
    Ok(())
}

/// Text of one of the other parts, written into a column of text.
#[inline]
fn append_written(
    builder: &mut StringBuilder,
    scratch: &mut String,
    write: impl FnOnce(&mut String) -> Appended,
) -> Appended {
    scratch.clear();
    write(scratch)?;
    builder.append_value(&*scratch);
    Ok(())
}

#[inline]
fn utf8(bytes: &[u8]) -> Result<&str, ValueError> {
    std::str::from_utf8(bytes).map_err(|_| ValueError::Encoding)
}

/// Appends bytes, with zeros behind them up to `length`.
#[inline]
fn append_padded(builder: &mut BinaryBuilder, bytes: &[u8], length: usize) -> Appended {
    if bytes.len() > length {
        return Err(ValueError::Malformed);
    }
    if bytes.len() == length {
        builder.append_value(bytes);
        return Ok(());
    }
    let mut padded = [0; 256];
    let padded = padded.get_mut(..length).ok_or(ValueError::Malformed)?;
    padded[..bytes.len()].copy_from_slice(bytes);
    builder.append_value(padded);
    Ok(())
}

/// Appends the digits of a BIT, given its bytes, big-endian.
#[inline]
fn append_bits(
    builder: &mut StringBuilder,
    bits: u8,
    bytes: &[u8],
    scratch: &mut String,
) -> Appended {
    let value = crate::wire::Wire(bytes).uint_be(bytes.len())?;
    scratch.clear();
    for place in (0..bits).rev() {
        scratch.push(if value >> place & 1 == 1 { '1' } else { '0' });
    }
    builder.append_value(&*scratch);
    Ok(())
}

/// Appends a vector, given its numbers' bytes.
fn append_vector(builder: &mut ListBuilder<Float32Builder>, bytes: &[u8]) -> Appended {
    let (numbers, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(ValueError::Malformed);
    }
    for number in numbers {
        builder.values().append_value(f32::from_le_bytes(*number));
    }
    builder.append(true);
    Ok(())
}

impl ColumnType {
    /// What rows hold that are older than the column, given its text as the server prints it.
    ///
    /// # Errors
    /// `Unsupported` when the value cannot be represented.
    pub(crate) fn existing(&self, text: &str) -> Result<ExistingValue> {
        let mut appender = Appender::new(self, 1);
        appender
            .append_text(text)
            .map_err(|error| Error::unsupported(error.message()).hint(error.hint()))?;
        Ok(ExistingValue(appender.finish(1)))
    }
}
