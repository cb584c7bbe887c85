//! Dates and times: the log's packed forms, old and new, and the protocol's parts.
//!
//! Invariant: both ways give the same [`Civil`] and so the same value. A date that no calendar has
//! is told apart ([`Civil::micros`] is `None`), never bent into another.

use std::fmt::Write;

use super::ValueError;
use crate::wire::Wire;

const MICROS_A_SECOND: i64 = 1_000_000;

/// A date and a time of day as they are written, possibly impossible.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Civil {
    /// 0 to 9999.
    pub(crate) year: u16,
    /// 0 to 12.
    pub(crate) month: u8,
    /// 0 to 31.
    pub(crate) day: u8,
    /// 0 to 23.
    pub(crate) hour: u8,
    /// 0 to 59.
    pub(crate) minute: u8,
    /// 0 to 59.
    pub(crate) second: u8,
    /// 0 to 999,999.
    pub(crate) micro: u32,
}

impl Civil {
    /// Days since the Unix epoch, or `None` where the calendar has no such day.
    #[inline]
    pub(crate) fn days(&self) -> Option<i32> {
        let (year, month, day) = (i32::from(self.year), self.month, self.day);
        if month == 0 || month > 12 || day == 0 || day > days_in(year, month) {
            return None;
        }
        // Years that begin in March: the leap day is the last one.
        let shifted = year - i32::from(month <= 2);
        let era = shifted.div_euclid(400);
        let of_era = shifted.rem_euclid(400);
        let month = (i32::from(month) + 9) % 12;
        let of_year = (153 * month + 2) / 5 + i32::from(day) - 1;
        let of_era = of_era * 365 + of_era / 4 - of_era / 100 + of_year;
        Some(era * 146_097 + of_era - 719_468)
    }

    /// Microseconds since the Unix epoch, or `None` where there is no such day.
    #[inline]
    pub(crate) fn micros(&self) -> Option<i64> {
        let days = i64::from(self.days()?);
        let seconds =
            i64::from(self.hour) * 3600 + i64::from(self.minute) * 60 + i64::from(self.second);
        Some((days * 86_400 + seconds) * MICROS_A_SECOND + i64::from(self.micro))
    }

    /// The date and time of a moment, in UTC.
    pub(crate) fn of_unix(seconds: u64, micro: u32) -> Self {
        let days = i64::try_from(seconds / 86_400).unwrap_or(0) + 719_468;
        let era = days.div_euclid(146_097);
        let of_era = days.rem_euclid(146_097);
        let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let shifted = (5 * of_year + 2) / 153;
        let month = if shifted < 10 {
            shifted + 3
        } else {
            shifted - 9
        };
        let day = of_year - (153 * shifted + 2) / 5 + 1;
        let year = year + era * 400 + i64::from(month <= 2);
        let small = |value: i64| u8::try_from(value).unwrap_or(0);
        let of_day = seconds % 86_400;
        let part = |value: u64| u8::try_from(value).unwrap_or(0);
        Self {
            year: u16::try_from(year).unwrap_or(0),
            month: small(month),
            day: small(day),
            hour: part(of_day / 3600),
            minute: part(of_day / 60 % 60),
            second: part(of_day % 60),
            micro,
        }
    }

    /// Appends the date as the server prints it.
    pub(crate) fn write_date(&self, text: &mut String) {
        // Writing to a string cannot fail.
        let _ = write!(text, "{:04}-{:02}-{:02}", self.year, self.month, self.day);
    }

    /// Appends date and time as the server prints them, with `digits` of a second.
    pub(crate) fn write(&self, digits: u8, text: &mut String) {
        self.write_date(text);
        let _ = write!(
            text,
            " {:02}:{:02}:{:02}",
            self.hour, self.minute, self.second
        );
        write_fraction(self.micro, digits, text);
    }
}

/// Appends `.123` of 123,456 microseconds and 3 digits.
pub(crate) fn write_fraction(micro: u32, digits: u8, text: &mut String) {
    if digits > 0 {
        let width = usize::from(digits.min(6));
        let shown = micro / 10u32.pow(u32::from(6 - digits.min(6)));
        let _ = write!(text, ".{shown:0width$}");
    }
}

fn days_in(year: i32, month: u8) -> u8 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Bytes that `digits` of a second take in the log.
pub(crate) fn fraction_width(digits: u8) -> usize {
    usize::from(digits.min(6)).div_ceil(2)
}

/// The fraction of a second in microseconds.
fn fraction(wire: &mut Wire<'_>, digits: u8) -> Result<u32, ValueError> {
    let width = fraction_width(digits);
    let value = wire.uint_be(width)?;
    let scale = [1_000_000, 10_000, 100, 1][width];
    let micros = value * scale;
    if micros >= 1_000_000 && width > 0 {
        return Err(ValueError::Malformed);
    }
    Ok(u32::try_from(micros).unwrap_or(0))
}

