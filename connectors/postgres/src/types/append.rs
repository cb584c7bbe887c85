//! Values in text or binary form, appended to an Arrow array under construction.
//!
//! One appender a column; the type is dispatched on once a value, nothing is boxed and nothing
//! allocated but by the growing array. Invariant: a successful call adds exactly one row; after
//! an error the last row may be there or not, and [`Appender::finish`] cuts it off.

use std::str;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder,
    Decimal256Builder, FixedSizeBinaryBuilder, Float32Builder, Float64Builder, Int16Builder,
    Int32Builder, Int64Builder, IntervalMonthDayNanoBuilder, ListArray, NullBufferBuilder,
    StringBuilder, Time64MicrosecondBuilder, TimestampMicrosecondBuilder, UInt32Builder,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, FieldRef, i256};
use cdc_database::rows::Column;

use super::scalar::{bits, fixed, integer, unhex, utf8, uuid};
use super::{ColumnType, Scalar, ValueError, ValueType, array, numeric, temporal};

type Appended = Result<(), ValueError>;

/// A column under construction.
#[derive(Debug)]
pub(crate) struct Appender {
    values: Values,
    scratch: Vec<u8>,
}

#[derive(Debug)]
enum Values {
    Bool(BooleanBuilder),
    Int2(Int16Builder),
    Int4(Int32Builder),
    Int8(Int64Builder),
    Oid(UInt32Builder),
    Float4(Float32Builder),
    Float8(Float64Builder),
    Decimal128(Decimal128Builder, Digits<i128>),
    Decimal256(Decimal256Builder, Digits<i256>),
    NumericText(StringBuilder),
    NumericDouble(Float64Builder),
    Date(Date32Builder),
    Time(Time64MicrosecondBuilder),
    Timestamp(TimestampMicrosecondBuilder),
    Interval(IntervalMonthDayNanoBuilder),
    Uuid(FixedSizeBinaryBuilder),
    Bytea(BinaryBuilder),
    Bits(StringBuilder),
    Jsonb(StringBuilder),
    Text(StringBuilder),
    Opaque(StringBuilder),
    List(Box<List>),
}

#[derive(Debug)]
struct Digits<A> {
    scale: u8,
    limit: A,
    null: bool,
}

#[derive(Debug)]
struct List {
    field: FieldRef,
    delimiter: u8,
    elements: Appender,
    length: i32,
    offsets: Vec<i32>,
    nulls: NullBufferBuilder,
}

macro_rules! with_builder {
    ($values:expr, $builder:ident => $do:expr, $list:ident => $list_do:expr) => {
        match $values {
            Values::Bool($builder) => $do,
            Values::Int2($builder) => $do,
            Values::Int4($builder) => $do,
            Values::Int8($builder) => $do,
            Values::Oid($builder) => $do,
            Values::Float4($builder) => $do,
            Values::Float8($builder) | Values::NumericDouble($builder) => $do,
            Values::Decimal128($builder, _) => $do,
            Values::Decimal256($builder, _) => $do,
            Values::Date($builder) => $do,
            Values::Time($builder) => $do,
            Values::Timestamp($builder) => $do,
            Values::Interval($builder) => $do,
            Values::Uuid($builder) => $do,
            Values::Bytea($builder) => $do,
            Values::NumericText($builder)
            | Values::Bits($builder)
            | Values::Jsonb($builder)
            | Values::Text($builder)
            | Values::Opaque($builder) => $do,
            Values::List($list) => $list_do,
        }
    };
}

impl Appender {
    /// An empty column of the type, with room for `rows` values of fixed width; it grows by
    /// itself.
    pub(crate) fn new(column: &ColumnType, rows: usize) -> Self {
        let values = match (column.value, &column.data_type) {
            (ValueType::List { element, delimiter }, DataType::List(field)) => {
                Values::List(Box::new(List {
                    field: Arc::clone(field),
                    delimiter,
                    elements: Self::of(element, field.data_type(), 0),
                    length: 0,
                    offsets: vec![0],
                    nulls: NullBufferBuilder::new(0),
                }))
            }
            (ValueType::List { element, .. } | ValueType::Scalar(element), data_type) => {
                return Self::of(element, data_type, rows);
            }
        };
        Self {
            values,
            scratch: Vec::new(),
        }
    }

