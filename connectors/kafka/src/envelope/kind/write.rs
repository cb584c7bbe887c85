//! A column's values, written straight from Arrow's arrays.
//!
//! Invariant: what a value looks like depends on its kind and on the way of writing alone; nothing
//! is allocated for it but where a type travels as text that has to be taken apart.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, DecimalType, DurationMicrosecondType,
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, IntervalMonthDayNanoType,
    Time64MicrosecondType, TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use md5::{Digest, Md5};

use super::super::wire::Wire;
use super::super::{decimal, hstore, temporal, text};
use super::Kind;
use crate::config::{Binary, Decimals};

/// A value that its column's type on the wire does not have, such as `NaN` among decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unfit;

type Written = Result<(), Unfit>;

impl Kind {
    /// Appends the value of a place that may have none, or that may not: then what has none
    /// nevertheless (a zero date of MySQL) is the type's zero where only a value is of the type.
    pub(crate) fn write_in<W: Wire>(
        &self,
        out: &mut Vec<u8>,
        nullable: bool,
        array: &ArrayRef,
        row: usize,
    ) -> Written {
        match (array.is_null(row), nullable) {
            (true, false) if W::TYPED => {
                self.write_fallback::<W>(out);
                Ok(())
            }
            (true, _) => {
                W::null(out);
                Ok(())
            }
            (false, true) => {
                W::some(out);
                self.write::<W>(out, array, row)
            }
            (false, false) => self.write::<W>(out, array, row),
        }
    }

    /// Appends a value that is there.
    fn write<W: Wire>(&self, out: &mut Vec<u8>, array: &ArrayRef, row: usize) -> Written {
        match self {
            Self::Boolean => W::boolean(out, array.as_boolean().value(row)),
            Self::Integer(_) | Self::Year => W::integer(out, integer(array, row)),
            Self::UnsignedLong => {
                let value = array.as_primitive::<UInt64Type>().value(row);
                W::integer(out, value.cast_signed());
            }
            Self::UnsignedPrecise => {
                let value = i128::from(array.as_primitive::<UInt64Type>().value(row));
                W::bytes(out, decimal::shortest(&value.to_be_bytes()));
            }
            Self::Float => W::float(out, array.as_primitive::<Float32Type>().value(row)),
            Self::Double => W::double(out, array.as_primitive::<Float64Type>().value(row)),
            Self::Decimal {
                precision,
                scale,
                form,
            } => return exact::<W>(out, array, row, (*precision, *scale), *form),
            Self::Number(form) => return number::<W>(out, utf8(array, row), *form),
            Self::Money(form) => return money::<W>(out, utf8(array, row), *form),
            Self::Date { .. } => {
                let days = array.as_primitive::<Date32Type>().value(row);
                W::integer(out, i64::from(days));
            }
            Self::TimeMillis { .. } => W::integer(out, time_of_day(array, row).div_euclid(1000)),
            Self::TimeMicros => W::integer(out, time_of_day(array, row)),
            Self::TimestampMillis { .. } => {
                W::integer(out, temporal::millis(timestamp(array, row)));
            }
            Self::TimestampMicros => W::integer(out, temporal::micros(timestamp(array, row))),
            Self::DateText => {
                let days = array.as_primitive::<Date32Type>().value(row);
                W::ascii(out, |out| temporal::iso_date(out, days));
            }
            Self::TimeText => W::ascii(out, |out| temporal::iso_time(out, time_of_day(array, row))),
            Self::TimestampText => {
                W::ascii(out, |out| {
                    temporal::iso_timestamp(out, timestamp(array, row))
                });
            }
            Self::Zoned { digits } => {
                let value = timestamp(array, row);
                W::ascii(out, |out| temporal::zoned(out, value, *digits));
            }
            Self::ZonedTime => {
                let value = utf8(array, row);
                match temporal::parse_zoned_time(value) {
                    Some(utc) => W::ascii(out, |out| temporal::zoned_time(out, utc)),
                    None => W::string(out, value),
                }
            }
            Self::IntervalMicros | Self::IntervalText => {
                let value = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
                let (months, days, nanos) = (value.months, value.days, value.nanoseconds);
                if *self == Self::IntervalText {
                    W::ascii(out, |out| temporal::interval_text(out, months, days, nanos));
                } else {
                    W::integer(out, temporal::interval_micros(months, days, nanos));
                }
            }
            Self::Uuid => uuid::<W>(out, array.as_fixed_size_binary().value(row)),
            Self::Bytes(form) => bytes::<W>(out, binary(array, row), *form),
            Self::Bit => W::boolean(
                out,
                match array.data_type() {
                    DataType::Binary | DataType::LargeBinary => {
                        binary(array, row).iter().any(|byte| *byte != 0)
                    }
                    _ => utf8(array, row) == "1",
                },
            ),
            Self::Bits(_) => bits::<W>(out, array, row),
            Self::Text(_) => W::string(out, utf8(array, row)),
            Self::HstoreJson => hstore::json::<W>(out, utf8(array, row)),
            Self::HstoreMap => hstore::map::<W>(out, utf8(array, row)),
            Self::Point => return point::<W>(out, utf8(array, row)),
            Self::Geometry { point } => return geometry::<W>(out, binary(array, row), *point),
            Self::List(element) => {
                let values = array.as_list::<i32>().value(row);
                W::begin(out, false, values.len());
                for index in 0..values.len() {
                    W::item(out, index == 0);
                    element.write_in::<W>(out, true, &values, index)?;
                }
                W::end(out, false);
            }
        }
        Ok(())
    }

