//! Values of the log's row images.
//!
//! A [`Form`] says where a value ends, which also rows that are passed over need, and which of the
//! type's forms it is in.

use std::io::Read;

use super::{
    Appended, Appender, Values, append_bits, append_moment, append_padded, append_vector,
    append_written, dated, utf8,
};
use crate::types::temporal::{self, Civil};
use crate::types::{ValueError, json, network, number};
use crate::wire::{Short, Wire};

/// How a column's values lie in a row image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Form {
    /// Where they end.
    pub(crate) size: Size,
    /// What they are.
    pub(crate) kind: FormKind,
}

/// Where a value ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    /// After this many bytes.
    Fixed(usize),
    /// After as many bytes as an integer of this width before them says.
    Prefixed(usize),
}

/// Which of the forms of its type a value has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FormKind {
    /// The only one.
    Plain,
    /// Temporal types with this many digits of a second (5.6.4 and later).
    Fraction(u8),
    /// Temporal types without, of tables older than that.
    OldTemporal,
    /// MariaDB's COMPRESSED columns.
    Compressed,
}

impl Form {
    /// Takes the next value's bytes, without its length.
    #[inline]
    pub(crate) fn take<'a>(&self, image: &mut Wire<'a>) -> Result<&'a [u8], Short> {
        match self.size {
            Size::Fixed(width) => image.take(width),
            Size::Prefixed(width) => {
                let length = usize::try_from(image.uint(width)?).map_err(|_| Short)?;
                image.take(length)
            }
        }
    }
}

impl Appender {
    /// Appends a value that is not NULL, given the bytes that `form` took.
    ///
    /// # Errors
    /// When it is not a value of the type, or cannot be represented.
    #[inline]
    pub(crate) fn append_logged(&mut self, form: Form, bytes: &[u8]) -> Appended {
        if form.kind == FormKind::Compressed {
            let inflated = inflate(bytes)?;
            let plain = Form {
                kind: FormKind::Plain,
                ..form
            };
            return self.append_logged(plain, &inflated);
        }
        let policy = self.zero_dates;
        let scratch = &mut self.scratch;
        let mut wire = Wire(bytes);
        match &mut self.values {
            Values::Int8(builder) => builder.append_value(wire.u8()?.cast_signed()),
            Values::Int16(builder) => builder.append_value(wire.u16()?.cast_signed()),
            Values::Int32(builder) if bytes.len() == 3 => {
                builder.append_value((wire.u24()? << 8).cast_signed() >> 8);
            }
            Values::Int32(builder) => builder.append_value(wire.u32()?.cast_signed()),
            Values::Int64(builder) => builder.append_value(wire.u64()?.cast_signed()),
            Values::UInt8(builder) => builder.append_value(wire.u8()?),
            Values::UInt16(builder) => builder.append_value(wire.u16()?),
            Values::UInt32(builder) => {
                builder.append_value(u32::try_from(wire.uint(bytes.len())?).unwrap_or(u32::MAX));
            }
            Values::UInt64(builder) => builder.append_value(wire.u64()?),
            Values::Float(builder) => builder.append_value(f32::from_bits(wire.u32()?)),
            Values::Double(builder) => builder.append_value(f64::from_bits(wire.u64()?)),
            Values::Decimal128(builder, precision, scale) => {
                builder.append_value(number::of_packed(bytes, *precision, *scale)?);
            }
            Values::Decimal256(builder, precision, scale) => {
                builder.append_value(number::of_packed(bytes, *precision, *scale)?);
            }
            Values::Bit(builder, bits) => append_bits(builder, *bits, bytes, scratch)?,
            Values::Year(builder) => builder.append_value(match wire.u8()? {
                0 => 0,
                year => u16::from(year) + 1900,
            }),
            Values::Date(builder) => {
                let civil = temporal::date_of_log(bytes)?;
                builder.append_option(dated(civil.days(), policy)?);
            }
            Values::DateText(builder) => {
                let civil = temporal::date_of_log(bytes)?;
                append_written(builder, scratch, |text| {
                    civil.write_date(text);
                    Ok(())
                })?;
            }
            Values::DateTime(builder) => append_moment(builder, datetime(form, bytes)?, policy)?,
            Values::DateTimeText(builder, digits) => {
                let civil = datetime(form, bytes)?;
                let digits = *digits;
                append_written(builder, scratch, |text| {
                    civil.write(digits, text);
                    Ok(())
                })?;
            }
            Values::Timestamp(builder) => {
                let micros = timestamp(form, bytes)?.map(|(seconds, micro)| {
                    i64::try_from(seconds).unwrap_or(0) * 1_000_000 + i64::from(micro)
                });
                builder.append_option(dated(micros, policy)?);
            }
            Values::TimestampText(builder, digits) => {
                let civil = timestamp(form, bytes)?.map_or(Civil::default(), |(seconds, micro)| {
                    Civil::of_unix(seconds, micro)
                });
                let digits = *digits;
                append_written(builder, scratch, |text| {
                    civil.write(digits, text);
                    Ok(())
                })?;
            }
            Values::Time(builder) => builder.append_value(match form.kind {
                FormKind::Fraction(digits) => temporal::time_of_log(bytes, digits)?,
                _ => temporal::old_time_of_log(bytes)?,
            }),
            Values::Text(builder, charset) if charset.is_utf8() => {
                builder.append_value(utf8(bytes)?);
            }
            Values::Text(builder, charset) => {
                append_written(builder, scratch, |text| charset.decode(bytes, text))?;
            }
            Values::Bytes(builder) => builder.append_value(bytes),
            Values::Padded(builder, length) => append_padded(builder, bytes, *length)?,
            Values::Enum(builder, members) => {
                let number = usize::try_from(wire.uint(bytes.len())?).unwrap_or(usize::MAX);
                builder.append_value(match number.checked_sub(1) {
                    None => "",
                    Some(index) => members.get(index).ok_or(ValueError::Malformed)?,
                });
            }
            Values::Set(builder, members) => {
                let mask = wire.uint(bytes.len())?;
                let known = match members.len() {
                    64.. => u64::MAX,
                    count => (1 << count) - 1,
                };
                if mask & !known != 0 {
                    return Err(ValueError::Malformed);
                }
                append_written(builder, scratch, |text| {
                    for (index, member) in members.iter().enumerate().take(64) {
                        if mask >> index & 1 == 1 {
                            if mask & ((1 << index) - 1) != 0 {
                                text.push(',');
                            }
                            text.push_str(member);
                        }
                    }
                    Ok(())
                })?;
            }
            Values::Json(builder) => {
                append_written(builder, scratch, |text| json::write(bytes, text))?;
            }
            Values::Vector(builder) => append_vector(builder, bytes)?,
            Values::Uuid(builder) => {
                let uuid = network::uuid_of_record(bytes)?;
                builder
                    .append_value(uuid)
                    .map_err(|_| ValueError::Malformed)?;
            }
            Values::Inet6(builder) => {
                append_written(builder, scratch, |text| network::write_inet6(bytes, text))?;
            }
            Values::Inet4(builder) => {
                append_written(builder, scratch, |text| network::write_inet4(bytes, text))?;
            }
        }
        Ok(())
    }
}

