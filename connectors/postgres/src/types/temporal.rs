//! Dates, times and intervals in both forms: from the server's epoch (2000-01-01) and from ISO
//! text to counts since the Unix epoch.
//!
//! Invariant: the server's infinities stay what they are there, the ends of the integer's range,
//! and no finite value ever becomes one of them. Needs `datestyle` ISO and `intervalstyle`
//! postgres; any time zone will do.

use arrow::datatypes::IntervalMonthDayNano;

use super::ValueError;

type Parsed<T> = Result<T, ValueError>;

const EPOCH_DAYS: i32 = 10_957;
const DAY: i64 = 86_400_000_000;
const EPOCH: i64 = EPOCH_DAYS as i64 * DAY;

/// Microseconds since 2000 to microseconds since 1970.
pub(crate) fn timestamp_of_binary(value: i64) -> Parsed<i64> {
    match value {
        i64::MAX | i64::MIN => Ok(value),
        finite => finite
            .checked_add(EPOCH)
            .filter(|shifted| *shifted != i64::MAX)
            .ok_or(ValueError::Range),
    }
}

/// Days since 2000 to days since 1970.
pub(crate) fn date_of_binary(value: i32) -> Parsed<i32> {
    match value {
        i32::MAX | i32::MIN => Ok(value),
        finite => finite
            .checked_add(EPOCH_DAYS)
            .filter(|shifted| *shifted != i32::MAX)
            .ok_or(ValueError::Range),
    }
}

/// Months, days and microseconds, as the server sends them.
pub(crate) fn interval_of_parts(
    months: i32,
    days: i32,
    micros: i64,
) -> Parsed<IntervalMonthDayNano> {
    const MAX: (i32, i32, i64) = (i32::MAX, i32::MAX, i64::MAX);
    const MIN: (i32, i32, i64) = (i32::MIN, i32::MIN, i64::MIN);
    let nanos = match (months, days, micros) {
        MAX | MIN => micros,
        _ => micros.checked_mul(1000).ok_or(ValueError::Range)?,
    };
    Ok(IntervalMonthDayNano::new(months, days, nanos))
}

/// Days since 1970.
pub(crate) fn date_of_text(text: &[u8]) -> Parsed<i32> {
    match text {
        b"infinity" => return Ok(i32::MAX),
        b"-infinity" => return Ok(i32::MIN),
        _ => {}
    }
    let (text, before_christ) = era(text);
    let mut text = Cursor(text);
    let days = text.date(before_christ)?;
    text.end()?;
    i32::try_from(days)
        .ok()
        .filter(|days| *days != i32::MAX && *days != i32::MIN)
        .ok_or(ValueError::Range)
}

/// Microseconds since 1970, in UTC where the text has an offset.
pub(crate) fn timestamp_of_text(text: &[u8]) -> Parsed<i64> {
    match text {
        b"infinity" => return Ok(i64::MAX),
        b"-infinity" => return Ok(i64::MIN),
        _ => {}
    }
    let (text, before_christ) = era(text);
    let mut text = Cursor(text);
    let days = text.date(before_christ)?;
    text.expect(b' ')?;
    let time = text.time()?;
    let offset = if text.0.is_empty() { 0 } else { text.offset()? };
    text.end()?;
    days.checked_mul(DAY)
        .and_then(|micros| micros.checked_add(time))
        .and_then(|micros| micros.checked_sub(offset))
        .filter(|micros| *micros != i64::MAX && *micros != i64::MIN)
        .ok_or(ValueError::Range)
}

/// Microseconds since midnight, to 24:00:00 inclusive.
pub(crate) fn time_of_text(text: &[u8]) -> Parsed<i64> {
    let mut text = Cursor(text);
    let time = text.time()?;
    text.end()?;
    time_of_binary(time)
}

/// Microseconds since midnight, to 24:00:00 inclusive.
pub(crate) fn time_of_binary(micros: i64) -> Parsed<i64> {
    if (0..=DAY).contains(&micros) {
        Ok(micros)
    } else {
        Err(ValueError::Malformed)
    }
}

/// `1 year 2 mons -3 days +04:05:06.789`.
pub(crate) fn interval_of_text(text: &[u8]) -> Parsed<IntervalMonthDayNano> {
    match text {
        b"infinity" => return interval_of_parts(i32::MAX, i32::MAX, i64::MAX),
        b"-infinity" => return interval_of_parts(i32::MIN, i32::MIN, i64::MIN),
        b"" => return Err(ValueError::Malformed),
        _ => {}
    }
    let (mut months, mut days, mut micros) = (0i64, 0i64, 0i64);
    let mut text = Cursor(text);
    loop {
        let negative = text.sign();
        let (number, _) = text.number()?;
        let number = if negative { -number } else { number };
        if text.0.first() == Some(&b':') {
            micros = text.clock(number, negative)?;
            text.end()?;
            break;
        }
        text.expect(b' ')?;
        match text.word() {
            b"year" | b"years" => months += number.checked_mul(12).ok_or(ValueError::Range)?,
            b"mon" | b"mons" => months += number,
            b"day" | b"days" => days += number,
            _ => return Err(ValueError::Malformed),
        }
        if text.0.is_empty() {
            break;
        }
        text.expect(b' ')?;
    }
    let part = |value: i64| i32::try_from(value).map_err(|_| ValueError::Range);
    interval_of_parts(part(months)?, part(days)?, micros)
}

