//! What a column is on the wire: its Connect type, and its values as JSON.
//!
//! Invariant: a column's kind depends on its type and the settings alone, so that the existing rows
//! of a table and its changes are written alike.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, DecimalType, DurationMicrosecondType,
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, IntervalMonthDayNanoType,
    IntervalUnit, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use cdc_api::Column;

use super::{Connector, decimal, hstore, temporal, text};
use crate::config::{Binary, Decimals, Hstore, Intervals, KafkaConfig, Times, UnsignedBigint};

/// How a column's values are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Boolean,
    /// Any integer; the Connect type's name.
    Integer(&'static str),
    /// Unsigned 64 bits as signed ones.
    UnsignedLong,
    /// Unsigned 64 bits as a decimal.
    UnsignedPrecise,
    Float,
    Double,
    Decimal {
        precision: u8,
        scale: i8,
        form: Decimals,
    },
    /// A number without a declared scale, which travels as text.
    Number(Decimals),
    Money(Decimals),
    Date {
        connect: bool,
    },
    TimeMillis {
        connect: bool,
    },
    TimeMicros,
    TimestampMillis {
        connect: bool,
    },
    TimestampMicros,
    Zoned {
        digits: usize,
    },
    ZonedTime,
    IntervalMicros,
    IntervalText,
    Uuid,
    Bytes(Binary),
    Bit,
    Bits(u32),
    /// Text, with the semantic type's name.
    Text(Option<&'static str>),
    HstoreJson,
    HstoreMap,
    Point,
    Year,
    List(Box<Kind>),
}

impl Kind {
    pub(super) fn of(column: &Column, connector: Connector, config: &KafkaConfig) -> Option<Self> {
        let json = column.extension.as_deref() == Some("arrow.json");
        Self::of_type(
            &column.data_type,
            &column.source_type,
            json,
            connector,
            config,
        )
    }

    fn of_type(
        data_type: &DataType,
        source_type: &str,
        json: bool,
        connector: Connector,
        config: &KafkaConfig,
    ) -> Option<Self> {
        let mysql = connector == Connector::Mysql;
        let connect = config.times == Times::Connect;
        let digits = digits(source_type);
        Some(match data_type {
            DataType::Boolean => Self::Boolean,
            DataType::Int32 | DataType::UInt16 | DataType::Int16
                if source_type.starts_with("year") =>
            {
                Self::Year
            }
            DataType::Int8 | DataType::UInt8 | DataType::Int16 => Self::Integer("int16"),
            DataType::UInt16 | DataType::Int32 => Self::Integer("int32"),
            DataType::UInt32 | DataType::Int64 => Self::Integer("int64"),
            DataType::UInt64 => match config.unsigned_bigint {
                UnsignedBigint::Long => Self::UnsignedLong,
                UnsignedBigint::Precise => Self::UnsignedPrecise,
            },
            DataType::Float32 => Self::Float,
            DataType::Float64 => Self::Double,
            DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
                Self::Decimal {
                    precision: *precision,
                    scale: *scale,
                    form: config.decimals,
                }
            }
            DataType::Date32 => Self::Date { connect },
            DataType::Time64(TimeUnit::Microsecond) => match config.times {
                Times::Connect => Self::TimeMillis { connect },
                Times::Adaptive if !mysql && digits.is_some_and(|digits| digits <= 3) => {
                    Self::TimeMillis { connect }
                }
                _ => Self::TimeMicros,
            },
            DataType::Duration(TimeUnit::Microsecond) => {
                if connect {
                    Self::TimeMillis { connect }
                } else {
                    Self::TimeMicros
                }
            }
            DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => Self::Zoned {
                // Without a modifier PostgreSQL keeps 6 digits, MySQL none.
                digits: digits.unwrap_or(if mysql { 0 } else { 6 }),
            },
            DataType::Timestamp(TimeUnit::Microsecond, None) => {
                if connect || digits.unwrap_or(if mysql { 0 } else { 6 }) <= 3 {
                    Self::TimestampMillis { connect }
                } else {
                    Self::TimestampMicros
                }
            }
            DataType::Interval(IntervalUnit::MonthDayNano) => match config.intervals {
                Intervals::Numeric => Self::IntervalMicros,
                Intervals::String => Self::IntervalText,
            },
            DataType::FixedSizeBinary(16) => Self::Uuid,
            DataType::Binary | DataType::LargeBinary if mysql && source_type.starts_with("bit") => {
                Self::bits(source_type)
            }
            DataType::Binary | DataType::LargeBinary => Self::Bytes(config.binary),
            DataType::Utf8 | DataType::LargeUtf8 => Self::of_text(source_type, json, config),
            DataType::List(element) => {
                let name = source_type.strip_suffix("[]").unwrap_or(source_type);
                Self::List(Box::new(Self::of_type(
                    element.data_type(),
                    name,
                    matches!(name, "json" | "jsonb"),
                    connector,
                    config,
                )?))
            }
            _ => return None,
        })
    }

    fn bits(source_type: &str) -> Self {
        let length = modifier(source_type).and_then(|text| text.parse().ok());
        match length {
            Some(1) => Self::Bit,
            // `bit` alone is one bit; `bit varying` alone has no bound.
            None if source_type == "bit" => Self::Bit,
            length => Self::Bits(length.unwrap_or(i32::MAX as u32)),
        }
    }

    fn of_text(source_type: &str, json: bool, config: &KafkaConfig) -> Self {
        let name = source_type.split('(').next().unwrap_or(source_type);
        match name.trim_end() {
            "numeric" => Self::Number(config.decimals),
            "money" => Self::Money(config.decimals),
            "bit" | "bit varying" | "varbit" => Self::bits(source_type),
            "hstore" | "public.hstore" => match config.hstore {
                Hstore::Json => Self::HstoreJson,
                Hstore::Map => Self::HstoreMap,
            },
            "point" => Self::Point,
            "timetz" | "time with time zone" => Self::ZonedTime,
            "time" if source_type.ends_with("with time zone") => Self::ZonedTime,
            "xml" => Self::Text(Some("io.debezium.data.Xml")),
            "ltree" => Self::Text(Some("io.debezium.data.Ltree")),
            "tsvector" => Self::Text(Some("io.debezium.data.Tsvector")),
            _ if json => Self::Text(Some("io.debezium.data.Json")),
            _ => Self::Text(None),
        }
    }

    /// Appends one value; null where the array is.
    pub(super) fn write(&self, out: &mut Vec<u8>, array: &ArrayRef, row: usize) {
        if array.is_null(row) {
            return out.extend_from_slice(b"null");
        }
        match self {
            Self::Boolean => {
                let value = array.as_boolean().value(row);
                out.extend_from_slice(if value { b"true" } else { b"false" });
            }
            Self::Integer(_) | Self::Year => integer(out, array, row),
            Self::UnsignedLong => {
                let value = array.as_primitive::<UInt64Type>().value(row);
                text::integer(out, value.cast_signed());
            }
            Self::UnsignedPrecise => {
                let value = i128::from(array.as_primitive::<UInt64Type>().value(row));
                text::base64(out, decimal::shortest(&value.to_be_bytes()));
            }
            Self::Float => text::float(out, array.as_primitive::<Float32Type>().value(row)),
            Self::Double => text::double(out, array.as_primitive::<Float64Type>().value(row)),
            Self::Decimal {
                precision,
                scale,
                form,
            } => write_decimal(out, array, row, (*precision, *scale), *form),
            Self::Number(form) => number(out, utf8(array, row), *form),
            Self::Money(form) => money(out, utf8(array, row), *form),
            Self::Date { .. } => text::integer(out, array.as_primitive::<Date32Type>().value(row)),
            Self::TimeMillis { .. } => text::integer(out, time_of_day(array, row).div_euclid(1000)),
            Self::TimeMicros => text::integer(out, time_of_day(array, row)),
            Self::TimestampMillis { .. } => {
                let value = array.as_primitive::<TimestampMicrosecondType>().value(row);
                text::integer(out, temporal::millis(value));
            }
            Self::TimestampMicros => {
                let value = array.as_primitive::<TimestampMicrosecondType>().value(row);
                text::integer(out, temporal::micros(value));
            }
            Self::Zoned { digits } => {
                let value = array.as_primitive::<TimestampMicrosecondType>().value(row);
                temporal::zoned(out, value, *digits);
            }
            Self::ZonedTime => temporal::zoned_time(out, utf8(array, row)),
            Self::IntervalMicros | Self::IntervalText => {
                let value = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
                let (months, days, nanos) = (value.months, value.days, value.nanoseconds);
                if *self == Self::IntervalText {
                    temporal::interval_text(out, months, days, nanos);
                } else {
                    text::integer(out, temporal::interval_micros(months, days, nanos));
                }
            }
            Self::Uuid => uuid(out, array.as_fixed_size_binary().value(row)),
            Self::Bytes(form) => bytes(out, binary(array, row), *form),
            Self::Bit => {
                let set = match array.data_type() {
                    DataType::Binary | DataType::LargeBinary => {
                        binary(array, row).iter().any(|byte| *byte != 0)
                    }
                    _ => utf8(array, row) == "1",
                };
                out.extend_from_slice(if set { b"true" } else { b"false" });
            }
            Self::Bits(_) => bits(out, array, row),
            Self::Text(_) => text::string(out, utf8(array, row)),
            Self::HstoreJson => hstore::json(out, utf8(array, row)),
            Self::HstoreMap => hstore::map(out, utf8(array, row)),
            Self::Point => point(out, utf8(array, row)),
            Self::List(element) => {
                let values = list(array, row);
                out.push(b'[');
                for index in 0..values.len() {
                    if index > 0 {
                        out.push(b',');
                    }
                    element.write(out, &values, index);
                }
                out.push(b']');
            }
        }
    }

    /// Whether there is a value that stands for one that was not sent.
    pub(super) fn has_unavailable(&self) -> bool {
        matches!(
            self,
            Self::Text(_)
                | Self::Bytes(_)
                | Self::HstoreJson
                | Self::HstoreMap
                | Self::Bits(_)
                | Self::Number(_)
                | Self::Decimal { .. }
                | Self::List(_)
        )
    }

    /// Appends the value that stands for one that was not sent.
    pub(super) fn write_unavailable(&self, out: &mut Vec<u8>, placeholder: &str) {
        match self {
            Self::Bytes(Binary::Bytes) | Self::Bits(_) => text::base64(out, placeholder.as_bytes()),
            Self::Decimal {
                form: Decimals::Precise,
                ..
            } => {
                text::base64(out, placeholder.as_bytes());
            }
            Self::Number(Decimals::Precise) => {
                out.extend_from_slice(b"{\"scale\":0,\"value\":");
                text::base64(out, placeholder.as_bytes());
                out.push(b'}');
            }
            Self::HstoreMap => {
                out.push(b'{');
                text::string(out, placeholder);
                out.push(b':');
                text::string(out, placeholder);
                out.push(b'}');
            }
            Self::HstoreJson => {
                let mut inner = Vec::new();
                Self::HstoreMap.write_unavailable(&mut inner, placeholder);
                text::string(out, &String::from_utf8_lossy(&inner));
            }
            Self::List(element) => {
                out.push(b'[');
                element.write_unavailable(out, placeholder);
                out.push(b']');
            }
            _ => text::string(out, placeholder),
        }
    }

    /// Appends what Debezium writes for a column that may not be null and whose old value the
    /// source has not sent.
    pub(super) fn write_fallback(&self, out: &mut Vec<u8>) {
        let value: &[u8] = match self {
            Self::Decimal {
                scale,
                form: Decimals::String,
                ..
            } => return zero(out, usize::try_from(*scale).unwrap_or(0)),
            Self::Money(Decimals::String) => return zero(out, 2),
            Self::Boolean | Self::Bit => b"false",
            Self::Float | Self::Double => b"0.0",
            Self::Decimal { form, .. } | Self::Money(form) => match form {
                Decimals::Precise => b"\"AA==\"",
                Decimals::Double => b"0.0",
                Decimals::String => b"\"0\"",
            },
            Self::UnsignedPrecise => b"\"AA==\"",
            Self::Number(form) => match form {
                Decimals::Precise => b"{\"scale\":0,\"value\":\"AA==\"}",
                Decimals::Double => b"0.0",
                Decimals::String => b"\"0\"",
            },
            Self::Zoned { .. } => b"\"1970-01-01T00:00:00Z\"",
            Self::ZonedTime => b"\"00:00:00Z\"",
            Self::IntervalText => b"\"P0Y0M0DT0H0M0S\"",
            Self::Integer(_)
            | Self::Year
            | Self::UnsignedLong
            | Self::Date { .. }
            | Self::TimeMillis { .. }
            | Self::TimeMicros
            | Self::TimestampMillis { .. }
            | Self::TimestampMicros
            | Self::IntervalMicros => b"0",
            Self::HstoreMap => b"{}",
            Self::Point => {
                b"{\"x\":0.0,\"y\":0.0,\"wkb\":\"AQEAAAAAAAAAAAAAAAAAAAAAAAAA\",\"srid\":null}"
            }
            Self::List(_) => b"[]",
            Self::HstoreJson => b"\"{}\"",
            Self::Uuid | Self::Bytes(_) | Self::Bits(_) | Self::Text(_) => b"\"\"",
        };
        out.extend_from_slice(value);
    }
}