    /// Appends the value that stands for one that was not sent, as far as there is one.
    pub(crate) fn write_unavailable<W: Wire>(&self, out: &mut Vec<u8>, placeholder: &str) {
        match self {
            Self::Bytes(Binary::Bytes)
            | Self::Bits(_)
            | Self::Decimal {
                form: Decimals::Precise,
                ..
            } => W::bytes(out, placeholder.as_bytes()),
            Self::Number(Decimals::Precise) => scaled::<W>(out, 0, placeholder.as_bytes()),
            Self::HstoreMap => {
                W::begin(out, true, 1);
                W::entry(out, true, placeholder);
                W::some(out);
                W::string(out, placeholder);
                W::end(out, true);
            }
            Self::HstoreJson => {
                let mut inner = Vec::new();
                Self::HstoreMap
                    .write_unavailable::<super::super::wire::Json>(&mut inner, placeholder);
                W::string(out, &String::from_utf8_lossy(&inner));
            }
            Self::List(element) => match element.as_ref() {
                // The placeholder's bytes as numbers, and the UUID that Java makes of them.
                Self::Integer(_) => {
                    W::begin(out, false, placeholder.len());
                    for (index, byte) in placeholder.bytes().enumerate() {
                        W::item(out, index == 0);
                        W::some(out);
                        W::integer(out, i64::from(byte.cast_signed()));
                    }
                    W::end(out, false);
                }
                Self::Uuid => {
                    let mut name: [u8; 16] = Md5::digest(placeholder.as_bytes()).into();
                    name[6] = name[6] & 0x0f | 0x30;
                    name[8] = name[8] & 0x3f | 0x80;
                    W::begin(out, false, 1);
                    W::item(out, true);
                    W::some(out);
                    uuid::<W>(out, &name);
                    W::end(out, false);
                }
                other => {
                    W::begin(out, false, 1);
                    W::item(out, true);
                    W::some(out);
                    other.write_unavailable::<W>(out, placeholder);
                    W::end(out, false);
                }
            },
            _ => W::string(out, placeholder),
        }
    }

    /// Appends what Debezium writes for a column that may not be null and whose old value the
    /// source has not sent.
    pub(crate) fn write_fallback<W: Wire>(&self, out: &mut Vec<u8>) {
        match self {
            Self::Decimal { form, scale, .. } => {
                zero::<W>(out, *form, usize::try_from(*scale).unwrap_or(0));
            }
            Self::Money(form) => zero::<W>(out, *form, 2),
            Self::Boolean | Self::Bit => W::boolean(out, false),
            Self::Float => W::float(out, 0.0),
            Self::Double => W::double(out, 0.0),
            Self::UnsignedPrecise => W::bytes(out, &[0]),
            Self::Number(form) => match form {
                Decimals::Precise => scaled::<W>(out, 0, &[0]),
                Decimals::Double => W::double(out, 0.0),
                Decimals::String => W::string(out, "0"),
            },
            Self::Zoned { .. } | Self::TimestampText => W::string(out, "1970-01-01T00:00:00Z"),
            Self::DateText => W::string(out, "1970-01-01Z"),
            Self::ZonedTime | Self::TimeText => W::string(out, "00:00:00Z"),
            Self::IntervalText => W::string(out, "P0Y0M0DT0H0M0S"),
            Self::Integer(_)
            | Self::Year
            | Self::UnsignedLong
            | Self::Date { .. }
            | Self::TimeMillis { .. }
            | Self::TimeMicros
            | Self::TimestampMillis { .. }
            | Self::TimestampMicros
            | Self::IntervalMicros => W::integer(out, 0),
            Self::HstoreMap | Self::List(_) => {
                let map = *self == Self::HstoreMap;
                W::begin(out, map, 0);
                W::end(out, map);
            }
            Self::Point | Self::Geometry { point: true } => place::<W>(out, 0.0, 0.0),
            Self::Geometry { .. } => shape::<W>(out, None, &[], 0),
            Self::HstoreJson => W::string(out, "{}"),
            Self::Bytes(Binary::Bytes) | Self::Bits(_) => W::bytes(out, &[]),
            Self::Uuid | Self::Bytes(_) | Self::Text(_) => W::string(out, ""),
        }
    }
}