/// DATE: day in 5 bits, month in 4, year in 15, little-endian.
pub(crate) fn date_of_log(bytes: &[u8]) -> Result<Civil, ValueError> {
    let packed = u32::try_from(Wire(bytes).uint(3)?).unwrap_or(0);
    let part = |shift: u32, bits: u32| packed >> shift & ((1 << bits) - 1);
    Ok(Civil {
        day: u8::try_from(part(0, 5)).unwrap_or(0),
        month: u8::try_from(part(5, 4)).unwrap_or(0),
        year: u16::try_from(part(9, 15)).unwrap_or(0),
        ..Civil::default()
    })
}

/// DATETIME2: five bytes big-endian, then the fraction.
pub(crate) fn datetime_of_log(bytes: &[u8], digits: u8) -> Result<Civil, ValueError> {
    let mut wire = Wire(bytes);
    let packed = wire
        .uint_be(5)?
        .checked_sub(0x80_0000_0000)
        .ok_or(ValueError::Malformed)?;
    Ok(unpacked(packed, fraction(&mut wire, digits)?))
}

/// The server's packed form without its fraction: 17 bits of year and month, 5 of the day, 17 of
/// the time.
pub(crate) fn unpacked(packed: u64, micro: u32) -> Civil {
    let part = |shift: u32, bits: u32| packed >> shift & ((1 << bits) - 1);
    let small = |value: u64| u8::try_from(value).unwrap_or(0);
    let year_month = part(22, 17);
    Civil {
        year: u16::try_from(year_month / 13).unwrap_or(0),
        month: small(year_month % 13),
        day: small(part(17, 5)),
        hour: small(part(12, 5)),
        minute: small(part(6, 6)),
        second: small(part(0, 6)),
        micro,
    }
}

/// DATETIME of servers before 5.6.4: the digits of `YYYYMMDDhhmmss` as one number.
pub(crate) fn old_datetime_of_log(bytes: &[u8]) -> Result<Civil, ValueError> {
    let number = Wire(bytes).u64()?;
    let (date, time) = (number / 1_000_000, number % 1_000_000);
    let small = |value: u64| u8::try_from(value % 100).unwrap_or(0);
    Ok(Civil {
        year: u16::try_from(date / 10_000).map_err(|_| ValueError::Malformed)?,
        month: small(date / 100),
        day: small(date),
        hour: small(time / 10_000),
        minute: small(time / 100),
        second: small(time),
        micro: 0,
    })
}

/// TIMESTAMP2: seconds since the Unix epoch, big-endian and without sign, then the fraction. Zero
/// is the zero date.
pub(crate) fn timestamp_of_log(bytes: &[u8], digits: u8) -> Result<Option<(u64, u32)>, ValueError> {
    let mut wire = Wire(bytes);
    let seconds = wire.uint_be(4)?;
    let micro = fraction(&mut wire, digits)?;
    Ok((seconds != 0 || micro != 0).then_some((seconds, micro)))
}

/// TIME2: three bytes and the fraction, big-endian, as one number above half of its range.
pub(crate) fn time_of_log(bytes: &[u8], digits: u8) -> Result<i64, ValueError> {
    let width = fraction_width(digits);
    let whole = i64::try_from(Wire(bytes).uint_be(3 + width)?).unwrap_or(0);
    let bits = 8 * u32::try_from(width).unwrap_or(0);
    let signed = whole - (0x80_0000 << bits);
    let (negative, packed) = (signed < 0, signed.unsigned_abs());
    let (time, part) = (packed >> bits, packed & ((1 << bits) - 1));
    let scale = [0, 10_000, 100, 1][width];
    duration(
        negative,
        time >> 12 & 0x3ff,
        time >> 6 & 0x3f,
        time & 0x3f,
        part * scale,
    )
}

/// The server's packed TIME, as JSON holds it: 24 bits of fraction below the time, with a sign.
pub(crate) fn time_of_packed(packed: i64) -> Result<i64, ValueError> {
    let (negative, packed) = (packed < 0, packed.unsigned_abs());
    let (time, micro) = (packed >> 24, packed & 0xff_ffff);
    duration(
        negative,
        time >> 12 & 0x3ff,
        time >> 6 & 0x3f,
        time & 0x3f,
        micro,
    )
}

/// TIME of servers before 5.6.4: the digits of `hhmmss` as one number with a sign.
pub(crate) fn old_time_of_log(bytes: &[u8]) -> Result<i64, ValueError> {
    let number = i64::try_from(Wire(bytes).uint(3)?).unwrap_or(0);
    // Three bytes, the highest bit of them the sign.
    let number = if number & 0x80_0000 == 0 {
        number
    } else {
        number - 0x100_0000
    };
    let digits = number.unsigned_abs();
    duration(
        number < 0,
        digits / 10_000,
        digits / 100 % 100,
        digits % 100,
        0,
    )
}

/// A TIME in microseconds.
pub(crate) fn duration(
    negative: bool,
    hours: u64,
    minutes: u64,
    seconds: u64,
    micros: u64,
) -> Result<i64, ValueError> {
    if hours > 838 || minutes > 59 || seconds > 59 || micros > 999_999 {
        return Err(ValueError::Malformed);
    }
    let seconds = i64::try_from(hours * 3600 + minutes * 60 + seconds).unwrap_or(0);
    let total = seconds * MICROS_A_SECOND + i64::try_from(micros).unwrap_or(0);
    Ok(if negative { -total } else { total })
}