    fn of(scalar: Scalar, data_type: &DataType, rows: usize) -> Self {
        let values = match scalar {
            Scalar::Bool => Values::Bool(BooleanBuilder::with_capacity(rows)),
            Scalar::Int2 => Values::Int2(Int16Builder::with_capacity(rows)),
            Scalar::Int4 => Values::Int4(Int32Builder::with_capacity(rows)),
            Scalar::Int8 => Values::Int8(Int64Builder::with_capacity(rows)),
            Scalar::Oid => Values::Oid(UInt32Builder::with_capacity(rows)),
            Scalar::Float4 => Values::Float4(Float32Builder::with_capacity(rows)),
            Scalar::Float8 => Values::Float8(Float64Builder::with_capacity(rows)),
            Scalar::Decimal {
                precision,
                scale,
                null,
            } if precision <= 38 => Values::Decimal128(
                Decimal128Builder::with_capacity(rows).with_data_type(data_type.clone()),
                Digits {
                    scale,
                    limit: numeric::limit(precision),
                    null,
                },
            ),
            Scalar::Decimal {
                precision,
                scale,
                null,
            } => Values::Decimal256(
                Decimal256Builder::with_capacity(rows).with_data_type(data_type.clone()),
                Digits {
                    scale,
                    limit: numeric::limit(precision),
                    null,
                },
            ),
            Scalar::NumericText => Values::NumericText(StringBuilder::with_capacity(rows, 0)),
            Scalar::NumericDouble => Values::NumericDouble(Float64Builder::with_capacity(rows)),
            Scalar::Date => Values::Date(Date32Builder::with_capacity(rows)),
            Scalar::Time => Values::Time(Time64MicrosecondBuilder::with_capacity(rows)),
            Scalar::Timestamp { .. } => Values::Timestamp(
                TimestampMicrosecondBuilder::with_capacity(rows).with_data_type(data_type.clone()),
            ),
            Scalar::Interval => Values::Interval(IntervalMonthDayNanoBuilder::with_capacity(rows)),
            Scalar::Uuid => Values::Uuid(FixedSizeBinaryBuilder::with_capacity(rows, 16)),
            Scalar::Bytea => Values::Bytea(BinaryBuilder::with_capacity(rows, 0)),
            Scalar::Bits => Values::Bits(StringBuilder::with_capacity(rows, 0)),
            Scalar::Jsonb => Values::Jsonb(StringBuilder::with_capacity(rows, 0)),
            Scalar::Json | Scalar::Text => Values::Text(StringBuilder::with_capacity(rows, 0)),
            Scalar::Opaque => Values::Opaque(StringBuilder::with_capacity(rows, 0)),
        };
        Self {
            values,
            scratch: Vec::new(),
        }
    }

