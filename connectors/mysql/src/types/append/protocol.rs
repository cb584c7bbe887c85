//! Values of the binary protocol's rows (`COM_STMT_EXECUTE`), read under `SET NAMES utf8mb4` and
//! `time_zone = '+00:00'`.

use super::{
    Appended, Appender, Values, append_bits, append_moment, append_padded, append_vector,
    append_written, dated, utf8,
};
use crate::types::ValueError;
use crate::types::number;
use crate::types::temporal::{Civil, duration};
use crate::wire::Wire;

impl Appender {
    /// Takes one value that is not NULL from a row and appends it. The row's column must be the
    /// bare column that the appender was made for.
    ///
    /// # Errors
    /// When it is not a value of the type, or cannot be represented.
    pub(crate) fn append_protocol(&mut self, row: &mut Wire<'_>) -> Appended {
        let policy = self.zero_dates;
        let scratch = &mut self.scratch;
        match &mut self.values {
            Values::Int8(builder) => builder.append_value(row.u8()?.cast_signed()),
            Values::Int16(builder) => builder.append_value(row.u16()?.cast_signed()),
            Values::Int32(builder) => builder.append_value(row.u32()?.cast_signed()),
            Values::Int64(builder) => builder.append_value(row.u64()?.cast_signed()),
            Values::UInt8(builder) => builder.append_value(row.u8()?),
            Values::UInt16(builder) | Values::Year(builder) => builder.append_value(row.u16()?),
            Values::UInt32(builder) => builder.append_value(row.u32()?),
            Values::UInt64(builder) => builder.append_value(row.u64()?),
            Values::Float(builder) => builder.append_value(f32::from_bits(row.u32()?)),
            Values::Double(builder) => builder.append_value(f64::from_bits(row.u64()?)),
            Values::Decimal128(builder, _, scale) => {
                builder.append_value(number::of_text(row.counted()?, *scale)?);
            }
            Values::Decimal256(builder, _, scale) => {
                builder.append_value(number::of_text(row.counted()?, *scale)?);
            }
            Values::Bit(builder, bits) => append_bits(builder, *bits, row.counted()?, scratch)?,
            Values::Date(builder) => builder.append_option(dated(civil(row)?.days(), policy)?),
            Values::DateText(builder) => {
                let civil = civil(row)?;
                append_written(builder, scratch, |text| {
                    civil.write_date(text);
                    Ok(())
                })?;
            }
            Values::DateTime(builder) => append_moment(builder, civil(row)?, policy)?,
            Values::Timestamp(builder) => append_moment(builder, civil(row)?, policy)?,
            Values::DateTimeText(builder, digits) | Values::TimestampText(builder, digits) => {
                let civil = civil(row)?;
                let digits = *digits;
                append_written(builder, scratch, |text| {
                    civil.write(digits, text);
                    Ok(())
                })?;
            }
            Values::Time(builder) => builder.append_value(time(row)?),
            Values::Text(builder, _)
            | Values::Enum(builder, _)
            | Values::Set(builder, _)
            | Values::Json(builder)
            | Values::Inet6(builder)
            | Values::Inet4(builder) => builder.append_value(utf8(row.counted()?)?),
            Values::Bytes(builder) => builder.append_value(row.counted()?),
            Values::Padded(builder, length) => append_padded(builder, row.counted()?, *length)?,
            Values::Vector(builder) => append_vector(builder, row.counted()?)?,
            Values::Uuid(builder) => {
                let uuid = uuid(row.counted()?)?;
                builder
                    .append_value(uuid)
                    .map_err(|_| ValueError::Malformed)?;
            }
        }
        Ok(())
    }
}

/// A date or a date and time: a byte of length (0, 4, 7, 11), then the parts that are not zero.
fn civil(row: &mut Wire<'_>) -> Result<Civil, ValueError> {
    let length = usize::from(row.u8()?);
    let mut parts = Wire(row.take(length)?);
    let mut civil = Civil::default();
    if length >= 4 {
        civil.year = parts.u16()?;
        civil.month = parts.u8()?;
        civil.day = parts.u8()?;
    }
    if length >= 7 {
        civil.hour = parts.u8()?;
        civil.minute = parts.u8()?;
        civil.second = parts.u8()?;
    }
    if length >= 11 {
        civil.micro = parts.u32()?;
    }
    match length {
        0 | 4 | 7 | 11 => Ok(civil),
        _ => Err(ValueError::Malformed),
    }
}

/// A time: a byte of length (0, 8, 12), then sign, days, and the parts.
fn time(row: &mut Wire<'_>) -> Result<i64, ValueError> {
    let length = usize::from(row.u8()?);
    let mut parts = Wire(row.take(length)?);
    if length == 0 {
        return Ok(0);
    }
    let negative = parts.u8()? != 0;
    let days = u64::from(parts.u32()?);
    let hours = days * 24 + u64::from(parts.u8()?);
    let minutes = u64::from(parts.u8()?);
    let seconds = u64::from(parts.u8()?);
    let micros = match length {
        8 => 0,
        12 => u64::from(parts.u32()?),
        _ => return Err(ValueError::Malformed),
    };
    duration(negative, hours, minutes, seconds, micros)
}

/// A UUID's text.
pub(super) fn uuid(text: &[u8]) -> Result<[u8; 16], ValueError> {
    let mut uuid = [0; 16];
    let mut digits = text.iter().filter(|byte| **byte != b'-');
    for byte in &mut uuid {
        for _ in 0..2 {
            let digit = digits
                .next()
                .and_then(|digit| char::from(*digit).to_digit(16))
                .ok_or(ValueError::Malformed)?;
            *byte = *byte << 4 | u8::try_from(digit).unwrap_or(0);
        }
    }
    match digits.next() {
        None => Ok(uuid),
        Some(_) => Err(ValueError::Malformed),
    }
}