/// Takes ` BC` off.
fn era(text: &[u8]) -> (&[u8], bool) {
    match text.strip_suffix(b" BC") {
        Some(rest) => (rest, true),
        None => (text, false),
    }
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn end(&self) -> Parsed<()> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(ValueError::Malformed)
        }
    }

    fn expect(&mut self, byte: u8) -> Parsed<()> {
        match self.0.split_first() {
            Some((&first, rest)) if first == byte => {
                self.0 = rest;
                Ok(())
            }
            _ => Err(ValueError::Malformed),
        }
    }

    /// Whether there was a minus; a plus is passed over.
    fn sign(&mut self) -> bool {
        match self.0.split_first() {
            Some((b'-', rest)) => {
                self.0 = rest;
                true
            }
            Some((b'+', rest)) => {
                self.0 = rest;
                false
            }
            _ => false,
        }
    }

    /// A number and how many digits it has, 1 to 12.
    fn number(&mut self) -> Parsed<(i64, usize)> {
        let mut value = 0i64;
        let mut count = 0;
        while let Some((&byte @ b'0'..=b'9', rest)) = self.0.split_first() {
            value = value * 10 + i64::from(byte - b'0');
            count += 1;
            if count > 12 {
                return Err(ValueError::Malformed);
            }
            self.0 = rest;
        }
        if count == 0 {
            return Err(ValueError::Malformed);
        }
        Ok((value, count))
    }

    fn word(&mut self) -> &'a [u8] {
        let end = self
            .0
            .iter()
            .position(|byte| !byte.is_ascii_lowercase())
            .unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        self.0 = rest;
        word
    }

    /// A number of two digits below `limit`.
    fn pair(&mut self, limit: i64) -> Parsed<i64> {
        match self.number()? {
            (value, 2) if value < limit => Ok(value),
            _ => Err(ValueError::Malformed),
        }
    }

    /// Days since 1970 of `2024-02-29`.
    fn date(&mut self, before_christ: bool) -> Parsed<i64> {
        let (year, digits) = self.number()?;
        if !(4..=7).contains(&digits) {
            return Err(ValueError::Malformed);
        }
        self.expect(b'-')?;
        let month = self.pair(13)?;
        self.expect(b'-')?;
        let day = self.pair(32)?;
        if month == 0 || day == 0 {
            return Err(ValueError::Malformed);
        }
        let year = if before_christ { 1 - year } else { year };
        Ok(days_from_civil(year, month, day))
    }

    /// Microseconds of `04:05:06.789`.
    fn time(&mut self) -> Parsed<i64> {
        let hours = self.pair(25)?;
        self.clock(hours, false)
    }

    /// What follows the hours, which carry their sign already (but for `-00`).
    fn clock(&mut self, hours: i64, negative: bool) -> Parsed<i64> {
        self.expect(b':')?;
        let minutes = self.pair(60)?;
        self.expect(b':')?;
        let seconds = self.pair(61)?;
        let mut micros = 0;
        if self.0.first() == Some(&b'.') {
            self.0 = &self.0[1..];
            let (fraction, digits) = self.number()?;
            let shift = 6usize.checked_sub(digits).ok_or(ValueError::Malformed)?;
            micros = (0..shift).fold(fraction, |value, _| value * 10);
        }
        let rest = (minutes * 60 + seconds) * 1_000_000 + micros;
        hours
            .checked_mul(3_600_000_000)
            .and_then(|hours| hours.checked_add(if negative { -rest } else { rest }))
            .ok_or(ValueError::Range)
    }

    /// Microseconds of `+05:30` and the like.
    fn offset(&mut self) -> Parsed<i64> {
        if !matches!(self.0.first(), Some(b'+' | b'-')) {
            return Err(ValueError::Malformed);
        }
        let negative = self.sign();
        let mut seconds = self.pair(100)? * 3600;
        for unit in [60, 1] {
            if self.0.first() != Some(&b':') {
                break;
            }
            self.0 = &self.0[1..];
            seconds += self.pair(60)? * unit;
        }
        Ok(if negative { -seconds } else { seconds } * 1_000_000)
    }
}

/// Days since 1970 of a date of the proleptic Gregorian calendar; year 0 is 1 BC.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = of_era * 365 + of_era / 4 - of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}
