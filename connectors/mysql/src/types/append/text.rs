//! Values as the server prints them: what an added column holds in older rows.

use super::protocol::uuid;
use super::{Appended, Appender, Values, append_moment, append_padded, dated};
use crate::types::temporal::{Civil, duration};
use crate::types::{ValueError, number};

impl Appender {
    /// Appends a value in the server's text form.
    ///
    /// # Errors
    /// When it is not a value of the type, or cannot be represented.
    pub(crate) fn append_text(&mut self, text: &str) -> Appended {
        macro_rules! parsed {
            ($builder:expr) => {
                $builder.append_value(text.trim().parse().map_err(|_| ValueError::Malformed)?)
            };
        }
        let policy = self.zero_dates;
        match &mut self.values {
            Values::Int8(builder) => parsed!(builder),
            Values::Int16(builder) => parsed!(builder),
            Values::Int32(builder) => parsed!(builder),
            Values::Int64(builder) => parsed!(builder),
            Values::UInt8(builder) => parsed!(builder),
            Values::UInt16(builder) | Values::Year(builder) => parsed!(builder),
            Values::UInt32(builder) => parsed!(builder),
            Values::UInt64(builder) => parsed!(builder),
            Values::Float(builder) => parsed!(builder),
            Values::Double(builder) => parsed!(builder),
            Values::Decimal128(builder, _, scale) => {
                builder.append_value(number::of_text(text.as_bytes(), *scale)?);
            }
            Values::Decimal256(builder, _, scale) => {
                builder.append_value(number::of_text(text.as_bytes(), *scale)?);
            }
            Values::Bit(builder, bits) => {
                let digits = text
                    .trim_start_matches("b'")
                    .trim_end_matches('\'')
                    .to_owned();
                let width = usize::from(*bits);
                if digits.len() > width || !digits.bytes().all(|it| matches!(it, b'0' | b'1')) {
                    return Err(ValueError::Malformed);
                }
                builder.append_value(format!("{digits:0>width$}"));
            }
            Values::Date(builder) => builder.append_option(dated(civil(text)?.days(), policy)?),
            Values::DateTime(builder) | Values::Timestamp(builder) => {
                append_moment(builder, civil(text)?, policy)?;
            }
            Values::Time(builder) => builder.append_value(time(text)?),
            Values::Bytes(builder) => builder.append_value(text),
            Values::Padded(builder, length) => append_padded(builder, text.as_bytes(), *length)?,
            Values::Uuid(builder) => builder
                .append_value(uuid(text.as_bytes())?)
                .map_err(|_| ValueError::Malformed)?,
            Values::Vector(_) => return Err(ValueError::Malformed),
            Values::DateText(builder)
            | Values::DateTimeText(builder, _)
            | Values::TimestampText(builder, _)
            | Values::Text(builder, _)
            | Values::Enum(builder, _)
            | Values::Set(builder, _)
            | Values::Json(builder)
            | Values::Inet6(builder)
            | Values::Inet4(builder) => builder.append_value(text),
        }
        Ok(())
    }
}

/// `2024-02-29 12:34:56.789`, or a date alone.
fn civil(text: &str) -> Result<Civil, ValueError> {
    let (date, time) = text.split_once(' ').unwrap_or((text, ""));
    let [year, month, day] = numbers(date, '-')?;
    let small = |value: u32| u8::try_from(value).map_err(|_| ValueError::Malformed);
    let mut civil = Civil {
        year: u16::try_from(year).map_err(|_| ValueError::Malformed)?,
        month: small(month)?,
        day: small(day)?,
        ..Civil::default()
    };
    if !time.is_empty() {
        let (clock, micro) = fraction(time)?;
        let [hour, minute, second] = numbers(clock, ':')?;
        civil.hour = small(hour)?;
        civil.minute = small(minute)?;
        civil.second = small(second)?;
        civil.micro = micro;
    }
    Ok(civil)
}

/// `-838:59:59.000001`.
fn time(text: &str) -> Result<i64, ValueError> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(text) => (true, text),
        None => (false, text),
    };
    let (clock, micro) = fraction(text)?;
    let [hours, minutes, seconds] = numbers(clock, ':')?;
    duration(
        negative,
        hours.into(),
        minutes.into(),
        seconds.into(),
        micro.into(),
    )
}

fn fraction(text: &str) -> Result<(&str, u32), ValueError> {
    let Some((clock, digits)) = text.split_once('.') else {
        return Ok((text, 0));
    };
    let value: u32 = format!("{digits:0<6}")
        .parse()
        .map_err(|_| ValueError::Malformed)?;
    match digits.len() {
        1..=6 => Ok((clock, value)),
        _ => Err(ValueError::Malformed),
    }
}

fn numbers(text: &str, between: char) -> Result<[u32; 3], ValueError> {
    let mut parts = text.split(between).map(|part| part.parse().ok());
    let mut part = || parts.next().flatten().ok_or(ValueError::Malformed);
    Ok([part()?, part()?, part()?])
}