/// `0.00` in quotes.
fn zero(out: &mut Vec<u8>, scale: usize) {
    let digits = if scale == 0 {
        "0".to_owned()
    } else {
        format!("0.{:0<scale$}", "")
    };
    text::string(out, &digits);
}

fn modifier(source_type: &str) -> Option<&str> {
    let (_, rest) = source_type.split_once('(')?;
    Some(rest.split_once(')')?.0.trim())
}

/// The declared digits of a second.
fn digits(source_type: &str) -> Option<usize> {
    modifier(source_type)?.parse().ok()
}

fn integer(out: &mut Vec<u8>, array: &ArrayRef, row: usize) {
    match array.data_type() {
        DataType::Int8 => text::integer(out, array.as_primitive::<Int8Type>().value(row)),
        DataType::Int16 => text::integer(out, array.as_primitive::<Int16Type>().value(row)),
        DataType::Int32 => text::integer(out, array.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => text::integer(out, array.as_primitive::<Int64Type>().value(row)),
        DataType::UInt8 => text::integer(out, array.as_primitive::<UInt8Type>().value(row)),
        DataType::UInt16 => text::integer(out, array.as_primitive::<UInt16Type>().value(row)),
        _ => text::integer(out, array.as_primitive::<UInt32Type>().value(row)),
    }
}

fn utf8(array: &ArrayRef, row: usize) -> &str {
    match array.data_type() {
        DataType::LargeUtf8 => array.as_string::<i64>().value(row),
        _ => array.as_string::<i32>().value(row),
    }
}

fn binary(array: &ArrayRef, row: usize) -> &[u8] {
    match array.data_type() {
        DataType::LargeBinary => array.as_binary::<i64>().value(row),
        _ => array.as_binary::<i32>().value(row),
    }
}

fn list(array: &ArrayRef, row: usize) -> ArrayRef {
    array.as_list::<i32>().value(row)
}

fn time_of_day(array: &ArrayRef, row: usize) -> i64 {
    match array.data_type() {
        DataType::Duration(_) => array.as_primitive::<DurationMicrosecondType>().value(row),
        _ => array.as_primitive::<Time64MicrosecondType>().value(row),
    }
}

fn write_decimal(
    out: &mut Vec<u8>,
    array: &ArrayRef,
    row: usize,
    (precision, scale): (u8, i8),
    form: Decimals,
) {
    let wide = matches!(array.data_type(), DataType::Decimal256(..));
    if form == Decimals::Precise {
        return if wide {
            let value = array.as_primitive::<Decimal256Type>().value(row);
            text::base64(out, decimal::shortest(&value.to_be_bytes()));
        } else {
            let value = array.as_primitive::<Decimal128Type>().value(row);
            text::base64(out, decimal::shortest(&value.to_be_bytes()));
        };
    }
    let digits = if wide {
        let value = array.as_primitive::<Decimal256Type>().value(row);
        Decimal256Type::format_decimal(value, precision, scale)
    } else {
        let value = array.as_primitive::<Decimal128Type>().value(row);
        Decimal128Type::format_decimal(value, precision, scale)
    };
    number(out, &digits, form);
}

/// A number that travels as text; what is no number (`NaN`) stays text.
fn number(out: &mut Vec<u8>, digits: &str, form: Decimals) {
    match form {
        Decimals::Precise => match decimal::parse(digits) {
            Some((scale, unscaled)) => {
                out.extend_from_slice(b"{\"scale\":");
                text::integer(out, scale);
                out.extend_from_slice(b",\"value\":");
                text::base64(out, &unscaled);
                out.push(b'}');
            }
            None => text::string(out, digits),
        },
        Decimals::Double => match digits.parse::<f64>() {
            Ok(value) => text::double(out, value),
            Err(_) => text::string(out, digits),
        },
        Decimals::String => text::string(out, digits),
    }
}

fn money(out: &mut Vec<u8>, value: &str, form: Decimals) {
    let Some(digits) = decimal::money(value) else {
        return text::string(out, value);
    };
    match (form, decimal::at_scale(&digits, 2)) {
        (Decimals::Precise, Some(unscaled)) => text::base64(out, &unscaled),
        _ => number(out, &digits, form),
    }
}

fn bytes(out: &mut Vec<u8>, value: &[u8], form: Binary) {
    match form {
        Binary::Bytes | Binary::Base64 => text::base64(out, value),
        Binary::Base64UrlSafe => text::base64_url_safe(out, value),
        Binary::Hex => text::hex(out, value),
    }
}

fn uuid(out: &mut Vec<u8>, value: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for (index, byte) in value.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.push(HEX[usize::from(byte >> 4)]);
        out.push(HEX[usize::from(byte & 15)]);
    }
    out.push(b'"');
}