fn datetime(form: Form, bytes: &[u8]) -> Result<Civil, ValueError> {
    match form.kind {
        FormKind::Fraction(digits) => temporal::datetime_of_log(bytes, digits),
        _ => temporal::old_datetime_of_log(bytes),
    }
}

fn timestamp(form: Form, bytes: &[u8]) -> Result<Option<(u64, u32)>, ValueError> {
    match form.kind {
        FormKind::Fraction(digits) => temporal::timestamp_of_log(bytes, digits),
        _ => {
            let seconds = Wire(bytes).uint(4)?;
            Ok((seconds != 0).then_some((seconds, 0)))
        }
    }
}

/// A value of MariaDB's COMPRESSED columns: a byte with the method (0: none, 8: zlib) above the
/// number of bytes of the length, big-endian, that follows; nothing at all for an empty one.
fn inflate(bytes: &[u8]) -> Result<Vec<u8>, ValueError> {
    let mut wire = Wire(bytes);
    if wire.is_empty() {
        return Ok(Vec::new());
    }
    let head = wire.u8()?;
    match head >> 4 {
        0 => Ok(wire.rest().to_vec()),
        8 => {
            let length = wire.uint_be(usize::from(head & 7))?;
            // Without zlib's header where bit 3 says so.
            let mut inflated = Vec::new();
            let limit = length.checked_add(1).ok_or(ValueError::Malformed)?;
            let body = wire.rest();
            let read = if head & 8 == 0 {
                flate2::read::ZlibDecoder::new(body)
                    .take(limit)
                    .read_to_end(&mut inflated)
            } else {
                flate2::read::DeflateDecoder::new(body)
                    .take(limit)
                    .read_to_end(&mut inflated)
            };
            read.map_err(|_| ValueError::Malformed)?;
            if inflated.len() as u64 != length {
                return Err(ValueError::Malformed);
            }
            Ok(inflated)
        }
        _ => Err(ValueError::Malformed),
    }
}