    /// Appends a value in the server's text form.
    ///
    /// # Errors
    /// When it is not a value of the type, or cannot be represented.
    pub(crate) fn append_text(&mut self, text: &[u8]) -> Appended {
        let malformed = ValueError::Malformed;
        match &mut self.values {
            Values::Bool(builder) => builder.append_value(match text {
                b"t" => true,
                b"f" => false,
                _ => return Err(malformed),
            }),
            Values::Int2(builder) => {
                builder.append_value(integer(text)?.try_into().map_err(|_| malformed)?);
            }
            Values::Int4(builder) => {
                builder.append_value(integer(text)?.try_into().map_err(|_| malformed)?);
            }
            Values::Int8(builder) => builder.append_value(integer(text)?),
            Values::Oid(builder) => {
                builder.append_value(integer(text)?.try_into().map_err(|_| malformed)?);
            }
            Values::Float4(builder) => {
                let text = str::from_utf8(text).map_err(|_| malformed)?;
                builder.append_value(text.parse().map_err(|_| malformed)?);
            }
            Values::Float8(builder) | Values::NumericDouble(builder) => {
                builder.append_value(numeric::double_of_text(text)?);
            }
            Values::Decimal128(builder, digits) => {
                let value = numeric::decimal_of_text(text, digits.scale, digits.limit)?;
                builder.append_option(digits.checked(value)?);
            }
            Values::Decimal256(builder, digits) => {
                let value = numeric::decimal_of_text(text, digits.scale, digits.limit)?;
                builder.append_option(digits.checked(value)?);
            }
            Values::Date(builder) => builder.append_value(temporal::date_of_text(text)?),
            Values::Time(builder) => builder.append_value(temporal::time_of_text(text)?),
            Values::Timestamp(builder) => {
                builder.append_value(temporal::timestamp_of_text(text)?);
            }
            Values::Interval(builder) => builder.append_value(temporal::interval_of_text(text)?),
            Values::Uuid(builder) => builder.append_value(uuid(text)?).map_err(|_| malformed)?,
            Values::Bytea(builder) => {
                self.scratch.clear();
                unhex(
                    text.strip_prefix(b"\\x").ok_or(malformed)?,
                    &mut self.scratch,
                )?;
                builder.append_value(&self.scratch);
            }
            Values::NumericText(builder)
            | Values::Bits(builder)
            | Values::Jsonb(builder)
            | Values::Text(builder)
            | Values::Opaque(builder) => builder.append_value(utf8(text)?),
            Values::List(list) => {
                let elements = &mut list.elements;
                let mut count = 0;
                array::each_of_text(text, list.delimiter, &mut self.scratch, |element| {
                    count += 1;
                    match element {
                        None => elements.append_null(),
                        Some(text) => elements.append_text(text)?,
                    }
                    Ok(())
                })?;
                list.grow(count)?;
            }
        }
        Ok(())
    }