/// `0.00`.
fn zero<W: Wire>(out: &mut Vec<u8>, form: Decimals, scale: usize) {
    match form {
        Decimals::Precise => W::bytes(out, &[0]),
        Decimals::Double => W::double(out, 0.0),
        Decimals::String => W::ascii(out, |out| {
            out.push(b'0');
            if scale > 0 {
                out.push(b'.');
                out.resize(out.len() + scale, b'0');
            }
        }),
    }
}

fn integer(array: &ArrayRef, row: usize) -> i64 {
    match array.data_type() {
        DataType::Int8 => i64::from(array.as_primitive::<Int8Type>().value(row)),
        DataType::Int16 => i64::from(array.as_primitive::<Int16Type>().value(row)),
        DataType::Int32 => i64::from(array.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row),
        DataType::UInt8 => i64::from(array.as_primitive::<UInt8Type>().value(row)),
        DataType::UInt16 => i64::from(array.as_primitive::<UInt16Type>().value(row)),
        _ => i64::from(array.as_primitive::<UInt32Type>().value(row)),
    }
}

fn timestamp(array: &ArrayRef, row: usize) -> i64 {
    array.as_primitive::<TimestampMicrosecondType>().value(row)
}

/// A value's text, of whichever width its offsets are.
pub(crate) fn utf8(array: &ArrayRef, row: usize) -> &str {
    match array.data_type() {
        DataType::LargeUtf8 => array.as_string::<i64>().value(row),
        _ => array.as_string::<i32>().value(row),
    }
}

/// A value's bytes, of whichever width its offsets are.
pub(crate) fn binary(array: &ArrayRef, row: usize) -> &[u8] {
    match array.data_type() {
        DataType::LargeBinary => array.as_binary::<i64>().value(row),
        _ => array.as_binary::<i32>().value(row),
    }
}

fn time_of_day(array: &ArrayRef, row: usize) -> i64 {
    match array.data_type() {
        DataType::Duration(_) => array.as_primitive::<DurationMicrosecondType>().value(row),
        _ => array.as_primitive::<Time64MicrosecondType>().value(row),
    }
}

fn exact<W: Wire>(
    out: &mut Vec<u8>,
    array: &ArrayRef,
    row: usize,
    (precision, scale): (u8, i8),
    form: Decimals,
) -> Written {
    let wide = matches!(array.data_type(), DataType::Decimal256(..));
    if form == Decimals::Precise {
        if wide {
            let value = array.as_primitive::<Decimal256Type>().value(row);
            W::bytes(out, decimal::shortest(&value.to_be_bytes()));
        } else {
            let value = array.as_primitive::<Decimal128Type>().value(row);
            W::bytes(out, decimal::shortest(&value.to_be_bytes()));
        }
        return Ok(());
    }
    let digits = if wide {
        let value = array.as_primitive::<Decimal256Type>().value(row);
        Decimal256Type::format_decimal(value, precision, scale)
    } else {
        let value = array.as_primitive::<Decimal128Type>().value(row);
        Decimal128Type::format_decimal(value, precision, scale)
    };
    number::<W>(out, &digits, form)
}

/// A number that travels as text; what is no number (`NaN`) stays text where it can.
fn number<W: Wire>(out: &mut Vec<u8>, digits: &str, form: Decimals) -> Written {
    let parsed = match form {
        Decimals::Precise => decimal::parse(digits)
            .map(|(scale, unscaled)| scaled::<W>(out, i64::from(scale), &unscaled)),
        Decimals::Double => digits.parse().ok().map(|value| W::double(out, value)),
        Decimals::String => None,
    };
    match parsed {
        Some(()) => {}
        None if W::TYPED && form != Decimals::String => return Err(Unfit),
        None => W::string(out, digits),
    }
    Ok(())
}

fn scaled<W: Wire>(out: &mut Vec<u8>, scale: i64, unscaled: &[u8]) {
    W::open(out);
    W::label(out, true, b"\"scale\":");
    W::integer(out, scale);
    W::label(out, false, b"\"value\":");
    W::bytes(out, unscaled);
    W::close(out);
}