/// Bits as bytes, the lowest first. PostgreSQL's travel as text, the highest bit first; MySQL's as
/// bytes, the highest first.
fn bits(out: &mut Vec<u8>, array: &ArrayRef, row: usize) {
    if matches!(array.data_type(), DataType::Binary | DataType::LargeBinary) {
        let mut value = binary(array, row).to_vec();
        value.reverse();
        return text::base64(out, &value);
    }
    let digits = utf8(array, row).as_bytes();
    let mut value = vec![0u8; digits.len().div_ceil(8)];
    for (place, digit) in digits.iter().rev().enumerate() {
        if *digit == b'1' {
            value[place / 8] |= 1 << (place % 8);
        }
    }
    text::base64(out, &value);
}

/// `(1.5,2)` as a structure with its well-known binary; what is not of this form is null.
fn point(out: &mut Vec<u8>, value: &str) {
    let parsed = value
        .strip_prefix('(')
        .and_then(|rest| rest.strip_suffix(')'))
        .and_then(|rest| rest.split_once(','))
        .and_then(|(x, y)| Some((x.trim().parse::<f64>().ok()?, y.trim().parse::<f64>().ok()?)));
    let Some((x, y)) = parsed else {
        return out.extend_from_slice(b"null");
    };
    out.extend_from_slice(b"{\"x\":");
    text::double(out, x);
    out.extend_from_slice(b",\"y\":");
    text::double(out, y);
    let mut wkb = vec![1, 1, 0, 0, 0];
    wkb.extend_from_slice(&x.to_le_bytes());
    wkb.extend_from_slice(&y.to_le_bytes());
    out.extend_from_slice(b",\"wkb\":");
    text::base64(out, &wkb);
    out.extend_from_slice(b",\"srid\":null}");
}