    /// Appends a value in the server's binary form.
    ///
    /// # Errors
    /// As [`Self::append_text`].
    pub(crate) fn append_binary(&mut self, bytes: &[u8]) -> Appended {
        let malformed = ValueError::Malformed;
        match &mut self.values {
            Values::Bool(builder) => builder.append_value(match bytes {
                [byte] => *byte != 0,
                _ => return Err(malformed),
            }),
            Values::Int2(builder) => builder.append_value(i16::from_be_bytes(fixed(bytes)?)),
            Values::Int4(builder) => builder.append_value(i32::from_be_bytes(fixed(bytes)?)),
            Values::Int8(builder) => builder.append_value(i64::from_be_bytes(fixed(bytes)?)),
            Values::Oid(builder) => builder.append_value(u32::from_be_bytes(fixed(bytes)?)),
            Values::Float4(builder) => builder.append_value(f32::from_be_bytes(fixed(bytes)?)),
            Values::Float8(builder) => builder.append_value(f64::from_be_bytes(fixed(bytes)?)),
            Values::Decimal128(builder, digits) => {
                let value = numeric::decimal_of_binary(bytes, digits.scale, digits.limit)?;
                builder.append_option(digits.checked(value)?);
            }
            Values::Decimal256(builder, digits) => {
                let value = numeric::decimal_of_binary(bytes, digits.scale, digits.limit)?;
                builder.append_option(digits.checked(value)?);
            }
            Values::NumericText(builder) => {
                self.scratch.clear();
                numeric::write_text(bytes, &mut self.scratch)?;
                builder.append_value(utf8(&self.scratch)?);
            }
            Values::NumericDouble(builder) => {
                builder.append_value(numeric::double_of_binary(bytes, &mut self.scratch)?);
            }
            Values::Date(builder) => {
                let days = i32::from_be_bytes(fixed(bytes)?);
                builder.append_value(temporal::date_of_binary(days)?);
            }
            Values::Time(builder) => {
                let micros = i64::from_be_bytes(fixed(bytes)?);
                builder.append_value(temporal::time_of_binary(micros)?);
            }
            Values::Timestamp(builder) => {
                let micros = i64::from_be_bytes(fixed(bytes)?);
                builder.append_value(temporal::timestamp_of_binary(micros)?);
            }
            Values::Interval(builder) => {
                let [
                    m0,
                    m1,
                    m2,
                    m3,
                    m4,
                    m5,
                    m6,
                    m7,
                    d0,
                    d1,
                    d2,
                    d3,
                    o0,
                    o1,
                    o2,
                    o3,
                ] = fixed(bytes)?;
                builder.append_value(temporal::interval_of_parts(
                    i32::from_be_bytes([o0, o1, o2, o3]),
                    i32::from_be_bytes([d0, d1, d2, d3]),
                    i64::from_be_bytes([m0, m1, m2, m3, m4, m5, m6, m7]),
                )?);
            }
            Values::Uuid(builder) => builder.append_value(bytes).map_err(|_| malformed)?,
            Values::Bytea(builder) => builder.append_value(bytes),
            Values::Bits(builder) => {
                self.scratch.clear();
                bits(bytes, &mut self.scratch)?;
                builder.append_value(utf8(&self.scratch)?);
            }
            Values::Jsonb(builder) => match bytes {
                [1, text @ ..] => builder.append_value(utf8(text)?),
                _ => return Err(malformed),
            },
            Values::Text(builder) => builder.append_value(utf8(bytes)?),
            Values::Opaque(_) => return Err(ValueError::Opaque),
            Values::List(list) => {
                let elements = &mut list.elements;
                let mut count = 0;
                array::each_of_binary(bytes, |element| {
                    count += 1;
                    match element {
                        None => elements.append_null(),
                        Some(bytes) => elements.append_binary(bytes)?,
                    }
                    Ok(())
                })?;
                list.grow(count)?;
            }
        }
        Ok(())
    }
}

impl Column for Appender {
    fn append_null(&mut self) {
        with_builder!(&mut self.values, builder => builder.append_null(), list => list.end(false));
    }

    /// The appender starts again, empty.
    ///
    /// # Panics
    /// If fewer rows were appended.
    fn finish(&mut self, rows: usize) -> ArrayRef {
        let array: ArrayRef = with_builder!(
            &mut self.values,
            builder => Arc::new(builder.finish()),
            list => Arc::new(list.finish())
        );
        if array.len() == rows {
            array
        } else {
            array.slice(0, rows)
        }
    }
}

impl<A> Digits<A> {
    /// What to append for a parsed number; `None` stood for NaN or infinity.
    fn checked(&self, value: Option<A>) -> Result<Option<A>, ValueError> {
        match value {
            None if !self.null => Err(ValueError::NotANumber),
            value => Ok(value),
        }
    }
}

impl List {
    /// Ends a row after `count` more elements.
    fn grow(&mut self, count: usize) -> Appended {
        self.length = i32::try_from(count)
            .ok()
            .and_then(|count| self.length.checked_add(count))
            .ok_or(ValueError::Malformed)?;
        self.end(true);
        Ok(())
    }

    fn end(&mut self, valid: bool) {
        self.offsets.push(self.length);
        self.nulls.append(valid);
    }

    fn finish(&mut self) -> ListArray {
        let offsets = std::mem::replace(&mut self.offsets, vec![0]);
        let length = usize::try_from(std::mem::take(&mut self.length)).unwrap_or(0);
        ListArray::new(
            Arc::clone(&self.field),
            // Offsets rise from 0, by `grow`.
            OffsetBuffer::new(offsets.into()),
            self.elements.finish(length),
            self.nulls.finish(),
        )
    }
}