fn money<W: Wire>(out: &mut Vec<u8>, value: &str, form: Decimals) -> Written {
    let digits = decimal::money(value);
    match (&digits, form) {
        (Some(digits), Decimals::Precise) => {
            if let Some(unscaled) = decimal::at_scale(digits, 2) {
                W::bytes(out, &unscaled);
                return Ok(());
            }
        }
        (Some(digits), _) => return number::<W>(out, digits, form),
        (None, _) => {}
    }
    if W::TYPED && form != Decimals::String {
        return Err(Unfit);
    }
    W::string(out, value);
    Ok(())
}

pub(in super::super) fn bytes<W: Wire>(out: &mut Vec<u8>, value: &[u8], form: Binary) {
    match form {
        Binary::Bytes => W::bytes(out, value),
        Binary::Base64 => W::ascii(out, |out| text::base64(out, value)),
        Binary::Base64UrlSafe => W::ascii(out, |out| text::base64_url_safe(out, value)),
        Binary::Hex => W::ascii(out, |out| text::hex(out, value)),
    }
}

fn uuid<W: Wire>(out: &mut Vec<u8>, value: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    W::ascii(out, |out| {
        for (index, byte) in value.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                out.push(b'-');
            }
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 15)]);
        }
    });
}

/// Bits as bytes, the lowest first. PostgreSQL's travel as text, the highest bit first; MySQL's as
/// bytes, the highest first.
fn bits<W: Wire>(out: &mut Vec<u8>, array: &ArrayRef, row: usize) {
    if matches!(array.data_type(), DataType::Binary | DataType::LargeBinary) {
        let mut value = binary(array, row).to_vec();
        value.reverse();
        return W::bytes(out, &value);
    }
    let digits = utf8(array, row).as_bytes();
    let mut value = vec![0u8; digits.len().div_ceil(8)];
    for (place, digit) in digits.iter().rev().enumerate() {
        if *digit == b'1' {
            value[place / 8] |= 1 << (place % 8);
        }
    }
    W::bytes(out, &value);
}

/// `(1.5,2)` as a structure with its well-known binary; what is not of this form is null.
fn point<W: Wire>(out: &mut Vec<u8>, value: &str) -> Written {
    let parsed = value
        .strip_prefix('(')
        .and_then(|rest| rest.strip_suffix(')'))
        .and_then(|rest| rest.split_once(','))
        .and_then(|(x, y)| Some((x.trim().parse().ok()?, y.trim().parse().ok()?)));
    match parsed {
        Some((x, y)) => place::<W>(out, x, y),
        None if W::TYPED => return Err(Unfit),
        None => W::null(out),
    }
    Ok(())
}

/// A geometry of MySQL as a structure; a point that is none is null.
fn geometry<W: Wire>(out: &mut Vec<u8>, value: &[u8], point: bool) -> Written {
    let parsed = value.split_first_chunk::<4>().and_then(|(srid, wkb)| {
        let place = if point { Some(coordinates(wkb)?) } else { None };
        Some((place, wkb, u32::from_le_bytes(*srid)))
    });
    match parsed {
        Some((place, wkb, srid)) => shape::<W>(out, place, wkb, srid),
        None if W::TYPED => return Err(Unfit),
        None => W::null(out),
    }
    Ok(())
}

/// Where a point's well-known binary says that it is.
fn coordinates(wkb: &[u8]) -> Option<(f64, f64)> {
    let number = |at: usize| {
        let bytes = wkb.get(at..at + 8)?.try_into().ok()?;
        Some(match wkb[0] {
            0 => f64::from_be_bytes(bytes),
            _ => f64::from_le_bytes(bytes),
        })
    };
    Some((number(5)?, number(13)?))
}

fn place<W: Wire>(out: &mut Vec<u8>, x: f64, y: f64) {
    let mut wkb = [0; 21];
    wkb[0] = 1;
    wkb[1] = 1;
    wkb[5..13].copy_from_slice(&x.to_le_bytes());
    wkb[13..].copy_from_slice(&y.to_le_bytes());
    shape::<W>(out, Some((x, y)), &wkb, 0);
}

/// Of a point its coordinates, which its well-known binary may be left out beside; and the number of
/// their system, 0 being none.
fn shape<W: Wire>(out: &mut Vec<u8>, place: Option<(f64, f64)>, wkb: &[u8], srid: u32) {
    W::open(out);
    if let Some((x, y)) = place {
        W::label(out, true, b"\"x\":");
        W::double(out, x);
        W::label(out, false, b"\"y\":");
        W::double(out, y);
    }
    W::label(out, place.is_none(), b"\"wkb\":");
    if place.is_some() {
        W::some(out);
    }
    W::bytes(out, wkb);
    W::label(out, false, b"\"srid\":");
    match srid {
        0 => W::null(out),
        srid => {
            W::some(out);
            W::integer(out, i64::from(srid.cast_signed()));
        }
    }
    W::close(out);
}
